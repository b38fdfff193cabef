//! What comes back to sinks: rows that whoever they send to has refused, where somebody reads their `.errors`. The checkpoint
//! that holds that a row was refused keeps it; once it is durable the row comes into the graph behind the sink, from a
//! partition whose positions are the rows' numbers, and goes with the checkpoint that holds that it was taken in. It moves no
//! watermark. The partition ends when all that feeds the sink has, no row is on its way and none is left to be taken in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::time::TimeSpan;
use crate::connector::Place;
use crate::data::framing::Block;
use crate::plan::NodeId;

use super::epoch::{Epoch, Keeper, ReturnedRows, Stood};
use super::gate::Gate;
use super::job::{Job, lock};
use super::lower::Graph;
use super::map::MapInput;
use super::partition::{Arrival, PartitionSpec};
use super::run::{steady_clock, wall_clock};
use super::shared::{MapWork, Polled, Shared, until};

/// What the one partition of a sink's returned rows is called.
pub const PARTITION: &str = "errors";
/// Blocks of them that may be under way.
const LEAVE: i64 = 2;
/// It is never idle: nobody waits for it.
const NEVER: TimeSpan = TimeSpan(i64::MAX / 4);
/// How long after a checkpoint the next is made while the end of a run waits for answers: at first, at most while some come, and
/// at most while none does.
const SOON: [Duration; 3] = [Duration::from_millis(5), Duration::from_millis(100), Duration::from_secs(3)];

/// What comes back to a sink, to be read.
pub(super) struct Returning {
    /// Index of the source that stands for it.
    pub(super) source: usize,
    /// The sink.
    pub(super) node: NodeId,
    /// The sources that feed the sink.
    pub(super) after: Vec<usize>,
    /// The number of the row that comes next.
    pub(super) from: u64,
    /// Where it is read.
    pub(super) rows: Box<dyn ReturnedRows>,
}

impl Returning {
    /// What comes back to the sinks of a graph, from where it stood if a run goes on.
    pub(super) fn of(graph: &Graph, stood: Option<&Stood>, keeper: &dyn Keeper) -> Result<Vec<Returning>, String> {
        let mut all = Vec::new();
        for (source, part) in graph.sources.iter().enumerate() {
            let (Some(after), node) = (&part.after, part.node) else { continue };
            let Some(rows) = keeper.returned_rows(node)? else { continue };
            let mut states = stood.into_iter().flat_map(|stood| &stood.partitions);
            let state = states.find(|state| state.source == source && state.name == PARTITION);
            let from = state.map_or_else(|| keeper.returned_end(node), |state| state.position);
            all.push(Returning { source, node, after: after.clone(), from, rows });
        }
        Ok(all)
    }

    /// As the gate knows it.
    pub(super) fn spec(&self) -> PartitionSpec {
        PartitionSpec {
            source: self.source,
            name: PARTITION.to_owned(),
            start: Place { stream: Arc::default(), position: self.from },
            bounded: false,
            timed: false,
            out_of_order: TimeSpan::ZERO,
            idle_after: NEVER,
            after: Some(self.after.clone()),
        }
    }
}

/// What is known of the rows that come back to a sink.
#[derive(Debug)]
pub(super) struct Back {
    node: NodeId,
    /// Index of the source that stands for it.
    source: usize,
    /// Its number among all partitions.
    partition: usize,
    /// One past the last row that is durable.
    end: u64,
    /// Rows on their way at the last checkpoint.
    held: u64,
    /// There will be no more.
    ended: bool,
}

/// What a checkpoint says of the rows that come back to a sink.
struct Told {
    /// All that feeds the sink has ended.
    spent: bool,
    /// Rows on their way.
    held: u64,
    /// Up to where what came back was taken in.
    taken_in: u64,
}

/// What is to be done next with what comes back to a sink.
enum Next {
    Read,
    End,
}

/// Whether the end of a run waits for answers, and how long until it is looked again.
#[derive(Debug, Default)]
pub(super) struct Ending {
    wait: Option<Duration>,
}

impl Ending {
    /// Of a run that may have nothing else to read.
    pub(super) fn of(shared: &Shared) -> Ending {
        let mut ending = Ending::default();
        ending.begins(shared);
        ending
    }

    /// Whether it waits, now if not before.
    pub(super) fn begins(&mut self, shared: &Shared) -> bool {
        if self.wait.is_none() && shared.job.only_returns() {
            self.wait = Some(Duration::ZERO);
        }
        self.wait.is_some()
    }

    /// How long until the next checkpoint, where one is made `every` so often.
    pub(super) fn until_next(&self, every: Duration) -> Duration {
        self.wait.map_or(every, |wait| wait.min(every))
    }
}

impl Shared {
    /// Takes in what comes back to sinks; the first of it has this number among the partitions.
    pub(super) fn take_back(&self, first: usize, returning: &[Returning], keeper: &dyn Keeper) {
        let back = |(partition, of): (usize, &Returning)| Back {
            node: of.node,
            source: of.source,
            partition,
            end: keeper.returned_end(of.node),
            held: 0,
            ended: false,
        };
        *lock(&self.returns) = (first..).zip(returning).map(back).collect();
        lock(&self.leave).extend(returning.iter().map(|_| LEAVE));
        lock(&self.polled).extend(returning.iter().map(|_| Polled::new()));
    }

    /// Asks for a checkpoint if nothing else is left to be read: the end of the run waits for what it says.
    pub(super) fn ask_if_only_returns(&self) {
        if self.job.only_returns() {
            self.ask_for_checkpoint();
        }
    }

    /// Whether a sink that rows may come back to has rows on their way: what becomes of them is asked for, even if nothing
    /// else happens.
    pub(super) fn awaits_answers(&self) -> bool {
        let returns = lock(&self.returns);
        let sinks = lock(&self.sinks);
        let node = |reader: usize| self.job.graph.readers.get(reader).map(|reader| reader.node);
        sinks.iter().any(|slot| {
            slot.behind.held.load(Ordering::Relaxed) > 0
                && returns.iter().any(|back| !back.ended && Some(back.node) == node(slot.reader))
        })
    }

    /// A checkpoint is durable that said this of what comes back to sinks: it may be read, or has ended.
    pub(super) fn came_back(&self, told: Answers, keeper: &dyn Keeper, ending: &mut Ending) {
        let (mut waits, mut moved, mut sends, mut answered) = (false, false, false, false);
        let mut returns = lock(&self.returns);
        for (back, told) in returns.iter_mut().zip(told.0).filter(|(back, _)| !back.ended) {
            let end = keeper.returned_end(back.node);
            moved |= end != back.end;
            sends |= told.held > 0;
            answered |= told.held != back.held;
            (back.end, back.held) = (end, told.held);
            back.ended = told.spent && told.held == 0 && told.taken_in >= end;
            moved |= back.ended;
            waits |= told.spent && !back.ended;
        }
        drop(returns);
        // One that has ended may be all that another waits for.
        waits |= moved && self.job.only_returns();
        ending.wait = waits.then(|| match ending.wait {
            Some(wait) if sends || !moved => (wait * 2).clamp(SOON[0], SOON[if sends && !answered { 2 } else { 1 }]),
            _ => SOON[0],
        });
        if moved {
            self.leave_told.notify_waiters();
        }
    }

    /// Waits until there is something to do with what comes back to a sink; nothing if the run is over or told to stop.
    async fn next_returned(&self, partition: usize, from: u64) -> Option<Next> {
        let next = || {
            if self.over.load(Ordering::Acquire) || self.stopping.load(Ordering::Acquire) {
                return Some(None);
            }
            let known = lock(&self.returns).iter().find(|back| back.partition == partition).map(|b| (b.end, b.ended));
            let Some((end, ended)) = known else { return Some(None) };
            match lock(&self.leave).get_mut(partition) {
                Some(n) if from < end && *n > 0 => {
                    *n -= 1;
                    Some(Some(Next::Read))
                }
                _ if from >= end && ended => Some(Some(Next::End)),
                _ => None,
            }
        };
        until(&self.leave_told, next).await
    }
}

/// What a checkpoint says of what comes back to each sink.
pub(super) struct Answers(Vec<Told>);

impl Answers {
    /// What an epoch says, if it becomes durable.
    pub(super) fn of(shared: &Shared, epoch: &Epoch) -> Answers {
        let told = |back: &Back| {
            let state = |s: &&super::partition::PartitionState| s.source == back.source && s.name == PARTITION;
            Told {
                spent: epoch.spent.contains(&back.source),
                held: epoch.held.get(&back.node).copied().unwrap_or(0),
                taken_in: epoch.partitions.iter().find(state).map_or(0, |state| state.position),
            }
        };
        Answers(lock(&shared.returns).iter().map(told).collect())
    }
}

/// Reads what comes back to a sink until that has ended, or the run stops.
pub(super) async fn read_returned(shared: Arc<Shared>, partition: usize, mut task: Returning) {
    let name: Arc<str> = Arc::from(PARTITION);
    let mut number = 0;
    while let Some(next) = shared.next_returned(partition, task.from).await {
        let (at, now) = ((partition, number), steady_clock());
        number += 1;
        if let Next::End = next {
            return shared.hand_out(shared.job.arrive(at, Arrival::End, now));
        }
        let returned = match task.rows.read(task.from) {
            Ok(returned) => returned,
            Err(why) => return shared.fail(why),
        };
        let (Some(first), Some(last)) = (returned.first(), returned.last()) else {
            return shared.fail("rows that a sink was refused are gone from the state".to_owned());
        };
        let block = Block { position: first.number, ..Block::from_records(Vec::new(), Vec::new()) };
        task.from = last.number + 1;
        let (partition, stream) = (Arc::clone(&name), Arc::default());
        let (arrived, number, meta) = (wall_clock(), at.1, None);
        let input = MapInput { block, partition, stream, number, arrived, now, meta, decoded: false, returned };
        shared.map(MapWork { source: task.source, at, input });
    }
}

impl Gate {
    /// Nothing more comes: every partition ends behind what it has brought. What comes back to sinks ends when they have sent
    /// all of it.
    pub fn drain(&mut self) {
        self.open.clear();
        let of_source = |p: &super::partition::Partition| !p.ended && p.spec.after.is_none();
        for (index, p) in self.partitions.iter_mut().enumerate().filter(|(_, p)| of_source(p)) {
            self.standing.leave(index, p);
            if !matches!(p.queue.back(), Some(Arrival::End)) {
                p.queue.push_back(Arrival::End);
                p.drained = !p.spec.bounded;
            }
            p.idle = false;
            self.standing.enter(index, p);
        }
    }

    /// Whether all input was taken but for what comes back to sinks.
    pub(super) fn only_returns(&self) -> bool {
        self.returning > 0 && self.open.is_empty() && self.standing.open() == self.returning
    }

    /// Of what comes back to sinks, by source: those whose sinks are fed no more.
    pub(super) fn spent(&self) -> Vec<usize> {
        let ended = |source: &usize| {
            let mut own = self.partitions.iter().filter(|p| p.spec.source == *source);
            !self.open.contains(source) && own.all(|p| p.ended)
        };
        let spent = |p: &super::partition::Partition| {
            let after = p.spec.after.as_ref()?;
            after.iter().all(ended).then_some(p.spec.source)
        };
        if self.returning == 0 { Vec::new() } else { self.partitions.iter().filter_map(spent).collect() }
    }
}

impl Job {
    fn only_returns(&self) -> bool {
        lock(&self.gate).only_returns()
    }
}
