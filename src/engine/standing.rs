//! Which partition is next and what the least watermark is, without looking at all of them: with a thousand files a turn
//! may be a single row.

use std::collections::BTreeSet;

use crate::base::time::Timestamp;

use super::partition::Partition;

/// The partitions in the orders that the gate asks for. Of one that changes, it is told before and after.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Bounded partitions that have not ended, in the order they are read in.
    turns: BTreeSet<(Timestamp, usize)>,
    /// Live partitions that have brought something.
    arrived: BTreeSet<usize>,
    /// By set: its partitions that count in the minimum, by watermark.
    counting: Vec<BTreeSet<(Timestamp, usize)>>,
    /// By source: the sets that it is part of.
    sets_of: Vec<Vec<usize>>,
    /// How many have not ended.
    open: usize,
}

impl Standing {
    /// For sets of sources; no partition stands yet.
    pub(super) fn new(sets: &[Vec<usize>]) -> Self {
        let sources = sets.iter().flatten().max().map_or(0, |last| last + 1);
        let of = |source: usize| -> Vec<usize> {
            (0..sets.len()).filter(|s| sets.get(*s).is_some_and(|set| set.contains(&source))).collect()
        };
        Standing {
            counting: vec![BTreeSet::new(); sets.len()],
            sets_of: (0..sources).map(of).collect(),
            ..Standing::default()
        }
    }

    /// A partition stands as it is now.
    pub(super) fn enter(&mut self, index: usize, p: &Partition) {
        if p.unfound {
            return;
        }
        if p.spec.bounded && !p.ended {
            self.turns.insert((p.order(), index));
        }
        if !p.spec.bounded && !p.queue.is_empty() {
            self.arrived.insert(index);
        }
        if p.counts() {
            for set in self.sets_of.get(p.spec.source).into_iter().flatten() {
                if let Some(counting) = self.counting.get_mut(*set) {
                    counting.insert((p.watermark(), index));
                }
            }
        }
        self.open += usize::from(!p.ended);
    }

    /// A partition is about to change.
    pub(super) fn leave(&mut self, index: usize, p: &Partition) {
        if p.unfound {
            return;
        }
        self.turns.remove(&(p.order(), index));
        self.arrived.remove(&index);
        for set in self.sets_of.get(p.spec.source).into_iter().flatten() {
            if let Some(counting) = self.counting.get_mut(*set) {
                counting.remove(&(p.watermark(), index));
            }
        }
        self.open -= usize::from(!p.ended);
    }

    /// The sets that a source is part of.
    pub(super) fn sets_of(&self, source: usize) -> &[usize] {
        self.sets_of.get(source).map_or(&[], Vec::as_slice)
    }

    /// The first live partition that has brought something, in the order written.
    pub(super) fn arrived(&self) -> Option<usize> {
        self.arrived.first().copied()
    }

    /// The bounded partition whose turn it is.
    pub(super) fn turn(&self) -> Option<usize> {
        self.turns.first().map(|(_, index)| *index)
    }

    /// Where the next turn lies but for one partition's.
    pub(super) fn turn_without(&self, index: usize) -> Option<(Timestamp, usize)> {
        self.turns.iter().find(|(_, other)| *other != index).copied()
    }

    /// The least watermark of a set's partitions that count.
    pub(super) fn least(&self, set: usize) -> Option<Timestamp> {
        self.counting.get(set)?.first().map(|(at, _)| *at)
    }

    /// The partition that has it.
    pub(super) fn holder(&self, set: usize) -> Option<usize> {
        self.counting.get(set)?.first().map(|(_, index)| *index)
    }

    /// The least watermark of a set's partitions that count, but for one.
    pub(super) fn least_without(&self, set: usize, index: usize) -> Option<Timestamp> {
        self.counting.get(set)?.iter().find(|(_, other)| *other != index).map(|(at, _)| *at)
    }

    /// How many partitions have not ended.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// Whether every partition has ended.
    pub(super) fn is_over(&self) -> bool {
        self.open == 0
    }
}
