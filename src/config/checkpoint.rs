//! `checkpoint`: how often a run makes what it has done durable.

use crate::base::time::TimeSpan;

use super::context::Context;
use super::read::{Duration, keys};

keys! {
    /// How often a run makes durable what it has done: where its sources stand, what its steps keep, what its sinks have
    /// written.
    pub struct CheckpointOptions as "checkpoint" {
        /// How much time passes between two checkpoints. A run that was killed goes on from the last one; output that
        /// becomes visible when it will stay becomes so with each. Default `5s`.
        every: Option<Duration>,
    }
    later []
}

/// Time between checkpoints, if the author does not say.
const EVERY: TimeSpan = TimeSpan::seconds(5);
/// The least of it: syncing more often than this would be all that a run does.
const LEAST: TimeSpan = TimeSpan(10_000);

/// How often; `None` was reported.
pub fn resolve(options: Option<CheckpointOptions>, context: &mut Context<'_>) -> Option<TimeSpan> {
    let Some(every) = options.and_then(|options| options.every) else { return Some(EVERY) };
    if every.length < LEAST {
        context.error("bad-checkpoint", "`every` has to be at least 10ms", &every.span).help("the default is `5s`");
        return None;
    }
    Some(every.length)
}
