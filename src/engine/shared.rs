//! What the tasks of a run share: the work that waits, the lines that wait for sinks, and leave to read.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::base::limit::LETTER_BYTES;
use crate::base::time::Timestamp;
use crate::connector::Link;

use super::barriers::Barriers;
use super::budget::Budget;
use super::commits::Commits;
use super::gather::Next;
use super::job::{Job, Ready, lock};
use super::map::{MapInput, Mapper};
use super::meters::CheckpointMeter;
use super::ops::Due;
use super::outgoing::SinkSlot;
use super::partition::{PartitionSpec, PartitionState};
use super::returned::Back;
use super::run::{Options, steady_clock};
use super::stage::{Stage, StageInput};
use super::state::Load;

/// One share of a step, and the ticks that wait for it.
pub(super) struct Slot {
    pub(super) reader: usize,
    /// With when they came.
    pub(super) waiting: BTreeMap<Next, (StageInput, Instant)>,
    pub(super) next: Next,
    /// What it is not through with.
    pub(super) under_way: Option<StageInput>,
    /// Absent while a worker has it.
    pub(super) stage: Option<Box<Stage>>,
    /// When it was through with its last tick.
    pub(super) free: Instant,
    /// The watermark behind that.
    pub(super) reached: Timestamp,
    /// Rows of its input that it held then.
    pub(super) held: u64,
    /// How much it kept then.
    pub(super) load: Load,
    /// When something happens next by itself.
    pub(super) due: Due,
}

impl Slot {
    /// A share that has taken no tick yet and goes on from a watermark.
    pub(super) fn new(reader: usize, stage: Stage, reached: Timestamp) -> Slot {
        Slot {
            reader,
            waiting: BTreeMap::new(),
            next: (0, 0),
            under_way: None,
            free: Instant::now(),
            reached,
            held: stage.operator.held(),
            load: stage.operator.load(),
            due: stage.operator.due(),
            stage: Some(Box::new(stage)),
        }
    }

    /// Takes the slice of a tick that is next if it is there, with when it could have begun at the earliest.
    pub(super) fn take(&mut self) -> Option<(Box<Stage>, StageInput, Instant)> {
        self.stage.as_ref()?;
        if let Some(input) = self.under_way.take() {
            return Some((self.stage.take()?, input, self.free));
        }
        let (input, came) = self.waiting.remove(&self.next)?;
        Some((self.stage.take()?, input, came.max(self.free)))
    }
}

/// A block to map.
pub(super) struct MapWork {
    /// Index of the source.
    pub source: usize,
    /// Partition and the block's number in it.
    pub at: (usize, u64),
    /// The block.
    pub input: MapInput,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) maps: VecDeque<MapWork>,
    pub(super) slots: Vec<Slot>,
    /// By reader: the slot of its first share.
    pub(super) first_slot: Vec<usize>,
    /// How many blocks workers have.
    pub(super) mapping: usize,
    /// How many workers there are, and how many of them wait for work.
    pub(super) workers: usize,
    pub(super) waiting: usize,
    /// How much all shares keep.
    pub(super) load: Load,
    pub(super) finished: bool,
}

impl Queue {
    /// Whether the run is over and no worker is left.
    pub(super) fn is_left(&self) -> bool {
        self.finished && self.workers == 0
    }
}

/// How a partition is read.
#[derive(Clone)]
pub(super) struct Polled {
    /// Its reader waits for the source.
    waits: bool,
    /// Since when it does, or no longer does, because it brought something that may not be mapped yet.
    since: Timestamp,
    /// Whether its source is connected to what it reads.
    pub(super) link: Link,
}

impl Polled {
    pub(super) fn new() -> Polled {
        Polled { waits: false, since: steady_clock(), link: Link::default() }
    }
}

/// What all tasks of a run share.
pub(super) struct Shared {
    /// For the tasks that are begun later.
    pub(super) me: Weak<Shared>,
    /// The job.
    pub(super) job: Job,
    pub(super) queue: Mutex<Queue>,
    /// Wakes workers, and nobody else: one is woken for each piece of work.
    pub(super) wake: Condvar,
    /// The most workers at a time, and what those that have gone used.
    pub(super) workers: usize,
    pub(super) mappers: Mutex<Vec<Vec<Mapper>>>,
    pub(super) sinks: Mutex<Vec<SinkSlot>>,
    pub(super) barriers: Mutex<Barriers>,
    pub(super) barrier_told: Notify,
    /// What sources are told of checkpoints.
    pub(super) commits: Commits,
    pub(super) checkpoints: CheckpointMeter,
    pub(super) budget: Budget,
    /// By partition: blocks its reader may still read.
    pub(super) leave: Mutex<Vec<i64>>,
    pub(super) leave_told: Notify,
    /// Tells whoever waits for something of the run that it may have come: that it is ending, or paused, or a worker has gone.
    pub(super) ending_told: Notify,
    /// Blocks that all partitions share leave for; each has leave for one at least.
    pub(super) leave_in_all: i64,
    /// By partition: what the clock must know of its reader. One held by back-pressure is not idle.
    pub(super) polled: Mutex<Vec<Polled>>,
    /// What comes back to sinks.
    pub(super) returns: Mutex<Vec<Back>>,
    /// A checkpoint was asked for because nothing else is left to be read.
    only_returns: AtomicBool,
    pub(super) failure: Mutex<Option<String>>,
    /// What went wrong without ending the run, until somebody asks.
    pub(super) warnings: Mutex<Vec<String>>,
    /// Microseconds of the longest tick of a share since the last checkpoint, what it waited for included.
    longest_tick: AtomicU64,
    /// The run was told to stop.
    pub(super) stopping: AtomicBool,
    /// The run was told to come to its end.
    drain_asked: AtomicBool,
    /// Sources read nothing for now.
    paused: AtomicBool,
    /// Its sources have stopped for that.
    pub(super) draining: AtomicBool,
    /// It stops because whoever read its output has gone.
    pub(super) reader_gone: AtomicBool,
    pub(super) complete: AtomicBool,
    /// Its input has ended, whether or not it is told to stop then.
    pub(super) input_ended: AtomicBool,
    pub(super) over: AtomicBool,
}

impl Shared {
    /// For a run of so many partitions to begin with.
    pub(super) fn new(job: Job, queue: Queue, sinks: Vec<SinkSlot>, partitions: usize, options: &Options) -> Arc<Self> {
        let leave_in_all = options.workers as i64 * 2 + 2;
        let per_partition = (leave_in_all / partitions.max(1) as i64).max(1);
        Arc::new_cyclic(|me| Shared {
            me: Weak::clone(me),
            job,
            queue: Mutex::new(queue),
            wake: Condvar::new(),
            workers: options.workers.max(1),
            mappers: Mutex::default(),
            sinks: Mutex::new(sinks),
            barriers: Mutex::default(),
            barrier_told: Notify::new(),
            commits: Commits::default(),
            checkpoints: CheckpointMeter::default(),
            budget: Budget::of(options),
            leave: Mutex::new(vec![per_partition; partitions]),
            leave_told: Notify::new(),
            ending_told: Notify::new(),
            leave_in_all,
            polled: Mutex::new(vec![Polled::new(); partitions]),
            returns: Mutex::default(),
            only_returns: AtomicBool::new(false),
            failure: Mutex::new(None),
            warnings: Mutex::default(),
            longest_tick: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            drain_asked: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            reader_gone: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            input_ended: AtomicBool::new(false),
            over: AtomicBool::new(false),
        })
    }

    /// Ends the run with a sentence; the first one counts.
    pub(super) fn fail(&self, why: String) {
        lock(&self.failure).get_or_insert(why);
        self.end();
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
        lock(&self.queue).finished = true;
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        // Whoever checks a flag under a lock and then waits must not miss this.
        drop(lock(&self.queue));
        self.wake.notify_all();
        self.barrier_told.notify_waiters();
        self.leave_told.notify_waiters();
        self.ending_told.notify_waiters();
    }

    /// Asks the run to stop: sources stop, what was read goes through, nothing closes.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Sources read nothing until they may again; everything else goes on, and nobody is idle.
    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
        self.wake_all();
    }

    /// Whether sources read nothing for now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Waits until sources are to read nothing for now.
    pub(super) async fn until_paused(&self) {
        self.until(|| self.is_paused()).await;
    }

    /// Asks the run to end as if its input had: sources stop, what was read goes through, everything closes.
    pub(super) fn drain(&self) {
        self.drain_asked.store(true, Ordering::Release);
        self.drain_if_asked();
    }

    /// One that still repeats how live inputs met before a crash reads on until it has: what was sent then depends on it.
    pub(super) fn drain_if_asked(&self) {
        let asked = self.drain_asked.load(Ordering::Acquire) && !self.draining.load(Ordering::Acquire);
        if asked && !lock(&self.job.gate).repeats() {
            self.draining.store(true, Ordering::Release);
            self.wake_all();
        }
    }

    /// Whether sources should read no more.
    pub(super) fn is_ending(&self) -> bool {
        [&self.over, &self.stopping, &self.draining].iter().any(|flag| flag.load(Ordering::Acquire))
    }

    /// Waits until one of a source's partitions may be read: the one with most leave of those not `ended`.
    pub(super) async fn wait_for_leave(&self, partitions: std::ops::Range<usize>, ended: &[bool]) -> Option<usize> {
        let first = || {
            let mut leave = lock(&self.leave);
            let open = partitions.clone().enumerate().filter(|(i, _)| !ended.get(*i).copied().unwrap_or(true));
            let most =
                open.filter_map(|(_, p)| leave.get(p).map(|n| (*n, p))).filter(|(n, _)| *n > 0 && !self.is_paused());
            // Of equals the first: the order in which partitions are wanted.
            let (_, partition) = most.max_by_key(|(n, p)| (*n, std::cmp::Reverse(*p)))?;
            if let Some(n) = leave.get_mut(partition) {
                *n -= 1;
            }
            Some(partition)
        };
        until(&self.leave_told, || if self.is_ending() { Some(None) } else { first().map(Some) }).await
    }

    /// Waits until one partition may be read; false if the run is ending.
    pub(super) async fn leave_for(&self, partition: usize) -> bool {
        let given = || {
            let paused = self.is_paused();
            lock(&self.leave).get_mut(partition).filter(|n| **n > 0 && !paused).map(|n| *n -= 1)
        };
        until(&self.leave_told, || if self.is_ending() { Some(false) } else { given().map(|()| true) }).await
    }

    /// Waits until the run is ending.
    pub(super) async fn until_ending(&self) {
        self.until(|| self.is_ending()).await;
    }

    /// Waits until the run is told to stop, also while its sinks make their output final.
    pub(super) async fn until_stopped(&self) {
        self.until(|| self.stopping.load(Ordering::Acquire)).await;
    }

    /// Waits until something is so of which is told with the end.
    pub(super) async fn until(&self, so: impl Fn() -> bool) {
        until(&self.ending_told, || so().then_some(())).await;
    }

    /// Takes in a partition that was found while the run goes on: its number.
    pub(super) fn add_partition(&self, spec: PartitionSpec, state: Option<&PartitionState>, now: Timestamp) -> usize {
        // Numbers are the same everywhere, whoever else adds one at the same time.
        let mut leave = lock(&self.leave);
        let number = self.job.add_partition(spec, state, now);
        let share = self.leave_in_all / (leave.len() as i64 + 1);
        leave.push(share.max(1));
        lock(&self.polled).push(Polled::new());
        number
    }

    /// Corrects the leave of a partition by blocks that were read beside the one counted, or not read.
    pub(super) fn correct_leave(&self, partition: usize, by: i64) {
        if by != 0 {
            if let Some(n) = lock(&self.leave).get_mut(partition) {
                *n += by;
            }
            self.leave_told.notify_waiters();
        }
    }

    /// Notes whether a partition's reader waits for the source; when it no longer does, it was heard.
    pub(super) fn polls(&self, partition: usize, waits: bool) {
        if let Some(polled) = lock(&self.polled).get_mut(partition) {
            (polled.waits, polled.since) = (waits, steady_clock());
        }
    }

    /// A partition's source is connected as this says.
    pub(super) fn linked(&self, partition: usize, link: &Link) {
        if let Some(polled) = lock(&self.polled).get_mut(partition) {
            polled.link = link.clone();
        }
    }

    /// By partition since when it has been silent although it was connected and polled.
    pub(super) fn silent_since(&self, now: Timestamp) -> Vec<Timestamp> {
        let (polled, paused) = (lock(&self.polled), self.is_paused());
        let since = |p: &Polled| if p.waits && p.link.is_up() && !paused { p.since } else { now };
        polled.iter().map(since).collect()
    }

    /// A tick took a share so long, from when it could have begun.
    pub(super) fn took(&self, time: Duration) {
        self.longest_tick.fetch_max(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The longest that a tick took a share since this was last asked.
    pub(super) fn longest_tick(&self) -> Duration {
        Duration::from_micros(self.longest_tick.swap(0, Ordering::Relaxed))
    }

    /// A block to map.
    pub(super) fn map(&self, work: MapWork) {
        let mut queue = lock(&self.queue);
        queue.maps.push_back(work);
        self.call_worker(queue);
    }

    /// Puts work where it is taken from.
    pub(super) fn hand_out(&self, ready: Vec<Ready>) {
        if ready.is_empty() {
            return;
        }
        let mut stages = Vec::new();
        for work in ready {
            match work {
                Ready::Stage { reader, share, input } => stages.push((reader, share, input)),
                Ready::Sink { reader, sequence, slice, lines, barrier, written } => {
                    self.to_sink(reader, sequence, (slice, lines, barrier, written));
                }
            }
        }
        if stages.is_empty() {
            return;
        }
        let came = Instant::now();
        let mut queue = lock(&self.queue);
        for (reader, share, input) in stages {
            let slot = queue.first_slot.get(reader).map(|first| first + share);
            if let Some(slot) = slot.and_then(|s| queue.slots.get_mut(s)) {
                slot.waiting.insert((input.sequence, input.slice.number), (input, came));
            }
        }
        self.call_worker(queue);
    }

    pub(super) fn done(&self, sequence: u64) {
        let Some(info) = self.job.done(sequence) else { return };
        if !info.used.is_empty() {
            let mut leave = lock(&self.leave);
            for partition in &info.used {
                if let Some(n) = leave.get_mut(*partition) {
                    *n += 1;
                }
            }
            drop(leave);
            self.leave_told.notify_waiters();
        }
        // What is to be kept of letters waits in memory; the end of all input waits for the answers of sinks.
        if self.job.letters() > LETTER_BYTES || (info.only_returns && !self.only_returns.swap(true, Ordering::AcqRel)) {
            self.ask_for_checkpoint();
        }
        if info.barrier {
            self.gone_through(sequence);
        }
        if info.last {
            self.complete.store(info.complete, Ordering::Release);
            self.input_ended.store(info.complete, Ordering::Release);
            self.end();
        }
    }
}

/// Waits until there is what is looked for, looking again whenever something is told.
pub(super) async fn until<T>(told: &Notify, look: impl Fn() -> Option<T>) -> T {
    loop {
        let told = told.notified();
        tokio::pin!(told);
        // From here on nothing that is told is missed.
        told.as_mut().enable();
        if let Some(found) = look() {
            return found;
        }
        told.await;
    }
}
