//! How long is waited between connections to a peer that may be gone, and what is said of it.

use std::time::{Duration, Instant};

use super::back_off::{self, BackOff};

/// How long is waited after the first attempt that fails, and after many.
const WAITS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// How long at least, if connections are ended from the other side as soon as they stand: whoever comes back at once is only
/// thrown out again, or throws another out.
const THROWN_OUT_WAIT: Duration = Duration::from_secs(30);
/// A connection that stood for so long was a good one.
const GOOD: Duration = Duration::from_secs(10);
/// So many that did not, one after the other, are no chance.
const QUICK_ENDS: u32 = 3;

/// How long is waited between connections.
pub(super) struct Waits {
    /// Since when the connection stands that is there.
    since: Option<Instant>,
    back_off: BackOff,
    /// Connections that ended as soon as they stood, one after the other.
    quick: u32,
    /// What was said last.
    said: Option<String>,
}

impl Default for Waits {
    fn default() -> Waits {
        Waits::of(WAITS.0, WAITS.1)
    }
}

impl Waits {
    /// `first` is the wait after the first attempt that fails, `most` the longest, but for those who are thrown out.
    pub fn of(first: Duration, most: Duration) -> Waits {
        Waits { since: None, back_off: BackOff::new(first, most), quick: 0, said: None }
    }

    /// A connection stands.
    pub fn stands(&mut self) {
        self.since = Some(Instant::now());
        self.said = None;
    }

    /// It has brought something.
    pub fn brought(&mut self) {
        self.back_off.reset();
    }

    /// It was lost, or none came to stand: how long to wait. `thrown_out`: the other side said that another has taken its
    /// place.
    pub fn after(&mut self, thrown_out: bool) -> Duration {
        match self.since.take().map(|since| since.elapsed()) {
            Some(stood) if stood >= GOOD => {
                self.back_off.reset();
                self.quick = 0;
            }
            Some(_) => self.quick += 1,
            None => self.quick = 0,
        }
        let wait = self.back_off.wait(None);
        match thrown_out || self.ends_soon() {
            true => wait.max(back_off::wait(THROWN_OUT_WAIT, THROWN_OUT_WAIT, 0)),
            false => wait,
        }
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
