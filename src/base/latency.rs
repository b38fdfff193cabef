//! Counts how long something takes, for whoever looks; counting is a few relaxed additions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Greatest seconds of all buckets but the last, which has no bound.
pub const BOUNDS: [f64; 8] = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// How often, by bucket of [`BOUNDS`] and beyond.
pub type Counts = [u64; BOUNDS.len() + 1];

/// What was counted; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Latencies {
    /// It took so long.
    pub fn count(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(count) = self.0.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.0.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.0.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Of all together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.0.micros.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_within_it() {
        let latency = Latencies::default();
        let same = latency.clone();
        for millis in [1, 2, 5, 70_000] {
            same.count(Duration::from_millis(millis));
        }
        assert_eq!(latency.counts(), [1, 2, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(latency.sum(), Duration::from_millis(70_008));
    }
}
