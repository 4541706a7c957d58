/** The viewer's orders, updated live, and the cancellation of queued ones. */
import { useContext, useEffect } from 'preact/hooks';
import { call, type OrderList, type OrderView } from '../shared/api';
import { clock, t, won, type Word } from './i18n';
import {
  films,
  now,
  ordered,
  placed,
  prefix,
  reel,
  remember,
  round,
  route,
  session,
  title,
  toast,
  waiting,
} from './state';
import { Icon, Picks, Poster, Side, useGet, type IconName } from './parts';
import type { Movies } from '../shared/api';

const LOOK: Record<OrderView['state'], { kind: string; icon: IconName; steps: string }> = {
  pending: { kind: 'wait', icon: 'wait', steps: 'dw__' },
  charging: { kind: 'wait', icon: 'wait', steps: 'ddw_' },
  queued: { kind: 'wait', icon: 'wait', steps: 'ddw_' },
  cancelling: { kind: 'mu', icon: 'harm', steps: 'dd__' },
  paid: { kind: 'live', icon: 'paid', steps: 'dddd' },
  cancelled: { kind: 'mu', icon: 'harm', steps: 'd___' },
  dead: { kind: 'harm', icon: 'harm', steps: 'ddx_' },
};

function words(order: OrderView): string {
  switch (order.state) {
    case 'paid': {
      const c = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: 'medium', timeStyle: 'short' });
      return t('op', { p: won(order.amount_won), c: c.format(new Date(order.created_at)) });
    }
    case 'queued': {
      const left = (order.next_attempt_at ?? 0) / 1000 - now.value;
      return left > 0 ? t('oq', { t: clock(left) }) : t('oqNow');
    }
    case 'cancelled':
      return t('ox');
    case 'cancelling':
      return t('ocing');
    case 'dead':
      return t('odead');
    default:
      return t('opay');
  }
}

export function Orders() {
  const side = useContext(Side);
  const viewer = session.value;
  const { answer } = useGet<OrderList>(viewer ? '/api/orders' : null, true);
  const through = new Map(placed().map((order) => [order.id, order.side]));
  // Both sides share one checkout: an order is shown on the side through which it was placed.
  const orders = answer?.data?.items.filter((order) => (through.get(order.order_id) ?? 'p') === side);
  const unknown = orders?.some((order) => !films.value[order.film_id]) ?? false;
  const one = useGet<Movies>(unknown ? '/api/movies?per_page=100&page=1' : null).answer?.data;
  const two = useGet<Movies>(unknown ? '/api/movies?per_page=100&page=2' : null).answer?.data;
  useEffect(() => remember([...(one?.items ?? []), ...(two?.items ?? [])]), [one, two]);
  if (!viewer) {
    return (
      <section class="page">
        <header>
          <h1 tabIndex={-1}>{t('orders')}</h1>
        </header>
        <div class="ask">
          <p>{t('oIn')}</p>
          <Picks />
        </div>
      </section>
    );
  }
  if (!orders) return null;
  return (
    <section class="page">
      <header>
        <h1 tabIndex={-1}>{t('orders')}</h1>
        <p class="mu">{t(side === 'u' ? 'osubU' : 'osub')}</p>
      </header>
      {orders.length === 0 ? <p class="pad">{t('o0')}</p> : null}
      <ul class="ol">
        {orders.map((order) => (
          <OrderCard key={order.order_id} order={order} />
        ))}
      </ul>
    </section>
  );
}

function OrderCard({ order }: { order: OrderView }) {
  const side = useContext(Side);
  const film = films.value[order.film_id];
  const { kind, icon, steps } = LOOK[order.state];
  const names: Word[] = [
    'st1',
    order.kind === 'premiere' ? 'st2p' : 'st2',
    order.state === 'queued' ? 'st3w' : 'st3',
    'st4',
  ];
  const cancel = async () => {
    const url = `${prefix(side)}/api/orders/${order.order_id}`;
    const answer = await call<OrderView>(url, { method: 'DELETE', token: session.value?.token });
    if (answer.data) toast(side, 'live', t('cancelSent'), t('ox'));
    else toast(side, 'harm', t('cancelNo'), answer.detail ?? '');
    round.value++;
    ordered.value++;
  };
  return (
    <li class="od" data-order={order.order_id} data-state={order.state}>
      {film ? (
        <a class="pic" href={`#/title/${film.id}`} tabIndex={-1} aria-hidden="true">
          <Poster film={film} />
        </a>
      ) : (
        <span class="pic" />
      )}
      <h2>
        {film ? title(film) : `#${order.film_id}`}{' '}
        <span class={`chip c-${kind}`}>
          <Icon name={icon} />
          {t(order.state)}
        </span>
      </h2>
      <span class="pr">
        {t(order.kind)} {won(order.amount_won)}
      </span>
      <p>{words(order)}</p>
      <div class="ln">
        <ol class="steps">
          {names.map((name, i) => (
            <li key={i} class={steps[i]}>
              {t(name)}
            </li>
          ))}
        </ol>
        {order.can_cancel ? (
          <button class="sm" onClick={() => void cancel()}>
            {t('cancel')}
          </button>
        ) : order.state === 'paid' && film ? (
          <button class="sm" onClick={() => (reel.value = film)}>
            {t('watchNow')}
          </button>
        ) : null}
      </div>
    </li>
  );
}

const known = new Map<string, string>();
let viewer = '';

/** Applies orders pushed by the server: the number of queued ones, and those just paid. */
export function settle(orders: OrderView[]): void {
  if (viewer !== session.value?.name) known.clear();
  viewer = session.value?.name ?? '';
  const here = new Set(placed().map((order) => order.id));
  let changed = false;
  for (const order of orders) {
    const before = known.get(order.order_id);
    known.set(order.order_id, order.state);
    changed ||= before !== order.state;
    if (before && before !== 'paid' && order.state === 'paid' && here.has(order.order_id)) {
      const film = films.value[order.film_id];
      toast(
        'p',
        'live',
        t('tLater', { f: film ? title(film) : '' }),
        t('op', { p: won(order.amount_won), c: '' }).split('.')[0] + '.',
        true,
      );
    }
  }
  waiting.value = orders.filter((order) => order.state === 'queued').length;
  if (changed && route.value.view === 'orders') round.value++;
}
