/**
 * Posters from a seed: the film's id and year. The first genre gives the palette, a word of the title or
 * the genre the motif; the title is set in one to four balanced lines with enough contrast. No files, no
 * requests, the same picture in every browser.
 */
import { M, PAL, RANK, q, re, rng } from './motifs';
import type { Film } from './api';

interface Palette {
  bg: string;
  a: string;
  b: string;
  k: string;
  w: string;
}
interface Frame {
  x0: number;
  x1: number;
  y0: number;
  y1: number;
  cx: number;
  cy: number;
  wide?: number;
}
type Motif = (c: Palette, r: () => number, o: Frame) => string;
export interface Art {
  /** Data URL of the picture. */
  src: string;
  /** Background colour. */
  bg: string;
  motif: string;
}
const MOTIFS = M as unknown as Record<string, Motif>;
const PALETTES = PAL as Record<string, string[]>;

const GROUND =
    'skyline stairs waves mesa claw house rails arches flame plant peaks spots tent piano hill road arm'.split(' '),
  FULL = 'crowd rings spiral tiles diamonds star eye bars arm'.split(' ');
const WORDS: [RegExp, string][] = [
  [/lost world/i, 'peaks'],
  [/last man/i, 'skyline'],
  [/crowd|people|front page/i, 'crowd'],
  [/metropolis|berlin|city|speedy|docks/i, 'skyline'],
  [/street|stranger/i, 'bars'],
  [/combo/i, 'spots'],
  [/underworld/i, 'cards'],
  [/phantom planet/i, 'rings'],
  [/faust/i, 'bat'],
  [/gold rush/i, 'peaks'],
  [/godfrey|freshman/i, 'tiles'],
  [/moon|planet|outer space/i, 'moon'],
  [/carnival/i, 'spiral'],
  [/caligari|last laugh/i, 'stairs'],
  [/golden arm/i, 'arm'],
  [/nosferatu|living dead|white zombie|killer|brain/i, 'claw'],
  [/\bbat\b|vampire/i, 'bat'],
  [/house/i, 'house'],
  [/general$|train|iron horse/i, 'rails'],
  [/camera/i, 'iris'],
  [/andalou|spies|blackmail/i, 'eye'],
  [/leagues|steamboat|potemkin|navigator|pirate|docks|river/i, 'waves'],
  [/bagdad|achmed|sheik|algiers/i, 'arches'],
  [/joan|devil|häxan/i, 'flame'],
  [/safety|d\.o\.a|night$/i, 'clock'],
  [/circus/i, 'tent'],
  [/^wings/i, 'wings'],
  [/phantom of|zorro|burlesque/i, 'mask'],
  [/cat and/i, 'cat'],
  [/shop/i, 'plant'],
  [/sherlock|kid$/i, 'hat'],
  [/jazz|angel|wedding/i, 'piano'],
  [/jacks|virginian/i, 'cards'],
  [/jekyll|man who|pandora|mother/i, 'face'],
  [/star|outlaw/i, 'star'],
  [/trail|wagon|tumbleweeds/i, 'wheel'],
  [/october|strike/i, 'wedge'],
  [/hitch|detour/i, 'road'],
  [/nanook|grass|chang/i, 'peaks'],
  [/charade/i, 'diamonds'],
  [/sunrise|wind/i, 'hill'],
  [/aelita|machine/i, 'gear'],
  [/impact/i, 'bars'],
];
const BYGENRE: Record<string, string[]> = {
  horror: ['bat', 'house', 'stairs', 'claw', 'eye'],
  'science-fiction': ['moon', 'gear', 'rings'],
  western: ['mesa', 'wheel', 'star', 'cards'],
  animation: ['tiles', 'arches'],
  documentary: ['iris', 'wedge', 'peaks'],
  fantasy: ['arches', 'spiral', 'moon'],
  crime: ['bars', 'road', 'skyline', 'cards'],
  thriller: ['spiral', 'bars', 'eye', 'rings'],
  comedy: ['tiles', 'hat', 'spots', 'tent'],
  romance: ['lovers', 'venn', 'hill'],
  adventure: ['peaks', 'waves', 'wheel'],
  drama: ['face', 'wedge', 'stairs', 'hill'],
};
const FONTS: [string, number][] = [
  ['"Helvetica Neue",Arial,"Noto Sans CJK KR",sans-serif', 1.0],
  ['"Avenir Next Condensed","Arial Narrow","Noto Sans CJK KR",sans-serif', 1.42],
  ['Futura,"Century Gothic","Noto Sans CJK KR",sans-serif', 1.0],
  ['"Bodoni 72","Bodoni MT",Georgia,"Noto Serif CJK KR",serif', 1.12],
  ['Rockwell,"DejaVu Serif Condensed","Noto Serif CJK KR",serif', 1.15],
];
const ctx2 = document.createElement('canvas').getContext('2d')!;
const tw = (t: string, f: string): number => {
  ctx2.font = '700 100px ' + f;
  return ctx2.measureText(t).width;
};
const lum = (h: string): number => {
  const n = [1, 3, 5]
    .map((i) => parseInt(h.slice(i, i + 2), 16) / 255)
    .map((v: number) => (v <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * n[0]! + 0.7152 * n[1]! + 0.0722 * n[2]!;
};
const con = (a: string, b: string): number => {
  const x = lum(a),
    y = lum(b);
  return (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
};
const esc = (s: string): string => s.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/"/g, '&quot;');
function breaks(words: string[], n: number): string[] {
  let best: { m: number; l: string[] } | null = null as { m: number; l: string[] } | null;
  const go = (i: number, k: number, acc: string[]): void => {
    if (k == 1) {
      const l = [...acc, words.slice(i).join(' ')],
        m = Math.max(...l.map((x) => x.length));
      if (!best || m < best.m) best = { m, l };
      return;
    }
    for (let j = i + 1; j <= words.length - k + 1; j++) go(j, k - 1, [...acc, words.slice(i, j).join(' ')]);
  };
  go(0, n, []);
  return best?.l ?? words;
}
const cache = new Map<string, Art>();
function spec(f: Film) {
  const r = rng(f.id * 7919 + f.year),
    g = (RANK as string[]).find((x) => f.genres.includes(x)) ?? 'drama',
    P = PALETTES[g]!,
    p = P[(f.id * 5 + ((r() * 9) | 0)) % P.length]!.split(' ');
  const w = WORDS.find((x) => x[0].test(f.title)),
    B = BYGENRE[g]!,
    m = w ? w[1] : B[(r() * B.length) | 0]!;
  const c: Palette = { bg: p[0]!, a: p[1]!, b: p[2]!, k: p[3]!, w: p[4]! };
  if (con(c.bg, c.k) < 1.9 && c.k !== c.a) c.k = c.bg === c.k ? c.w : c.k;
  return { r, g, m, c };
}
export function poster(f: Film): Art {
  const kept = cache.get(`${f.id}`);
  if (kept) return kept;
  const { r, m, c } = spec(f);
  const ground = GROUND.includes(m),
    full = FULL.includes(m),
    fi = (r() * FONTS.length) | 0,
    [fam, sy] = FONTS[fi]!,
    lower = r() < 0.24 && fi != 3,
    just = r() < 0.62,
    top = ground || r() < 0.42;
  let T = f.title.replace(/^(.{14,}?)[:].*$/, '$1');
  T = lower ? T.toLowerCase() : T.toUpperCase();
  const words = T.split(' '),
    W = 176;
  let best!: { sc: number; ls: string[]; sz: number[]; H: number };
  for (let n = 1; n <= Math.min(4, words.length); n++) {
    const ls = breaks(words, n);
    let sz = ls.map((l) => Math.min((W / tw(l, fam)) * 100, just ? 52 : 46));
    if (!just) {
      const s = Math.min(...sz);
      sz = sz.map(() => s);
    }
    const H = sz.reduce((a, s) => a + s * sy * 0.86, 0),
      bad = H > 96 ? (H - 96) * 6 : 0,
      sc = sz.reduce((a, s) => a + s, 0) / n + Math.min(...sz) * 1.1 - bad;
    if (!best || sc > best.sc) best = { sc, ls, sz, H };
  }
  const ds = /[gjpqy]/.test(best.ls[best.ls.length - 1]!) ? best.sz[best.sz.length - 1]! * 0.16 : 0;
  const k = best.H > 112 ? 112 / best.H : 1,
    sz = best.sz.map((s) => s * k),
    H = best.H * k,
    tz = Math.round(H + 38 + ds);
  const zone = full ? (r() < 0.5 ? c.k : c.bg) : c.bg,
    inks = [c.w, c.k, c.a, c.b].filter((x) => con(x, zone) >= 4.3).sort((x, y) => con(y, zone) - con(x, zone)),
    ink = inks[r() < 0.35 && inks[1] ? 1 : 0] || (lum(zone) > 0.3 ? '#15120f' : '#f7efdc'),
    ink2 = inks[0] || ink;
  const o = {
    x0: -4,
    x1: 204,
    cx: 100,
    y0: top ? tz : 0,
    y1: top ? 300 : 300 - tz,
    cy: top ? tz + (300 - tz) / 2 : (300 - tz) / 2 + 2,
  };
  const need =
      m == 'face' || m == 'star' || m == 'lovers'
        ? 200
        : m == 'clock' || m == 'iris' || m == 'mask' || m == 'hat' || m == 'wheel'
          ? 184
          : 0,
    av = o.y1 - o.y0,
    z = need && av < need ? av / need : 1;
  let art = MOTIFS[m]!(c, r, o);
  if (f.id % 2 && !['cards', 'piano', 'face', 'arm'].includes(m))
    art = `<g transform="matrix(-1 0 0 1 200 0)">${art}</g>`;
  if (z < 1)
    art = `<g transform="translate(100 ${q(o.cy)}) scale(${q(z * 100) / 100}) translate(-100 ${q(-o.cy)})">${art}</g>`;
  let y = top ? 14 : o.y1 + 16,
    s = '';
  const cr = `<text x="12" y="%Y" font-size="7.4" letter-spacing=".5" font-weight="700" font-family='${FONTS[0]![0]}' fill="${ink2}">${esc(f.director.replace(/ &.*/, ' & al.').toUpperCase())}</text><text x="188" y="%Y" text-anchor="end" font-size="7.4" letter-spacing=".5" font-weight="700" font-family='${FONTS[0]![0]}' fill="${ink2}">${f.year}</text>`;
  best.ls.forEach((l, i) => {
    y += sz[i]! * sy * 0.8;
    const w = (tw(l, fam) * sz[i]!) / 100,
      fit = W / w < 1.1 || (just && W / w < 1.22) ? ` textLength="${W}" lengthAdjust="spacingAndGlyphs"` : '';
    s += `<text transform="translate(12 ${q(y)}) scale(1 ${sy})" font-size="${q(sz[i]!)}" font-weight="700" font-family='${fam}' fill="${ink}"${fit}>${esc(l)}</text>`;
    y += sz[i]! * sy * 0.07;
  });
  const crY = top ? y + 11 + ds : 291,
    rule = top ? '' : `<path d="M12 281H188" stroke="${ink2}" stroke-width=".8" opacity=".6"/>`;
  s += cr.replace(/%Y/g, String(q(crY))) + rule;
  const frame =
    !full && r() < 0.26
      ? `<rect x="3.5" y="3.5" width="193" height="293" fill="none" stroke="${c.w === zone ? c.k : c.w}" stroke-width="7"/>`
      : '';
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 300"><defs><clipPath id="c"><rect x="-2" y="${o.y0}" width="204" height="${o.y1 - o.y0}"/></clipPath></defs><rect width="200" height="300" fill="${c.bg}"/><g clip-path="url(#c)">${art}</g>${full ? re(0, top ? 0 : o.y1, 200, tz, zone) : ''}${s}${frame}</svg>`;
  const art_ = { src: 'data:image/svg+xml,' + encodeURIComponent(svg), bg: c.bg, motif: m };
  cache.set(`${f.id}`, art_);
  return art_;
}
/** The same motif as a banner. */
export function wide(f: Film): Art {
  const key = `w${f.id}`;
  const kept = cache.get(key);
  if (kept) return kept;
  const { r, m, c } = spec(f);
  const o: Frame = { wide: 1, x0: -440, x1: 240, cx: 70, cy: 150, y0: 0, y1: 300 };
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-430 0 640 300" preserveAspectRatio="xMidYMid slice"><rect x="-440" width="700" height="300" fill="${c.bg}"/>${MOTIFS[m]!(c, r, o)}</svg>`;
  const art = { src: 'data:image/svg+xml,' + encodeURIComponent(svg), bg: c.bg, motif: m };
  cache.set(key, art);
  return art;
}

/** Orders films so that equal motifs are not adjacent, if possible. */
export function shelf<T>(items: T[], film: (item: T) => Film): T[] {
  const list = items.slice();
  const motif = (item: T | undefined) => item && spec(film(item)).m;
  for (let i = 1; i < list.length; i++) {
    if (motif(list[i]) !== motif(list[i - 1])) continue;
    const j = list.findIndex((item, n) => n > i && motif(item) !== motif(list[i - 1]));
    if (j > 0) list.splice(i, 0, list.splice(j, 1)[0]!);
  }
  return list;
}

/** A viewer's avatar, generated from the name. */
export function avatar(name: string): string {
  const number = parseInt(name.replace(/\D/g, ''), 10) || 0;
  const r = rng(name.length * 977 + number * 131);
  const genres = Object.keys(PALETTES);
  const p = PALETTES[genres[number % genres.length]!]![0]!.split(' ');
  const tiles = [0, 1, 2, 3].map((i) => {
    const x = (i % 2) * 20;
    const y = (i >> 1) * 20;
    const colour = p[1 + ((r() * 4) | 0)];
    const kind = (r() * 3) | 0;
    const shape =
      kind === 0
        ? `<circle cx="${x + 10}" cy="${y + 10}" r="8" fill="${colour}"/>`
        : kind === 1
          ? `<path d="M${x} ${y}h20a20 20 0 0 1 -20 20z" fill="${colour}"/>`
          : `<path d="M${x} ${y + 20}h20v-20a20 20 0 0 0 -20 20z" fill="${colour}"/>`;
    return re(x, y, 20, 20, p[i % 2 ? 0 : 3]!) + shape;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40">${tiles.join('')}</svg>`;
  return 'data:image/svg+xml,' + encodeURIComponent(svg);
}
