//! Rows on their way to sinks: put into the order of ticks, and handed to each sink's task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::base::latency::Latencies;
use crate::base::limit::SINK_BYTES;
use crate::connector::{Encoded, End};

use super::gather::{Next, Slice};
use super::job::lock;
use super::shared::Shared;

/// The lines for a sink in order of ticks.
#[derive(Default)]
pub(super) struct SinkSlot {
    pub(super) reader: usize,
    pub(super) waiting: BTreeMap<Next, (Slice, Encoded, bool, u64)>,
    pub(super) next: Next,
    pub(super) sender: Option<UnboundedSender<ToSink>>,
    pub(super) behind: Arc<Behind>,
}

/// How far a sink is behind: while it makes a checkpoint durable, so much may wait for it that the flow does not.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// A barrier is on its way to it, or it waits for the commit.
    pub(super) checkpoint: AtomicBool,
    /// Bytes of rows whose ticks were told that they are through.
    pub(super) bytes: AtomicUsize,
    /// Ticks, and slices of ticks, that its task was handed and is not through with.
    pub(super) ticks: AtomicUsize,
    /// The rows of these.
    pub(super) rows: AtomicU64,
    /// It has no room.
    pub(super) full: AtomicBool,
    /// Of one that sends: rows on their way, as it said last.
    pub(super) held: AtomicU64,
    /// How long deliveries take.
    pub(super) latency: Latencies,
    /// Whether the sink counts that itself.
    pub(super) counts: bool,
}

impl Behind {
    /// Nothing is on its way to a sink; `counts` is what it counts itself by.
    pub(super) fn of(counts: Option<Latencies>) -> Behind {
        Behind { counts: counts.is_some(), latency: counts.unwrap_or_default(), ..Behind::default() }
    }

    /// Its task is through with so many rows of a tick.
    pub(super) fn through(&self, rows: usize) {
        self.ticks.fetch_sub(1, Ordering::Relaxed);
        self.rows.fetch_sub(rows as u64, Ordering::Relaxed);
    }
}

/// What a sink's task is told.
pub(super) enum ToSink {
    /// Rows of a tick, or of a slice of one.
    Rows(Rows),
    /// The checkpoint is durable.
    Committed,
    /// There will be no more rows, and everything is durable.
    Finish(End),
}

/// Rows of a tick, or of a slice of one, for a sink.
pub(super) struct Rows {
    /// Number of the tick.
    pub(super) sequence: u64,
    /// Whether more of it follows.
    pub(super) more: bool,
    /// They.
    pub(super) lines: Encoded,
    /// Whether a checkpoint is made after them.
    pub(super) barrier: bool,
    /// Whether their tick was told that they are through.
    pub(super) told: bool,
    /// One past the turn that has to be durable before they may leave.
    pub(super) written: u64,
    /// When they were handed over.
    pub(super) came: Instant,
}

impl Shared {
    /// Tells every sink.
    pub(super) fn tell_sinks(&self, message: impl Fn() -> ToSink) {
        for sender in lock(&self.sinks).iter().filter_map(|slot| slot.sender.as_ref()) {
            // A sink that is gone has failed the run.
            let _ = sender.send(message());
        }
    }

    /// Hands lines to a sink as soon as it is their turn.
    pub(super) fn to_sink(&self, reader: usize, sequence: u64, lines: (Slice, Encoded, bool, u64)) {
        // Ticks whose rows may wait behind a checkpoint.
        let mut through = Vec::new();
        let mut sinks = lock(&self.sinks);
        let Some(slot) = sinks.iter_mut().find(|s| s.reader == reader) else { return };
        slot.waiting.insert((sequence, lines.0.number), lines);
        while let Some((slice, lines, barrier, written)) = slot.waiting.remove(&slot.next) {
            let (sequence, _) = slot.next;
            let (behind, bytes) = (&slot.behind, lines.text.len());
            // One that has no room holds back what feeds it, also then: checkpoints may follow one another without end.
            let waits = behind.checkpoint.load(Ordering::Acquire) && !behind.full.load(Ordering::Relaxed);
            let told = waits && !barrier && behind.bytes.load(Ordering::Acquire) + bytes <= SINK_BYTES;
            if told {
                behind.bytes.fetch_add(bytes, Ordering::AcqRel);
                through.extend((!slice.more).then_some(sequence));
            }
            if barrier {
                behind.checkpoint.store(true, Ordering::Release);
            }
            behind.ticks.fetch_add(1, Ordering::Relaxed);
            behind.rows.fetch_add(lines.ends.len() as u64, Ordering::Relaxed);
            if let Some(sender) = &slot.sender {
                let (more, came) = (slice.more, Instant::now());
                // A sink that is gone has failed the run.
                let _ = sender.send(ToSink::Rows(Rows { sequence, more, lines, barrier, told, written, came }));
            }
            slot.next = slice.after(sequence);
        }
        drop(sinks);
        through.into_iter().for_each(|sequence| self.done(sequence));
    }
}
