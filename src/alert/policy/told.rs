//! What the policy is told of an alert: one transition of one key.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::limit;
use crate::base::time::Timestamp;
use crate::data::hash::row_id;

/// 2^53: doubles up to here are exact integers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The state that a key has come to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Nothing is the matter.
    #[default]
    Inactive,
    /// The condition holds, and must hold on before it fires.
    Pending,
    /// It fires.
    Firing,
    /// It fires, and the condition to clear it must hold on.
    Recovering,
    /// It fired and is over.
    Resolved,
}

impl Stage {
    /// The word of transition rows.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Inactive => "inactive",
            Stage::Pending => "pending",
            Stage::Firing => "firing",
            Stage::Recovering => "recovering",
            Stage::Resolved => "resolved",
        }
    }

    /// The stage of a word of transition rows.
    pub fn parse(word: &str) -> Option<Stage> {
        let all = [Stage::Inactive, Stage::Pending, Stage::Firing, Stage::Recovering, Stage::Resolved];
        all.into_iter().find(|stage| stage.word() == word)
    }

    /// Whether an alert in it fires.
    pub fn fires(self) -> bool {
        matches!(self, Stage::Firing | Stage::Recovering)
    }
}

/// A transition as the alert operator hands it on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The alert's name.
    pub alert: Arc<str>,
    /// The fields of the key, as the author named them.
    pub key: Map<String, Value>,
    /// The state before.
    pub was: Stage,
    /// The state that it came to.
    pub state: Stage,
    /// Of what fires; of what is over, the one that it had.
    pub severity: Arc<str>,
    /// Why: `when`, `no_data`, `clear`, `level`, `flapping`.
    pub reason: Arc<str>,
    /// Counts the transitions of the key.
    pub number: u64,
    /// The event time of the transition.
    pub at: Timestamp,
    /// The begin of the unbroken run that led to it.
    pub since: Timestamp,
    /// When it fired.
    pub fired_at: Option<Timestamp>,
    /// Recorded and not told: the alert is flapping.
    pub quiet: bool,
    /// One line for people.
    pub title: String,
    /// What else there is to say.
    pub body: String,
    /// The labels that the author wrote, rendered.
    pub labels: Vec<(String, String)>,
    /// The row that was judged, as JSON.
    pub values: String,
    /// The window that the row is of.
    pub window: Option<(Timestamp, Timestamp)>,
    /// The text of `when`.
    pub condition: Arc<str>,
    /// Where to look further.
    pub links: Vec<(String, String)>,
}

impl Told {
    /// All labels, by name: the alert's name as `alertname`, the fields of the key, `severity`, and the author's, which may
    /// rename what the key is called but neither of the two others.
    pub fn all_labels(&self) -> Vec<(String, String)> {
        let key = self.key.iter().map(|(name, value)| (name.clone(), text_of(value)));
        let mut labels: Vec<(String, String)> = key.collect();
        let own = [("alertname", &self.alert), ("severity", &self.severity)];
        let own = own.into_iter().map(|(name, value)| (name.to_owned(), value.to_string()));
        for (name, value) in self.labels.iter().cloned().chain(own) {
            match labels.iter_mut().find(|(known, _)| *known == name) {
                Some(label) => label.1 = value,
                None => labels.push((name, value)),
            }
        }
        labels.sort();
        labels
    }

    /// Cuts what is longer than is kept. A row that is too long loses its longest members.
    pub(super) fn cut(&mut self) {
        shorten(&mut self.title, limit::ALERT_TEXT_BYTES);
        shorten(&mut self.body, 4 * limit::ALERT_TEXT_BYTES);
        for (_, value) in self.labels.iter_mut().chain(&mut self.links) {
            shorten(value, limit::ALERT_TEXT_BYTES);
        }
        if self.values.len() > 4 * limit::ALERT_TEXT_BYTES {
            self.values = shortened(&self.values, 4 * limit::ALERT_TEXT_BYTES);
        }
    }

    /// An order of keys that people expect.
    pub(super) fn key_order(&self, other: &Told) -> Ordering {
        let texts = |told: &Told| told.key.values().map(text_of).collect::<Vec<_>>();
        texts(self).cmp(&texts(other))
    }

    /// What tells its key apart from those of all alerts.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.alert, &self.key)
    }
}

/// A value as the text of a label.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// 64 bits that stand for an alert and a key; numbers that are equal in value are one key however they are spelled.
pub(super) fn fingerprint(alert: &str, key: &Map<String, Value>) -> u64 {
    let mut text = format!("{alert}\0");
    for (name, value) in key {
        text.push_str(name);
        text.push('\0');
        match value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT) {
            Some(whole) => text.push_str(&(whole as i64).to_string()),
            None => text.push_str(&value.to_string()),
        }
        text.push('\0');
    }
    (row_id(0, text.as_bytes()) >> 64) as u64
}

/// Cuts a text to so many bytes, at a character.
pub(super) fn shorten(text: &mut String, bytes: usize) {
    const DOTS: &str = "…";
    if text.len() > bytes {
        let end = (0..=bytes.saturating_sub(DOTS.len())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text.push_str(DOTS);
    }
}

/// A row without its longest members, so that it has at most so many bytes.
pub(super) fn shortened(row: &str, bytes: usize) -> String {
    let Ok(Value::Object(mut row)) = serde_json::from_str(row) else { return "null".to_owned() };
    let size = |(name, value): (&String, &Value)| name.len() + value.to_string().len() + 4;
    let mut sizes: Vec<(usize, String)> = row.iter().map(|member| (size(member), member.0.clone())).collect();
    sizes.sort();
    let mut total = 2 + sizes.iter().map(|(size, _)| size).sum::<usize>();
    while total > bytes
        && let Some((size, name)) = sizes.pop()
    {
        row.shift_remove(&name);
        total -= size;
    }
    Value::Object(row).to_string()
}
