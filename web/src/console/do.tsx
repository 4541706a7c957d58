/** A button for a command, with the equivalent curl command beside it. */
import { act, copy, curl, type Command } from './act';
import { processes } from './feed';

export const CopyIcon = () => (
  <svg class="i" viewBox="0 0 16 16" aria-hidden="true">
    <rect x="5" y="5" width="8.5" height="8.5" rx="1.5" />
    <path d="M3 10.5V3.5A1 1 0 0 1 4 2.5h7" />
  </svg>
);

export function Do(props: {
  command: Command;
  children: string;
  kind?: string;
  disabled?: boolean;
  /** Called instead of sending the command, for example to ask for confirmation. */
  ask?: (command: Command) => void;
}) {
  const { command, children, kind, disabled, ask } = props;
  const text = curl(command, processes.value.locked);
  return (
    <span class="act">
      <button class={`btn ${kind ?? ''}`} disabled={disabled} onClick={() => (ask ? ask(command) : void act(command))}>
        {children}
      </button>
      <button class="cp" aria-label={`Copy curl: ${children}`} title={text} onClick={() => void copy(text)}>
        <CopyIcon />
      </button>
    </span>
  );
}
