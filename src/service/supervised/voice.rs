//! What a run tells whoever looks after it.

use std::time::Duration;

use tokio::sync::SemaphorePermit;

use super::super::interrupts::linger;
use super::super::run::{Ended, Voice};
use super::super::seen::{Phase, Reloaded};
use super::{Supervised, warn};
use crate::config::Pipeline;
use crate::engine::run::Handle;

/// Tells in the log how a run goes.
pub(super) struct Told<'a> {
    pub(super) of: &'a Supervised,
    pub(super) pipeline: &'a Pipeline,
    /// Until it has begun.
    pub(super) opening: Option<SemaphorePermit<'static>>,
}

impl Voice for Told<'_> {
    fn say(&mut self, text: &str) {
        tracing::info!(pipeline = self.of.id, "{text}");
    }

    fn warn(&mut self, text: &str) {
        tracing::warn!(pipeline = self.of.id, "{text}");
    }

    fn begun(&mut self, handle: &Handle) {
        self.opening = None;
        let mut inner = self.of.lock();
        if let Some(opening) = inner.goes_on.take() {
            linger(opening);
        }
        if std::mem::take(&mut inner.swapped) {
            inner.note(Reloaded::Applied, None);
        }
        // Whoever stopped it meanwhile is obeyed as soon as it can be.
        let phase = match (inner.interrupts.stopped(), inner.paused) {
            (true, _) => Phase::Stopping,
            (false, true) => Phase::Paused,
            (false, false) => Phase::Running,
        };
        if inner.paused {
            handle.pause();
        }
        inner.enter(phase, None);
        tracing::info!(pipeline = self.of.id, "runs");
    }

    fn goes(&mut self, _: &Handle) {}

    fn every(&self) -> Option<Duration> {
        None
    }

    fn ended(&mut self, handle: Option<&Handle>, ended: &Ended) {
        self.of.lock().counted.clone_from(&ended.summary.entries);
        if let Some(handle) = handle {
            warn(&self.of.id, handle);
        }
        for wrong in &ended.unbalanced {
            tracing::error!(
                pipeline = self.of.id,
                "the ledger of `{}` does not balance: {wrong:?}",
                self.pipeline.plan.name
            );
        }
    }
}
