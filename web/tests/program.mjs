/** The program under test, and the browser. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const SERVICES = [
  'GATEWAY',
  'GATEWAY_BARE',
  'USER',
  'CATALOG',
  'RECOMMENDATION',
  'ML_API',
  'CHECKOUT',
  'INVENTORY',
  'PAYMENT_GATEWAY',
  'NOTIFICATION',
];

/** Starts `$BREAKERBOX` on free ports, or on the admin port given. */
export async function start({ flags = [], env = {}, adminPort = 0 } = {}) {
  const state = mkdtempSync(join(tmpdir(), 'breakerbox-pages-'));
  const ports = Object.fromEntries(SERVICES.map((name) => [`BREAKERBOX_SERVICES__${name}__PORT`, '0']));
  const own = {
    ...process.env,
    ...ports,
    BREAKERBOX_ADMIN__LISTEN: `127.0.0.1:${adminPort}`,
    BREAKERBOX_STORE__DIRECTORY: state,
    // Only faults set by a test occur.
    BREAKERBOX_FAULTS__ML_API__ERROR_RATE: '0',
    BREAKERBOX_FAULTS__PAYMENT_GATEWAY__ERROR_RATE: '0',
    BREAKERBOX_PAYMENT_GATEWAY__DECLINE_RATE: '0',
    ...env,
  };
  const child = spawn(process.env.BREAKERBOX, flags, { env: own, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8');
  const address = (name) => text.match(new RegExp(`^${name}\\s+(http://[0-9.:]+)/`, 'm'))?.[1];
  await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not started: ${text}`)), 60_000);
    child.once('exit', (code) => reject(new Error(`ended with ${code}: ${text}`)));
    child.stdout.on('data', (more) => {
      text += more;
      if (address('metrics')) {
        clearTimeout(late);
        resolve();
      }
    });
  });
  const stop = () =>
    new Promise((resolve) => {
      child.removeAllListeners('exit');
      child.once('exit', () => {
        rmSync(state, { recursive: true, force: true });
        resolve();
      });
      child.kill('SIGTERM');
    });
  return { site: address('storefront'), twin: address('unprotected twin'), admin: address('metrics'), stop };
}

/** The path of a program on the PATH, because the browser driver does not search it. */
function found(name) {
  if (name.includes('/')) return name;
  const places = (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name));
  return places.find((place) => existsSync(place)) ?? name;
}

export async function browser() {
  return chromium.launch({
    executablePath: found(process.env.CHROMIUM),
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-proxy-server'],
  });
}

/** A page that records requests to other origins and script errors. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ locale: 'en-US', viewport: { width: 1440, height: 900 }, ...options });
  // Generous for a machine that compiles at the same time; all waits are for conditions.
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  let own = new URL(url).host;
  page.strangers = [];
  page.failures = [];
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    own ||= host;
    if (protocol !== 'data:' && protocol !== 'blob:' && host !== own) page.strangers.push(request.url());
  });
  page.on('pageerror', (error) => page.failures.push(String(error)));
  page.on('console', (message) => {
    if (message.type() === 'error' && /Content Security Policy|Refused to/.test(message.text()))
      page.failures.push(message.text());
  });
  if (process.env.PAGES) await page.route(/\/assets\/[a-z]+\.(js|css)$|\/console$/, fresh);
  await page.goto(url);
  return page;
}

/**
 * Serves files from `$PAGES` instead of the embedded ones, with their headers, so that a change needs no build of the
 * program.
 */
async function fresh(route) {
  const name = new URL(route.request().url()).pathname
    .replace(/^\/(assets\/)?/, '')
    .replace(/^console$/, 'console.html');
  const response = await route.fetch();
  await route.fulfill({ response, body: readFileSync(join(process.env.PAGES, name)) });
}

export async function call(url, method = 'GET', body, headers = {}) {
  const response = await fetch(url, {
    method,
    headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${url}: ${response.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}

/** Polls until `what` returns something true, and fails with a message otherwise. */
export async function until(text, what, seconds = 60) {
  const end = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < end) {
    last = await what();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${text}: not within ${seconds} s; last: ${JSON.stringify(last)}`);
}
