//! Feeds one sink. Rows that come between a checkpoint's barrier and its commit wait here, so that the flow does not wait
//! for the disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;

use crate::connector::{Encoded, Sink, SinkError};
use crate::plan::NodeId;

use super::shared::{Behind, Shared, ToSink};

/// What a sink's thread is told, and how far it is behind.
pub(super) type Inbox = (Receiver<ToSink>, Arc<Behind>);

/// Rows that wait for a commit.
struct Waiting {
    sequence: u64,
    lines: Encoded,
    barrier: bool,
    /// Whether their tick was told that they are through.
    told: bool,
}

struct SinkTask<'a> {
    shared: &'a Shared,
    node: NodeId,
    runtime: tokio::runtime::Runtime,
    /// `None` when whoever read the rows has gone.
    sink: Option<Box<dyn Sink>>,
    /// Whether a checkpoint is under way.
    prepared: bool,
    waiting: VecDeque<Waiting>,
    behind: Arc<Behind>,
}

/// A sink's thread: ends when nobody is left to tell it anything, or with the run's failure.
pub(super) fn deliver(shared: &Shared, node: NodeId, sink: Box<dyn Sink>, (inbox, behind): Inbox) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return shared.fail(format!("no runtime for a sink: {e}")),
    };
    let (sink, waiting) = (Some(sink), VecDeque::new());
    let mut task = SinkTask { shared, node, runtime, sink, prepared: false, waiting, behind };
    for message in inbox {
        match task.take(message) {
            Ok(()) => {}
            Err(SinkError::Gone) => {
                // What is under way still goes to the other sinks.
                task.sink = None;
                task.prepared = false;
                for rows in task.waiting.drain(..).filter(|rows| !rows.told) {
                    shared.done(rows.sequence);
                }
                shared.reader_gone.store(true, Ordering::Release);
                shared.stop();
            }
            Err(e) => return shared.fail(e.message()),
        }
    }
}

impl SinkTask<'_> {
    fn take(&mut self, message: ToSink) -> Result<(), SinkError> {
        match message {
            ToSink::Rows { sequence, lines, barrier, told } => {
                let rows = Waiting { sequence, lines, barrier, told };
                if !self.prepared {
                    return self.rows(rows);
                }
                self.waiting.push_back(rows);
                Ok(())
            }
            ToSink::Committed => self.committed(),
            ToSink::Finish => match &mut self.sink {
                Some(sink) => self.runtime.block_on(sink.finish()),
                None => Ok(()),
            },
        }
    }

    fn committed(&mut self) -> Result<(), SinkError> {
        self.prepared = false;
        if let Some(sink) = &mut self.sink {
            self.runtime.block_on(sink.committed())?;
        }
        self.behind.checkpoint.store(false, Ordering::Release);
        while !self.prepared
            && let Some(rows) = self.waiting.pop_front()
        {
            self.rows(rows)?;
        }
        Ok(())
    }

    fn rows(&mut self, rows: Waiting) -> Result<(), SinkError> {
        if rows.told {
            self.behind.bytes.fetch_sub(rows.lines.text.len(), Ordering::AcqRel);
        }
        let result = self.hand_over(&rows);
        if !rows.told && (result.is_ok() || result == Err(SinkError::Gone)) {
            self.shared.done(rows.sequence);
        }
        result
    }

    fn hand_over(&mut self, rows: &Waiting) -> Result<(), SinkError> {
        let Some(sink) = &mut self.sink else { return Ok(()) };
        if !rows.lines.ends.is_empty() {
            self.runtime.block_on(sink.deliver(&rows.lines))?;
        }
        if rows.barrier {
            let marks = self.runtime.block_on(sink.prepare())?;
            self.shared.job.mark(rows.sequence, self.node, marks);
            self.prepared = true;
        }
        Ok(())
    }
}
