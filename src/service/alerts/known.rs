//! What is known of a pipeline's alerts, as its last checkpoint has it, for whoever asks beside the run or over the API.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::alert::policy::{Policy, Settings};
use crate::base::suggest::nearest;
use crate::base::time::Timestamp;
use crate::engine::run::wall_clock;
use crate::inspect::spelling::counted;
use crate::plan::graph::kind_word;
use crate::plan::{NodeKind, Operator, Plan};
use crate::store::state::StateReader;

/// The alerts of a pipeline at a checkpoint.
pub struct Known {
    policy: Policy,
    reader: StateReader,
    /// When the checkpoint was made.
    pub as_of: Option<Timestamp>,
}

/// How an alert comes about.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Way {
    /// Its conditions, from the least severity to the worst.
    pub levels: Vec<Level>,
    /// The alert and the entries that lead to it, the source last.
    pub entries: Vec<Entry>,
}

/// A severity of an alert.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// The severity.
    pub severity: String,
    /// When it is so.
    pub when: String,
    /// How long it has to be so.
    #[serde(rename = "for")]
    pub hold: String,
}

/// An entry on the way to an alert.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is: `window`, `file`.
    pub kind: String,
}

impl Known {
    /// The alerts as the state has them. The error is a sentence.
    pub fn open(settings: Settings, reader: StateReader) -> Result<Known, String> {
        let as_of = reader.kept().filter(|kept| kept.epoch > 0).map(|kept| Timestamp(kept.committed));
        Ok(Known { policy: super::read(settings, &reader)?, reader, as_of })
    }

    /// What is pending and fires; of one alert, if it is named.
    pub fn active(&self, alert: Option<&str>) -> Vec<Value> {
        of_alert(self.policy.active(wall_clock()), alert)
    }

    /// The newest of what happened, the newest last.
    pub fn history(&self, alert: Option<&str>, most: usize) -> Vec<Value> {
        let mut rows = self.policy.history(alert);
        rows.drain(..rows.len().saturating_sub(most));
        rows
    }

    /// The silences that hold.
    pub fn silences(&self) -> Vec<Value> {
        self.policy.silences(wall_clock())
    }

    /// What led to an alert of a key, and who was told.
    pub fn why(&self, alert: &str, key: &Value) -> Vec<Value> {
        self.policy.explain(alert, key)
    }

    /// Why the receivers of an alert were not told of a key.
    pub fn why_not(&self, plan: &Plan, alert: &str, key: &Value) -> Vec<Value> {
        let mut rows = self.policy.why_not(alert, key, wall_clock());
        rows.iter_mut().for_each(|row| self.add_untaken(row));
        let Some(waits) = super::waits::of_key(plan, &self.reader, alert, key) else { return rows };
        match rows.iter_mut().find(|row| row["reason"] == "pending") {
            Some(pending) => pending["text"] = json!(waits),
            None => rows.push(json!({ "receiver": null, "reason": "waiting", "text": waits })),
        }
        rows
    }

    /// What a receiver was told waits until it takes it: of one that has something to take still, that is said.
    fn add_untaken(&self, row: &mut Value) {
        let is_told = row["reason"] == "told" || row["reason"] == "sent";
        let of = self.reader.kept().filter(|_| is_told).zip(row["receiver"].as_str());
        let waiting = of.and_then(|(kept, name)| kept.ledger.iter().find(|of| of.entry == name && of.held > 0));
        if let (Some(waiting), Some(text)) = (waiting, row["text"].as_str()) {
            let held = counted(waiting.held, "notification");
            let text = format!(
                "{text}; but `{}` has {held} still to take: `status` says whether it is connected",
                waiting.entry
            );
            row["untaken"] = json!(waiting.held);
            row["text"] = json!(text);
        }
    }

    /// By alert, how many transitions that came since then nobody was told of for their age; and whether there may be more,
    /// which are no longer remembered.
    pub fn too_old(&self, since: Timestamp) -> (BTreeMap<String, u64>, bool) {
        let (counts, all) = self.policy.too_old(since);
        (counts, !all)
    }
}

fn of_alert(mut rows: Vec<Value>, alert: Option<&str>) -> Vec<Value> {
    rows.retain(|row| alert.is_none_or(|alert| row.get("alert").and_then(Value::as_str) == Some(alert)));
    rows
}

/// Whether a pipeline has this alert. The error is a sentence.
pub fn has(plan: &Plan, alert: &str) -> Result<(), String> {
    let names = super::names(plan);
    if names.contains(&alert) {
        return Ok(());
    }
    let help = match nearest(alert, names.iter().copied()) {
        Some(near) => format!("is it `{near}`?"),
        None => format!("the alerts are {}", names.join(", ")),
    };
    Err(format!("there is no alert `{alert}`; {help}"))
}

/// How an alert comes about; empty if the pipeline does not have it.
pub fn way(plan: &Plan, alert: &str) -> Way {
    let (mut levels, mut entries) = (Vec::new(), Vec::new());
    let mut at = plan.nodes.iter().find(|node| node.name == alert);
    if let Some(NodeKind::Step(Operator::Alert(alert))) = at.map(|node| &node.kind) {
        levels.extend(alert.rules.levels.iter().zip(&alert.levels).map(|(level, conditions)| Level {
            severity: level.name.clone(),
            when: conditions.when.text.trim().to_owned(),
            hold: level.hold.to_string(),
        }));
    }
    while let Some(node) = at.filter(|_| entries.len() < plan.nodes.len()) {
        entries.push(Entry { name: node.name.clone(), kind: kind_word(&node.kind).to_owned() });
        at = node.inputs.first().and_then(|input| plan.node(input.node));
    }
    Way { levels, entries }
}

/// A key as people write it: a text or JSON. Without one it is that of an alert that has none.
pub fn key_of(text: Option<&str>) -> Value {
    let text = text.unwrap_or("{}");
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
