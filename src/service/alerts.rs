//! The alerts of a pipeline as its state has them, and what people do about them. What changes something is said to the run, if
//! there is one that takes it; otherwise it is done in the state.

pub mod known;
mod waits;

use std::path::Path;

use serde_json::Value;

use crate::alert::policy::{Command, Policy, Settings};
use crate::base::limit::KEY_GROUPS;
use crate::engine::ops::notify::{name_of, state_row};
use crate::engine::run::wall_clock;
use crate::plan::alert::NOTIFIER;
use crate::plan::{NodeKind, Operator, Plan};
use crate::store::control::tell;
use crate::store::rows::Item;
use crate::store::state::{Holder, StateReader};

use super::open::{Opened, open_to_write};

/// What the authors of a pipeline's alerts say; `None` if it has none.
pub fn settings(plan: &Plan) -> Option<Settings> {
    plan.nodes.iter().find_map(|node| match &node.kind {
        NodeKind::Step(Operator::Notify(notify)) => Some(notify.settings.clone()),
        _ => None,
    })
}

/// The names of a pipeline's alerts.
pub fn names(plan: &Plan) -> Vec<&str> {
    let alerts = plan.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Step(Operator::Alert(_))));
    alerts.map(|node| node.name.as_str()).collect()
}

/// The policy with what rows keep.
fn policy(settings: Settings, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<Policy, String> {
    let mut policy = Policy::new(settings, wall_clock());
    policy.restore(rows.into_iter())?;
    Ok(policy)
}

/// Takes up a row of the policy that is there.
fn take(row: Item<'_>, rows: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), String> {
    if let (Some(value), Some(name)) = (row.value, name_of(row.key)) {
        rows.push((name, value.to_vec()));
    }
    Ok(())
}

/// The policy as the last checkpoint has it. The error is a sentence.
pub fn read(settings: Settings, reader: &StateReader) -> Result<Policy, String> {
    let mut rows = Vec::new();
    reader.rows(NOTIFIER, 0..KEY_GROUPS, &mut |row| take(row, &mut rows)).map_err(|e| e.message)?;
    policy(settings, rows)
}

/// Does what a person asks for: the answer. The error is a sentence.
pub fn change(settings: Settings, state: &Path, holder: &Holder, command: Command) -> Result<Value, String> {
    let text = serde_json::to_string(&command).map_err(|e| e.to_string())?;
    if let Some(line) = tell(state, &text).map_err(|e| e.message)? {
        let answer: Result<Value, String> = serde_json::from_str(&line).map_err(|e| e.to_string())?;
        return answer;
    }
    let Opened { pause: _pause, mut file } = open_to_write(state, holder).map_err(|e| e.message)?;
    let mut rows = Vec::new();
    file.rows(NOTIFIER, 0..KEY_GROUPS, &mut |row| take(row, &mut rows)).map_err(|e| e.message)?;
    let mut policy = policy(settings, rows)?;
    let mut changed = Vec::new();
    // What taking it up has changed is not of this.
    policy.changes(&mut changed);
    let answer = policy.command(command, wall_clock())?;
    policy.changes(&mut changed);
    let rows: Result<_, _> = changed.into_iter().map(|(key, value)| state_row(&key, value)).collect();
    file.put(NOTIFIER, &rows.map_err(|e| e.message)?).map_err(|e| e.message)?;
    Ok(answer)
}
