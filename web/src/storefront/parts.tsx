/** Small parts of the page: icons, chips, cards, rows. */
import { createContext, type ComponentChildren } from 'preact';
import { useContext, useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { call, type Answer, type Film, type Source } from '../shared/api';
import { avatar, poster, shelf } from '../shared/poster';
import { ago, t } from './i18n';
import { panes, prefix, round, session, signIn, signingIn, site, title, type SideName } from './state';

const PATHS = {
  live: <circle cx="8" cy="8" r="4" fill="currentColor" />,
  replica: (
    <>
      <circle cx="6" cy="8" r="4.2" fill="currentColor" />
      <circle cx="10.5" cy="8" r="4.2" fill="none" stroke="currentColor" stroke-width="1.6" />
    </>
  ),
  cache: (
    <path
      d="M8 4v4.2l2.8 1.8M2.2 8.2a5.9 5.9 0 1 0 1.9-4.3M3.6 1.6v2.8h2.8"
      fill="none"
      stroke="currentColor"
      stroke-width="1.7"
      stroke-linecap="round"
      stroke-linejoin="round"
    />
  ),
  popular: <path d="M3 14V9M8 14V3M13 14V6.5" stroke="currentColor" stroke-width="2.6" stroke-linecap="round" />,
  none: <path d="M4 8h8" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" />,
  wait: (
    <path
      d="M4 2h8M4 14h8M5 2.5c0 3 6 4 6 5.5s-6 2.5-6 5.5M11 2.5c0 3-6 4-6 5.5s6 2.5 6 5.5"
      fill="none"
      stroke="currentColor"
      stroke-width="1.5"
      stroke-linecap="round"
    />
  ),
  harm: <path d="M4 4l8 8M12 4l-8 8" stroke="currentColor" stroke-width="2.2" stroke-linecap="round" />,
  bare: <circle cx="8" cy="8" r="5.6" fill="none" stroke="currentColor" stroke-width="2" stroke-dasharray="3 2.4" />,
  play: <path d="M4 2.5v11l9.5-5.5z" fill="currentColor" />,
  back: <path d="M10 3L5 8l5 5" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" />,
  on: <path d="M6 3l5 5-5 5" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" />,
  find: (
    <>
      <circle cx="7" cy="7" r="4.5" fill="none" stroke="currentColor" stroke-width="1.7" />
      <path d="M10.5 10.5L14 14" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" />
    </>
  ),
  sun: (
    <>
      <circle cx="8" cy="8" r="3" fill="currentColor" />
      <path
        d="M8 1.2v2M8 12.8v2M1.2 8h2M12.8 8h2M3.2 3.2l1.4 1.4M11.4 11.4l1.4 1.4M12.8 3.2l-1.4 1.4M4.6 11.4l-1.4 1.4"
        stroke="currentColor"
        stroke-width="1.5"
        stroke-linecap="round"
      />
    </>
  ),
  moon: <path d="M13 10A6 6 0 0 1 6 3a5.5 5.5 0 1 0 7 7z" fill="currentColor" />,
  paid: (
    <path
      d="M3 8.5l3.2 3.2L13 4.8"
      fill="none"
      stroke="currentColor"
      stroke-width="2.2"
      stroke-linecap="round"
      stroke-linejoin="round"
    />
  ),
};
export type IconName = keyof typeof PATHS;
export const Icon = ({ name }: { name: IconName }) => (
  <svg viewBox="0 0 16 16" aria-hidden="true">
    {PATHS[name]}
  </svg>
);

/** Which side a component belongs to. */
export const Side = createContext<SideName>('p');

export interface Got<T> {
  /** The last answer to the current request. */
  answer: Answer<T> | null;
  /** Start of the pending request (performance.now), if there is one. */
  since: number | null;
}

/**
 * Requests `path` from the pane's API, again in every round, and never twice concurrently. The displayed answer stays
 * until the next one arrives. `main` marks the request that the pane's header reports on.
 */
export function useGet<T>(path: string | null, main = false): Got<T> {
  const side = useContext(Side);
  const token = session.value?.token;
  const base = prefix(side);
  const [got, set] = useState<Got<T>>({ answer: null, since: null });
  const busy = useRef<AbortController | null>(null);
  const asked = useRef('');
  const question = path === null ? '' : `${base}${path} ${token ?? ''}`;
  useEffect(() => {
    if (path === null) return;
    if (asked.current !== question) {
      busy.current?.abort();
      busy.current = null;
      asked.current = question;
      set({ answer: null, since: performance.now() });
      if (main) panes[side].value = { ...panes[side].value, answer: null };
    }
    if (busy.current) return;
    const control = new AbortController();
    busy.current = control;
    const since = performance.now();
    set((old) => ({ ...old, since }));
    if (main) panes[side].value = { ...panes[side].value, since, path };
    void call<T>(base + path, { token, signal: control.signal }).then((answer) => {
      if (control.signal.aborted) return;
      busy.current = null;
      set({ answer, since: null });
      if (!main) return;
      const source = (answer.data as { source?: string } | undefined)?.source;
      const seen = [...panes[side].value.seen.slice(-25), { status: answer.status, ms: answer.ms, source }];
      panes[side].value = { since: null, path, answer, seen };
    });
  }, [question, round.value]);
  useEffect(() => () => busy.current?.abort(), []);
  return asked.current === question ? got : { answer: null, since: null };
}

export interface Provenance {
  source: Source;
  age_seconds?: number;
}
/** Description of where something comes from. */
export function provenance({ source, age_seconds: age }: Provenance): string {
  if (source === 'cache') return age === undefined ? t('cacheNow') : t('cache', { a: ago(age) });
  if (source === 'popular') return age === undefined ? t('popular') : t('popularAge', { a: ago(age) });
  return t(source);
}

/** The source of a row as a chip; a click explains it. */
export function useChip(from: Provenance, kind: 'rec' | 'cat' | 'me') {
  const [open, setOpen] = useState(false);
  const values = { a: ago(from.age_seconds ?? 0) };
  const why =
    from.source === 'live'
      ? t('whyLive')
      : from.source === 'replica'
        ? t('whyReplica')
        : from.source === 'cache'
          ? from.age_seconds === undefined
            ? t('whyCache')
            : t(kind === 'rec' ? 'whyCacheRec' : 'whyCacheCat', values)
          : t(from.source === 'popular' ? 'whyPopular' : 'whyNone');
  const chip = (
    <button class={`chip c-${from.source}`} aria-expanded={open} onClick={() => setOpen(!open)}>
      <Icon name={from.source} />
      <span>{provenance(from)}</span>
    </button>
  );
  return { chip, why: open ? <p class={`why c-${from.source}`}>{why}</p> : null };
}

export const Poster = ({ film }: { film: Film }) => (
  <span class="art">
    <img src={poster(film).src} alt="" decoding="async" />
  </span>
);

export const Card = ({ film, note, rank }: { film: Film; note?: string; rank?: number }) => (
  <li>
    <a class="card" href={`#/title/${film.id}`}>
      <Poster film={film} />
      <span class="cap">
        <b>
          {rank ? <i>{rank}</i> : null}
          {title(film)}
        </b>
        <small>{note ?? `${film.director.replace(/ &.*/, '')}, ${film.year}`}</small>
      </span>
    </a>
  </li>
);

export interface RowItem {
  film: Film;
  note?: string;
}

/** A horizontally scrolling row of films. */
export function Row(props: {
  head: string;
  href?: string;
  from: Provenance;
  kind: 'rec' | 'cat';
  items: RowItem[];
  ranked?: boolean;
}) {
  const { head, href, from, kind, items, ranked } = props;
  const rail = useRef<HTMLUListElement>(null);
  const [fits, setFits] = useState(false);
  const { chip, why } = useChip(from, kind);
  const shown = ranked ? items : shelf(items, (item) => item.film);
  useLayoutEffect(() => {
    const measure = () => {
      const own = rail.current;
      if (own) setFits(own.scrollWidth <= own.clientWidth + 1);
    };
    measure();
    const observer = new ResizeObserver(measure);
    if (rail.current) observer.observe(rail.current);
    return () => observer.disconnect();
  }, [items.length]);
  const slide = (direction: number) => {
    const own = rail.current;
    const smooth = matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth';
    own?.scrollBy({ left: direction * own.clientWidth * 0.8, behavior: smooth });
  };
  return (
    <section class={`row${fits ? ' fit' : ''}`} aria-label={head}>
      <div class="rh">
        <h2>{href ? <a href={href}>{head}</a> : head}</h2>
        {chip}
        <span class="ar">
          <button class="ico" aria-label={t('scrollL')} onClick={() => slide(-1)}>
            <Icon name="back" />
          </button>
          <button class="ico" aria-label={t('scrollR')} onClick={() => slide(1)}>
            <Icon name="on" />
          </button>
        </span>
        {why}
      </div>
      <ul class="rail" ref={rail}>
        {shown.map(({ film, note }, i) => (
          <Card key={film.id} film={film} note={note} rank={ranked ? i + 1 : undefined} />
        ))}
      </ul>
    </section>
  );
}

/** A row that is loading or unavailable. */
export const EmptyRow = ({ head, detail }: { head: string; detail?: string }) => (
  <section class="row" aria-label={head} aria-busy={detail === undefined}>
    <div class="rh">
      <h2>{head}</h2>
      {detail === undefined ? (
        <span class="vh">{t('loading')}</span>
      ) : (
        <span class="chip c-harm">
          <Icon name="harm" />
          {t('rowGone', { d: detail })}
        </span>
      )}
    </div>
    <ul class="rail" aria-hidden="true">
      {[1, 2, 3, 4, 5, 6, 7, 8].map((i) => (
        <li key={i}>
          <span class={`ghost${detail === undefined ? ' wait' : ''}`} />
        </li>
      ))}
    </ul>
  </section>
);

export const Picks = ({ limit, then }: { limit?: number; then?: () => void }) => (
  <div class="as">
    {site.value.demo.viewers.slice(0, limit).map((name) => (
      <button
        key={name}
        class="pick"
        disabled={signingIn.value !== null}
        onClick={() => void signIn(name).then((done) => done && then?.())}
      >
        <img class="av" src={avatar(name)} alt="" />
        {signingIn.value === name ? t('signingIn') : name}
      </button>
    ))}
  </div>
);

/** A notice: the API's Korean text unchanged, its meaning, and what still works. */
export const Notice = (props: {
  icon: IconName;
  kind: string;
  text?: string;
  english?: string;
  ok?: ComponentChildren;
}) => (
  <div class={`ntc c-${props.kind}`}>
    <Icon name={props.icon} />
    <div>
      {props.text ? <b lang="ko">{props.text}</b> : null}
      {props.english ? <span>{props.english}</span> : null}
    </div>
    {props.ok ? <p class="ok">{props.ok}</p> : null}
  </div>
);
