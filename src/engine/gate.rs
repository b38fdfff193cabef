//! Where partitions meet: puts mapped blocks into one order that the data fixes, cuts it into ticks, and knows the
//! watermark at every row.
//!
//! Bounded partitions are read so that the next row always comes from the one whose watermark is least (ties: the order
//! written, then the partition's name). Live ones are taken as they arrive. An ordinal is a row's place in its tick; the
//! end of a partition takes an ordinal too, so that what it releases has its place.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::base::time::{TimeSpan, Timestamp};

use super::clock::Watermarks;
use super::ledger::Counted;
use super::parcel::Parcel;
use super::partition::{Arrival, Mapped, Partition, PartitionSpec, PartitionState};
use super::reached::Reached;
use super::said::Said;
use super::segment::{Join, Segment, join_segments};
use super::standing::Standing;
use super::turns::{Point, Turn, Turns};

/// One piece of the order, for every reader.
#[derive(Debug, Default)]
pub struct Tick {
    /// Ticks are numbered from 0.
    pub sequence: u64,
    /// Parcels by source and exit.
    pub parcels: Vec<(usize, Vec<Option<Parcel>>)>,
    /// The watermark along the tick, by set of sources as the gate was given them.
    pub watermarks: Vec<Option<Watermarks>>,
    /// Blocks whose last row is in this tick, by partition: each gives its reader leave to read on.
    pub used: Vec<usize>,
    /// After this tick, state is handed out.
    pub barrier: Option<Cut>,
    /// Nothing comes after it.
    pub last: bool,
    /// All input was taken (not: the run was stopped).
    pub complete: bool,
    /// How it came about, if that is written down.
    pub turns: Vec<Turn>,
    /// One past the turn that has to be durable before rows of it may leave ahead of a checkpoint.
    pub written: u64,
    /// What the wall clock said, as steps that go by it are told.
    pub now: Option<Timestamp>,
    /// All input was taken but for what comes back to sinks.
    pub only_returns: bool,
    /// What somebody said, for the step that tells people.
    pub said: Option<Arc<Said>>,
}

/// Where a barrier cuts the input.
#[derive(Debug, Default)]
pub struct Cut {
    /// Where partitions stand.
    pub partitions: Vec<PartitionState>,
    /// What became of the records of blocks that were taken whole since the last barrier.
    pub counted: Counted,
    /// Records that are counted apart, because a barrier fell inside their block: source, block and ordinals.
    pub parts: Vec<(usize, Arc<Mapped>, Range<u32>)>,
    /// How far turns are.
    pub turns: Point,
    /// The first arrival that is needed when it goes on from here.
    pub arrival: u64,
    /// Of what comes back to sinks, by source: those that feed the sink have ended.
    pub spent: Vec<usize>,
}

/// Puts blocks into order.
#[derive(Debug)]
pub struct Gate {
    pub(super) partitions: Vec<Partition>,
    pub(super) standing: Standing,
    /// Partitions with a block among those of the tick in the making.
    kept: Vec<usize>,
    pub(super) reached: Reached,
    pub(super) sequence: u64,
    segments: Vec<Segment>,
    blocks: Vec<Arc<Mapped>>,
    pub(super) length: u32,
    used: Vec<usize>,
    target: u32,
    pub(super) finished: bool,
    /// Sources that may bring further partitions and never come to an end by themselves.
    pub(super) open: Vec<usize>,
    /// What the next barrier says beside where partitions stand.
    since: Cut,
    /// The number of the tick after the last barrier.
    after_barrier: u64,
    /// How live inputs meet, where that is written down.
    pub(super) turns: Turns,
    /// What steps that go by the wall clock were told last.
    pub(super) clock: Timestamp,
    /// Whether there are such steps.
    pub(super) clocked: bool,
    /// All are idle and no step waits for anything: time passes when something comes.
    pub(super) rests: bool,
    /// How far the wall clock is ahead of the time by which silence is measured.
    pub(super) ahead: TimeSpan,
    /// Partitions of what comes back to sinks that have not ended.
    pub(super) returning: usize,
    /// What somebody said, of the tick in the making.
    pub(super) said: Option<Arc<Said>>,
}

impl Gate {
    /// For these partitions, in the order written, then by name; `sets` are the sources each reader's watermark depends
    /// on; a tick is cut when it has `target` rows.
    pub fn new(specs: Vec<PartitionSpec>, sets: Vec<Vec<usize>>, target: u32, now: Timestamp) -> Self {
        let partitions: Vec<Partition> = specs.into_iter().map(|spec| Partition::new(spec, now)).collect();
        let returning = partitions.iter().filter(|p| p.spec.after.is_some()).count();
        let mut standing = Standing::new(&sets);
        partitions.iter().enumerate().for_each(|(index, p)| standing.enter(index, p));
        Gate {
            partitions,
            standing,
            kept: Vec::new(),
            reached: Reached::new(sets),
            sequence: 0,
            segments: Vec::new(),
            blocks: Vec::new(),
            length: 0,
            used: Vec::new(),
            target: target.max(1),
            finished: false,
            open: Vec::new(),
            since: Cut::default(),
            after_barrier: 0,
            turns: Turns::default(),
            clock: now,
            clocked: false,
            rests: false,
            ahead: TimeSpan::ZERO,
            returning,
            said: None,
        }
    }

    /// Steps are told of the wall clock, from now on and as it goes on.
    pub fn tell_time(&mut self) {
        self.clocked = true;
    }

    /// A source never comes to an end by itself, whatever its partitions do: no end of them closes anything.
    pub fn keep_open(&mut self, source: usize) {
        self.open.push(source);
    }

    /// A partition that was found while the run goes on, with where it stood if it was read before: its number. It counts
    /// from now on, but what was handed on stays: its rows are judged against that.
    pub fn add(&mut self, spec: PartitionSpec, state: Option<&PartitionState>, now: Timestamp) -> usize {
        let mut partition = Partition::new(spec, now);
        if let Some(state) = state {
            partition.restore(state);
        }
        let index = self.partitions.len();
        partition.unfound = self.turns.repeats();
        if !partition.unfound {
            self.turns.found(&partition);
        }
        self.standing.enter(index, &partition);
        self.partitions.push(partition);
        index
    }

    /// Goes on from where partitions stood, what watermark each set had reached, and what is said of turns. Partitions that are not among them are
    /// new.
    pub fn restore(&mut self, states: &[PartitionState], reached: &[Timestamp], point: &Point) {
        for state in states {
            let same = |p: &&mut Partition| p.spec.source == state.source && p.spec.name == state.name;
            if let Some(partition) = self.partitions.iter_mut().find(same) {
                partition.restore(state);
            }
        }
        self.turns.find(&mut self.partitions, states, point);
        self.clock = point.clock.unwrap_or(self.clock);
        self.standing = Standing::new(&self.reached.sets);
        self.partitions.iter().enumerate().for_each(|(index, p)| self.standing.enter(index, p));
        for set in 0..self.reached.sets.len() {
            let at = self.minimum(set).max(reached.get(set).copied().unwrap_or(Timestamp::MIN));
            self.reached.begin(set, at);
        }
    }

    /// Takes what a partition brought; arrivals of a partition are numbered from 0 and may come in any order.
    pub fn arrive(&mut self, partition: usize, number: u64, arrival: Arrival, now: Timestamp) {
        let Some(p) = self.partitions.get_mut(partition) else { return };
        self.standing.leave(partition, p);
        p.early.insert(number, arrival);
        p.last_arrival = now;
        while let Some(arrival) = p.early.remove(&p.next) {
            p.next += 1;
            p.queue.push_back(arrival);
        }
        self.standing.enter(partition, p);
        // What is repeated knows when it was heard again.
        if !self.turns.repeats() {
            self.wake(partition);
        }
    }

    /// A partition that has brought something is not idle.
    pub(super) fn wake(&mut self, partition: usize) {
        let Some(p) = self.partitions.get_mut(partition).filter(|p| !p.queue.is_empty()) else { return };
        self.reached.wake(self.standing.sets_of(p.spec.source));
        if p.idle {
            self.standing.leave(partition, p);
            p.idle = false;
            self.standing.enter(partition, p);
        }
    }

    /// Every tick that can be cut now.
    pub fn ticks(&mut self, join: &mut Join<'_>) -> Vec<Tick> {
        let mut ticks = Vec::new();
        if self.finished {
            return ticks;
        }
        while self.next_of(&mut ticks, join) {
            if self.length >= self.target {
                ticks.push(self.cut(join));
            }
        }
        let complete = self.open.is_empty() && self.standing.is_over() && !self.turns.repeats();
        if self.length > 0 || (complete && !self.finished) {
            let mut tick = self.cut(join);
            if complete {
                self.finished = true;
                tick.last = true;
                tick.complete = true;
                tick.barrier = Some(self.here());
            }
            ticks.push(tick);
        }
        ticks
    }

    /// Where partitions stand after the last tick, on a tick of its own at which state is handed out.
    /// `None` if there was none since the last one, unless it is `forced`.
    pub fn barrier(&mut self, forced: bool, join: &mut Join<'_>) -> Option<Tick> {
        if self.finished || (!forced && self.sequence == self.after_barrier) {
            return None;
        }
        let mut tick = self.cut(join);
        tick.barrier = Some(self.here());
        self.after_barrier = self.sequence;
        Some(tick)
    }

    /// Everything up to here, for a barrier.
    fn here(&mut self) -> Cut {
        for p in &mut self.partitions {
            if let Some(Arrival::Block(block)) = p.queue.front().filter(|_| p.taken > p.recounted) {
                self.since.parts.push((p.spec.source, Arc::clone(block), p.recounted..p.taken));
                p.recounted = p.taken;
            }
        }
        let turns = self.point();
        let spent = self.spent();
        Cut { partitions: self.states(), turns, spent, ..std::mem::take(&mut self.since) }
    }

    /// The last tick of a run that was stopped: nothing closes.
    pub fn stop(&mut self, join: &mut Join<'_>) -> Option<Tick> {
        if std::mem::replace(&mut self.finished, true) {
            return None;
        }
        let mut tick = self.cut(join);
        tick.last = true;
        tick.barrier = Some(self.here());
        Some(tick)
    }

    /// Whether it still repeats how inputs met before a crash.
    pub fn repeats(&self) -> bool {
        self.turns.repeats()
    }

    /// Where partitions stand.
    pub fn states(&self) -> Vec<PartitionState> {
        let state = |p: &Partition| {
            let (stream, position) = p.place();
            let name = p.spec.name.clone();
            let stream = Arc::clone(stream);
            let ended = p.ended && !p.drained;
            PartitionState { source: p.spec.source, name, stream, position, greatest: p.greatest, ended }
        };
        self.latest().into_iter().filter_map(|index| self.partitions.get(index)).map(state).collect()
    }

    /// The numbers of the partitions, each name once: what is gone from a source that goes on may have come again under its
    /// name.
    pub(super) fn latest(&self) -> Vec<usize> {
        let key = |p: &Partition| (p.spec.source, p.spec.name.clone());
        let last: HashMap<_, _> = self.partitions.iter().enumerate().map(|(index, p)| (key(p), index)).collect();
        let there = |(index, p): &(usize, &Partition)| last.get(&key(p)) == Some(index);
        self.partitions.iter().enumerate().filter(there).map(|(index, _)| index).collect()
    }

    /// Takes what is next, if it is here.
    pub(super) fn next(&mut self) -> bool {
        if self.turns.repeats() {
            return self.repeat();
        }
        let Some(index) = self.choose() else { return false };
        self.take(index, None);
        true
    }

    /// The partition whose turn it is, if what it brings is here.
    fn choose(&self) -> Option<usize> {
        self.standing.arrived().or_else(|| {
            let next = self.standing.turn()?;
            self.partitions.get(next).is_some_and(|p| !p.queue.is_empty()).then_some(next)
        })
    }

    /// Takes rows of a partition's first block, up to `cap` or for as long as it is its turn, or takes its end.
    pub(super) fn take(&mut self, index: usize, cap: Option<u32>) {
        let limit = self.limit(index);
        let Some(p) = self.partitions.get_mut(index) else { return };
        let source = p.spec.source;
        let (block, from) = match p.queue.front() {
            Some(Arrival::Block(block)) => (block, p.taken),
            Some(Arrival::End) => {
                self.standing.leave(index, p);
                p.queue.pop_front();
                p.ended = true;
                self.returning -= usize::from(p.spec.after.is_some());
                self.standing.enter(index, p);
                self.turns.ended(p);
                let ordinal = self.length;
                self.length += 1;
                self.rise(source, ordinal);
                return;
            }
            None => return,
        };
        self.standing.leave(index, p);
        p.renewed = p.renewed();
        // Row by row the watermark rises; the first rise past the limit gives the turn away after its row.
        let mut to = cap.unwrap_or(block.records).min(block.records);
        let mut rises = Vec::new();
        for (ordinal, time) in block.rises.get(p.rises_taken..).unwrap_or_default() {
            if *ordinal >= to {
                break;
            }
            p.rises_taken += 1;
            if *time > p.greatest {
                p.greatest = *time;
                rises.push((*ordinal, *time));
                if cap.is_none()
                    && p.spec.bounded
                    && p.spec.timed
                    && limit.is_some_and(|l| !l.still_first(p.greatest.minus(p.spec.out_of_order), index))
                {
                    to = ordinal + 1;
                    break;
                }
            }
        }
        let base = self.length.wrapping_sub(from);
        let whole = to == block.records;
        p.taken = to;
        self.length += to - from;
        let block_index = self.keep_block(index, whole);
        if let Some(p) = self.partitions.get(index) {
            self.standing.enter(index, p);
            self.turns.took(p);
        }
        self.segments.push(Segment { source, from, to, base, block: block_index });
        self.rises(index, &rises, base);
        if whole {
            self.used.push(index);
        }
    }

    /// Sees to it that the first block is among those of the tick, and drops it from the queue when it is used up.
    fn keep_block(&mut self, index: usize, whole: bool) -> usize {
        let Some(p) = self.partitions.get_mut(index) else { return 0 };
        let kept = p.kept.unwrap_or(self.blocks.len());
        if p.kept.is_none()
            && let Some(Arrival::Block(block)) = p.queue.front()
        {
            self.blocks.push(Arc::clone(block));
        }
        if p.kept.is_none() {
            self.kept.push(index);
        }
        p.kept = Some(kept);
        if whole {
            if let Some(Arrival::Block(block)) = p.queue.pop_front() {
                (p.stream, p.position) = (Arc::clone(&block.starts.stream), block.starts.end);
                if p.recounted > 0 {
                    self.since.parts.push((p.spec.source, Arc::clone(&block), p.recounted..block.records));
                } else {
                    let counted = std::mem::take(&mut *block.counted.lock().unwrap_or_else(|e| e.into_inner()));
                    self.since.counted.add(counted);
                }
            }
            p.taken = 0;
            p.recounted = 0;
            p.rises_taken = 0;
            p.kept = None;
        }
        kept
    }

    fn limit(&self, index: usize) -> Option<Limit> {
        self.standing.turn_without(index).map(|(watermark, index)| Limit { watermark, index })
    }

    /// Notes the rises of a partition's greatest time in every set that it is part of.
    fn rises(&mut self, index: usize, rises: &[(u32, Timestamp)], base: u32) {
        let Some(p) = self.partitions.get(index) else { return };
        let (source, out_of_order) = (p.spec.source, p.spec.out_of_order);
        for set in self.standing.sets_of(source) {
            let set = *set;
            // The least of the others does not move while this partition is read.
            let others = self.standing.least_without(set, index);
            for (ordinal, time) in rises {
                let to = others.map_or(time.minus(out_of_order), |o| o.min(time.minus(out_of_order)));
                self.reached.advance(set, base.wrapping_add(*ordinal), to);
            }
        }
    }

    /// A partition of a source ended at an ordinal.
    fn rise(&mut self, source: usize, ordinal: u32) {
        for set in self.standing.sets_of(source) {
            self.reached.advance(*set, ordinal, self.minimum(*set));
        }
    }

    pub(super) fn advance(&mut self, set: usize, to: Timestamp) {
        self.reached.advance(set, self.length, to);
    }

    /// The least watermark of a set's partitions that count. When none counts but some are idle, or may still come, it
    /// stands still; when all have ended it is at the end of time.
    pub(super) fn minimum(&self, set: usize) -> Timestamp {
        self.standing.least(set).unwrap_or_else(|| {
            let open = self.reached.sources(set).iter().any(|s| self.open.contains(s));
            if open || self.of_set(set).any(|(_, p)| p.idle || p.unfound) {
                self.reached.at(set)
            } else {
                Timestamp::MAX
            }
        })
    }

    pub(super) fn of_set(&self, set: usize) -> impl Iterator<Item = (usize, &Partition)> {
        let sources = self.reached.sources(set);
        self.partitions.iter().enumerate().filter(|(_, p)| sources.contains(&p.spec.source))
    }

    /// Ends the tick in the making.
    pub(super) fn cut(&mut self, join: &mut Join<'_>) -> Tick {
        let blocks = std::mem::take(&mut self.blocks);
        for index in self.kept.drain(..) {
            if let Some(p) = self.partitions.get_mut(index) {
                p.kept = None;
            }
        }
        let segments = std::mem::take(&mut self.segments);
        let tick = Tick {
            sequence: self.sequence,
            parcels: join_segments(blocks, &segments, join),
            watermarks: self.reached.cut(),
            used: std::mem::take(&mut self.used),
            turns: self.turns.cut(self.clocked || self.partitions.len() > 1),
            now: Some(self.clock),
            only_returns: self.only_returns(),
            said: self.said.take(),
            ..Tick::default()
        };
        self.sequence += 1;
        self.length = 0;
        tick
    }
}

/// Another partition's watermark, past which the turn is that partition's.
#[derive(Clone, Copy)]
struct Limit {
    watermark: Timestamp,
    index: usize,
}

impl Limit {
    fn still_first(self, watermark: Timestamp, index: usize) -> bool {
        (watermark, index) < (self.watermark, self.index)
    }
}
