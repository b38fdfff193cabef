//! Puts rows together and sends them, for as long as the sink is open.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::Notify;

use super::breaker::Breaker;
use super::outbox::Outbox;
use super::spool::Spool;
use super::texts::key_of;
use super::{Delivery, NotSent, Row, Sender, Sending};
use crate::base::latency::Latencies;
use crate::connector::{BoxFuture, Link, Prepared, Refused};
use crate::connectors::back_off::wait;
use crate::data::hash::row_id;
use crate::store::journal::JournalError;

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
    /// From the first attempt of a delivery until it was taken.
    pub(super) latency: Latencies,
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
    /// Bytes of their texts.
    refused_bytes: u64,
    /// Why the sink cannot go on.
    failed: Option<String>,
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
        spool: Option<Spool>,
    ) -> Result<Shared, String> {
        let outbox = Outbox::restore(marks, spool)?;
        let mut state = State { released: outbox.last(), laid: outbox.base(), outbox, ..State::default() };
        let there = state.outbox.base()..state.outbox.end();
        state.refuse_changed(there, sending.templates);
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
            latency: Latencies::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes rows; whether they may be sent at once. Gives back those that the disk is not ready for.
    fn add(&self, rows: Vec<Row>, release: bool) -> Result<Vec<Row>, String> {
        let mut state = self.state();
        if let Some(why) = &state.failed {
            return Err(why.clone());
        }
        let memory = self.sending.buffer_on_disk.map(|_| self.sending.buffer.0);
        let left = state.outbox.add(rows, memory)?;
        if release {
            state.released = state.outbox.last();
        }
        drop(state);
        self.more.notify_one();
        Ok(left)
    }

    /// The same, waiting for the disk.
    pub(super) async fn add_all(&self, mut rows: Vec<Row>, release: bool) -> Result<(), String> {
        loop {
            rows = self.add(rows, release)?;
            if rows.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(DISK_WAIT).await;
        }
    }

    /// Waits until what was handed out last is on the disk, where it is not in what was handed out itself.
    pub(super) async fn until_durable(&self) -> Result<(), String> {
        let (before, journal) = {
            let state = self.state();
            if let Some(why) = &state.failed {
                return Err(why.clone());
            }
            (state.outbox.spooled_before(), state.outbox.spool().map(Spool::journal))
        };
        match journal {
            Some(journal) => journal.until_durable(before).await.map_err(JournalError::into_message),
            None => Ok(()),
        }
    }

    /// A checkpoint holds what was handed out.
    pub(super) fn committed(&self) -> Result<(), String> {
        self.state().outbox.committed()
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
        if std::mem::take(&mut state.refused_bytes) > 0 {
            self.fewer.notify_waiters();
            self.more.notify_one();
        }
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
        (prepared, state.outbox.last())
    }

    /// Waits for something about what waits; `done` may be true at once.
    async fn until(&self, done: impl Fn(&State) -> bool) {
        loop {
            let fewer = self.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if done(&self.state()) {
                return;
            }
            fewer.await;
        }
    }

    pub(super) async fn until_room(&self) {
        let (memory, disk) = (self.sending.buffer.0, self.sending.buffer_on_disk.map_or(0, |size| size.0));
        // Those that are refused wait in memory, too, until a checkpoint takes them.
        let room = |State { outbox, refused_bytes, .. }: &State| match outbox.has_spooled() {
            _ if *refused_bytes >= memory => false,
            true => outbox.spooled_bytes() < disk,
            false => (outbox.bytes as u64).saturating_add(*refused_bytes) < memory || disk > 0,
        };
        self.until(room).await;
    }

    /// Waits until so much is refused that it takes room from what is to be sent.
    pub(super) async fn until_many_are_refused(&self) {
        let most = (self.sending.buffer.0 / 2).max(1);
        self.until(|state| state.refused_bytes >= most).await;
    }

    pub(super) async fn until_all_is_sent(&self) {
        self.release(u64::MAX);
        self.send_all();
        self.until(|state| state.outbox.left == 0).await;
    }

    /// No more rows will come.
    fn send_all(&self) {
        self.state().last = true;
        self.more.notify_one();
    }

    pub(super) async fn until_it_goes_badly(&self) {
        self.send_all();
        self.until(|state| state.outbox.left == 0 || self.breaker.is_open()).await;
    }

    /// Puts rows that may be sent into lanes; the deliveries that can begin now, and when there will be more.
    fn next(&self, under_way: usize) -> (Vec<(usize, Vec<u64>, Delivery)>, Option<Instant>) {
        let mut state = self.state();
        let state = &mut *state;
        let now = Instant::now();
        let mut later = state.load(self.sending.buffer.0 / 2, self.sending.templates).then(|| now + DISK_WAIT);
        let to = state.released.min(state.outbox.end());
        state.laid = state.laid.max(state.outbox.base());
        // What more would be refused waits where it is until a checkpoint has taken what was.
        if state.refused_bytes >= self.sending.buffer.0 {
            return (Vec::new(), later);
        }
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
        let mut begin = Vec::new();
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
                Fate::Refused(why) => state.refuse(row, why),
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
        let began = Instant::now();
        loop {
            let leave = self.breaker.leave(first).await;
            let wait = match sender.send(delivery).await {
                Ok(()) => {
                    self.breaker.taken(leave);
                    self.latency.count(began.elapsed());
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
                    self.breaker.failed(leave, &why);
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

impl State {
    /// A row will never be taken.
    fn refuse(&mut self, row: Arc<Row>, why: String) {
        self.refused_bytes += (row.text.len() + why.len()) as u64;
        self.refused.push((row, why));
    }

    /// Takes rows from the disk while memory has fewer bytes than this; whether it has to wait for the disk.
    fn load(&mut self, least: u64, templates: usize) -> bool {
        while self.failed.is_none() && self.outbox.has_spooled() && (self.outbox.bytes as u64) < least {
            match self.outbox.load() {
                Ok(Some(there)) => self.refuse_changed(there, templates),
                Ok(None) => return true,
                Err(why) => self.failed = Some(why),
            }
        }
        false
    }

    /// Refuses rows that were made for other templates than the sink has.
    fn refuse_changed(&mut self, there: Range<u64>, templates: usize) {
        for number in there {
            if self.outbox.get(number).is_some_and(|row| row.rendered.len() != templates)
                && let Some(row) = self.outbox.remove(number)
            {
                self.refuse(row, "the sink has other templates than when the row was made for it".to_owned());
            }
        }
    }
}

/// How long it waits before it asks the disk again.
const DISK_WAIT: Duration = Duration::from_millis(2);

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
