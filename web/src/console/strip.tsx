/** The time axis: faults, breakers, and what protected and unprotected viewers got, under one playhead. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { type Command } from './act';
import { Do } from './do';
import {
  history,
  scenario,
  serverNow,
  transitions,
  type Point,
  type Scenario,
  type Step,
  type Transition,
} from './feed';
import { EDGES } from './map';
import { ambiguous } from './rail';
import { minute, millis, nextStep, percent, position, shares, span, stepName } from './words';
import { viewers } from './feed';

const command = (path: string, what: string): Command => ({ method: 'POST', path: `/scenario/${path}`, what });

/** The axis: a round of the scenario, or the last eight minutes if none is running. */
function axis(): { from: number; length: number; now: number; round: boolean } {
  const now = serverNow();
  const own = scenario.value;
  if (own && own.mode !== 'stopped') {
    const here = position();
    return { from: now - here, length: own.length_seconds, now, round: true };
  }
  return { from: now - 480, length: 480, now, round: false };
}

export function Strip() {
  const own = scenario.value;
  const { from, length, now, round } = axis();
  const at = (unix: number) => ((unix - from) / length) * 100;
  const here = Math.min(100, at(now));
  const next = nextStep();
  const ticks = Array.from({ length: Math.floor(length / 60) + 1 }, (_, i) => i * 60);
  const [p, u] = [shares('gateway'), shares('gateway-bare')];
  const lanes = opened(from, now);
  return (
    <section class="card time" aria-label="Scenario and what viewers got over time">
      <div class="bar">
        {own ? (
          <>
            {own.mode === 'running' ? (
              <Do command={command('pause', 'The scenario pauses, its faults stay.')}>Pause</Do>
            ) : (
              <Do kind="pri" command={command('start', 'The scenario runs.')}>
                {own.mode === 'paused' ? 'Resume scenario' : 'Start scenario'}
              </Do>
            )}
            <Do command={command('skip', 'On to the next step.')}>Skip to next</Do>
            <Do
              disabled={own.mode === 'stopped'}
              command={command('stop', 'The scenario has stopped and taken its faults back.')}
            >
              Stop
            </Do>
            <p class="where">
              {minute(position())}
              <span>
                {' '}
                of {minute(own.length_seconds)}
                {own.mode === 'running' ? '' : `, ${own.mode}`}
              </span>
            </p>
            <Chooser own={own} />
          </>
        ) : (
          <p class="where">
            Last 8 minutes <span>· no scenario runs in this process</span>
          </p>
        )}
        <p class="keys">
          <i class="k ok" /> live <i class="k dg" /> fallback <i class="k er" /> error <i class="k p9" /> p99, log scale
        </p>
        {own && own.mode === 'running' && next ? (
          <p class="nx">
            Next, in {span(next.from_seconds - position())}: <b>{stepName(next.name)}</b>
          </p>
        ) : null}
      </div>
      <div class="lanes">
        <span class="lb">Faults</span>
        <div class="lane steps">
          {round
            ? own?.steps.map((step, i) => (
                <StepMark key={step.name} step={step} row={i % 2} at={(s) => (s / length) * 100} />
              ))
            : null}
        </div>
        <span class="lb">
          Breakers <small>{lanes.length > 0 ? `${lanes.length} of ${EDGES.length} opened` : ''}</small>
        </span>
        <div class="lane ribs" aria-hidden="true" style={{ height: `${Math.max(1, lanes.length) * LANE + 3}px` }}>
          {lanes.map((lane, i) => (
            <Ribbon key={lane.name} {...lane} row={i} now={now} at={at} />
          ))}
          {lanes.length === 0 ? <b class="all">all {EDGES.length} closed</b> : null}
        </div>
        <span class="lb">
          <b>Protected</b>
          {p ? `${percent(p.error)} errors, ${millis(viewers('gateway')?.p99_ms)}` : ''}
        </span>
        <Chart side="p" from={from} length={length} />
        <span class="lb t">
          <b>Unprotected</b>
          {u ? `${percent(u.error)} errors, ${millis(viewers('gateway-bare')?.p99_ms)}` : ''}
        </span>
        <Chart side="u" from={from} length={length} />
        <span />
        <div class="lane axis" aria-hidden="true">
          {ticks.map((tick) => (
            <span key={tick} style={{ left: `${(tick / length) * 100}%` }}>
              {round ? minute(tick) : tick === length ? 'now' : `−${minute(length - tick)}`}
            </span>
          ))}
        </div>
        <div class="scrub" aria-hidden="true">
          <div class="playhead" style={{ left: `${here}%` }} />
        </div>
      </div>
      {own ? (
        <details class="more">
          <summary>Steps of the scenario: run one now, and what to look at</summary>
          <ul class="steplist">
            {own.steps.map((step) => {
              const run = {
                method: 'POST' as const,
                path: `/scenario/step/${step.name}`,
                what: `${step.name} begins now.`,
              };
              return (
                <li key={step.name}>
                  <Do command={run}>Run now</Do>
                  <span class="tm">
                    {minute(step.from_seconds)}–{minute(step.to_seconds)}
                  </span>
                  <span>
                    <b>{stepName(step.name)}</b>. {step.note}
                  </span>
                </li>
              );
            })}
          </ul>
        </details>
      ) : null}
    </section>
  );
}

/** Selects the running scenario; a selection takes effect only when it is submitted. */
function Chooser({ own }: { own: Scenario }) {
  const [name, setName] = useState<string | null>(null);
  const [seed, setSeed] = useState<number | null>(null);
  const wanted = own.choices.find((one) => one.name === (name ?? own.name));
  const from = seed ?? own.seed ?? 1;
  const other = (name !== null && name !== own.name) || (wanted?.seeded && seed !== null && seed !== own.seed);
  return (
    <span class="choose">
      <label>
        <span class="sr">Scenario</span>
        <select
          data-scenario
          value={name ?? own.name}
          title={wanted?.note}
          onChange={(event) => setName(event.currentTarget.value)}
        >
          {own.choices.map((one) => (
            <option key={one.name} value={one.name}>
              {one.name} scenario
            </option>
          ))}
        </select>
      </label>
      {wanted?.seeded ? (
        <label>
          seed{' '}
          <input
            data-seed
            type="number"
            min="0"
            step="1"
            value={from}
            onInput={(event) => setSeed(Math.max(0, Math.trunc(event.currentTarget.valueAsNumber || 0)))}
          />
        </label>
      ) : null}
      {wanted && other ? (
        <Do
          kind="pri"
          command={{
            method: 'POST',
            path: '/scenario',
            body: { name: wanted.name, ...(wanted.seeded ? { seed: from } : {}) },
            what: `The ${wanted.name} scenario runs${wanted.seeded ? `, drawn from seed ${from}` : ''}.`,
          }}
        >
          Run it
        </Do>
      ) : null}
    </span>
  );
}

function StepMark({ step, row, at }: { step: Step; row: number; at: (seconds: number) => number }) {
  const here = position();
  const state = here >= step.to_seconds ? 'past' : here >= step.from_seconds ? 'now' : 'next';
  return (
    <div
      class={`step ${state}${at(step.from_seconds) > 60 ? ' end' : ''}`}
      title={step.note}
      style={{
        left: `${at(step.from_seconds)}%`,
        width: `${at(step.to_seconds - step.from_seconds)}%`,
        top: `${row * 23}px`,
      }}
    >
      <span>{stepName(step.name)}</span>
      <i />
    </div>
  );
}

/** Period in which a breaker was not closed. */
interface Spell {
  from: number;
  to: number;
  state: string;
}
/** Breaker that opened within the axis, and when. */
interface Lane {
  name: string;
  spells: Spell[];
}
/** Height of a lane, in pixels: one line of text. */
const LANE = 11;

function spells(all: Transition[], service: string, name: string, now: number): Spell[] {
  const own = all.filter((one) => one.service === service && one.breaker === name);
  return own
    .map((one, i) => ({ from: one.unix_seconds, to: own[i + 1]?.unix_seconds ?? now, state: one.to }))
    .filter((spell) => spell.state !== 'closed' && spell.state !== 'metrics_only');
}

/** The breakers that were not closed all the time since `from`, in the order of the map. */
function opened(from: number, now: number): Lane[] {
  return EDGES.map(({ service, name }) => ({
    name: ambiguous(name) ? `${service} → ${name}` : name,
    spells: spells(transitions.value, service, name, now).filter((spell) => spell.to > from),
  })).filter((lane) => lane.spells.length > 0);
}

/** Start of the last incident: states of one incident follow each other without a gap. */
const lastIncident = (spells: Spell[]): number =>
  spells.reduce(
    (begin, spell, i) => (i > 0 && spell.from - spells[i - 1]!.to > 1 ? spell.from : begin),
    spells[0]!.from,
  );

function Ribbon(props: Lane & { row: number; now: number; at: (unix: number) => number }) {
  const { name, spells, row, now, at } = props;
  const top = `${row * LANE}px`;
  const [begin, end] = [at(lastIncident(spells)), at(spells.at(-1)!.to)];
  // The name stands after the last incident, or before it near the right end.
  const beside = end < 86 ? { left: `${end + 0.4}%` } : { right: `${100.4 - begin}%` };
  return (
    <>
      <i class="base" style={{ top }} />
      {spells.map((spell) => {
        const left = Math.max(0, at(spell.from));
        return (
          <i
            key={spell.from}
            class={spell.state}
            style={{ top, left: `${left}%`, width: `${Math.max(0.2, at(spell.to) - left)}%` }}
          />
        );
      })}
      <b class={spells.at(-1)!.to >= now ? 'on' : ''} style={{ top, ...beside }}>
        {name}
      </b>
    </>
  );
}

const COLOURS = { ok: '--closed', dg: '--cache', er: '--open' };

/** Pages of each second as shares, and the p99 on a log scale from 1 ms to 30 s. */
function Chart({ side, from, length }: { side: 'p' | 'u'; from: number; length: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const points = history.value;
  useEffect(() => {
    const own = canvas.current;
    const pen = own?.getContext('2d');
    if (!own || !pen) return;
    const scale = Math.min(2, devicePixelRatio || 1);
    const [w, h] = [own.clientWidth, own.clientHeight];
    if (own.width !== w * scale || own.height !== h * scale) [own.width, own.height] = [w * scale, h * scale];
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, w, h);
    const style = getComputedStyle(own);
    const colour = (name: string) => style.getPropertyValue(name).trim();
    const x = (unix: number) => ((unix - from) / length) * w;
    const step = Math.max(1, w / length);
    let before = -1e9;
    for (const point of points) {
      const got = point[side];
      if (!got || point.t < from - 1) continue;
      const total = got[0] + got[1] + got[2];
      const other = point[side === 'p' ? 'u' : 'p'] ?? [0, 0, 0, null];
      // Viewers sent requests but got no page: this must not look like an idle second.
      const silent = total === 0 && other[0] + other[1] + other[2] > 0;
      if (total === 0 && !silent) continue;
      // Starts where the previous point ended, so that a late second leaves no gap.
      const right = x(point.t);
      const left = right - before < step * 6 ? before : right - step;
      before = right;
      let y = h;
      if (silent) {
        pen.globalAlpha = 0.3;
        pen.fillStyle = colour(COLOURS.er);
        pen.fillRect(left, 0, right - left + 0.4, h);
        continue;
      }
      for (const [share, name] of [
        [got[0], COLOURS.ok],
        [got[1], COLOURS.dg],
        [got[2], COLOURS.er],
      ] as const) {
        const part = (share / total) * h;
        pen.globalAlpha = name === COLOURS.ok ? 0.42 : 0.95;
        pen.fillStyle = colour(name);
        pen.fillRect(left, y - part, right - left + 0.4, part);
        y -= part;
      }
    }
    pen.globalAlpha = 1;
    pen.strokeStyle = colour('--text');
    pen.lineWidth = 1.3;
    pen.beginPath();
    let drawn = false;
    for (const point of points) {
      const ms = point[side]?.[3];
      if (ms === null || ms === undefined || point.t < from - 1) {
        drawn = false;
        continue;
      }
      const y = h - 2 - (Math.log10(Math.max(1, ms)) / Math.log10(30000)) * (h - 4);
      if (drawn) pen.lineTo(x(point.t), y);
      else pen.moveTo(x(point.t), y);
      drawn = true;
    }
    pen.stroke();
  }, [points, Math.round(from), length]);
  return (
    <div class={`lane strip${side === 'u' ? ' tws' : ''}`}>
      <canvas ref={canvas} role="img" aria-label={summary(points, side)} />
    </div>
  );
}

function summary(points: Point[], side: 'p' | 'u'): string {
  const [ok, degraded, error] = points.reduce(
    (sum, point) => {
      const got = point[side] ?? [0, 0, 0, null];
      return [sum[0]! + got[0], sum[1]! + got[1], sum[2]! + got[2]];
    },
    [0, 0, 0],
  );
  return `${side === 'p' ? 'Protected' : 'Unprotected'} pages of the last minutes: ${ok} live, ${degraded} from a fallback, ${error} errors`;
}
