//! What a run of a pipeline would go on from, and what it would have to forget.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::base::time::Timestamp;
use crate::engine::kept::{Fate, Size, fates, sinks_gone, size, sources_gone, unread};
use crate::plan::Plan;
use crate::store::rows::Status;
use crate::store::state::StateReader;

/// A pipeline beside the state that it would go on with.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Comparison {
    /// What its file calls it.
    pub pipeline: String,
    /// Whether there is a run to go on with; else one begins anew.
    pub resumes: bool,
    /// Why it begins anew, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What it would go on from.
    #[serde(flatten)]
    pub found: Option<Found>,
}

/// What a run would go on from.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Found {
    /// Whether a run goes on without being told to forget anything.
    pub accepted: bool,
    /// The number of the last checkpoint.
    pub checkpoint: u64,
    /// When it was made, RFC 3339.
    pub made: String,
    /// Steps with state.
    pub steps: Vec<Step>,
    /// Sources that are gone, with where they stood.
    pub sources_gone: Vec<String>,
    /// Sinks that are gone, with rows still to send.
    pub sinks_gone: Vec<SinkGone>,
    /// Sinks whose `.errors` nobody reads any more, with rows that they were refused and that were not taken in there: a run
    /// makes dead letters of them.
    pub errors_unread: Vec<Unread>,
}

/// A sink whose `.errors` nobody reads any more.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Unread {
    /// Its name.
    pub sink: String,
    /// Rows that it was refused.
    pub rows: u64,
}

/// What becomes of a step's state.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Step {
    /// Its name.
    pub step: String,
    /// What becomes of it.
    pub state: StepState,
    /// How it differs from the step that made the state.
    pub differences: Vec<String>,
    /// Keys that are kept.
    pub keys: u64,
    /// Windows of them that are open.
    pub open_windows: u64,
}

/// What becomes of a step's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It goes on with it.
    Kept,
    /// It begins with nothing.
    New,
    /// It means something else now, and would have to be forgotten.
    Changed,
    /// There is no such step any more.
    Gone,
}

/// A sink that is gone.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SinkGone {
    /// Its name.
    pub sink: String,
    /// Rows that it has still to send.
    pub rows: u64,
}

impl Comparison {
    /// Whether a run would begin or go on without being told to forget anything.
    pub fn runs(&self) -> bool {
        self.found.as_ref().is_none_or(|found| found.accepted)
    }
}

/// Compares a plan with a state, which need not be there. The error is a sentence.
pub fn compare(plan: &Plan, state: &Path) -> Result<Comparison, String> {
    let pipeline = plan.name.clone();
    let begins = |because: String| {
        Ok(Comparison { pipeline: pipeline.clone(), resumes: false, because: Some(because), found: None })
    };
    if !state.exists() {
        return begins(format!("there is no state `{}`", state.display()));
    }
    let reader = StateReader::open(state).map_err(|e| e.message)?;
    let Some(kept) = reader.kept().filter(|kept| kept.epoch > 0) else {
        return begins("no checkpoint was made".to_owned());
    };
    if kept.status == Status::Complete {
        return begins("the last run came to its end".to_owned());
    }
    let mut steps = Vec::new();
    for of in fates(plan, kept) {
        let meaning = kept.steps.iter().find(|step| step.name == of.step).map(|step| step.meaning.as_str());
        let size = meaning.map_or(Ok(Size::default()), |meaning| size(&reader, &of.step, meaning))?;
        let (state, differences) = match of.fate {
            Fate::Kept => (StepState::Kept, Vec::new()),
            Fate::New => (StepState::New, Vec::new()),
            Fate::Gone => (StepState::Gone, Vec::new()),
            Fate::Changed(lines) => (StepState::Changed, lines),
        };
        steps.push(Step { step: of.step, state, differences, keys: size.keys, open_windows: size.windows });
    }
    let sources_gone = sources_gone(plan, kept);
    let sinks_gone = sinks_gone(plan, kept).into_iter().map(|(sink, rows)| SinkGone { sink, rows });
    let sinks_gone: Vec<SinkGone> = sinks_gone.collect();
    let lost = |step: &Step| matches!(step.state, StepState::Changed | StepState::Gone);
    let accepted = sources_gone.is_empty() && sinks_gone.is_empty() && !steps.iter().any(lost);
    let (checkpoint, made) = (kept.epoch, Timestamp(kept.committed).to_string());
    let errors_unread = unread(plan, reader.returned()).into_iter().map(|(sink, rows)| Unread { sink, rows }).collect();
    let found = Found { accepted, checkpoint, made, steps, sources_gone, sinks_gone, errors_unread };
    Ok(Comparison { pipeline, resumes: true, because: None, found: Some(found) })
}
