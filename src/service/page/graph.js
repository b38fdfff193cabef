// One pipeline's graph: drawn once, and then told how it goes.

import { brief, el, put, rate, set, svg } from './show.js';
import { layout } from './layout.js';

/** The size of an entry, and the room between two layers and between two entries of one. */
const [WIDE, HIGH] = [184, 84];
const [BETWEEN, APART] = [72, 22];
/** The room that a line needs that goes by. */
const PAST = 26;
const MARGIN = 8;
/** The most letters of a name that fit, of its flags, and of a port beside its line. */
const [NAME, FLAGS, PORT] = [20, 24, 9];
/** The least distance of two lines at an entry. */
const LINES = 14;

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** What went in and out, in few words. */
const counts = ({ part, rows }) =>
  part === 'source' ? `read ${brief(rows.taken)}` : part === 'sink' ? `took ${brief(rows.taken)}` : `in ${brief(rows.taken)}  out ${brief(rows.passed)}`;

const arrow = (id, kind) =>
  svg('marker', { id, class: kind, viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, markerUnits: 'userSpaceOnUse', orient: 'auto' }, svg('path', { d: 'M0 0L8 4L0 8Z' }));

export class Graph {
  /** `choose` is called with the name of an entry that somebody selects. */
  constructor(choose) {
    this.choose = choose;
    this.node = el('div', { class: 'graph wide', role: 'region', 'aria-label': 'Graph', tabindex: 0 });
    this.drawn = '';
  }

  /** Draws what is new, and shows how it goes: `of` tells an entry's `rate`, `flags`, and the rate of a port. */
  show(entries, of, selected) {
    if (!entries.length) return this.clear();
    const room = this.node.parentNode.clientWidth;
    const sideways = this.sideways(entries, room);
    const drawn = JSON.stringify([sideways, entries.map(({ name, kind, from }) => [name, kind, from])]);
    if (drawn !== this.drawn) this.draw(entries, sideways);
    set(this.node.parentNode, 'class', sideways ? 'beside sideways' : 'beside');
    this.drawn = drawn;
    for (const entry of entries) this.showEntry(entry, of(entry.name), selected === entry.name);
    for (const line of this.lines) {
      const flow = of(entries[line.from].name).port(line.port);
      set(line.path, 'class', `line ${line.kind}${flow >= 0.05 ? ' flows' : ''}`);
      line.path.style.strokeWidth = 1.25 + Math.min(3, Math.log10(1 + flow) * 0.6);
    }
  }

  clear() {
    this.node.replaceChildren();
    this.drawn = '';
  }

  /** From left to right where there is room for that, else downwards. */
  sideways(entries, room) {
    const { layers } = layout(entries, 1, 1);
    return layers * (WIDE + BETWEEN) - BETWEEN + 2 * MARGIN <= room;
  }

  draw(entries, sideways) {
    const found = layout(entries, (sideways ? HIGH : WIDE) + APART, PAST);
    const [deep, broad] = sideways ? [WIDE, HIGH] : [HIGH, WIDE];
    const length = found.layers * (deep + BETWEEN) - BETWEEN + 2 * MARGIN;
    const breadth = found.extent + broad + 2 * MARGIN;
    // A place along the layers and one across them, as a point of the drawing.
    const at = (along, across) => (sideways ? [along, across] : [across, along]).map(Math.round);
    const along = layer => MARGIN + layer * (deep + BETWEEN);
    const across = point => MARGIN + broad / 2 + point.at;
    const [width, height] = sideways ? [length, breadth] : [breadth, length];
    this.lines = found.lines.map(line => this.line(line, found.lines, { at, along, across, deep, broad, sideways }));
    this.boxes = new Map();
    const boxes = entries.map((entry, index) => {
      const point = found.points[index];
      const [x, y] = at(along(point.layer), across(point) - broad / 2);
      return this.box(entry, x, y);
    });
    const drawing = svg('svg', { width: Math.ceil(width), height: Math.ceil(height), viewBox: `0 0 ${Math.ceil(width)} ${Math.ceil(height)}`, role: 'group', 'aria-label': 'Entries and what they read' },
      svg('defs', {}, arrow('arrow', 'head'), arrow('arrow-aside', 'head aside')),
      ...this.lines.flatMap(line => [line.path, ...line.label]), ...boxes);
    this.node.replaceChildren(drawing);
    // Where it is wider than the screen, its middle is seen first.
    this.node.scrollLeft = (this.node.scrollWidth - this.node.clientWidth) / 2;
  }

  /** A line, bent between the layers and straight through those that it only passes. */
  line(line, all, { at, along, across, deep, broad, sideways }) {
    const aside = line.port === 'late' || line.port === 'errors';
    const shift = (others, key) => {
      const sorted = others.sort((a, b) => key(a) - key(b));
      const room = Math.min(LINES, (broad - 2 * LINES) / Math.max(1, sorted.length - 1));
      return (sorted.indexOf(line) - (sorted.length - 1) / 2) * room;
    };
    const out = shift(all.filter(other => other.from === line.from), other => other.points[1].at);
    const into = shift(all.filter(other => other.to === line.to), other => other.points.at(-2).at);
    const last = line.points.length - 1;
    let path = '';
    line.points.forEach((point, index) => {
      const here = across(point) + (index === 0 ? out : index === last ? into : 0);
      const [start, end] = [along(point.layer), along(point.layer) + deep];
      if (index > 0) {
        const before = line.points[index - 1];
        const from = across(before) + (index === 1 ? out : 0);
        const stop = index === last ? start - 1 : start;
        const middle = (along(before.layer) + deep + stop) / 2;
        path += `C${[at(middle, from), at(middle, here), at(stop, here)].join(' ')}`;
        if (index < last) path += `L${at(end, here)}`;
      } else path = `M${at(end, here)}`;
    });
    const kind = aside ? 'aside' : '';
    const [x, y] = at(along(line.points[last].layer) - 10, across(line.points[last]) + into);
    const named = all.filter(other => other.to === line.to && other.port).sort((a, b) => a.points.at(-2).at - b.points.at(-2).at);
    // Beside the line, on the side that it does not come from; of several lines the outer ones, outside.
    const from = across(line.points[last - 1]) + (last === 1 ? out : 0);
    const after = named.length > 1 ? line === named.at(-1) : from < across(line.points[last]) + into;
    const place = sideways ? { x, y: y + (after ? 15 : -6), 'text-anchor': 'end' } : { x: x + (after ? 7 : -7), y: y - 4, 'text-anchor': after ? 'start' : 'end' };
    const outer = line === named[0] || line === named.at(-1);
    const label = outer ? [svg('text', { class: `port ${kind}`, ...place }, shortened(`.${line.port}`, PORT))] : [];
    const title = svg('title', {}, `${line.name} to ${line.reader}`);
    return { ...line, kind, label, path: svg('path', { class: `line ${kind}`, d: path, 'marker-end': `url(#arrow${aside ? '-aside' : ''})` }, title) };
  }

  box(entry, x, y) {
    const choose = () => this.choose(entry.name);
    const key = event => {
      if (event.key !== 'Enter' && event.key !== ' ') return;
      event.preventDefault();
      choose();
    };
    const text = (kind, top, attributes = {}) => svg('text', { class: kind, x: 14, y: top, ...attributes });
    const box = {
      kind: text('small soft', 41),
      rate: text('small strong', 41, { x: WIDE - 12, 'text-anchor': 'end' }),
      counts: text('small', 58),
      flags: text('small flag', 75),
    };
    const name = text('name', 23);
    name.textContent = shortened(entry.name, NAME);
    box.kind.textContent = entry.kind;
    box.node = svg('g', { class: `entry ${entry.part}`, transform: `translate(${x} ${y})`, role: 'button', tabindex: 0, 'data-entry': entry.name, onclick: choose, onkeydown: key },
      svg('title', {}, entry.name),
      svg('rect', { class: 'box', width: WIDE, height: HIGH, rx: entry.part === 'step' ? 6 : 18 }),
      name, box.kind, box.rate, box.counts, box.flags);
    this.boxes.set(entry.name, box);
    return box.node;
  }

  showEntry(entry, { rate: now, flags }, selected) {
    const box = this.boxes.get(entry.name);
    const worst = ['bad', 'warn', 'note'].find(level => flags.some(flag => flag.level === level)) ?? '';
    const said = flags.map(flag => flag.text).join(', ');
    put(box.rate, `${rate(now)}/s`);
    put(box.counts, counts(entry));
    put(box.flags, shortened(said, FLAGS));
    set(box.node, 'class', `entry ${entry.part} ${worst}${selected ? ' selected' : ''}`);
    set(box.node, 'aria-pressed', String(selected));
    set(box.node, 'aria-label', `${entry.name}, ${entry.kind}, ${rate(now)} rows a second, ${counts(entry)}${said && `, ${said}`}`);
  }
}
