//! What silence does: live partitions that bring nothing go idle, and where all that a step depends on are idle, its
//! watermark goes on at the clock's pace.

use crate::base::time::{TimeSpan, Timestamp};

use super::gate::{Gate, Tick};
use super::partition::Partition;
use super::segment::Join;
use super::turns::{Named, Turn};

/// How often steps are told of the wall clock, in microseconds, while nothing comes.
pub(super) const CLOCK_STEP: i64 = 1_000_000;
/// How far what they were told may be behind, in microseconds, when something comes: what they do about it is stamped with it.
const CLOCK_BEHIND: i64 = 20_000;

impl Gate {
    /// A partition was held by others until now: its silence does not count.
    pub fn hold(&mut self, partition: usize, now: Timestamp) {
        if let Some(p) = self.partitions.get_mut(partition).filter(|p| !p.idle) {
            p.last_arrival = p.last_arrival.max(now);
        }
    }

    /// Whether steps that go by the wall clock are to be told of it, if they were not for so many microseconds. A clock that
    /// was set back is waited for.
    fn tells(&self, now: Timestamp, after: i64) -> bool {
        let clock = now.plus(self.ahead);
        self.clocked && clock.0.saturating_sub(self.clock.0) >= after && self.is_live()
    }

    /// Something comes: steps are told what time it is if they were not just now.
    pub(super) fn tell_when_it_comes(&mut self, now: Timestamp) {
        // What is in a tick in the making already goes by what was said before.
        if self.length == 0 && !self.repeats() && self.tells(now, CLOCK_BEHIND) {
            self.clock = now.plus(self.ahead);
            self.turns.push(Turn::Passed { idle: Vec::new(), to: Vec::new(), clock: Some(self.clock) });
            self.length += 1;
        }
    }

    /// Lets time pass.
    pub fn pass_time(&mut self, now: Timestamp, join: &mut Join<'_>) -> Option<Tick> {
        if self.finished || self.waits_for_turn(now) {
            return None;
        }
        let before = self.reached.current.clone();
        let idle = self.fall_silent(now);
        let clock = now.plus(self.ahead);
        let ticks = self.tells(now, CLOCK_STEP);
        let mut changed = ticks || !idle.is_empty();
        for set in 0..self.reached.sets.len() {
            let Some(from) = self.silent_from(set) else {
                let to = self.minimum(set);
                self.advance(set, to);
                continue;
            };
            let to = self.passed(set, now);
            if let Some(place) = self.reached.passed_to.get_mut(set) {
                *place = Some(now.max(from));
            }
            if let Some(to) = to {
                changed |= now > from;
                self.advance(set, to);
            }
        }
        if !changed {
            return None;
        }
        let moved = self.reached.current.iter().zip(before).enumerate().filter(|(_, (now, before))| *now != before);
        let to = moved.map(|(set, (now, _))| (set, *now)).collect();
        if ticks {
            self.clock = clock;
        }
        self.turns.push(Turn::Passed { idle, to, clock: ticks.then_some(clock) });
        self.length += 1;
        Some(self.cut(join))
    }

    /// From when on the watermark of a set whose partitions are all idle goes on at the clock's pace: from when the last of
    /// them went idle; time that was counted before is not counted again.
    fn silent_from(&self, set: usize) -> Option<Timestamp> {
        let since = self.idle_since(set)?;
        Some(self.reached.passed_to.get(set).copied().flatten().unwrap_or(since).max(since))
    }

    /// How far the watermark of a set has come by silence alone, if it goes on by that.
    pub(super) fn passed(&self, set: usize, now: Timestamp) -> Option<Timestamp> {
        let from = self.silent_from(set)?;
        let last = self.reached.at(set);
        let base = if last == Timestamp::MIN { self.greatest(set) } else { last };
        let goes_on = base != Timestamp::MIN && base != Timestamp::MAX;
        goes_on.then(|| base.plus(TimeSpan(now.0.saturating_sub(from.0).max(0))))
    }

    /// The watermark of a set at a time, for showing: while nothing happens it is not moved along.
    pub(super) fn shown(&self, set: usize, now: Timestamp) -> Timestamp {
        let passed = if self.rests { self.passed(set, now) } else { None };
        passed.unwrap_or_else(|| self.reached.at(set))
    }

    /// Partitions that have been silent for long enough are idle: those that became so.
    fn fall_silent(&mut self, now: Timestamp) -> Vec<Named> {
        let silent = |p: &Partition| !p.spec.bounded && p.counts() && p.is_caught_up();
        let mut idle = Vec::new();
        for (index, p) in self.partitions.iter_mut().enumerate().filter(|(_, p)| silent(p)) {
            if p.is_silent(now) {
                self.standing.leave(index, p);
                p.idle = true;
                self.standing.enter(index, p);
                idle.push(Named::of(p));
            }
        }
        idle
    }

    /// Whether anything is live but what comes back to sinks.
    pub(super) fn is_live(&self) -> bool {
        !self.open.is_empty() || self.partitions.iter().any(|p| !p.spec.bounded && p.spec.after.is_none())
    }

    /// When the last of a set's partitions went idle, if all that have not ended are.
    fn idle_since(&self, set: usize) -> Option<Timestamp> {
        if self.of_set(set).any(|(_, p)| p.counts()) {
            return None;
        }
        let idle = self.of_set(set).filter(|(_, p)| !p.ended || self.open.contains(&p.spec.source));
        idle.map(|(_, p)| p.last_arrival.plus(p.spec.idle_after)).max()
    }

    fn greatest(&self, set: usize) -> Timestamp {
        let seen = self.of_set(set).map(|(_, p)| p.watermark()).filter(|at| *at != Timestamp::MAX);
        seen.filter(|at| *at != Timestamp::MIN).min().unwrap_or(Timestamp::MIN)
    }
}
