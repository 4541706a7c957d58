/** Dialogs: the purchase sheet, and the countdown that stands for a film. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { call, type Answer, type OrderAnswer } from '../shared/api';
import { Notice, Picks, Poster } from './parts';
import { PRICES } from './pages';
import { t, won } from './i18n';
import {
  ordered,
  paymentNotice,
  place,
  prefix,
  reel,
  round,
  session,
  sheet,
  site,
  split,
  title,
  toast,
  type Sheet,
  type SideName,
} from './state';

function useModal(open: boolean) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open && !dialog.current?.open) dialog.current?.showModal();
    if (!open && dialog.current?.open) dialog.current.close();
  }, [open]);
  return dialog;
}

export function OrderSheet() {
  const order = sheet.value;
  const dialog = useModal(order !== null);
  return (
    <dialog
      ref={dialog}
      aria-label={order ? `${t(order.kind)} ${title(order.film)}` : ''}
      onClose={() => (sheet.value = null)}
    >
      {order ? (
        <SheetBody key={`${order.film.id} ${order.kind}`} order={order} close={() => dialog.current?.close()} />
      ) : null}
    </dialog>
  );
}

function SheetBody({ order, close }: { order: Sheet; close: () => void }) {
  const { film, kind } = order;
  const [busy, setBusy] = useState(false);
  const [refused, setRefused] = useState<Answer<OrderAnswer> | null>(null);
  const price = won(PRICES[kind]);
  const blocked = refused?.status === 503;

  const report = (side: SideName, answer: Answer<OrderAnswer>) => {
    if (answer.data) {
      place(side, answer.data);
      const queued = answer.data.outcome === 'queued';
      if (queued) toast(side, 'wait', t('tQ'), t('tQs'), true);
      else toast(side, 'live', t('tP'), t('tPs', { f: title(film) }), true);
    } else {
      toast(side, 'harm', `${answer.status || ''} ${t('tN')}`.trim(), answer.detail ?? '');
    }
  };
  const buy = async (later: boolean) => {
    setBusy(true);
    const body = { film_id: film.id, kind, retry_later: later };
    const post = (side: SideName) =>
      call<OrderAnswer>(`${prefix(side)}/api/checkout`, {
        method: 'POST',
        body,
        token: session.value?.token,
        // A separate key for each side and each attempt, because both sides share one checkout.
        key: `${side}-${crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`}`,
      });
    // The same request to the twin; its result and duration do not matter here.
    if (split.value && site.value.twin && !blocked)
      void post('u').then((answer) => (report('u', answer), round.value++, ordered.value++));
    const answer = await post('p');
    setBusy(false);
    round.value++;
    ordered.value++;
    if (answer.status === 503 && !later) {
      if (answer.detail)
        paymentNotice.value = { text: answer.detail, until: Date.now() / 1000 + (answer.retryAfter ?? 30) };
      setRefused(answer);
      return;
    }
    if (answer.data?.outcome === 'paid') paymentNotice.value = null;
    report('p', answer);
    close();
  };
  return (
    <div class="sheet">
      <header>
        <Poster film={film} />
        <div>
          <h2>{title(film)}</h2>
          <p class="mu">
            {t(kind)}, {t(`${kind}N`)}
          </p>
        </div>
      </header>
      <p class="tot">
        <span>{t('dTot')}</span>
        <b>{price}</b>
      </p>
      {!session.value ? (
        <>
          <p class="lat">{t('dWho')}</p>
          <Picks />
        </>
      ) : (
        <>
          {blocked ? (
            <div role="alert">
              <Notice icon="wait" kind="wait" text={refused.detail} english={t('payEn')} />
              <p class="lat">{t('dLat')}</p>
            </div>
          ) : null}
          <div class="act">
            <button class="btn pri" disabled={busy} onClick={() => void buy(blocked)}>
              {busy ? t('dBusy') : blocked ? t('dLater') : t('dPay', { p: price })}
            </button>
            <button class="btn" onClick={close}>
              {t('dNot')}
            </button>
          </div>
          <p class="fine">{t('dCard')}</p>
        </>
      )}
    </div>
  );
}

/** Counts down like a film leader, and adds the film to the viewer's history. */
export function Reel() {
  const film = reel.value;
  const dialog = useModal(film !== null);
  const [count, setCount] = useState(5);
  useEffect(() => {
    if (!film) return;
    setCount(5);
    if (session.value) {
      const token = session.value.token;
      const post = (side: SideName) =>
        call(`${prefix(side)}/api/me/history`, { method: 'POST', body: { film_id: film.id }, token }).then((answer) =>
          answer.data
            ? toast(side, 'live', t('tW'), title(film))
            : toast(side, 'harm', `${answer.status || ''} ${t('tWno')}`.trim(), answer.detail ?? ''),
        );
      // Only once, because both sides share the history.
      void post('p');
    }
    const timer = setInterval(() => setCount((n) => n - 1), 1000);
    return () => clearInterval(timer);
  }, [film]);
  useEffect(() => {
    if (count < 1) dialog.current?.close();
  }, [count]);
  return (
    <dialog ref={dialog} class="reel" aria-label={film ? title(film) : ''} onClose={() => (reel.value = null)}>
      {film ? (
        <div class="fr">
          <svg viewBox="0 0 200 200" aria-hidden="true">
            <rect width="200" height="200" fill="#d9cdb0" />
            <g class="sweep">
              <path d="M100 100V-60H260V100Z" fill="#0003" />
            </g>
            <path d="M0 100H200M100 0V200" stroke="#15120f" stroke-width="1" />
            <circle cx="100" cy="100" r="74" fill="none" stroke="#15120f" stroke-width="2.5" />
            <circle cx="100" cy="100" r="64" fill="none" stroke="#15120f" stroke-width="2.5" />
            <text
              x="100"
              y="132"
              text-anchor="middle"
              font-size="92"
              font-weight="700"
              font-family="Georgia,serif"
              fill="#15120f"
            >
              {Math.max(1, count)}
            </text>
          </svg>
          <p>{session.value ? t('reel', { f: title(film) }) : t('reelAnon')}</p>
          <button class="sm" onClick={() => dialog.current?.close()}>
            {t('close')}
          </button>
        </div>
      ) : null}
    </dialog>
  );
}
