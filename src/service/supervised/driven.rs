//! What the task of a pipeline does: runs it whenever it is wanted, and sees what came of it.

use std::os::unix::fs::MetadataExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use super::super::interrupts::Interrupts;
use super::super::run::{Ended, Setup, Start, run};
use super::super::seen::{Phase, Reloaded};
use super::voice::Told;
use super::{Inner, Settings, Supervised, Wanted};
use crate::config::Pipeline;
use crate::engine::run::Outcome;
use crate::store::rows::Status;
use crate::store::state::{Kept, Lock, StateReader};

/// How long a changed pipeline is on trial: if it fails before, the one that it replaced goes on.
const ON_TRIAL: Duration = Duration::from_secs(10);
/// Pipelines that are opened at a time.
static OPENINGS: Semaphore = Semaphore::const_new(8);
/// How long one waits for others that are being opened.
const OPENING_WITHIN: Duration = Duration::from_secs(5);

/// What the task does next.
pub(super) enum Next {
    Leave,
    /// Wait until something changes, for so long at most.
    Wait(Option<Duration>),
    Run {
        pipeline: Arc<Pipeline>,
        start: Start,
        interrupts: Interrupts,
    },
}

impl Supervised {
    /// Whether an earlier process brought it to its end, and its file has not changed since: what it did is not done again
    /// until somebody starts it.
    fn was_complete(&self, pipeline: &Pipeline) -> bool {
        let Ok(reader) = StateReader::open(&self.state_of(pipeline)) else { return false };
        let complete = |kept: &&Kept| kept.run > 0 && kept.status == Status::Complete;
        let Some(kept) = reader.kept().filter(complete) else { return false };
        let written = std::fs::metadata(&self.file).map(|about| about.mtime() * 1_000_000 + about.mtime_nsec() / 1_000);
        written.is_ok_and(|at| at <= kept.committed)
    }

    /// Runs it whenever it is wanted.
    pub(super) async fn drive(&self) {
        let mut held = None;
        loop {
            let next = self.next(&mut held);
            if !matches!(next, Next::Run { .. }) {
                let goes_on = self.lock().goes_on.take();
                drop(goes_on);
            }
            match next {
                Next::Leave => return,
                Next::Wait(None) => self.changed.notified().await,
                Next::Wait(Some(wait)) => {
                    let _ = tokio::time::timeout(wait, self.changed.notified()).await;
                }
                Next::Run { pipeline, start, interrupts } => {
                    let began = Instant::now();
                    let ended = self.run(&pipeline, start, &interrupts).await;
                    held = self.ended(ended, began.elapsed());
                }
            }
        }
    }

    /// What there is to do now.
    fn next(&self, held: &mut Option<Lock>) -> Next {
        let mut inner = self.lock();
        if let Some((next, reset)) = inner.next.take() {
            // One that came to its end just before is to run as the file says now.
            if inner.phase == Phase::Complete {
                inner.enter(Phase::Stopped, None);
            }
            inner.before = inner.pipeline.replace(next);
            (inner.swapped, inner.reset) = (true, reset);
        }
        let idle = |inner: &Inner| inner.phase == Phase::Complete || inner.phase == Phase::Broken;
        match inner.wanted {
            Wanted::Go => return Next::Leave,
            Wanted::Stop => {
                // Others may have the state.
                *held = None;
                if inner.phase != Phase::Broken {
                    inner.enter(Phase::Stopped, None);
                }
            }
            Wanted::Run if idle(&inner) => *held = None,
            Wanted::Run => {
                let wait = inner.again_at.map(|at| at.saturating_duration_since(Instant::now()));
                if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
                    *held = None;
                    return Next::Wait(Some(wait));
                }
                if let Some(pipeline) = inner.pipeline.clone() {
                    if !std::mem::replace(&mut inner.ran, true) && self.was_complete(&pipeline) {
                        inner.enter(Phase::Complete, None);
                        *held = None;
                        return Next::Wait(None);
                    }
                    return inner.start(pipeline, held.take());
                }
            }
        }
        Next::Wait(None)
    }

    /// Runs it once. A panic is an error like any other.
    async fn run(&self, pipeline: &Pipeline, start: Start, interrupts: &Interrupts) -> Result<Ended, String> {
        let state = self.state_of(pipeline);
        let Settings { workers, max_keys, max_state, .. } = *self.settings;
        let setup = Setup { state: &state, workers, command: "serve", max_keys, max_state };
        // Opening many at once would take as many threads. One that cannot be opened, or not soon, keeps nobody waiting for long.
        let opening = tokio::time::timeout(OPENING_WITHIN, OPENINGS.acquire()).await.ok().and_then(Result::ok);
        let mut told = Told { of: self, pipeline, opening };
        let ran = AssertUnwindSafe(run(pipeline, start, &setup, interrupts, &mut told)).catch_unwind().await;
        ran.unwrap_or_else(|_| Err("it panicked; please report it".to_owned()))
    }

    /// A run has ended: what comes next, and the lock of its state if it goes on.
    fn ended(&self, ended: Result<Ended, String>, lasted: Duration) -> Option<Lock> {
        let (outcome, lock) = match ended {
            Ok(ended) if ended.unbalanced.is_empty() => (ended.summary.outcome, Some(ended.lock)),
            Ok(_) => (Outcome::Failed("its ledger does not balance; please report it".to_owned()), None),
            Err(why) => (Outcome::Failed(why), None),
        };
        let mut inner = self.lock();
        match outcome {
            Outcome::Stopped => return lock,
            Outcome::Complete => {
                tracing::info!(pipeline = self.id, "complete: its input came to an end");
                inner.enter(Phase::Complete, None);
                return None;
            }
            Outcome::ReaderGone => inner.failed("whoever read its standard output has gone".to_owned(), lasted),
            Outcome::Failed(why) => {
                let before = inner.before.take().filter(|_| lasted < ON_TRIAL);
                if let (Some(before), Some(after)) = (before, inner.pipeline.clone()) {
                    tracing::warn!(pipeline = self.id, "the changed file cannot run, the one before goes on: {why}");
                    inner.swapped = false;
                    inner.reset = Supervised::added(&self.state_of(&before), &before.plan, &after.plan);
                    inner.pipeline = Some(before);
                    inner.note(Reloaded::Kept, Some(why));
                    return lock;
                }
                inner.failed(why, lasted);
            }
        }
        if inner.wanted == Wanted::Run {
            let why = inner.why.as_deref().unwrap_or_default();
            let wait = inner.again_at.map_or(0.0, |at| at.saturating_duration_since(Instant::now()).as_secs_f64());
            tracing::error!(pipeline = self.id, "failed, and is tried again in {wait:.0} s: {why}");
        }
        None
    }
}
