/** Server-sent events over fetch, which unlike EventSource can send an `Authorization` header. */

export interface Stream {
  url: string;
  token?: string;
  /** Called with each event's name and data. */
  on: (event: string, data: unknown) => void;
}

/** Longest pause between two reconnects, in milliseconds. */
const LONGEST_PAUSE = 10_000;

/** Reads the stream until `close` is called, and reconnects whenever it ends. */
export function listen({ url, token, on }: Stream): () => void {
  const control = new AbortController();
  void (async () => {
    let pause = 500;
    while (!control.signal.aborted) {
      try {
        const headers: Record<string, string> = { accept: 'text/event-stream' };
        if (token) headers.authorization = `Bearer ${token}`;
        const response = await fetch(url, { headers, signal: control.signal, cache: 'no-store' });
        const reader = response.ok ? response.body?.pipeThrough(new TextDecoderStream()).getReader() : undefined;
        let text = '';
        while (reader) {
          const { done, value } = await reader.read();
          if (done) break;
          pause = 500;
          const parts = (text + value).split('\n\n');
          text = parts.pop() ?? '';
          for (const part of parts) tell(part, on);
        }
      } catch {
        /* the connection was lost, or closed by us */
      }
      if (control.signal.aborted) return;
      await new Promise((resolve) => setTimeout(resolve, pause));
      pause = Math.min(LONGEST_PAUSE, pause * 2);
    }
  })();
  return () => control.abort();
}

function tell(part: string, on: Stream['on']): void {
  let name = 'message';
  let data = '';
  for (const line of part.split('\n')) {
    if (line.startsWith('event:')) name = line.slice(6).trim();
    else if (line.startsWith('data:')) data += line.slice(5).trim();
  }
  // Keep-alive messages have no data.
  if (data) on(name, JSON.parse(data));
}
