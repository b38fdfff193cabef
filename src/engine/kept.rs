//! A pipeline against the state of an earlier run of it: which step's state can be used, and why not.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::base::limit::KEY_GROUPS;
use crate::plan::meaning::meaning;
use crate::plan::{NodeKind, Plan};
use crate::store::rows::Item;
use crate::store::state::{Kept, StateReader};

use super::keeper::TURNS;
use super::state::decode;

/// What becomes of a step's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It means what it meant.
    Kept,
    /// There was none.
    New,
    /// It means something else now; one line for each difference.
    Changed(Vec<String>),
    /// The step is gone, or keeps no state any more.
    Gone,
}

/// A step with state, now or then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFate {
    /// Its name.
    pub step: String,
    /// What becomes of its state.
    pub fate: Fate,
}

/// What becomes of the state of each step: those of the pipeline in the order written, then those that are gone.
pub fn fates(plan: &Plan, kept: &Kept) -> Vec<StepFate> {
    let mut fates = Vec::new();
    let mut there = BTreeSet::new();
    for node in &plan.nodes {
        let Some(now) = meaning(plan, node) else { continue };
        there.insert(node.name.as_str());
        let then = kept.steps.iter().find(|step| step.name == node.name);
        let fate = match then.map(|step| serde_json::from_str::<Value>(&step.meaning)) {
            None => Fate::New,
            Some(Ok(then)) if then == now => Fate::Kept,
            Some(Ok(then)) => Fate::Changed(differences("", &then, &now)),
            Some(Err(_)) => Fate::Changed(vec!["what it was cannot be read".to_owned()]),
        };
        fates.push(StepFate { step: node.name.clone(), fate });
    }
    let gone = kept.steps.iter().filter(|step| !there.contains(step.name.as_str()));
    fates.extend(gone.map(|step| StepFate { step: step.name.clone(), fate: Fate::Gone }));
    fates
}

/// Sources of the last run that the pipeline no longer has: with them go the places where they stood.
pub fn sources_gone(plan: &Plan, kept: &Kept) -> Vec<String> {
    let is_there = |name: &str| plan.nodes.iter().any(|n| n.name == name && matches!(n.kind, NodeKind::Source(_)));
    // What came back to a sink is named for its port.
    let of_sources = kept.partitions.iter().filter(|p| p.source != TURNS.0 && !p.source.contains('.'));
    let named: BTreeSet<&str> = of_sources.map(|p| p.source.as_str()).collect();
    named.into_iter().filter(|name| !is_there(name)).map(str::to_owned).collect()
}

/// Sinks of the last run that still have rows to send and that the pipeline no longer has, or not as sinks that send; with how
/// many rows.
pub fn sinks_gone(plan: &Plan, kept: &Kept) -> Vec<(String, u64)> {
    let sends = |kind: &NodeKind| matches!(kind, NodeKind::Sink(sink) if sink.identity.is_some());
    let is_there = |name: &str| plan.nodes.iter().any(|node| node.name == name && sends(&node.kind));
    let remembers = |name: &str| kept.marks.iter().any(|mark| mark.sink == name);
    let holding = kept.ledger.iter().filter(|row| row.held > 0 && remembers(&row.entry) && !is_there(&row.entry));
    holding.map(|row| (row.entry.clone(), row.held)).collect()
}

/// Sinks that were refused rows which their `.errors` have still to take in, and of which nobody reads that any more; with how
/// many rows. A run makes dead letters of them.
pub fn unread(plan: &Plan, returned: Vec<(String, u64)>) -> Vec<(String, u64)> {
    let read: BTreeSet<&str> = plan.returning().iter().filter_map(|id| Some(plan.node(*id)?.name.as_str())).collect();
    returned.into_iter().filter(|(sink, _)| !read.contains(sink.as_str())).collect()
}

/// How much a step keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Keys.
    pub keys: u64,
    /// Open windows over all keys, those that closed and still take late events among them; of sliding ones the parts that
    /// they share. 0 of a step that is no window.
    pub windows: u64,
}

/// How much a step keeps.
pub fn size(reader: &StateReader, step: &str, meaning: &str) -> Result<Size, String> {
    let mut size = Size::default();
    let is_window = meaning.contains("\"kind\":\"window\"");
    let count = &mut |row: Item<'_>| {
        if let Some(value) = row.value {
            size.keys += 1;
            size.windows += if is_window { windows(value) } else { 0 };
        }
        Ok(())
    };
    reader.rows(step, 0..KEY_GROUPS, count).map_err(|e| e.message)?;
    Ok(size)
}

/// How many windows are kept for a key.
fn windows(value: &[u8]) -> u64 {
    #[derive(Deserialize)]
    struct Panes {
        panes: Vec<IgnoredAny>,
    }
    let panes = decode::<Panes>(value).map(|kept| kept.panes.len());
    let count = panes.or_else(|_| decode::<Vec<IgnoredAny>>(value).map(|sessions| sessions.len()));
    count.map_or(1, |count| count as u64)
}

/// Where two meanings differ, a line each: `by: device_id, was site`.
fn differences(key: &str, then: &Value, now: &Value) -> Vec<String> {
    if then == now {
        return Vec::new();
    }
    let (Value::Object(old), Value::Object(new)) = (then, now) else {
        let called = if key.is_empty() { String::new() } else { format!("{key}: ") };
        return vec![format!("{called}{}, was {}", shown(now), shown(then))];
    };
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let of =
        |key: &String| differences(key, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null));
    keys.into_iter().flat_map(of).collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "nothing".to_owned(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(members) => {
            members.iter().map(|(key, value)| format!("{key} {}", shown(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_said_line_by_line() {
        let then = json!({ "kind": "window", "by": ["site"], "windows": { "tumbling": "1m", "offset": "0s" } });
        let now = json!({ "kind": "window", "by": [], "windows": "count", "aggregates": ["count()"] });
        assert_eq!(
            differences("", &then, &now),
            ["aggregates: count(), was nothing", "by: nothing, was site", "windows: count, was tumbling 1m, offset 0s"]
        );
    }
}
