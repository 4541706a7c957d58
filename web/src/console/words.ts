/** Phrases of the page. */
import { breakers, faults, scenario, serverNow, at, viewers, type Breaker, type Fault, type Step } from './feed';

export const percent = (share: number): string =>
  share > 0 && share < 0.01 ? '<1\u00a0%' : `${Math.round(share * 100)}\u00a0%`;
/** The name of a step for a sentence; names of services keep their hyphen. */
export const stepName = (name: string): string => name.replace(/-(?!api|gateway|primary|replica)/g, ' ');
/** A time span: 95 s as "1:35", 42 s as "42 s". */
export function span(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}
export const minute = (seconds: number): string => {
  const s = Math.max(0, Math.floor(seconds));
  return `${Math.floor(s / 60)}:${String(s % 60).padStart(2, '0')}`;
};
export const millis = (ms: number | null | undefined): string =>
  ms === null || ms === undefined ? '–' : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
export const won = (amount: number): string => '₩' + Math.round(amount).toLocaleString('en-US');
/** Accepts only web addresses as links. */
export const web = (url: string | null | undefined): string | null => (url && /^https?:\/\//.test(url) ? url : null);
export const clock = (unix: number): string =>
  new Date(unix * 1000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
export const STATES: Record<string, string> = {
  closed: 'closed',
  open: 'open',
  half_open: 'half-open',
  forced_open: 'forced open',
  disabled: 'disabled',
  metrics_only: 'counting only',
};
export const REASONS: Record<string, string> = {
  consecutive_failures: 'failures in a row',
  failure_rate: 'failure rate',
  slow_call_rate: 'slow calls',
  wait_elapsed: 'the wait is over',
  probes_succeeded: 'probes succeeded',
  probes_failed: 'probes failed',
  probe_timeout: 'probes did not end',
  forced: 'by hand',
  command: 'by hand',
};
export const reason = (name: string): string => REASONS[name] ?? name.replaceAll('_', ' ');

const rate = (plan: Record<string, unknown>, key: string): number => (typeof plan[key] === 'number' ? plan[key] : 0);
/** The share of requests affected by a plan, 0–1, over all of its kinds. */
export function share(plan: Record<string, unknown>): number {
  if (plan['crash'] === true) return 1;
  const latency = plan['latency'] ? rate({ r: plan['latency_rate'] ?? 1 }, 'r') : 0;
  const keys = ['error_rate', 'hang_rate', 'reset_rate', 'malformed_body_rate', 'lost_answer_rate', 'late_answer_rate'];
  return Math.max(latency, ...keys.map((key) => rate(plan, key)));
}
/** A fault as a verb: "crashed", "answers only errors". */
export function trouble(plan: Record<string, unknown>): string {
  if (plan['crash'] === true) return 'has crashed';
  const parts: string[] = [];
  const part = (key: string, all: string, some: string) => {
    const r = rate(plan, key);
    if (r > 0) parts.push(r >= 1 ? all : `${some} ${percent(r)} of calls`);
  };
  part('error_rate', 'answers only errors', 'fails');
  part('hang_rate', 'takes calls and never answers', 'never answers');
  part('reset_rate', 'resets every connection', 'resets');
  part('malformed_body_rate', 'cuts every answer off', 'cuts off');
  part('lost_answer_rate', 'loses every answer', 'loses the answer of');
  part('late_answer_rate', 'answers late', 'answers late for');
  if (plan['latency']) parts.push('is slow');
  if (plan['slow_body']) parts.push('trickles its answers');
  return parts.join(' and ') || 'is well';
}
/** A fault in two or three words, for the map. */
export function mark(plan: Record<string, unknown>): string {
  if (plan['crash'] === true) return 'crashed';
  const found = (
    [
      ['error_rate', 'errors'],
      ['hang_rate', 'hangs'],
      ['reset_rate', 'resets'],
      ['malformed_body_rate', 'cut answers'],
      ['lost_answer_rate', 'lost answers'],
      ['late_answer_rate', 'late answers'],
    ] as const
  ).filter(([key]) => rate(plan, key) > 0);
  const names = found.map(([key, name]) => `${name} ${percent(rate(plan, key))}`);
  if (plan['latency']) names.push('slow');
  if (plan['slow_body']) names.push('trickles');
  return names.join(', ');
}
/** Whether a fault is also active outside of incidents: by default, or between the steps of the scenario. */
export function usual(fault: Fault): boolean {
  const own = scenario.value;
  if (fault.at_baseline || !own || own.mode === 'stopped') return fault.at_baseline;
  const { ttl: _, ...plan } = fault.plan;
  return JSON.stringify(plan) === JSON.stringify(own.calm[fault.target]);
}
/** Remaining time of a fault, to be appended to its description. */
export const lasts = (fault: Fault): string =>
  usual(fault) ? ', as usual' : fault.remaining_seconds != null ? `, ${span(fault.remaining_seconds)} left` : '';
/** Faults of an incident or set by hand, without the usual ones. */
export const broken = (): Fault[] => faults.value.filter((fault) => !usual(fault) && fault.active.length > 0);
export const isOpen = (breaker: Breaker): boolean => breaker.state === 'open' || breaker.state === 'forced_open';
export const left = (breaker: Breaker): number =>
  Math.max(0, breaker.open_remaining_seconds - (serverNow() - at.value));

/** Position of the scenario, in seconds. */
export function position(): number {
  const own = scenario.value;
  if (!own) return 0;
  const moved = own.mode === 'running' ? serverNow() - at.value : 0;
  return Math.min(own.length_seconds, own.position_seconds + moved);
}
export const nextStep = (): Step | undefined =>
  scenario.value?.steps
    .filter((step) => step.from_seconds > position())
    .sort((a, b) => a.from_seconds - b.from_seconds)[0];
/** The step of the scenario that set a fault on a target, if one did. */
export const stepOf = (target: string): Step | undefined =>
  scenario.value?.steps.find((step) => step.target === target && scenario.value?.active.includes(step.name));

export interface Shares {
  ok: number;
  degraded: number;
  error: number;
  total: number;
}
/** What viewers of a gateway got in the last seconds, as shares. */
export function shares(gateway: string): Shares | null {
  const seen = viewers(gateway);
  if (!seen) return null;
  const total = seen.ok + seen.degraded + seen.error;
  const part = (n: number) => (total > 0 ? n / total : 0);
  return { ok: part(seen.ok), degraded: part(seen.degraded), error: part(seen.error), total };
}
export const openBreakers = (): Breaker[] => breakers.value.filter(isOpen);
/** The dependency at whose breaker the failure of a target appears. */
export const NAMES: Record<string, string> = {
  'payment-gateway': 'Payments',
  'user-primary': 'The primary user store',
  'user-replica': 'The user replica',
  catalog: 'The catalog',
  recommendation: 'The recommendation service',
  'ml-api': 'The ranking service (ml-api)',
  user: 'The user service',
  checkout: 'Checkout',
  inventory: 'The inventory',
  notification: 'Notifications',
  gateway: 'The gateway',
  'gateway-bare': 'The unprotected gateway',
};
