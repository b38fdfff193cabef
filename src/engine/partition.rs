//! What partitions bring to the gate, and where each of them stands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::Place;

use super::ledger::Counted;
use super::map::Decoded;
use super::parcel::Parcel;

/// What a worker made of one block.
#[derive(Debug)]
pub struct Mapped {
    /// Records in the block, refused ones among them; each has an ordinal.
    pub records: u32,
    /// The greatest event time so far in the block, where it rises: ordinal and time.
    pub rises: Vec<(u32, Timestamp)>,
    /// What leaves the source's flow, by exit.
    pub parcels: Vec<Option<Parcel>>,
    /// Where each record begins, to resume there: positions in the partition.
    pub starts: Starts,
    /// What became of the records, for the ledger; taken by the gate with the last record.
    pub counted: Mutex<Counted>,
    /// The block before it went on, if a checkpoint may cut it in two.
    pub decoded: Option<Decoded>,
}

/// Positions of a block's records.
#[derive(Debug, Clone, Default)]
pub struct Starts {
    /// What the positions count in.
    pub stream: Arc<str>,
    /// The position of the block.
    pub base: u64,
    /// Offsets of the records from `base`; empty if records are counted, not measured.
    pub offsets: Vec<u32>,
    /// The position after the block.
    pub end: u64,
}

impl Starts {
    /// The position of a record.
    pub fn at(&self, record: u32) -> u64 {
        match self.offsets.get(record as usize) {
            Some(offset) => self.base + u64::from(*offset),
            None => (self.base + u64::from(record)).min(self.end),
        }
    }

    /// Where a record stands that could not be read: `byte 3 of the record at byte 58 of readings.csv`, both from 1, as
    /// `tail -c +58` has it. Lines are counted nowhere.
    pub fn place(&self, record: u32, within: &str, of: &str) -> String {
        let at = self.at(record) + 1;
        if within.is_empty() {
            format!("byte {at} of {of}")
        } else {
            format!("{within} of the record at byte {at} of {of}")
        }
    }
}

/// What a partition brings next.
#[derive(Debug)]
pub enum Arrival {
    /// A block.
    Block(Arc<Mapped>),
    /// Its end.
    End,
}

/// A partition's settings.
#[derive(Clone, Debug)]
pub struct PartitionSpec {
    /// Index of its source.
    pub source: usize,
    /// Its name, for resuming.
    pub name: String,
    /// Where it begins.
    pub start: Place,
    /// Whether it ends by itself.
    pub bounded: bool,
    /// Whether its watermark is read from the data; otherwise it is time of arrival and fixes no order.
    pub timed: bool,
    /// How far behind the greatest time seen events may come.
    pub out_of_order: TimeSpan,
    /// How long it is silent before it leaves the minimum.
    pub idle_after: TimeSpan,
    /// Of rows that come back to a sink: the sources that feed it. They end when these have, and no row is on its way.
    pub after: Option<Vec<usize>>,
}

/// Where a partition stands, for resuming.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartitionState {
    /// Index of its source.
    pub source: usize,
    /// Its name.
    pub name: String,
    /// What the position counts in, as its source spells it.
    pub stream: Arc<str>,
    /// Position of the next record.
    pub position: u64,
    /// The greatest event time seen.
    pub greatest: Timestamp,
    /// Whether its end was taken.
    pub ended: bool,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) spec: PartitionSpec,
    /// Arrivals that are not next yet.
    pub(super) early: BTreeMap<u64, Arrival>,
    /// Number of the next arrival.
    pub(super) next: u64,
    pub(super) queue: VecDeque<Arrival>,
    /// Records of the first block in the queue that were taken.
    pub(super) taken: u32,
    /// Of those, how many are in the last checkpoint's counts.
    pub(super) recounted: u32,
    /// Of the first block's rises, how many were taken.
    pub(super) rises_taken: usize,
    /// Where the first block stands among those of the tick in the making, if rows of it were taken into it.
    pub(super) kept: Option<usize>,
    pub(super) greatest: Timestamp,
    pub(super) stream: Arc<str>,
    pub(super) position: u64,
    /// How often its stream was renewed, since that is counted.
    pub(super) renewed: u32,
    pub(super) ended: bool,
    /// It ended because it was told to, and there may be more to read behind where it stands.
    pub(super) drained: bool,
    pub(super) idle: bool,
    /// It is there, and the turn in which it was found is not repeated yet: it does not count.
    pub(super) unfound: bool,
    /// Wall clock of the last arrival.
    pub(super) last_arrival: Timestamp,
}

impl Partition {
    pub(super) fn new(spec: PartitionSpec, now: Timestamp) -> Self {
        let Place { stream, position } = spec.start.clone();
        Partition {
            spec,
            early: BTreeMap::new(),
            next: 0,
            queue: VecDeque::new(),
            taken: 0,
            recounted: 0,
            rises_taken: 0,
            kept: None,
            greatest: Timestamp::MIN,
            stream,
            position,
            renewed: 0,
            ended: false,
            drained: false,
            idle: false,
            unfound: false,
            last_arrival: now,
        }
    }

    pub(super) fn restore(&mut self, state: &PartitionState) {
        self.greatest = state.greatest;
        self.stream = Arc::clone(&state.stream);
        self.position = state.position;
        // What is live and was gone is looked at again: its file may be there under another name.
        self.ended = state.ended && self.spec.bounded;
    }

    /// What the place that it stands at counts in, and the position of its next record.
    pub(super) fn place(&self) -> (&Arc<str>, u64) {
        match self.queue.front() {
            Some(Arrival::Block(block)) if self.taken > 0 => (&block.starts.stream, block.starts.at(self.taken)),
            _ => (&self.stream, self.position),
        }
    }

    /// How often the stream of its first block was renewed: another begins at 0 again. (A stream may be spelled otherwise with
    /// every read, so that its spelling does not tell.)
    pub(super) fn renewed(&self) -> u32 {
        match self.queue.front() {
            Some(Arrival::Block(block)) if self.taken == 0 => {
                self.renewed + u32::from(block.starts.base < self.position)
            }
            _ => self.renewed,
        }
    }

    pub(super) fn watermark(&self) -> Timestamp {
        if self.ended { Timestamp::MAX } else { self.greatest.minus(self.spec.out_of_order) }
    }

    /// What fixes the order among bounded partitions.
    pub(super) fn order(&self) -> Timestamp {
        if self.spec.timed { self.watermark() } else { Timestamp::MIN }
    }

    /// Whether everything it brought was taken.
    pub(super) fn is_caught_up(&self) -> bool {
        self.queue.is_empty() && self.early.is_empty()
    }

    /// Whether it has brought nothing for as long as makes it idle.
    pub(super) fn is_silent(&self, now: Timestamp) -> bool {
        now.0.saturating_sub(self.last_arrival.0) >= self.spec.idle_after.0
    }

    /// Whether it counts in the minimum.
    pub(super) fn counts(&self) -> bool {
        !self.ended && !self.idle && !self.unfound
    }
}
