//! How long is waited between connections to a peer that may be gone, and what is said of it.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

/// How long is waited after the first attempt that fails; twice as long after each that follows.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How long at most.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long at least, if connections are ended from the other side as soon as they stand: whoever comes back at once is only
/// thrown out again, or throws another out.
const THROWN_OUT_WAIT: Duration = Duration::from_secs(30);
/// A connection that stood for so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// So many that did not, one after the other, are no chance.
const QUICK_ENDS: u32 = 3;

/// How long is waited between connections.
#[derive(Default)]
pub(super) struct Waits {
    /// Since when the connection stands that is there.
    since: Option<Instant>,
    /// Attempts that failed, one after the other.
    failed: u32,
    /// Connections that ended as soon as they stood, one after the other.
    quick: u32,
    /// What was said last.
    said: Option<String>,
}

impl Waits {
    /// A connection stands.
    pub fn stands(&mut self) {
        self.since = Some(Instant::now());
        self.said = None;
    }

    /// It has brought something.
    pub fn brought(&mut self) {
        self.failed = 0;
    }

    /// It was lost, or none came to stand: how long to wait. `thrown_out`: the other side said that another has taken its
    /// place.
    pub fn after(&mut self, thrown_out: bool) -> Duration {
        match self.since.take().map(|since| since.elapsed()) {
            Some(stood) if stood >= GOOD => (self.failed, self.quick) = (0, 0),
            Some(_) => self.quick += 1,
            None => self.quick = 0,
        }
        let doubled = FIRST_WAIT.saturating_mul(1 << self.failed.min(16)).min(LONGEST_WAIT);
        self.failed = self.failed.saturating_add(1);
        let wait = if thrown_out || self.ends_soon() { doubled.max(THROWN_OUT_WAIT) } else { doubled };
        // Many that lost the same peer do not come back at the same time.
        let random = RandomState::new().hash_one(()) as u32;
        wait / 2 + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
    }

    /// Whether connections end again and again as soon as they stand.
    pub fn ends_soon(&self) -> bool {
        self.quick >= QUICK_ENDS
    }

    /// Says what has changed; the same again is of interest to whoever looks for it.
    pub fn say(&mut self, entry: &str, peer: &str, why: &str, wait: Duration) {
        let ms = wait.as_millis();
        if self.said.as_deref() == Some(why) {
            tracing::debug!(entry, peer, why, ms, "not connected, trying again");
        } else {
            tracing::warn!(entry, peer, why, ms, "not connected, trying again");
            self.said = Some(why.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_have_an_end() {
        let mut waits = Waits::default();
        for whole in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000] {
            let wait = waits.after(false).as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} of {whole}");
        }
        waits.brought();
        assert!(waits.after(false).as_millis() <= 250);
    }

    #[test]
    fn whoever_is_thrown_out_waits() {
        let mut waits = Waits::default();
        assert!(waits.after(true) >= THROWN_OUT_WAIT / 2);
        let mut waits = Waits::default();
        for wait in [250, 500] {
            waits.stands();
            assert!(waits.after(false).as_millis() <= wait);
        }
        waits.stands();
        assert!(waits.after(false) >= THROWN_OUT_WAIT / 2 && waits.ends_soon());
    }
}
