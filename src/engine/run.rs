//! Drives a job with worker threads, a thread a source and a thread a sink.
//!
//! Memory is bounded by leave to read: a partition's reader has leave for a few blocks and gets it back when the tick
//! that took the block's last row has gone through every sink.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::{Encoded, Partition, Sink, SinkError};

use super::gate::PartitionSpec;
use super::job::{Job, Ready, Snapshot, lock};
use super::ledger::Entry;
use super::lower::{Graph, ReaderKind};
use super::map::MapInput;
use super::source_task::{SourceTask, read_source};
use super::stage::{Stage, StageInput};

/// Rows at which a tick is cut where partitions meet.
const TICK_ROWS: u32 = 2048;
/// How often silent live sources are looked at.
const IDLE_CHECK: Duration = Duration::from_millis(100);

/// How a job is driven.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads.
    pub workers: usize,
}

/// What a source is read from.
pub struct Input {
    /// Its partitions, in the order of their names.
    pub partitions: Vec<Partition>,
    /// Whether they end by themselves.
    pub bounded: bool,
    /// How far behind the greatest time seen events may come.
    pub out_of_order: TimeSpan,
    /// How long a live partition is silent before it is idle.
    pub idle_after: TimeSpan,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// All input was taken, all windows closed.
    Complete,
    /// It was told to stop.
    Stopped,
    /// It could not go on; one sentence for whoever runs it.
    Failed(String),
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Summary {
    /// How it ended.
    pub outcome: Outcome,
    /// Counts by node of the plan.
    pub entries: Vec<Entry>,
    /// Everything the job kept at the last barrier.
    pub snapshot: Snapshot,
}

/// A view on a running job, and the means to stop it.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Asks the run to stop: sources stop, what was read goes through, nothing closes.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.wake_all();
    }

    /// Counts by node of the plan.
    pub fn entries(&self) -> Vec<Entry> {
        self.shared.job.ledger.entries()
    }

    /// The least watermark of any step.
    pub fn watermark(&self) -> Timestamp {
        self.shared.job.watermark()
    }
}

/// One share of a step, and the ticks that wait for it.
struct Slot {
    reader: usize,
    waiting: BTreeMap<u64, StageInput>,
    next: u64,
    /// Absent while a worker has it.
    stage: Option<Box<Stage>>,
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
struct Queue {
    maps: VecDeque<MapWork>,
    slots: Vec<Slot>,
    /// By reader: the slot of its first share.
    first_slot: Vec<usize>,
    /// How many blocks workers have.
    mapping: usize,
    finished: bool,
}

/// The lines for a sink in order of ticks.
struct SinkSlot {
    reader: usize,
    waiting: BTreeMap<u64, Encoded>,
    next: u64,
    sender: Option<Sender<(u64, Encoded)>>,
}

/// What all threads of a run share.
pub(super) struct Shared {
    /// The job.
    pub job: Job,
    queue: Mutex<Queue>,
    wake: Condvar,
    sinks: Mutex<Vec<SinkSlot>>,
    /// By partition: blocks its reader may still read.
    leave: Mutex<Vec<i64>>,
    leave_given: Condvar,
    failure: Mutex<Option<String>>,
    /// The run was told to stop.
    pub stopping: AtomicBool,
    complete: AtomicBool,
    over: AtomicBool,
}

impl Shared {
    /// Ends the run with a sentence; the first one counts.
    pub fn fail(&self, why: String) {
        lock(&self.failure).get_or_insert(why);
        self.end();
    }

    fn end(&self) {
        self.over.store(true, Ordering::Release);
        lock(&self.queue).finished = true;
        self.wake_all();
    }

    fn wake_all(&self) {
        // Whoever checks a flag under a lock and then waits must not miss this.
        drop(lock(&self.queue));
        self.wake.notify_all();
        drop(lock(&self.leave));
        self.leave_given.notify_all();
    }

    /// Whether sources should read no more.
    pub fn is_ending(&self) -> bool {
        self.over.load(Ordering::Acquire) || self.stopping.load(Ordering::Acquire)
    }

    /// Waits until one of a source's partitions may be read: the one with most leave of those not `ended`.
    pub fn wait_for_leave(&self, partitions: std::ops::Range<usize>, ended: &[bool]) -> Option<usize> {
        let mut leave = lock(&self.leave);
        loop {
            if self.is_ending() {
                return None;
            }
            let open = partitions.clone().enumerate().filter(|(i, _)| !ended.get(*i).copied().unwrap_or(true));
            let most = open.filter_map(|(_, p)| leave.get(p).map(|n| (*n, p))).filter(|(n, _)| *n > 0);
            // Of equals the first: the order in which partitions are wanted.
            if let Some((_, partition)) = most.max_by_key(|(n, p)| (*n, std::cmp::Reverse(*p))) {
                if let Some(n) = leave.get_mut(partition) {
                    *n -= 1;
                }
                return Some(partition);
            }
            leave = self.leave_given.wait(leave).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Corrects the leave of a partition by blocks that were read beside the one counted, or not read.
    pub fn correct_leave(&self, partition: usize, by: i64) {
        if by != 0 {
            if let Some(n) = lock(&self.leave).get_mut(partition) {
                *n += by;
            }
            self.leave_given.notify_all();
        }
    }

    /// A block to map.
    pub fn map(&self, work: MapWork) {
        lock(&self.queue).maps.push_back(work);
        self.wake.notify_one();
    }

    /// Puts work where it is taken from.
    pub fn hand_out(&self, ready: Vec<Ready>) {
        if ready.is_empty() {
            return;
        }
        let mut stages = Vec::new();
        for work in ready {
            match work {
                Ready::Stage { reader, share, input } => stages.push((reader, share, input)),
                Ready::Sink { reader, sequence, lines } => self.to_sink(reader, sequence, lines),
            }
        }
        if stages.is_empty() {
            return;
        }
        let mut queue = lock(&self.queue);
        for (reader, share, input) in stages {
            let slot = queue.first_slot.get(reader).map(|first| first + share);
            if let Some(slot) = slot.and_then(|s| queue.slots.get_mut(s)) {
                slot.waiting.insert(input.sequence, input);
            }
        }
        drop(queue);
        self.wake.notify_all();
    }

    fn to_sink(&self, reader: usize, sequence: u64, lines: Encoded) {
        let mut sinks = lock(&self.sinks);
        let Some(slot) = sinks.iter_mut().find(|s| s.reader == reader) else { return };
        slot.waiting.insert(sequence, lines);
        while let Some(lines) = slot.waiting.remove(&slot.next) {
            if let Some(sender) = &slot.sender {
                // A sink that is gone has failed the run.
                let _ = sender.send((slot.next, lines));
            }
            slot.next += 1;
        }
    }

    fn done(&self, sequence: u64) {
        let Some(info) = self.job.done(sequence) else { return };
        if !info.used.is_empty() {
            let mut leave = lock(&self.leave);
            for partition in &info.used {
                if let Some(n) = leave.get_mut(*partition) {
                    *n += 1;
                }
            }
            drop(leave);
            self.leave_given.notify_all();
        }
        if info.last {
            self.complete.store(info.complete, Ordering::Release);
            self.end();
        }
    }
}

/// Runs a job to its end. `started` is given a handle as soon as there is one.
pub fn run(
    graph: Graph,
    inputs: Vec<Input>,
    sinks: Vec<Box<dyn Sink>>,
    options: &Options,
    from: Option<&Snapshot>,
    started: &mut dyn FnMut(Handle),
) -> Summary {
    let specs = partition_specs(&graph, &inputs);
    let live = specs.iter().any(|p| !p.bounded);
    let now = wall_clock();
    let job = Job::new(graph, specs, TICK_ROWS, now);
    if let Some(snapshot) = from {
        job.restore(snapshot);
        job.seed(snapshot.clone());
    }
    let (queue, slots) = match queue_of(&job, from) {
        Ok(made) => made,
        Err(why) => return failed(&job, why),
    };
    let count: usize = inputs.iter().map(|i| i.partitions.len()).sum();
    let per_partition = ((options.workers as i64 * 2 + 2) / count.max(1) as i64).max(1);
    let mut senders = Vec::new();
    let mut receivers = Vec::new();
    for reader in slots {
        let (sender, receiver) = channel();
        senders.push(SinkSlot { reader, waiting: BTreeMap::new(), next: 0, sender: Some(sender) });
        receivers.push(receiver);
    }
    let shared = Arc::new(Shared {
        job,
        queue: Mutex::new(queue),
        wake: Condvar::new(),
        sinks: Mutex::new(senders),
        leave: Mutex::new(vec![per_partition; count]),
        leave_given: Condvar::new(),
        failure: Mutex::new(None),
        stopping: AtomicBool::new(false),
        complete: AtomicBool::new(false),
        over: AtomicBool::new(false),
    });
    started(Handle { shared: Arc::clone(&shared) });
    std::thread::scope(|scope| threads(scope, &shared, inputs, sinks, receivers, options, live, from));
    let failure = lock(&shared.failure).take();
    let outcome = match failure {
        Some(why) => Outcome::Failed(why),
        None if shared.complete.load(Ordering::Acquire) => Outcome::Complete,
        None => Outcome::Stopped,
    };
    Summary { outcome, entries: shared.job.ledger.entries(), snapshot: shared.job.snapshot() }
}

#[expect(clippy::too_many_arguments, reason = "everything that a run is made of meets here once")]
fn threads<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    shared: &'scope Arc<Shared>,
    inputs: Vec<Input>,
    sinks: Vec<Box<dyn Sink>>,
    receivers: Vec<Receiver<(u64, Encoded)>>,
    options: &Options,
    live: bool,
    from: Option<&Snapshot>,
) {
    let sink_threads: Vec<_> = sinks
        .into_iter()
        .zip(receivers)
        .map(|(sink, lines)| scope.spawn(move || deliver(shared, sink, &lines)))
        .collect();
    let workers: Vec<_> = (0..options.workers.max(1)).map(|_| scope.spawn(move || guarded(shared, work))).collect();
    let mut first = 0;
    let mut sources = Vec::new();
    let empty = inputs.iter().all(|i| i.partitions.is_empty());
    for (source, input) in inputs.into_iter().enumerate() {
        let count = input.partitions.len();
        let states = from.map(|s| s.partitions.clone()).unwrap_or_default();
        let task = SourceTask { source, first, partitions: input.partitions, states };
        first += count;
        sources.push(scope.spawn(move || guarded(shared, |shared| read_source(shared, task))));
    }
    if empty {
        // Nothing will ever arrive, which is the end of everything.
        shared.hand_out(shared.job.pass_end());
    }
    if live {
        scope.spawn(move || pass_time(shared));
    }
    for source in sources {
        // A panic was turned into a failure where it happened.
        let _ = source.join();
    }
    if shared.stopping.load(Ordering::Acquire) {
        stop_when_mapped(shared);
    }
    for worker in workers {
        let _ = worker.join();
    }
    lock(&shared.sinks).iter_mut().for_each(|slot| slot.sender = None);
    for sink in sink_threads {
        let _ = sink.join();
    }
}

/// After the sources have stopped: waits until what they read is mapped, then ends the run without closing anything.
fn stop_when_mapped(shared: &Shared) {
    let mut queue = lock(&shared.queue);
    while !queue.finished && (!queue.maps.is_empty() || queue.mapping > 0) {
        let waited = shared.wake.wait_timeout(queue, Duration::from_millis(10));
        queue = waited.map(|(q, _)| q).unwrap_or_else(|e| e.into_inner().0);
    }
    let finished = queue.finished;
    drop(queue);
    if !finished {
        shared.hand_out(shared.job.stop());
    }
}

/// The wall clock.
pub fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.ok().and_then(|d| i64::try_from(d.as_micros()).ok()).unwrap_or(0))
}

fn failed(job: &Job, why: String) -> Summary {
    Summary { outcome: Outcome::Failed(why), entries: job.ledger.entries(), snapshot: Snapshot::default() }
}

fn partition_specs(graph: &Graph, inputs: &[Input]) -> Vec<PartitionSpec> {
    let mut specs = Vec::new();
    for (source, input) in inputs.iter().enumerate() {
        let timed = graph.sources.get(source).is_some_and(|s| s.spec.time.is_some());
        specs.extend(input.partitions.iter().map(|p| PartitionSpec {
            source,
            name: p.name.clone(),
            bounded: input.bounded,
            timed,
            out_of_order: input.out_of_order,
            idle_after: input.idle_after,
        }));
    }
    specs
}

/// The queue with every share of every step, and the readers that are sinks.
fn queue_of(job: &Job, from: Option<&Snapshot>) -> Result<(Queue, Vec<usize>), String> {
    let mut queue = Queue::default();
    let mut sinks = Vec::new();
    for (reader, spec) in job.graph.readers.iter().enumerate() {
        queue.first_slot.push(queue.slots.len());
        match &spec.kind {
            ReaderKind::Stage(stage, _) => {
                for share in 0..stage.shares {
                    let stage = Some(Box::new(job.stage(reader, share, from)?));
                    queue.slots.push(Slot { reader, waiting: BTreeMap::new(), next: 0, stage });
                }
            }
            ReaderKind::Sink(_) => sinks.push(reader),
        }
    }
    Ok((queue, sinks))
}

/// Turns a panic into a failed run.
fn guarded(shared: &Shared, task: impl FnOnce(&Shared)) {
    let caught = catch_unwind(AssertUnwindSafe(|| task(shared)));
    if let Err(panic) = caught {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        shared.fail(format!("an internal error ended the run; please report it: {}", text.unwrap_or("no message")));
    }
}

enum Work {
    Map(MapWork),
    Stage(usize, Box<Stage>, StageInput),
}

/// A worker: steps with state first, since they drain what is under way, then blocks.
fn work(shared: &Shared) {
    let mut mappers = match shared.job.mappers() {
        Ok(mappers) => mappers,
        Err(why) => return shared.fail(why),
    };
    while let Some(work) = next_work(shared) {
        let result = match work {
            Work::Map(MapWork { source, at, input }) => {
                let result = match mappers.get_mut(source) {
                    Some(mapper) => shared.job.map(mapper, at, input),
                    None => Ok(Vec::new()),
                };
                let result = result.map(|ready| shared.hand_out(ready));
                lock(&shared.queue).mapping -= 1;
                result
            }
            Work::Stage(slot, mut stage, input) => {
                let sequence = input.sequence;
                let reader = lock(&shared.queue).slots.get(slot).map_or(0, |s| s.reader);
                let result = shared.job.tick(reader, &mut stage, input);
                if let Some(slot) = lock(&shared.queue).slots.get_mut(slot) {
                    slot.stage = Some(stage);
                    slot.next = sequence + 1;
                }
                shared.wake.notify_one();
                result.map(|ready| {
                    shared.hand_out(ready);
                    shared.done(sequence);
                })
            }
        };
        if let Err(why) = result {
            shared.fail(why);
        }
    }
}

fn next_work(shared: &Shared) -> Option<Work> {
    let mut queue = lock(&shared.queue);
    loop {
        if queue.finished {
            return None;
        }
        let runnable = |s: &Slot| s.stage.is_some() && s.waiting.contains_key(&s.next);
        // The last ones are furthest down the graph.
        if let Some(index) = queue.slots.iter().rposition(runnable)
            && let Some(slot) = queue.slots.get_mut(index)
            && let Some(input) = slot.waiting.remove(&slot.next)
            && let Some(stage) = slot.stage.take()
        {
            return Some(Work::Stage(index, stage, input));
        }
        if let Some(work) = queue.maps.pop_front() {
            queue.mapping += 1;
            return Some(Work::Map(work));
        }
        queue = shared.wake.wait(queue).unwrap_or_else(|e| e.into_inner());
    }
}

/// A sink's thread.
fn deliver(shared: &Shared, mut sink: Box<dyn Sink>, lines: &Receiver<(u64, Encoded)>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return shared.fail(format!("no runtime for a sink: {e}")),
    };
    let failure = |e: SinkError| match e {
        SinkError::Fatal(why) => why,
    };
    while let Ok((sequence, encoded)) = lines.recv() {
        if !encoded.ends.is_empty()
            && let Err(e) = runtime.block_on(sink.deliver(&encoded))
        {
            return shared.fail(failure(e));
        }
        shared.done(sequence);
    }
    let failed = lock(&shared.failure).is_some();
    if !failed
        && shared.complete.load(Ordering::Acquire)
        && let Err(e) = runtime.block_on(sink.finish())
    {
        shared.fail(failure(e));
    }
}

/// Lets time pass for live sources.
fn pass_time(shared: &Shared) {
    let mut queue = lock(&shared.queue);
    while !queue.finished {
        let waited = shared.wake.wait_timeout(queue, IDLE_CHECK);
        drop(waited.map(|(q, _)| q).unwrap_or_else(|e| e.into_inner().0));
        shared.hand_out(shared.job.pass_time(wall_clock()));
        queue = lock(&shared.queue);
    }
}
