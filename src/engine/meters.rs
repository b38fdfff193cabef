//! What a run counts of itself for whoever looks, beside what becomes of rows.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::job::lock;
use super::observed::{Checkpoints, Histogram, LATENCY_BOUNDS};
use super::run::wall_clock;

/// Counts how long something takes.
#[derive(Debug, Default)]
pub(super) struct Latency {
    counts: [AtomicU64; LATENCY_BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Latency {
    /// It took so long.
    pub(super) fn count(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(LATENCY_BOUNDS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was counted.
    pub(super) fn counted(&self) -> Histogram {
        Histogram {
            counts: self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)),
            sum: Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

/// Knows the last checkpoint.
#[derive(Debug, Default)]
pub(super) struct CheckpointMeter(Mutex<Checkpoints>);

impl CheckpointMeter {
    /// One is durable, of so many rows and bytes, so long after its barrier set out.
    pub(super) fn made(&self, (rows, bytes): (usize, usize), took: Duration) {
        let mut known = lock(&self.0);
        *known = Checkpoints {
            made: known.made + 1,
            last: Some(wall_clock()),
            seconds: took.as_secs_f64(),
            rows: rows as u64,
            bytes: bytes as u64,
        };
    }

    /// What is known.
    pub(super) fn known(&self) -> Checkpoints {
        *lock(&self.0)
    }
}
