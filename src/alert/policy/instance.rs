//! One key of an alert that is not inactive, or of which somebody must still be told that it is over.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::told::Told;
use crate::base::time::Timestamp;

/// What stands for an alert and a key.
pub(super) type Fingerprint = u64;

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Instance {
    /// Its place among the alerts.
    pub(super) alert: usize,
    /// The last transition. While it flaps, its severity is that of before.
    pub(super) told: Told,
    /// All labels, by name.
    pub(super) labels: Vec<(String, String)>,
    /// When the run began that made it fire.
    pub(super) since: Timestamp,
    /// The group in which it fired; it stays there until it is over.
    pub(super) group: Option<u128>,
    /// What each target was told last and was not told to be over.
    pub(super) known: Vec<Option<Known>>,
    pub(super) acknowledged: Option<Acknowledged>,
    /// What it does now came too late to be told of; it is when the stream has caught up.
    pub(super) too_old: bool,
    /// Its last transition in the history, and its last one to something that fires.
    pub(super) entry: u64,
    pub(super) fired_entry: u64,
    /// The begin of the run that may make it fire again, if it is pending; `told` may be of the firing before.
    pub(super) pending: Option<Timestamp>,
}

/// What somebody was told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Known {
    /// Which firing.
    #[serde(rename = "f")]
    pub(super) fired_at: Option<Timestamp>,
    #[serde(rename = "s")]
    pub(super) severity: Arc<str>,
    /// When.
    #[serde(rename = "w")]
    pub(super) when: Timestamp,
    /// In which notification.
    #[serde(rename = "i")]
    pub(super) notification: u128,
    /// Whether it wants to be told when that is over.
    #[serde(rename = "r", default = "wants")]
    pub(super) resolves: bool,
}

fn wants() -> bool {
    true
}

/// Somebody knows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Acknowledged {
    pub(super) by: String,
    pub(super) comment: String,
    pub(super) at: Timestamp,
    pub(super) until: Option<Timestamp>,
}

impl Instance {
    pub(super) fn fires(&self) -> bool {
        self.told.state.fires()
    }

    /// Whether nothing more is to be done about it.
    pub(super) fn is_over(&self) -> bool {
        !self.fires() && self.pending.is_none() && self.known.iter().all(Option::is_none)
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
        self.labels.get(at).map(|(_, value)| value.as_str())
    }

    /// The values of these labels, which make one text.
    pub(super) fn joined(&self, names: &[String]) -> String {
        names.iter().flat_map(|name| [self.label(name).unwrap_or_default(), "\0"]).collect()
    }
}
