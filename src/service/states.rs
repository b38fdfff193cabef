//! What the steps of a pipeline keep, for whoever asks beside the run or over the API.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::limit::KEY_GROUPS;
use crate::base::suggest::nearest;
use crate::base::time::Timestamp;
use crate::plan::{NodeKind, Plan};
use crate::store::state::{StateFile, StateReader};

use super::spell::{Wanted, key_json, value_json};
use super::why::NoAnswer;

/// A step that keeps something.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct StepKept {
    /// The step.
    pub step: String,
    /// How many keys it keeps, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// Bytes as they are stored.
    pub bytes: u64,
    /// Its watermark, RFC 3339; absent before the first event and after the end of the input.
    pub watermark: Option<String>,
}

/// A state in which everything is what was written.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    /// Keys of steps.
    pub keys: u64,
    /// Dead letters.
    pub letters: u64,
}

/// Takes keys with what is kept for them, both as JSON.
pub type Each<'a> = &'a mut dyn FnMut(&str, &str) -> Result<(), String>;

/// The steps that keep something; their keys are only counted where that is wanted, for all must be read for it. The error is
/// a sentence.
pub fn steps(reader: &StateReader, count: bool) -> Result<Vec<StepKept>, String> {
    let sizes = reader.sizes();
    let kept = reader.kept().map_or(&[][..], |kept| &kept.steps);
    let step = |row: &crate::store::rows::StepRow| {
        let watermark = Some(Timestamp(row.watermark)).filter(|at| at.is_event_time());
        Ok(StepKept {
            step: row.name.clone(),
            keys: count.then(|| count_keys(reader, &row.name)).transpose()?,
            bytes: sizes.iter().find(|size| size.step == row.name).map_or(0, |size| size.bytes),
            watermark: watermark.map(|at| at.to_string()),
        })
    };
    kept.iter().map(step).collect()
}

fn count_keys(reader: &StateReader, step: &str) -> Result<u64, String> {
    let mut keys = 0;
    let counted = reader.rows(step, 0..KEY_GROUPS, &mut |row| {
        keys += u64::from(row.value.is_some());
        Ok(())
    });
    counted.map_err(|e| e.message)?;
    Ok(keys)
}

/// Whether a step keeps something, or kept something.
pub fn has(reader: &StateReader, plan: &Plan, step: &str) -> Result<(), NoAnswer> {
    let kept = reader.kept().is_some_and(|kept| kept.steps.iter().any(|row| row.name == step));
    if kept || reader.sizes().iter().any(|size| size.step == step) {
        return Ok(());
    }
    let steps = plan.nodes.iter().filter(|node| matches!(node.kind, NodeKind::Step(_)));
    let names: Vec<&str> = steps.map(|node| node.name.as_str()).collect();
    if names.contains(&step) {
        return Err(NoAnswer::State(format!("`{step}` keeps nothing")));
    }
    let help = match nearest(step, names.iter().copied()) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if names.is_empty() => String::new(),
        None => format!("; the steps are {}", names.join(", ")),
    };
    Err(NoAnswer::Asked(format!("there is no step `{step}`{help}")))
}

/// Hands out the keys of a step with what is kept for them; of one key alone, if one is wanted. The error is a sentence, of
/// whoever takes them perhaps.
pub fn rows(reader: &StateReader, step: &str, key: Option<&str>, each: Each<'_>) -> Result<(), String> {
    let wanted = key.map(Wanted::of);
    let read = reader.rows(step, 0..KEY_GROUPS, &mut |row| {
        let Some(value) = row.value else { return Ok(()) };
        if wanted.as_ref().is_some_and(|wanted| !wanted.is(row.key)) {
            return Ok(());
        }
        each(&key_json(row.key), &value_json(value))
    });
    read.map_err(|e| e.message)
}

/// A key with what is kept for it, as one line of JSON.
pub fn line(key: &str, value: &str) -> String {
    format!("{{\"key\":{key},\"value\":{value}}}")
}

/// Forgets a key of a step: whether anything was kept for it. The error is a sentence.
pub fn forget(file: &mut StateFile, step: &str, key: &str) -> Result<bool, String> {
    let (wanted, mut found) = (Wanted::of(key), Vec::new());
    let read = file.rows(step, 0..KEY_GROUPS, &mut |row| {
        if row.value.is_some() && wanted.is(row.key) {
            found.push((row.hash, row.key.to_vec()));
        }
        Ok(())
    });
    read.map_err(|e| e.message)?;
    if found.is_empty() {
        return Ok(false);
    }
    file.forget(step, &found).map_err(|e| e.message)?;
    Ok(true)
}

/// Reads everything. The error says what is not what was written.
pub fn check(reader: &StateReader) -> Result<Checked, String> {
    let keys = reader.check().map_err(|e| e.message)?;
    Ok(Checked { keys, letters: reader.letters().letters })
}
