//! What happens as the watermark moves: timers go off, sessions close, early rows leave between them. It happens in slices
//! of so many keys, so that the sessions of a million keys do not leave as one batch.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{KeySessions, Sessions};
use crate::base::limit::CLOSED_KEYS;
use crate::engine::ops::TickInput;
use crate::engine::ops::window::emit::{Cause, Emission, Emitter};
use crate::engine::ops::window::keys::Entry;

/// A step of the watermark, on its way.
pub(super) struct Advancing {
    cause: Cause,
    to: i64,
    /// Keys whose timers go off, in order, and how many of them did.
    due: Vec<u32>,
    gone: usize,
    /// When those timers go off.
    at: i64,
}

impl Sessions {
    /// Moves the watermark; false if there is more to leave.
    #[inline]
    pub(super) fn advance(&mut self, ordinal: u32, to: i64, input: &TickInput<'_>, emitter: &mut Emitter) -> bool {
        if to <= self.watermark {
            return true;
        }
        self.watermark = to;
        if next(&self.timers, to).is_none() && next(&self.early, to).is_none() {
            return true;
        }
        self.flush(input);
        let cause = Cause { ordinal, turn: input.turn_after(ordinal) };
        self.advancing = Some(Advancing { cause, to, due: Vec::new(), gone: 0, at: to });
        self.go_on(emitter)
    }

    /// Goes on with what leaves as the watermark moves; false if there is more.
    pub(super) fn go_on(&mut self, emitter: &mut Emitter) -> bool {
        let Some(mut advancing) = self.advancing.take() else { return true };
        let Advancing { cause, to, .. } = advancing;
        let mut left = CLOSED_KEYS;
        while left > 0 {
            if let Some(id) = advancing.due.get(advancing.gone).copied() {
                advancing.gone += 1;
                left -= 1;
                self.timer(cause, id, advancing.at, emitter);
                continue;
            }
            match (next(&self.timers, to), next(&self.early, to)) {
                (Some(at), point) if point.is_none_or(|point| at <= point) => {
                    left = left.saturating_sub(self.due(at, &mut advancing));
                }
                (_, Some(point)) => left = left.saturating_sub(self.leave_early(point, cause, emitter)),
                (_, None) => return true,
            }
        }
        self.advancing = Some(advancing);
        false
    }

    /// The timers of one instant together, so that their sessions leave in the order of their keys: how many there were.
    fn due(&mut self, at: i64, advancing: &mut Advancing) -> usize {
        let due = &mut advancing.due;
        due.clear();
        due.extend(pop(&mut self.timers, at));
        let timers = due.len();
        // Timers of sessions that were joined, moved on or forgotten are still in the queue; a forgotten key has no place in
        // any order.
        due.retain(|id| self.keys.get(*id).is_some_and(|e| e.data.iter().any(|s| s.timer == at)));
        due.sort_by(|a, b| self.keys.order(*a, *b));
        due.dedup();
        (advancing.gone, advancing.at) = (0, at);
        timers
    }

    /// The early rows of one point, in order of the sessions' ends, then of their keys: how many.
    fn leave_early(&mut self, point: i64, cause: Cause, emitter: &mut Emitter) -> usize {
        let mut ids: Vec<u32> = pop(&mut self.early, point).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut leaving: Vec<(i64, u32, usize)> = Vec::new();
        for id in ids {
            let sessions = self.keys.get(id).map_or(&[][..], |e| &e.data).iter().enumerate();
            let waiting = sessions.filter(|(_, s)| s.early == point);
            leaving.extend(waiting.map(|(index, s)| (s.last.saturating_add(self.gap), id, index)));
        }
        leaving.sort_by(|(a, a_key, _), (b, b_key, _)| a.cmp(b).then_with(|| self.keys.order(*a_key, *b_key)));
        let rows = leaving.len();
        for (end, id, index) in leaving {
            let Some(session) = self.keys.change(id, &self.accumulators).and_then(|e| e.data.get_mut(index)) else {
                continue;
            };
            session.early = i64::MAX;
            session.known_start = true;
            let mut replaces = std::mem::take(&mut session.replaces);
            replaces.sort_unstable();
            let emission = Emission {
                cause,
                at: point,
                time: point.saturating_sub(1),
                early: true,
                start: session.start,
                end,
                keys: &[id],
                groups: std::slice::from_ref(&(0..1)),
                slots: &[session.slot],
                revision: (session.emitted > 0).then_some(session.emitted),
                replaces: &replaces,
            };
            emitter.emit(&emission, &self.keys, &self.accumulators);
        }
        rows
    }

    /// A timer of a key went off: each session that waits for it closes, is forgotten, or waits on.
    fn timer(&mut self, cause: Cause, id: u32, at: i64, emitter: &mut Emitter) {
        let waiting = |e: &Entry<KeySessions>| e.data.iter().position(|s| s.timer == at);
        while let Some(index) = self.keys.get(id).and_then(waiting) {
            let Some(session) = self.keys.get(id).and_then(|e| e.data.get(index)) else { return };
            let end = session.last.saturating_add(self.gap);
            let due = if session.closed { end.saturating_add(self.allow_late) } else { end };
            if due > at {
                self.set_timer(id, index, due);
            } else if session.closed {
                self.forget(id, index);
            } else {
                self.close(cause, id, index, emitter);
            }
        }
    }

    fn set_timer(&mut self, id: u32, index: usize, at: i64) {
        if let Some(session) = self.keys.change(id, &self.accumulators).and_then(|e| e.data.get_mut(index)) {
            session.timer = at;
            self.timers.push(Reverse((at, id)));
        }
    }

    /// Emits a session whose end the watermark has reached.
    pub(super) fn close(&mut self, cause: Cause, id: u32, index: usize, emitter: &mut Emitter) {
        let Some(session) = self.keys.change(id, &self.accumulators).and_then(|e| e.data.get_mut(index)) else {
            return;
        };
        let end = session.last.saturating_add(self.gap);
        let revision = (session.emitted > 0).then_some(session.emitted);
        session.closed = true;
        session.emitted += 1;
        session.known_start = true;
        session.early = i64::MAX;
        let mut replaces = std::mem::take(&mut session.replaces);
        replaces.sort_unstable();
        let (start, slot) = (session.start, session.slot);
        let emission = Emission {
            cause,
            at: end,
            time: end.saturating_sub(1),
            early: false,
            start,
            end,
            keys: &[id],
            groups: std::slice::from_ref(&(0..1)),
            slots: &[slot],
            revision,
            replaces: &replaces,
        };
        emitter.emit(&emission, &self.keys, &self.accumulators);
        let gone = end.saturating_add(self.allow_late);
        if gone <= self.watermark {
            self.forget(id, index);
        } else {
            self.set_timer(id, index, gone);
        }
    }
}

/// The next instant of a queue that is not above `to`.
fn next(queue: &BinaryHeap<Reverse<(i64, u32)>>, to: i64) -> Option<i64> {
    queue.peek().map(|Reverse((at, _))| *at).filter(|at| *at <= to)
}

/// Takes what waits for an instant out of a queue.
fn pop(queue: &mut BinaryHeap<Reverse<(i64, u32)>>, at: i64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let Reverse((next, id)) = queue.peek().copied()?;
        (next == at).then(|| {
            queue.pop();
            id
        })
    })
}
