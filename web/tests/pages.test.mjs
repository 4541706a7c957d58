/** Tests of the storefront and the console in a browser. `BREAKERBOX` and `CHROMIUM` are the paths of both programs. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { browser as launch, call, open, start, until } from './program.mjs';

const RECOMMENDATIONS = '추천 서비스를 잠시 사용할 수 없습니다';
const PAYMENT = '현재 결제 서비스에 일시적인 오류가 발생했습니다. 나중에 다시 시도해 주세요.';
const CATALOG = '영화 목록을 잠시 사용할 수 없습니다';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let program;
let browser;
before(async () => {
  // One after the other, so that the program is stopped even if the browser fails to start.
  program = await start({ flags: ['--no-scenario'] });
  browser = await launch();
  // The tests wait for recoveries, so they are made faster than in the demonstration.
  for (const [service, name] of [
    ['gateway', 'catalog'],
    ['gateway', 'recommendation'],
    ['recommendation', 'ml-api'],
  ])
    await command(service, name, { settings: { 'wait-duration-in-open-state': '2s' } });
});
after(async () => {
  await browser?.close();
  await program?.stop();
});

// Restores the state that the next test expects.
afterEach(async () => {
  await mend();
  const { breakers } = await call(`${program.admin}/breakers`);
  for (const { service, name } of breakers.filter((one) => one.state !== 'closed'))
    await command(service, name, { state: 'reset' });
});

const mend = () => call(`${program.admin}/faults`, 'DELETE');
const breakIt = (target, plan) => call(`${program.admin}/faults/${target}`, 'PUT', plan);
const command = (service, name, body) => call(`${program.admin}/breakers/${service}/${name}`, 'PATCH', body);
const state = async (service, name) => {
  const { breakers } = await call(`${program.admin}/breakers`);
  return breakers.find((one) => one.service === service && one.name === name).state;
};
const clean = (page) => {
  assert.deepEqual(page.strangers, [], 'requests its own origin only');
  assert.deepEqual(page.failures, [], 'no script errors');
};
async function signedIn(url, options) {
  const page = await open(browser, url, options);
  await page.locator('.pick').first().click();
  await page.locator('.me').waitFor();
  return page;
}

test('a fault set by click trips a breaker, which recovers', async () => {
  const page = await open(browser, `${program.admin}/console`);
  await page.locator('[data-say]').waitFor();
  await page.locator('[data-node=catalog]').click();
  await page.locator('.panel h2', { hasText: 'catalog' }).waitFor();
  await page.locator('#catalog-error_rate').fill('100');
  // Measured by the page's own clock, which a slow browser driver does not affect, up to the service's response.
  await page.evaluate(() => addEventListener('click', () => (window.clicked ??= performance.now()), true));
  const reached = page.waitForResponse((response) => response.url().endsWith('/faults/catalog'));
  await page
    .locator('.field', { has: page.locator('#catalog-error_rate') })
    .getByRole('button', { name: 'Set', exact: true })
    .click();
  const { targets } = await (await reached).json();
  assert.equal(targets.find((one) => one.target === 'catalog').plan.error_rate, 1);
  const took = await page.waitForFunction(() => {
    const request = performance.getEntriesByType('resource').find(({ name }) => name.endsWith('/faults/catalog'));
    return request && request.responseEnd - window.clicked;
  });
  assert.ok((await took.jsonValue()) < 1000, `${await took.jsonValue()} ms`);
  // The fault on the map, the trip on the edge, and the cause and the effect on both sides in words.
  await page.locator('[data-node=catalog]', { hasText: 'errors 100 %' }).waitFor();
  await page.locator('[data-edge="gateway/catalog"].open').waitFor();
  await page.getByRole('button', { name: 'Close', exact: true }).first().click();
  await page.locator('[data-say]', { hasText: 'The catalog answers only errors' }).waitFor();
  await page.locator('[data-side=gateway-bare] .big.harm').waitFor();
  await mend();
  await page.locator('[data-edge="gateway/catalog"].closed').waitFor();
  await page.locator('.did li', { hasText: 'closed again' }).first().waitFor();
  clean(page);
  await page.context().close();
});

// Focus must also survive updates of the page.
test('a breaker forced open blocks, and serves once closed', async () => {
  const { demo } = await call(`${program.site}/site.json`);
  const { token } = await call(`${program.site}/api/login`, 'POST', {
    username: demo.viewers[0],
    password: demo.password,
  });
  const viewer = { authorization: `Bearer ${token}` };
  const page = await open(browser, `${program.admin}/console`);
  await page.locator('[data-edge="gateway/recommendation"]').focus();
  await page.keyboard.press('Enter');
  const force = page.locator('.panel').getByRole('button', { name: 'Force open', exact: true });
  await force.click();
  await page.locator('.ask').getByRole('button', { name: 'Force open', exact: true }).click();
  await page.locator('[data-edge="gateway/recommendation"].forced_open').waitFor();
  assert.equal(await state('gateway', 'recommendation'), 'forced_open');
  // Forced open: the panel counts rejected calls, and the page's answer names its source.
  const source = async () => (await call(`${program.site}/api/recommendations`, 'GET', undefined, viewer)).source;
  await until('a fallback answer', async () => (await source()) !== 'live');
  await page.locator('.panel .ln', { hasText: 'rejected' }).locator('dd', { hasText: /[1-9]/ }).first().waitFor();
  const close = page.locator('.panel').getByRole('button', { name: 'Close', exact: true }).nth(1);
  await close.focus();
  const before = await page.evaluate(
    () => (window.kept = document.activeElement) && document.activeElement.textContent,
  );
  // After three deltas it must still be the same DOM element.
  await page.evaluate(
    () =>
      new Promise((resolve) => {
        let deltas = 0;
        const source = new EventSource('/console/events');
        source.addEventListener('delta', () => ++deltas === 3 && (source.close(), resolve()));
      }),
  );
  assert.equal(
    await page.evaluate(() => document.activeElement === window.kept && document.activeElement.isConnected),
    true,
    before,
  );
  await page.keyboard.press('Enter');
  await page.locator('[data-edge="gateway/recommendation"].closed').waitFor();
  assert.equal(await state('gateway', 'recommendation'), 'closed');
  await until('live answers', async () => (await source()) === 'live');
  clean(page);
  await page.context().close();
});

test('the storefront shows each notice while the twin fails', async () => {
  // Side by side, a demo viewer is signed in automatically.
  const page = await open(browser, `${program.site}/?split=1`);
  await page.locator('.me').waitFor();
  await page.locator('.pane.p .row').first().waitFor();
  await page.locator('.strip .now', { hasText: 'Both sides give the same answer' }).waitFor();
  const notice = (text) => page.locator('.pane.p .ntc b', { hasText: text });
  const exact = async (locator, text) => {
    await locator.first().waitFor();
    assert.equal(await locator.first().textContent(), text);
  };
  await breakIt('ml-api', { error_rate: 1, ttl: '60s' });
  await exact(notice(RECOMMENDATIONS), RECOMMENDATIONS);
  await mend();
  await breakIt('catalog', { crash: true, ttl: '60s' });
  await exact(notice(CATALOG), CATALOG);
  await page.locator('.pane.p .chip.c-cache').first().waitFor();
  await page.locator('.pane.u .json', { hasText: '502' }).waitFor();
  await page.locator('.strip .now', { hasText: 'The twin fails' }).waitFor();
  await mend();
  await command('gateway', 'catalog', { state: 'reset' });
  await page.locator('.strip .now', { hasText: 'Both sides give the same answer' }).waitFor();
  // A viewer who signs out stays signed out.
  await page.locator('.me').click();
  await page.locator('.menu button', { hasText: 'Sign out' }).click();
  await page.locator('.who.out').waitFor();
  for (let i = 0; i < 2; i++) await page.waitForResponse((answer) => answer.url() === `${program.site}/api/home`);
  assert.equal(await page.locator('.who.out').count(), 1);
  clean(page);
  await page.context().close();
});

test('a queued order is paid live, and another is cancelled', async () => {
  const page = await signedIn(`${program.site}/#/title/59`);
  await breakIt('payment-gateway', { error_rate: 1, ttl: '60s' });
  await command('checkout', 'payment-gateway', { state: 'forced_open' });
  for (const offer of [0, 1]) {
    await page.locator('.offer').nth(offer).click();
    await page.locator('dialog .btn.pri').click();
    const notice = page.locator('dialog .ntc b');
    await notice.waitFor();
    assert.equal(await notice.textContent(), PAYMENT);
    await page.locator('dialog .btn.pri', { hasText: 'pay later' }).click();
    await page.locator('.toast', { hasText: 'not yet charged' }).waitFor();
    await page.locator('dialog[open]').waitFor({ state: 'detached' });
  }
  await page.locator('.nav a', { hasText: 'My orders' }).click();
  const queued = page.locator('.od[data-state=queued]');
  await queued.nth(1).waitFor();
  const cancelled = await queued.first().getAttribute('data-order');
  const paid = await queued.nth(1).getAttribute('data-order');
  await queued.first().getByRole('button', { name: 'Cancel order' }).click();
  await page
    .locator(`.od[data-order="${cancelled}"]`)
    .and(page.locator('[data-state=cancelled], [data-state=cancelling]'))
    .waitFor();
  await mend();
  await command('checkout', 'payment-gateway', { state: 'reset' });
  await page.locator(`.od[data-order="${paid}"][data-state=paid]`).waitFor();
  clean(page);
  await page.context().close();
});

test('commands are logged, transitions exported, drills start', async () => {
  const page = await open(browser, `${program.admin}/console`);
  await page.locator('[data-node=inventory]').click();
  await page.locator('.panel').getByRole('button', { name: 'Crash', exact: true }).click();
  await page.locator('[data-node=inventory]', { hasText: 'crashed' }).waitFor();
  await mend();
  await command('gateway', 'user', { state: 'forced_open' });
  await command('gateway', 'user', { state: 'reset' });
  await page.locator('[data-tab=transitions]').click();
  const row = page.locator('[data-commands] tr', { hasText: 'PUT /faults/inventory' }).first();
  await row.waitFor();
  assert.match(await row.getByRole('button').getAttribute('title'), /^curl -X PUT .*'http.*\/faults\/inventory'$/);
  const metrics = await (await fetch(`${program.admin}/metrics`)).text();
  assert.match(metrics, /^admin_actions_total\{action="fault",outcome="done"\} [1-9]/m);

  await page.getByPlaceholder('Filter').fill('user');
  await page.getByLabel('New state').selectOption('forced_open');
  await page.locator('.sub', { hasText: /^1 of/ }).waitFor();
  const saved = async (name) => {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name, exact: true }).click(),
    ]);
    return readFileSync(await download.path(), 'utf8');
  };
  const [head, line] = (await saved('CSV')).split('\r\n');
  assert.match(head, /^unix_seconds,service,breaker,from,to/);
  assert.match(line, /"gateway","user","closed","forced_open"/);
  assert.equal(JSON.parse(await saved('JSON'))[0].to, 'forced_open');

  // Without a Prometheus a drill reports what is missing.
  await page.locator('[data-tab=drills]').click();
  await page.getByPlaceholder('Filter').fill('CircuitBreakerOpen');
  await page.getByRole('button', { name: 'Start', exact: true }).first().click();
  await page.locator('[data-drill=refused]').waitFor();
  await page
    .locator('[data-drill] .harm', { hasText: /prometheus/i })
    .first()
    .waitFor();
  clean(page);
  await page.context().close();
});

test('an idle storefront sends no requests', async () => {
  const page = await signedIn(`${program.site}/`);
  await page.waitForFunction(() => !document.querySelector('[aria-busy=true], .blank'));
  const asked = [];
  page.on('request', (request) => asked.push(request.url()));
  await page.waitForTimeout(5000);
  assert.deepEqual(asked, []);
  // Changes are announced: the row updates without a click.
  await command('gateway', 'catalog', { state: 'forced_open' });
  await page.locator('.chip.c-cache').first().waitFor();
  clean(page);
  await page.context().close();
});

test('no markup of an alert or a fault is ever rendered', async () => {
  const evil = '<img src=x onerror="window.hacked=1">';
  const link = 'javascript:window.hacked=1';
  const alert = {
    status: 'firing',
    startsAt: '2026-01-01T00:00:00Z',
    endsAt: '',
    fingerprint: 'a',
    labels: { alertname: evil, severity: 'critical', service: evil, instance: evil },
    annotations: { summary: evil, dashboard_url: link },
  };
  await call(`${program.admin}/alerts/webhook`, 'POST', { version: '4', alerts: [alert] });
  const harmless = async (page) => {
    assert.deepEqual(await page.locator('img').evaluateAll((all) => all.map((one) => one.outerHTML)), []);
    assert.equal(await page.locator('a[href^="javascript"]').count(), 0);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    clean(page);
  };
  const page = await open(browser, `${program.admin}/console#alerts`);
  await page.locator('.alert h2', { hasText: '<img' }).waitFor();
  await harmless(page);
  await page.context().close();

  // Every text in the stream, from any source, on every page.
  const stream = (await fetch(`${program.admin}/console/events`)).body.getReader();
  let text = '';
  while (!text.includes('\n\n')) text += new TextDecoder().decode((await stream.read()).value);
  await stream.cancel();
  const kept = ['state', 'status', 'mode', 'from', 'to', 'severity', 'service', 'starts_at', 'ends_at'];
  const poisoned = JSON.parse(text.match(/^data: ?(.*)$/m)[1], (key, value) =>
    typeof value === 'string' && !kept.includes(key)
      ? key.endsWith('_url') || key === 'storefront'
        ? link
        : evil
      : value,
  );
  poisoned.entries['fault/x'] = {
    target: evil,
    plan: { [evil]: 1 },
    active: [evil],
    at_baseline: false,
    remaining_seconds: 9,
  };
  poisoned.transitions.push({
    service: evil,
    breaker: evil,
    from: evil,
    to: evil,
    reason: evil,
    process: evil,
    unix_seconds: 1,
  });
  const all = await open(browser, 'about:blank');
  await all.route('**/console/events', (route) =>
    route.fulfill({
      contentType: 'text/event-stream',
      body: `event: snapshot\ndata: ${JSON.stringify(poisoned)}\n\n`,
    }),
  );
  await all.goto(`${program.admin}/console`);
  for (const tab of await all.locator('[data-tab]').all()) {
    await tab.click();
    await all.locator('main', { hasText: /\S/ }).waitFor();
    await all.locator('main details').evaluateAll((some) => some.forEach((one) => (one.open = true)));
    await harmless(all);
  }
  await all.locator('[data-tab=live]').click();
  await all.locator('[data-edge="gateway/catalog"]').click();
  await all.locator('.panel').waitFor();
  await harmless(all);
  await all.context().close();
});

// Checked on a phone's viewport in both themes.
test('no serious accessibility issue, no sideways scrolling', async () => {
  // During an incident, when most is visible: a fault, an open breaker, a fallback, an alert.
  await command('gateway', 'catalog', { state: 'forced_open' });
  await breakIt('ml-api', { error_rate: 1, ttl: '5m' });
  const pages = [
    ['', `${program.site}/`],
    ['#/title/59', `${program.site}/#/title/59`],
    ['split', `${program.site}/?split=1`],
    ['ko', `${program.site}/?lang=ko`],
    ['console', `${program.admin}/console`],
    ['faults', `${program.admin}/console#faults`],
    ['transitions', `${program.admin}/console#transitions`],
    ['drills', `${program.admin}/console#drills`],
    ['tour', `${program.admin}/console#tour`],
  ];
  const found = [];
  for (const theme of ['dark', 'light']) {
    const page = await open(browser, program.site, { colorScheme: theme, viewport: { width: 390, height: 844 } });
    for (const [name, url] of pages) {
      await page.goto('about:blank');
      await page.goto(url);
      await page.locator('h1:visible, .row:visible, [data-say]').first().waitFor();
      // Waits until nothing is loading.
      await page.waitForFunction(() => !document.querySelector('[aria-busy=true], .blank'));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (wide > 0) found.push(`${theme} ${name}: ${wide} px too wide`);
      // The test injects the tool, because the page's content security policy would block it.
      const session = await page.context().newCDPSession(page);
      await session.send('Runtime.evaluate', { expression: AXE });
      // The other theme differs only in colours.
      const violations = await page.evaluate(
        async (only) => {
          const { violations } = await window.axe.run(document, { resultTypes: ['violations'], ...only });
          return violations;
        },
        theme === 'dark' ? {} : { runOnly: ['color-contrast'] },
      );
      for (const { id, impact, nodes } of violations.filter((one) => ['serious', 'critical'].includes(one.impact)))
        found.push(
          `${theme} ${name}: ${impact} ${id}: ${nodes
            .slice(0, 3)
            .map((node) => node.html.slice(0, 140))
            .join(' | ')}`,
        );
    }
    assert.deepEqual(page.failures, []);
    await page.context().close();
  }
  assert.deepEqual(found, []);
});

// A fault that is also active between incidents is only mentioned as usual.
test('a breaker that outlasts its fault is reported', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'breakerbox-scenario-'));
  const file = join(folder, 'short.toml');
  const step = 'name = "outage"\nat = "2s"\nfor = "6s"\ntarget = "catalog"\nfault = { error_rate = 1.0 }';
  writeFileSync(file, `name = "short"\nlength = "10m"\n[calm]\nml-api = { error_rate = 0.1 }\n[[step]]\n${step}\n`);
  const own = await start({ flags: ['--scenario', file, '--rate', '30'] });
  try {
    const page = await open(browser, own.admin);
    const [say, also] = [page.locator('[data-say]'), page.locator('.say .also')];
    await say.getByText('The catalog answers only errors').waitFor();
    // The breaker stays open longer than the fault lasts.
    await say.getByText('The fault is over; the breaker in front of catalog is still open.').waitFor();
    await also.getByText('ml-api fails 10\u00a0% of calls').waitFor();
    assert.match(await page.locator('[data-node="ml-api"]').textContent(), /as usual/);
    await say.getByText('Nothing is broken.').waitFor();
  } finally {
    await own.stop();
    rmSync(folder, { recursive: true });
  }
});

test('the console asks for the token and survives a restart', async () => {
  let locked = await start({ flags: ['--no-traffic'], env: { BREAKERBOX_ADMIN__TOKEN: 'sesame' } });
  try {
    const page = await open(browser, `${locked.admin}/console#faults`);
    await page.getByRole('button', { name: 'Mend everything', exact: true }).click();
    const dialog = page.locator('dialog.token');
    await dialog.locator('input').fill('wrong');
    await dialog.getByRole('button', { name: 'Unlock' }).click();
    await page.locator('.toast.bad', { hasText: 'not the token' }).waitFor();
    await dialog.locator('input').fill('sesame');
    await dialog.getByRole('button', { name: 'Unlock' }).click();
    await page.locator('.toast', { hasText: 'Everything is mended' }).waitFor();
    const log = page.locator('[data-commands]');
    await page.locator('[data-tab=transitions]').click();
    await log.locator('tr', { hasText: 'unauthorized, 401' }).first().waitFor();
    await log.locator('tr', { hasText: 'done, 200' }).first().waitFor();
    assert.equal(await page.locator('main', { hasText: 'sesame' }).count(), 0);
    // Selects another scenario, drawn from a seed.
    await page.locator('[data-tab=live]').click();
    await page.locator('[data-scenario]').selectOption('drawn');
    await page.locator('[data-seed]').fill('42');
    await page.getByRole('button', { name: 'Run it', exact: true }).click();
    await page.locator('.steps .step').nth(6).waitFor();
    const { name, seed, mode } = await call(`${locked.admin}/scenario`);
    assert.deepEqual({ name, seed, mode }, { name: 'drawn', seed: 42, mode: 'running' });
    const port = Number(new URL(locked.admin).port);
    await locked.stop();
    await page.locator('.link.lost').waitFor();
    locked = await start({
      flags: ['--no-scenario', '--no-traffic'],
      env: { BREAKERBOX_ADMIN__TOKEN: 'sesame' },
      adminPort: port,
    });
    await page.locator('.link.live').waitFor();
    assert.deepEqual(page.failures, []);
    await page.context().close();
  } finally {
    await locked.stop();
  }
});

test('the tour runs by itself, all five steps', async () => {
  await command('checkout', 'payment-gateway', { state: 'reset' });
  const page = await open(browser, `${program.admin}/console#tour`);
  await page.locator('[data-begin="1"]').click();
  const lesson = (n) => page.locator(`.tourbar[data-lesson="${n}"]`);
  const passed = (n) => page.locator(`.tourbar[data-lesson="${n}"][data-passed=true]`);
  const next = async (n, meanwhile) => {
    await lesson(n).locator('[data-do]').click();
    await meanwhile?.();
    await passed(n).waitFor();
    await mend();
    await page.locator('[data-next]').click();
  };
  await next(1, async () => {
    await page.locator('.goals li.ok', { hasText: 'the breaker opens' }).waitFor();
    await page.locator('.goals li.ok', { hasText: 'answers errors' }).waitFor();
    await mend();
  });
  await next(2);
  await next(3);
  await next(4);
  await next(5, async () => {
    await page.locator('[data-edge="gateway/checkout"].forced_open').waitFor();
    await page.locator('[data-reset]').click();
  });
  await lesson(5).waitFor({ state: 'detached' });
  assert.equal(await state('gateway', 'checkout'), 'closed');
  clean(page);
  await page.context().close();
});
