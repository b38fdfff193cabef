//! What is told of a pipeline that is looked after.

use std::sync::Arc;

use serde::Serialize;

use super::links::Told;
use crate::base::time::{TimeSpan, Timestamp};
use crate::config::Pipeline;
use crate::engine::ledger::Entry;
use crate::engine::run::Handle;

/// What a pipeline does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its file cannot be used; `why` says what is wrong with it.
    Broken,
    /// It opens its state and its connectors.
    Starting,
    /// It runs.
    Running,
    /// Its sources read nothing for now; everything else goes on.
    Paused,
    /// It comes to a checkpoint, and then does what it was told.
    Stopping,
    /// It failed and will be tried again; `why` says how it failed.
    Waiting,
    /// It was told to stop.
    Stopped,
    /// Its input came to an end and its output is final.
    Complete,
}

/// What came of a changed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Reload {
    /// When, RFC 3339.
    pub at: String,
    /// What.
    pub result: Reloaded,
    /// Why, if the changed pipeline does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What came of a changed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reloaded {
    /// The pipeline runs as the file says now, from the checkpoint that it had come to.
    Applied,
    /// Nothing that matters has changed.
    Unchanged,
    /// The changed pipeline cannot run: the one before goes on.
    Kept,
    /// The file cannot be used, and there was none before.
    Broken,
}

/// How a pipeline is, at one moment.
#[derive(Clone)]
pub struct Seen {
    /// What it does.
    pub phase: Phase,
    /// Since when.
    pub since: Timestamp,
    /// Why, where that needs saying.
    pub why: Option<String>,
    /// What runs, or would.
    pub pipeline: Option<Arc<Pipeline>>,
    /// Starts after failures.
    pub restarts: u64,
    /// Changed files that could not be taken.
    pub refused: u64,
    /// What came of changes to its file, the newest last.
    pub reloads: Vec<Reload>,
    /// How its connections are.
    pub connections: Vec<Told>,
    /// The run that goes on.
    pub handle: Option<Handle>,
    /// What the run that ended last had counted, by entry.
    pub(super) counted: Vec<Entry>,
}

/// A checkpoint that is due so often and has not been made is late.
const LATE_AFTER: u32 = 10;
/// No checkpoint is late that is younger.
const LATE_AT_LEAST: TimeSpan = TimeSpan::seconds(10);

impl Seen {
    /// Whether the last checkpoint is older than it should be: something holds the next one up. What comes after a kill is done
    /// again from there.
    pub fn is_stale(&self, now: Timestamp) -> bool {
        let (Phase::Running | Phase::Paused, Some(handle), Some(pipeline)) = (self.phase, &self.handle, &self.pipeline)
        else {
            return false;
        };
        let every = pipeline.plan.checkpoint_every.0.saturating_mul(i64::from(LATE_AFTER));
        let last = handle.checkpoints().last.unwrap_or(self.since);
        now.0.saturating_sub(last.0) > every.max(LATE_AT_LEAST.0)
    }

    /// Why it does not run, or what is to be said of how it does: that its file cannot be used, that it reads what no event has.
    pub fn remark(&self) -> Option<String> {
        let kept = self.reloads.last().filter(|reload| reload.result == Reloaded::Kept);
        let kept = || Some(format!("its file has changed, and the one before goes on: {}", kept?.why.as_deref()?));
        let missing = || self.handle.as_ref()?.missing_so_far().into_iter().next();
        self.why.clone().or_else(kept).or_else(missing)
    }

    /// What the run that goes on has counted, else the one that ended last; nothing if there was none.
    pub fn entries(&self) -> Vec<Entry> {
        self.handle.as_ref().map_or_else(|| self.counted.clone(), Handle::entries)
    }
}
