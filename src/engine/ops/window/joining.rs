//! A session of a key, and which sessions an event joins.
//!
//! Without a longest session those are all that it is at most `gap` away from. With one, a join that would stretch a session
//! beyond it, from its start to its end, is not made. A row inside a session belongs to it. One between two sessions that it
//! touches joins both if that fits, else the earlier if that fits, else the later, else it begins a session of its own.
//! Sessions of a key may then be less than `gap` apart, and a window may end after the next one begins; each event is in
//! just one of them.

use std::ops::Range;

use smallvec::SmallVec;

use super::early::Points;

/// A session of a key.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Time of the first event.
    pub start: i64,
    /// Time of the last event; the session ends `gap` after it.
    pub last: i64,
    pub slot: u32,
    /// When the queue looks at the session again; never after it is due.
    pub timer: i64,
    /// Whether its end has been reached.
    pub closed: bool,
    /// Emissions of it, or of a session it took in, early rows aside: the next one's revision if above 0.
    pub emitted: u32,
    /// Whether a row left under its present start.
    pub known_start: bool,
    /// The point at which an early row leaves; the greatest if it did not change since its last row.
    pub early: i64,
    /// Emitted starts of sessions it took in, other than its own.
    pub replaces: SmallVec<[i64; 1]>,
}

impl Session {
    /// It begins earlier than it did; if a row left under the old start, that is one to replace.
    pub fn begin_at(&mut self, start: i64) {
        if std::mem::take(&mut self.known_start) {
            self.replaces.push(self.start);
        }
        self.start = start;
    }

    /// It changed: the point at which an early row is to leave, unless it waits for that already.
    #[inline]
    pub fn wait(&mut self, points: Points, watermark: i64, gap: i64) -> Option<i64> {
        let point = points.after(watermark.max(self.start));
        if point >= self.early || point >= self.last.saturating_add(gap) {
            return None;
        }
        self.early = point;
        Some(point)
    }
}

/// How far a session reaches.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub gap: i64,
    pub max: i64,
}

impl Reach {
    /// Whether a session may be this long.
    fn fits(self, start: i64, last: i64) -> bool {
        last.saturating_add(self.gap).saturating_sub(start) <= self.max
    }

    /// Whether an event at `time` lies in a session or may stretch it.
    #[inline]
    pub fn takes(self, session: &Session, time: i64) -> bool {
        let touches = time >= session.start.saturating_sub(self.gap) && time <= session.last.saturating_add(self.gap);
        touches && self.fits(session.start.min(time), session.last.max(time))
    }

    /// Which of a key's sessions an event at `time` joins, one or two; an empty range is where it begins one of its own.
    pub fn joined(self, sessions: &[Session], time: i64) -> Range<usize> {
        // The first session whose last event is not before the row.
        let at = sessions.partition_point(|s| s.last < time);
        if sessions.get(at).is_some_and(|s| s.start <= time) {
            return at..at + 1;
        }
        let later = sessions.get(at).filter(|s| self.takes(s, time));
        let before = at.checked_sub(1).and_then(|at| sessions.get(at)).filter(|s| self.takes(s, time));
        match (before, later) {
            (Some(before), Some(later)) if self.fits(before.start, later.last) => at - 1..at + 1,
            (Some(_), _) => at - 1..at,
            (None, Some(_)) => at..at + 1,
            (None, None) => at..at,
        }
    }
}
