//! How long is waited before something is tried again: twice as long after each failure up to a longest wait, of which a
//! random part is left out, so that many who failed together do not come back together.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// Waits between tries.
#[derive(Debug, Clone)]
pub struct BackOff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl BackOff {
    /// `first` is the wait after the first failure, `most` the longest there is.
    pub fn new(first: Duration, most: Duration) -> BackOff {
        BackOff { first, most, failures: 0 }
    }

    /// It went well: the next failure is a first one.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait, and not less than the other side asks for.
    pub fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let wait = wait(self.first, self.most, self.failures);
        self.failures = self.failures.saturating_add(1);
        wait.max(asked.unwrap_or_default())
    }
}

/// The wait after so many failures: between half and all of what doubles each time.
pub fn wait(first: Duration, most: Duration, failures: u32) -> Duration {
    // The keys of a hasher are the random numbers that the standard library has.
    let chance = RandomState::new().hash_one(failures) as f64 / u64::MAX as f64;
    first.saturating_mul(1 << failures.min(20)).min(most).mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_have_an_end_and_grant_what_is_asked_for() {
        let mut waits = BackOff::new(Duration::from_millis(500), Duration::from_secs(60));
        for full in [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            let wait = waits.wait(None).as_millis();
            assert!((full / 2 - 1..=full).contains(&wait), "{wait} of {full}");
        }
        assert_eq!(waits.wait(Some(Duration::from_secs(90))), Duration::from_secs(90));
        waits.reset();
        assert!(waits.wait(None) <= Duration::from_millis(500));
        let most = Duration::from_secs(1);
        assert!(wait(Duration::from_millis(100), most, u32::MAX) <= most);
    }
}
