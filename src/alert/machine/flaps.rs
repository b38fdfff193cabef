//! How often an alert changed between firing and resolved, and what was told while it flapped.

use serde::{Deserialize, Serialize};

use super::rules::Flapping;
use crate::base::time::Timestamp;

/// The changes of a key between firing and resolved.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Flaps {
    /// The latest, no more than it takes to flap.
    #[serde(rename = "t")]
    times: Vec<Timestamp>,
    #[serde(default, rename = "o", skip_serializing_if = "Option::is_none")]
    open: Option<Open>,
}

/// It flaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Open {
    /// The level that was told.
    #[serde(rename = "t")]
    told: Option<usize>,
    /// The level that it had when it fired last.
    #[serde(rename = "l")]
    level: Option<usize>,
}

impl Flaps {
    /// It changed: it fires at `level`, or fires no more. Flapping begins where it fires, so that what is told then is true.
    pub fn changed(&mut self, flapping: Flapping, at: Timestamp, fires: bool, level: Option<usize>) {
        let first = at.minus(flapping.within);
        self.times.retain(|time| *time > first);
        self.times.push(at);
        let enough = flapping.changes as usize + 1;
        self.times.drain(..self.times.len().saturating_sub(enough));
        match &mut self.open {
            Some(open) if fires => open.level = level,
            None if fires && self.times.len() == enough => self.open = Some(Open { told: level, level }),
            _ => {}
        }
    }

    /// While it flaps, the level that it had when it fired last.
    pub fn open(&self) -> Option<Option<usize>> {
        self.open.map(|open| open.level)
    }

    /// Whether a level is more severe than the one that was told; if it is, it counts as told.
    pub fn is_worse(&mut self, level: Option<usize>) -> bool {
        let Some(open) = &mut self.open else { return false };
        open.level = level;
        let worse = level > open.told;
        open.told = open.told.max(level);
        worse
    }

    /// The last change.
    pub fn last(&self) -> Option<Timestamp> {
        self.times.last().copied()
    }

    /// While it flaps, when that ends if nothing changes.
    pub fn calm_at(&self, flapping: Flapping) -> Option<Timestamp> {
        self.open.and(self.last()).map(|last| last.plus(flapping.within))
    }

    /// It flaps no more. The level that was told, if it did.
    pub fn close(&mut self) -> Option<Option<usize>> {
        self.open.take().map(|open| open.told)
    }

    /// Whether nothing that has been counts any more.
    pub fn is_calm(&self, flapping: Flapping, now: Timestamp) -> bool {
        self.open.is_none() && self.last().is_none_or(|last| last.plus(flapping.within) <= now)
    }
}
