//! How live inputs met, written down: whose rows came after whose, who was found, who fell silent, how time went on without
//! events. None of that comes out again by itself when a run goes on after a crash; where something has left that depends on
//! it, it is read back and repeated, up to where it was written down. (In the literature of recovery these are logged
//! *determinants*.)
//!
//! Where rows of one partition alone are taken, and no step goes by the wall clock, nothing is decided, and nothing is written.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::time::Timestamp;

use super::gate::{Gate, Tick};
use super::partition::{Arrival, Partition, PartitionState};
use super::said::Said;
use super::segment::Join;

/// A partition as it is known in the next run: the index of its source, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Named(pub usize, pub String);

impl Named {
    pub(super) fn of(p: &Partition) -> Named {
        Named(p.spec.source, p.spec.name.clone())
    }

    fn is(&self, p: &Partition) -> bool {
        self.0 == p.spec.source && self.1 == p.spec.name
    }
}

/// Something that decided how inputs met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// Rows of a partition were taken up to a position, in a stream that was renewed so often.
    Rows(Named, u32, u64),
    /// The end of a partition was taken.
    End(Named),
    /// A partition counts from here on.
    Found(Named),
    /// Time passed.
    Passed {
        /// Who went idle.
        idle: Vec<Named>,
        /// The watermarks that went on, by the number of their set.
        to: Vec<(usize, Timestamp)>,
        /// What the wall clock said, if steps were told.
        #[serde(default)]
        clock: Option<Timestamp>,
    },
    /// Somebody said something, at a time.
    Said(String, Timestamp),
}

/// A point between turns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The number of the turn that comes next, if it is one that is repeated.
    pub next: Option<u64>,
    /// Who is idle.
    pub idle: Vec<Named>,
    /// How often streams were renewed, if ever.
    pub renewed: Vec<(Named, u32)>,
    /// What the wall clock said, if steps are told.
    #[serde(default)]
    pub clock: Option<Timestamp>,
}

/// What is written down and what is repeated.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Whether anything is to be written down.
    written: bool,
    /// What is not part of a tick yet.
    made: Vec<Turn>,
    /// The rows that were taken last, which more of the same may follow.
    run: Option<Turn>,
    /// What is repeated, with the numbers it was written under.
    repeated: VecDeque<(u64, Turn)>,
    /// When that began.
    since: Option<Timestamp>,
}

impl Turns {
    /// Whether turns are being repeated: nothing else is taken then, and nothing written.
    pub(super) fn repeats(&self) -> bool {
        !self.repeated.is_empty()
    }

    /// Whether what is repeated next is that the wall clock went on.
    fn clock_is_next(&self) -> bool {
        matches!(self.repeated.front(), Some((_, Turn::Passed { clock: Some(_), .. } | Turn::Said(..))))
    }

    fn writes(&self) -> bool {
        self.written && !self.repeats()
    }

    /// Notes a turn.
    pub(super) fn push(&mut self, turn: Turn) {
        if self.writes() {
            self.made.extend(self.run.take());
            self.made.push(turn);
        }
    }

    /// A partition was found.
    pub(super) fn found(&mut self, p: &Partition) {
        self.push(Turn::Found(Named::of(p)));
    }

    /// The end of a partition was taken.
    pub(super) fn ended(&mut self, p: &Partition) {
        self.push(Turn::End(Named::of(p)));
    }

    /// Rows of a partition were taken.
    pub(super) fn took(&mut self, p: &Partition) {
        if !self.writes() {
            return;
        }
        let (_, position) = p.place();
        match &mut self.run {
            Some(Turn::Rows(of, renewed, to)) if of.is(p) && *renewed == p.renewed => *to = position,
            run => {
                self.made.extend(run.take());
                *run = Some(Turn::Rows(Named::of(p), p.renewed, position));
            }
        }
    }

    /// A tick is cut: what is to be written of it before it may have effects. Rows decide something by coming if they might
    /// have come after others, or after the clock went on.
    pub(super) fn cut(&mut self, decides: bool) -> Vec<Turn> {
        if decides {
            self.made.extend(self.run.take());
        }
        std::mem::take(&mut self.made)
    }

    /// Those partitions that a run begins with and that did not stand anywhere at the checkpoint, or were at their end and may
    /// have more, were found later: in a turn that is repeated, or just now.
    pub(super) fn find(&mut self, partitions: &mut [Partition], states: &[PartitionState], point: &Point) {
        for p in partitions.iter_mut() {
            // One that is heard again is not idle any more.
            p.idle = point.idle.iter().any(|of| of.is(p));
            p.renewed = point.renewed.iter().find(|(of, _)| of.is(p)).map_or(0, |(_, renewed)| *renewed);
        }
        let stood = |p: &Partition| {
            states.iter().any(|s| s.source == p.spec.source && s.name == p.spec.name && s.ended == p.ended)
        };
        for p in partitions.iter_mut().filter(|p| !stood(p)) {
            if self.repeats() {
                p.unfound = true;
            } else {
                self.found(p);
            }
        }
    }
}

impl Gate {
    /// From now on it says how inputs meet, once it has repeated what was `read` back. Before it is restored.
    pub fn write_turns(&mut self, read: VecDeque<(u64, Turn)>, now: Timestamp) {
        self.turns = Turns { written: true, repeated: read, since: Some(now), ..Turns::default() };
    }

    /// How far turns are, for a barrier: what was taken before is in where partitions stand.
    pub fn point(&mut self) -> Point {
        self.turns.run = None;
        if !self.turns.written {
            return Point::default();
        }
        Point {
            next: self.turns.repeated.front().map(|(number, _)| *number),
            idle: self.partitions.iter().filter(|p| p.idle).map(Named::of).collect(),
            renewed: self.partitions.iter().filter(|p| p.renewed > 0).map(|p| (Named::of(p), p.renewed)).collect(),
            clock: self.clocked.then_some(self.clock),
        }
    }

    /// Takes what is next, if it is here. A tick has one clock, and one thing that somebody said: what was taken before is cut
    /// off first.
    pub(super) fn next_of(&mut self, ticks: &mut Vec<Tick>, join: &mut Join<'_>) -> bool {
        if self.length > 0 && (self.turns.clock_is_next() || self.said.is_some()) {
            ticks.push(self.cut(join));
        }
        self.next()
    }

    fn fall_idle(&mut self, index: usize) {
        if let Some(p) = self.partitions.get_mut(index) {
            self.standing.leave(index, p);
            p.idle = true;
            self.standing.enter(index, p);
        }
    }

    /// Repeats what comes next, if what it needs is here.
    pub(super) fn repeat(&mut self) -> bool {
        let Some((_, turn)) = self.turns.repeated.front() else { return false };
        let done = match turn.clone() {
            Turn::Rows(of, renewed, to) => match self.named(&of) {
                Some(index) => self.repeat_rows(index, renewed, to),
                None => return false,
            },
            Turn::End(of) => match self.named(&of) {
                Some(index) => self.repeat_end(index),
                None => return false,
            },
            Turn::Found(of) => match self.named(&of) {
                Some(index) => {
                    self.count(index);
                    Some(true)
                }
                None => return false,
            },
            Turn::Passed { idle, to, clock } => {
                self.repeat_silence(&idle, &to);
                self.clock = clock.unwrap_or(self.clock);
                Some(true)
            }
            Turn::Said(text, at) => {
                self.hear(Said::new(text, at));
                Some(true)
            }
        };
        if done == Some(true) {
            self.turns.repeated.pop_front();
            if !self.turns.repeats() {
                self.repeated_all();
            }
        }
        done.is_some()
    }

    fn named(&self, of: &Named) -> Option<usize> {
        // What is gone from a source that goes on may have come again under its name.
        self.partitions.iter().rposition(|p| of.is(p))
    }

    /// Takes rows up to a position; whether it is reached, `None` if they are not here yet.
    fn repeat_rows(&mut self, index: usize, renewed: u32, to: u64) -> Option<bool> {
        self.count(index);
        let p = self.partitions.get(index)?;
        let (block, taken) = match p.queue.front()? {
            Arrival::Block(block) => (Arc::clone(block), p.taken),
            // They do not come any more.
            Arrival::End => return Some(true),
        };
        let (starts, records, of_block) = (&block.starts, block.records, p.renewed());
        let at = |record: u32| if record < records { starts.at(record) } else { starts.end };
        let reached = |record: u32| of_block == renewed && at(record) >= to;
        // The stream it speaks of is gone, or stands behind that already.
        if of_block > renewed || (taken < records && reached(taken)) {
            return Some(true);
        }
        let cap = (taken..records).find(|record| reached(*record)).unwrap_or(records);
        self.wake(index);
        self.take(index, Some(cap));
        Some(reached(cap))
    }

    fn repeat_end(&mut self, index: usize) -> Option<bool> {
        self.count(index);
        if matches!(self.partitions.get(index)?.queue.front()?, Arrival::End) {
            self.wake(index);
            self.take(index, None);
        }
        Some(true)
    }

    fn repeat_silence(&mut self, idle: &[Named], to: &[(usize, Timestamp)]) {
        for index in idle.iter().filter_map(|of| self.named(of)).collect::<Vec<_>>() {
            self.count(index);
            self.fall_idle(index);
        }
        for (set, to) in to {
            self.advance(*set, *to);
        }
        self.length += 1;
    }

    /// A partition counts from now on.
    fn count(&mut self, index: usize) {
        if let Some(p) = self.partitions.get_mut(index).filter(|p| p.unfound) {
            p.unfound = false;
            self.standing.enter(index, p);
        }
    }

    /// From here on everything is decided anew.
    fn repeated_all(&mut self) {
        for index in 0..self.partitions.len() {
            if self.partitions.get(index).is_some_and(|p| p.unfound) {
                self.count(index);
                if let Some(p) = self.partitions.get(index) {
                    self.turns.found(p);
                }
            }
            self.wake(index);
        }
    }

    /// Whether a turn that is repeated is waited for. One that cannot come any more, because whoever it was has fallen silent
    /// short of it, is given up with all that follow.
    pub(super) fn waits_for_turn(&mut self, now: Timestamp) -> bool {
        let Some((_, turn)) = self.turns.repeated.front() else { return false };
        let (Turn::Rows(of, ..) | Turn::End(of) | Turn::Found(of)) = turn else { return true };
        let gone = match self.named(of).and_then(|index| self.partitions.get(index)) {
            Some(p) => p.ended || (p.is_caught_up() && p.is_silent(now)),
            None => self.turns.since.is_none_or(|since| now.0.saturating_sub(since.0) >= GONE_AFTER),
        };
        if gone {
            tracing::warn!(
                partition = of.1,
                "what came before the crash does not come again as it was written down; rows that were sent early may differ from those that are sent now"
            );
            self.turns.repeated.clear();
            self.repeated_all();
        }
        !gone
    }
}

/// How long a partition that is not there is waited for, in microseconds.
const GONE_AFTER: i64 = 30_000_000;
