/** The panel beside the map: one breaker and why it tripped, or one service and its faults. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { act, copy, curl, type Command } from './act';
import { breaker, edge, fault, instances, node, processes, transitions, type Breaker, type Transition } from './feed';
import { chosen, EDGES } from './map';
import { Do } from './do';
import { clock, isOpen, lasts, left, mark, millis, percent, reason, share, span, STATES, trouble } from './words';

export function Panel() {
  const here = chosen.value;
  const box = useRef<HTMLElement>(null);
  const key = here ? (here.kind === 'edge' ? `${here.service}/${here.name}` : here.name) : '';
  const before = useRef<Element | null>(null);
  useEffect(() => {
    if (here && !box.current?.contains(document.activeElement)) {
      before.current = document.activeElement;
      box.current?.querySelector<HTMLElement>('h2')?.focus({ preventScroll: true });
    }
  }, [key]);
  useEffect(() => {
    const close = (event: KeyboardEvent) => {
      if (event.key === 'Escape') shut();
    };
    addEventListener('keydown', close);
    return () => removeEventListener('keydown', close);
  }, []);
  const shut = () => {
    chosen.value = null;
    (before.current as HTMLElement | null)?.focus?.();
  };
  if (!here) return null;
  return (
    <aside class="card panel on" ref={box} aria-label={key}>
      <header>
        <h2 tabIndex={-1}>{here.kind === 'edge' ? `${here.service} → ${here.name}` : here.name}</h2>
        {here.kind === 'edge' ? (
          <button class="btn" onClick={() => (chosen.value = { kind: 'node', name: here.name })}>
            Break it
          </button>
        ) : null}
        <button class="ib" aria-label="Close" onClick={shut}>
          <svg class="i" viewBox="0 0 16 16" aria-hidden="true">
            <path d="M4 4l8 8M12 4l-8 8" />
          </svg>
        </button>
      </header>
      {here.kind === 'edge' ? (
        <EdgePanel key={key} service={here.service} name={here.name} />
      ) : (
        <NodePanel key={key} name={here.name} />
      )}
    </aside>
  );
}

const num = (value: unknown): number | null => (typeof value === 'number' ? value : null);
/** What the callers of each breaker get while it is open. */
const CONSEQUENCE: Record<string, string> = {
  'gateway/recommendation': 'Home pages show the viewer’s cached row, else popular films.',
  'gateway/catalog': 'Pages come from the cache.',
  'gateway/user': 'Signed-in viewers stay signed in from the cache; new sign-ins fail.',
  'gateway/checkout': 'Orders fail. Watching is not affected.',
  'recommendation/ml-api': 'Recommendations come from the viewer’s cached row, else popular films.',
  'user/user-primary': 'The replica answers reads. Writes fail.',
  'user/user-replica': 'Only matters while the primary is down, too.',
  'checkout/user': 'Orders of recently verified viewers still pass.',
  'checkout/inventory': 'No stock can be reserved, so orders are refused.',
  'checkout/payment-gateway':
    'Orders that may wait are queued and charged once later; the others get the notice at once.',
  'checkout/notification': 'Receipts are not sent. Orders are not affected.',
};

function EdgePanel({ service, name }: { service: string; name: string }) {
  const own = breaker(service, name);
  const calls = edge(service, name);
  const [asking, setAsking] = useState<Command | null>(null);
  const all = instances(service, name);
  const last = transitions.value.filter((one) => one.service === service && one.breaker === name);
  const trip =
    last.findLast((one) => one.to === 'open' && one.from === 'closed') ?? last.findLast((one) => one.to === 'open');
  if (!own)
    return (
      <p class="mute">
        No breaker is known here{processes.value.unreachable?.length ? ': its process cannot be reached' : ''}.
      </p>
    );
  const path = `/breakers/${service}/${name}`;
  const set = (state: string, what: string): Command => ({ method: 'PATCH', path, body: { state }, what });
  const rest = own.state === 'open' ? left(own) : 0;
  const wait = num(trip?.open_wait_seconds) ?? 0;
  const tried = isOpen(own) && trip;
  return (
    <>
      <div class="lead">
        <Ring state={own.state} share={wait > 0 ? rest / wait : 0} text={rest > 0 ? span(rest) : ''} />
        <p>
          <span class={`pill ${own.state}`}>{STATES[own.state]}</span>{' '}
          {tried ? (
            <b>
              Tripped at {clock(trip.unix_seconds)}: {reason(trip.reason)}.{' '}
            </b>
          ) : own.state === 'half_open' ? (
            <b>Probing: {own.half_open_permits_in_use} tried. </b>
          ) : (
            <b>Calls pass. </b>
          )}
          {own.state === 'closed' ? `Health ${percent(own.health_score)}.` : CONSEQUENCE[`${service}/${name}`]}
        </p>
      </div>
      <Why own={own} trip={tried ? trip : undefined} />
      <section class="sec">
        <h3>By hand</h3>
        {asking ? (
          <div class="ask" role="alertdialog" aria-label="Confirm">
            <p>
              <b>Force it open?</b> Every call is rejected until it is reset. {CONSEQUENCE[`${service}/${name}`]}
            </p>
            <div>
              <button class="btn solid" onClick={() => (void act(asking), setAsking(null))}>
                Force open
              </button>
              <button class="btn" onClick={() => setAsking(null)}>
                Not now
              </button>
            </div>
          </div>
        ) : (
          <div class="acts">
            <Do command={set('reset', `${service} → ${name} is reset.`)}>Reset</Do>
            <Do command={set('closed', `${service} → ${name} is closed.`)}>Close</Do>
            <Do command={set('forced_open', `${service} → ${name} is forced open.`)} kind="danger" ask={setAsking}>
              Force open
            </Do>
            <Do command={set('disabled', `${service} → ${name} is disabled: every call passes.`)} kind="danger">
              Disable
            </Do>
            <Do command={set('metrics_only', `${service} → ${name} only counts.`)}>Count only</Do>
          </div>
        )}
      </section>
      {calls ? (
        <section class="sec">
          <h3>
            Calls, a second <span>{calls.capacity ? `bulkhead ${calls.in_flight} of ${calls.capacity}` : ''}</span>
          </h3>
          <dl class="kv">
            {Object.entries(calls.calls).map(([outcome, per]) => (
              <div key={outcome} class="ln">
                <dt>{outcome}</dt>
                <dd>
                  {per.toFixed(1)}{' '}
                  <small>{Math.round(calls.totals[outcome] ?? 0).toLocaleString('en-US')} in all</small>
                </dd>
              </div>
            ))}
            <div class="ln">
              <dt>mean duration</dt>
              <dd>{millis(calls.mean_ms)}</dd>
            </div>
            {Object.entries(calls.fallbacks).map(([kind, per]) => (
              <div key={kind} class="ln">
                <dt>answered by {kind}</dt>
                <dd>{per.toFixed(1)}</dd>
              </div>
            ))}
            <div class="ln">
              <dt>late results, ignored</dt>
              <dd>{own.late_results}</dd>
            </div>
          </dl>
        </section>
      ) : null}
      {all.length > 1 ? (
        <section class="sec">
          <h3>Instances</h3>
          <ul class="tlist">
            {all.map((one) => (
              <li key={one.process ?? ''}>
                <i class={`st-${one.state}`} /> {one.process ?? 'this process'}: {STATES[one.state]}
              </li>
            ))}
          </ul>
        </section>
      ) : null}
      <section class="sec">
        <h3>Last transitions</h3>
        {last.length === 0 ? <p class="mute">None yet.</p> : null}
        <ul class="tlist">
          {last
            .slice(-6)
            .reverse()
            .map((one) => (
              <li key={`${one.unix_seconds} ${one.to} ${one.process ?? ''}`}>
                <span class="tm">{clock(one.unix_seconds)}</span> <i class={`st-${one.to}`} /> {STATES[one.from]} →{' '}
                <b>{STATES[one.to]}</b>, {reason(one.reason)}
              </li>
            ))}
        </ul>
      </section>
      <Thresholds own={own} path={path} />
    </>
  );
}

const Ring = ({ state, share: part, text }: { state: string; share: number; text: string }) => (
  <svg class={`ring ${state}`} viewBox="0 0 60 60" width="60" height="60" aria-hidden="true">
    <circle cx="30" cy="30" r="25" fill="none" stroke="var(--line)" stroke-width="5" />
    <circle
      class="on"
      cx="30"
      cy="30"
      r="25"
      fill="none"
      stroke-width="5"
      stroke-dasharray={`${(state === 'closed' ? 1 : part) * 157} 157`}
      transform="rotate(-90 30 30)"
    />
    <text x="30" y="35" text-anchor="middle" font-weight="700" font-size="14" fill="var(--text)">
      {text}
    </text>
  </svg>
);

/** The ratios and their thresholds, at the trip or at present. */
function Why({ own, trip }: { own: Breaker; trip?: Transition }) {
  const settings = own.settings ?? {};
  const limit = (key: string) => num(settings[key]);
  const failures = (trip ?? own).failure_ratio ?? null;
  const slow = (trip ?? own).slow_ratio ?? null;
  const calls = trip ? trip.calls : own.window_calls;
  const rows: { name: string; value: number | null; limit: number | null; text: string; over: boolean }[] = [];
  const failureLimit = limit('failure_rate_threshold');
  const slowLimit = limit('slow_call_rate_threshold');
  const streak = limit('consecutive_failure_threshold');
  const minimum = limit('minimum_number_of_calls');
  const pct = (value: number | null) => (value === null ? 'too few calls' : percent(value));
  if (failureLimit !== null)
    rows.push({
      name: 'Failures',
      value: failures,
      limit: failureLimit / 100,
      text: `${pct(failures)}, limit ${failureLimit} %`,
      over: trip?.reason === 'failure_rate',
    });
  if (slowLimit !== null)
    rows.push({
      name: 'Slow calls',
      value: slow,
      limit: slowLimit / 100,
      text: `${pct(slow)}, limit ${slowLimit} %`,
      over: trip?.reason === 'slow_call_rate',
    });
  if (minimum !== null)
    rows.push({
      name: 'Calls in window',
      value: Math.min(1, calls / Math.max(1, minimum)),
      limit: null,
      text: `${calls}, counts from ${minimum}`,
      over: false,
    });
  return (
    <section class="sec">
      <h3>
        {trip ? 'Why it tripped' : 'How close it is'}{' '}
        <span>{trip ? `as it was at ${clock(trip.unix_seconds)}` : 'now'}</span>
      </h3>
      {rows.map((row) => (
        <div class="g" key={row.name}>
          <span>{row.name}</span>
          <div class="gb">
            <i class={row.over ? 'over' : ''} style={{ width: `${Math.min(100, (row.value ?? 0) * 100)}%` }} />
            {row.limit !== null ? <u style={{ left: `${Math.min(100, row.limit * 100)}%` }} /> : null}
          </div>
          <span>{row.text}</span>
        </div>
      ))}
      {streak !== null ? (
        <div class="g">
          <span>In a row</span>
          <span class={`rest${trip?.reason === 'consecutive_failures' ? ' bad' : ''}`}>
            {trip?.reason === 'consecutive_failures' ? `${streak} of ${streak}: this tripped it` : `trips at ${streak}`}
          </span>
        </div>
      ) : null}
    </section>
  );
}

/** The policy as settings; numbers can be edited. */
function Thresholds({ own, path }: { own: Breaker; path: string }) {
  const [open, setOpen] = useState(false);
  const [changes, setChanges] = useState<Record<string, number>>({});
  const entries = Object.entries(own.settings ?? {}).filter(([, value]) => typeof value !== 'object');
  const command: Command = { method: 'PATCH', path, body: { settings: changes }, what: 'The thresholds are changed.' };
  return (
    <details class="sec" open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Policy: thresholds and waits</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (Object.keys(changes).length > 0) void act(command).then((done) => done && setChanges({}));
        }}
      >
        <dl class="kv">
          {entries.map(([key, value]) => (
            <div key={key} class="ln">
              <dt>
                <label for={`set-${key}`}>{key.replaceAll(/[-_]/g, ' ')}</label>
              </dt>
              <dd>
                {typeof value === 'number' ? (
                  <input
                    id={`set-${key}`}
                    type="number"
                    step="any"
                    value={changes[key] ?? value}
                    onInput={(event) => setChanges({ ...changes, [key]: event.currentTarget.valueAsNumber })}
                  />
                ) : (
                  String(value)
                )}
              </dd>
            </div>
          ))}
        </dl>
        {Object.keys(changes).length > 0 ? (
          <p class="acts">
            <button class="btn pri">Change</button>
            <button class="btn" type="button" onClick={() => void copy(curl(command, processes.value.locked))}>
              Copy curl
            </button>
          </p>
        ) : null}
      </form>
    </details>
  );
}

const KINDS = [
  ['error_rate', 'Errors'],
  ['hang_rate', 'Never answers'],
  ['reset_rate', 'Resets connections'],
  ['malformed_body_rate', 'Cuts answers off'],
] as const;
/** Default time to live of a fault set here, in seconds. */
const TTL = 60;

function NodePanel({ name }: { name: string }) {
  const seen = node(name);
  const wrong = fault(name);
  const guards = EDGES.filter((one) => one.name === name);
  return (
    <>
      {seen ? (
        <p class="mute">
          {seen.per_second.toFixed(1)} requests a second, {millis(seen.mean_ms)} on average, {seen.in_flight} in flight
          {seen.errors_per_second > 0 ? `, ${seen.errors_per_second.toFixed(1)} errors a second` : ''}.
        </p>
      ) : null}
      {wrong ? <FaultForm name={name} /> : <p class="mute">No faults can be injected here.</p>}
      {guards.length > 0 ? (
        <section class="sec">
          <h3>Breakers in front of it</h3>
          <ul class="tlist">
            {guards.map((one) => {
              const own = breaker(one.service, one.name);
              return (
                <li key={one.service}>
                  <i class={`st-${own?.state ?? 'closed'}`} />{' '}
                  <button class="link" onClick={() => (chosen.value = { kind: 'edge', ...one })}>
                    {one.service} → {one.name}
                  </button>
                  , {STATES[own?.state ?? 'closed']}. {CONSEQUENCE[`${one.service}/${one.name}`]}
                </li>
              );
            })}
          </ul>
        </section>
      ) : null}
    </>
  );
}

/** Faults of a target as switches and sliders, which show the service's actual state. */
export function FaultForm({ name }: { name: string }) {
  const wrong = fault(name);
  const [rates, setRates] = useState<Record<string, number>>({});
  const [slow, setSlow] = useState(1500);
  const [ttl, setTtl] = useState(TTL);
  const plan: Record<string, unknown> = wrong?.plan ?? {};
  const put = (change: Record<string, unknown>, what: string): Command => {
    const { ttl: _, ...kept } = wrong && !wrong.at_baseline ? plan : ({} as Record<string, unknown>);
    const body: Record<string, unknown> = { ...kept, ...change, ttl: `${ttl}s` };
    for (const key of Object.keys(body))
      if (body[key] === 0 || body[key] === false || body[key] === null) delete body[key];
    return { method: 'PUT', path: `/faults/${name}`, body, what };
  };
  const mend: Command = { method: 'DELETE', path: `/faults/${name}`, what: `${name} is mended.` };
  return (
    <section class="sec">
      <h3>
        Break it{' '}
        <span>
          {wrong && wrong.active.length > 0
            ? `${mark(plan)} (${percent(share(plan))})${lasts(wrong)}`
            : 'nothing is wrong here'}
        </span>
      </h3>
      {KINDS.map(([key, label]) => {
        const now = num(plan[key]) ?? 0;
        const value = rates[key] ?? Math.round(now * 100);
        const command = put({ [key]: value / 100 }, `${name} ${trouble({ [key]: value / 100 })} for ${span(ttl)}.`);
        return (
          <div class="field" key={key}>
            <label for={`${name}-${key}`}>{label}</label>
            <input
              id={`${name}-${key}`}
              type="range"
              min="0"
              max="100"
              step="5"
              value={value}
              onInput={(event) => setRates({ ...rates, [key]: event.currentTarget.valueAsNumber })}
            />
            <output>{value} %</output>
            <Do command={command}>Set</Do>
          </div>
        );
      })}
      <div class="field">
        <label for={`${name}-slow`}>Slow answers</label>
        <input
          id={`${name}-slow`}
          type="range"
          min="100"
          max="5000"
          step="100"
          value={slow}
          onInput={(event) => setSlow(event.currentTarget.valueAsNumber)}
        />
        <output>{millis(slow)}</output>
        <Do command={put({ latency: { fixed: `${slow}ms` } }, `${name} answers ${millis(slow)} late.`)}>Set</Do>
      </div>
      <div class="field">
        <span>Crash</span>
        <span class="mute">the service stops listening</span>
        <output />
        <Do kind="danger" command={put({ crash: true }, `${name} has crashed for ${span(ttl)}.`)}>
          Crash
        </Do>
      </div>
      <div class="field">
        <label for={`${name}-ttl`}>For</label>
        <input
          id={`${name}-ttl`}
          type="range"
          min="10"
          max="300"
          step="10"
          value={ttl}
          onInput={(event) => setTtl(event.currentTarget.valueAsNumber)}
        />
        <output>{span(ttl)}</output>
        <Do command={mend}>Mend</Do>
      </div>
    </section>
  );
}
