/** The pages of the site. Each is a function of the API's answers for its side. */
import { useContext, useEffect } from 'preact/hooks';
import type { Film, Home, Me, Movie, Movies, Seats } from '../shared/api';
import { wide } from '../shared/poster';
import { clock, genre, t, won } from './i18n';
import { films, now, reel, remember, route, session, sheet, title, type Sheet } from './state';
import { Card, EmptyRow, Icon, Picks, Poster, Row, Side, useChip, useGet, type Provenance } from './parts';
import { Orders } from './orders';

/** Rows of the home page in addition to those in its answer. */
const ROWS = ['science-fiction', 'horror', 'comedy'];
export const GENRES = [
  'adventure',
  'animation',
  'comedy',
  'crime',
  'documentary',
  'drama',
  'fantasy',
  'horror',
  'romance',
  'science-fiction',
  'thriller',
  'western',
];
export const PRICES = { rent: 4500, buy: 12900, premiere: 25000 };
/** The premiere's film on the home page. */
const PREMIERE = 1;

const Meta = ({ film }: { film: Film }) => (
  <p class="meta">
    <span>{film.director}</span>
    <span>{film.year}</span>
    <span>{t('m', { n: film.runtime_minutes })}</span>
    <span>{film.genres.map(genre).join(', ')}</span>
  </p>
);

function Hero({ film, from }: { film: Film; from: Provenance }) {
  const { chip, why } = useChip(from, 'cat');
  return (
    <section class="hero" aria-label={title(film)}>
      <img class="hi" src={wide(film).src} alt="" />
      <div class="in">
        {chip}
        {why}
        <h1 tabIndex={-1}>{title(film)}</h1>
        <Meta film={film} />
        <div class="act">
          <button class="btn pri" onClick={() => (reel.value = film)}>
            <Icon name="play" />
            {t('watch')}
          </button>
          <a class="btn" href={`#/title/${film.id}`}>
            {t('about')}
          </a>
        </div>
      </div>
    </section>
  );
}

export function HomePage() {
  const { answer } = useGet<Home>('/api/home', true);
  const home = answer?.data;
  useEffect(() => {
    if (home)
      remember([...home.rows.flatMap((row) => row.items), ...home.recommendations.items.map((item) => item.film)]);
  }, [home]);
  if (!home) return null;
  const { recommendations, rows } = home;
  const popular = rows[0];
  const lead = popular?.items.find((film) => film.id === 59) ?? popular?.items[0];
  return (
    <>
      {lead && popular ? <Hero film={lead} from={popular} /> : null}
      {session.value ? (
        recommendations.items.length > 0 ? (
          <Row
            head={t('you')}
            from={recommendations}
            kind="rec"
            items={recommendations.items.map(({ film, because }) => ({
              film,
              note: because ? t('because', { f: title(because) }) : t('most'),
            }))}
          />
        ) : (
          <EmptyRow head={t('you')} detail={t('none')} />
        )
      ) : (
        <section class="ask" aria-label={t('yhead')}>
          <h2>{t('yhead')}</h2>
          <p>{t('ysub')}</p>
          <Picks />
        </section>
      )}
      {rows.map((row) =>
        row.items.length > 0 ? (
          <Row
            key={row.title}
            head={row.title === 'Popular now' ? t('popNow') : row.title}
            from={row}
            kind="cat"
            ranked
            items={row.items.map((film) => ({ film }))}
          />
        ) : (
          <EmptyRow key={row.title} head={row.title === 'Popular now' ? t('popNow') : row.title} detail={t('none')} />
        ),
      )}
      <Premiere />
      {ROWS.map((name) => (
        <GenreRow key={name} name={name} />
      ))}
      <p class="foot">{t('foot')}</p>
    </>
  );
}

function GenreRow({ name }: { name: string }) {
  const { answer } = useGet<Movies>(`/api/movies?genre=${name}&per_page=12`);
  const movies = answer?.data;
  useEffect(() => {
    if (movies) remember(movies.items);
  }, [movies]);
  if (!movies?.items.length)
    return <EmptyRow head={genre(name)} detail={answer ? (answer.detail ?? t('none')) : undefined} />;
  return (
    <Row
      head={genre(name)}
      href={`#/genre/${name}`}
      from={movies}
      kind="cat"
      items={movies.items.map((film) => ({ film }))}
    />
  );
}

const order = (film: Film, kind: Sheet['kind']) => () => (sheet.value = { film, kind });

/** The seats of a showing: as many filled as are taken. The API does not tell which ones. */
function SeatMap({ seats }: { seats: Seats }) {
  const capacity = Math.min(60, Math.max(0, seats.capacity));
  const taken = capacity - Math.min(capacity, Math.max(0, seats.left));
  const places = Array.from({ length: capacity }, (_, i) => ({ i, at: (i * 7919) % 1009 }));
  const filled = new Set(
    places
      .sort((a, b) => a.at - b.at)
      .slice(0, taken)
      .map((place) => place.i),
  );
  return (
    <span class="seats" aria-hidden="true">
      {Array.from({ length: capacity }, (_, i) => (
        <i key={i} class={filled.has(i) ? 'x' : ''} />
      ))}
    </span>
  );
}

const SeatWords = ({ seats }: { seats: Seats }) => (
  <>
    {seats.left > 0 ? t('left', { n: seats.left, m: seats.capacity }) : t('soldOut')}
    {', '}
    {t('nextShow', { t: clock(seats.next_showing_seconds) })}
  </>
);

function Premiere() {
  const movie = useGet<Movie>(`/api/movies/${PREMIERE}`).answer?.data?.film ?? films.value[PREMIERE];
  const { answer } = useGet<Seats>(`/api/premieres/${PREMIERE}`);
  if (!movie) return null;
  const seats = answer?.data;
  const art = wide(movie);
  return (
    <section class="prem" style={{ '--pb': art.bg }} aria-label={t('premiere')}>
      <img src={art.src} alt="" />
      <div class="in">
        <p>{seats ? t('premH', { n: seats.capacity }) : t('premiere')}</p>
        <h2>{title(movie)}</h2>
        <p>
          {movie.director}, {movie.year}
        </p>
        {seats ? <SeatMap seats={seats} /> : null}
        <p>{seats ? <SeatWords seats={seats} /> : answer ? t('seatsGone') : t('loading')}</p>
        <button class="btn" onClick={order(movie, 'premiere')}>
          {t('take')} <span>{won(PRICES.premiere)}</span>
        </button>
      </div>
    </section>
  );
}

export function TitlePage({ id }: { id: number }) {
  const { answer } = useGet<Movie>(`/api/movies/${id}`, true);
  const from = answer?.data;
  const film = from?.film ?? undefined;
  const similar = useGet<Movies>(film ? `/api/movies?genre=${film.genres[0]}&per_page=12` : null).answer?.data;
  const seats = useGet<Seats>(`/api/premieres/${id}`).answer;
  const { chip, why } = useChip(from ?? { source: 'live' }, 'cat');
  useEffect(() => {
    if (film) remember([film]);
    if (similar) remember(similar.items);
  }, [film, similar]);
  if (!from) return null;
  if (!film) {
    return (
      <section class="page">
        <header>
          <h1 tabIndex={-1}>{films.value[id] ? title(films.value[id]) : t('none')}</h1>
          {chip}
          {why}
        </header>
      </section>
    );
  }
  return (
    <section class="tp" aria-label={title(film)}>
      <img class="bk" src={wide(film).src} alt="" />
      <div class="cols">
        <Poster film={film} />
        <div>
          {chip}
          {why}
          <h1 tabIndex={-1}>{title(film)}</h1>
          <Meta film={film} />
          <div class="act">
            <button class="btn pri" onClick={() => (reel.value = film)}>
              <Icon name="play" />
              {t('watch')}
            </button>
          </div>
        </div>
        <div class="wide">
          <div class="buy">
            {(['rent', 'buy', 'premiere'] as const).map((kind) => (
              <button key={kind} class="offer" onClick={order(film, kind)}>
                <b>
                  {t(kind)}
                  <small>
                    {kind === 'premiere' && seats?.data ? (
                      <SeatWords seats={seats.data} />
                    ) : kind === 'premiere' && seats ? (
                      t('seatsGone')
                    ) : (
                      t(`${kind}N`)
                    )}
                  </small>
                </b>
                <span>{won(PRICES[kind])}</span>
              </button>
            ))}
          </div>
          <dl class="facts">
            <dt>{t('dir')}</dt>
            <dd>{film.director}</dd>
            <dt>{t('year')}</dt>
            <dd>{film.year}</dd>
            <dt>{t('len')}</dt>
            <dd>{t('m', { n: film.runtime_minutes })}</dd>
            <dt>{t('genres')}</dt>
            <dd>{film.genres.map(genre).join(', ')}</dd>
            <dt>{t('rights')}</dt>
            <dd>{t('pd')}</dd>
          </dl>
        </div>
      </div>
      {similar?.items.length ? (
        <Row
          head={t('sim', { g: genre(film.genres[0] ?? '') })}
          from={similar}
          kind="cat"
          items={similar.items.filter((other) => other.id !== id).map((other) => ({ film: other }))}
        />
      ) : null}
    </section>
  );
}

export function ListPage() {
  const { view, text = '' } = route.value;
  const search = new URLSearchParams({ per_page: '60', [view === 'genre' ? 'genre' : 'q']: text });
  const { answer } = useGet<Movies>(`/api/movies?${search}`, true);
  const movies = answer?.data;
  const { chip, why } = useChip(movies ?? { source: 'live' }, 'cat');
  useEffect(() => {
    if (movies) remember(movies.items);
  }, [movies]);
  if (!movies) return null;
  const head =
    view === 'genre'
      ? genre(text)
      : t(movies.total === 0 ? 'res0' : movies.total === 1 ? 'res1' : 'res', { n: movies.total, q: text });
  return (
    <section class="page">
      <header>
        <h1 tabIndex={-1}>{head}</h1>
        {chip}
        {why}
      </header>
      {movies.total === 0 ? <p class="pad">{t('res0s')}</p> : null}
      <nav class="tags" aria-label={t('genres')}>
        {GENRES.map((name) => (
          <a
            key={name}
            class="tag"
            href={`#/genre/${name}`}
            aria-current={view === 'genre' && name === text ? 'page' : undefined}
          >
            {genre(name)}
          </a>
        ))}
      </nav>
      <ul class="grid">
        {movies.items.map((film) => (
          <Card key={film.id} film={film} />
        ))}
      </ul>
    </section>
  );
}

export function MePage() {
  const signedIn = session.value !== null;
  const { answer } = useGet<Me>(signedIn ? '/api/me' : null, true);
  const me = answer?.data;
  const unknown = me?.history.items.some((entry) => !films.value[entry.film_id]) ?? false;
  const one = useGet<Movies>(unknown ? '/api/movies?per_page=100&page=1' : null).answer?.data;
  const two = useGet<Movies>(unknown ? '/api/movies?per_page=100&page=2' : null).answer?.data;
  const { chip, why } = useChip(me ?? { source: 'live' }, 'me');
  useEffect(() => {
    remember([...(one?.items ?? []), ...(two?.items ?? [])]);
  }, [one, two]);
  if (!signedIn) {
    return (
      <section class="page">
        <header>
          <h1 tabIndex={-1}>{t('profile')}</h1>
        </header>
        <div class="ask">
          <p>{t('meIn')}</p>
          <Picks />
        </div>
      </section>
    );
  }
  if (!me) return null;
  const days = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: 'medium', timeStyle: 'short' });
  return (
    <section class="page">
      <header>
        <h1 tabIndex={-1}>{me.profile.username}</h1>
        {chip}
        {why}
      </header>
      {me.source === 'none' ? null : <p class="pad mu">
        {t('likes', { g: me.profile.favourite_genres.map(genre).join(', ') })} ·{' '}
        {t('nWatched', { n: me.profile.films_watched })}
      </p>}
      <h2 class="pad">{t('hist2')}</h2>
      {me.history.items.length === 0 ? <p class="pad">{t(me.source === 'none' ? 'histAway' : 'hist0')}</p> : null}
      <ul class="grid">
        {me.history.items.map((entry) => {
          const film = films.value[entry.film_id];
          const at = days.format(new Date(entry.watched_at * 1000));
          return film ? <Card key={`${entry.film_id} ${entry.watched_at}`} film={film} note={at} /> : null;
        })}
      </ul>
    </section>
  );
}

export function Page() {
  const side = useContext(Side);
  const { view, id = 0 } = route.value;
  void side;
  void now;
  if (view === 'title') return <TitlePage key={id} id={id} />;
  if (view === 'genre' || view === 'search') return <ListPage />;
  if (view === 'orders') return <Orders />;
  if (view === 'me') return <MePage />;
  return <HomePage />;
}
