/** The console: active faults, what viewers get, transitions, and all commands. */
import { render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import { message, unlock, wanted } from './act';
import { alerts, link, listen, processes, queue, scenario } from './feed';
import { chosen, Map } from './map';
import { AlertsPage, DrillsPage, FaultsPage, OrdersPage, TransitionsPage } from './pages';
import { Panel } from './panel';
import { Rail } from './rail';
import { Say } from './say';
import { Strip } from './strip';
import { tab, TABS, type Tab } from './tabs';
import { TourBar, TourPage } from './tour';
import { broken, web } from './words';
import './console.css';

const theme = signal<'dark' | 'light'>(initialTheme());
function initialTheme(): 'dark' | 'light' {
  const asked = new URLSearchParams(location.search).get('theme');
  let kept: string | null = null;
  try {
    kept = localStorage.getItem('breakerbox.theme');
  } catch {
    /* private mode */
  }
  return (asked ?? kept ?? (matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark')) === 'light'
    ? 'light'
    : 'dark';
}

const NAMES: Record<Tab, string> = {
  live: 'Live',
  faults: 'Faults',
  alerts: 'Alerts',
  transitions: 'Transitions',
  orders: 'Orders & money',
  drills: 'Drills',
  tour: 'Tour',
};
function count(name: Tab): [number, boolean] {
  if (name === 'alerts') {
    const firing = (alerts.value?.alerts ?? []).filter(
      (alert) => alert.status === 'firing' && alert.name !== 'Watchdog',
    );
    return [firing.length, firing.some((alert) => alert.labels['severity'] === 'critical')];
  }
  if (name === 'faults') return [broken().length, false];
  if (name === 'orders') return [queue.value?.depth ?? 0, (queue.value?.dead ?? 0) > 0];
  return [0, false];
}

function Head() {
  const storefront = web(processes.value.storefront);
  return (
    <header class="head">
      <a class="brand" href="#live" onClick={() => (tab.value = 'live')}>
        <svg
          viewBox="0 0 22 22"
          fill="none"
          stroke="currentColor"
          stroke-width="1.8"
          stroke-linecap="round"
          aria-hidden="true"
        >
          <rect x="1" y="1" width="20" height="20" rx="5" />
          <path d="M4 13H8M14 13H18M8 13L14 8" stroke="var(--closed)" />
        </svg>
        Breakerbox
      </a>
      <nav class="tabs" aria-label="Pages">
        {TABS.map((name) => {
          const [n, bad] = count(name);
          return (
            <button
              key={name}
              data-tab={name}
              aria-current={tab.value === name ? 'page' : undefined}
              onClick={() => (tab.value = name)}
            >
              {NAMES[name]}
              {n > 0 ? <span class={`count${bad ? ' bad' : ''}`}>{n}</span> : null}
            </button>
          );
        })}
      </nav>
      <div class="end">
        <span class={`link ${link.value}`} role="status">
          {link.value === 'live' ? 'live' : link.value === 'lost' ? 'reconnecting…' : 'connecting…'}
        </span>
        {storefront ? (
          <>
            <a class="lnk x" href={storefront} target="_blank" rel="noopener">
              Storefront ↗
            </a>
            <a class="lnk x" href={`${storefront}?split=1`} target="_blank" rel="noopener">
              Side by side ↗
            </a>
          </>
        ) : null}
        <button
          class="ib"
          aria-label={theme.value === 'dark' ? 'Light theme' : 'Dark theme'}
          onClick={() => {
            theme.value = theme.value === 'dark' ? 'light' : 'dark';
            try {
              localStorage.setItem('breakerbox.theme', theme.value);
            } catch {
              /* private mode */
            }
          }}
        >
          <svg class="i" viewBox="0 0 16 16" aria-hidden="true">
            <circle cx="8" cy="8" r="3" />
            <path d="M8 1.5v1.5M8 13v1.500M1.500 8H3M13 8h1.500M3.400 3.400l1 1M11.600 11.600l1 1M12.600 3.400l-1 1M4.400 11.600l-1 1" />
          </svg>
        </button>
      </div>
    </header>
  );
}

/** Asks for the token after a command was refused without one. It is only kept in this page. */
function Token() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState('');
  const command = wanted.value;
  useEffect(() => {
    if (command && !dialog.current?.open) dialog.current?.showModal();
    if (!command && dialog.current?.open) dialog.current.close();
  }, [command]);
  return (
    <dialog ref={dialog} class="card token" aria-label="Admin token" onCancel={() => (wanted.value = null)}>
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault();
          void unlock(text);
          setText('');
        }}
      >
        <h2>This needs the admin token</h2>
        <p class="mute">It is what BREAKERBOX_ADMIN_TOKEN was set to. This page keeps it until it is closed.</p>
        <label>
          <span class="sr">Token</span>
          <input
            type="password"
            autocomplete="off"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
        <div class="acts2">
          <button class="btn pri" disabled={!text}>
            Unlock
          </button>
          <button class="btn" type="button" onClick={() => (wanted.value = null)}>
            Not now
          </button>
        </div>
      </form>
    </dialog>
  );
}

function App() {
  useEffect(() => {
    document.documentElement.dataset.theme = theme.value;
  }, [theme.value]);
  useEffect(() => {
    document.title = `${broken().length > 0 ? '● ' : ''}Breakerbox console`;
  }, [broken().length > 0]);
  const ready = link.value !== 'connecting' || scenario.value !== undefined;
  const panel = chosen.value !== null && tab.value === 'live';
  return (
    <>
      <a class="skip" href="#main">
        Skip to the console
      </a>
      <Head />
      <main id="main" tabIndex={-1}>
        {!ready ? (
          <p class="say" role="status">
            Connecting to the program…
          </p>
        ) : tab.value === 'live' ? (
          <>
            <Say />
            <TourBar />
            <div class={`board${panel ? ' paneled' : ''}`}>
              <Map />
              {panel ? <Panel /> : <Rail />}
              <Strip />
            </div>
          </>
        ) : tab.value === 'faults' ? (
          <FaultsPage />
        ) : tab.value === 'alerts' ? (
          <AlertsPage />
        ) : tab.value === 'transitions' ? (
          <TransitionsPage />
        ) : tab.value === 'orders' ? (
          <OrdersPage />
        ) : tab.value === 'drills' ? (
          <DrillsPage />
        ) : (
          <TourPage />
        )}
      </main>
      <Token />
      <div class={`toast${message.value ? ' on' : ''}${message.value?.bad ? ' bad' : ''}`} role="status">
        {message.value?.text}
      </div>
    </>
  );
}

listen();
render(<App />, document.body);
