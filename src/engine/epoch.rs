//! What a checkpoint is made of: everything that changed from one barrier to the next, and whoever keeps it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::base::time::Timestamp;
use crate::connector::{self, Marks, Place, Prepared, Refused};
use crate::plan::NodeId;
use crate::store::rows::{Item, ReturnedRow, Status};

use super::job::Snapshot;
use super::ledger::Counted;
use super::partition::PartitionState;
use super::state::{StateRow, StateRows};
use super::turn_log::Written;

/// Everything that changed since the barrier before, cut at one point of the stream.
#[derive(Debug, Default)]
pub struct Epoch {
    /// Where partitions stand.
    pub partitions: Vec<PartitionState>,
    /// Up to where the turns of live inputs are part of it, where they are written down.
    pub turns: Option<Written>,
    /// The watermark of each step with state: where all was idle it is beyond what partitions have seen, and a partition
    /// found later does not move it back.
    pub watermarks: BTreeMap<String, Timestamp>,
    /// Changed rows by step, of one key the last counts.
    pub steps: BTreeMap<String, StateRows>,
    /// What became of rows.
    pub counted: Counted,
    /// Rows that each step with state and each sink holds.
    pub held: HashMap<NodeId, u64>,
    /// What sinks have to remember.
    pub marks: Vec<(NodeId, Marks)>,
    /// Rows that sinks were refused and that come back to them.
    pub returned: Vec<(NodeId, Refused)>,
    /// Of what comes back to sinks, by source: those that feed the sink have ended.
    pub spent: Vec<usize>,
}

impl Epoch {
    /// How many rows changed, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        self.steps.values().fold((0, 0), |(rows, bytes), of| (rows + of.len(), bytes + of.bytes()))
    }

    /// Takes in what a sink handed out, and what became of its rows.
    pub(super) fn take_mark(&mut self, sink: NodeId, prepared: Prepared, counted: Counted) {
        self.marks.push((sink, prepared.marks));
        self.returned.extend(prepared.refused.into_iter().map(|row| (sink, row)));
        self.counted.add(counted);
        self.held.insert(sink, prepared.held);
    }

    /// Takes in the epoch that follows.
    pub fn follow(&mut self, next: Epoch) {
        self.partitions = next.partitions;
        self.turns = next.turns;
        self.watermarks = next.watermarks;
        for (step, rows) in next.steps {
            self.steps.entry(step).or_default().append(rows);
        }
        self.counted.add(next.counted);
        self.held = next.held;
        self.marks.extend(next.marks);
        self.returned.extend(next.returned);
        self.spent = next.spent;
    }
}

/// Keeps checkpoints.
pub trait Keeper: Kept + Send {
    /// Makes an epoch durable, all of it or nothing. After an error the run ends.
    fn commit(&mut self, epoch: Epoch, status: Status) -> Result<(), String>;

    /// How many rows each step holds after its state was read back: fewer than at the checkpoint if somebody took keys away.
    fn restored(&mut self, _held: &HashMap<NodeId, u64>) {}

    /// Makes durable what sinks handed out after the last checkpoint, and what became of their rows.
    fn settle(&mut self, _epoch: Epoch, _status: Status) -> Result<(), String> {
        Ok(())
    }

    /// The run has failed after the last checkpoint.
    fn failed(&mut self) {}

    /// The output of a run whose input has ended is final: the next run begins anew.
    fn complete(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// One past the number of the last row that came back to a sink: the number of the next.
    fn returned_end(&self, _sink: NodeId) -> u64 {
        0
    }

    /// Reads the rows that come back to a sink, beside it; `None` if it keeps none: then they are dead letters.
    fn returned_rows(&self, _sink: NodeId) -> Result<Option<Box<dyn ReturnedRows>>, String> {
        Ok(None)
    }

    /// Puts what it keeps in order for about so long; whether there is more to do.
    fn tidy(&mut self, _budget: std::time::Duration) -> Result<bool, String> {
        Ok(false)
    }
}

/// Where rows are read from that come back to a sink.
pub trait ReturnedRows: Send {
    /// The first rows from a number on; none if there is none yet.
    fn read(&mut self, from: u64) -> Result<Vec<ReturnedRow>, String>;
}

/// Where rows of steps are read from when a run goes on.
pub trait Kept {
    /// How many rows a step has at most.
    fn size(&self, step: &str) -> u64;

    /// The rows of a step whose key group is among `groups`.
    fn part(&self, step: &str, groups: Range<u64>) -> Result<Part<'_>, String>;
}

/// What takes rows.
pub type Each<'a> = &'a mut dyn FnMut(Item<'_>) -> Result<(), String>;

/// Hands out rows, one a key; a key that is gone may have one without a value. Reading them is work that any thread can do.
pub type Part<'a> = Box<dyn FnOnce(Each<'_>) -> Result<(), String> + Send + 'a>;

/// Where the input stood at a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Stood {
    /// Where partitions stood.
    pub partitions: Vec<PartitionState>,
    /// The watermark of each step with state: where all was idle it is beyond what partitions have seen, and a partition
    /// found later does not move it back.
    #[serde(default)]
    pub watermarks: BTreeMap<String, Timestamp>,
    /// Up to where the turns of live inputs are part of it, where they are written down.
    #[serde(default)]
    pub turns: Option<Written>,
    /// A run begins here, with what an earlier one has left.
    #[serde(default)]
    pub begins: bool,
}

impl Stood {
    /// Whether it is where a run begins.
    pub fn is_start(&self) -> bool {
        self.begins || (self.partitions.is_empty() && self.watermarks.is_empty())
    }

    /// Where the partitions of one source stood, by name.
    pub fn of_source(&self, source: usize) -> BTreeMap<String, connector::Stood> {
        let of_source = self.partitions.iter().filter(|state| state.source == source);
        let stood = of_source.map(|state| {
            let place = Place { stream: Arc::clone(&state.stream), position: state.position };
            (state.name.clone(), connector::Stood { place, ended: state.ended })
        });
        stood.collect()
    }
}

/// What a run goes on from.
#[derive(Clone, Copy)]
pub struct Resume<'a> {
    /// Where the input stood.
    pub stood: &'a Stood,
    /// What steps kept.
    pub rows: &'a dyn Kept,
}

/// Puts a row in the place of the one before it with the same key.
fn keep_last<'a>(rows: &mut Vec<&'a StateRow>, latest: &mut HashTable<usize>, row: &'a StateRow) {
    let same = |at: &usize| rows.get(*at).is_some_and(|other| other.key == row.key);
    if let Some(place) = latest.find(row.hash, same).and_then(|at| rows.get_mut(*at)) {
        *place = row;
        return;
    }
    rows.push(row);
    latest.insert_unique(row.hash, rows.len() - 1, |at| rows.get(*at).map_or(0, |row| row.hash));
}

impl Kept for Snapshot {
    fn size(&self, step: &str) -> u64 {
        self.steps.get(step).map_or(0, |rows| rows.len() as u64)
    }

    fn part(&self, step: &str, groups: Range<u64>) -> Result<Part<'_>, String> {
        let of_step = self.steps.get(step);
        Ok(Box::new(move |each| {
            let mut rows: Vec<&StateRow> = Vec::new();
            let mut latest: HashTable<usize> = HashTable::new();
            for row in of_step.into_iter().flatten().filter(|row| groups.contains(&row.group())) {
                keep_last(&mut rows, &mut latest, row);
            }
            rows.into_iter().try_for_each(|row| each(row.item()))
        }))
    }
}

/// Keeps checkpoints in memory.
impl Keeper for Snapshot {
    fn commit(&mut self, epoch: Epoch, _: Status) -> Result<(), String> {
        let Epoch { partitions, watermarks, turns, .. } = epoch;
        self.stood = Stood { partitions, watermarks, turns, begins: false };
        for (step, rows) in epoch.steps {
            self.steps.entry(step).or_default().extend(rows.iter().map(Item::to_row));
        }
        for (node, entry) in epoch.counted.into_entries() {
            let total = self.ledger.entry(node.index()).or_default();
            total.tally.add(&entry.tally);
            for (from, port, rows) in entry.handed {
                *total.handed.entry((from.index(), port)).or_default() += rows;
            }
        }
        self.ledger.values_mut().for_each(|total| total.held = 0);
        for (node, held) in epoch.held {
            self.ledger.entry(node.index()).or_default().held = held;
        }
        Ok(())
    }
}
