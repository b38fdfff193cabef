//! When what came arrived, written down beside [turns](super::turns) where that matters and the source does not know it when
//! it is read again: time of arrival is event time where nothing in an event is, and decides what is too far ahead.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::base::time::Timestamp;

use super::partition::PartitionState;
use super::turns::Named;

/// Everything of a partition up to a position, in a stream that was renewed so often, arrived at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Arrived {
    pub(super) of: Named,
    pub(super) renewed: u32,
    pub(super) to: u64,
    pub(super) at: Timestamp,
}

/// What is known of arrivals, by partition.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Those that were read back and did not come again yet.
    read: HashMap<Named, VecDeque<Arrived>>,
    /// Those that are written down, until a checkpoint holds their rows: number, renewals and position.
    written: HashMap<Named, VecDeque<(u64, u32, u64)>>,
}

impl Arrivals {
    /// One that was read back, under the number that it was written under.
    pub(super) fn was_read(&mut self, number: u64, arrived: Arrived) {
        self.was_written(number, &arrived);
        self.read.entry(arrived.of.clone()).or_default().push_back(arrived);
    }

    /// One that was written down.
    pub(super) fn was_written(&mut self, number: u64, arrived: &Arrived) {
        let of = self.written.entry(arrived.of.clone()).or_default();
        of.push_back((number, arrived.renewed, arrived.to));
    }

    /// When what comes now arrived before, from a position to another: the end of each part, and its time. What is behind
    /// the last of them has not come before.
    pub(super) fn of(&mut self, of: &Named, renewed: u32, (from, to): (u64, u64)) -> Vec<(u64, Timestamp)> {
        let Some(read) = self.read.get_mut(of) else { return Vec::new() };
        let mut parts = Vec::new();
        while let Some(first) = read.front().filter(|first| first.renewed <= renewed) {
            if first.renewed == renewed && first.to > from {
                parts.push((first.to.min(to), first.at));
                if first.to >= to {
                    break;
                }
            }
            read.pop_front();
        }
        if read.is_empty() {
            self.read.remove(of);
        }
        parts
    }

    /// The first number that is needed when partitions stand here, of those up to `next`.
    pub(super) fn needed(&mut self, states: &[PartitionState], renewed: &[(Named, u32)], next: u64) -> u64 {
        for state in states {
            let of = Named(state.source, state.name.clone());
            let times = renewed.iter().find(|(name, _)| *name == of).map_or(0, |(_, renewed)| *renewed);
            if let Some(written) = self.written.get_mut(&of) {
                while written.front().is_some_and(|(_, r, to)| (*r, *to) <= (times, state.position)) {
                    written.pop_front();
                }
            }
        }
        // Of partitions that are gone nothing is needed.
        self.written.retain(|of, written| {
            !written.is_empty() && states.iter().any(|state| state.source == of.0 && state.name == of.1)
        });
        self.written.values().filter_map(|written| written.front()).map(|(number, ..)| *number).min().unwrap_or(next)
    }
}
