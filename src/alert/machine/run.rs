//! How far a condition has come on its way to holding long enough.

use serde::{Deserialize, Serialize};

use super::rules::Hold;
use crate::base::time::{TimeSpan, Timestamp};

/// What is remembered of the rows in which a condition held. Of one that cannot hold long enough any sooner for what has
/// been, nothing is: it has not begun.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Run {
    /// The newest rows or windows, the latest in the lowest bit; set where it held. Not used for a span.
    #[serde(default, rename = "r", skip_serializing_if = "is_zero")]
    slots: u64,
    /// When: of a span the first row, else every bit that is set, the oldest first.
    #[serde(default, rename = "h", skip_serializing_if = "Vec::is_empty")]
    held: Vec<Timestamp>,
    /// Whether the lowest bit is the window of the newest row.
    #[serde(default, rename = "c", skip_serializing_if = "std::ops::Not::not")]
    counted: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(slots: &u64) -> bool {
    *slots == 0
}

/// The lowest `count` bits.
fn newest(count: u32) -> u64 {
    u64::MAX.checked_shr(64 - count.min(64)).unwrap_or(0)
}

impl Run {
    /// A row comes, before which `missing` windows had none; or one of the same window `again`.
    pub fn comes(&mut self, hold: &Hold, missing: u32, again: bool) {
        if again {
            return;
        }
        self.counted = false;
        if let Hold::Windows { wanted, of } = *hold {
            self.slots = self.slots.checked_shl(missing).unwrap_or(0);
            self.forget(wanted, of);
        }
    }

    /// The condition holds in the row that came; if now for long enough: since when.
    pub fn holds(&mut self, hold: &Hold, time: Timestamp) -> Option<Timestamp> {
        let (wanted, of) = match *hold {
            Hold::None => return Some(time),
            Hold::Lasting(span) => {
                if self.held.is_empty() {
                    self.held.push(time);
                }
                return self.lasts(span, time);
            }
            Hold::Events { wanted, of } => {
                self.slots <<= 1;
                (wanted, of)
            }
            Hold::Windows { wanted, of } => {
                if !self.counted {
                    self.slots <<= 1;
                }
                self.counted = true;
                (wanted, of)
            }
        };
        // In a window of several rows it holds if it does in one.
        if self.slots & 1 == 0 {
            self.slots |= 1;
            self.held.push(time);
        }
        self.slots &= newest(of);
        self.keep_set();
        if self.slots.count_ones() >= wanted { self.held.first().copied() } else { None }
    }

    /// It does not hold in the row that came.
    pub fn fails(&mut self, hold: &Hold) {
        match *hold {
            Hold::None => {}
            Hold::Lasting(_) => self.held.clear(),
            Hold::Events { wanted, of } => {
                self.slots <<= 1;
                self.forget(wanted, of);
            }
            // What this makes useless is forgotten when the window is over: another row of it may hold.
            Hold::Windows { .. } => {
                if !self.counted {
                    self.slots <<= 1;
                    self.counted = true;
                }
            }
        }
    }

    /// When a span that has begun is complete.
    pub fn complete_at(&self, hold: &Hold) -> Option<Timestamp> {
        match (hold, self.held.first()) {
            (Hold::Lasting(span), Some(since)) => Some(since.plus(*span)),
            _ => None,
        }
    }

    /// Since when the condition holds often enough to count, if it has begun to.
    pub fn since(&self, hold: &Hold) -> Option<Timestamp> {
        match *hold {
            Hold::None | Hold::Lasting(_) => self.held.first().copied(),
            Hold::Events { wanted, of } | Hold::Windows { wanted, of } => {
                let counting = (self.slots & newest(useful(self.slots, wanted, of)?)).count_ones();
                self.held.get(self.held.len().checked_sub(counting as usize)?).copied()
            }
        }
    }

    /// In how many of the rows or windows that count it held.
    pub fn count(&self) -> u32 {
        self.slots.count_ones()
    }

    fn lasts(&self, span: TimeSpan, time: Timestamp) -> Option<Timestamp> {
        self.held.first().copied().filter(|since| since.plus(span) <= time)
    }

    /// Forgets what cannot bring it about sooner.
    fn forget(&mut self, wanted: u32, of: u32) {
        self.slots &= newest(of);
        if useful(self.slots, wanted, of).is_none() {
            self.slots = 0;
        }
        self.keep_set();
    }

    fn keep_set(&mut self) {
        let gone = self.held.len().saturating_sub(self.slots.count_ones() as usize);
        self.held.drain(..gone);
    }
}

/// The newest slots with which it would hold long enough after fewer rows than from nothing: with `k` more rows in which it
/// holds, the newest `of - k` count besides. Of several `k` the least.
fn useful(slots: u64, wanted: u32, of: u32) -> Option<u32> {
    (1..wanted)
        .map(|k| (k, of - k))
        .find(|(k, rest)| (slots & newest(*rest)).count_ones() + k >= wanted)
        .map(|(_, r)| r)
}
