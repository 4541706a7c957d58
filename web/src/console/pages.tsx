/** The other pages of the console: faults, alerts, transitions, orders and revenue. */
import { useEffect, useState } from 'preact/hooks';
import { copy, curl, type Command } from './act';
import { actions, alerts, drill, drills, faults, money, processes, queue, transitions, type Alert } from './feed';
import { FaultForm } from './panel';
import { CopyIcon as Copy, Do } from './do';
import { clock, lasts, mark, percent, reason, share, span, STATES, usual, web, won } from './words';

const mendAll: Command = { method: 'DELETE', path: '/faults', what: 'Everything is mended.' };

export function FaultsPage() {
  const all = faults.value.filter((fault) => !fault.process || fault.active.length >= 0);
  const rank = (fault: (typeof all)[number]) => (fault.active.length === 0 ? 2 : usual(fault) ? 1 : 0);
  return (
    <section class="page">
      <div class="top2">
        <div>
          <h1>Faults</h1>
          <p class="sub">Active faults, the share of requests they affect, and their duration; set by hand or by the scenario.</p>
        </div>
        <Do kind="pri" command={mendAll}>
          Mend everything
        </Do>
      </div>
      <div class="cols">
        {[...all]
          .sort((a, b) => rank(a) - rank(b) || a.target.localeCompare(b.target))
          .map((fault) => (
            <details
              class="card pad"
              key={`${fault.target} ${fault.process ?? ''}`}
              open={fault.active.length > 0 && !usual(fault)}
            >
              <summary>
                <b>{fault.target}</b>{' '}
                {fault.active.length > 0 ? (
                  <span class="fault">
                    {mark(fault.plan)}
                    {lasts(fault)}
                  </span>
                ) : (
                  <span class="mute">well</span>
                )}
                <span class="meter" aria-hidden="true">
                  <i style={{ width: `${fault.active.length > 0 ? Math.max(2, share(fault.plan) * 100) : 0}%` }} />
                </span>
              </summary>
              <FaultForm name={fault.target} />
            </details>
          ))}
      </div>
    </section>
  );
}

const GRAVITY = ['critical', 'warning', 'info', 'none'];
const gravity = (alert: Alert): number => {
  const rank = GRAVITY.indexOf(alert.labels['severity'] ?? '');
  return rank < 0 ? GRAVITY.length : rank;
};
const local = /^https?:\/\/(127\.0\.0\.1|localhost|\[::1\])[:/]/;

export function AlertsPage() {
  const known = alerts.value;
  const all = (known?.alerts ?? []).filter((alert) => alert.name !== 'Watchdog');
  const firing = all.filter((alert) => alert.status === 'firing').sort((a, b) => gravity(a) - gravity(b));
  const over = all.filter((alert) => alert.status === 'resolved').slice(0, 50);
  const alive = known?.pipeline_alive_since_unix_seconds ?? null;
  const start = 'docker compose up';
  return (
    <section class="page">
      <h1>Alerts</h1>
      <p class="sub">
        {firing.length === 0 ? 'None fires' : `${firing.length} fire, the most severe first`}; {over.length} are over.{' '}
        {alive !== null
          ? `The heartbeat of Prometheus and Alertmanager arrives here since ${clock(alive)}.`
          : all.length > 0
            ? 'Alerts arrive here; the heartbeat of Prometheus and Alertmanager has not arrived yet.'
            : 'No Prometheus has delivered anything here.'}
      </p>
      {alive === null && all.length === 0 ? (
        <div class="note">
          <div>
            <b>Alerts come from Prometheus through Alertmanager.</b> This starts both, with rules, dashboards and this
            program:
            <p class="cmd">
              <code>{start}</code>
              <button class="ib" aria-label="Copy" onClick={() => void copy(start)}>
                <Copy />
              </button>
            </p>
          </div>
        </div>
      ) : null}
      {firing.map((alert) => (
        <AlertCard key={JSON.stringify(alert.labels)} alert={alert} />
      ))}
      {over.length > 0 ? (
        <details class="more" open={firing.length === 0}>
          <summary>{over.length} that are over</summary>
          {over.map((alert) => (
            <AlertCard key={JSON.stringify(alert.labels) + alert.starts_at} alert={alert} />
          ))}
        </details>
      ) : null}
    </section>
  );
}

/** Maximum time between the opening of a breaker and an alert that it explains, in seconds. */
const EXPLAINS = 900;

function AlertCard({ alert }: { alert: Alert }) {
  const { severity = 'none', service, breaker, instance } = alert.labels;
  const began = Date.parse(alert.starts_at) / 1000;
  const ended = alert.resolved_unix_seconds ?? null;
  const where = [service, breaker].filter(Boolean).join(' → ');
  // The transition that opened it, not a probe that failed since.
  const trip = transitions.value.findLast(
    (one) =>
      one.to === 'open' &&
      one.from === 'closed' &&
      one.breaker === breaker &&
      one.service === service &&
      one.unix_seconds <= began + 1 &&
      began - one.unix_seconds < EXPLAINS,
  );
  const moments = (
    [
      ['breaker opened', trip?.unix_seconds],
      ['fires', Number.isFinite(began) ? began : null],
      ['delivered here', alert.received_unix_seconds],
      ['end delivered', ended],
    ] as [string, number | null | undefined][]
  )
    .flatMap(([name, at]) => (at == null ? [] : [{ name, at }]))
    .sort((a, b) => a.at - b.at);
  const dashboard = web(alert.annotations['dashboard_url']);
  return (
    <article class="card alert">
      <header>
        <span class={`pill ${severity}`}>{severity}</span>
        <h2>{alert.name}</h2>
        <span class="mute">
          {where}
          {instance ? ` · ${instance}` : ''}
        </span>
        <ol class="moments">
          {moments.map(({ name, at }) => (
            <li key={name}>
              <b>{clock(at)}</b> {name}
            </li>
          ))}
        </ol>
        <span class={alert.status === 'firing' ? 'harm' : 'good'}>{alert.status}</span>
      </header>
      <p>
        {alert.annotations['summary'] ?? alert.annotations['description'] ?? ''}{' '}
        <a href={`/runbook#${encodeURIComponent(alert.name.toLowerCase())}`}>Runbook</a>
        {dashboard && local.test(dashboard) ? (
          <>
            {' · '}
            <a href={dashboard} rel="noopener noreferrer" target="_blank">
              Dashboard
            </a>
          </>
        ) : null}
      </p>
    </article>
  );
}

function save(name: string, kind: string, text: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export function TransitionsPage() {
  const [text, setText] = useState('');
  const [state, setState] = useState('');
  const wanted = text.trim().toLowerCase();
  const all = transitions.value.filter(
    (one) =>
      (!wanted || `${one.service} ${one.breaker} ${one.reason} ${one.process ?? ''}`.toLowerCase().includes(wanted)) &&
      (!state || one.to === state),
  );
  const shown = all.slice(-200).reverse();
  const columns = [
    'unix_seconds',
    'service',
    'breaker',
    'from',
    'to',
    'reason',
    'calls',
    'failures',
    'slow_calls',
    'open_wait_seconds',
  ] as const;
  // A spreadsheet would interpret a cell that starts like a formula.
  const cell = (value: unknown) =>
    `"${String(value ?? '')
      .replace(/^[=+\-@]/, "'$&")
      .replaceAll('"', '""')}"`;
  const csv = () =>
    [columns.join(','), ...all.map((one) => columns.map((key) => cell(one[key])).join(','))].join('\r\n');
  return (
    <section class="page">
      <div class="top2">
        <div>
          <h1>Transitions</h1>
          <p class="sub">
            {all.length} of the latest {transitions.value.length};{' '}
            {all.length > shown.length ? `${all.length - shown.length} older ones are hidden here` : 'all are shown'}.
          </p>
        </div>
        <div class="acts2">
          <label>
            <span class="sr">Filter by service, breaker or reason</span>
            <input
              type="search"
              placeholder="Filter"
              value={text}
              onInput={(event) => setText(event.currentTarget.value)}
            />
          </label>
          <label>
            <span class="sr">New state</span>
            <select value={state} onChange={(event) => setState(event.currentTarget.value)}>
              <option value="">any state</option>
              {Object.entries(STATES).map(([key, name]) => (
                <option key={key} value={key}>
                  to {name}
                </option>
              ))}
            </select>
          </label>
          <button class="btn" onClick={() => save('transitions.csv', 'text/csv', csv())}>
            CSV
          </button>
          <button
            class="btn"
            onClick={() => save('transitions.json', 'application/json', JSON.stringify(all, null, 2))}
          >
            JSON
          </button>
        </div>
      </div>
      <div class="card scroll" tabIndex={0} role="region" aria-label="Transitions">
        <table>
          <thead>
            <tr>
              <th>When</th>
              <th>Breaker</th>
              <th>Change</th>
              <th>Why</th>
              <th class="n2">Failed</th>
              <th class="n2">Slow</th>
              <th class="n2">Waits</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((one) => (
              <tr key={`${one.unix_seconds} ${one.service} ${one.breaker} ${one.generation} ${one.process ?? ''}`}>
                <td>{clock(one.unix_seconds)}</td>
                <td>
                  {one.service} → <b>{one.breaker}</b>
                  {one.process ? <small> {one.process}</small> : null}
                </td>
                <td>
                  <i class={`st st-${one.to}`} /> {STATES[one.from]} → {STATES[one.to]}
                </td>
                <td>{reason(one.reason)}</td>
                <td class="n2">
                  {one.failures} of {one.calls}
                </td>
                <td class="n2">{one.slow_ratio == null ? one.slow_calls : percent(one.slow_ratio)}</td>
                <td class="n2">{one.open_wait_seconds == null ? '' : span(one.open_wait_seconds)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        {shown.length === 0 ? <p class="pad mute">None.</p> : null}
      </div>
      <Commands />
    </section>
  );
}

/** Commands to the admin port and their senders, from the audit log. */
function Commands() {
  const latest = [...actions.value].reverse();
  return (
    <>
      <h2 class="second">Commands</h2>
      <p class="sub">
        The latest {latest.length || ''} that this admin port was given, from this page or a shell; each is a line in
        the log and counted in <code>admin_actions_total</code>.
      </p>
      <div class="card scroll" tabIndex={0} role="region" aria-label="Commands">
        <table data-commands>
          <thead>
            <tr>
              <th>When</th>
              <th>From</th>
              <th>Command</th>
              <th>Answer</th>
              <th>
                <span class="sr">As curl</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {latest.map((one) => {
              const text = shell(one.method, one.path, one.body ?? null);
              return (
                <tr key={`${one.unix_seconds} ${one.path}`}>
                  <td>{clock(one.unix_seconds)}</td>
                  <td>{one.from ?? ''}</td>
                  <td>
                    <code>
                      {one.method} {one.path} {one.body ?? ''}
                    </code>
                  </td>
                  <td class={one.outcome === 'done' ? '' : 'harm'}>
                    {one.outcome}, {one.status}
                  </td>
                  <td>
                    <button class="ib" aria-label="Copy curl" title={text} onClick={() => void copy(text)}>
                      <Copy />
                    </button>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
        {latest.length === 0 ? <p class="pad mute">None yet.</p> : null}
      </div>
    </>
  );
}

/** A command of the log as a shell command, with its original body. */
function shell(method: string, path: string, body: string | null): string {
  let parsed: unknown;
  try {
    parsed = body === null ? undefined : JSON.parse(body);
  } catch {
    parsed = body ?? undefined;
  }
  return curl({ method: method as Command['method'], path, body: parsed, what: '' }, processes.value.locked);
}

/** Proves an alert: its stages (raised, open, pending, firing, delivered, resolved) as they occur. */
export function DrillsPage() {
  const [text, setText] = useState('');
  const known = drills.value;
  const run = drill.value;
  const runs = run !== undefined && run.outcome == null;
  const wanted = text.trim().toLowerCase();
  const plans = (known?.plans ?? []).filter((plan) => `${plan.alert} ${plan.how}`.toLowerCase().includes(wanted));
  const stop: Command = { method: 'DELETE', path: '/drills', what: 'The drill stops and puts back what it changed.' };
  return (
    <section class="page">
      <div class="top2">
        <div>
          <h1>Drills</h1>
          <p class="sub">
            A drill raises the trouble that an alert is about, waits until it fires, arrives and resolves, and puts
            everything back. It asks the Prometheus at <code>{known?.prometheus ?? '…'}</code>; the scenario pauses
            meanwhile.
          </p>
        </div>
        <label>
          <span class="sr">Filter by alert</span>
          <input
            type="search"
            placeholder="Filter"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </label>
      </div>
      {run ? (
        <article class="card alert" data-drill={run.outcome ?? 'running'}>
          <header>
            <h2>
              {run.alert}
              {run.severity ? `, ${run.severity}` : ''}
            </h2>
            <span class={`end ${run.outcome === 'passed' ? 'good' : run.outcome == null ? '' : 'harm'}`}>
              {run.outcome ?? 'running'}
            </span>
            {runs ? <Do command={stop}>Stop</Do> : null}
          </header>
          {run.why ? <p class="harm">{run.why}</p> : null}
          <ol class="stages" aria-live="polite">
            {run.stages.map((stage) => (
              <li key={`${stage.unix_seconds} ${stage.text}`}>
                <span class="tm">{clock(stage.unix_seconds)}</span> {stage.text}
              </li>
            ))}
            {runs ? <li class="mute">… waiting for {run.waiting ?? 'the stack'}</li> : null}
          </ol>
        </article>
      ) : null}
      <div class="card scroll" tabIndex={0} role="region" aria-label="Alerts that can be drilled">
        <table>
          <thead>
            <tr>
              <th>Alert</th>
              <th>How it is raised</th>
              <th class="n2">Takes at least</th>
              <th>
                <span class="sr">Start</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {plans.map((plan) => (
              <tr key={`${plan.alert} ${plan.severity}`}>
                <td>
                  <b>{plan.alert}</b> <span class={`pill ${plan.severity}`}>{plan.severity}</span>
                </td>
                <td class={plan.possible ? '' : 'mute'}>{plan.how}</td>
                <td class="n2">{span(plan.ramp_seconds)}</td>
                <td>
                  {plan.possible ? (
                    <Do
                      disabled={runs}
                      command={{
                        method: 'POST',
                        path: '/drills',
                        body: { alert: plan.alert, severity: plan.severity },
                        what: `The drill of ${plan.alert} begins.`,
                      }}
                    >
                      Start
                    </Do>
                  ) : (
                    <span class="mute">by hand</span>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
        {plans.length === 0 ? <p class="pad mute">None.</p> : null}
      </div>
    </section>
  );
}

interface Letter {
  order_id: string;
  reason?: string;
  amount?: number;
  [key: string]: unknown;
}

export function OrdersPage() {
  const revenue = money.value?.revenue ?? {};
  const orders = money.value?.orders ?? {};
  const waiting = queue.value;
  const [letters, setLetters] = useState<Letter[]>([]);
  const dead = waiting?.dead ?? 0;
  useEffect(() => {
    // The stream has their number; the list is requested when that changes.
    if (dead === 0) return setLetters([]);
    void fetch('/queue/dead')
      .then((response) => response.json())
      .then((page: { dead?: Letter[] }) => setLetters(page.dead ?? []))
      .catch(() => setLetters([]));
  }, [dead]);
  const replay = (id?: string): Command => ({
    method: 'POST',
    path: '/queue/replay',
    body: id ? { order_id: id } : {},
    what: id ? `Order ${id} is tried again.` : 'All dead orders are tried again.',
  });
  const kpi = (value: string, text: string, kind = '') => (
    <div class="card kpi">
      <b class={kind}>{value}</b>
      <span>{text}</span>
    </div>
  );
  return (
    <section class="page">
      <h1>Orders and revenue</h1>
      <p class="sub">Since the start of the program. An order is charged once or not at all.</p>
      <div class="kpis">
        {kpi(
          String(waiting?.depth ?? '–'),
          `orders wait to be paid, of ${waiting?.capacity ?? '–'} places; the oldest for ${span(waiting?.oldest_item_age_seconds ?? 0)}`,
        )}
        {kpi(won(revenue['at_risk'] ?? 0), 'was put at risk by outages')}
        {kpi(won(revenue['kept'] ?? 0), 'of it was kept: paid later')}
        {kpi(
          won(revenue['lost'] ?? 0),
          'was lost: could not wait, or was cancelled',
          (revenue['lost'] ?? 0) > 0 ? 'harm' : '',
        )}
      </div>
      <div class="card pad">
        <h2>Orders by outcome</h2>
        <dl class="kv">
          {Object.entries(orders).map(([outcome, count]) => (
            <div class="ln" key={outcome}>
              <dt>{outcome.replaceAll('_', ' ')}</dt>
              <dd>{count.toLocaleString('en-US')}</dd>
            </div>
          ))}
        </dl>
      </div>
      <div class="card pad">
        <h2>Dead letters</h2>
        {letters.length === 0 ? (
          <p class="mute">None. Orders that are out of attempts are listed here and need manual action.</p>
        ) : (
          <>
            <Do command={replay()}>Try all again</Do>
            <ul class="tlist">
              {letters.map((letter) => (
                <li key={letter.order_id}>
                  <code>{letter.order_id}</code> {letter.reason ?? ''}{' '}
                  <Do command={replay(letter.order_id)}>Try again</Do>
                </li>
              ))}
            </ul>
          </>
        )}
      </div>
    </section>
  );
}
