//! What is held back, at the start of a run or by a rate, and told together later.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::group::GroupId;
use super::settings::Rate;
use crate::base::limit;
use crate::base::time::Timestamp;

/// What waits together, for one receiver.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum GatherKey {
    /// Until the first time of the run is over.
    Grace { receiver: usize, end: Timestamp },
    /// Until a rate has room: that of an alert, or of the receiver.
    Rate(RateKey),
}

/// Whose rate: of a receiver, of one alert or of all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct RateKey {
    pub(super) receiver: usize,
    pub(super) alert: Option<usize>,
}

impl GatherKey {
    pub(super) fn receiver(&self) -> usize {
        match self {
            GatherKey::Grace { receiver, .. } => *receiver,
            GatherKey::Rate(rate) => rate.receiver,
        }
    }
}

/// What one group waits in, as it is stored with the group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Waits {
    /// Of the first time of a run, its end; else it is a rate.
    grace: Option<Timestamp>,
    /// Whether it is the rate of the alert.
    of_alert: bool,
    due: Timestamp,
    order: u64,
}

impl Waits {
    pub(super) fn of(key: GatherKey, gather: &Gather) -> Self {
        let (grace, of_alert) = match key {
            GatherKey::Grace { end, .. } => (Some(end), false),
            GatherKey::Rate(rate) => (None, rate.alert.is_some()),
        };
        Waits { grace, of_alert, due: gather.due, order: gather.order }
    }

    /// The same for a receiver and an alert, whose numbers may be others now.
    pub(super) fn restored(&self, receiver: usize, alert: usize) -> (GatherKey, Gather) {
        let key = match self.grace {
            Some(end) => GatherKey::Grace { receiver, end },
            None => GatherKey::Rate(RateKey { receiver, alert: self.of_alert.then_some(alert) }),
        };
        (key, Gather { lanes: BTreeSet::new(), due: self.due, order: self.order })
    }
}

#[derive(Debug)]
pub(super) struct Gather {
    /// Groups, each with its target.
    pub(super) lanes: BTreeSet<(GroupId, usize)>,
    pub(super) due: Timestamp,
    pub(super) order: u64,
}

/// When notifications were sent that a rate counts, the newest last.
pub(super) type Sent = VecDeque<Timestamp>;

/// When a rate has room again, if it has none.
pub(super) fn free_at(rate: Rate, sent: &Sent, now: Timestamp) -> Option<Timestamp> {
    let count = rate.count.clamp(1, limit::NOTIFICATION_RATE) as usize;
    let oldest = sent.iter().rev().nth(count - 1)?;
    let free = oldest.plus(rate.per);
    (free > now).then_some(free)
}

/// One more was sent; of the others those that count no more go.
pub(super) fn count(rate: Rate, sent: &mut Sent, now: Timestamp) {
    sent.push_back(now);
    let count = rate.count.clamp(1, limit::NOTIFICATION_RATE) as usize;
    while sent.len() > count || sent.front().is_some_and(|at| at.plus(rate.per) <= now) {
        sent.pop_front();
    }
}
