// How things are written: elements, numbers, times, states.

const made = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
};

/** An element of HTML. Texts are texts and never markup: what pipelines bring cannot become part of the page. */
export const el = (name, attributes = {}, ...children) => made(document.createElement(name), attributes, children);

/** An element of SVG. */
export const svg = (name, attributes = {}, ...children) =>
  made(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);

/** Writes a text where it is another one: what is selected stays so, and nothing is read out twice. */
export const put = (node, text) => {
  if (node.textContent !== String(text)) node.textContent = text;
};

/** The same of an attribute; nothing takes it away. */
export const set = (node, name, value) => {
  if (value == null || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
};

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** How many, to the last one. */
export const count = n => whole.format(n);

/** How many, in little room. */
export const brief = n => (n < 10000 ? whole : short).format(n);

/** How many a second. */
export const rate = n => (n < 0.05 ? '0' : n < 100 ? tenth.format(n) : brief(n));

/** How long, in its two greatest units. */
export const span = seconds => {
  if (seconds == null) return '';
  if (seconds < 0) return `−${span(-seconds)}`;
  if (seconds < 10) return `${tenth.format(seconds)} s`;
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const at = units.findIndex(([, size]) => seconds >= size);
  const [[unit, size], next] = [units[at], units[at + 1]];
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0;
  return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${next[0]}` : ''}`;
};

/** How long ago. */
export const since = instant => (instant ? span(Math.max(0, Math.round((Date.now() - Date.parse(instant)) / 1000))) : '');

/** An instant, to the second. */
export const time = instant => (instant ? instant.replace('T', ' ').replace(/(\.\d+)?Z$/, 'Z') : '');

/** What a pipeline does, as a coloured word. */
export const badge = () => el('span', { class: 'badge' });
export const showPhase = (node, phase) => {
  put(node, phase);
  set(node, 'class', `badge ${phase}`);
};

/** Rows of a table that are shown at most. */
const ROWS = 500;

/** A table that is filled again and again. A cell is a text, or `{ text, class, title }`; `numbers` are columns to the right. */
export class Table {
  constructor(caption, heads, numbers = []) {
    this.numbers = new Set(numbers);
    const head = (text, at) => el('th', { scope: 'col', class: this.numbers.has(at) && 'n' }, text);
    this.body = el('tbody');
    const table = el('table', {}, el('caption', { class: 'unseen' }, caption), el('thead', {}, el('tr', {}, ...heads.map(head))), this.body);
    this.node = el('div', { class: 'wide', role: 'region', 'aria-label': caption, tabindex: 0 }, table);
  }

  fill(all) {
    const rows = all.length > ROWS ? [...all.slice(0, ROWS), [`and ${count(all.length - ROWS)} more`]] : all;
    while (this.body.rows.length > rows.length) this.body.lastChild.remove();
    rows.forEach((cells, index) => {
      const row = this.body.rows[index] ?? this.body.appendChild(el('tr', {}, ...rows[0].map((_, at) => (at ? el('td') : el('th', { scope: 'row' })))));
      [...row.cells].forEach((_, at) => {
        const cell = cells[at] ?? '';
        const { text, class: kind = '', title } = typeof cell === 'object' ? cell : { text: cell };
        put(row.cells[at], text);
        set(row.cells[at], 'class', `${this.numbers.has(at) ? 'n ' : ''}${kind}`.trim() || null);
        set(row.cells[at], 'title', title);
      });
    });
  }
}

/** A part of the page with a heading. */
export const section = (title, ...children) => el('section', {}, el('h2', {}, title), ...children);

/** Growth over the last seconds, of counts that are looked at now and then. */
export class Rates {
  constructor(over = 10000) {
    this.over = over;
    this.of = new Map();
  }

  look(key, value, now) {
    let seen = this.of.get(key) ?? [];
    // A run that begins anew counts from the start.
    if (seen.length && seen.at(-1).value > value) seen = [];
    seen.push({ value, now });
    while (seen.length > 2 && now - seen[1].now >= this.over) seen.shift();
    this.of.set(key, seen);
  }

  get(key) {
    const seen = this.of.get(key);
    if (!seen || seen.length < 2) return 0;
    const [first, last] = [seen[0], seen.at(-1)];
    return ((last.value - first.value) * 1000) / (last.now - first.now);
  }
}
