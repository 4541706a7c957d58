/** The event stream and its state: a snapshot, then deltas. The page never polls. */
import { computed, signal } from '@preact/signals';
import type {
  Action,
  Breaker,
  Drills,
  DrillRun,
  FaultTarget as Fault,
  Overview as Alerts,
  QueueStatus as Queue,
  ScenarioStatus as Scenario,
  Transition,
} from '../shared/admin';

export type {
  Action,
  Alert,
  Breaker,
  Drills,
  DrillRun,
  FaultTarget as Fault,
  ScenarioStatus as Scenario,
  ScenarioStep as Step,
  Transition,
} from '../shared/admin';

export interface Edge {
  per_second: number;
  mean_ms: number | null;
  calls: Record<string, number>;
  totals: Record<string, number>;
  fallbacks: Record<string, number>;
  in_flight: number;
  capacity: number;
}
export interface Node {
  per_second: number;
  errors_per_second: number;
  mean_ms: number | null;
  in_flight: number;
}
export interface Viewers {
  ok: number;
  degraded: number;
  error: number;
  p99_ms: number | null;
  in_flight: number;
  pool: { in_flight: number; capacity: number; queued: number };
}
/** Pages of one second: ok, degraded, error, and the p99 of the last five seconds in milliseconds. */
type Got = [number, number, number, number | null];
export interface Point {
  t: number;
  p?: Got;
  u?: Got;
}
export interface Money {
  orders: Record<string, number>;
  revenue: Record<string, number>;
}

/** The identity of a transition: its breaker and the generation of the new state. */
const change = (one: Transition): string =>
  `${one.process ?? ''} ${one.service}/${one.breaker} ${one.generation} ${one.unix_seconds}`;
/** Appends transitions without duplicates, which occur if a snapshot and the following delta overlap. */
function joined(old: Transition[], more: Transition[]): Transition[] {
  const known = new Set(old.map(change));
  const fresh = more.filter((one) => !known.has(change(one)));
  if (fresh.length === 0) return old;
  return [...old, ...fresh].sort((a, b) => a.unix_seconds - b.unix_seconds).slice(-TRANSITIONS);
}

/** Seconds of history kept, as on the server. */
const HISTORY = 600;
const TRANSITIONS = 500;

export const entries = signal<Record<string, unknown>>({});
export const history = signal<Point[]>([]);
export const transitions = signal<Transition[]>([]);
/** Server time (Unix seconds) at the last message; the page's clock at that moment follows. */
export const at = signal(0);
export const link = signal<'connecting' | 'live' | 'lost'>('connecting');
/** Incremented twice a second, to update countdowns between messages. */
export const beat = signal(0);
let heard = 0;

/** Current server time, in Unix seconds. */
export const serverNow = (): number => {
  void beat.value;
  return at.value + (heard ? (performance.now() - heard) / 1000 : 0);
};

interface Message {
  at: number;
  entries: Record<string, unknown>;
  history?: Point[];
  point?: Point;
  transitions: Transition[];
}

export function listen(): void {
  const source = new EventSource('/console/events');
  const take = (message: Message) => {
    heard = performance.now();
    at.value = message.at;
    link.value = 'live';
  };
  source.addEventListener('snapshot', (event) => {
    const message = JSON.parse((event as MessageEvent<string>).data) as Message;
    entries.value = message.entries;
    history.value = message.history ?? [];
    transitions.value = message.transitions;
    take(message);
  });
  source.addEventListener('delta', (event) => {
    const message = JSON.parse((event as MessageEvent<string>).data) as Message;
    const next = { ...entries.value };
    for (const [key, value] of Object.entries(message.entries)) {
      if (value === null) delete next[key];
      else next[key] = value;
    }
    entries.value = next;
    if (message.point) history.value = [...history.value.slice(1 - HISTORY), message.point];
    transitions.value = joined(transitions.value, message.transitions);
    take(message);
  });
  source.addEventListener('error', () => {
    link.value = heard ? 'lost' : 'connecting';
    // A browser reconnects automatically unless the response was an error.
    if (source.readyState === EventSource.CLOSED) {
      source.close();
      setTimeout(listen, 1000);
    }
  });
  setInterval(() => {
    beat.value++;
    if (heard && performance.now() - heard > 5000) link.value = 'lost';
  }, 500);
}

function list<T>(prefix: string): T[] {
  return Object.entries(entries.value)
    .filter(([key]) => key.startsWith(prefix))
    .map(([, value]) => value as T);
}
export const breakers = computed(() => list<Breaker>('breaker/'));
export const faults = computed(() => list<Fault>('fault/'));
export const scenario = computed(() => entries.value['scenario'] as Scenario | undefined);
export const alerts = computed(() => (entries.value['alerts'] as Alerts | undefined) ?? null);
export const queue = computed(() => entries.value['queue'] as Queue | undefined);
export const actions = computed(() => (entries.value['actions'] as Action[] | undefined) ?? []);
export const drills = computed(() => entries.value['drills'] as Omit<Drills, 'run'> | undefined);
export const drill = computed(() => (entries.value['drill'] ?? undefined) as DrillRun | undefined);
export const money = computed(() => entries.value['money'] as Money | undefined);
export const processes = computed(
  () =>
    (entries.value['processes'] as
      | { unreachable: { name: string; why: string }[] | null; locked: boolean; storefront: string | null }
      | undefined) ?? { unreachable: null, locked: false, storefront: null },
);
export const edge = (service: string, name: string): Edge | undefined =>
  entries.value[`edge/${service}/${name}`] as Edge | undefined;
export const node = (service: string): Node | undefined => entries.value[`node/${service}`] as Node | undefined;
export const viewers = (gateway: string): Viewers | undefined =>
  entries.value[`viewers/${gateway}`] as Viewers | undefined;

const GRAVITY = ['open', 'forced_open', 'half_open', 'disabled', 'metrics_only', 'closed'];
/** The breaker of an edge; if there are several instances, the one in the worst state. */
export function breaker(service: string, name: string): Breaker | undefined {
  const own = breakers.value.filter((one) => one.service === service && one.name === name);
  return own.sort((a, b) => GRAVITY.indexOf(a.state) - GRAVITY.indexOf(b.state))[0];
}
export const instances = (service: string, name: string): Breaker[] =>
  breakers.value.filter((one) => one.service === service && one.name === name);
export const fault = (target: string): Fault | undefined => faults.value.find((one) => one.target === target);
