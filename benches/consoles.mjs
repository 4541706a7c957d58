/**
 * What open consoles cost the gateway: its throughput with none and with 200 of them, in turn.
 *
 *     BREAKERBOX=target/release/breakerbox node benches/consoles.mjs [consoles] [rounds] [seconds]
 *
 * The load is a closed loop of 16 connections on `/api/home`, from a process of its own; the consoles are in
 * another, and read what they are sent. Throughput is that of the whole machine, so what the readers take from
 * the program's processors counts as a cost. CPU time a request, from /proc, is what the program alone spends,
 * and hardly depends on what else the machine does.
 */
import { fork, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [consoles, rounds, seconds] = [200, 9, 5].map((usual, i) => Number(process.argv[2 + i] ?? usual));
/** Clock ticks per second in /proc, which is 100 on every Linux. */
const TICKS = 100;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const median = (all) => [...all].sort((a, b) => a - b)[all.length >> 1];

/** Keeps 16 connections busy, and reports the number of responses on request. */
function load() {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  let answered = 0;
  const next = () =>
    http
      .get(`${process.env.SITE}api/home`, { agent }, (response) => {
        response.resume();
        response.on('end', () => {
          if (response.statusCode === 200) answered++;
          next();
        });
      })
      .on('error', () => setTimeout(next, 50));
  for (let i = 0; i < 16; i++) next();
  process.on('message', () => process.send(answered));
}

/** Opens and closes consoles, and reports how many are open. */
function watch() {
  let open = [];
  process.on('message', async (wanted) => {
    for (const request of open) request.destroy();
    const opened = Array.from({ length: wanted }, () => {
      const agent = new http.Agent({ maxSockets: 1 });
      const request = http.get(`${process.env.ADMIN}console/events`, { agent });
      request.on('error', () => {});
      return new Promise((resolve) =>
        request.on('response', (response) => {
          response.resume();
          response.on('error', () => {});
          resolve(request);
        }),
      );
    });
    open = await Promise.all(opened);
    process.send(open.length);
  });
}

const ask = (child, what) =>
  new Promise((resolve) => {
    child.once('message', resolve);
    child.send(what);
  });

async function measure() {
  const state = mkdtempSync(join(tmpdir(), 'breakerbox-bench-'));
  const program = spawn(process.env.BREAKERBOX, ['--no-scenario', '--no-traffic'], {
    env: {
      ...process.env,
      BREAKERBOX_STORE__DIRECTORY: state,
      // Raises the admin port's connection limit and the rate limit per address.
      BREAKERBOX_CONNECTIONS__ADMIN: String(consoles + 56),
      BREAKERBOX_GATEWAY__CLIENT_LIMIT__LIMIT_FOR_PERIOD: '1000000',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  program.stdout.on('data', (more) => (text += more));
  const address = (name) => text.match(new RegExp(`^${name}\\s+(http://[0-9.:]+/)`, 'm'))?.[1];
  while (!address('metrics')) await pause(100);
  const env = { ...process.env, SITE: address('storefront'), ADMIN: address('metrics') };
  const role = (name) => fork(process.argv[1], { env: { ...env, ROLE: name } });
  const [loader, watcher] = [role('load'), role('consoles')];
  const cpu = () => {
    const [user, system] = readFileSync(`/proc/${program.pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13);
    return (Number(user) + Number(system)) / TICKS;
  };
  const window = async () => {
    const [before, spent] = [await ask(loader, 0), cpu()];
    await pause(seconds * 1000);
    const [after, used] = [await ask(loader, 0), cpu()];
    return { rate: (after - before) / seconds, micros: ((used - spent) / (after - before)) * 1e6 };
  };
  try {
    await pause(3000);
    const ratios = { rate: [], micros: [] };
    for (let round = 0; round < rounds; round++) {
      await ask(watcher, 0);
      await pause(1000);
      const without = await window();
      const open = await ask(watcher, consoles);
      await pause(1000);
      const beside = await window();
      ratios.rate.push(beside.rate / without.rate);
      ratios.micros.push(beside.micros / without.micros);
      console.log(
        `${without.rate.toFixed(0)} requests/s, ${without.micros.toFixed(0)} µs CPU each; with ${open} consoles ` +
          `${beside.rate.toFixed(0)} requests/s, ${beside.micros.toFixed(0)} µs`,
      );
    }
    const [rate, micros] = [median(ratios.rate), median(ratios.micros)];
    console.log(`median ratio: throughput ${rate.toFixed(3)}, CPU time a request ${micros.toFixed(3)}`);
    process.exitCode = rate < 0.95 ? 1 : 0;
  } finally {
    for (const child of [loader, watcher, program]) child.kill();
    await pause(1500);
    rmSync(state, { recursive: true, force: true });
  }
}

if (process.env.ROLE === 'load') load();
else if (process.env.ROLE === 'consoles') watch();
else await measure();
