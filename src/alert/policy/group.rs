//! Groups: what is told together, to each receiver in its own time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::alerts::Alert;
use super::gather::GatherKey;
use super::instance::{Fingerprint, Instance};
use super::told::text_of;
use crate::base::time::Timestamp;
use crate::data::hash::row_id;

/// What stands for a group.
pub(super) type GroupId = u128;

#[derive(Debug)]
pub(super) struct Group {
    pub(super) alert: usize,
    /// What makes it, as its notifications say it.
    pub(super) labels: Vec<(String, String)>,
    pub(super) key: String,
    /// The transition that made it. It tells its notifications from those of a group that was there before.
    pub(super) born: (Timestamp, u64),
    pub(super) members: BTreeSet<Fingerprint>,
    /// One for each target of the alert.
    pub(super) lanes: Vec<Lane>,
}

/// What one receiver is told of a group.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Lane {
    /// Notifications that were made.
    #[serde(rename = "n")]
    pub(super) number: u64,
    /// When the last one was.
    #[serde(rename = "s")]
    pub(super) sent: Option<Timestamp>,
    /// When it is looked at.
    #[serde(rename = "d")]
    pub(super) due: Option<Timestamp>,
    /// Its place among those that are looked at then.
    #[serde(rename = "o")]
    pub(super) order: u64,
    /// What it waits in, to be told together with others.
    #[serde(skip)]
    pub(super) gather: Option<GatherKey>,
}

impl Group {
    /// The group of an instance that fires.
    pub(super) fn of(alert: &Alert, instance: &Instance) -> (GroupId, Group) {
        let labels: Vec<(String, String)> = match &alert.policy.group_by {
            None => sorted(&instance.told.key),
            Some(names) => {
                names.iter().map(|name| (name.clone(), instance.label(name).unwrap_or_default().to_owned())).collect()
            }
        };
        let key = key_text(&alert.name, &labels);
        // A group of one key has the same text as one by labels that are named like the key.
        let place = u64::from(alert.policy.group_by.is_some());
        let id = row_id(place, key.as_bytes());
        let born = (instance.told.at, instance.told.number);
        let lanes = vec![Lane::default(); alert.targets.len()];
        (id, Group { alert: instance.alert, labels, key, born, members: BTreeSet::new(), lanes })
    }
}

fn sorted(key: &Map<String, Value>) -> Vec<(String, String)> {
    let mut labels: Vec<(String, String)> = key.iter().map(|(name, value)| (name.clone(), text_of(value))).collect();
    labels.sort();
    labels
}

/// `overheating{site="a"}`.
fn key_text(alert: &str, labels: &[(String, String)]) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    if labels.is_empty() { alert.to_owned() } else { format!("{alert}{{{}}}", labels.join(", ")) }
}
