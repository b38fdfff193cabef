//! Drives a job with worker threads, a thread a source and a thread a sink.
//!
//! Memory is bounded by leave to read: a partition's reader has leave for a few blocks and gets it back when the tick
//! that took the block's last row has gone through every sink.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::unbounded_channel;

use crate::base::fault;
use crate::base::time::{TimeSpan, Timestamp};
use crate::connector::{Partition, Place, Sink, Watch};

use super::checkpoint::{keep, keep_first, keep_last, settle};
use super::epoch::{Keeper, Resume, Stood};
pub use super::handle::Handle;
use super::job::{Job, lock};
use super::ledger::Entry;
use super::lower::{Graph, ReaderKind};
use super::outgoing::{Behind, SinkSlot};
use super::partition::PartitionSpec;
use super::restore::shares;
use super::returned::{Returning, read_returned};
use super::shared::{Queue, Shared, Slot};
use super::sink_task::{Inbox, deliver};
use super::source_task::{SourceTask, read_live, read_source};
use super::stage::held;
use super::turn_log::{Read, TurnLog};
use super::worker::{guarded, pass_time, work};

/// Rows at which a tick is cut where partitions meet.
const TICK_ROWS: u32 = 2048;

/// How a job is driven.
#[derive(Clone, Debug)]
pub struct Options {
    /// Worker threads.
    pub workers: usize,
    /// How often a checkpoint is made.
    pub checkpoint_every: Duration,
    /// Keys that steps may hold, all together.
    pub max_keys: Option<u64>,
    /// Bytes that they may keep, roughly.
    pub max_state_bytes: Option<u64>,
}

/// What a source is read from.
pub struct Input {
    /// Its partitions, in the order of their names.
    pub partitions: Vec<Partition>,
    /// How more of them are found while the run goes on.
    pub watch: Option<Watch>,
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
    /// It stopped because whoever read its output has gone.
    ReaderGone,
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
}

/// Runs a job to its end, from where the keeper's last checkpoint `stood` if it is to go on. `turns` are written where rows
/// leave ahead of checkpoints; those that were read back are repeated. `started` is given a handle as
/// soon as there is one.
pub fn run(
    graph: Graph,
    inputs: Vec<Input>,
    sinks: Vec<Box<dyn Sink>>,
    options: &Options,
    (stood, turns, keeper): (Option<&Stood>, Option<(TurnLog, Read)>, &mut dyn Keeper),
    started: &mut dyn FnMut(Handle),
) -> Summary {
    let live = inputs.iter().any(|input| !input.bounded);
    let graph_sinks = graph.sink_nodes();
    let returning = match Returning::of(&graph, stood, &*keeper) {
        Ok(returning) => returning,
        Err(why) => return failed(&Job::new(graph, Vec::new(), TICK_ROWS, steady_clock()), why),
    };
    let job = job_of(graph, &inputs, &returning, turns);
    let restored = {
        let from = stood.map(|stood| Resume { stood, rows: &*keeper });
        if let Some(from) = &from {
            job.restore(from);
        }
        queue_of(&job, from.as_ref())
    };
    let (queue, slots) = match restored {
        Ok(made) => made,
        Err(why) => return failed(&job, why),
    };
    if stood.is_some() {
        let stages = queue.slots.iter().filter_map(|slot| slot.stage.as_ref());
        keeper.restored(&held(stages.map(|stage| &**stage)));
    }
    let count: usize = inputs.iter().map(|i| i.partitions.len()).sum();
    let (senders, receivers) = channels(slots, &sinks);
    let mut sinks = sinks;
    let (began, first) = (Instant::now(), stood.is_none_or(Stood::is_start));
    if first
        && let Err(why) =
            keep_first((job.partitions(), job.written()), (&job.graph.context, &graph_sinks), &mut sinks, keeper)
    {
        return failed(&job, why);
    }
    let shared = Arc::new(Shared::new(job, queue, senders, count, options));
    shared.take_back(count, &returning, &*keeper);
    if first {
        shared.checkpoints.made((0, 0), began.elapsed());
    }
    started(Handle { shared: Arc::clone(&shared) });
    std::thread::scope(|scope| {
        threads(scope, &shared, (inputs, returning, sinks, receivers), options, live, (stood, &mut *keeper))
    });
    let complete = shared.complete.load(Ordering::Acquire);
    if complete
        && lock(&shared.failure).is_none()
        && let Err(why) = complete_state(keeper)
    {
        lock(&shared.failure).get_or_insert(why);
    }
    let failure = lock(&shared.failure).take();
    if failure.is_some() {
        keeper.failed();
    }
    let outcome = match failure {
        Some(why) => Outcome::Failed(why),
        None if shared.reader_gone.load(Ordering::Acquire) => Outcome::ReaderGone,
        None if complete => Outcome::Complete,
        None => Outcome::Stopped,
    };
    Summary { outcome, entries: shared.job.ledger.entries() }
}

/// How the readers of these numbers, which are sinks, are fed.
fn channels(readers: Vec<usize>, sinks: &[Box<dyn Sink>]) -> (Vec<SinkSlot>, Vec<Inbox>) {
    let latencies = sinks.iter().map(|sink| sink.latency());
    let channel = |(reader, latency)| {
        let (sender, receiver) = unbounded_channel();
        let behind = Arc::new(Behind::of(latency));
        let inbox = (receiver, Arc::clone(&behind));
        (SinkSlot { reader, sender: Some(sender), behind, ..SinkSlot::default() }, inbox)
    };
    readers.into_iter().zip(latencies).map(channel).unzip()
}

/// A job that is not restored yet.
fn job_of(graph: Graph, inputs: &[Input], returning: &[Returning], turns: Option<(TurnLog, Read)>) -> Job {
    let (mut specs, now) = (partition_specs(&graph, inputs), steady_clock());
    specs.extend(returning.iter().map(Returning::spec));
    let mut job = Job::new(graph, specs, TICK_ROWS, now);
    if !returning.is_empty() {
        job.returns_before.store(u64::MAX, Ordering::Release);
    }
    if let Some((log, read)) = turns {
        job.write_turns(log, read, now);
    }
    // A source that has nothing to read yet has not come to its end.
    for (source, _) in inputs.iter().enumerate().filter(|(_, input)| !input.bounded) {
        job.keep_open(source);
    }
    job
}

fn complete_state(keeper: &mut dyn Keeper) -> Result<(), String> {
    fault::point("checkpoint.complete");
    keeper.complete()
}

fn threads<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    shared: &'scope Arc<Shared>,
    (inputs, returning, sinks, receivers): (Vec<Input>, Vec<Returning>, Vec<Box<dyn Sink>>, Vec<Inbox>),
    options: &Options,
    live: bool,
    (stood, keeper): (Option<&Stood>, &'scope mut dyn Keeper),
) {
    let nodes = shared.job.graph.sink_nodes();
    let sink_threads: Vec<_> = sinks
        .into_iter()
        .zip(nodes)
        .zip(receivers)
        .map(|((sink, node), inbox)| scope.spawn(move || guarded(shared, |shared| deliver(shared, node, sink, inbox))))
        .collect();
    let workers: Vec<_> = (0..options.workers.max(1)).map(|_| scope.spawn(move || guarded(shared, work))).collect();
    let mut first = 0;
    let (reading, stopped) = channel::<Infallible>();
    for (source, input) in inputs.into_iter().enumerate() {
        let count = input.partitions.len();
        let states = stood.map(|s| s.partitions.clone()).unwrap_or_default();
        let spec = spec_of(&shared.job.graph, source, &input);
        let (partitions, watch, bounded) = (input.partitions, input.watch, input.bounded);
        let task = SourceTask { source, first, partitions, states, spec, watch, reading: reading.clone() };
        first += count;
        scope.spawn(move || {
            guarded(shared, |_| if bounded { read_source(shared, task) } else { read_live(shared, task) });
        });
    }
    drop(reading);
    let returns = !returning.is_empty();
    for (partition, task) in (first..).zip(returning) {
        scope.spawn(move || guarded(shared, |shared| read_returned(shared, partition, task)));
    }
    // Without a partition, or with all of them at their end already, nothing will ever arrive.
    shared.hand_out(shared.job.pass_end());
    if live || returns {
        scope.spawn(move || guarded(shared, pass_time));
    }
    let every = options.checkpoint_every;
    let keeping = scope.spawn(move || {
        guarded(shared, |shared| keep(shared, &mut *keeper, every));
        keeper
    });
    // Nothing is ever sent: this is how long anything is read.
    let _ = stopped.recv();
    end_as_asked(shared, returns);
    for worker in workers {
        let _ = worker.join();
    }
    shared.job.graph.context.taps.end();
    let complete = shared.complete.load(Ordering::Acquire);
    let mut keeper = keeping.join().ok();
    if let Some(keeper) = &mut keeper
        && lock(&shared.failure).is_none()
    {
        keep_last(shared, *keeper, complete);
    }
    shared.commits.close();
    lock(&shared.sinks).iter_mut().for_each(|slot| slot.sender = None);
    // They say now and then how far they are, if they have much to send.
    while sink_threads.iter().any(|sink| !sink.is_finished()) {
        std::thread::sleep(SETTLED_WITHIN);
        settle_if_well(shared, &mut keeper);
    }
    for sink in sink_threads {
        let _ = sink.join();
    }
    settle_if_well(shared, &mut keeper);
}

fn settle_if_well(shared: &Shared, keeper: &mut Option<&mut dyn Keeper>) {
    if let Some(keeper) = keeper
        && lock(&shared.failure).is_none()
    {
        settle(shared, *keeper);
    }
}

/// How long after a sink has ended that is noticed at most.
const SETTLED_WITHIN: Duration = Duration::from_micros(500);

/// After the sources have stopped: ends a run that was told to. If rows may come back to sinks it goes on until they have, and
/// may be told later.
fn end_as_asked(shared: &Shared, returns: bool) {
    let mut drained = false;
    loop {
        let (stops, drains) = (shared.stopping.load(Ordering::Acquire), shared.draining.load(Ordering::Acquire));
        if stops || (drains && !drained) {
            end_when_mapped(shared);
            drained = true;
        }
        let queue = lock(&shared.queue);
        if !returns || stops || queue.finished {
            return;
        }
        // Looks now and then, beside being told.
        drop(shared.ending.wait_timeout(queue, LOOK));
    }
}

/// How often it is looked whether a run was told to end.
const LOOK: Duration = Duration::from_millis(50);

/// After the sources have stopped: waits until what they read is mapped, then ends the run: one that was told to stop without
/// closing anything.
fn end_when_mapped(shared: &Shared) {
    let mut queue = lock(&shared.queue);
    while !queue.finished && (!queue.maps.is_empty() || queue.mapping > 0) {
        let waited = shared.ending.wait_timeout(queue, Duration::from_millis(10));
        queue = waited.map(|(q, _)| q).unwrap_or_else(|e| e.into_inner().0);
    }
    let finished = queue.finished;
    drop(queue);
    if !finished {
        let stops = shared.stopping.load(Ordering::Acquire);
        shared.hand_out(if stops { shared.job.stop() } else { shared.job.drain() });
        shared.ask_if_only_returns();
    }
}

/// The wall clock.
pub fn wall_clock() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.ok().and_then(|d| i64::try_from(d.as_micros()).ok()).unwrap_or(0))
}

/// The time by which silence is measured: what the wall clock was when this was first asked, and from then on as time really
/// passes, whatever the clock is set to.
pub(super) fn steady_clock() -> Timestamp {
    static BEGAN: OnceLock<(Timestamp, Instant)> = OnceLock::new();
    let (at, began) = BEGAN.get_or_init(|| (wall_clock(), Instant::now()));
    let passed = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
    at.plus(TimeSpan(passed))
}

fn failed(job: &Job, why: String) -> Summary {
    Summary { outcome: Outcome::Failed(why), entries: job.ledger.entries() }
}

fn partition_specs(graph: &Graph, inputs: &[Input]) -> Vec<PartitionSpec> {
    let mut specs = Vec::new();
    for (source, input) in inputs.iter().enumerate() {
        let spec = spec_of(graph, source, input);
        let of = |p: &Partition| PartitionSpec { name: p.name.clone(), start: p.start.clone(), ..spec.clone() };
        specs.extend(input.partitions.iter().map(of));
    }
    specs
}

/// What the partitions of a source have in common.
fn spec_of(graph: &Graph, source: usize, input: &Input) -> PartitionSpec {
    PartitionSpec {
        source,
        name: String::new(),
        start: Place::default(),
        bounded: input.bounded,
        timed: graph.sources.get(source).is_some_and(|s| s.spec.time.is_some()),
        out_of_order: input.out_of_order,
        idle_after: input.idle_after,
        after: None,
    }
}

/// The queue with every share of every step, and the readers that are sinks.
fn queue_of(job: &Job, from: Option<&Resume<'_>>) -> Result<(Queue, Vec<usize>), String> {
    let mut queue = Queue::default();
    let mut sinks = Vec::new();
    let readers = job.graph.readers.iter().map(|reader| &reader.kind);
    let began = Instant::now();
    let shares = shares(job, from)?;
    if from.is_some() {
        tracing::debug!(ms = began.elapsed().as_secs_f64() * 1e3, "state read back");
    }
    for (reader, (kind, shares)) in readers.zip(shares).enumerate() {
        let reached = job.reached(reader);
        queue.first_slot.push(queue.slots.len());
        queue.slots.extend(shares.into_iter().map(|stage| Slot::new(reader, stage, reached)));
        if matches!(kind, ReaderKind::Sink(_)) {
            sinks.push(reader);
        }
    }
    queue.load = queue.slots.iter().map(|slot| slot.load).sum();
    Ok((queue, sinks))
}
