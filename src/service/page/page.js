// Which view is shown, and when it is looked at again.

import { put, set } from './show.js';
import { Alerts, Refused, Unreachable, keep, token } from './client.js';
import { answered } from './actions.js';
import { List } from './list.js';
import { Pipeline } from './pipeline.js';

/** How often is looked, in milliseconds. */
const EVERY = 1000;
const EVERY_HIDDEN = 10000;
/** The longest wait after failures; each waits twice as long as the one before. */
const EVERY_FAILED_MOST = 30000;

const $ = id => document.getElementById(id);
const alerts = new Alerts();
let view = null;
let timer = null;
let looking = false;
let failures = 0;
let lastLook = null;
/** Somebody has no token and does not want to be asked again. */
let declined = false;

/** The pipeline that the address names; nothing for all of them. */
const named = () => {
  const id = /^#\/pipelines\/(.+)$/.exec(location.hash)?.[1];
  try {
    return id && decodeURIComponent(id);
  } catch {
    return undefined;
  }
};

const open = () => {
  const id = named();
  view = id ? new Pipeline(id, { alerts, look }) : new List({ alerts, look });
  $('view').replaceChildren(view.node);
  scrollTo(0, 0);
  look();
};

const wait = () => {
  const every = document.hidden ? EVERY_HIDDEN : EVERY;
  return Math.max(every, failures && Math.min(EVERY_FAILED_MOST, EVERY * 2 ** failures));
};

/** Looks now, and again and again. */
const look = async () => {
  clearTimeout(timer);
  if (looking || declined) return;
  looking = true;
  const looked = view;
  try {
    await looked.look();
    reached();
  } catch (error) {
    await failed(error);
  } finally {
    looking = false;
    // Whoever has gone on meanwhile waits for something else.
    timer = setTimeout(look, looked === view ? wait() : 0);
  }
};

const reached = () => {
  failures = 0;
  lastLook = new Date();
  put($('reach'), '');
  set(document.body, 'class', null);
  put($('looked'), `as of ${lastLook.toLocaleTimeString()}`);
  tokenButton();
};

const tokenButton = () => {
  $('token-button').hidden = !declined && !token();
  put($('token-button'), declined ? 'Give a token' : 'Forget the token');
};

const failed = async error => {
  failures += 1;
  if (error instanceof Refused && error.status === 401) return login();
  set(document.body, 'class', 'stale');
  const as = lastLook ? ` What is shown is from ${lastLook.toLocaleTimeString()}.` : '';
  // The same sentence while it lasts, so that it is read out once.
  if (error instanceof Unreachable) put($('reach'), `The daemon is not reachable; it is tried again every few seconds.${as}`);
  else if (error instanceof Refused) put($('reach'), `The daemon cannot answer: ${error.message}.${as}`);
  else {
    console.error(error);
    put($('reach'), `The page has a fault, please report it: ${error.message}.${as}`);
  }
};

/** Asks for a token. */
const login = async () => {
  const had = token();
  keep(null);
  $('token').value = '';
  put($('login-why'), had ? 'The token is not known here, or no longer.' : 'Without one nothing is shown here.');
  if (await answered($('login'))) {
    keep($('token').value.trim());
    failures = 0;
  } else {
    declined = true;
    set(document.body, 'class', 'stale');
    put($('reach'), 'Without a token nothing is shown.');
    tokenButton();
  }
  $('token').value = '';
};

addEventListener('hashchange', () => {
  open();
  $('view').focus({ preventScroll: true });
});
document.addEventListener('visibilitychange', () => document.hidden || look());
$('token-button').onclick = () => {
  keep(null);
  location.reload();
};
open();
