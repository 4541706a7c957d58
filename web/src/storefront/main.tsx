/** The storefront: one page for the protected site, its unprotected twin, or both side by side. */
import { render } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, type BreakerStatus, type OrderList, type Site } from '../shared/api';
import { avatar } from '../shared/poster';
import { OrderSheet, Reel } from './dialogs';
import { clock, genre, millis, t, type Word } from './i18n';
import { settle } from './orders';
import { listen } from '../shared/stream';
import { Pane } from './panes';
import { Icon, Picks } from './parts';
import {
  breakers,
  kept,
  lang,
  leftByHand,
  now,
  ordered,
  panes,
  reloading,
  rest,
  round,
  route,
  session,
  signIn,
  signOut,
  site,
  split,
  theme,
  toast,
  waiting,
} from './state';
import './storefront.css';

/** Interval at which the same click is repeated on both sides while that is switched on, in milliseconds. */
const ROUND = 3_000;

const isOpen = (breaker: BreakerStatus): boolean => breaker.state === 'open' || breaker.state === 'forced_open';

/** Three switches: films, recommendations, payments. A switch is down while its breaker is open. */
function Mark() {
  const groups = [
    ['catalog', 'user', 'user-primary'],
    ['recommendation', 'ml-api'],
    ['payment-gateway', 'checkout'],
  ];
  return (
    <svg viewBox="0 0 28 28" aria-hidden="true">
      <rect x="1.5" y="1.5" width="25" height="25" rx="6" fill="none" stroke="currentColor" stroke-width="2.4" />
      {groups.map((group, i) => {
        const open = breakers.value.some((breaker) => group.includes(breaker.name) && isOpen(breaker));
        return (
          <g key={i} class={open ? 'c-wait' : ''} fill={open ? 'var(--wait)' : 'currentColor'}>
            <rect x={6.4 + i * 5.6} y="7" width="4" height="14" rx="2" opacity=".32" />
            <rect x={6.4 + i * 5.6} y={open ? 14 : 7} width="4" height="7" rx="2" />
          </g>
        );
      })}
    </svg>
  );
}

function Account() {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const viewer = session.value;
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === 'Escape' : !box.current?.contains(event.target as Node))
        setOpen(false);
    };
    addEventListener('click', away);
    addEventListener('keydown', away);
    return () => {
      removeEventListener('click', away);
      removeEventListener('keydown', away);
    };
  }, [open]);
  if (!viewer) {
    return (
      <div class="who out">
        <div class="as">
          <span>{t('signin')}</span>
        </div>
        <Picks limit={2} />
      </div>
    );
  }
  return (
    <div class="who" ref={box}>
      <button class="me" aria-expanded={open} aria-haspopup="true" onClick={() => setOpen(!open)}>
        <img class="av" src={avatar(viewer.name)} alt="" />
        <span>
          {viewer.name}
          <small>{t('signedIn')}</small>
        </span>
      </button>
      {open ? (
        <div class="menu">
          <a href="#/me" onClick={() => setOpen(false)}>
            {t('profile')}
          </a>
          <a href="#/orders" onClick={() => setOpen(false)}>
            {t('orders')}
          </a>
          <hr />
          <p>{t('oneClick', { p: site.value.demo.password })}</p>
          {site.value.demo.viewers
            .filter((name) => name !== viewer.name)
            .map((name) => (
              <button key={name} onClick={() => void signIn(name).then(() => setOpen(false))}>
                <img class="av" src={avatar(name)} alt="" />
                {name}
              </button>
            ))}
          <hr />
          <button
            onClick={() => {
              leftByHand.value = true;
              signOut();
              setOpen(false);
            }}
          >
            {t('signout')}
          </button>
        </div>
      ) : null}
    </div>
  );
}

function Header() {
  const { view } = route.value;
  const [typed, setTyped] = useState(view === 'search' ? (route.value.text ?? '') : '');
  const search = (event: Event) => {
    event.preventDefault();
    if (typed.trim()) location.hash = `#/search?${new URLSearchParams({ q: typed.trim().slice(0, 100) })}`;
  };
  const setLang = (to: 'en' | 'ko') => () => {
    lang.value = to;
    kept.set('lang', to);
  };
  return (
    <header class="top">
      <a class="logo" href="#/" aria-label="Breakerbox">
        <Mark />
        <span>breakerbox</span>
      </a>
      <nav class="nav" aria-label="Breakerbox">
        <a href="#/" aria-current={view === 'home' ? 'page' : undefined}>
          {t('home')}
        </a>
        <a href="#/orders" aria-current={view === 'orders' ? 'page' : undefined}>
          {t('orders')}
          {waiting.value > 0 ? <i aria-label={`${waiting.value} ${t('queued')}`}>{waiting.value}</i> : null}
        </a>
        {site.value.console ? (
          <a href={site.value.console} class="ext" target="_blank" rel="noopener">
            {t('console')}
          </a>
        ) : null}
      </nav>
      <form class="find" role="search" onSubmit={search}>
        <Icon name="find" />
        <input
          type="search"
          autocomplete="off"
          spellcheck={false}
          maxLength={100}
          placeholder={t('find')}
          aria-label={t('find')}
          value={typed}
          onInput={(event) => setTyped(event.currentTarget.value)}
        />
      </form>
      <div class="tools">
        {site.value.twin ? (
          <button
            class="sw"
            role="switch"
            aria-checked={split.value}
            aria-label={t('split')}
            onClick={() => (split.value = !split.value)}
          >
            <b />
            <span>{t('split')}</span>
          </button>
        ) : null}
        <div class="seg" role="group" aria-label="Language, 언어">
          <button lang="en" aria-pressed={lang.value === 'en'} onClick={setLang('en')}>
            EN
          </button>
          <button lang="ko" aria-pressed={lang.value === 'ko'} onClick={setLang('ko')}>
            한국어
          </button>
        </div>
        <button
          class="ico"
          aria-label={t(theme.value === 'dark' ? 'light' : 'dark')}
          onClick={() => {
            theme.value = theme.value === 'dark' ? 'light' : 'dark';
            kept.set('theme', theme.value);
          }}
        >
          <Icon name={theme.value === 'dark' ? 'sun' : 'moon'} />
        </button>
      </div>
      <Account />
    </header>
  );
}

const SHOWN: Record<string, Word> = {
  live: 'verdictLive',
  cache: 'verdictCache',
  popular: 'verdictPopular',
  replica: 'verdictReplica',
  none: 'verdictNone',
};

/** A comparison of what both sides did with the same click. */
function verdict(): { kind: string; text: string } {
  const { p, u } = { p: panes.p.value, u: panes.u.value };
  const [own, twin] = [p.seen[p.seen.length - 1], u.seen[u.seen.length - 1]];
  void now.value;
  const ms = (value: number) => millis(value).join(' ');
  const hangs = u.since === null ? 0 : performance.now() - u.since;
  if (own && hangs > 800) return { kind: 'wait', text: t('verdictWait', { t: ms(hangs), a: ms(own.ms) }) };
  if (!own || !twin) return { kind: 'mu', text: t('loading') };
  const bad = (status: number) => status === 0 || status >= 500;
  const what = t(SHOWN[own.source ?? 'live'] ?? 'verdictLive');
  if (bad(own.status) && bad(twin.status)) return { kind: 'harm', text: t('verdictBoth', { s: own.status || '–' }) };
  if (bad(twin.status)) return { kind: 'harm', text: t('verdictBare', { s: twin.status || t('waits'), w: what }) };
  if (own.source && own.source !== 'live') return { kind: own.source, text: t('verdictDegraded', { w: what }) };
  return { kind: 'live', text: t('verdictSame') };
}

function Strip() {
  const { kind, text } = verdict();
  const own = panes.p.value.seen.at(-1);
  const twin = panes.u.value.seen.at(-1);
  return (
    <aside class="strip" aria-label={t('same')}>
      <div>
        <h2>{t('same')}</h2>
        <p class={`now c-${kind}`} role="status">
          {text}
        </p>
        {own && twin ? (
          <p class="mu cmp">{t('faster', { a: millis(own.ms).join(' '), b: millis(twin.ms).join(' ') })}</p>
        ) : null}
      </div>
      {breakers.value.length > 0 ? (
        <ul class="bb" aria-label={t('brk')}>
          {breakers.value
            .filter(
              (breaker) =>
                breaker.state !== 'closed' || breaker.service === 'gateway' || breaker.name === 'payment-gateway',
            )
            .slice(0, 8)
            .map((breaker) => {
              const down = isOpen(breaker);
              return (
                <li key={`${breaker.service} ${breaker.name}`} class={down ? 'b' : breaker.state === 'closed' ? '' : 'o'}>
                  <svg viewBox="0 0 16 28" aria-hidden="true">
                    <rect
                      x="2"
                      y="2"
                      width="12"
                      height="24"
                      rx="3"
                      fill="none"
                      stroke="currentColor"
                      stroke-width="1.6"
                      opacity=".6"
                    />
                    <rect
                      x="4.5"
                      y={down ? 14 : breaker.state === 'half_open' ? 9 : 4.5}
                      width="7"
                      height="9.5"
                      rx="1.5"
                      fill={breaker.state === 'closed' ? 'var(--live)' : 'currentColor'}
                    />
                  </svg>
                  <span>
                    {breaker.name}
                    <em>
                      {t((breaker.state in { open: 1 } ? 'open' : breaker.state) as Word, {
                        t: clock(rest(breaker)),
                      })}
                    </em>
                  </span>
                </li>
              );
            })}
        </ul>
      ) : null}
      <label class="rl">
        <input
          type="checkbox"
          checked={reloading.value}
          onChange={(event) => (reloading.value = event.currentTarget.checked)}
        />
        {t('reload')}
      </label>
    </aside>
  );
}

function useClockwork() {
  useEffect(() => {
    const timer = setInterval(() => (now.value = Date.now() / 1000), 200);
    return () => clearInterval(timer);
  }, []);
  // In the split view a click is repeated on both sides until that is switched off.
  const clicking = split.value && reloading.value;
  useEffect(() => {
    if (!clicking) return;
    const timer = setInterval(() => {
      if (!document.hidden) round.value++;
    }, ROUND);
    return () => clearInterval(timer);
  }, [clicking]);
}

/** Applies pushed events: transitions of breakers, and changes of the viewer's orders. */
function useNews() {
  const token = session.value?.token;
  const [seen, setSeen] = useState(!document.hidden);
  useEffect(() => {
    if (!token) waiting.value = 0;
    // A browser limits the connections to a host, so a hidden page closes its stream.
    if (!seen) return;
    return listen({
      url: '/live',
      token,
      on: (event, data) => {
        if (event === 'orders') return settle((data as OrderList).items);
        const first = breakers.value.length === 0;
        const states = () => breakers.value.map((one) => one.state).join();
        const before = states();
        const at = Date.now() / 1000;
        breakers.value = (data as BreakerStatus[]).map((one) => ({ ...one, until: at + one.retry_after_seconds }));
        // A breaker that closed or opened changes the content of the page.
        if (!first && states() !== before) round.value++;
      },
    });
  }, [token, seen, ordered.value]);
  // A page that was hidden for a while is reloaded when it becomes visible.
  useEffect(() => {
    const back = () => {
      setSeen(!document.hidden);
      if (!document.hidden) round.value++;
    };
    document.addEventListener('visibilitychange', back);
    return () => document.removeEventListener('visibilitychange', back);
  }, []);
}

/**
 * Signs in the first demo viewer while both sides are compared: an anonymous page needs neither user nor
 * recommendation, so that their failures would not show. A failed attempt is repeated with the next load.
 */
function useDemoViewer() {
  const first = site.value.demo.viewers[0];
  const wanted = split.value && site.value.twin !== null && !session.value && !leftByHand.value;
  const turn = wanted ? round.value : -1;
  useEffect(() => {
    if (wanted && first) void signIn(first, false);
  }, [wanted, first, turn]);
}

/** Ends the session once if its token is no longer valid. */
function useSessionEnd() {
  const status = panes.p.value.answer?.status;
  useEffect(() => {
    if (status === 401 && session.value) {
      signOut();
      toast('p', 'wait', t('ended'), '');
    }
  }, [status]);
}

function App() {
  useClockwork();
  useNews();
  useDemoViewer();
  useSessionEnd();
  const both = split.value && site.value.twin !== null;
  useEffect(() => {
    document.documentElement.lang = lang.value;
    document.documentElement.dataset.theme = theme.value;
    document.title = t('doc');
  }, [lang.value, theme.value]);
  const { view, id, text } = route.value;
  const first = useRef(true);
  useEffect(() => {
    // A new page is announced by focusing its heading, as a browser does for a document.
    if (first.current) first.current = false;
    else setTimeout(() => document.querySelector<HTMLElement>('.pane.p h1')?.focus({ preventScroll: true }), 60);
  }, [view, id, text]);
  void genre;
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => (event.preventDefault(), document.getElementById('main')?.focus())}
      >
        {t('skip')}
      </a>
      <Header />
      <div class={`stage ${both ? 'split' : 'single'}`}>
        <Pane side="p" />
        {both ? <Strip /> : null}
        {both ? <Pane side="u" /> : null}
      </div>
      <OrderSheet />
      <Reel />
    </>
  );
}

async function start() {
  const answer = await call<Site>('/site.json');
  if (answer.data) site.value = answer.data;
  render(<App />, document.body);
}
void start();
