// What is asked of the daemon, and with which token.

const KEPT = 'millstream.token';
/** How long an answer is waited for. */
const WITHIN = 15000;
/** How long what is known of a pipeline's alerts holds. */
const ALERTS_HOLD = 5000;
/** Pipelines whose alerts are asked for at a time. */
const ALERTS_AT_ONCE = 8;

/** The daemon answered, but not with what was asked for. */
export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** It did not answer. */
export class Unreachable extends Error {}

export const token = () => sessionStorage.getItem(KEPT);
export const keep = text => (text ? sessionStorage.setItem(KEPT, text) : sessionStorage.removeItem(KEPT));

/** Asks. The answer is what its JSON says, or its text. */
export const ask = async (path, method = 'GET') => {
  const headers = { Accept: 'application/json' };
  if (token()) headers.Authorization = `Bearer ${token()}`;
  const asked = fetch(`/api/v1${path}`, { method, headers, cache: 'no-store', signal: AbortSignal.timeout(WITHIN) });
  const answer = await asked.catch(error => {
    throw new Unreachable(`the daemon did not answer: ${error.message}`);
  });
  const json = /json/.test(answer.headers.get('Content-Type'));
  if (answer.ok) return json ? answer.json() : answer.text();
  const problem = json ? await answer.json() : {};
  throw new Refused(answer.status, problem.detail ?? `${answer.status} ${answer.statusText}`);
};

/** The path of a pipeline. */
export const of = id => `/pipelines/${encodeURIComponent(id)}`;

/** Whether alerts of a pipeline can be asked for: it has some, and the state where they are. */
export const mayFire = ({ alerts, phase }) => alerts > 0 && phase !== 'broken' && phase !== 'starting';

/** What is known of alerts, by pipeline. */
export class Alerts {
  constructor() {
    this.known = new Map();
  }

  /** The alerts of a pipeline; nothing if they are not known. */
  get(id) {
    return this.known.get(id)?.list;
  }

  /** How many of them fire. */
  firing(id) {
    return this.get(id)?.filter(alert => alert.state === 'firing').length;
  }

  /** Asks for those that were looked at longest ago. */
  async look(ids) {
    const at = id => this.known.get(id)?.at ?? 0;
    const old = ids.filter(id => Date.now() - at(id) >= ALERTS_HOLD).sort((a, b) => at(a) - at(b));
    await Promise.all(old.slice(0, ALERTS_AT_ONCE).map(id => this.one(id)));
  }

  async one(id) {
    let list;
    try {
      const answer = await ask(`${of(id)}/alerts`);
      list = Array.isArray(answer) ? answer : (answer.alerts ?? []);
    } catch (error) {
      // Of one that does not run nothing may be known.
      if (!(error instanceof Refused) || error.status === 401) throw error;
    }
    this.known.set(id, { at: Date.now(), list });
  }
}
