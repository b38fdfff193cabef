//! Sessions: runs of a key's events with at most `gap` from one to the next.
//!
//! A row first joins what it touches, then lateness is judged: a late row that bridges two sessions is not late if the
//! session it makes is not. Each session has one timer, moved on lazily: extending a session touches no queue
//! ([`closing`]).
//!
//! Which sessions a row joins is told in [`super::joining`]. Early rows are as in [`super::early`]: one makes its start
//! known, so that if the session then begins earlier or joins another, the next row names that start in
//! `window_replaces`. The early row of a session that was closed and is open again has the revision that its next row will
//! have.

mod closing;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::base::time::TimeSpan;
use crate::data::layout::FieldId;
use crate::engine::ops::{Reached, TickInput};
use crate::engine::state::{Decoded, Decoder, Load, StateError, StateRows, encode_to};

use super::WindowSpec;
use super::accumulate::{Accumulators, Stored};
use super::decoded::{decoder, rows_of};
use super::early::Points;
use super::emit::{Cause, Emitter};
use super::frozen::Encode;
use super::joining::{Reach, Session};
use super::keys::{Found, Key, KeyColumns, Keys};
use closing::Advancing;

/// A session as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredSession<V = Vec<Stored>> {
    start: i64,
    last: i64,
    closed: bool,
    emitted: u32,
    known_start: bool,
    #[serde(default = "never")]
    early: i64,
    replaces: Vec<i64>,
    values: V,
}

impl Encode<KeySessions> for Accumulators {
    fn encode(&self, _: u32, sessions: &KeySessions, out: &mut Vec<u8>) -> Result<(), StateError> {
        let store = |s: &Session| StoredSession {
            start: s.start,
            last: s.last,
            closed: s.closed,
            emitted: s.emitted,
            known_start: s.known_start,
            early: s.early,
            replaces: s.replaces.to_vec(),
            values: self.store(s.slot),
        };
        encode_to(sessions.iter().map(store).collect::<SmallVec<[_; 1]>>().as_slice(), out)
    }
}

/// The point of an early row that is not to leave.
fn never() -> i64 {
    i64::MAX
}

/// The sessions of a key by start; none begins before the last event of the one before it.
type KeySessions = SmallVec<[Session; 1]>;

/// The state of a session window step.
pub(super) struct Sessions {
    gap: i64,
    /// The longest a session may be.
    max: i64,
    allow_late: i64,
    points: Option<Points>,
    /// Points at which early rows may leave, and of which key.
    early: BinaryHeap<Reverse<(i64, u32)>>,
    key_fields: Vec<FieldId>,
    accumulators: Accumulators,
    keys: Keys<KeySessions>,
    /// Timers: when, and of which key.
    timers: BinaryHeap<Reverse<(i64, u32)>>,
    watermark: i64,
    /// Rows resolved to slots and not yet added.
    pending: Vec<(u32, u32)>,
    advancing: Option<Advancing>,
    reached: Reached,
}

impl Sessions {
    pub const DECODER: Decoder = decoder::<Vec<StoredSession>>;

    pub fn new(spec: &WindowSpec, gap: TimeSpan, max: Option<TimeSpan>, accumulators: Accumulators) -> Self {
        Sessions {
            gap: gap.0.max(0),
            max: max.map_or(i64::MAX, |max| max.0),
            allow_late: spec.allow_late.0,
            points: spec.early,
            early: BinaryHeap::new(),
            key_fields: spec.key.clone(),
            accumulators,
            keys: Keys::unordered(spec.track),
            timers: BinaryHeap::new(),
            watermark: i64::MIN,
            pending: Vec::new(),
            advancing: None,
            reached: Reached::default(),
        }
    }

    /// False if there is more to leave.
    pub fn tick(&mut self, input: &TickInput<'_>, emitter: &mut Emitter) -> bool {
        if !self.go_on(emitter) {
            return false;
        }
        let columns = KeyColumns::of(input.batch, &self.key_fields);
        self.watermark = self.watermark.max(input.watermarks.start.0);
        let (reached, all) = (std::mem::take(&mut self.reached), &input.watermarks.steps);
        let mut steps = all.get(reached.step..).unwrap_or_default().iter().peekable();
        for (index, row) in (reached.row..).zip(input.rows.get(reached.row..).unwrap_or_default()) {
            let at = *row as usize;
            let ordinal = input.batch.ordinals.get(at).copied().unwrap_or(0);
            while let Some((step, watermark)) = steps.next_if(|(step, _)| *step < ordinal) {
                if !self.advance(*step, watermark.0, input, emitter) {
                    self.reached = Reached { row: index, step: all.len() - steps.len() };
                    return false;
                }
            }
            let Some(time) = input.batch.times.get(at).map(|t| t.0) else { continue };
            let hash = input.hashes.get(at).copied().unwrap_or(0);
            let cause = Cause { ordinal, turn: input.turn_of(*row) };
            let known = self.keys.find(&columns, at, hash);
            if self.accumulators.folds() {
                // What came before is in its slot, so that this row's folds go on from there.
                self.flush(input);
                if !self.prepare(cause, *row, time, known, input, emitter) {
                    continue;
                }
            }
            self.row(cause, *row, time, known, hash, &columns, input, emitter);
        }
        while let Some((step, watermark)) = steps.next() {
            if !self.advance(*step, watermark.0, input, emitter) {
                self.reached = Reached { row: input.rows.len(), step: all.len() - steps.len() };
                return false;
            }
        }
        self.flush(input);
        true
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one row on the hot path")]
    fn row(
        &mut self,
        cause: Cause,
        row: u32,
        time: i64,
        known: Option<u32>,
        hash: u64,
        columns: &KeyColumns<'_>,
        input: &TickInput<'_>,
        emitter: &mut Emitter,
    ) {
        let (gap, reach) = (self.gap, Reach { gap: self.gap, max: self.max });
        // Mostly: the row lies in the key's newest session, or extends it, and touches no other.
        if let Some(sessions) = known.and_then(|id| self.keys.change(id, &self.accumulators)).map(|e| &mut e.data) {
            let others = sessions.len() > 1;
            if let Some(session) = sessions.last_mut()
                && !session.closed
                && (time >= session.start || !others)
                && reach.takes(session, time)
            {
                session.last = session.last.max(time);
                if time < session.start {
                    session.begin_at(time);
                }
                self.pending.push((row, session.slot));
                if let (Some(points), Some(id)) = (self.points, known)
                    && let Some(point) = session.wait(points, self.watermark, gap)
                {
                    self.early.push(Reverse((point, id)));
                }
                return;
            }
        }
        let sessions = known.and_then(|id| self.keys.get(id)).map_or(&[][..], |e| &e.data);
        let joined = sessions.get(reach.joined(sessions, time)).unwrap_or_default();
        let last = joined.last().map_or(time, |s| s.last.max(time));
        let end = last.saturating_add(gap);
        if end.saturating_add(self.allow_late) <= self.watermark {
            emitter.late(cause, row);
            return;
        }
        self.flush(input);
        let id = known.unwrap_or_else(|| self.keys.find_or_add(columns, row as usize, hash));
        let at = self.join(id, time);
        let Some(session) = self.keys.change(id, &self.accumulators).and_then(|e| e.data.get_mut(at)) else { return };
        if end > self.watermark {
            self.pending.push((row, session.slot));
            session.closed = false;
            if session.timer > end {
                session.timer = end;
                self.timers.push(Reverse((end, id)));
            }
            if let Some(point) = self.points.and_then(|points| session.wait(points, self.watermark, gap)) {
                self.early.push(Reverse((point, id)));
            }
        } else {
            let slot = session.slot;
            self.accumulators.add(input.batch, &[(row, slot)]);
            self.close(cause, id, at, emitter);
        }
    }

    /// Joins the sessions of the key that an event at `time` joins, and the event's own time: the session's index.
    fn join(&mut self, id: u32, time: i64) -> usize {
        let reach = Reach { gap: self.gap, max: self.max };
        let Some(entry) = self.keys.change(id, &self.accumulators) else { return 0 };
        let sessions = &mut entry.data;
        let Range { start: first, end: beyond } = reach.joined(sessions, time);
        if first >= beyond {
            let slot = self.accumulators.allocate();
            let replaces = SmallVec::new();
            let session = Session {
                start: time,
                last: time,
                slot,
                timer: i64::MAX,
                closed: false,
                emitted: 0,
                known_start: false,
                early: i64::MAX,
                replaces,
            };
            sessions.insert(first, session);
            return first;
        }
        let taken: SmallVec<[Session; 2]> = sessions.drain(first + 1..beyond).collect();
        let Some(joined) = sessions.get_mut(first) else { return first };
        for other in taken {
            self.accumulators.merge(joined.slot, other.slot);
            if other.known_start {
                joined.replaces.push(other.start);
            }
            joined.replaces.extend(other.replaces);
            joined.last = joined.last.max(other.last);
            joined.emitted = joined.emitted.max(other.emitted);
            joined.timer = joined.timer.min(other.timer);
            joined.early = joined.early.min(other.early);
        }
        joined.last = joined.last.max(time);
        if time < joined.start {
            joined.begin_at(time);
        }
        first
    }

    /// Computes the folds of a row unless it is late; false if one fails, and with it the row.
    fn prepare(
        &mut self,
        cause: Cause,
        row: u32,
        time: i64,
        known: Option<u32>,
        input: &TickInput<'_>,
        emitter: &mut Emitter,
    ) -> bool {
        let reach = Reach { gap: self.gap, max: self.max };
        let sessions = known.and_then(|id| self.keys.get(id)).map_or(&[][..], |e| &e.data);
        let joined = sessions.get(reach.joined(sessions, time)).unwrap_or_default();
        let last = joined.last().map_or(time, |s| s.last.max(time));
        if last.saturating_add(self.gap).saturating_add(self.allow_late) <= self.watermark {
            return true;
        }
        let slots: SmallVec<[u32; 2]> = joined.iter().map(|s| s.slot).collect();
        let prepared = self.accumulators.prepare(input.batch, row, &slots);
        let fits = prepared.is_ok();
        if let Err(error) = prepared {
            emitter.failed(cause, input.batch, error);
        }
        fits
    }

    fn flush(&mut self, input: &TickInput<'_>) {
        if !self.pending.is_empty() {
            self.accumulators.add(input.batch, &self.pending);
            self.pending.clear();
        }
    }

    fn forget(&mut self, id: u32, index: usize) {
        let Some(entry) = self.keys.change(id, &self.accumulators) else { return };
        let session = entry.data.remove(index);
        self.accumulators.release(session.slot);
        if entry.data.is_empty() {
            self.keys.remove(id, &self.accumulators);
        }
    }

    pub fn accumulators(&mut self) -> &mut Accumulators {
        &mut self.accumulators
    }

    /// The watermark at which something happens next.
    pub fn next_event(&self) -> Option<i64> {
        let first = |times: &BinaryHeap<Reverse<(i64, u32)>>| times.peek().map(|Reverse((at, _))| *at);
        [first(&self.timers), first(&self.early)].into_iter().flatten().min()
    }

    pub fn load(&self) -> Load {
        self.keys.load()
    }

    pub fn held(&self) -> u64 {
        self.accumulators.held()
    }

    pub fn freeze(&mut self) {
        self.keys.freeze();
    }

    pub fn slice(&mut self, keys: usize) -> Result<Option<StateRows>, StateError> {
        self.keys.slice(keys, &self.accumulators)
    }

    pub fn expect(&mut self, keys: usize) {
        self.keys.expect(keys);
    }

    pub fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        rows_of(rows)?.into_iter().try_for_each(|(found, key, stored)| self.put_back(found, key, stored))
    }

    fn put_back(&mut self, found: Found, key: Key, stored: Vec<StoredSession>) -> Result<(), StateError> {
        let mut sessions = KeySessions::with_capacity(stored.len());
        for s in stored {
            let slot = self.accumulators.load(&s.values).ok_or_else(|| StateError::unreadable("other aggregates"))?;
            let end = s.last.saturating_add(self.gap);
            let timer = if s.closed { end.saturating_add(self.allow_late) } else { end };
            let replaces = SmallVec::from_vec(s.replaces);
            let StoredSession { start, last, closed, emitted, known_start, early, .. } = s;
            sessions.push(Session { start, last, slot, timer, closed, emitted, known_start, early, replaces });
        }
        let waiting: SmallVec<[(i64, i64); 1]> = sessions.iter().map(|s| (s.timer, s.early)).collect();
        let id = self.keys.put_back(found, key, sessions);
        for (timer, early) in waiting {
            self.timers.push(Reverse((timer, id)));
            if early < i64::MAX {
                self.early.push(Reverse((early, id)));
            }
        }
        Ok(())
    }
}
