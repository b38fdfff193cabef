//! Drives a job: a task a source, a task a sink, one for the clock, and workers while there is work. A run that waits for
//! something to do has no thread.
//!
//! Memory is bounded by leave to read: a partition's reader has leave for a few blocks and gets it back when the tick
//! that took the block's last row has gone through every sink.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::base::fault;
use crate::base::tasks::{self, Begun};
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
use super::passing::pass_time;
use super::restore::shares;
use super::returned::{Returning, read_returned};
use super::shared::{Queue, Shared, Slot};
use super::sink_task::{Inbox, deliver};
use super::source_task::{SourceTask, read_live, read_source};
use super::stage::held;
use super::turn_log::{Read, TurnLog};
use super::worker::guarded;

/// Rows at which a tick is cut where partitions meet.
const TICK_ROWS: u32 = 2048;

/// How a job is driven.
#[derive(Clone, Debug)]
pub struct Options {
    /// Workers at a time at most.
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

/// How a run begins: where the keeper's last checkpoint stood if it is to go on, where turns are written and those that were
/// read back and are repeated, and what keeps checkpoints.
pub type From<'a> = (Option<&'a Stood>, Option<(TurnLog, Read)>, &'a mut dyn Keeper);

/// Runs a job to its end, and waits for that on this thread: see [`drive`].
pub fn run(
    graph: Graph,
    inputs: Vec<Input>,
    sinks: Vec<Box<dyn Sink>>,
    options: &Options,
    from: From<'_>,
    started: &mut (dyn FnMut(Handle) + Send),
) -> Summary {
    let ended = tasks::block_on(drive(graph, inputs, sinks, options, from, started));
    ended.unwrap_or_else(|why| Summary { outcome: Outcome::Failed(why), entries: Vec::new() })
}

/// Runs a job to its end. `started` is given a handle as soon as there is one.
pub async fn drive(
    graph: Graph,
    inputs: Vec<Input>,
    sinks: Vec<Box<dyn Sink>>,
    options: &Options,
    (stood, turns, keeper): From<'_>,
    started: &mut (dyn FnMut(Handle) + Send),
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
            keep_first((job.partitions(), job.written()), (&job.graph.context, &graph_sinks), &mut sinks, keeper).await
    {
        return failed(&job, why);
    }
    let shared = Shared::new(job, queue, senders, count, options);
    shared.take_back(count, &returning, &*keeper);
    if first {
        shared.checkpoints.made((0, 0), began.elapsed());
    }
    started(Handle { shared: Arc::clone(&shared) });
    let tasks = Tasks::begin(&shared, (inputs, returning, sinks, receivers), live, stood);
    tasks.see_through(&shared, options, &mut *keeper).await;
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

/// The tasks of a run.
struct Tasks {
    sources: Vec<Begun<()>>,
    sinks: FuturesUnordered<Begun<()>>,
    clock: Option<Begun<()>>,
    /// Whether rows may come back to sinks.
    returns: bool,
    /// Nothing is ever sent: this is how long anything is read.
    read: UnboundedReceiver<Infallible>,
}

impl Tasks {
    fn begin(
        shared: &Arc<Shared>,
        (inputs, returning, sinks, receivers): (Vec<Input>, Vec<Returning>, Vec<Box<dyn Sink>>, Vec<Inbox>),
        live: bool,
        stood: Option<&Stood>,
    ) -> Tasks {
        let (reading, read) = unbounded_channel::<Infallible>();
        let mut tasks =
            Tasks { sources: Vec::new(), sinks: FuturesUnordered::new(), clock: None, returns: false, read };
        for ((sink, node), inbox) in sinks.into_iter().zip(shared.job.graph.sink_nodes()).zip(receivers) {
            tasks.sinks.extend(begin(shared, |shared| deliver(shared, node, sink, inbox)));
        }
        let mut first = 0;
        for (source, input) in inputs.into_iter().enumerate() {
            let count = input.partitions.len();
            let states = stood.map(|s| s.partitions.clone()).unwrap_or_default();
            let spec = spec_of(&shared.job.graph, source, &input);
            let (partitions, watch, bounded) = (input.partitions, input.watch, input.bounded);
            let task = SourceTask { source, first, partitions, states, spec, watch, reading: reading.clone() };
            first += count;
            tasks.sources.extend(match bounded {
                true => begin(shared, |shared| read_source(shared, task)),
                false => begin(shared, |shared| read_live(shared, task)),
            });
        }
        tasks.returns = !returning.is_empty();
        for (partition, task) in (first..).zip(returning) {
            tasks.sources.extend(begin(shared, |shared| read_returned(shared, partition, task)));
        }
        // Without a partition, or with all of them at their end already, nothing will ever arrive.
        shared.hand_out(shared.job.pass_end());
        tasks.clock = (live || tasks.returns).then(|| begin(shared, pass_time)).flatten();
        tasks
    }

    /// Makes checkpoints until the run is over, and waits for its end.
    async fn see_through(mut self, shared: &Shared, options: &Options, keeper: &mut dyn Keeper) {
        let ending = async {
            let _ = self.read.recv().await;
            end_as_asked(shared, self.returns).await;
            shared.until(|| Queue::is_left(&lock(&shared.queue))).await;
            shared.job.graph.context.taps.end();
        };
        let keeping = guarded(shared, keep(shared, &mut *keeper, options.checkpoint_every));
        tokio::join!(ending, keeping);
        let complete = shared.complete.load(Ordering::Acquire);
        if lock(&shared.failure).is_none() {
            keep_last(shared, keeper, complete);
        }
        shared.is_settled();
        shared.commits.close();
        lock(&shared.sinks).iter_mut().for_each(|slot| slot.sender = None);
        // They say now and then how far they are, if they have much to send.
        while let Ok(Some(_)) | Err(_) = tokio::time::timeout(SETTLED_WITHIN, self.sinks.next()).await {
            settle_if_well(shared, keeper);
        }
        settle_if_well(shared, keeper);
        for task in self.sources.into_iter().chain(self.clock) {
            // What it had to say is in the run's failure.
            let _ = task.await;
        }
    }
}

/// Begins a task of a run, which fails if it panics, or if it cannot be begun.
fn begin<F>(shared: &Arc<Shared>, task: impl FnOnce(Arc<Shared>) -> F) -> Option<Begun<()>>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (of_task, task) = (Arc::clone(shared), task(Arc::clone(shared)));
    let begun = tasks::begin(async move { guarded(&of_task, task).await });
    begun.map_err(|why| shared.fail(why)).ok()
}

fn settle_if_well(shared: &Shared, keeper: &mut dyn Keeper) {
    if lock(&shared.failure).is_none() {
        settle(shared, keeper);
    }
}

/// How long after a sink that is at its end has said how far it is that is noticed at most.
const SETTLED_WITHIN: Duration = Duration::from_millis(10);

/// After the sources have stopped: ends a run that was told to. If rows may come back to sinks it goes on until they have, and
/// may be told later.
async fn end_as_asked(shared: &Shared, returns: bool) {
    let flag = |flag: &AtomicBool| flag.load(Ordering::Acquire);
    let mut drained = false;
    loop {
        if flag(&shared.stopping) || (flag(&shared.draining) && !drained) {
            end_when_mapped(shared).await;
            drained = true;
        }
        let over = || !returns || flag(&shared.stopping) || lock(&shared.queue).finished;
        if over() {
            return;
        }
        shared.until(|| over() || (flag(&shared.draining) && !drained)).await;
    }
}

/// After the sources have stopped: waits until what they read is mapped, then ends the run: one that was told to stop without
/// closing anything.
async fn end_when_mapped(shared: &Shared) {
    let finished = || lock(&shared.queue).finished;
    shared
        .until(|| {
            let queue = lock(&shared.queue);
            queue.finished || (queue.maps.is_empty() && queue.mapping == 0)
        })
        .await;
    if !finished() {
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
