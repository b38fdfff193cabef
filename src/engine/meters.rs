//! What a run counts of itself for whoever looks, beside what becomes of rows.

use std::sync::Mutex;
use std::time::Duration;

use super::job::lock;
use super::observed::Checkpoints;
use super::run::wall_clock;

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
