/** Commands: each is one request to the admin port, also shown as the equivalent curl command. */
import { signal } from '@preact/signals';

export interface Command {
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  body?: unknown;
  /** Description, for the message after success. */
  what: string;
}

export const message = signal<{ text: string; bad: boolean } | null>(null);
/** The command that is waiting for a token. */
export const wanted = signal<Command | null>(null);
let token = '';
let timer = 0;

export function say(text: string, bad = false): void {
  message.value = { text, bad };
  clearTimeout(timer);
  timer = window.setTimeout(() => (message.value = null), bad ? 8000 : 4000);
}

/** The equivalent shell command. The token stays a variable, because the text may be pasted anywhere. */
export function curl({ method, path, body }: Command, locked: boolean): string {
  const parts = ['curl', `-X ${method}`];
  if (locked) parts.push('-H "Authorization: Bearer $BREAKERBOX_ADMIN_TOKEN"');
  if (body !== undefined) parts.push("-H 'content-type: application/json'", `-d '${JSON.stringify(body)}'`);
  parts.push(`'${location.origin}${path}'`);
  return parts.join(' ');
}

/** Sends the waiting command with this token; if it is refused the dialog stays open. */
export async function unlock(text: string): Promise<void> {
  const command = wanted.value;
  if (!command) return;
  token = text;
  if ((await act(command)) || token) wanted.value = null;
}

export async function act(command: Command): Promise<boolean> {
  const { method, path, body, what } = command;
  const headers: Record<string, string> = {};
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (token) headers.authorization = `Bearer ${token}`;
  try {
    const response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.status === 401) {
      if (token) say('That is not the token.', true);
      token = '';
      wanted.value = command;
      return false;
    }
    if (!response.ok) {
      const problem = (await response.json().catch(() => null)) as { detail?: string } | null;
      say(`${response.status}: ${problem?.detail ?? response.statusText}`, true);
      return false;
    }
    say(what);
    return true;
  } catch {
    say('The admin port cannot be reached.', true);
    return false;
  }
}

export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    say('Copied.');
  } catch {
    say(text);
  }
}
