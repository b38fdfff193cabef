// What is wrong with the entries of a pipeline, or only slow: each flag has a text and a level, `bad`, `warn` or `note`.

import { brief } from './show.js';

/** A watermark so many seconds behind the foremost partition is held back. */
const BEHIND = 60;

const of = (full, add, rising) => {
  const failed = full.phase === 'waiting' && /^(?:source|step|sink) `([^`]+)`/.exec(full.why ?? '');
  if (failed) add(failed[1], 'bad', 'failed');
  for (const { entry, up } of full.connections) if (!up) add(entry, 'bad', 'disconnected');
  for (const { name, rows } of full.entries) {
    if (rows.failed) add(name, rising(name, 'failed') ? 'bad' : 'warn', `${brief(rows.failed)} errors`);
    if (rows.late) add(name, rising(name, 'late') ? 'warn' : 'note', `${brief(rows.late)} late`);
  }
  const running = full.running;
  if (!running) return;
  for (const p of running.partitions) {
    if (!p.connected) add(p.source, 'bad', 'not connected');
    else if (p.idle) add(p.source, 'note', 'idle');
    else if (p.held) add(p.source, 'wait', 'held back');
  }
  const foremost = Math.max(...running.partitions.filter(p => p.watermark).map(p => Date.parse(p.watermark)));
  for (const { step, watermark, held_back_by: by } of running.steps) {
    if (by && watermark && foremost - Date.parse(watermark) > BEHIND * 1000) add(step, 'warn', `waits for ${by.partition || by.source}`);
  }
  for (const { sink, full: isFull, rows_waiting: waiting } of running.sinks) {
    if (isFull) add(sink, 'warn', 'full');
    if (waiting) add(sink, 'wait', `${brief(waiting)} rows wait`);
  }
};

/**
 * Flags by entry. What only waits is shown when it did so at the look before, too: `steady` is what waited then, and comes
 * back as what waits now. `rising` says whether a count grows.
 */
export const flagsOf = (full, rising, steady) => {
  const [flags, waiting] = [new Map(), new Set()];
  const add = (name, level, text) => {
    const waits = `${name} ${text.replace(/^\S*\d\S* /, '')}`;
    if (level === 'wait') waiting.add(waits);
    if (level === 'wait' && !steady.has(waits)) return;
    const list = flags.get(name) ?? [];
    if (!list.some(flag => flag.text === text)) list.push({ level: level === 'wait' ? 'note' : level, text });
    flags.set(name, list);
  };
  of(full, add, rising);
  return [flags, waiting];
};
