/**
 * The summary at the top: what is broken, what viewers get, what they would get without protection, what comes next.
 */
import { link, money, queue, scenario, transitions, unreachableNow } from './live';
import {
  broken,
  left,
  millis,
  NAMES,
  nextStep,
  openBreakers,
  percent,
  position,
  share,
  shares,
  span,
  stepName,
  stepOf,
  trouble,
  usual,
} from './words';
import { breakers, edge, faults as everyFault, viewers, type Fault } from './feed';
import { EDGES } from './map';

/** Response time from which viewers notice a page as slow, in milliseconds. */
const SLOW = 1000;

/** Seconds since the scenario set a fault on a target. */
const since = (target: string): number | null => {
  const step = stepOf(target);
  return step ? Math.max(0, position() - step.from_seconds) : null;
};

/** What the twin's viewers get while none of its pages fails: the same, possibly late. */
function slower(): string {
  const [p, u] = [viewers('gateway')?.p99_ms ?? 0, viewers('gateway-bare')?.p99_ms ?? 0];
  return u > SLOW && u > 2 * p
    ? `Without protection pages load, and 1 in 100 takes ${millis(u)} or more, not ${millis(p)}. `
    : 'Without protection all pages load, too. ';
}

/** A list of names for a sentence, without duplicates. */
function listed(names: string[]): string {
  const all = [...new Set(names)];
  return all.length < 2 ? (all[0] ?? '') : `${all.slice(0, -1).join(', ')} and ${all.at(-1)}`;
}

/** Calls per second affected by a fault. */
function weight(fault: Fault): number {
  const calls = EDGES.filter((one) => one.name === fault.target).map(
    (one) => edge(one.service, one.name)?.per_second ?? 0,
  );
  return share(fault.plan) * calls.reduce((sum, per) => sum + per, 0);
}

export function Say() {
  // The fault that affects most calls comes first, because viewers notice it most.
  const faults = broken().sort((a, b) => weight(b) - weight(a));
  const open = openBreakers();
  const [p, u] = [shares('gateway'), shares('gateway-bare')];
  const first = faults[0];
  const always = everyFault.value.filter((fault) => usual(fault) && fault.active.length > 0);
  const healed = open.filter((breaker) => !faults.some((fault) => touches(fault.target, breaker.name)));
  const probing = breakers.value.filter((breaker) => breaker.state === 'half_open');
  const grave = (p?.error ?? 0) > 0.02;
  const kind = grave ? 'open' : first || open.length ? 'half' : 'closed';
  const next = nextStep();
  void transitions.value;
  const waits = queue.value?.depth ?? 0;
  const resumes = open.filter((breaker) => breaker.state === 'open').sort((a, b) => left(a) - left(b))[0];
  const ago = first ? since(first.target) : null;
  const calm = !first && open.length === 0 && probing.length === 0;
  return (
    <section class="say" style={{ '--c': `var(--${kind})` }} aria-label="What is happening">
      <span class="mark" aria-hidden="true">
        <svg viewBox="0 0 22 22" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round">
          {calm ? <path d="M2 11H7M15 11H20M7 11H15" /> : <path d="M2 14H7M15 14H20M7 14L15 7" />}
          <circle cx="7" cy={calm ? 11 : 14} r="1.6" fill="currentColor" />
          <circle cx="15" cy={calm ? 11 : 14} r="1.6" fill="currentColor" />
        </svg>
      </span>
      <div>
        <p data-say role="status">
          {link.value === 'lost' ? <b>The connection to the program is lost; this is its last known state. </b> : null}
          {calm ? (
            <b>Nothing is broken. </b>
          ) : first ? (
            <b>
              {NAMES[first.target] ?? first.target} {trouble(first.plan)}
              {ago !== null && ago >= 1 ? `, for ${span(ago)}` : ''}.{' '}
            </b>
          ) : healed[0] ? (
            <b>
              {healed.every((breaker) => wasBroken(breaker.name)) ? 'The fault is over; ' : 'Nothing is broken now; '}
              {healed.length > 1 ? 'the breakers' : 'the breaker'} in front of {listed(healed.map((one) => one.name))}{' '}
              {healed.length > 1 ? 'are' : 'is'} still open.{' '}
            </b>
          ) : (
            <b>A breaker is probing: {probing.map((breaker) => breaker.name).join(', ')}. </b>
          )}
          {p ? (
            p.total === 0 ? (
              'No viewers are on the site. '
            ) : p.error > 0.005 ? (
              <>
                <b class="harm">{percent(p.error)} of pages fail. </b>
                {p.degraded > 0.005 ? `${percent(p.degraded)} come from a fallback. ` : ''}
              </>
            ) : p.degraded > 0.005 ? (
              calm ? (
                `In the last seconds ${percent(p.degraded)} of pages came from a fallback, and none failed. `
              ) : (
                `Viewers get ${percent(p.degraded)} of pages from a fallback; no page fails. `
              )
            ) : (
              'Every page is live. '
            )
          ) : null}
          {waits > 0 ? `${waits} ${waits === 1 ? 'order waits' : 'orders wait'} in the queue to be paid once. ` : ''}
          {u && u.total > 0 && (!calm || u.error > 0.005) ? (
            u.error > 0.005 ? (
              <em>Without protection {percent(u.error)} of pages fail. </em>
            ) : (
              <em>{slower()}</em>
            )
          ) : null}
          {resumes ? (
            <>
              {resumes.name === 'payment-gateway'
                ? 'Payments are tried again in '
                : `The breaker to ${resumes.name} tries again in `}
              <i>{span(left(resumes))}</i>.
            </>
          ) : null}
        </p>
        <p class="also">
          {faults.length > 1
            ? `Also: ${faults
                .slice(1)
                .map((fault) => `${fault.target} ${trouble(fault.plan)}`)
                .join('; ')}. `
            : ''}
          {!first && always.length > 0
            ? `As always, ${always.map((fault) => `${fault.target} ${trouble(fault.plan)}`).join(', and ')}. `
            : ''}
          {first && healed.length > 0
            ? `Still open after its fault: ${healed.map((breaker) => `${breaker.name} (${span(left(breaker))})`).join(', ')}. `
            : ''}
          {unreachableNow().length > 0 ? `Cannot be reached: ${unreachableNow().join(', ')}. ` : ''}
          {(money.value?.revenue['lost'] ?? 0) > 0 && faults.some((fault) => fault.target === 'payment-gateway')
            ? `Orders that could not wait are lost. `
            : ''}
          {scenario.value?.mode === 'running' && next
            ? `Next in the scenario, in ${span(next.from_seconds - position())}: ${stepName(next.name)}.`
            : scenario.value?.mode === 'paused'
              ? 'The scenario is paused: its faults stay as they are.'
              : ''}
        </p>
      </div>
    </section>
  );
}

/** Whether the scenario has set a fault behind a breaker in this round. */
const wasBroken = (name: string): boolean =>
  scenario.value?.steps.some(
    (step) => step.target != null && touches(step.target, name) && step.to_seconds <= position(),
  ) ?? false;

/** Whether a fault at a target explains the state of a breaker. */
function touches(target: string, name: string): boolean {
  return (
    target === name ||
    (target.startsWith('user-') && name === 'user') ||
    (target === 'ml-api' && name === 'recommendation')
  );
}
