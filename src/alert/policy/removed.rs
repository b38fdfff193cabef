//! Alerts that are gone from the pipeline, or whose state was forgotten, while they fired: nobody else would ever say that it
//! is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Policy;
use super::alerts::Alert;
use super::settings::AlertPolicy;
use super::state::InstanceRow;
use super::told::{Stage, Told};
use crate::base::time::Timestamp;

/// Why it is over.
const REMOVED: &str = "removed";

impl Policy {
    /// Takes alerts in again that the pipeline has no more and of which somebody was told that they fire: for these receivers,
    /// of those that it still has.
    pub(super) fn take_in<'r>(&mut self, rows: impl Iterator<Item = &'r InstanceRow>) {
        let mut gone: BTreeMap<Arc<str>, Vec<usize>> = BTreeMap::new();
        for row in rows.filter(|row| self.place(&row.told.alert).is_none()) {
            let told = row.known.iter().filter(|(_, known)| known.resolves);
            let told = told.filter_map(|(name, _)| self.receivers.iter().position(|party| party.name == *name));
            let told: Vec<usize> = told.collect();
            if !told.is_empty() {
                gone.entry(row.told.alert.clone()).or_default().extend(told);
            }
        }
        for (name, mut receivers) in gone {
            receivers.sort_unstable();
            receivers.dedup();
            self.gone += 1;
            self.alerts.push(Alert::removed(name, &receivers));
        }
    }

    /// All that fires of these alerts, and of those that were taken in again, is over.
    pub(super) fn remove_alerts(&mut self, reset: &[Arc<str>], now: Timestamp) {
        let places: Vec<usize> = reset.iter().filter_map(|name| self.place(name)).collect();
        let gone = self.alerts.len() - self.gone;
        let of = |alert: usize| alert >= gone || places.contains(&alert);
        let fires = self.instances.values().filter(|instance| of(instance.alert));
        let fires = fires.filter(|instance| instance.fires() || instance.pending.is_some());
        let over: Vec<(usize, Told)> =
            fires.map(|instance| (instance.alert, over(&instance.told, self.reached))).collect();
        for (alert, told) in over {
            self.judge(alert, told, now);
        }
    }
}

/// The end of something that fires.
fn over(told: &Told, reached: Timestamp) -> Told {
    let (state, was) = match told.state.fires() {
        true => (Stage::Resolved, told.state),
        false => (Stage::Inactive, told.state),
    };
    let at = told.at.max(reached);
    Told { state, was, reason: REMOVED.into(), number: told.number + 1, at, since: at, quiet: false, ..told.clone() }
}

impl Alert {
    /// One that is gone: it tells these receivers that it is over.
    fn removed(name: Arc<str>, receivers: &[usize]) -> Alert {
        Alert::of(name, AlertPolicy::default(), Alert::everything(receivers), Timestamp::MIN)
    }
}
