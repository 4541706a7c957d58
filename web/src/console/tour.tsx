/** The guided tour: five steps, each verified against the program's state. */
import { signal } from '@preact/signals';
import type { FaultPlan } from '../shared/admin';
import { useEffect } from 'preact/hooks';
import { act, copy, curl, type Command } from './act';
import { alerts, breaker, faults, processes, queue, scenario, transitions, at, edge } from './feed';
import { CopyIcon } from './do';
import { chosen } from './map';
import { tab } from './tabs';
import { broken, percent, shares, usual } from './words';

interface Goal {
  text: string;
  done: () => boolean;
}
interface Lesson {
  name: string;
  why: string;
  /** What to click, and a command that does it. */
  click: string;
  commands: Command[];
  open?: () => void;
  goals: Goal[];
}

/** Server time at which the current lesson started. */
const begun = signal(0);
export const lesson = signal(-1);
const passed = signal<Record<string, boolean>>({});
const fault = (target: string, body: Record<string, unknown>, ttl: number): Command => ({
  method: 'PUT',
  path: `/faults/${target}`,
  body: { ...body, ttl: `${ttl}s` },
  what: `${target} is broken for ${ttl} s.`,
});
const pause: Command = { method: 'POST', path: '/scenario/stop', what: 'The scenario has stopped.' };
const moved = (service: string, name: string, to: string): boolean =>
  transitions.value.some(
    (one) => one.service === service && one.breaker === name && one.to === to && one.unix_seconds >= begun.value - 1,
  );
/** Whether a lesson's fault is active at a target; default faults do not count. */
const isBroken = (target: string, how: (plan: FaultPlan) => boolean): boolean =>
  faults.value.some((one) => one.target === target && !usual(one) && how(one.plan));
const fails = (plan: FaultPlan): boolean => (plan.error_rate ?? 0) >= 0.9;

export const LESSONS: Lesson[] = [
  {
    name: 'Trip a breaker',
    why: 'A failing service gets no more calls: callers fail fast, and the service gets time to recover.',
    click: 'On the map choose ml-api, set Errors to 100 % for 40 s.',
    commands: [fault('ml-api', { error_rate: 1 }, 40)],
    open: () => (chosen.value = { kind: 'edge', service: 'recommendation', name: 'ml-api' }),
    goals: [
      { text: 'ml-api answers errors', done: () => isBroken('ml-api', fails) },
      { text: 'the breaker opens', done: () => moved('recommendation', 'ml-api', 'open') },
      { text: 'it probes', done: () => moved('recommendation', 'ml-api', 'half_open') },
      { text: 'it closes again by itself', done: () => moved('recommendation', 'ml-api', 'closed') },
    ],
  },
  {
    name: 'Why the page still loads',
    why: 'A fallback answers in place of the service: a cached answer, popular films, or a notice.',
    click: 'Choose catalog, and crash it for 40 s. Watch both sides of “What viewers get”.',
    commands: [fault('catalog', { crash: true }, 40)],
    open: () => (chosen.value = null),
    goals: [
      { text: 'the catalog is down', done: () => isBroken('catalog', (plan) => plan.crash === true || fails(plan)) },
      { text: 'the protected side answers from fallbacks', done: () => (shares('gateway')?.degraded ?? 0) > 0.2 },
      { text: 'the unprotected twin fails', done: () => (shares('gateway-bare')?.error ?? 0) > 0.2 },
      {
        text: 'protected pages do not fail',
        done: () => (shares('gateway')?.degraded ?? 0) > 0.2 && (shares('gateway')?.error ?? 1) < 0.05,
      },
    ],
  },
  {
    name: 'The slow one',
    why: 'A slow service is worse than a failing one: calls pile up. Slow calls open the breaker although none fails.',
    click: 'Choose ml-api, and make it answer 1.5 s late.',
    commands: [fault('ml-api', { latency: { fixed: '1500ms' } }, 60)],
    open: () => (chosen.value = { kind: 'edge', service: 'recommendation', name: 'ml-api' }),
    goals: [
      { text: 'ml-api is slow', done: () => isBroken('ml-api', (plan) => plan.latency != null) },
      {
        text: 'slow calls or timeouts open its breaker',
        done: () => moved('recommendation', 'ml-api', 'open'),
      },
      {
        text: 'calls are rejected instead of waiting',
        done: () => (edge('recommendation', 'ml-api')?.calls['rejected'] ?? 0) > 0,
      },
    ],
  },
  {
    name: 'Money in doubt',
    why: 'No order is charged twice and no payment is lost: orders that may wait are queued and charged once.',
    click: 'Choose payment-gateway, set Errors to 100 % for 30 s.',
    commands: [fault('payment-gateway', { error_rate: 1 }, 30)],
    open: () => (chosen.value = { kind: 'edge', service: 'checkout', name: 'payment-gateway' }),
    goals: [
      { text: 'payments fail', done: () => isBroken('payment-gateway', fails) },
      {
        text: 'three failures in a row open the breaker',
        done: () => breaker('checkout', 'payment-gateway')?.state !== 'closed',
      },
      { text: 'an order waits in the queue', done: () => (queue.value?.depth ?? 0) > 0 },
    ],
  },
  {
    name: 'Prove an alert',
    why: 'An alert that has never fired is unproven. Force a breaker open, and watch it arrive and resolve here.',
    click: 'Choose gateway → checkout, and force it open. With Prometheus running, its alert arrives; then reset it.',
    commands: [
      {
        method: 'PATCH',
        path: '/breakers/gateway/checkout',
        body: { state: 'forced_open' },
        what: 'gateway → checkout is forced open.',
      },
    ],
    open: () => (chosen.value = { kind: 'edge', service: 'gateway', name: 'checkout' }),
    goals: [
      {
        text: 'the breaker is forced open',
        done: () =>
          moved('gateway', 'checkout', 'forced_open') || breaker('gateway', 'checkout')?.state === 'forced_open',
      },
      {
        text: 'its alert arrives (or no Prometheus delivers here)',
        done: () =>
          (breaker('gateway', 'checkout')?.state === 'forced_open' || moved('gateway', 'checkout', 'forced_open')) &&
          (!alerts.value?.pipeline_alive_since_unix_seconds ||
            alerts.value.alerts.some(
              (one) => one.labels['breaker'] === 'checkout' && one.received_unix_seconds >= begun.value,
            )),
      },
      {
        text: 'it is reset',
        done: () => moved('gateway', 'checkout', 'forced_open') && breaker('gateway', 'checkout')?.state === 'closed',
      },
    ],
  },
];
const reset: Command = {
  method: 'PATCH',
  path: '/breakers/gateway/checkout',
  body: { state: 'reset' },
  what: 'gateway → checkout is reset.',
};

export function begin(index: number): void {
  // Faults of the scenario would be mistaken for those of the lesson.
  if (index >= 0 && scenario.value && scenario.value.mode !== 'stopped') void act(pause);
  lesson.value = index;
  begun.value = at.value;
  tab.value = index < 0 ? tab.value : 'live';
}

/** A goal that was reached once stays reached. */
function useGoals(index: number): boolean[] {
  const own = LESSONS[index]?.goals ?? [];
  const now = own.map((goal, i) => passed.value[`${index}.${i}.${begun.value}`] === true || goal.done());
  useEffect(() => {
    const fresh = own.map((_, i) => `${index}.${i}.${begun.value}`).filter((key, i) => now[i] && !passed.value[key]);
    if (fresh.length > 0) passed.value = { ...passed.value, ...Object.fromEntries(fresh.map((key) => [key, true])) };
  });
  return now;
}

/** The current lesson, above the map. */
export function TourBar() {
  const index = lesson.value;
  const done = useGoals(index);
  const own = LESSONS[index];
  void scenario.value;
  if (!own) return null;
  const all = done.every(Boolean);
  const last = index === LESSONS.length - 1;
  return (
    <section class="card tourbar" aria-label="Guided tour" data-lesson={index + 1} data-passed={all}>
      <div>
        <h2>
          {index + 1} of {LESSONS.length}: {own.name}
        </h2>
        <p>{own.click}</p>
        <p class="mute">{own.why}</p>
      </div>
      <ol class="goals">
        {own.goals.map((goal, i) => (
          <li key={goal.text} class={done[i] ? 'ok' : ''}>
            {done[i] ? '✓' : '○'} {goal.text}
          </li>
        ))}
      </ol>
      <div class="acts2">
        <button
          class="btn"
          title={own.commands.map((command) => curl(command, processes.value.locked)).join('\n')}
          data-do
          onClick={() =>
            void (async () => {
              for (const command of own.commands) await act(command);
              own.open?.();
            })()
          }
        >
          Do it for me
        </button>
        <button
          class="ib"
          aria-label="Copy the commands as curl"
          onClick={() => void copy(own.commands.map((command) => curl(command, processes.value.locked)).join('\n'))}
        >
          <CopyIcon />
        </button>
        {last && done[0] ? (
          <button class="btn" data-reset onClick={() => void act(reset)}>
            Reset it
          </button>
        ) : null}
        <button class={`btn${all ? ' pri' : ''}`} data-next onClick={() => begin(last ? -1 : index + 1)}>
          {last ? 'End' : all ? 'Next' : 'Skip'}
        </button>
        <button class="btn" onClick={() => begin(-1)}>
          Leave
        </button>
      </div>
    </section>
  );
}

export function TourPage() {
  return (
    <section class="page">
      <h1>Guided tour</h1>
      <p class="sub">
        Five steps of two minutes. Each says what to click and what will happen, and checks by itself that it did. The
        scenario is stopped meanwhile; start it again on the live page.
      </p>
      <ol class="lessons">
        {LESSONS.map((own, i) => (
          <li class="card pad" key={own.name}>
            <h2>{own.name}</h2>
            <p>{own.why}</p>
            <p class="mute">{own.click}</p>
            <button class="btn pri" data-begin={i + 1} onClick={() => begin(i)}>
              Begin
            </button>
          </li>
        ))}
      </ol>
      <p class="mute">
        Now:{' '}
        {broken().length === 0
          ? 'nothing is broken'
          : broken()
              .map((one) => one.target)
              .join(', ')}
        ; {percent(shares('gateway')?.error ?? 0)} of protected pages fail.
      </p>
    </section>
  );
}
