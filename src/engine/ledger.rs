//! What became of every row: counted per entry, with samples of what nobody reads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::base::limit::ERROR_SAMPLES;
use crate::base::time::Timestamp;
use crate::plan::{NodeId, Port};
use crate::store::rows::{Cause, Origin};

/// Rows of one entry. Each row taken ends as passed on, filtered, dropped, failed, late, a
/// duplicate or absorbed by a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Tally {
    /// Rows that came in.
    pub taken: u64,
    /// Rows that went on to readers, made ones among them.
    pub passed: u64,
    /// Rows for which a condition was false.
    pub filtered: u64,
    /// Rows that a script dropped, or of which an `explode` made none.
    pub dropped: u64,
    /// Rows that repeat one before them.
    pub duplicate: u64,
    /// Rows that could not be processed.
    pub failed: u64,
    /// Rows that came after what they belong to was gone.
    pub late: u64,
    /// Rows that an `explode` made beyond those that came in: `taken + made` is what the others add up to.
    pub made: u64,
    /// Rows that a step took into what it keeps and that are gone from there: their last window has closed.
    pub absorbed: u64,
    /// Of the failed and late ones, those that nobody reads: dead letters.
    pub dead: u64,
}

impl Tally {
    /// Adds another count.
    pub fn add(&mut self, other: &Tally) {
        self.taken += other.taken;
        self.passed += other.passed;
        self.filtered += other.filtered;
        self.dropped += other.dropped;
        self.duplicate += other.duplicate;
        self.failed += other.failed;
        self.late += other.late;
        self.made += other.made;
        self.absorbed += other.absorbed;
        self.dead += other.dead;
    }
}

/// One row that could not be processed and that nobody reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// Where it came in the input, so that the first ones are shown whichever worker met them.
    pub order: (u64, u32),
    /// What is wrong.
    pub reason: String,
    /// Where: an expression's place in the pipeline file or a byte of the record, with where that stands in its file.
    pub place: String,
    /// The row's text.
    pub original: String,
}

/// A row that nobody could take, to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it came in the input: letters are kept in this order.
    pub order: (u64, u32),
    /// Why it is one.
    pub cause: Cause,
    /// What is wrong.
    pub reason: String,
    /// Where: an expression's place in the pipeline file or a byte of the record, with where that stands in its file.
    pub place: String,
    /// Its event time; the least if it has none.
    pub time: Timestamp,
    /// What `original` is.
    pub origin: Origin,
    /// Of a record of CSV: the names of its fields.
    pub header: Option<Arc<Vec<String>>>,
    /// The row as it came to the entry.
    pub original: Vec<u8>,
}

/// What is known of an entry at a checkpoint, since the run began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Rows.
    pub tally: Tally,
    /// Rows that it holds.
    pub held: u64,
    /// Rows that were handed to it, by the index of the node whose output they are, and its port.
    pub handed: BTreeMap<(usize, Port), u64>,
}

/// The counts of a whole run.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Mutex<Vec<Entry>>,
}

/// The counts and samples of one entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Entry {
    /// Rows.
    pub tally: Tally,
    /// The first few dead letters.
    pub samples: Vec<Sample>,
    /// All of them, where they are kept.
    pub letters: Vec<Letter>,
    /// Rows that outputs of other entries have handed to it. What it took in is counted where it takes them, and must be as
    /// many.
    pub handed: Vec<(NodeId, Port, u64)>,
}

impl Entry {
    /// Keeps a sample if it is among the first.
    pub fn sample(&mut self, sample: Sample) {
        if self.samples.len() >= ERROR_SAMPLES && self.samples.last().is_some_and(|last| *last <= sample) {
            return;
        }
        let at = self.samples.partition_point(|s| *s < sample);
        self.samples.insert(at, sample);
        self.samples.truncate(ERROR_SAMPLES);
    }

    /// Notes rows that were handed to it.
    pub fn hand(&mut self, from: NodeId, port: &Port, rows: u64) {
        match self.handed.iter_mut().find(|(node, of, _)| *node == from && of == port) {
            Some((_, _, sum)) => *sum += rows,
            None => self.handed.push((from, port.clone(), rows)),
        }
    }

    /// Whether a sample at this place would be kept: making one costs copies.
    pub fn wants(&self, order: (u64, u32)) -> bool {
        self.samples.len() < ERROR_SAMPLES || self.samples.last().is_some_and(|last| order < last.order)
    }
}

impl Ledger {
    /// For a plan with this many nodes.
    pub fn new(nodes: usize) -> Self {
        Ledger { entries: Mutex::new(vec![Entry::default(); nodes]) }
    }

    /// Adds what a worker counted.
    pub fn add(&self, counted: &Counted) {
        let mut entries = self.entries.lock().unwrap_or_else(|e| e.into_inner());
        for (node, entry) in &counted.entries {
            if let Some(total) = entries.get_mut(node.index()) {
                total.tally.add(&entry.tally);
                entry.samples.iter().for_each(|s| total.sample(s.clone()));
            }
        }
    }

    /// The rows so far, by node.
    pub fn tallies(&self) -> Vec<Tally> {
        let entries = self.entries.lock().unwrap_or_else(|e| e.into_inner());
        entries.iter().map(|entry| entry.tally).collect()
    }

    /// The counts so far, by node.
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

/// What one worker counted since it last told the ledger.
#[derive(Debug, Default)]
pub struct Counted {
    entries: Vec<(NodeId, Entry)>,
}

impl Counted {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds what was counted elsewhere, with its letters and without its samples.
    pub fn add(&mut self, other: Counted) {
        for (node, entry) in other.entries {
            let total = self.of(node);
            total.tally.add(&entry.tally);
            total.letters.extend(entry.letters);
            entry.handed.iter().for_each(|(from, port, rows)| total.hand(*from, port, *rows));
        }
    }

    /// How many letters there are.
    pub fn letters(&self) -> usize {
        self.entries.iter().map(|(_, entry)| entry.letters.len()).sum()
    }

    /// Bytes of the letters.
    pub fn letter_bytes(&self) -> usize {
        let letters = self.entries.iter().flat_map(|(_, entry)| &entry.letters);
        letters.map(|letter| letter.original.len() + letter.reason.len() + size_of::<Letter>()).sum()
    }

    /// The entries with what was counted of them.
    pub fn into_entries(self) -> Vec<(NodeId, Entry)> {
        self.entries
    }

    /// The counts of a node.
    pub fn of(&mut self, node: NodeId) -> &mut Entry {
        let at = self.entries.iter().position(|(n, _)| *n == node).unwrap_or_else(|| {
            self.entries.push((node, Entry::default()));
            self.entries.len() - 1
        });
        &mut self.entries[at].1
    }
}
