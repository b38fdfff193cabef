//! Whether connectors reach what they talk to, for whoever wants to see it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Stands for an instant that has not come.
const NEVER: i64 = i64::MIN;

/// Whether a source or sink is connected. One that never says anything is, and has nothing to show.
#[derive(Clone, Debug, Default)]
pub struct Link(Arc<Line>);

#[derive(Debug)]
struct Line {
    down: AtomicBool,
    /// Since when it is so, microseconds since 1970.
    since: AtomicI64,
    /// When something last came or was taken.
    heard: AtomicI64,
    /// What went wrong last, while it does.
    why: Mutex<Option<String>>,
}

impl Default for Line {
    fn default() -> Self {
        let never = || AtomicI64::new(NEVER);
        Line { down: AtomicBool::new(false), since: never(), heard: never(), why: Mutex::default() }
    }
}

/// What a connector says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkState {
    /// Whether it is connected.
    pub up: bool,
    /// Since when, microseconds since 1970.
    pub since: i64,
    /// When something last came or was taken, if anything was.
    pub heard: Option<i64>,
}

impl Link {
    /// It is connected, or no longer.
    pub fn set(&self, up: bool) {
        let before = self.0.down.swap(!up, Ordering::AcqRel);
        if before == up || self.0.since.load(Ordering::Acquire) == NEVER {
            self.0.since.store(now(), Ordering::Release);
        }
    }

    /// It cannot be reached, or does not take what is sent, for this reason: until something goes well again.
    pub fn fails(&self, why: &str) {
        *self.0.why.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// It goes well.
    pub fn works(&self) {
        *self.0.why.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What went wrong last, if nothing went well since.
    pub fn why(&self) -> Option<String> {
        self.0.why.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Something came, or was taken.
    pub fn hear(&self) {
        self.0.heard.store(now(), Ordering::Release);
    }

    /// Whether it is connected.
    pub fn is_up(&self) -> bool {
        !self.0.down.load(Ordering::Acquire)
    }

    /// What there is to show, of one that has said anything.
    pub fn state(&self) -> Option<LinkState> {
        let since = self.0.since.load(Ordering::Acquire);
        let heard = self.0.heard.load(Ordering::Acquire);
        let state = LinkState { up: self.is_up(), since, heard: (heard != NEVER).then_some(heard) };
        (since != NEVER).then_some(state)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.ok().and_then(|d| i64::try_from(d.as_micros()).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_shown() {
        let link = Link::default();
        assert!(link.is_up() && link.state().is_none());
        link.set(false);
        let down = link.state().unwrap();
        assert!(!down.up && down.heard.is_none() && down.since > 0);
        link.set(false);
        assert_eq!(link.state(), Some(down), "saying it again changes nothing");
        link.set(true);
        link.clone().hear();
        let up = link.state().unwrap();
        assert!(up.up && up.since >= down.since && up.heard >= Some(up.since));
        assert_eq!(link.why(), None);
        link.fails("refused");
        assert_eq!(link.clone().why().as_deref(), Some("refused"));
        link.works();
        assert_eq!(link.why(), None);
    }
}
