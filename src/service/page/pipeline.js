// The second view: one pipeline, its graph, and where its rows are.

import { Rates, Table, badge, brief, count, el, put, rate, section, set, showPhase, since, span, time } from './show.js';
import { Refused, ask, mayFire, of } from './client.js';
import { Buttons } from './actions.js';
import { Graph } from './graph.js';
import { flagsOf } from './trouble.js';

/** What is counted of each entry, and what it means. */
const COUNTS = [
  ['taken', 'in'], ['passed', 'out'], ['made', 'made'], ['filtered', 'filtered'], ['dropped', 'dropped'], ['duplicate', 'duplicates'],
  ['failed', 'errors'], ['late', 'late'], ['dead', 'dead letters'], ['absorbed', 'in closed windows'],
];
const COLUMNS = COUNTS.filter(([key]) => key !== 'made' && key !== 'absorbed');
/** Counts whose growth is shown. */
const GROWING = ['taken', 'passed', 'failed', 'late'];
/** Greatest seconds of the buckets of a latency. */
const BOUNDS = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10, 60];

const source = ({ source, partition }) => (partition ? `${source}, ${partition}` : source);
const yes = (is, text, kind = '') => (is ? { text, class: kind } : '');

/** A list of names and values that is filled again and again. */
class Facts {
  constructor(kind) {
    this.node = el('dl', { class: kind });
  }

  fill(facts) {
    const kept = facts.filter(([, text]) => text !== '' && text != null);
    while (this.node.children.length > kept.length) this.node.lastChild.remove();
    kept.forEach(([name, text, kind, title], at) => {
      const item = this.node.children[at] ?? this.node.appendChild(el('div', {}, el('dt'), el('dd')));
      put(item.firstChild, name);
      put(item.lastChild, text);
      set(item, 'class', kind);
      set(item, 'title', title);
    });
  }
}

/** Below which bound so large a part of all deliveries was. */
const within = ({ counts }, part) => {
  const all = counts.reduce((sum, n) => sum + n, 0);
  let seen = 0;
  const bucket = counts.findIndex(n => (seen += n) >= all * part);
  return !all ? '' : bucket < BOUNDS.length ? `≤ ${BOUNDS[bucket] < 1 ? `${BOUNDS[bucket] * 1000} ms` : `${BOUNDS[bucket]} s`}` : '> 60 s';
};

export class Pipeline {
  constructor(id, { alerts, look }) {
    [this.id, this.alerts, this.again] = [id, alerts, look];
    [this.rates, this.steady, this.selected, this.fileOf] = [new Rates(), new Set(), null, null];
    this.phase = badge();
    this.since = el('span', { class: 'note' });
    this.buttons = new Buttons(id, look);
    this.about = el('p', { class: 'note' });
    this.why = el('pre', { class: 'reason', tabindex: 0, 'aria-label': 'Why', hidden: true });
    this.tiles = new Facts('tiles');
    this.graph = new Graph(name => this.select(name));
    this.panelTitle = el('h3', { class: 'mono' });
    this.panelKind = el('p', { class: 'note' });
    this.panelFacts = new Facts('facts');
    this.panel = el('aside', { class: 'panel', 'aria-label': 'The selected entry', hidden: true },
      el('button', { type: 'button', 'aria-label': 'Close', class: 'close', onclick: () => this.select(null) }, '×'), this.panelTitle, this.panelKind, this.panelFacts.node);
    this.makeSections();
    // Nothing is shown before something is known.
    this.there = el('div', { class: 'pipeline', hidden: true },
      el('div', { class: 'title' }, el('h1', {}, id), this.phase, this.since, this.buttons.node),
      this.about, this.why, this.tiles.node, ...this.sections);
    this.gone = el('p', { role: 'status' });
    this.node = el('div', { class: 'pipeline' }, el('div', {}, el('p', {}, el('a', { href: '#/' }, '← All pipelines')), this.gone), this.there);
    document.title = `${id} · Millstream`;
  }

  makeSections() {
    this.rows = new Table('Rows', ['Entry', 'Kind', 'Reads', 'Rows/s', ...COLUMNS.map(([, label]) => label)], [3, ...COLUMNS.map((_, at) => at + 4)]);
    this.partitions = new Table('Partitions', ['Source', 'Partition', 'Watermark', 'Newest', 'State']);
    this.connections = new Table('Connections', ['Entry', 'State', 'For', 'Last heard']);
    this.firing = new Table('Alerts', ['Alert', 'State', 'Key', 'Severity', 'Since']);
    this.checkpoints = new Facts('facts');
    this.reloads = new Table('Changes to its file', ['When', 'Result', 'Why']);
    this.file = el('pre', { class: 'file', tabindex: 0, 'aria-label': 'The text of its file' });
    this.fileTitle = el('h2', {}, 'File');
    this.of = {
      graph: section('Graph', el('div', { class: 'beside' }, this.graph.node, this.panel)),
      alerts: section('Alerts', this.firing.node),
      rows: section('Rows', this.rows.node),
      partitions: section('Partitions', this.partitions.node),
      connections: section('Connections', this.connections.node),
      checkpoints: section('Checkpoints', this.checkpoints.node),
      reloads: section('Changes to its file', this.reloads.node),
    };
    const file = el('section', {}, this.fileTitle, this.file);
    const { graph, alerts, rows, ...small } = this.of;
    this.sections = [graph, alerts, rows, el('div', { class: 'columns' }, ...Object.values(small)), file];
  }

  async look() {
    let full;
    try {
      full = await ask(of(this.id));
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 404) throw error;
      put(this.gone, `There is no pipeline ${this.id}, or no longer.`);
      this.there.hidden = true;
      return;
    }
    put(this.gone, '');
    this.there.hidden = false;
    this.full = full;
    const now = performance.now();
    for (const { name, rows } of full.entries) for (const key of GROWING) this.rates.look(`${name}.${key}`, rows[key], now);
    this.show();
    await Promise.all([this.lookAtFile(), mayFire(full) && this.alerts.look([this.id])]);
  }

  /** The text of its file, when it is another one. */
  async lookAtFile() {
    const { file, reloads, phase } = this.full;
    const of_ = JSON.stringify([file, reloads.at(-1), phase === 'broken' && this.full.why]);
    if (of_ === this.fileOf) return;
    put(this.fileTitle, file);
    try {
      const text = await ask(`${of(this.id)}/file`);
      this.file.replaceChildren(...text.replace(/\n$/, '').split('\n').map(line => el('span', {}, `${line}\n`)));
    } catch (error) {
      if (!(error instanceof Refused) || error.status === 401) throw error;
      put(this.file, error.message);
    }
    this.fileOf = of_;
  }

  select(name) {
    const chosen = this.selected;
    this.selected = name === chosen ? null : name;
    this.show();
    // What was closed gives the keyboard back to where it was opened.
    if (!name && chosen) this.graph.node.querySelector(`[data-entry="${CSS.escape(chosen)}"]`)?.focus();
  }

  /** How an entry goes: its rate, what is wrong, and how much leaves it by a port. */
  going(name) {
    const get = key => (this.full.running ? this.rates.get(`${name}.${key}`) : 0);
    const port = word => get(word === 'late' ? 'late' : word === 'errors' ? 'failed' : 'passed');
    return { rate: get('taken'), flags: this.flags.get(name) ?? [], port };
  }

  show() {
    const full = this.full;
    showPhase(this.phase, full.phase);
    put(this.since, `for ${since(full.since)}`);
    set(this.since, 'title', `since ${time(full.since)}`);
    this.buttons.show(full.phase);
    put(this.about, full.description ?? '');
    put(this.why, full.why ?? '');
    this.why.hidden = !full.why;
    this.showTiles(full);
    const rising = (name, key) => Boolean(full.running) && this.rates.get(`${name}.${key}`) > 0;
    [this.flags, this.steady] = flagsOf(full, rising, this.steady);
    this.of.graph.hidden = !full.entries.length;
    this.graph.show(full.entries, name => this.going(name), this.selected);
    this.showPanel(full);
    this.showRows(full);
    this.showWhere(full);
    this.showAlerts();
  }

  showTiles(full) {
    const bad = (n, kind) => (n ? kind : null);
    const firing = this.alerts.firing(this.id);
    this.tiles.fill([
      ['Rows/s', rate(full.rate)],
      ['Rows', brief(full.taken), null, count(full.taken)],
      ['Lag', span(full.lag), null, 'How far the watermark is behind the clock'],
      ['Watermark', time(full.watermark)],
      ['Late', brief(full.late), bad(full.late, 'warn'), count(full.late)],
      ['Dead letters', brief(full.dead), bad(full.dead, 'bad'), count(full.dead)],
      ['Connections down', brief(full.disconnected), bad(full.disconnected, 'bad')],
      ['Restarts', brief(full.restarts), bad(full.restarts, 'warn')],
      ['Alerts that fire', firing == null ? '' : brief(firing), bad(firing, 'bad')],
    ]);
  }

  showPanel(full) {
    const entry = full.entries.find(({ name }) => name === this.selected);
    this.panel.hidden = !entry;
    if (!entry) return;
    const { rate: now, flags } = this.going(entry.name);
    const running = full.running;
    const step = running?.steps.find(({ step }) => step === entry.name);
    const sink = running?.sinks.find(({ sink }) => sink === entry.name);
    const partitions = running?.partitions.filter(({ source }) => source === entry.name) ?? [];
    const link = full.connections.find(link => link.entry === entry.name);
    put(this.panelTitle, entry.name);
    put(this.panelKind, `${entry.part}, ${entry.kind}${entry.from.length ? `, reads ${entry.from.join(', ')}` : ''}`);
    const held = step?.held_back_by;
    this.panelFacts.fill([
      ...flags.map(({ text, level }) => [level === 'note' ? 'note' : 'trouble', text, level]),
      ['rows a second', rate(now)],
      ...COUNTS.filter(([key], at) => at < 2 || entry.rows[key]).map(([key, label]) => [label, count(entry.rows[key])]),
      ['watermark', time(step?.watermark)],
      ['held back by', held && `${source(held)}${held.watermark ? `, at ${time(held.watermark)}` : ', which has brought nothing yet'}`],
      ['state', step?.idle ? 'all its inputs are idle' : ''],
      ['rows kept', step && count(step.held)],
      ['keys', step?.keys != null ? count(step.keys) : ''],
      ['bytes, roughly', step?.bytes != null ? count(step.bytes) : ''],
      ['ticks that wait', (step ?? sink) && count((step ?? sink).ticks_waiting)],
      ['rows that wait', sink && count(sink.rows_waiting)],
      ['on their way', sink?.held ? count(sink.held) : ''],
      ['half of deliveries', sink && within(sink.latency, 0.5)],
      ['99 of 100', sink && within(sink.latency, 0.99)],
      ['connection', link && (link.up ? `up for ${since(link.since)}` : `down for ${since(link.since)}`), link && !link.up && 'bad'],
      ...partitions.slice(0, 20).map(p => [p.partition || 'watermark', time(p.watermark) || 'no event yet']),
    ]);
  }

  showRows(full) {
    const marks = { failed: 'bad', late: 'warn', dead: 'bad' };
    this.of.rows.hidden = !full.entries.length;
    this.rows.fill(full.entries.map(({ name, kind, from, rows }) => [
      name, kind, from.join(', '), rate(this.going(name).rate),
      ...COLUMNS.map(([key]) => ({ text: brief(rows[key]), title: count(rows[key]), class: rows[key] ? marks[key] : 'zero' })),
    ]));
  }

  showWhere(full) {
    const running = full.running;
    const state = p => yes(!p.connected, 'not connected', 'bad') || yes(p.ended, 'ended') || yes(p.idle, 'idle') || yes(p.held, 'has no leave to read on') || 'reads';
    this.partitions.fill((running?.partitions ?? []).map(p => [p.source, p.partition, time(p.watermark), time(p.greatest), state(p)]));
    this.of.partitions.hidden = !running?.partitions.length;
    this.connections.fill(full.connections.map(c => [c.entry, c.up ? 'up' : { text: 'down', class: 'bad' }, since(c.since), c.heard ? `${since(c.heard)} ago` : 'never']));
    this.of.connections.hidden = !full.connections.length;
    const made = running?.checkpoints;
    this.checkpoints.fill(made ? [
      ['made by this run', count(made.made)], ['the last one', made.last ? `${since(made.last)} ago` : 'none yet', null, time(made.last)],
      ['took', made.made ? span(made.seconds) : ''], ['rows that had changed', count(made.rows)], ['bytes', count(made.bytes)],
      ['blocks that wait', count(running.blocks_waiting)],
    ] : []);
    this.of.checkpoints.hidden = !made;
    const mark = { applied: '', unchanged: 'zero', kept: 'warn', broken: 'bad' };
    this.reloads.fill([...full.reloads].reverse().map(r => [time(r.at), { text: r.result, class: mark[r.result] }, { text: r.why && r.why === full.why ? 'as said above' : (r.why ?? ''), class: 'pre' }]));
    this.of.reloads.hidden = !full.reloads.length;
  }

  showAlerts() {
    const list = this.alerts.get(this.id) ?? [];
    const key = key => Object.entries(key ?? {}).map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`).join(' ');
    this.firing.fill(list.map(a => [a.title || a.alert, { text: a.state, class: a.state === 'firing' ? 'bad' : 'warn' }, key(a.key), a.severity ?? '', time(a.since)]));
    this.of.alerts.hidden = !list.length;
  }
}
