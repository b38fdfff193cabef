//! Keeps everybody from knocking at a door that nobody opens: while the other side cannot be reached, one delivery at a time
//! tries, after longer and longer waits; when it gets through, all go on, in order.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::connector::Link;
use crate::connectors::back_off::wait;

/// The longest wait that the other side is granted when it asks for one.
const MOST_ASKED: Duration = Duration::from_secs(3600);

/// Whether it may be tried.
pub(super) struct Breaker {
    pub(super) name: String,
    link: Link,
    first: Duration,
    most: Duration,
    door: Mutex<Door>,
    told: Notify,
}

#[derive(Default)]
struct Door {
    /// When it may be tried again; closed if there is none.
    open_until: Option<Instant>,
    /// Somebody is trying.
    probing: bool,
    failures: u32,
    /// Deliveries that wait for leave, by the number of their first row: whoever failed first is not the first to go on.
    waiting: BTreeSet<u64>,
}

/// Leave to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leave {
    /// Like everybody.
    Plain,
    /// Alone.
    Probe,
}

impl Breaker {
    pub(super) fn new(name: &str, link: Link, first: Duration, most: Duration) -> Self {
        Breaker { name: name.to_owned(), link, first, most, door: Mutex::default(), told: Notify::new() }
    }

    fn door(&self) -> std::sync::MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a delivery may be tried: not before those that wait and whose first row, whose number is `first`, came
    /// earlier.
    pub(super) async fn leave(&self, first: u64) -> Leave {
        self.door().waiting.insert(first);
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            let until = {
                let mut door = self.door();
                let is_first = door.waiting.first() == Some(&first);
                match door.open_until {
                    None if is_first => return self.given(door, first, Leave::Plain),
                    Some(at) if is_first && !door.probing && at <= Instant::now() => {
                        door.probing = true;
                        return self.given(door, first, Leave::Probe);
                    }
                    Some(at) => (is_first && !door.probing).then_some(at),
                    None => None,
                }
            };
            match until {
                Some(at) => tokio::select! {
                    () = told => {}
                    () = tokio::time::sleep_until(at.into()) => {}
                },
                None => told.await,
            }
        }
    }

    fn given(&self, mut door: std::sync::MutexGuard<'_, Door>, first: u64, leave: Leave) -> Leave {
        door.waiting.remove(&first);
        let others = !door.waiting.is_empty();
        drop(door);
        if others {
            self.told.notify_waiters();
        }
        leave
    }

    /// Somebody answered.
    pub(super) fn reached(&self, leave: Leave) {
        self.link.hear();
        if leave == Leave::Probe || !self.is_open() {
            self.link.set(true);
        }
        let mut door = self.door();
        if door.open_until.is_none() {
            return;
        }
        if leave == Leave::Probe || !door.probing {
            (door.open_until, door.probing, door.failures) = (None, false, 0);
            drop(door);
            self.told.notify_waiters();
            tracing::info!(sink = self.name, "reached again");
        }
    }

    /// What was sent was taken.
    pub(super) fn taken(&self, leave: Leave) {
        self.reached(leave);
        self.link.works();
    }

    /// Somebody answered that it failed.
    pub(super) fn failed(&self, leave: Leave, why: &str) {
        self.reached(leave);
        self.link.fails(why);
    }

    /// Nobody did.
    pub(super) fn unreachable(&self, leave: Leave, why: &str, after: Option<Duration>) {
        let mut door = self.door();
        if leave == Leave::Plain && door.open_until.is_some() {
            // Others found out first.
            return;
        }
        self.link.set(false);
        self.link.fails(why);
        let news = door.open_until.is_none();
        let wait = after.map_or_else(|| wait(self.first, self.most, door.failures), |after| after.min(MOST_ASKED));
        door.failures = door.failures.saturating_add(1);
        door.probing = false;
        door.open_until = Some(Instant::now() + wait);
        drop(door);
        self.told.notify_waiters();
        if news {
            tracing::warn!(sink = self.name, why, "cannot be reached; rows wait, and it is tried again and again");
        } else {
            tracing::debug!(sink = self.name, why, again_in_ms = wait.as_millis() as u64, "still cannot be reached");
        }
    }

    /// Whether it cannot be reached.
    pub(super) fn is_open(&self) -> bool {
        self.door().open_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::block_on;
    use futures_util::FutureExt as _;

    #[test]
    fn one_tries_while_the_others_wait() {
        let breaker = Breaker::new("out", Link::default(), Duration::from_micros(1), Duration::from_micros(1));
        block_on(async {
            assert_eq!(breaker.leave(1).await, Leave::Plain);
            breaker.unreachable(Leave::Plain, "gone", None);
            assert!(breaker.is_open());
            // Whoever was under way says the same.
            breaker.unreachable(Leave::Plain, "gone", None);
            assert_eq!(breaker.leave(1).await, Leave::Probe);
            let other = breaker.leave(3);
            tokio::pin!(other);
            assert!(other.as_mut().now_or_never().is_none(), "another tries already");
            breaker.reached(Leave::Plain);
            assert!(breaker.is_open(), "an answer from before it was tried");
            breaker.unreachable(Leave::Probe, "gone", None);
            // The other one waits for longer, and comes later all the same.
            assert_eq!(breaker.leave(2).await, Leave::Probe);
            breaker.reached(Leave::Probe);
            assert!(!breaker.is_open());
            let last = breaker.leave(4);
            tokio::pin!(last);
            assert!(last.as_mut().now_or_never().is_none(), "those who wait go first");
            assert_eq!(other.await, Leave::Plain);
            assert_eq!(last.await, Leave::Plain);
        });
    }
}
