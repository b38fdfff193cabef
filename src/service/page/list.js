// The first view: all pipelines in a table.

import { badge, brief, count, el, put, rate, set, showPhase, since, span, time } from './show.js';
import { ask, mayFire } from './client.js';
import { Buttons } from './actions.js';

const PHASES = ['broken', 'waiting', 'starting', 'running', 'paused', 'stopping', 'stopped', 'complete'];
/** Reasons are open at first, unless there are more than so many. */
const OPEN_REASONS = 3;

/** Columns: a name, what is sorted by, how it is written, and whether a number is bad. */
const COLUMNS = [
  { key: 'id', label: 'Pipeline' },
  { key: 'phase', label: 'State', by: p => PHASES.indexOf(p.phase) },
  { key: 'rate', label: 'Rows/s', by: p => -p.rate, show: p => rate(p.rate) },
  { key: 'taken', label: 'Rows', by: p => -p.taken, show: p => brief(p.taken), full: p => count(p.taken) },
  { key: 'lag', label: 'Lag', by: p => -(p.lag ?? -Infinity), show: p => span(p.lag), full: p => p.watermark && `watermark ${time(p.watermark)}` },
  { key: 'late', label: 'Late', by: p => -p.late, show: p => brief(p.late), full: p => count(p.late), mark: 'warn' },
  { key: 'dead', label: 'Dead letters', by: p => -p.dead, show: p => brief(p.dead), full: p => count(p.dead), mark: 'bad' },
  { key: 'disconnected', label: 'Down', by: p => -p.disconnected, show: p => brief(p.disconnected), title: 'Connections that are down', mark: 'bad' },
  { key: 'restarts', label: 'Restarts', by: p => -p.restarts, show: p => brief(p.restarts), title: 'Starts after failures', mark: 'warn' },
  { key: 'firing', label: 'Alerts', by: p => -(p.firing ?? -1), show: p => (p.firing == null ? '' : brief(p.firing)), title: 'Alerts that fire', mark: 'bad' },
];
const NUMBERS = COLUMNS.slice(2);

/** One pipeline: a row, and below it why it does not run. */
class Entry {
  constructor(id, look, open) {
    this.phase = badge();
    this.since = el('small');
    this.about = el('small', { class: 'about' });
    this.cells = NUMBERS.map(({ label }) => el('td', { class: 'n', 'data-label': label }));
    this.buttons = new Buttons(id, look);
    const name = el('th', { scope: 'row' }, el('a', { href: `#/pipelines/${encodeURIComponent(id)}` }, id), this.about);
    const row = el('tr', {}, name, el('td', { class: 'phase' }, this.phase, this.since), ...this.cells, el('td', { class: 'do' }, this.buttons.node));
    this.first = el('span', { class: 'first' });
    this.text = el('pre', { tabindex: 0, 'aria-label': `Why ${id} does not run` });
    this.details = el('details', { open }, el('summary', {}, this.first, el('span', { class: 'rest' }, 'Why it does not run')), this.text);
    this.why = el('tr', { class: 'why', hidden: true }, el('td', { colspan: COLUMNS.length + 1 }, this.details));
    this.node = el('tbody', { 'data-id': id }, row, this.why);
  }

  show(pipeline) {
    showPhase(this.phase, pipeline.phase);
    put(this.since, since(pipeline.since));
    set(this.since, 'title', `since ${time(pipeline.since)}`);
    put(this.about, pipeline.description ?? '');
    set(this.about, 'title', pipeline.description);
    NUMBERS.forEach(({ key, show, full, mark }, at) => {
      const value = pipeline[key];
      const kind = !value ? ' zero' : mark ? ` ${mark}` : '';
      put(this.cells[at], show(pipeline));
      set(this.cells[at], 'class', `n${value == null ? ' none' : kind}`);
      set(this.cells[at], 'title', full?.(pipeline));
    });
    this.buttons.show(pipeline.phase);
    const why = pipeline.why ?? '';
    const [first] = why.split('\n', 1);
    put(this.first, first);
    // What is one line is all of it.
    put(this.text, first === why ? '' : why);
    set(this.details, 'class', first === why ? 'line' : null);
    this.why.hidden = !why;
  }
}

export class List {
  constructor({ alerts, look }) {
    [this.alerts, this.lookAgain] = [alerts, look];
    this.entries = new Map();
    [this.sorted, this.turned, this.phase, this.all] = ['id', false, '', null];
    this.search = el('input', { type: 'search', id: 'filter', placeholder: 'Filter by name', autocomplete: 'off', spellcheck: 'false', oninput: () => this.show() });
    this.chips = el('div', { class: 'chips', role: 'group', 'aria-label': 'Only those that are' });
    this.shown = el('p', { class: 'note', role: 'status' });
    this.heads = COLUMNS.map(column => this.head(column));
    this.table = el('table', { class: 'pipelines' },
      el('caption', { class: 'unseen' }, 'All pipelines'),
      el('thead', {}, el('tr', {}, ...this.heads, el('td', {}, ''))));
    // Nothing is shown before something is known.
    this.node = el('div', { class: 'list', hidden: true },
      el('h1', { class: 'unseen' }, 'Pipelines'),
      el('div', { class: 'tools' }, el('label', { for: 'filter', class: 'unseen' }, 'Filter'), this.search, this.chips),
      el('div', { class: 'wide' }, this.table),
      this.shown);
  }

  head({ key, label, title }) {
    const sort = () => {
      this.turned = this.sorted === key && !this.turned;
      this.sorted = key;
      this.show(true);
    };
    return el('th', { scope: 'col', title }, el('button', { type: 'button', onclick: sort }, label));
  }

  async look() {
    this.all = await ask('/pipelines');
    for (const pipeline of this.all) pipeline.firing = pipeline.alerts ? this.alerts.firing(pipeline.id) : null;
    this.show();
    await this.alerts.look(this.all.filter(mayFire).map(p => p.id));
  }

  show(again = false) {
    if (!this.all) return;
    this.node.hidden = false;
    this.showChips();
    const text = this.search.value.trim().toLowerCase();
    const found = p => `${p.id} ${p.name ?? ''} ${p.description ?? ''}`.toLowerCase().includes(text);
    const shown = this.all.filter(p => found(p) && (!this.phase || p.phase === this.phase));
    this.showRows(shown, again);
    this.heads.forEach((head, at) => {
      const is = COLUMNS[at].key === this.sorted;
      // Numbers begin with the greatest.
      set(head, 'aria-sort', is && (this.turned === at >= 2 ? 'ascending' : 'descending'));
    });
    put(this.shown, this.note(shown.length));
    const ill = this.all.filter(p => p.phase === 'broken' || p.phase === 'waiting').length;
    document.title = ill ? `(${ill}) Millstream` : 'Millstream';
  }

  note(shown) {
    if (!this.all.length) return 'There are no pipelines yet: put a `.yaml` file into the directory that is served.';
    if (!shown) return 'No pipeline is like that.';
    return shown < this.all.length ? `${shown} of ${this.all.length} pipelines.` : '';
  }

  showRows(shown, again) {
    const by = COLUMNS.find(column => column.key === this.sorted).by;
    const compare = (a, b) => (by ? by(a) - by(b) || 0 : 0) || a.id.localeCompare(b.id, 'en', { numeric: true });
    shown.sort((a, b) => (this.turned ? -compare(a, b) : compare(a, b)));
    const open = this.all.filter(p => p.why).length <= OPEN_REASONS;
    const wanted = new Map(shown.map(p => [p.id, p]));
    for (const [id, entry] of this.entries) {
      if (wanted.has(id)) continue;
      entry.node.remove();
      if (!this.all.some(p => p.id === id)) this.entries.delete(id);
    }
    for (const pipeline of shown) {
      if (!this.entries.has(pipeline.id)) this.entries.set(pipeline.id, new Entry(pipeline.id, this.lookAgain, open));
      this.entries.get(pipeline.id).show(pipeline);
    }
    // Rows do not move under somebody's hand.
    const inUse = !again && (this.table.matches(':hover') || this.table.contains(document.activeElement));
    const nodes = shown.map(p => this.entries.get(p.id).node);
    if (inUse) nodes.filter(node => !node.isConnected).forEach(node => this.table.append(node));
    else if (nodes.some((node, at) => this.table.tBodies[at] !== node)) this.table.append(...nodes);
  }

  showChips() {
    const phases = ['', ...PHASES.filter(phase => phase === this.phase || this.all.some(p => p.phase === phase))];
    const chip = phase => {
      const choose = () => {
        this.phase = phase;
        this.show(true);
      };
      return el('button', { type: 'button', 'data-phase': phase, class: phase, onclick: choose });
    };
    const have = [...this.chips.children].map(node => node.dataset.phase);
    for (const node of [...this.chips.children]) if (!phases.includes(node.dataset.phase)) node.remove();
    phases.forEach((phase, at) => have.includes(phase) || this.chips.insertBefore(chip(phase), this.chips.children[at] ?? null));
    for (const node of this.chips.children) {
      const phase = node.dataset.phase;
      const many = phase ? this.all.filter(p => p.phase === phase).length : this.all.length;
      put(node, `${phase || 'all'} ${many}`);
      set(node, 'aria-pressed', String(phase === this.phase));
    }
  }
}
