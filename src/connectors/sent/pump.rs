//! Puts rows together and sends them, for as long as the sink is open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Notify;

use super::breaker::{Breaker, wait};
use super::outbox::Outbox;
use super::texts::key_of;
use super::{Delivery, NotSent, Row, Sender, Sending};
use crate::connector::{BoxFuture, Link, Prepared, Refused};
use crate::data::hash::row_id;

/// What the sink and its pump share.
pub(super) struct Shared {
    sending: Sending,
    breaker: Breaker,
    state: Mutex<State>,
    /// There are rows to send.
    more: Notify,
    /// Rows are gone, or it turned out that they cannot go.
    fewer: Notify,
    /// The last answer was that it failed.
    failing: AtomicBool,
}

#[derive(Default)]
struct State {
    outbox: Outbox,
    /// Rows before this one may be sent.
    released: u64,
    /// Rows before this one are in a lane, or sent.
    laid: u64,
    lanes: Vec<Lane>,
    /// No more rows will come for others to wait for.
    last: bool,
    sent: u64,
    refused: Vec<(Arc<Row>, String)>,
}

/// Rows that go one after the other.
#[derive(Default)]
struct Lane {
    rows: VecDeque<u64>,
    /// When the first of them was put in.
    since: Option<Instant>,
    busy: usize,
}

/// What became of a row.
enum Fate {
    Taken,
    Refused(String),
}

type Fates = (usize, Vec<(u64, Fate)>);

impl Shared {
    pub(super) fn new(
        sending: Sending,
        (name, link): (&str, &Link),
        marks: &BTreeMap<String, String>,
    ) -> Result<Shared, String> {
        let outbox = Outbox::restore(marks)?;
        let mut state = State { released: outbox.end(), laid: outbox.base(), outbox, ..State::default() };
        let changed = |row: &Arc<Row>| row.rendered.len() != sending.templates;
        for number in state.outbox.base()..state.outbox.end() {
            if state.outbox.get(number).is_some_and(changed)
                && let Some(row) = state.outbox.remove(number)
            {
                state.refused.push((row, "the sink has other templates than when the row was made for it".to_owned()));
            }
        }
        let lanes = if sending.key.is_some() { sending.concurrency } else { 1 };
        state.lanes.resize_with(lanes, Lane::default);
        let (first, most) = (sending.retry.first.0.to_std(), sending.retry.most.0.to_std());
        let breaker = Breaker::new(name, link.clone(), first, most);
        Ok(Shared {
            sending,
            breaker,
            state: Mutex::new(state),
            more: Notify::new(),
            fewer: Notify::new(),
            failing: false.into(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes rows; whether they may be sent at once.
    pub(super) fn add(&self, rows: Vec<Row>, release: bool) {
        let mut state = self.state();
        rows.into_iter().for_each(|row| state.outbox.push(Arc::new(row)));
        if release {
            state.released = state.outbox.end();
        }
        drop(state);
        self.more.notify_one();
    }

    /// Rows before a number may be sent.
    pub(super) fn release(&self, to: u64) {
        let mut state = self.state();
        state.released = state.released.max(to);
        drop(state);
        self.more.notify_one();
    }

    /// What changed since this was last asked, and one past the last row that it is about.
    pub(super) fn hand_out(&self, json: bool) -> (Prepared, u64) {
        let mut state = self.state();
        let refused = std::mem::take(&mut state.refused).into_iter().map(|(row, reason)| Refused {
            text: row.text.clone(),
            time: row.time,
            reason,
            json,
        });
        let prepared = Prepared {
            refused: refused.collect(),
            marks: state.outbox.marks(),
            sent: std::mem::take(&mut state.sent),
            held: state.outbox.left as u64,
        };
        (prepared, state.outbox.end())
    }

    /// Waits for something about what is left; `done` may be true at once.
    async fn until(&self, done: impl Fn(&Outbox) -> bool) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if done(&self.state().outbox) {
                return;
            }
            fewer.await;
        }
    }

    pub(super) async fn until_room(&self) {
        self.until(|outbox| (outbox.bytes as u64) < self.sending.buffer.0).await;
    }

    pub(super) async fn until_all_is_sent(&self) {
        self.release(u64::MAX);
        self.send_all();
        self.until(|outbox| outbox.left == 0).await;
    }

    /// No more rows will come.
    fn send_all(&self) {
        self.state().last = true;
        self.more.notify_one();
    }

    pub(super) async fn until_it_goes_badly(&self) {
        self.send_all();
        self.until(|outbox| outbox.left == 0 || self.breaker.is_open()).await;
    }

    /// Puts rows that may be sent into lanes; the deliveries that can begin now, and when there will be more.
    fn next(&self, under_way: usize) -> (Vec<(usize, Vec<u64>, Delivery)>, Option<Instant>) {
        let mut state = self.state();
        let state = &mut *state;
        let now = Instant::now();
        let to = state.released.min(state.outbox.end());
        while state.laid < to {
            let number = state.laid;
            state.laid += 1;
            let Some(row) = state.outbox.get(number) else { continue };
            let lanes = state.lanes.len().max(1) as u128;
            let at = match &self.sending.key {
                Some(key) => (row_id(0, &key_of(row, key)) % lanes) as usize,
                None => 0,
            };
            if let Some(lane) = state.lanes.get_mut(at) {
                lane.since.get_or_insert(now);
                lane.rows.push_back(number);
            }
        }
        let mut free = self.sending.concurrency.saturating_sub(under_way);
        let most_busy = if self.sending.key.is_some() { 1 } else { self.sending.concurrency };
        let (mut begin, mut later) = (Vec::new(), None::<Instant>);
        for (at, lane) in state.lanes.iter_mut().enumerate() {
            while free > 0 && lane.busy < most_busy && !lane.rows.is_empty() {
                let (numbers, delivery, full) = self.gather(&state.outbox, &lane.rows);
                let due = lane.since.unwrap_or(now) + self.sending.batch.within.0.to_std();
                if !full && due > now && !state.last {
                    later = Some(later.map_or(due, |later| later.min(due)));
                    break;
                }
                lane.rows.drain(..numbers.len());
                lane.since = (!lane.rows.is_empty()).then_some(now);
                lane.busy += 1;
                free -= 1;
                begin.push((at, numbers, delivery));
            }
        }
        (begin, later)
    }

    /// The rows at the front of a lane that go together, and whether no more would.
    fn gather(&self, outbox: &Outbox, lane: &VecDeque<u64>) -> (Vec<u64>, Delivery, bool) {
        let (mut numbers, mut rows, mut bytes) = (Vec::new(), Vec::<Arc<Row>>::new(), 0u64);
        let batch = self.sending.batch;
        for number in lane {
            let Some(row) = outbox.get(*number) else { continue };
            let alike = rows.first().is_none_or(|first| self.go_together(first, row));
            bytes += row.text.len() as u64;
            if !rows.is_empty() && (!alike || bytes > batch.bytes.0) {
                return (numbers, Delivery { rows }, true);
            }
            numbers.push(*number);
            rows.push(Arc::clone(row));
            if rows.len() >= batch.count as usize {
                return (numbers, Delivery { rows }, true);
            }
        }
        (numbers, Delivery { rows }, false)
    }

    fn go_together(&self, a: &Row, b: &Row) -> bool {
        let both = a.rendered.iter().zip(&b.rendered).enumerate();
        let key = self.sending.key.clone().unwrap_or_default();
        both.filter(|(at, _)| !key.contains(at)).all(|(_, (a, b))| a == b)
    }

    /// What became of rows.
    fn settle(&self, (lane, fates): Fates) {
        let mut state = self.state();
        if let Some(lane) = state.lanes.get_mut(lane) {
            lane.busy = lane.busy.saturating_sub(1);
        }
        for (number, fate) in fates {
            let Some(row) = state.outbox.remove(number) else { continue };
            match fate {
                Fate::Taken => state.sent += 1,
                Fate::Refused(why) => state.refused.push((row, why)),
            }
        }
        drop(state);
        self.fewer.notify_waiters();
    }

    /// Sends a delivery until it is taken or refused. Of one that is refused the halves are tried, so that one row does not
    /// take others with it.
    fn send<'a>(
        &'a self,
        sender: &'a dyn Sender,
        numbers: Vec<u64>,
        delivery: Delivery,
    ) -> BoxFuture<'a, Vec<(u64, Fate)>> {
        Box::pin(async move {
            let first = numbers.first().copied().unwrap_or_default();
            let Err(why) = self.try_until(sender, first, &delivery).await else {
                return numbers.into_iter().map(|number| (number, Fate::Taken)).collect();
            };
            if numbers.len() < 2 {
                return numbers.into_iter().map(|number| (number, Fate::Refused(why.clone()))).collect();
            }
            let (mut numbers, mut rows) = (numbers, delivery.rows);
            let half = numbers.len() / 2;
            let behind = (numbers.split_off(half), rows.split_off(half));
            let mut fates = self.send(sender, numbers, Delivery { rows }).await;
            fates.extend(self.send(sender, behind.0, Delivery { rows: behind.1 }).await);
            fates
        })
    }

    /// Tries a delivery until it is taken; the error is why it never will be.
    async fn try_until(&self, sender: &dyn Sender, first: u64, delivery: &Delivery) -> Result<(), String> {
        let retry = self.sending.retry;
        let (mut failures, mut since) = (0u32, None::<Instant>);
        loop {
            let leave = self.breaker.leave(first).await;
            let wait = match sender.send(delivery).await {
                Ok(()) => {
                    self.breaker.reached(leave);
                    if self.failing.swap(false, Ordering::Relaxed) {
                        tracing::info!(sink = self.breaker.name, "takes rows again");
                    }
                    return Ok(());
                }
                Err(NotSent::Refused { why }) => {
                    self.breaker.reached(leave);
                    return Err(why);
                }
                Err(NotSent::Unreachable { why, after }) => {
                    self.breaker.unreachable(leave, &why, after);
                    self.fewer.notify_waiters();
                    // Time in which nobody answers does not count.
                    since = None;
                    continue;
                }
                Err(NotSent::Failed { why, after }) => {
                    self.breaker.reached(leave);
                    let since = *since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= retry.give_up_after.0.to_std() {
                        return Err(why);
                    }
                    if !self.failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!(sink = self.breaker.name, why, "a delivery failed, and is tried again");
                    }
                    failures = failures.saturating_add(1);
                    after.unwrap_or_else(|| wait(retry.first.0.to_std(), retry.most.0.to_std(), failures - 1))
                }
            };
            tokio::time::sleep(wait.min(MOST_WAIT)).await;
        }
    }
}

/// The longest wait of one delivery that the other side is granted when it asks for one.
const MOST_WAIT: Duration = Duration::from_secs(3600);

/// Sends what comes until it is dropped.
pub(super) async fn pump(shared: Arc<Shared>, sender: Arc<dyn Sender>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        let (begin, later) = shared.next(under_way.len());
        for (lane, numbers, delivery) in begin {
            let (shared, sender) = (Arc::clone(&shared), Arc::clone(&sender));
            under_way.push(async move { (lane, shared.send(&*sender, numbers, delivery).await) });
        }
        tokio::select! {
            Some(fates) = under_way.next() => shared.settle(fates),
            () = shared.more.notified() => {}
            () = at(later) => {}
        }
    }
}

async fn at(later: Option<Instant>) {
    match later {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
