//! The clock of live sources: lets time pass for a run. While something may change by it, it looks often; when all sources
//! are idle and no step waits for anything, not before something comes.

use std::sync::Arc;
use std::time::Duration;

use crate::base::time::{TimeSpan, Timestamp};

use super::gate::Gate;
use super::job::{Job, Ready, lock};
use super::lower::ReaderKind;
use super::ops::Due;
use super::partition::{PartitionSpec, PartitionState};
use super::run::{steady_clock, wall_clock};
use super::shared::{Queue, Shared};
use super::silence::CLOCK_STEP;

/// How often is looked while ticks are under way, or what came before a crash is repeated.
const OFTEN: TimeSpan = TimeSpan(100_000);
/// How often silent sources are looked at.
const SELDOM: TimeSpan = TimeSpan::seconds(1);
/// The least time between looks.
const LEAST: TimeSpan = TimeSpan(10_000);
/// However long nothing happens, the clock may be set.
const MOST: TimeSpan = TimeSpan::seconds(60);

/// Lets time pass until the run is over.
pub(super) async fn pass_time(shared: Arc<Shared>) {
    let finished = || lock(&shared.queue).finished;
    loop {
        let rest = shared.rest(steady_clock());
        tokio::select! {
            () = shared.until(finished) => return,
            () = shared.job.stirred.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
        let now = steady_clock();
        shared.job.tell_wall_clock(wall_clock(), now);
        shared.job.hold(&shared.silent_since(now));
        shared.hand_out(shared.job.pass_time(now));
        shared.drain_if_asked();
    }
}

impl Job {
    /// A source never comes to an end by itself.
    pub fn keep_open(&self, source: usize) {
        lock(&self.gate).keep_open(source);
    }

    /// A partition that was found while the run goes on, with where it stood if it was read before: its number.
    pub fn add_partition(&self, spec: PartitionSpec, state: Option<&PartitionState>, now: Timestamp) -> usize {
        self.stirred.notify_one();
        lock(&self.gate).add(spec, state, now)
    }

    /// Notes since when partitions have been silent, by number: before that they brought something that is on its way, or
    /// were held by back-pressure, when silence says nothing.
    pub fn hold(&self, silent_since: &[Timestamp]) {
        let mut gate = lock(&self.gate);
        for (partition, since) in silent_since.iter().enumerate() {
            gate.hold(partition, *since);
        }
    }

    /// What the wall clock says, where silence is measured by another time.
    pub fn tell_wall_clock(&self, wall: Timestamp, now: Timestamp) {
        lock(&self.gate).ahead = TimeSpan(wall.0.saturating_sub(now.0));
    }

    /// Lets time pass for live partitions.
    pub fn pass_time(&self, now: Timestamp) -> Vec<Ready> {
        let mut gate = lock(&self.gate);
        let mut ticks = Vec::from_iter(gate.pass_time(now, &mut |at, parts| self.join(at, parts)));
        // If what was repeated is given up, the rest is here.
        ticks.extend(gate.ticks(&mut |at, parts| self.join(at, parts)));
        let ticks = self.write(ticks);
        drop(gate);
        self.start(ticks)
    }

    /// Whether ticks are under way.
    pub(super) fn has_ticks(&self) -> bool {
        !lock(&self.ticks).is_empty()
    }

    /// How long nothing happens by itself, where readers say when something is due.
    pub(super) fn rest(&self, now: Timestamp, dues: &[(usize, Due)]) -> TimeSpan {
        let of_set = |(reader, due): &(usize, Due)| {
            let reader = self.graph.readers.get(*reader)?;
            let ReaderKind::Stage(_, set) = &reader.kind else { return None };
            Some((*set, Due { watermark: due.watermark.plus(reader.behind), ..*due }))
        };
        lock(&self.gate).rest(now, &dues.iter().filter_map(of_set).collect::<Vec<_>>())
    }
}

impl Shared {
    /// How long nothing happens by itself, unless something comes.
    fn rest(&self, now: Timestamp) -> Duration {
        let quiet = !self.job.has_ticks();
        let dues = quiet.then(|| lock(&self.queue).dues()).flatten();
        let rest = match dues {
            Some(dues) => self.job.rest(now, &dues),
            None => OFTEN,
        };
        rest.to_std()
    }
}

impl Queue {
    /// When something happens next at each reader by itself; `None` while something happens anyway.
    fn dues(&self) -> Option<Vec<(usize, Due)>> {
        let idle = self.maps.is_empty() && self.mapping == 0;
        let of_slots = self
            .slots
            .iter()
            .map(|slot| (!slot.is_busy() && slot.waiting.is_empty()).then_some((slot.reader, slot.due)));
        if idle { of_slots.collect() } else { None }
    }
}

impl Gate {
    /// How long nothing happens by itself; `dues` are of sets. Until something comes it does not look at the clock.
    pub(super) fn rest(&mut self, now: Timestamp, dues: &[(usize, Due)]) -> TimeSpan {
        self.rests = false;
        if self.repeats() {
            return OFTEN;
        }
        // What comes back to sinks is never waited for.
        let mut counting = self.partitions.iter().filter(|p| p.counts() && p.spec.after.is_none()).peekable();
        if counting.peek().is_some() {
            let silent = counting.filter(|p| !p.spec.bounded && p.is_caught_up());
            let first = silent.map(|p| p.last_arrival.plus(p.spec.idle_after)).min().unwrap_or(Timestamp::MAX);
            return TimeSpan(first.0.saturating_sub(now.0)).clamp(LEAST, SELDOM);
        }
        self.rests = true;
        let (clock, told_next) = (now.plus(self.ahead), self.clock.plus(TimeSpan(CLOCK_STEP)));
        let until = |(set, due): &(usize, Due)| {
            let reached = self.reached.at(*set);
            let goes_on = self.passed(*set, now).is_some();
            let by_silence = due.watermark.0.saturating_sub(reached.0);
            let by_silence = if goes_on && due.watermark != Timestamp::MAX { by_silence } else { i64::MAX };
            let by_clock = due.clock.max(told_next).0.saturating_sub(clock.0);
            let by_clock = if self.is_live() && due.clock != Timestamp::MAX { by_clock } else { i64::MAX };
            TimeSpan(by_silence.min(by_clock))
        };
        dues.iter().map(until).min().unwrap_or(MOST).clamp(LEAST, MOST)
    }
}
