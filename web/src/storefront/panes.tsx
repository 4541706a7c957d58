/** One side of the site: its header with time and status, its notices, its page, and its errors. */
import { useEffect, useRef } from 'preact/hooks';
import { PATIENCE_MS, type Home, type Movies } from '../shared/api';
import { ago, clock, millis, t, type Word } from './i18n';
import { Page } from './pages';
import { Icon, Notice, Side, type IconName } from './parts';
import {
  bareSite,
  breakers,
  now,
  panes,
  paymentNotice,
  rest,
  round,
  route,
  session,
  split,
  toasts,
  type PaneState,
  type Seen,
  type SideName,
} from './state';

/** Time after which a pending page is shown as waiting, in milliseconds. */
const PATIENT = 800;

const position = (ms: number): number =>
  Math.min(100, Math.max(2, (Math.log10(Math.max(1, ms)) / Math.log10(PATIENCE_MS)) * 100));
function colour({ status, ms, source }: Seen): string {
  if (status === 0 || status >= 400) return 'harm';
  if (source === 'cache' || source === 'popular') return source;
  if (source === 'none') return 'wait';
  return ms > 900 ? 'wait' : 'live';
}
const waited = (pane: PaneState): number => {
  void now.value;
  return pane.since === null ? 0 : performance.now() - pane.since;
};

function Bar({ side }: { side: SideName }) {
  const pane = panes[side].value;
  const wait = waited(pane);
  const hanging = pane.since !== null && (wait > PATIENT || !pane.answer);
  const last = pane.seen[pane.seen.length - 1];
  const ms = hanging ? wait : (last?.ms ?? 0);
  const kind = hanging ? 'wait' : last ? colour(last) : 'mu';
  const [number, unit] = millis(ms);
  const bare = side === 'u';
  const source = last?.source && last.source !== 'live' ? last.source : null;
  return (
    <div class="pbar">
      <div class="r">
        <h2>
          <Icon name={bare ? 'bare' : 'live'} />
          {t(bare ? 'bare' : 'prot')}
        </h2>
        <span class="hist" role="img" aria-label={t('hist')}>
          {pane.seen.map((seen, i) => (
            <i key={i} class={`c-${colour(seen)}`} style={{ height: `${Math.round(position(seen.ms) * 0.95)}%` }} />
          ))}
        </span>
        <span class={`st c-${kind}`}>
          {hanging ? t('waits') : last ? last.status || t('failH') : ''}
          {!hanging && source ? <i> {t((source === 'cache' ? 'cacheNow' : source) as Word)}</i> : null}
        </span>
        <span class={`ms c-${kind}`}>
          {number}
          <small>{unit}</small>
        </span>
      </div>
      <div class="tb">
        <i class={`c-${kind}`} style={{ width: `${position(ms).toFixed(1)}%` }} />
      </div>
      <div class="tk" aria-hidden="true">
        {(['1 ms', '10', '100', '1 s', '10 s'] as const).map((label, i) => (
          <span key={label} style={{ left: `${position(10 ** i).toFixed(1)}%` }}>
            {label}
          </span>
        ))}
      </div>
    </div>
  );
}

/** A page that has not arrived yet. A running timer distinguishes it from a broken page. */
function Waiting({ side }: { side: SideName }) {
  const pane = panes[side].value;
  const bare = side === 'u' || bareSite.value;
  return (
    <div class="blank">
      <div class="sk" aria-hidden="true">
        <i />
        <div>
          <i />
          <i />
          <i />
          <i />
        </div>
        <div>
          <i />
          <i />
          <i />
          <i />
        </div>
      </div>
      {waited(pane) > PATIENT ? (
        <div class="cnt" role="status">
          <b aria-hidden="true">
            {(waited(pane) / 1000).toFixed(1)}
            <small> s</small>
          </b>
          <p>{t('stillWaiting', { p: pane.path.split('?')[0] ?? '' })}</p>
          <p>{bare ? t('stillWhy', { n: PATIENCE_MS / 1000 }) : t('stillWhyP')}</p>
        </div>
      ) : (
        <span class="vh" role="status">
          {t('loading')}
        </span>
      )}
    </div>
  );
}

/** A failed page: the raw error on the unprotected side, an explanation on the protected side. */
function Failed({ side }: { side: SideName }) {
  const { answer, path } = panes[side].value;
  if (!answer) return null;
  const again = (
    <button class="sm" onClick={() => round.value++}>
      {t('retry')}
    </button>
  );
  if (side === 'u' || bareSite.value) {
    return (
      <div class="json" role="alert">
        <pre lang="en">
          {`GET ${path}\n\n`}
          <b>{answer.status === 0 ? answer.detail : `HTTP/1.1 ${answer.status} ${names[answer.status] ?? ''}`}</b>
          {answer.raw ? `\n\n${pretty(answer.raw)}` : ''}
        </pre>
        {again}
      </div>
    );
  }
  return (
    <section class="page" role="alert">
      <header>
        <h1 tabIndex={-1}>{t('failH')}</h1>
      </header>
      <p class="pad">
        {answer.status ? `${answer.status}. ` : ''}
        {answer.detail}
      </p>
      <p class="pad mu">{t('failS')}</p>
      <p class="pad">{again}</p>
    </section>
  );
}
const names: Record<number, string> = {
  401: 'Unauthorized',
  404: 'Not Found',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};
function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** The API's notices, unchanged, above the page. */
function Notices() {
  const { answer } = panes.p.value;
  const { view } = route.value;
  const data = answer?.data as (Partial<Home> & Partial<Movies>) | undefined;
  const shown = [];
  const recommendations = view === 'home' && session.value ? data?.recommendations : undefined;
  const row = data?.rows?.[0];
  const age = row ? row.age_seconds : data?.age_seconds;
  if (data?.notice) {
    const ok = age === undefined ? t('catOk') : t('catOkC', { a: ago(age) });
    shown.push(<Notice key="cat" icon="cache" kind="cache" text={data.notice} english={t('catEn')} ok={ok} />);
  }
  if (recommendations?.notice) {
    const { source, age_seconds: old, notice } = recommendations;
    const icon: IconName = source === 'cache' ? 'cache' : source === 'popular' ? 'popular' : 'none';
    const ok =
      source === 'cache' && old !== undefined
        ? t('recOkC', { a: ago(old) })
        : t(source === 'popular' ? 'recOkP' : 'recOk0');
    const kind = source === 'none' ? 'wait' : source;
    shown.push(<Notice key="rec" icon={icon} kind={kind} text={notice} english={t('recEn')} ok={ok} />);
  }
  const payment = paymentNotice.value;
  const breaker = breakers.value.find((breaker) => breaker.name === 'payment-gateway');
  const open = breaker?.state === 'open' || breaker?.state === 'forced_open';
  if (payment && (open || (!breaker && payment.until > now.value))) {
    const left = breaker ? rest(breaker) : payment.until - now.value;
    const ok = left > 0 ? t('payOk', { t: clock(left) }) : t('payOkNow');
    shown.push(<Notice key="pay" icon="wait" kind="wait" text={payment.text} english={t('payEn')} ok={ok} />);
  }
  return (
    <div class="ns" role="status">
      {shown}
    </div>
  );
}

export function Pane({ side }: { side: SideName }) {
  const box = useRef<HTMLDivElement>(null);
  const pane = panes[side].value;
  const wait = waited(pane);
  const failed = pane.answer !== null && pane.answer.data === undefined && pane.since === null;
  const waiting = pane.since !== null && (wait > PATIENT || pane.answer === null || pane.answer.data === undefined);
  const signedOut = !session.value && (route.value.view === 'orders' || route.value.view === 'me');
  const cover = !signedOut && (failed || waiting);
  const { view, id, text } = route.value;
  useEffect(() => {
    if (box.current) box.current.scrollTop = 0;
  }, [view, id, text]);
  const sync = () => {
    if (!split.value || !box.current) return;
    const other = document.querySelector<HTMLDivElement>(side === 'p' ? '.pane.u .scroll' : '.pane.p .scroll');
    if (other && Math.abs(other.scrollTop - box.current.scrollTop) > 2 && box.current.matches(':hover, :focus-within'))
      other.scrollTop = box.current.scrollTop;
  };
  return (
    <Side.Provider value={side}>
      <section class={`pane ${side}`} aria-label={t(side === 'u' ? 'bare' : 'prot')}>
        {split.value ? <Bar side={side} /> : null}
        <div class="scroll" id={side === 'p' ? 'main' : undefined} tabIndex={-1} ref={box} onScroll={sync}>
          {side === 'p' && !bareSite.value ? <Notices /> : null}
          {cover ? waiting ? <Waiting side={side} /> : <Failed side={side} /> : null}
          {side === 'p' ? (
            <main class={`view${cover ? ' off' : ''}`}>
              <Page />
            </main>
          ) : (
            <div class={`view${cover ? ' off' : ''}`}>
              <Page />
            </div>
          )}
        </div>
        {toasts.value
          .filter((toast) => toast.side === side)
          .map((toast) => (
            <div key={toast.id} class={`toast in-fade c-${toast.kind}`} role="status">
              <div>
                <b>{toast.head}</b>
                <span>{toast.text}</span>
              </div>
              {toast.orders ? (
                <a class="sm" href="#/orders">
                  {t('see')}
                </a>
              ) : null}
            </div>
          ))}
      </section>
    </Side.Provider>
  );
}
