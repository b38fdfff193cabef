//! The notification policy of a pipeline: of each transition of each key, who is told, when and in which notification.
//!
//! It sees no clock: whoever calls says what time it is, the wall clock of a live run or the virtual one of a test. What it
//! is told in the same order at the same times makes the same notifications with the same ids.

pub mod command;
pub mod matcher;
pub mod mute;
mod row;
pub mod settings;
pub mod told;

use serde_json::Value;

pub use command::Command;
pub use matcher::Matcher;
pub use mute::MuteTime;
pub use row::Why;
pub use settings::{AlertPolicy, Inhibit, Rate, Receiver, Route, Settings};
pub use told::{Stage, Told};

use crate::base::time::Timestamp;
use crate::data::hash::row_id;
use row::{Head, Item, render};

/// What one receiver is sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Notification {
    /// Its number in [`Settings::receivers`].
    pub receiver: usize,
    /// The same after a replay.
    pub id: u128,
    /// The notification row.
    pub row: Value,
}

/// The policy at work.
#[derive(Debug)]
pub struct Policy {
    settings: Settings,
}

impl Policy {
    /// A policy for a run that begins. If the run goes on where one stopped, [`Policy::restore`] follows.
    pub fn new(settings: Settings, _started: Timestamp) -> Policy {
        Policy { settings }
    }

    /// Takes a transition, and adds what leaves at once.
    pub fn take(&mut self, told: Told, _now: Timestamp, out: &mut Vec<Notification>) {
        let Some(policy) = self.settings.alerts.get(told.alert.as_ref()) else { return };
        if told.state == told.was || !matches!(told.state, Stage::Firing | Stage::Resolved) {
            return;
        }
        let fires = told.state.fires();
        for route in &policy.notify {
            let Some(receiver) = self.settings.receivers.get(route.receiver) else { continue };
            let takes = route.severities.is_empty() || route.severities.iter().any(|s| **s == *told.severity);
            if !takes || !(fires || route.resolved) {
                continue;
            }
            let place =
                format!("{}\0{}\0{:x}\0{}", self.settings.pipeline, receiver.name, told.fingerprint(), told.number);
            let rank = policy.rank(&told.severity);
            let item =
                Item { told: &told, fires, severity: &told.severity, rank, since: told.since, acknowledged_by: None };
            let id = row_id(0, place.as_bytes());
            let why = if fires { Why::New } else { Why::Resolved };
            let head = Head {
                id,
                pipeline: &self.settings.pipeline,
                receiver: &receiver.name,
                why,
                group: &[],
                group_key: "",
            };
            out.push(Notification { receiver: route.receiver, id, row: render(&head, &[item]) });
        }
    }

    /// Time passes: adds what is due. Does nothing the second time at one `now`.
    pub fn pass(&mut self, _now: Timestamp, _out: &mut Vec<Notification>) {}

    /// The next time at which [`Policy::pass`] does something.
    pub fn due(&self) -> Option<Timestamp> {
        None
    }

    /// Event time has come to `watermark`: old transitions are behind, or not yet.
    pub fn reached(&mut self, _watermark: Timestamp, _now: Timestamp, _out: &mut Vec<Notification>) {}

    /// The input has ended for good: what waits for others leaves now.
    pub fn end(&mut self, _now: Timestamp, _out: &mut Vec<Notification>) {}

    /// Does what a person asks for; what leaves because of it does so at the next [`Policy::pass`].
    pub fn command(&mut self, command: Command, _now: Timestamp) -> Result<Value, String> {
        match command {
            Command::Silence { .. } => Err("silences are not known".to_owned()),
            Command::Expire { id, .. } => Err(format!("there is no silence `{id}`")),
            Command::Acknowledge { alert, .. } => Err(format!("`{alert}` does not fire")),
        }
    }

    /// State rows that changed since the last call, as keys with their values, or without one if they are gone.
    pub fn changes(&mut self, _out: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {}

    /// Takes up the state of a run that goes on.
    pub fn restore(&mut self, _rows: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) -> Result<(), String> {
        Ok(())
    }

    /// Whether a state row outlives a run that came to its end: history and silences do.
    pub fn outlives(_key: &[u8]) -> bool {
        false
    }

    /// What is not inactive, a row each.
    pub fn active(&self, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }

    /// Silences that hold, a row each.
    pub fn silences(&self, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }

    /// What happened, a row each, the oldest first.
    pub fn history(&self) -> Vec<Value> {
        Vec::new()
    }

    /// Why the receivers of an alert were not told of a key: a row for each reason, with `reason` and `text`.
    pub fn why_not(&self, _alert: &str, _key: &Value, _now: Timestamp) -> Vec<Value> {
        Vec::new()
    }

    /// The transitions of a key and what was told whom, the oldest first.
    pub fn explain(&self, _alert: &str, _key: &Value) -> Vec<Value> {
        Vec::new()
    }
}
