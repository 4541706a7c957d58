/** State of the page: language, theme, route, session, and the answers of each side. */
import { computed, signal } from '@preact/signals';
import {
  call,
  type Answer,
  type BreakerStatus,
  type Film,
  type LoginReply,
  type OrderAnswer,
  type Site,
} from '../shared/api';
import { KOREAN } from './korean';

export type SideName = 'p' | 'u';

/** Reads and writes the browser's storage, which may be unavailable. */
export const kept = {
  get(key: string): string | null {
    try {
      return localStorage.getItem(`breakerbox.${key}`);
    } catch {
      return null;
    }
  },
  set(key: string, value: string | null): void {
    try {
      if (value === null) localStorage.removeItem(`breakerbox.${key}`);
      else localStorage.setItem(`breakerbox.${key}`, value);
    } catch {
      /* private mode */
    }
  },
};

const query = new URLSearchParams(location.search);
export const lang = signal<'en' | 'ko'>(
  (query.get('lang') ?? kept.get('lang') ?? (navigator.language.startsWith('ko') ? 'ko' : 'en')) === 'ko' ? 'ko' : 'en',
);
export const theme = signal<'dark' | 'light'>(
  (query.get('theme') ??
    kept.get('theme') ??
    (matchMedia('(prefers-color-scheme: light)').matches ? 'light' : 'dark')) === 'light'
    ? 'light'
    : 'dark',
);

export interface Route {
  view: 'home' | 'title' | 'genre' | 'search' | 'orders' | 'me';
  id?: number;
  text?: string;
}
function readRoute(): Route {
  const [path = '', search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [view, rest = ''] = path.split('/');
  if (view === 'title' && /^\d+$/.test(rest)) return { view, id: Number(rest) };
  if (view === 'genre') return { view, text: decodeURIComponent(rest) };
  if (view === 'search') return { view, text: new URLSearchParams(search).get('q') ?? '' };
  if (view === 'orders' || view === 'me') return { view };
  return { view: 'home' };
}
export const route = signal<Route>(readRoute());
addEventListener('hashchange', () => {
  route.value = readRoute();
});

export const site = signal<Site>({ side: 'protected', twin: null, console: null, demo: { viewers: [], password: '' } });
export const split = signal(query.get('split') === '1' || /[?&]split=1/.test(location.hash));
export const reloading = signal(true);
/** Incremented to request everything on the page again. */
export const round = signal(0);
/** Current time in seconds since 1970, for ages and countdowns. */
export const now = signal(Date.now() / 1000);
/** A breaker, and the time of its next probe in seconds since 1970 by this browser's clock. */
export interface Guard extends BreakerStatus {
  until: number;
}
export const breakers = signal<Guard[]>([]);
/** Seconds until a breaker's next probe. */
export const rest = (breaker: Guard): number => Math.max(0, Math.ceil(breaker.until - now.value));

export interface Session {
  name: string;
  token: string;
  id: number;
}
function readSession(): Session | null {
  try {
    const session = JSON.parse(kept.get('session') ?? 'null') as (Session & { until: number }) | null;
    return session && session.until > Date.now() / 1000 ? session : null;
  } catch {
    return null;
  }
}
export const session = signal<Session | null>(readSession());
export const signingIn = signal<string | null>(null);

export interface Toast {
  side: SideName;
  kind: 'live' | 'wait' | 'harm';
  head: string;
  text: string;
  orders?: boolean;
  id: number;
}
export const toasts = signal<Toast[]>([]);
let toastId = 0;
export function toast(side: SideName, kind: Toast['kind'], head: string, text: string, orders = false): void {
  const id = ++toastId;
  toasts.value = [...toasts.value.filter((other) => other.side !== side), { side, kind, head, text, orders, id }];
  setTimeout(() => {
    toasts.value = toasts.value.filter((other) => other.id !== id);
  }, 7000);
}

/** Prefix of the API of a pane's side. */
export const prefix = (side: SideName): string =>
  side === 'u' && site.value.side === 'protected' ? (site.value.twin ?? '') : '';
/** Whether the page is served by the twin's own port and therefore has only its pane. */
export const bareSite = computed(() => site.value.side === 'bare');

/** Signs in. A failure is shown only if the viewer asked for it. */
export async function signIn(name: string, asked = true): Promise<boolean> {
  if (asked) signingIn.value = name;
  const body = { username: name, password: site.value.demo.password };
  const answer = await call<LoginReply>('/api/login', { method: 'POST', body });
  if (asked) signingIn.value = null;
  if (!answer.data) {
    if (asked) toast('p', 'harm', `${answer.status || ''} ${name}`.trim(), answer.detail ?? '');
    return false;
  }
  const { token, user_id, expires_at } = answer.data;
  session.value = { name, token, id: user_id };
  kept.set('session', JSON.stringify({ name, token, id: user_id, until: expires_at }));
  round.value++;
  return true;
}
/** Whether the viewer signed out by a click, after which nobody is signed in automatically. */
export const leftByHand = signal(false);
export function signOut(): void {
  session.value = null;
  kept.set('session', null);
  round.value++;
}

/** Every film in an answer so far, to find the title for an id. */
export const films = signal<Record<number, Film>>({});
export function remember(items: Film[]): void {
  const fresh = items.filter((film) => !films.value[film.id]);
  if (fresh.length > 0) films.value = { ...films.value, ...Object.fromEntries(fresh.map((film) => [film.id, film])) };
}
export const title = (film: { id: number; title: string }): string =>
  (lang.value === 'ko' && KOREAN[film.id]) || film.title;

/** One entry in a pane's list of last answers. */
export interface Seen {
  status: number;
  ms: number;
  source?: string;
}
export interface PaneState {
  /** State of the page's main request: when it was sent (performance.now) if it is pending, and the last answer. */
  since: number | null;
  path: string;
  answer: Answer<unknown> | null;
  seen: Seen[];
}
const empty = (): PaneState => ({ since: null, path: '', answer: null, seen: [] });
export const panes = { p: signal<PaneState>(empty()), u: signal<PaneState>(empty()) };

/** Orders placed here, by viewer: the side through which each went, and the time of its next payment attempt. */
export interface Placed {
  id: string;
  side: SideName;
  retryAt: number | null;
}
const placedKey = (): string => `placed.${session.value?.name ?? ''}`;
export function placed(): Placed[] {
  try {
    return JSON.parse(kept.get(placedKey()) ?? '[]') as Placed[];
  } catch {
    return [];
  }
}
export function place(side: SideName, answer: OrderAnswer): void {
  const retryAt = answer.retry_after_seconds === null ? null : Date.now() / 1000 + answer.retry_after_seconds;
  const all = [{ id: answer.order_id, side, retryAt }, ...placed()].slice(0, 100);
  kept.set(placedKey(), JSON.stringify(all));
}
/** State of the purchase sheet and of the film countdown. */
export interface Sheet {
  film: Film;
  kind: 'rent' | 'buy' | 'premiere';
}
export const sheet = signal<Sheet | null>(null);
export const reel = signal<Film | null>(null);
/** Incremented when an order was placed or cancelled here: the stream watches the viewer's orders again. */
export const ordered = signal(0);
/** Number of orders waiting for payment, shown beside the link. */
export const waiting = signal(0);
/** The payment notice, if an order has just received it. */
export const paymentNotice = signal<{ text: string; until: number } | null>(null);
