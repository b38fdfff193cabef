//! Feeds one sink. Rows that come between a checkpoint's barrier and its commit wait here, so that the flow does not wait
//! for the disk. A sink that has no room takes what was on its way to it, and what feeds it is held back until it has; so
//! checkpoints go on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::connector::{End, Prepared, Sink, SinkError};
use crate::plan::NodeId;

use super::outgoing::{Behind, Rows, ToSink};
use super::shared::Shared;

/// What a sink's task is told, and how far it is behind.
pub(super) type Inbox = (UnboundedReceiver<ToSink>, Arc<Behind>);

/// The tick at which sinks hand out what changed after the last checkpoint.
pub(super) const SETTLED: u64 = u64::MAX - 1;

/// How often a sink that is long in making its output final says how far it is.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

struct SinkTask {
    shared: Arc<Shared>,
    node: NodeId,
    /// `None` when whoever read the rows has gone.
    sink: Option<Box<dyn Sink>>,
    /// Whether a checkpoint is under way.
    prepared: bool,
    /// Rows that wait for the commit.
    waiting: VecDeque<Rows>,
    /// Ticks that are not told that their rows are through, until there is room.
    held_back: Vec<u64>,
    /// It asked for a checkpoint that has not come yet.
    asked: bool,
    behind: Arc<Behind>,
}

/// A sink's task: ends when nobody is left to tell it anything, or with the run's failure.
pub(super) async fn deliver(shared: Arc<Shared>, node: NodeId, sink: Box<dyn Sink>, (inbox, behind): Inbox) {
    let (waiting, held_back) = (VecDeque::new(), Vec::new());
    let of_run = Arc::clone(&shared);
    let mut task =
        SinkTask { shared, node, sink: Some(sink), prepared: false, waiting, held_back, asked: false, behind };
    if let Err(e) = task.feed(inbox).await {
        of_run.fail(e.message());
    }
}

impl SinkTask {
    async fn feed(&mut self, mut inbox: UnboundedReceiver<ToSink>) -> Result<(), SinkError> {
        loop {
            let full = !self.held_back.is_empty();
            let message = match &mut self.sink {
                Some(sink) => tokio::select! {
                    biased;
                    message = inbox.recv() => message,
                    () = self.shared.until_ending(), if full => {
                        self.let_go();
                        continue;
                    }
                    () = sink.wants_checkpoint(), if !self.asked && !self.prepared => {
                        self.asked = true;
                        self.shared.force_checkpoint();
                        continue;
                    }
                    () = sink.room(), if full => {
                        self.let_go();
                        continue;
                    }
                },
                None => inbox.recv().await,
            };
            let Some(message) = message else { return Ok(()) };
            match self.take(message).await {
                Err(SinkError::Gone) => self.gone(),
                other => other?,
            }
        }
    }

    /// What is under way still goes to the other sinks.
    fn gone(&mut self) {
        self.sink = None;
        self.prepared = false;
        self.let_go();
        for rows in self.waiting.drain(..) {
            self.behind.through(rows.lines.ends.len());
            if !rows.told && !rows.more {
                self.shared.done(rows.sequence);
            }
        }
        self.shared.reader_gone.store(true, Ordering::Release);
        self.shared.stop();
    }

    fn let_go(&mut self) {
        self.behind.full.store(false, Ordering::Relaxed);
        self.held_back.drain(..).for_each(|sequence| self.shared.done(sequence));
    }

    async fn take(&mut self, message: ToSink) -> Result<(), SinkError> {
        match message {
            ToSink::Rows(rows) => {
                if !self.prepared {
                    return self.rows(rows).await;
                }
                self.waiting.push_back(rows);
                Ok(())
            }
            ToSink::Committed => self.committed().await,
            ToSink::Finish(end) => self.finish(end).await,
        }
    }

    /// A sink that sends may take long: what it has sent meanwhile is handed out now and then, and it can be stopped.
    async fn finish(&mut self, mut end: End) -> Result<(), SinkError> {
        let shared = &*self.shared;
        let mark = |prepared| mark((shared, self.node, &self.behind), SETTLED, prepared);
        let Some(sink) = &mut self.sink else { return Ok(()) };
        loop {
            tokio::select! {
                biased;
                settled = sink.finish(end) => return mark(settled?),
                () = shared.until_stopped(), if end == End::Complete => {
                    shared.complete.store(false, Ordering::Release);
                    end = End::Stopped;
                }
                () = tokio::time::sleep(SETTLE_EVERY) => mark(sink.prepare().await?)?,
            }
        }
    }

    async fn committed(&mut self) -> Result<(), SinkError> {
        (self.prepared, self.asked) = (false, false);
        if let Some(sink) = &mut self.sink {
            sink.committed().await?;
        }
        self.behind.checkpoint.store(false, Ordering::Release);
        while !self.prepared
            && let Some(rows) = self.waiting.pop_front()
        {
            self.rows(rows).await?;
        }
        Ok(())
    }

    async fn rows(&mut self, rows: Rows) -> Result<(), SinkError> {
        if rows.told {
            self.behind.bytes.fetch_sub(rows.lines.text.len(), Ordering::AcqRel);
        }
        let result = self.hand_over(&rows).await;
        self.behind.through(rows.lines.ends.len());
        match &result {
            // The tick is through with its last slice.
            _ if rows.more => {}
            Ok(()) if !rows.barrier && !self.has_room() => {
                // Those that were told already are the sink's all the same; no more are, whatever checkpoint is under way.
                self.behind.full.store(true, Ordering::Relaxed);
                if !rows.told {
                    self.held_back.push(rows.sequence);
                }
            }
            Ok(()) | Err(SinkError::Gone) => {
                if !rows.barrier {
                    self.behind.full.store(false, Ordering::Relaxed);
                }
                if !rows.told {
                    self.shared.done(rows.sequence);
                }
            }
            Err(SinkError::Fatal(_)) => {}
        }
        result
    }

    /// A barrier is not held back: everything before it is the sink's.
    fn has_room(&mut self) -> bool {
        let Some(sink) = &mut self.sink else { return true };
        self.held_back.is_empty() && sink.room().now_or_never().is_some()
    }

    async fn hand_over(&mut self, rows: &Rows) -> Result<(), SinkError> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        if !rows.lines.ends.is_empty() {
            self.shared.job.until_written(rows.written).await.map_err(SinkError::Fatal)?;
            sink.deliver(&rows.lines).await?;
            if !self.behind.counts {
                self.behind.latency.count(rows.came.elapsed());
            }
        }
        if rows.barrier {
            let prepared = sink.prepare().await?;
            mark((&self.shared, self.node, &self.behind), rows.sequence, prepared)?;
            self.prepared = true;
        }
        Ok(())
    }
}

/// Hands in what a sink handed out.
fn mark(
    (shared, node, behind): (&Shared, NodeId, &Behind),
    sequence: u64,
    prepared: Prepared,
) -> Result<(), SinkError> {
    behind.held.store(prepared.held, Ordering::Relaxed);
    shared.job.mark(sequence, node, prepared).map_err(SinkError::Fatal)
}
