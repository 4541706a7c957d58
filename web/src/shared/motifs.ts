// @ts-nocheck: drawings. Every number below is a coordinate; poster.ts is the typed interface.
/**
 * Motifs of the posters, as SVG markup.
 *
 * Each motif is a function of a palette `c` (bg, a, b, k = ink, w = paper), a seeded random source `r` and
 * a frame `o` (x0, x1, y0, y1 and its centre cx, cy; `wide` for the banner). None reads anything else, so
 * the same film always has the same poster, in every browser.
 */
export const rng = (s) => () => {
  s = (s + 0x6d2b79f5) | 0;
  let t = Math.imul(s ^ (s >>> 15), 1 | s);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};
export const q = (n) => Math.round(n * 10) / 10;
export const re = (x, y, w, h, f, e = '') =>
  `<rect x="${q(x)}" y="${q(y)}" width="${q(w)}" height="${q(h)}" fill="${f}" ${e}/>`;
export const ci = (x, y, r, f, e = '') => `<circle cx="${q(x)}" cy="${q(y)}" r="${q(r)}" fill="${f}" ${e}/>`;
export const pa = (d, f, e = '') => `<path d="${d}" fill="${f}" ${e}/>`;
const po = (p, f, e = '') => pa('M' + p.map((a) => q(a[0]) + ' ' + q(a[1])).join('L') + 'Z', f, e);
const st = (d, c, w, e = '') => `<path d="${d}" fill="none" stroke="${c}" stroke-width="${q(w)}" ${e}/>`;
const at = (s, x, y, k = 1, a = 0) => `<g transform="translate(${q(x)} ${q(y)}) rotate(${q(a)}) scale(${k})">${s}</g>`;
const man = (x, y, h, f) =>
  ci(x, y - h * 0.88, h * 0.1, f) +
  po(
    [
      [x - h * 0.11, y - h * 0.76],
      [x + h * 0.11, y - h * 0.76],
      [x + h * 0.17, y - h * 0.3],
      [x + h * 0.09, y],
      [x + h * 0.03, y],
      [x, y - h * 0.3],
      [x - h * 0.05, y],
      [x - h * 0.11, y],
      [x - h * 0.16, y - h * 0.3],
    ],
    f,
  );
/** Background, two accents, ink (dark), paper (light), by genre. */
export const PAL = {
  horror: [
    '#0f2b33 #e2b54a #b8402c #07161b #efe4c9',
    '#1b1512 #c92a1d #6f7d45 #0d0a09 #e9dcc0',
    '#e3d7b8 #1c1815 #b52a1c #15110f #f5eedb',
    '#3a1028 #e2592e #d9b65a #14060f #f1e3c8',
    '#26352f #d8c690 #c23a22 #0c1210 #efe6cd',
  ],
  'science-fiction': [
    '#12304a #f0b92c #e0532b #071521 #f3ead3',
    '#e9e0c8 #1d4d6e #e0532b #10202c #fbf6e8',
    '#1f1c44 #ef6f4a #f2c14b #0d0b22 #f4e9d4',
    '#0f4a4c #f2a73c #e9e0c8 #06201f #f7efdb',
  ],
  western: [
    '#e39b35 #93301a #f4dfae #2a150c #fbf0d2',
    '#c44f28 #f2c76b #5a2214 #27100a #f8e6c0',
    '#efdcb0 #b4432a #2d5755 #23170f #fdf5de',
    '#7c2a1d #e9a13b #f0d9a6 #240d08 #f7e7c4',
  ],
  comedy: [
    '#f4bd2b #d9402a #1f6f78 #1b1714 #fdf3d7',
    '#f1e7cf #e2542c #1c7c7d #1d1a17 #fffaf0',
    '#2f8f8b #f6c945 #e85d3a #0d2b2a #fbf1da',
    '#e86a48 #f7d774 #204a64 #2a100a #fdf1dc',
  ],
  crime: [
    '#e5491f #1e3140 #f3c63f #15120f #f6ead0',
    '#14120f #e5491f #8a8574 #0c0a09 #f2e8cf',
    '#efb920 #b5301a #2c3f4f #15130f #fbf1d4',
    '#29405f #e5491f #d8cba6 #0d1726 #f1e7cf',
  ],
  thriller: [
    '#d8341c #16110f #f2e4c6 #130e0c #f7ecd2',
    '#e6dcc3 #16130f #d8341c #14110e #fbf6e8',
    '#1b2b3c #f0c23a #d8341c #0a121b #f2e8d0',
  ],
  romance: [
    '#eeb7a2 #b32a3d #3a2450 #2b1020 #fdf0e2',
    '#f3decb #cf4450 #2c4067 #22151d #fff8ee',
    '#7a1d3b #f09a7c #f3cf8f #2b0814 #fbe9d6',
    '#27365f #ef8f8a #f2cd86 #101833 #fbeedb',
  ],
  drama: [
    '#dad2bd #9d3a20 #52666b #1d1a17 #f7f1e1',
    '#2a353b #cf8338 #a9b3a4 #10161a #f0e7d2',
    '#8f2f21 #e8cf9b #2c2622 #1e0c08 #f6ead2',
    '#c9b68b #274653 #b5462a #181512 #f8f0db',
    '#3f4a3b #e0b65a #c95d3a #151a13 #f2ead3',
  ],
  adventure: [
    '#0f5f63 #f0b02e #d8462a #06282a #f7ecd0',
    '#f1dfb2 #0e6668 #dd5530 #132524 #fdf6e0',
    '#1c4c79 #f3c443 #e45b34 #0a1d31 #f7edd4',
  ],
  fantasy: [
    '#2a1b52 #efb33b #dc5568 #120a29 #f7ead2',
    '#123f4c #e9b44c #d9613f #061a20 #f5ebd3',
    '#6d1f45 #f2b24a #2a7f86 #260817 #fbebd4',
  ],
  animation: ['#f2c233 #1f5f7a #e2502d #16222a #fff6db', '#1f5f7a #f2c233 #ef7f5a #0b2330 #fbf2da'],
  documentary: [
    '#eae2cf #cf3322 #1b1917 #171513 #faf5e9',
    '#cf3322 #f0e6cf #191614 #191614 #f7efdc',
    '#1c1b19 #d93a26 #9c9584 #0f0e0d #efe7d3',
  ],
};
export const RANK = [
  'western',
  'science-fiction',
  'horror',
  'animation',
  'documentary',
  'fantasy',
  'crime',
  'thriller',
  'comedy',
  'romance',
  'adventure',
  'drama',
];
export const M = {
  rings(c, r, o) {
    let s = '',
      n = 12,
      dx = (r() - 0.5) * 9,
      dy = (r() - 0.5) * 7;
    for (let i = n + (o.wide ? 14 : 2); i > 0; i--)
      s += ci(o.cx + dx * (n - i) * 0.5, o.cy + dy * (n - i) * 0.5, i * 17, i % 2 ? c.a : c.bg);
    return s + ci(o.cx + dx * 5.5, o.cy + dy * 5.5, 11, c.b) + at(man(0, 20, 40, c.k), o.cx - 34, o.cy + 40, 1.25, -38);
  },
  spiral(c, r, o) {
    let d = 'M' + q(o.cx) + ' ' + q(o.cy),
      k = r() < 0.5 ? 1 : -1;
    for (let a = 0; a < 46; a += 0.22) {
      const R = a * (o.wide ? 6.6 : 4.6);
      d += 'L' + q(o.cx + Math.cos(a * k) * R) + ' ' + q(o.cy + Math.sin(a * k) * R * 0.92);
    }
    return (
      st(d, c.a, 9, 'stroke-linecap="round"') +
      ci(o.cx, o.cy, 13, c.b) +
      at(man(0, 0, 52, c.w === c.bg ? c.k : c.w), o.cx + 8, o.cy + 52, 1, 14)
    );
  },
  moon(c, r, o) {
    let s = '',
      R = Math.min(78, (o.y1 - o.y0) * 0.38);
    for (let i = 0; i < (o.wide ? 70 : 26); i++)
      s += ci(o.x0 + r() * (o.x1 - o.x0), o.y0 + r() * (o.y1 - o.y0), 0.6 + r() * 1.5, c.w);
    s += ci(o.cx + 3, o.cy + 4, R, c.b) + ci(o.cx, o.cy, R, c.w);
    s += pa(
      `M${q(o.cx)} ${q(o.cy - R)}A${R} ${R} 0 0 1 ${q(o.cx)} ${q(o.cy + R)}A${q(R * 1.25)} ${q(R * 1.25)} 0 0 0 ${q(o.cx)} ${q(o.cy - R)}`,
      c.a,
    );
    for (let i = 0; i < 4; i++)
      s += ci(o.cx - R * (0.7 - 0.35 * r()), o.cy + R * (r() - 0.5) * 1.1, 3 + r() * 7, c.a, 'opacity=".35"');
    const k =
      po(
        [
          [0, -34],
          [9, -14],
          [9, 16],
          [-9, 16],
          [-9, -14],
        ],
        c.b,
      ) +
      po(
        [
          [9, 2],
          [17, 22],
          [9, 16],
        ],
        c.k,
      ) +
      po(
        [
          [-9, 2],
          [-17, 22],
          [-9, 16],
        ],
        c.k,
      ) +
      ci(0, -8, 4, c.w) +
      po(
        [
          [-6, 17],
          [6, 17],
          [0, 36],
        ],
        c.a,
      );
    return s + at(k, o.cx - R * 0.62, o.cy + R * 0.45, 1.15, 48);
  },
  skyline(c, r, o) {
    let s = ci(o.cx, o.y1 - 130, 74, c.b);
    for (let i = 0; i < (o.wide ? 28 : 14); i++) {
      const a = Math.PI + (i * Math.PI) / (o.wide ? 28 : 14);
      s += po(
        [
          [o.cx, o.y1 - 130],
          [o.cx + Math.cos(a) * 700, o.y1 - 130 + Math.sin(a) * 700],
          [o.cx + Math.cos(a + 0.07) * 700, o.y1 - 130 + Math.sin(a + 0.07) * 700],
        ],
        c.b,
        'opacity=".28"',
      );
    }
    for (const [f, mx, l, wd] of [
      [c.a === c.bg ? c.b : c.a, 178, c.w, 22],
      [c.k, 132, c.b, 26],
    ]) {
      for (let x = o.x0 - 10; x < o.x1;) {
        const w = wd * (0.6 + r() * 0.9),
          d = Math.abs(x + w / 2 - o.cx),
          h = Math.max(26, mx * (1 - d / 210) * (0.62 + r() * 0.5)),
          y = o.y1 - h;
        s += re(x, y, w + 0.5, h, f);
        if (r() < 0.5)
          s += po(
            [
              [x, y],
              [x + w / 2, y - 12 - r() * 16],
              [x + w, y],
            ],
            f,
          );
        for (let j = y + 8; j < o.y1 - 6; j += 9)
          for (let i = x + 4; i < x + w - 4; i += 6) if (r() < 0.34) s += re(i, j, 2.6, 4.4, l);
        x += w;
      }
    }
    return s;
  },
  bars(c, r, o) {
    let s = '',
      n = 5 + ((r() * 3) | 0),
      w = (o.wide ? o.x1 - o.x0 : 188) / (o.wide ? 17 : n);
    for (let i = 0; i < (o.wide ? 17 : n); i++) {
      const x = (o.wide ? o.x0 : 6) + i * w,
        j = () => (r() - 0.5) * 7,
        top = r() < 0.55,
        L = (o.y1 - o.y0) * (0.35 + r() * 0.55),
        y = top ? o.y0 - 6 : o.y1 + 6,
        e = top ? o.y0 + L : o.y1 - L;
      s += po(
        [
          [x + 3 + j() / 2, y],
          [x + w - 3 + j() / 2, y],
          [x + w - 5 + j(), e + j()],
          [x + 5 + j(), e + j() * 2],
        ],
        [c.a, c.a, c.b, c.w][(r() * 4) | 0],
      );
    }
    return s + man(o.cx + 22, o.y1 - 8, 66, c.k === c.a ? c.b : c.k);
  },
  arm(c, r, o) {
    const y = o.y0 - 4,
      h = o.y1 - o.y0,
      x = o.cx;
    return (
      po(
        [
          [x - 46, y],
          [x + 14, y - 2],
          [x + 22, y + h * 0.34],
          [x + 6, y + h * 0.47],
          [x + 28, y + h * 0.62],
          [x - 30, y + h * 0.63],
          [x - 34, y + h * 0.42],
          [x - 52, y + h * 0.3],
        ],
        c.k,
      ) +
      po(
        [
          [x - 30, y + h * 0.62],
          [x + 28, y + h * 0.61],
          [x + 40, y + h * 0.72],
          [x + 62, y + h * 0.69],
          [x + 66, y + h * 0.74],
          [x + 40, y + h * 0.83],
          [x + 34, y + h * 0.96],
          [x + 25, y + h * 0.96],
          [x + 23, y + h * 0.82],
          [x + 12, y + h],
          [x + 3, y + h * 0.99],
          [x + 6, y + h * 0.82],
          [x - 10, y + h * 0.97],
          [x - 18, y + h * 0.94],
          [x - 8, y + h * 0.79],
          [x - 28, y + h * 0.9],
          [x - 34, y + h * 0.86],
          [x - 22, y + h * 0.72],
        ],
        c.k,
      ) +
      po(
        [
          [x - 92, y],
          [x - 62, y],
          [x - 66, y + h * 0.52],
          [x - 86, y + h * 0.5],
        ],
        c.a,
      ) +
      po(
        [
          [x + 52, y],
          [x + 94, y],
          [x + 88, y + h * 0.5],
          [x + 60, y + h * 0.56],
        ],
        c.b,
      )
    );
  },
  stairs(c, r, o) {
    let s = '',
      x = o.cx - 100,
      d = `M${x - 20} ${o.y1}`;
    for (let i = 0; i < 9; i++) {
      const sx = x - 20 + i * 27,
        sy = o.y1 - 18 - i * 20 + (r() - 0.5) * 6;
      d += `L${q(sx + (r() - 0.5) * 5)} ${q(sy)}L${q(sx + 27)} ${q(sy - (r() - 0.5) * 7)}`;
    }
    d += `L${o.cx + 140} ${o.y1}Z`;
    s +=
      po(
        [
          [o.cx + 52, o.y0],
          [o.cx + 78, o.y0],
          [o.cx + 40, o.y1],
          [o.cx - 120, o.y1],
        ],
        c.b,
        'opacity=".55"',
      ) +
      po(
        [
          [o.cx + 40, o.y0 + 18],
          [o.cx + 92, o.y0 + 6],
          [o.cx + 86, o.y0 + 70],
          [o.cx + 46, o.y0 + 62],
        ],
        c.w,
      ) +
      st(
        `M${o.cx + 66} ${o.y0 + 12}L${o.cx + 65} ${o.y0 + 66}M${o.cx + 43} ${o.y0 + 40}L${o.cx + 89} ${o.y0 + 36}`,
        c.k,
        3.5,
      );
    if (o.wide) s += re(o.x0, o.y1 - 14, o.cx - 120 - o.x0, 20, c.k);
    s += pa(d, c.k);
    return (
      s +
      po(
        [
          [o.cx - 34, o.y1 - 72],
          [o.cx - 16, o.y1 - 74],
          [o.cx - 86, o.y0 + 30],
          [o.cx - 104, o.y0 + 44],
        ],
        c.a,
      ) +
      ci(o.cx - 97, o.y0 + 32, 12, c.a) +
      man(o.cx - 24, o.y1 - 72, 54, c.w)
    );
  },
  eye(c, r, o) {
    let s = '',
      x = o.cx,
      y = o.cy;
    for (let i = 0; i < 26; i++) {
      const a = (-Math.PI * i) / 25,
        l = o.wide ? 760 : 100 + r() * 50;
      s += po(
        [
          [x + Math.cos(a) * 60, y + Math.sin(a) * 44],
          [x + Math.cos(a - 0.035) * l, y + Math.sin(a - 0.035) * l],
          [x + Math.cos(a + 0.035) * l, y + Math.sin(a + 0.035) * l],
        ],
        i % 2 ? c.a : c.b,
      );
    }
    return (
      s +
      pa(`M${x - 88} ${y}Q${x} ${y - 92} ${x + 88} ${y}Q${x} ${y + 84} ${x - 88} ${y}Z`, c.w) +
      ci(x, y - 3, 39, c.a) +
      ci(x, y - 3, 39, 'none', `stroke="${c.k}" stroke-width="5"`) +
      ci(x, y - 3, 18, c.k) +
      ci(x + 8, y - 12, 6, c.w) +
      st(`M${x - 92} ${y + 1}Q${x} ${y - 96} ${x + 92} ${y + 1}`, c.k, 8, 'stroke-linecap="round"')
    );
  },
  waves(c, r, o) {
    let s = ci(o.cx + 26, o.y0 + (o.y1 - o.y0) * 0.3, 42, c.b),
      y = o.y0 + (o.y1 - o.y0) * 0.46;
    const ship =
      po(
        [
          [-62, 0],
          [66, -6],
          [48, 30],
          [-46, 30],
        ],
        c.k,
      ) +
      re(-26, -24, 46, 20, c.w) +
      re(-18, -56, 12, 34, c.a) +
      re(4, -50, 12, 28, c.a) +
      re(-18, -50, 12, 6, c.k) +
      re(4, -44, 12, 6, c.k) +
      st('M-50 -2L-50 -46M40 -6L40 -52', c.k, 2) +
      pa('M-12 -60C-30 -70 -10 -84 -40 -92C-16 -98 2 -78 -6 -60Z', c.w, 'opacity=".85"');
    s += at(ship, o.cx - 14, y + 2, 1.05, -4);
    const f = [c.a, c.w, c.a, c.k];
    for (let i = 0; i < 4; i++) {
      const yy = y + 14 + (i * (o.y1 - y)) / 4.4,
        w = 34 + i * 8;
      let d = `M${o.x0 - 60 + i * 13} ${yy}`;
      for (let x = o.x0 - 60; x < o.x1 + 60; x += w) d += `q${w / 2} ${-13 - i * 2} ${w} 0`;
      s += pa(d + `V${o.y1 + 4}H${o.x0 - 80}Z`, i == 1 ? c.b : f[i]);
    }
    return s;
  },
  mesa(c, r, o) {
    const y = o.y1 - 62;
    let s = '';
    for (let i = 5; i > 0; i--) s += ci(o.cx + 12, y - 34, i * 17, i % 2 ? c.w : c.a, i > 3 ? 'opacity=".5"' : '');
    const ms = (x, w, h, f) =>
      po(
        [
          [x - w * 0.7, y + 14],
          [x - w * 0.5, y - h * 0.45],
          [x - w * 0.42, y - h],
          [x + w * 0.3, y - h * 1.02],
          [x + w * 0.44, y - h * 0.4],
          [x + w * 0.75, y + 14],
        ],
        f,
      );
    if (o.wide) for (let i = 1; i < 5; i++) s += ms(o.cx - 60 - i * 105, 60 + r() * 40, 30 + r() * 66, c.b);
    s +=
      ms(o.cx - 66, 62, 84, c.b) +
      ms(o.cx + 84, 52, 58, c.b) +
      re(o.x0, y + 12, o.x1 - o.x0, o.y1 - y, c.k === c.b ? c.a : c.k) +
      pa(`M${o.x0} ${o.y1}V${y + 34}Q${o.cx - 60} ${y + 6} ${o.cx + 10} ${y + 36}T${o.x1} ${y + 26}V${o.y1}Z`, c.a);
    const ca =
      re(-5, -58, 10, 60, c.k, 'rx="5"') +
      st('M-18 -40V-26Q-18 -20 -4 -20M17 -48V-36Q17 -30 4 -30', c.k, 7, 'stroke-linecap="round"');
    return s + at(ca, o.cx - 44, o.y1 - 16, 1.1) + at(ca, o.cx + 72, o.y1 - 28, 0.55);
  },
  wheel(c, r, o) {
    let s = '',
      R = Math.min(92, (o.y1 - o.y0) * 0.47),
      n = 12;
    for (let i = 0; i < n; i++) {
      const a = (i * Math.PI * 2) / n + 0.13;
      s += st(`M${q(o.cx)} ${q(o.cy)}L${q(o.cx + Math.cos(a) * R)} ${q(o.cy + Math.sin(a) * R)}`, c.k, 7);
    }
    return (
      (o.wide
        ? [-3, -2, -1]
            .map((i) => ci(o.cx + i * 190, o.cy + 10, 70, 'none', `stroke="${c.b}" stroke-width="9"`))
            .join('')
        : '') +
      ci(o.cx + 14, o.cy - 10, R * 0.92, c.b) +
      s +
      ci(o.cx, o.cy, R, 'none', `stroke="${c.a}" stroke-width="15"`) +
      ci(o.cx, o.cy, R + 8, 'none', `stroke="${c.k}" stroke-width="3"`) +
      ci(o.cx, o.cy, 20, c.a) +
      ci(o.cx, o.cy, 8, c.k)
    );
  },
  star(c, r, o) {
    const P = (R, k, a) => {
      let p = [];
      for (let i = 0; i < 10; i++) {
        const b = a + (i * Math.PI) / 5,
          d = i % 2 ? R * k : R;
        p.push([o.cx + Math.sin(b) * d, o.cy - Math.cos(b) * d]);
      }
      return p;
    };
    let s = '';
    for (let i = 0; i < (o.wide ? 36 : 20); i++) {
      const n = o.wide ? 36 : 20,
        a = (i * 2 * Math.PI) / n;
      s += po(
        [
          [o.cx, o.cy],
          [o.cx + Math.cos(a) * 600, o.cy + Math.sin(a) * 600],
          [o.cx + Math.cos(a + Math.PI / n) * 600, o.cy + Math.sin(a + Math.PI / n) * 600],
        ],
        c.b,
        'opacity=".34"',
      );
    }
    return (
      s +
      po(P(92, 0.45, 0.12), c.k) +
      po(P(84, 0.45, 0.06), c.a) +
      P(84, 1, 0.06)
        .filter((_, i) => i % 2 == 0)
        .map((p) => ci(p[0], p[1], 7, c.a))
        .join('') +
      ci(o.cx, o.cy, 26, c.w) +
      ci(o.cx + 9, o.cy - 8, 7, c.k) +
      st(`M${o.cx - 15} ${o.cy + 2}L${o.cx + 4} ${o.cy - 14}`, c.k, 0)
    );
  },
  hat(c, r, o) {
    const x = o.cx,
      y = o.cy,
      t = (r() - 0.5) * 16;
    return (
      ci(x, y + 18, 90, c.b) +
      at(
        pa('M-44 -6C-46 -62 46 -62 44 -6Z', c.k) +
          pa('M-72 -8Q0 -22 72 -8Q76 4 0 4Q-76 4 -72 -8Z', c.k) +
          re(-44, -20, 88, 9, c.a) +
          '',
        x,
        y - 22,
        1.08,
        t,
      ) +
      ci(x - 22, y + 18, 5, c.k) +
      ci(x + 22, y + 18, 5, c.k) +
      pa(
        `M${x} ${y + 40}C${x - 8} ${y + 32} ${x - 22} ${y + 36} ${x - 20} ${y + 56}L${x + 20} ${y + 56}C${x + 22} ${y + 36} ${x + 8} ${y + 32} ${x} ${y + 40}Z`,
        c.k,
      ) +
      st(
        `M${x + 70} ${y + 104}L${x + 52} ${y + 22}Q${x + 46} ${y - 2} ${x + 66} ${y - 6}`,
        c.a,
        6,
        'stroke-linecap="round"',
      ) +
      (o.wide
        ? [-2, -3.2, -4.4]
            .map((k, i) =>
              at(
                pa('M-44 -6C-46 -62 46 -62 44 -6Z', c.b) + pa('M-72 -8Q0 -22 72 -8Q76 4 0 4Q-76 4 -72 -8Z', c.b),
                x + k * 78,
                y + 20 - (i % 2) * 60,
                0.8,
                20 - i * 20,
              ),
            )
            .join('')
        : '')
    );
  },
  tiles(c, r, o) {
    let s = '',
      n = 50,
      f = [c.a, c.b, c.k, c.w];
    for (let y = o.y0; y < o.y1; y += n)
      for (let x = o.wide ? o.x0 - (o.x0 % 50) - 50 : 0; x < o.x1; x += n) {
        const a = f[(r() * 4) | 0],
          b = f[(r() * 4) | 0],
          k = (r() * 7) | 0;
        s += re(x, y, n + 0.4, n + 0.4, r() < 0.4 ? b : c.bg);
        if (k < 3) {
          const [px, py] = [
              [x, y],
              [x + n, y],
              [x + n, y + n],
              [x, y + n],
            ][(r() * 4) | 0],
            p = [px, py],
            sx = px == x ? 1 : -1,
            sy = py == y ? 1 : -1;
          s += pa(`M${p[0]} ${p[1]}h${sx * n}A${n} ${n} 0 0 ${sx * sy > 0 ? 1 : 0} ${p[0]} ${p[1] + sy * n}Z`, a);
        } else if (k == 3) s += ci(x + 25, y + 25, 19, a) + ci(x + 25, y + 25, 8, b);
        else if (k == 4) s += pa(`M${x} ${y + 25}a25 25 0 0 1 50 0Z`, a) + pa(`M${x} ${y + 50}a25 25 0 0 1 50 0Z`, a);
        else if (k == 5)
          s += po(
            [
              [x, y],
              [x + n, y + n],
              [x, y + n],
            ],
            a,
          );
      }
    return s;
  },
  lovers(c, r, o) {
    const f =
      'M-64 -88C-20 -98 6 -74 8 -42L11 -30L25 -6L12 -1L15 7L9 11L14 19L6 26C7 38 -4 42 -20 39C-24 52 -20 76 8 96L-130 96L-130 -88Z';
    return (
      ci(o.cx, o.cy - 8, 62, c.b) +
      at(pa(f, c.a), o.cx - 30, o.cy + 6, 0.98) +
      `<g transform="translate(${o.cx + 32} ${o.cy + 12}) scale(-.94 .94)">${pa(f, c.k)}</g>` +
      re(o.x0 - 10, o.cy + 98, o.x1 - o.x0 + 20, 300, c.k) +
      (o.wide ? re(o.x0, o.cy - 80, o.cx - 155 - o.x0, 190, c.a) : '')
    );
  },
  venn(c, r, o) {
    const R = 62,
      x = o.cx,
      y = o.cy,
      h = Math.sqrt(R * R - 26 * 26);
    return (
      ci(x - 26, y - 6, R, c.a) +
      ci(x + 26, y - 6, R, c.b) +
      pa(`M${x} ${q(y - 6 - h)}A${R} ${R} 0 0 1 ${x} ${q(y - 6 + h)}A${R} ${R} 0 0 1 ${x} ${q(y - 6 - h)}Z`, c.k) +
      pa(
        `M${x} ${y + 14}C${x - 26} ${y - 8} ${x - 14} ${y - 28} ${x} ${y - 14}C${x + 14} ${y - 28} ${x + 26} ${y - 8} ${x} ${y + 14}Z`,
        c.w,
      ) +
      [0, 1, 2, 3, 4].map((i) => st(`M${o.x0} ${y + 72 + i * 9}H${o.x1}`, i % 2 ? c.b : c.a, 3)).join('')
    );
  },
  claw(c, r, o) {
    let s = ci(o.cx + 24, o.y0 + 74, 54, c.b),
      x = o.cx;
    const fs = [
      [-58, -88, -34],
      [-28, -46, -92],
      [2, 2, -112],
      [32, 50, -88],
      [58, 96, -22],
    ];
    fs.forEach(([bx, tx, ty], i) => {
      const b = o.y1 - 70;
      s += pa(
        `M${x + bx - 13} ${b}Q${x + (bx + tx) / 2 - 16} ${b + ty * 0.5} ${x + tx} ${b + ty - 34}Q${x + (bx + tx) / 2 + 16} ${b + ty * 0.55} ${x + bx + 15} ${b}Z`,
        c.k,
      );
    });
    return (
      s +
      pa(
        `M${x - 74} ${o.y1 - 74}Q${x} ${o.y1 - 100} ${x + 76} ${o.y1 - 76}Q${x + 58} ${o.y1 - 30} ${x + 44} ${o.y1 + 4}H${x - 40}Q${x - 54} ${o.y1 - 34} ${x - 74} ${o.y1 - 74}Z`,
        c.k,
      ) +
      (o.wide ? re(o.x0, o.y1 - 22, o.x1 - o.x0, 30, c.k) + man(o.cx - 220, o.y1 - 22, 90, c.a) : man(x, o.y1, 58, c.a))
    );
  },
  bat(c, r, o) {
    const b =
      'M0 -10L-7 -24L-9 -8C-30 -34 -70 -34 -96 -14C-80 -12 -74 0 -74 14C-60 2 -46 6 -40 20C-30 8 -14 12 0 38C14 12 30 8 40 20C46 6 60 2 74 14C74 0 80 -12 96 -14C70 -34 30 -34 9 -8L7 -24Z';
    return (
      ci(o.cx, o.cy - 6, 72, c.b) +
      at(pa(b, c.k), o.cx, o.cy, 0.96, -8) +
      ci(o.cx - 5, o.cy - 4, 1.8, c.a) +
      ci(o.cx + 5, o.cy - 5, 1.8, c.a) +
      [
        [-70, 54, 0.24, 12],
        [66, 66, 0.3, -16],
        [-30, 82, 0.18, -4],
        [-230, 20, 0.6, -14],
        [-340, 60, 0.4, 10],
      ]
        .map((a) => at(pa(b, c.a), o.cx + a[0], o.cy + a[1], a[2], a[3]))
        .join('')
    );
  },
  house(c, r, o) {
    const x = o.cx,
      y = o.y1;
    let s = ci(x + 40, y - 150, 46, c.b);
    s +=
      pa(`M${o.x0} ${y}V${y - 22}Q${x - 80} ${y - 30} ${x} ${y - 54}T${o.x1} ${y - 24}V${y}Z`, c.k) +
      po(
        [
          [x - 52, y - 40],
          [x - 54, y - 112],
          [x - 58, y - 112],
          [x - 22, y - 150],
          [x - 8, y - 134],
          [x - 8, y - 176],
          [x + 10, y - 206],
          [x + 28, y - 176],
          [x + 28, y - 126],
          [x + 46, y - 110],
          [x + 44, y - 40],
        ],
        c.k,
      );
    for (const [a, b, w, h] of [
      [-38, -104, 12, 18],
      [-12, -100, 12, 18],
      [4, -168, 10, 16],
      [20, -100, 10, 18],
      [-34, -70, 12, 16],
    ])
      s += re(x + a, y + b, w, h, r() < 0.72 ? c.a : c.w);
    s += pa(`M${x - 2} ${y - 40}v-24a8 8 0 0 1 16 0v24Z`, c.a);
    const tr = (tx, k) =>
      st(
        `M${tx} ${y - 18}q-4 -40 4 -78m-3 40l-22 -28m2 4l-2 -18m22 18l18 -28m-6 10l16 -4m-25 6l-8 -18`,
        c.k,
        4 * k,
        'stroke-linecap="round"',
      );
    return (
      s +
      tr(x - 78, 1) +
      tr(x + 80, 0.8) +
      (o.wide ? [-160, -230, -310].map((d, i) => tr(x + d, 1 - i * 0.15)).join('') : '')
    );
  },
  rails(c, r, o) {
    const x = o.cx,
      h = o.y0 + (o.y1 - o.y0) * 0.42,
      y = o.y1;
    let s = re(o.x0, h + 26, o.x1 - o.x0, y - h, c.b);
    s += po(
      [
        [x - 15, h + 30],
        [x + 15, h + 30],
        [x + 104, y],
        [x - 104, y],
      ],
      c.k,
      'opacity=".9"',
    );
    for (let i = 0; i < 8; i++) {
      const t = (i + 0.6) / 8,
        t2 = t * t,
        yy = h + 44 + (y - h - 40) * t2,
        w = 22 + 86 * t2;
      s += re(x - w, yy, w * 2, 3 + 8 * t2, c.a);
    }
    s += st(`M${x - 10} ${h + 30}L${x - 74} ${y}M${x + 10} ${h + 30}L${x + 74} ${y}`, c.w, 5);
    s +=
      pa(
        `M${x - 18} ${h - 44}C${x - 60} ${h - 66} ${x - 20} ${h - 92} ${x - 70} ${h - 112}C${x + 6} ${h - 116} ${x + 36} ${h - 80} ${x + 8} ${h - 44}Z`,
        c.w,
        'opacity=".9"',
      ) +
      re(x - 9, h - 52, 18, 24, c.k) +
      ci(x, h + 2, 42, c.k) +
      ci(x, h + 2, 33, c.a) +
      ci(x, h + 2, 11, c.w) +
      po(
        [
          [x - 44, h + 38],
          [x + 44, h + 38],
          [x + 56, h + 62],
          [x - 56, h + 62],
        ],
        c.k,
      ) +
      [-28, -10, 8, 26].map((d) => re(x + d, h + 40, 4, 20, c.a)).join('');
    return s;
  },
  iris(c, r, o) {
    let s = '',
      n = 8,
      R = 92,
      x = o.cx,
      y = o.cy,
      k = 34;
    if (o.wide) s += ci(x, y, 200, c.b, 'opacity=".25"') + ci(x, y, 310, c.b, 'opacity=".18"');
    s += ci(x, y, R + 3, c.k);
    for (let i = 0; i < n; i++) {
      const a = (i * 2 * Math.PI) / n,
        b = a + (2 * Math.PI) / n,
        e = a + 2.35;
      s += po(
        [
          [x + Math.cos(a) * R, y + Math.sin(a) * R],
          [x + Math.cos(b) * R, y + Math.sin(b) * R],
          [x + Math.cos(e) * k, y + Math.sin(e) * k],
          [x + Math.cos(a + 1.55) * k, y + Math.sin(a + 1.55) * k],
        ],
        i % 2 ? c.a : c.b,
        `stroke="${c.k}" stroke-width="1.6"`,
      );
    }
    s += ci(x, y, k - 4, c.w) + ci(x, y, 17, c.k) + ci(x + 6, y - 6, 5, c.w);
    return s;
  },
  arches(c, r, o) {
    let s = '',
      f = [c.a, c.k, c.b, c.w, c.a, c.k];
    const y = o.y1;
    for (let i = 0; i < 6; i++) {
      const w = 96 - i * 15,
        h = (o.y1 - o.y0) * 0.96 - i * 27;
      if (h < 20) break;
      s += pa(
        `M${o.cx - w} ${y}V${q(y - h * 0.5)}C${o.cx - w} ${q(y - h * 0.78)} ${o.cx - w * 0.25} ${q(y - h * 0.82)} ${o.cx} ${q(y - h)}C${o.cx + w * 0.25} ${q(y - h * 0.82)} ${o.cx + w} ${q(y - h * 0.78)} ${o.cx + w} ${q(y - h * 0.5)}V${y}Z`,
        f[i],
      );
    }
    const m = o.y0 + (o.y1 - o.y0) * 0.66;
    s += ci(o.cx, m, 15, c.w) + ci(o.cx + 7, m - 3, 13, c.k);
    if (o.wide)
      for (let i = 1; i < 4; i++)
        s += pa(
          `M${o.cx - 140 * i - 50} ${y}v-90c0 -60 34 -60 50 -96c16 36 50 36 50 96v90Z`,
          i % 2 ? c.b : c.a,
          'opacity=".75"',
        );
    return s;
  },
  flame(c, r, o) {
    let s = '',
      x = o.cx,
      y = o.y1;
    const fl = (cx, w, h, f) => {
      const a = (r() - 0.5) * 20;
      return pa(
        `M${cx - w} ${y + 4}C${cx - w * 1.1} ${q(y - h * 0.4)} ${q(cx - w * 0.2 + a)} ${q(y - h * 0.45)} ${q(cx + a)} ${q(y - h)}C${q(cx + w * 0.3 + a)} ${q(y - h * 0.6)} ${cx + w * 1.1} ${q(y - h * 0.4)} ${cx + w} ${y + 4}Z`,
        f,
      );
    };
    const H = o.y1 - o.y0;
    const xs = o.wide ? [-430, -370, -300, -240, -180, -120] : [];
    for (const d of xs) s += fl(x + d, 44, H * (0.3 + r() * 0.3), c.a);
    s +=
      fl(x - 64, 44, H * 0.72, c.a) +
      fl(x + 62, 46, H * 0.8, c.a) +
      fl(x, 58, H * 0.97, c.a) +
      fl(x - 40, 32, H * 0.46, c.b) +
      fl(x + 42, 34, H * 0.52, c.b) +
      fl(x, 36, H * 0.66, c.b);
    s +=
      re(x - 5, y - H * 0.5, 10, H * 0.5, c.k) +
      ci(x, y - H * 0.5 + 2, 15, c.w) +
      pa(`M${x - 17} ${q(y - H * 0.5 - 2)}q17 -22 34 0l-3 8q-14 -12 -28 0Z`, c.k) +
      po(
        [
          [x - 20, y - H * 0.5 + 22],
          [x + 20, y - H * 0.5 + 22],
          [x + 30, y + 4],
          [x - 30, y + 4],
        ],
        c.w,
      );
    return s + st(`M${x - 26} ${q(y - H * 0.28)}H${x + 26}M${x - 28} ${q(y - H * 0.22)}H${x + 28}`, c.k, 4);
  },
  clock(c, r, o) {
    let s = '',
      R = 82,
      x = o.cx,
      y = o.cy;
    if (o.wide)
      for (let i = 1; i < 4; i++)
        s +=
          ci(x - i * 165, y + (i % 2 ? 44 : -40), 56, 'none', `stroke="${c.b}" stroke-width="7"`) +
          st(`M${x - i * 165} ${y + (i % 2 ? 44 : -40)}v-36m0 36l${20 - i * 9} 14`, c.b, 6);
    s += ci(x + 5, y + 6, R, c.b) + ci(x, y, R, c.w) + ci(x, y, R - 4, 'none', `stroke="${c.k}" stroke-width="6"`);
    for (let i = 0; i < 12; i++) {
      const a = (i * Math.PI) / 6;
      s += st(
        `M${q(x + Math.cos(a) * (R - 11))} ${q(y + Math.sin(a) * (R - 11))}L${q(x + Math.cos(a) * (R - (i % 3 ? 19 : 26)))} ${q(y + Math.sin(a) * (R - (i % 3 ? 19 : 26)))}`,
        c.k,
        i % 3 ? 3 : 6,
      );
    }
    s +=
      st(`M${x} ${y}L${x + 52} ${y - 16}`, c.a, 8, 'stroke-linecap="round"') +
      st(`M${x} ${y}L${x - 12} ${y - 38}`, c.k, 8, 'stroke-linecap="round"') +
      ci(x, y, 7, c.a);
    return s + at(man(0, 44, 46, c.k) + st('M-4 10L-1 -2M4 10L1 -2', c.k, 4), x + 52, y - 12, 1.15, 6);
  },
  plant(c, r, o) {
    let s = '',
      x = o.cx,
      y = o.y1;
    const lf = (a, b, k, t, f) =>
      at(pa('M0 0C-30 -18 -30 -56 0 -84C30 -56 30 -18 0 0Z', f) + st('M0 0V-70', c.k, 1.6), x + a, y + b, k, t);
    s +=
      lf(0, -26, 1.15, -66, c.b) +
      lf(0, -26, 1.15, 64, c.b) +
      lf(0, -52, 0.95, -38, c.k) +
      lf(0, -52, 0.95, 40, c.k) +
      lf(2, -18, 0.8, -92, c.k) +
      lf(-2, -18, 0.8, 92, c.k) +
      st(`M${x} ${y}C${x - 8} ${y - 50} ${x + 10} ${y - 70} ${x} ${y - 112}`, c.k, 8);
    let d = `M${x - 50} ${y - 140}`,
      t = '';
    for (let i = 0; i < 6; i++) t += `l${i == 5 ? 8.3 : 8.3} ${i % 1 ? 0 : 16}l8.3 -16`;
    return (
      s +
      ci(x, y - 142, 51, c.a) +
      pa(`M${x - 52} ${y - 140}${t}L${x + 52} ${y - 132}A51 51 0 0 1 ${x - 52} ${y - 132}Z`, c.k) +
      pa(`M${x - 50} ${y - 141}${t}Z`, c.w) +
      ci(x - 20, y - 166, 6, c.w) +
      ci(x + 20, y - 166, 6, c.w) +
      ci(x - 19, y - 165, 3, c.k) +
      ci(x + 19, y - 165, 3, c.k) +
      (o.wide ? lf(-200, 0, 1.2, -14, c.b) + lf(-270, 0, 1.5, 12, c.k) + lf(-360, 0, 1.1, -8, c.b) : '')
    );
  },
  diamonds(c, r, o) {
    let s = '',
      f = [c.a, c.b, c.w, c.k, c.bg, c.bg],
      w = 40,
      h = 50;
    for (let y = o.y0 - h / 2, j = 0; y < o.y1 + h; y += h / 2, j++)
      for (let x = (o.wide ? o.x0 - (o.x0 % 40) - 40 : 0) - (j % 2 ? 20 : 0); x < o.x1 + 20; x += w)
        s += po(
          [
            [x + 20, y - 25],
            [x + 40, y],
            [x + 20, y + 25],
            [x, y],
          ],
          f[(r() * 6) | 0],
        );
    return s;
  },
  peaks(c, r, o) {
    let s = ci(o.cx - 34, o.y0 + 58, 36, c.b);
    const pk = (x, h, w, f, l) =>
      po(
        [
          [x - w, o.y1],
          [x, o.y1 - h],
          [x + w, o.y1],
        ],
        f,
      ) +
      po(
        [
          [x, o.y1 - h],
          [x + w * 0.3, o.y1 - h * 0.7],
          [x + w * 0.1, o.y1 - h * 0.76],
          [x - w * 0.04, o.y1 - h * 0.66],
          [x - w * 0.16, o.y1 - h * 0.78],
          [x - w * 0.3, o.y1 - h * 0.7],
        ],
        l,
      );
    if (o.wide) for (let i = 1; i < 5; i++) s += pk(o.cx - i * 110, 80 + r() * 80, 100, i % 2 ? c.a : c.b, c.w);
    return (
      s +
      pk(o.cx + 58, 172, 104, c.a, c.w) +
      pk(o.cx - 58, 132, 96, c.b === c.bg ? c.k : c.k, c.w) +
      pk(o.cx + 26, 86, 110, c.b, c.w) +
      man(o.cx - 4, o.y1 - 64, 20, c.k)
    );
  },
  spots(c, r, o) {
    const x = o.cx,
      y = o.y1 - 44;
    let s = '';
    const bm = (a, b, w, f) =>
      po(
        [
          [a, o.y0 - 4],
          [a + 10, o.y0 - 4],
          [x + b + w, y],
          [x + b - w, y],
        ],
        f,
        'opacity=".78"',
      );
    s += bm(x - 92, 30, 58, c.a) + bm(x + 82, -30, 58, c.b) + bm(x - 5, 0, 46, c.w);
    if (o.wide) s += bm(x - 300, -200, 60, c.a) + bm(x - 180, -260, 60, c.b);
    s += re(o.x0, y, o.x1 - o.x0, 60, c.k) + `<ellipse cx="${x}" cy="${y + 8}" rx="66" ry="13" fill="${c.w}"/>`;
    return s + man(x, y + 10, 104, c.k) + pa(`M${x - 24} ${y - 78}h48l-5 -8h-10v-22h-18v22h-10Z`, c.k);
  },
  tent(c, r, o) {
    const x = o.cx,
      t = o.y0 + 34,
      y = o.y1;
    let s = '',
      n = 10;
    for (let i = 0; i < n; i++) {
      const a = x - 120 + i * 24;
      s +=
        pa(`M${x} ${t}L${a} ${y - 66}h24Z`, i % 2 ? c.a : c.w) +
        pa(`M${a} ${y - 66}h24v8a12 12 0 0 1 -24 0Z`, i % 2 ? c.a : c.w) +
        re(a + 2, y - 52, 22, 60, i % 2 ? c.k : c.b);
    }
    s +=
      st(`M${x} ${t}v-26`, c.k, 3) +
      po(
        [
          [x, t - 28],
          [x + 32, t - 20],
          [x, t - 10],
        ],
        c.b,
      );
    s += pa(`M${x - 26} ${y}v-34q26 -34 52 0v34Z`, c.k);
    return (
      s +
      (o.wide
        ? [-180, -260, -340, -420]
            .map((d, i) =>
              po(
                [
                  [x + d, y - 150 + i * 18],
                  [x + d + 44, y - 166 + i * 10],
                  [x + d + 22, y - 120 + i * 14],
                ],
                i % 2 ? c.a : c.w,
              ),
            )
            .join('') + re(o.x0, y - 14, o.x1 - o.x0, 20, c.k)
        : '')
    );
  },
  wings(c, r, o) {
    let s = '',
      x = o.cx;
    const n = 7;
    for (let i = 0; i < n; i++) {
      const y = o.cy - 60 + i * 20,
        w = (o.wide ? 330 : 98) - i * (o.wide ? 36 : 11);
      s += po(
        [
          [x, y],
          [x - w, y - 34 + i * 3],
          [x - w + 10, y - 20 + i * 3],
          [x, y + 15],
          [x + w - 10, y - 20 + i * 3],
          [x + w, y - 34 + i * 3],
        ],
        i % 3 == 0 ? c.a : i % 3 == 1 ? c.w : c.b,
      );
    }
    return (
      s +
      ci(x, o.cy - 64, 16, c.k) +
      re(x - 5, o.cy - 58, 10, 140, c.k, 'rx="5"') +
      st(`M${x - 34} ${o.cy - 78}L${x + 34} ${o.cy - 78}`, c.k, 4, 'stroke-linecap="round"')
    );
  },
  mask(c, r, o) {
    const x = o.cx,
      y = o.cy;
    let s = ci(x, y, 84, c.w) + pa(`M${x} ${y - 84}A84 84 0 0 1 ${x} ${y + 84}Z`, c.k);
    s +=
      pa(
        `M${x - 92} ${y - 26}Q${x - 40} ${y - 48} ${x} ${y - 20}Q${x + 40} ${y - 48} ${x + 92} ${y - 26}Q${x + 86} ${y + 24} ${x + 38} ${y + 24}Q${x + 14} ${y + 20} ${x} ${y + 4}Q${x - 14} ${y + 20} ${x - 38} ${y + 24}Q${x - 86} ${y + 24} ${x - 92} ${y - 26}Z`,
        c.a,
      ) +
      `<ellipse cx="${x - 40}" cy="${y - 6}" rx="21" ry="11" fill="${c.k}"/><ellipse cx="${x + 40}" cy="${y - 6}" rx="21" ry="11" fill="${c.w}"/>` +
      ci(x - 38, y - 6, 6, c.w) +
      ci(x + 38, y - 6, 6, c.k);
    s += pa(`M${x - 34} ${y + 48}Q${x} ${y + 70} ${x + 34} ${y + 48}Q${x} ${y + 60} ${x - 34} ${y + 48}Z`, c.a);
    return (
      s +
      (o.wide
        ? [1, 2, 3].map((i) => ci(x - i * 170, y + (i % 2 ? 30 : -30), 54 - i * 6, c.b, 'opacity=".6"')).join('')
        : '')
    );
  },
  piano(c, r, o) {
    let s = '',
      y = o.y1,
      n = o.wide ? 34 : 9,
      w = 22.4,
      x0 = o.wide ? o.x0 : 0;
    for (let i = 0; i < n; i++)
      s +=
        re(x0 + i * w + 1, y - 112, w - 2, 116, c.w) +
        (i % 7 != 2 && i % 7 != 6 ? re(x0 + i * w + 15, y - 112, 14, 66, c.k) : '');
    return (
      ci(o.cx + 20, o.y0 + 62, 48, c.b) +
      st(`M${o.cx - 8} ${o.y0 + 92}V${o.y0 + 30}L${o.cx + 48} ${o.y0 + 16}V${o.y0 + 78}`, c.k, 7) +
      po(
        [
          [o.cx - 11.5, o.y0 + 28],
          [o.cx + 51.5, o.y0 + 12],
          [o.cx + 51.5, o.y0 + 28],
          [o.cx - 11.5, o.y0 + 44],
        ],
        c.k,
      ) +
      ci(o.cx - 20, o.y0 + 94, 15, c.k) +
      ci(o.cx + 36, o.y0 + 80, 15, c.k) +
      re(x0 - 10, y - 120, o.x1 - x0 + 20, 9, c.a) +
      s
    );
  },
  face(c, r, o) {
    const x = o.cx,
      y = o.cy;
    return (
      pa(
        `M${x} ${y - 94}C${x - 74} ${y - 90} ${x - 72} ${y + 30} ${x - 40} ${y + 66}Q${x - 20} ${y + 92} ${x} ${y + 92}Z`,
        c.w,
      ) +
      pa(
        `M${x} ${y - 94}C${x + 74} ${y - 90} ${x + 72} ${y + 30} ${x + 40} ${y + 66}Q${x + 20} ${y + 92} ${x} ${y + 92}Z`,
        c.a,
      ) +
      pa(`M${x - 54} ${y - 22}Q${x - 32} ${y - 42} ${x - 10} ${y - 20}Q${x - 32} ${y - 6} ${x - 54} ${y - 22}Z`, c.k) +
      pa(`M${x + 54} ${y - 22}Q${x + 32} ${y - 42} ${x + 10} ${y - 20}Q${x + 32} ${y - 6} ${x + 54} ${y - 22}Z`, c.w) +
      ci(x - 32, y - 23, 7, c.w) +
      ci(x + 32, y - 23, 7, c.k) +
      po(
        [
          [x, y - 24],
          [x + 15, y + 24],
          [x, y + 27],
        ],
        c.k,
      ) +
      po(
        [
          [x, y - 24],
          [x - 13, y + 24],
          [x, y + 27],
        ],
        c.b,
      ) +
      pa(
        `M${x - 26} ${y + 50}Q${x - 8} ${y + 42} ${x} ${y + 48}Q${x + 8} ${y + 42} ${x + 26} ${y + 50}Q${x} ${y + 66} ${x - 26} ${y + 50}Z`,
        c.k,
      ) +
      pa(`M${x - 34} ${y - 6}q-8 18 0 22q8 -4 0 -22Z`, c.b) +
      (o.wide ? [1, 2, 3].map((i) => st(`M${x - i * 120 - 40} ${o.y0}V${o.y1}`, c.b, 26 - i * 6)).join('') : '')
    );
  },
  gear(c, r, o) {
    const g = (x, y, R, n, f, h) => {
      let p = [];
      for (let i = 0; i < n * 4; i++) {
        const a = (i * Math.PI) / (n * 2),
          d = i % 4 < 2 ? R : R * 0.82;
        p.push([x + Math.cos(a) * d, y + Math.sin(a) * d]);
      }
      return po(p, f) + ci(x, y, R * 0.56, h) + ci(x, y, R * 0.3, f) + ci(x, y, R * 0.12, h);
    };
    return (
      (o.wide ? g(o.cx - 330, o.cy + 40, 120, 18, c.b, c.bg) + g(o.cx - 180, o.cy - 70, 80, 14, c.k, c.bg) : '') +
      g(o.cx - 30, o.cy - 22, 78, 14, c.a, c.bg) +
      g(o.cx + 56, o.cy + 64, 48, 10, c.k, c.bg) +
      g(o.cx + 70, o.cy - 74, 30, 8, c.b, c.bg) +
      man(o.cx - 30, o.cy + 12, 64, c.w)
    );
  },
  wedge(c, r, o) {
    const x = o.cx,
      y = o.cy;
    return (
      (o.wide
        ? po(
            [
              [o.x0, o.y0],
              [o.x0 + 220, o.y0],
              [o.x0, o.y1],
            ],
            c.k,
          )
        : '') +
      ci(x + 28, y + 22, 72, c.k) +
      ci(x + 28, y + 22, 58, c.w) +
      po(
        [
          [x - 104, y - 92],
          [x - 30, y - 118],
          [x + 42, y + 34],
        ],
        c.a,
      ) +
      po(
        [
          [x - 100, y + 74],
          [x - 62, y + 62],
          [x - 54, y + 84],
          [x - 94, y + 98],
        ],
        c.b,
      ) +
      at(re(-60, -5, 120, 10, c.a) + re(-60, 12, 80, 5, c.k) + re(-60, 22, 50, 5, c.k), x + 28, y + 92, 1, -24) +
      at(re(-34, -4, 68, 8, c.k) + re(-34, -14, 40, 4, c.b), x + 52, y - 92, 1, -24)
    );
  },
  hill(c, r, o) {
    let s = ci(o.cx + 30, o.y0 + 64, 40, c.b);
    const f = [c.a, c.k, c.b];
    for (let i = 0; i < 3; i++) {
      const y = o.y1 - 112 + i * 38;
      s += pa(
        `M${o.x0 - 10} ${o.y1 + 4}V${y + 20}C${o.cx - 120} ${y - 44 + i * 30} ${o.cx - 30} ${y + 30} ${o.cx + 20} ${y + 10}S${o.cx + 120} ${y - 26} ${o.x1 + 10} ${y}V${o.y1 + 4}Z`,
        f[i],
      );
      for (let k = 0; k < 7; k++)
        s += st(
          `M${o.x0 - 10} ${y + 32 + k * 9}C${o.cx - 120} ${y - 22 + i * 30 + k * 9} ${o.cx - 30} ${y + 44 + k * 9} ${o.cx + 20} ${y + 24 + k * 9}S${o.cx + 120} ${y - 12 + k * 9} ${o.x1 + 10} ${y + 14 + k * 9}`,
          f[(i + 1) % 3],
          1.2,
          'opacity=".5"',
        );
    }
    return s + man(o.cx - 40, o.y1 - 92, 40, c.k) + man(o.cx - 22, o.y1 - 93, 36, c.w);
  },
  road(c, r, o) {
    const x = o.cx,
      h = o.y0 + (o.y1 - o.y0) * 0.4,
      y = o.y1;
    return (
      ci(x + 36, h - 26, 26, c.b) +
      re(o.x0, h, o.x1 - o.x0, y - h, c.a) +
      po(
        [
          [x - 4, h],
          [x + 4, h],
          [x + 78, y],
          [x - 92, y],
        ],
        c.k,
      ) +
      [0, 1, 2, 3]
        .map((i) => {
          const t = (i + 0.3) / 4,
            u = t * t,
            yy = h + (y - h) * u;
          return po(
            [
              [x - 1 - u * 2, yy],
              [x + 1 + u * 2, yy],
              [x + 2 + u * 5, yy + 6 + 26 * u],
              [x - 3 - u * 6, yy + 6 + 26 * u],
            ],
            c.w,
          );
        })
        .join('') +
      at(
        man(0, 0, 120, c.k) + st('M9 -82L44 -70L52 -88', c.k, 10, 'stroke-linecap="round" stroke-linejoin="round"'),
        x + 62,
        y - 6,
        1,
      ) +
      [-70, -48, -34]
        .map((d, i) =>
          st(`M${x + d} ${h + 40 - i * 14}v${-74 + i * 20}m${-14 + i * 3} 10h${28 - i * 6}`, c.k, 3.4 - i * 0.8),
        )
        .join('')
    );
  },
  cards(c, r, o) {
    const k = (x, y, a, f, p) => at(re(-40, -58, 80, 116, f, 'rx="7"') + p, x, y, 1, a);
    const he = (f, z) =>
        pa(
          `M0 ${22 * z}C${-34 * z} ${-4 * z} ${-18 * z} ${-32 * z} 0 ${-14 * z}C${18 * z} ${-32 * z} ${34 * z} ${-4 * z} 0 ${22 * z}Z`,
          f,
        ),
      sp = (f) => pa('M0 -30C34 2 22 22 4 12L10 28H-10L-4 12C-22 22 -34 2 0 -30Z', f);
    return (
      (o.wide ? k(o.cx - 300, o.cy + 20, -20, c.b, sp(c.k)) + k(o.cx - 190, o.cy - 20, 12, c.k, he(c.a, 1)) : '') +
      k(o.cx - 34, o.cy + 6, -16, c.k, sp(c.w)) +
      k(
        o.cx + 30,
        o.cy,
        9,
        c.w,
        he(c.a, 1.2) +
          `<text x="-32" y="-38" font-size="18" font-weight="700" fill="${c.a}" font-family="Georgia,serif">J</text>` +
          ci(0, -3, 6, c.w) +
          ci(0, -3, 2.6, c.k),
      )
    );
  },
  crowd(c, r, o) {
    let s = '',
      n = 0;
    const hit = o.wide ? -1 : 7 + ((r() * 9) | 0);
    for (let y = o.y0 + 44, j = 0; y < o.y1 + 30; y += 34, j++)
      for (let x = (o.wide ? o.x0 : 0) + (j % 2 ? -4 : 10); x < o.x1 + 10; x += 27) {
        const d = Math.abs(x - o.cx) < 14 && Math.abs(y - o.cy) < 18;
        s += man(x, y, 46, n++ === hit || (o.wide && d) ? c.a : (j + ((x / 27) | 0)) % 3 ? c.k : c.b);
      }
    return s;
  },
  cat(c, r, o) {
    const x = o.cx,
      y = o.cy;
    return (
      (o.wide ? re(o.x0, o.y0, o.x1 - o.x0, o.y1 - o.y0, c.bg) : '') +
      pa(
        `M${x - 76} ${o.y1}C${x - 96} ${y + 10} ${x - 84} ${y - 40} ${x - 72} ${y - 84}L${x - 34} ${y - 54}Q${x} ${y - 64} ${x + 34} ${y - 54}L${x + 72} ${y - 84}C${x + 84} ${y - 40} ${x + 96} ${y + 10} ${x + 76} ${o.y1}Z`,
        c.k,
      ) +
      `<ellipse cx="${x - 32}" cy="${y - 8}" rx="23" ry="17" fill="${c.b}"/><ellipse cx="${x + 32}" cy="${y - 8}" rx="23" ry="17" fill="${c.b}"/><ellipse cx="${x - 32}" cy="${y - 8}" rx="5" ry="16" fill="${c.k}"/><ellipse cx="${x + 32}" cy="${y - 8}" rx="5" ry="16" fill="${c.k}"/>` +
      po(
        [
          [x - 7, y + 22],
          [x + 7, y + 22],
          [x, y + 31],
        ],
        c.a,
      ) +
      st(
        `M${x - 14} ${y + 30}l-50 -6M${x - 14} ${y + 36}l-48 8M${x + 14} ${y + 30}l50 -6M${x + 14} ${y + 36}l48 8`,
        c.w,
        1.8,
      )
    );
  },
};
