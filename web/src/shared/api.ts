/** Types of the public API, as in `src/services/wire.rs` and `src/services/checkout/wire.rs`. */

export type Source = 'live' | 'replica' | 'cache' | 'popular' | 'none';

export interface Film {
  id: number;
  title: string;
  year: number;
  director: string;
  genres: string[];
  runtime_minutes: number;
}
export interface Sourced {
  source: Source;
  age_seconds?: number;
  notice?: string | null;
}
export interface Recommendation {
  film: Film;
  score: number;
  because: { id: number; title: string } | null;
}
export interface Recommendations extends Sourced {
  items: Recommendation[];
}
export interface HomeRow {
  title: string;
  source: Source;
  age_seconds?: number;
  items: Film[];
}
export interface Home extends Sourced {
  rows: HomeRow[];
  recommendations: Recommendations;
}
export interface Movies extends Sourced {
  items: Film[];
  total: number;
  page: number;
  per_page: number;
}
export interface Movie extends Sourced {
  film: Film | null;
}
export interface Me {
  source: Source;
  age_seconds?: number;
  profile: { id: number; username: string; favourite_genres: string[]; films_watched: number };
  history: { items: { film_id: number; watched_at: number }[]; total: number };
}
export interface Seats {
  left: number;
  capacity: number;
  next_showing_seconds: number;
}
export type OrderKind = 'rent' | 'buy' | 'premiere';
export type OrderState = 'pending' | 'charging' | 'queued' | 'cancelling' | 'paid' | 'cancelled' | 'dead';
export interface OrderAnswer {
  order_id: string;
  outcome: 'paid' | 'queued';
  amount_won: number;
  notice: string | null;
  retry_after_seconds: number | null;
}
export interface OrderView {
  order_id: string;
  film_id: number;
  kind: OrderKind;
  amount_won: number;
  state: OrderState;
  reason: string;
  created_at: number;
  can_cancel: boolean;
  /** Latest time of the next attempt, in Unix milliseconds, while it is queued. */
  next_attempt_at?: number;
}
export interface OrderList {
  /** Newest first. */
  items: OrderView[];
}
export interface LoginReply {
  token: string;
  user_id: number;
  expires_at: number;
}
export interface Site {
  side: 'protected' | 'bare';
  twin: string | null;
  console: string | null;
  demo: { viewers: string[]; password: string };
}
export interface BreakerStatus {
  service: string;
  name: string;
  state: string;
  retry_after_seconds: number;
}

/** The result of a request, successful or not. */
export interface Answer<T> {
  /** HTTP status; 0 without a response. */
  status: number;
  ms: number;
  /** Arrival time, in milliseconds since 1970. */
  at: number;
  data?: T;
  /** The error's detail. */
  detail?: string;
  /** The raw body of an error. */
  raw?: string;
  retryAfter?: number;
}

/** Timeout of a request, after which the page shows an error. */
export const PATIENCE_MS = 30_000;

export interface Call {
  method?: string;
  body?: unknown;
  token?: string;
  key?: string;
  signal?: AbortSignal;
}

/** Sends one request. Never throws: errors are returned as answers. */
export async function call<T>(
  url: string,
  { method = 'GET', body, token, key, signal }: Call = {},
): Promise<Answer<T>> {
  const headers: Record<string, string> = { accept: 'application/json' };
  if (token) headers.authorization = `Bearer ${token}`;
  if (key) headers['idempotency-key'] = key;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const begun = performance.now();
  const patience = AbortSignal.timeout(PATIENCE_MS);
  const ended = () => ({ ms: performance.now() - begun, at: Date.now() });
  try {
    const response = await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
      cache: 'no-store',
    });
    const text = await response.text();
    const wait = Number(response.headers.get('retry-after'));
    const answer: Answer<T> = { status: response.status, ...ended() };
    if (Number.isFinite(wait) && wait > 0) answer.retryAfter = wait;
    let parsed: unknown;
    try {
      parsed = text ? JSON.parse(text) : undefined;
    } catch {
      parsed = undefined;
    }
    if (response.ok && (parsed !== undefined || response.status === 204)) return { ...answer, data: parsed as T };
    const detail = (parsed as { detail?: unknown } | undefined)?.detail;
    return {
      ...answer,
      status: response.ok ? 0 : response.status,
      detail: typeof detail === 'string' ? detail : response.ok ? 'the answer is not JSON' : response.statusText,
      raw: text.slice(0, 2000),
    };
  } catch (error) {
    const late = error instanceof DOMException && error.name === 'TimeoutError';
    return {
      status: 0,
      ...ended(),
      detail: late ? `no answer within ${PATIENCE_MS / 1000} s` : 'the connection failed',
    };
  }
}
