// What a pipeline can be told to do.

import { el, put, set } from './show.js';
import { ask, of } from './client.js';

const ACTIONS = {
  start: { label: 'Start', done: 'starts' },
  pause: { label: 'Pause', done: 'reads nothing for now' },
  resume: { label: 'Resume', done: 'reads on' },
  stop: {
    label: 'Stop',
    done: 'stops at a checkpoint',
    why: 'It stops at a checkpoint and loses nothing but time: when it is started again, it goes on from there.',
  },
  drain: {
    label: 'Drain',
    done: 'drains',
    why: 'It reads no more, closes all windows now, delivers everything, and is complete. Windows that are open get no more rows.',
  },
  reload: { label: 'Reload', done: 'its file was read' },
};

/** What makes sense in each phase. */
const IN = {
  broken: ['reload'],
  starting: ['stop', 'reload'],
  running: ['pause', 'stop', 'drain', 'reload'],
  paused: ['resume', 'stop', 'drain', 'reload'],
  stopping: ['start'],
  waiting: ['start', 'stop', 'reload'],
  stopped: ['start', 'reload'],
  complete: ['start', 'reload'],
};

const $ = id => document.getElementById(id);

const hush = () => {
  $('said').removeAttribute('class');
  $('said').replaceChildren();
};

/** Says a sentence below, until something else is done. */
const say = (text, bad = false) => {
  set($('said'), 'class', bad ? 'shown bad' : 'shown');
  $('said').replaceChildren(text, el('button', { type: 'button', 'aria-label': 'Close', onclick: hush }, '×'));
};

addEventListener('pointerdown', event => $('said').contains(event.target) || hush());

/** Opens a dialog; true once it is sent off, false if it is left. */
export const answered = dialog =>
  new Promise(resolve => {
    const form = dialog.querySelector('form');
    let sent = false;
    // Sent to nobody: the page's rules forbid it.
    form.onsubmit = event => {
      event.preventDefault();
      sent = true;
      dialog.close();
    };
    dialog.querySelector('[value=no]').onclick = () => dialog.close();
    dialog.onclose = () => resolve(sent);
    dialog.showModal();
  });

const sure = (id, { label, why }) => {
  put($('confirm-what'), `${label} “${id}”?`);
  put($('confirm-why'), why);
  put($('confirm').querySelector('.main'), label);
  return answered($('confirm'));
};

/** Buttons for a pipeline. `after` is called when something was done. */
export class Buttons {
  constructor(id, after) {
    this.node = el('div', { class: 'actions', role: 'group', 'aria-label': `What ${id} is to do` });
    this.of = {};
    for (const [verb, action] of Object.entries(ACTIONS)) {
      const act = () => this.act(id, verb, action, after);
      this.of[verb] = el('button', { type: 'button', 'data-verb': verb, 'aria-label': `${action.label} ${id}`, onclick: act }, action.label);
      this.node.append(this.of[verb]);
    }
  }

  show(phase) {
    for (const [verb, button] of Object.entries(this.of)) {
      const hidden = !IN[phase]?.includes(verb);
      // Whoever has pressed it by the keyboard stays where they are.
      if (hidden && button === document.activeElement) this.next(phase)?.focus();
      button.hidden = hidden;
    }
  }

  next(phase) {
    const button = this.of[IN[phase]?.[0]];
    if (button) button.hidden = false;
    return button;
  }

  async act(id, verb, action, after) {
    if (action.why && !(await sure(id, action))) return;
    const button = this.of[verb];
    button.disabled = true;
    try {
      const done = await ask(`${of(id)}/${verb}`, 'POST');
      say(`${id}: ${action.done}${done.result ? `, ${done.result}` : ''}.`);
    } catch (error) {
      say(`${id}: ${error.message}`, true);
    } finally {
      button.disabled = false;
      after();
    }
  }
}
