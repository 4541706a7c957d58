/** The column beside the map: what viewers get on both sides, and the latest transitions. */
import { alerts, transitions } from './live';
import { breakers, edge, viewers, type Transition } from './feed';
import { EDGES } from './map';
import { clock, millis, percent, reason, shares, STATES } from './words';
import { tab } from './tabs';

/** Pages per second by kind of fallback. */
function fallbacks(): [string, number][] {
  const sum = new Map<string, number>();
  for (const { service, name } of EDGES.filter(
    (one) => one.service === 'gateway' || one.service === 'recommendation',
  )) {
    for (const [kind, per] of Object.entries(edge(service, name)?.fallbacks ?? {}))
      sum.set(kind, (sum.get(kind) ?? 0) + per);
  }
  return [...sum].filter(([, per]) => per >= 0.05).sort((a, b) => b[1] - a[1]);
}

function SidePart({ gateway, head, twin }: { gateway: string; head: string; twin?: boolean }) {
  const seen = viewers(gateway);
  const part = shares(gateway);
  return (
    <div class={`side${twin ? ' tw2' : ''}`} data-side={gateway}>
      <h3>{head}</h3>
      {seen && part && part.total > 0 ? (
        <>
          <p class={`big${part.error > 0.005 ? ' harm' : ''}`}>
            {percent(part.error)}
            <small>of pages fail</small>
          </p>
          <div class="stack" aria-hidden="true">
            <i style={{ width: `${part.ok * 100}%`, background: 'var(--closed)' }} />
            <i style={{ width: `${part.degraded * 100}%`, background: 'var(--cache)' }} />
            <i style={{ width: `${part.error * 100}%`, background: 'var(--open)' }} />
          </div>
          <dl>
            <dt>
              <span class="sw ok" />
              Live
            </dt>
            <dd>{percent(part.ok)}</dd>
            <dt>
              <span class="sw dg" />
              Fallback
            </dt>
            <dd>{twin ? 'none' : percent(part.degraded)}</dd>
            <dt>
              <span class="sw er" />
              Errors
            </dt>
            <dd class={part.error > 0.005 ? 'harm' : ''}>{percent(part.error)}</dd>
            <dt>p99</dt>
            <dd>{millis(seen.p99_ms)}</dd>
            <dt>{seen.pool.capacity ? 'Calls in pool' : 'In flight'}</dt>
            <dd>{seen.pool.capacity ? `${seen.pool.in_flight} of ${seen.pool.capacity}` : seen.in_flight}</dd>
          </dl>
        </>
      ) : (
        <p class="mute">{seen ? 'No viewers at the moment.' : 'Does not run in a process that this console knows.'}</p>
      )}
    </div>
  );
}

export function Rail() {
  const firing = (alerts.value?.alerts ?? []).filter((alert) => alert.status === 'firing' && alert.name !== 'Watchdog');
  const gravest = firing.find((alert) => alert.labels['severity'] === 'critical') ?? firing[0];
  const notClosed = breakers.value.filter((breaker) => breaker.state !== 'closed').map((breaker) => breaker.name);
  const kinds = fallbacks();
  return (
    <div class="rail">
      <section class="card views" aria-label="What viewers get">
        <h2>What viewers get</h2>
        <div class="duo">
          <SidePart gateway="gateway" head="Protected" />
          <SidePart gateway="gateway-bare" head="Unprotected twin" twin />
        </div>
        {kinds.length > 0 ? (
          <p class="fbs">
            Fallback calls:{' '}
            {kinds.map(([kind, per]) => `${kind === 'popular' ? 'most watched' : kind} ${per.toFixed(1)}/s`).join(', ')}
          </p>
        ) : null}
      </section>
      <section class="card did" aria-label="What the breakers did">
        <h2>
          What the breakers did{' '}
          <span>
            {notClosed.length === 0
              ? `all ${breakers.value.length} closed`
              : `${notClosed.length} of ${breakers.value.length} not closed${notClosed.length === 1 ? `: ${notClosed[0]}` : ''}`}
          </span>
        </h2>
        <ul>
          {transitions.value.length === 0 ? (
            <li class="mute">Nothing yet. The first incident of the default scenario comes 20 s after its start.</li>
          ) : null}
          {folded().map((one) => (
            <li key={`${one.service} ${one.breaker} ${one.unix_seconds} ${one.process ?? ''}`}>
              <span class="tm">{clock(one.unix_seconds)}</span>
              <i class={`st-${one.to}`} />
              <span title={`${one.service} → ${one.breaker} ${one.says} ${one.why}`}>
                {ambiguous(one.breaker) ? `${one.service} → ` : ''}
                <b>{one.breaker}</b> {one.says}
                {one.why ? <em>, {one.why}</em> : null}
              </span>
            </li>
          ))}
        </ul>
        <button class="alertline" onClick={() => (tab.value = 'alerts')}>
          {gravest ? (
            <>
              <span class={`pill ${gravest.labels['severity'] ?? ''}`}>{gravest.labels['severity'] ?? 'alert'}</span>
              <span>{gravest.name}</span>
              <span class="go">{firing.length > 1 ? `and ${firing.length - 1} more` : 'show'}</span>
            </>
          ) : (
            <>
              <span class="mute">
                {alerts.value?.pipeline_alive_since_unix_seconds
                  ? 'No alert fires'
                  : 'No Prometheus delivers alerts here'}
              </span>
              <span class="go">{alerts.value?.pipeline_alive_since_unix_seconds ? 'show' : 'how'}</span>
            </>
          )}
        </button>
      </section>
    </div>
  );
}

/** Whether several services call a dependency with this name. */
export const ambiguous = (name: string): boolean => EDGES.filter((one) => one.name === name).length > 1;

/** The latest transitions; rounds of failed probes since a breaker opened are folded into one line. */
function folded() {
  const lines: (Transition & { again: boolean; times: number; says: string; why: string })[] = [];
  const all = transitions.value;
  for (let i = all.length - 1; i >= 0 && lines.length < 14; i--) {
    const one = all[i]!;
    if (one.to === 'half_open' && one.from === 'open') {
      const after = all
        .slice(i + 1)
        .some((next) => next.service === one.service && next.breaker === one.breaker && next.process === one.process);
      if (after) continue;
    }
    const again = one.to === 'open' && one.from === 'half_open';
    const own = (other: Transition) =>
      other.service === one.service && other.breaker === one.breaker && other.process === one.process;
    const newer = lines.findLast(own);
    if (again && newer?.again) {
      newer.times++;
      newer.why = `probes failed ${newer.times} times`;
      continue;
    }
    const says =
      one.to === 'open' && one.from === 'half_open'
        ? 'stays open'
        : one.to === 'open'
          ? 'opened'
          : one.to === 'closed'
            ? 'closed again'
            : one.to === 'half_open'
              ? 'is probing'
              : `is ${STATES[one.to]}`;
    lines.push({ ...one, again, times: 1, says, why: one.to === 'open' ? reason(one.reason) : '' });
  }
  return lines;
}
