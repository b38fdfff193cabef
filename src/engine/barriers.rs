//! How far the checkpoints of a run are, and waiting for them.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::job::lock;
use super::shared::{Shared, until};

/// How far checkpoints are.
#[derive(Default)]
pub(super) struct Barriers {
    /// One is to be made now.
    asked: bool,
    /// The next one is made also if nothing has come since the last.
    forced: bool,
    /// The last tick at which one was asked for that has gone through everything.
    through: Option<u64>,
    /// The same of the last one that is durable.
    durable: Option<u64>,
    /// None is made any more.
    settled: bool,
}

impl Shared {
    /// Has a checkpoint made now.
    pub(super) fn ask_for_checkpoint(&self) {
        lock(&self.barriers).asked = true;
        self.barrier_told.notify_waiters();
    }

    /// The same, also if nothing has come since the last one: a sink waits for it.
    pub(super) fn force_checkpoint(&self) {
        lock(&self.barriers).forced = true;
        self.ask_for_checkpoint();
    }

    /// Whether the one that is made now is forced.
    pub(super) fn is_forced(&self) -> bool {
        std::mem::take(&mut lock(&self.barriers).forced)
    }

    /// Waits until a checkpoint is due or asked for; false if the run is over.
    pub(super) async fn wait_for_checkpoint(&self, due: Instant) -> bool {
        let told = until(&self.barrier_told, || {
            if self.over.load(Ordering::Acquire) {
                return Some(false);
            }
            (Instant::now() >= due || std::mem::take(&mut lock(&self.barriers).asked)).then_some(true)
        });
        tokio::time::timeout_at(due.into(), told).await.unwrap_or(true)
    }

    /// Waits until a barrier has gone through everything and what changed until then is handed in; false if the run is over.
    pub(super) async fn wait_for_barrier(&self, sequence: u64) -> bool {
        let through = || lock(&self.barriers).through.is_some_and(|through| through >= sequence);
        let over = || self.over.load(Ordering::Acquire).then_some(false);
        until(&self.barrier_told, || if through() && self.job.is_whole(sequence) { Some(true) } else { over() }).await
    }

    /// A barrier has gone through everything.
    pub(super) fn gone_through(&self, sequence: u64) {
        lock(&self.barriers).through = Some(sequence);
        self.barrier_told.notify_waiters();
    }

    /// A share has handed in what it had set apart.
    pub(super) fn handed_in(&self) {
        self.barrier_told.notify_waiters();
    }

    /// Has a checkpoint made now, and waits until one is durable that has what a tick did; false if the run ended before.
    pub(super) async fn until_durable(&self, sequence: u64) -> bool {
        if lock(&self.barriers).durable.is_none_or(|durable| durable < sequence) {
            self.ask_for_checkpoint();
        }
        let durable = || {
            let barriers = lock(&self.barriers);
            let durable = barriers.durable.is_some_and(|durable| durable >= sequence);
            if durable { Some(true) } else { barriers.settled.then_some(false) }
        };
        until(&self.ending_told, durable).await
    }

    /// A checkpoint is durable that has what ticks up to one did.
    pub(super) fn is_durable(&self, sequence: u64) {
        lock(&self.barriers).durable = Some(sequence);
        self.ending_told.notify_waiters();
    }

    /// No checkpoint is made any more.
    pub(super) fn is_settled(&self) {
        lock(&self.barriers).settled = true;
        self.ending_told.notify_waiters();
    }
}
