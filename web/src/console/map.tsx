/** The live map: services at fixed positions, calls as edges, and on each edge its breaker as a switch. */
import { signal } from '@preact/signals';
import { breaker, edge, fault, node, viewers, type Breaker } from './feed';
import { isOpen, lasts, left, mark, millis, share, span, STATES, usual } from './words';

/** Selection shown in the panel. */
export const chosen = signal<{ kind: 'edge'; service: string; name: string } | { kind: 'node'; name: string } | null>(
  null,
);

/** Whether the screen is too narrow for the map and shows a list instead. */
const narrow = matchMedia('(max-width: 760px)');
const phone = signal(narrow.matches);
narrow.addEventListener('change', () => (phone.value = narrow.matches));

interface Box {
  x: number;
  y: number;
  w: number;
}
const H = 46;
export const NODES: Record<string, Box> = {
  viewers: { x: 22, y: 246, w: 100 },
  gateway: { x: 160, y: 140, w: 132 },
  'gateway-bare': { x: 160, y: 356, w: 146 },
  recommendation: { x: 424, y: 16, w: 150 },
  catalog: { x: 424, y: 92, w: 150 },
  user: { x: 424, y: 168, w: 150 },
  checkout: { x: 424, y: 324, w: 150 },
  'ml-api': { x: 718, y: 16, w: 192 },
  'user-primary': { x: 718, y: 136, w: 192 },
  'user-replica': { x: 718, y: 198, w: 192 },
  inventory: { x: 718, y: 262, w: 192 },
  'payment-gateway': { x: 718, y: 324, w: 192 },
  notification: { x: 718, y: 386, w: 192 },
};
const EXTERNAL = ['ml-api', 'payment-gateway'];
/** Edges with a breaker, and the position of its switch along the edge. */
export const EDGES: { service: string; name: string; at: [number, number]; down?: boolean }[] = [
  { service: 'gateway', name: 'recommendation', at: [372, 39] },
  { service: 'gateway', name: 'catalog', at: [372, 115] },
  { service: 'gateway', name: 'user', at: [372, 191] },
  { service: 'gateway', name: 'checkout', at: [372, 347] },
  { service: 'recommendation', name: 'ml-api', at: [664, 39] },
  { service: 'user', name: 'user-primary', at: [664, 159] },
  { service: 'user', name: 'user-replica', at: [664, 221] },
  { service: 'checkout', name: 'user', at: [499, 270], down: true },
  { service: 'checkout', name: 'inventory', at: [664, 285] },
  { service: 'checkout', name: 'payment-gateway', at: [664, 347] },
  { service: 'checkout', name: 'notification', at: [664, 409] },
];
const mid = ({ y }: Box): number => y + H / 2;
const curve = (x1: number, y1: number, x2: number, y2: number): string => {
  const bend = Math.min(46, (x2 - x1) / 2);
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`;
};
const width = (perSecond: number): number => (perSecond <= 0 ? 1.5 : Math.min(7, 1.5 + Math.sqrt(perSecond) * 1.3));

/** The fallback that callers get while calls are rejected or fail. */
function standIn(service: string, name: string): string | null {
  const seen = edge(service, name)?.fallbacks ?? {};
  const [kind, per] = Object.entries(seen).sort((a, b) => b[1] - a[1])[0] ?? ['', 0];
  if (per > 0.05) return kind === 'popular' ? 'most watched' : kind === 'queue' ? 'queued' : kind;
  return null;
}

const isOpenState = (state: Breaker['state']): boolean => state === 'open' || state === 'forced_open';

const open = (what: NonNullable<(typeof chosen)['value']>) => ({
  tabindex: 0,
  role: 'button' as const,
  onClick: () => (chosen.value = what),
  onKeyDown: (event: KeyboardEvent) => {
    if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      chosen.value = what;
    }
  },
});

function Switch({ service, name, at: [x, y], down }: (typeof EDGES)[number]) {
  const own: Breaker | undefined = breaker(service, name);
  const calls = edge(service, name);
  const from = NODES[service]!;
  const to = NODES[name]!;
  const state = own?.state ?? 'closed';
  const stopped = own !== undefined && isOpen(own);
  const fallback = standIn(service, name);
  const failed = (calls?.calls['failure'] ?? 0) + (calls?.calls['timeout'] ?? 0);
  const passing = Math.max(0, (calls?.per_second ?? 0) - (calls?.calls['rejected'] ?? 0));
  const head = down ? `M${x} ${from.y}V${y + 13}` : curve(from.x + from.w, mid(from), x - 21, y);
  const tail = down ? `M${x} ${y - 13}V${to.y + H}` : `M${x + 21} ${y}H${to.x}`;
  const next = own && own.state === 'open' ? left(own) : 0;
  const instead = fallback && state !== 'closed' ? fallback : null;
  const below = state === 'closed' ? null : state === 'open' && next > 0 ? `try in ${span(next)}` : STATES[state]!;
  // The accessible name contains the visible text in the same order.
  const label = [
    own && below !== STATES[state] ? `${service} to ${name} is ${STATES[state]}` : `${service} to ${name}`,
    ...(instead ? [`callers get ${instead}`] : []),
    ...(below ? [below] : []),
  ].join(', ');
  const here = chosen.value;
  const selected = here?.kind === 'edge' && here.service === service && here.name === name;
  return (
    <g
      class={`e ${state}${selected ? ' sel' : ''}`}
      data-edge={`${service}/${name}`}
      aria-label={label}
      {...open({ kind: 'edge', service, name })}
    >
      <path class="hit" d={head} />
      <path class="wire" d={head} stroke-width={width(calls?.per_second ?? 0)} />
      <path class="tail" d={tail} stroke-width={width(passing)} />
      {!stopped && passing > 0.05 ? <path class="flow" d={head} stroke-width="2.4" stroke-dasharray="0.1 9" /> : null}
      {!stopped && passing > 0.05 ? (
        <path
          class={failed > passing * 0.1 ? 'badflow' : 'flow'}
          d={tail}
          stroke-width="2.4"
          stroke-dasharray="0.1 9"
        />
      ) : null}
      <rect class="box" x={x - 22} y={y - 13} width="44" height="26" rx="7" />
      <g transform={down ? `rotate(-90 ${x} ${y})` : undefined}>
        <circle class="pin" cx={x - 10} cy={y} r="3" />
        <circle class="pin" cx={x + 10} cy={y} r="3" />
        <path
          class="lever"
          d={`M${x - 10} ${y}L${x + 10} ${y}`}
          transform={`rotate(${state === 'closed' || state === 'metrics_only' ? 0 : state === 'half_open' ? -16 : state === 'disabled' ? 0 : -34} ${x - 10} ${y})`}
        />
        <path class="lever" d={`M${x - 21} ${y}H${x - 10}M${x + 10} ${y}H${x + 21}`} />
      </g>
      {instead ? (
        <g class={`fb ${instead.replace(' ', '-')}`}>
          <rect class="fbx" x={x - 49} y={y - 36} width="98" height="19" rx="9.5" />
          <text class="fbt" x={x} y={y - 22}>
            {instead}
          </text>{' '}
        </g>
      ) : null}
      {below ? (
        <text class="t" x={x} y={y + 29}>
          {below}
        </text>
      ) : null}
    </g>
  );
}

/** Whether the breakers for a service reject all calls, so that all of its remaining calls come from the twin. */
function onlyTwin(name: string): boolean {
  const own = EDGES.filter((one) => one.name === name);
  const passing = own
    .map((one) => edge(one.service, name))
    .map((calls) => (calls?.per_second ?? 0) - (calls?.calls['rejected'] ?? 0));
  return own.length > 0 && passing.every((calls) => calls < 0.05);
}

/** Name of a node on the page. */
const titleOf = (name: string): string => (name === 'gateway-bare' ? 'unprotected twin' : name);

/** The texts are separated by spaces, so that the accessible name equals the visible text. */
function NodeBox({ name }: { name: string }) {
  const { x, y, w } = NODES[name]!;
  const seen = node(name);
  const wrong = fault(name);
  const on = wrong !== undefined && wrong.active.length > 0;
  const twin = name === 'gateway-bare';
  const pool = twin ? viewers('gateway-bare')?.pool : undefined;
  const calls = name === 'user-primary' || name === 'user-replica' ? edge('user', name) : undefined;
  const perSecond = seen?.per_second ?? calls?.per_second ?? 0;
  const ms = seen?.mean_ms ?? calls?.mean_ms ?? null;
  const sub = on
    ? `${mark(wrong.plan)}${lasts(wrong)}`
    : pool
      ? pool.queued
        ? `${pool.in_flight}/${pool.capacity}, ${pool.queued} wait`
        : `pool ${pool.in_flight} of ${pool.capacity}`
      : perSecond > 0
        ? `${perSecond < 10 ? perSecond.toFixed(1) : Math.round(perSecond)}/s${onlyTwin(name) ? ' by the twin' : ` · ${millis(ms)}`}`
        : 'no calls';
  const fill = on ? share(wrong.plan) : pool && pool.capacity ? pool.in_flight / pool.capacity : 0;
  const title = titleOf(name);
  const label = `${title} ${EXTERNAL.includes(name) ? 'external ' : ''}${sub}`;
  const here = chosen.value;
  const kind = `n${twin ? ' twin' : ''}${on ? (usual(wrong) ? ' base' : ' bad') : ''}${wrong?.plan['crash'] ? ' crash' : ''}${
    pool && pool.in_flight >= pool.capacity ? ' hurt' : ''
  }${here?.kind === 'node' && here.name === name ? ' sel' : ''}`;
  return (
    <g class={kind} data-node={name} aria-label={label} {...open({ kind: 'node', name })}>
      <rect class="b" x={x} y={y} width={w} height={H} rx="8" />
      <text class="nm" x={x + 12} y={y + 19} font-weight="700">
        {title}
      </text>{' '}
      {EXTERNAL.includes(name) ? (
        <text class="ext" x={x + w - 10} y={y + 18} text-anchor="end">
          external
        </text>
      ) : null}{' '}
      <text class="sub" x={x + 12} y={y + 35}>
        {sub}
      </text>
      {fill > 0 ? (
        <>
          <rect class="track" x={x + 12} y={y + H - 6} width={w - 24} height="3" rx="1.5" />
          <rect
            class={pool ? 'full' : 'meter'}
            x={x + 12}
            y={y + H - 6}
            width={Math.max(2, (w - 24) * Math.min(1, fill))}
            height="3"
            rx="1.5"
          />
        </>
      ) : null}
    </g>
  );
}

/** The map as a list: one row per breaker, exceptional states first. */
function List() {
  const rank = ({ service, name }: (typeof EDGES)[number]) =>
    (breaker(service, name)?.state ?? 'closed') !== 'closed' ? 0 : isHurt(name) ? 1 : 2;
  const isHurt = (name: string) => {
    const wrong = fault(name);
    return wrong !== undefined && wrong.active.length > 0;
  };
  return (
    <section class="card map list" aria-label="Services and breakers">
      <h2>Breakers</h2>
      <ul>
        {[...EDGES]
          .sort((a, b) => rank(a) - rank(b))
          .map(({ service, name }) => {
            const own = breaker(service, name);
            const state = own?.state ?? 'closed';
            const next = own && own.state === 'open' ? left(own) : 0;
            const wrong = fault(name);
            const stands = state !== 'closed' ? standIn(service, name) : null;
            return (
              <li key={`${service}/${name}`}>
                <button
                  class={`e ${state}`}
                  data-edge={`${service}/${name}`}
                  onClick={() => (chosen.value = { kind: 'edge', service, name })}
                >
                  <svg viewBox="0 0 44 26" aria-hidden="true">
                    <rect class="box" x="1" y="1" width="42" height="24" rx="7" />
                    <path class="lever" d="M4 13H12M32 13H40" />
                    <path
                      class="lever"
                      d="M12 13H32"
                      transform={`rotate(${isOpenState(state) ? -30 : state === 'half_open' ? -14 : 0} 12 13)`}
                    />
                  </svg>
                  <span>
                    {service} → <b>{name}</b>
                    {wrong && wrong.active.length > 0 ? (
                      <small class="fault">
                        {mark(wrong.plan)}
                        {lasts(wrong)}
                      </small>
                    ) : null}
                    {stands ? <small>callers get {stands}</small> : null}
                  </span>
                  <span class={`pill ${state}`}>{next > 0 ? `try in ${span(next)}` : STATES[state]}</span>
                </button>
              </li>
            );
          })}
      </ul>
      <h2>Services</h2>
      <p class="services">
        {Object.keys(NODES)
          .filter((name) => name !== 'viewers')
          .map((name) => (
            <button
              key={name}
              class={`btn${isHurt(name) ? ' hurt' : ''}`}
              data-node={name}
              onClick={() => (chosen.value = { kind: 'node', name })}
            >
              {titleOf(name)}
            </button>
          ))}
      </p>
    </section>
  );
}

export function Map() {
  if (phone.value) return <List />;
  return <Drawing />;
}

function Drawing() {
  const visits = node('gateway')?.per_second ?? 0;
  const { x, y, w } = NODES['viewers']!;
  const [gate, bare] = [NODES['gateway']!, NODES['gateway-bare']!];
  return (
    <section class="card map" tabIndex={0} aria-label="Live map of services and breakers">
      <div class="legend" aria-hidden="true">
        <span>
          <svg viewBox="0 0 34 14">
            <path d="M2 7H32" stroke="var(--closed)" stroke-width="2.4" />
          </svg>
          closed, calls pass
        </span>
        <span>
          <svg viewBox="0 0 34 14">
            <path d="M2 7H10L23 3M25 7H32" stroke="var(--half)" stroke-width="2.4" fill="none" />
          </svg>
          half-open, probing
        </span>
        <span>
          <svg viewBox="0 0 34 14">
            <path d="M2 10H10L22 1M25 10H32" stroke="var(--open)" stroke-width="2.4" fill="none" />
          </svg>
          open, calls rejected
        </span>
        <span>
          <svg viewBox="0 0 34 14">
            <path d="M2 7H32" stroke="var(--twin)" stroke-width="1.6" stroke-dasharray="5 4" />
          </svg>
          unprotected, around the switches
        </span>
        <span>
          <svg viewBox="0 0 34 14">
            <rect x="2" y="1.500" width="30" height="11" rx="5.500" fill="var(--cache)" opacity=".35" />
            <rect x="2" y="1.500" width="30" height="11" rx="5.500" fill="none" stroke="var(--cache)" />
          </svg>
          what answers instead
        </span>
        <span>
          <svg viewBox="0 0 34 14">
            <path d="M2 7H32" stroke="var(--line2)" stroke-width="3" />
            <path d="M2 7H16" stroke="var(--fault)" stroke-width="3" />
          </svg>
          a fault and its share
        </span>
      </div>
      <svg viewBox="0 0 926 446" role="group" aria-label="Services and calls">
        <path class="tw" d={curve(x + w, y + H / 2 + 8, bare.x, mid(bare))} />
        <path
          class="tw"
          d={`M${bare.x + bare.w} ${mid(bare)}H410V${mid(NODES['recommendation']!) + 12}H424M410 ${mid(NODES['catalog']!) + 12}H424M410 ${mid(NODES['user']!) + 12}H424M410 ${mid(NODES['checkout']!) + 12}H424`}
        />
        <path class="vw" d={curve(x + w, y + H / 2 - 8, gate.x, mid(gate))} stroke-width={width(visits)} />
        {EDGES.map((one) => (
          <Switch key={`${one.service}/${one.name}`} {...one} />
        ))}
        <g class="n still">
          <rect class="b" x={x} y={y} width={w} height={H} rx="8" />
          <text class="nm" x={x + 12} y={y + 19}>
            viewers
          </text>
          <text class="sub" x={x + 12} y={y + 35}>
            {visits.toFixed(0)} pages/s
          </text>
        </g>
        {Object.keys(NODES)
          .filter((name) => name !== 'viewers')
          .map((name) => (
            <NodeBox key={name} name={name} />
          ))}
      </svg>
    </section>
  );
}
