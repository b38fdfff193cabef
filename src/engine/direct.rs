//! Drives a job step by step on one thread, in virtual time: what `millstream test` runs on, and what property tests
//! hold the engine to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::base::time::Timestamp;
use crate::connector::Encoded;
use crate::data::framing::Block;
use crate::plan::NodeId;
use crate::store::rows::Status;

use super::epoch::{Epoch, Keeper, Resume, Stood};
use super::job::{Job, Ready, Snapshot};
use super::ledger::Total;
use super::lower::{Graph, ReaderKind};
use super::map::{MapInput, Mapper};
use super::partition::{Arrival, PartitionSpec};
use super::restore::shares;
use super::stage::{Stage, held};
use super::turn_log::{Read, TurnLog};

/// A job that moves only when it is told to.
pub struct Direct {
    job: Job,
    mappers: Vec<Mapper>,
    /// By reader, then by share.
    stages: Vec<Vec<Stage>>,
    /// By sink.
    outputs: Vec<Vec<Encoded>>,
    partitions: Vec<(usize, Arc<str>, u64)>,
    now: Timestamp,
    last: bool,
    snapshot: Snapshot,
    /// The last barrier that has gone through everything, until somebody takes what was handed out at it.
    through: Option<u64>,
}

impl Direct {
    /// A job over these partitions, from a snapshot if there is one.
    pub fn new(
        graph: Graph,
        partitions: Vec<PartitionSpec>,
        target: u32,
        now: Timestamp,
        from: Option<&Snapshot>,
    ) -> Result<Self, String> {
        let resume = from.map(|snapshot| Resume { stood: &snapshot.stood, rows: snapshot });
        let mut direct = Direct::resume(graph, partitions, target, now, resume)?;
        direct.snapshot = from.cloned().unwrap_or_default();
        Ok(direct)
    }

    /// A job over these partitions, from what was kept elsewhere if there is something.
    pub fn resume(
        graph: Graph,
        partitions: Vec<PartitionSpec>,
        target: u32,
        now: Timestamp,
        from: Option<Resume<'_>>,
    ) -> Result<Self, String> {
        Direct::begin((graph, partitions), (target, now), from, None)
    }

    /// A job over these live partitions, which writes down how they meet and repeats what was read back of that. No source
    /// ends by itself.
    pub fn live(
        graph: Graph,
        partitions: Vec<PartitionSpec>,
        (target, now): (u32, Timestamp),
        from: Option<&Snapshot>,
        turns: (TurnLog, Read),
    ) -> Result<Self, String> {
        let resume = from.map(|snapshot| Resume { stood: &snapshot.stood, rows: snapshot });
        let mut direct = Direct::begin((graph, partitions), (target, now), resume, Some(turns))?;
        direct.snapshot = match from {
            Some(snapshot) => snapshot.clone(),
            None => Snapshot { stood: direct.stood(), ..Snapshot::default() },
        };
        Ok(direct)
    }

    /// Where a run that has just begun stands.
    fn stood(&self) -> Stood {
        Stood { partitions: self.job.partitions(), turns: self.job.written(), ..Stood::default() }
    }

    /// A partition that is found while the run goes on: its number.
    pub fn find(&mut self, spec: PartitionSpec) -> usize {
        self.partitions.push((spec.source, Arc::from(spec.name.as_str()), 0));
        self.job.add_partition(spec, None, self.now)
    }

    fn begin(
        (graph, partitions): (Graph, Vec<PartitionSpec>),
        (target, now): (u32, Timestamp),
        from: Option<Resume<'_>>,
        turns: Option<(TurnLog, Read)>,
    ) -> Result<Self, String> {
        let named = partitions.iter().map(|p| (p.source, Arc::from(p.name.as_str()), 0)).collect();
        let mut job = Job::new(graph, partitions, target, now);
        if let Some((log, read)) = turns {
            (0..job.graph.sources.len()).for_each(|source| job.keep_open(source));
            job.write_turns(log, read, now);
        }
        let stages = shares(&job, from.as_ref())?;
        let sinks = job.graph.sink_nodes().len();
        if let Some(from) = &from {
            job.restore(from);
        }
        let mappers = job.mappers()?;
        let outputs = vec![Vec::new(); sinks];
        Ok(Direct {
            job,
            mappers,
            stages,
            outputs,
            partitions: named,
            now,
            last: false,
            snapshot: Snapshot::default(),
            through: None,
        })
    }

    /// Whole records of a partition, in its source's format.
    pub fn feed(&mut self, partition: usize, block: Block) -> Result<(), String> {
        self.feed_as(partition, block, false)
    }

    /// Events of a partition as JSON, whatever its source's format.
    pub fn feed_event(&mut self, partition: usize, block: Block) -> Result<(), String> {
        self.feed_as(partition, block, true)
    }

    fn feed_as(&mut self, partition: usize, block: Block, decoded: bool) -> Result<(), String> {
        let Some((source, name, number)) = self.partitions.get_mut(partition) else { return Ok(()) };
        let (partition_name, now) = (Arc::clone(name), self.now);
        let input = MapInput {
            block,
            partition: partition_name,
            stream: Arc::default(),
            number: *number,
            arrived: now,
            now,
            meta: None,
            decoded,
            returned: Vec::new(),
        };
        let at = (partition, *number);
        *number += 1;
        let Some(mapper) = self.mappers.get_mut(*source) else { return Ok(()) };
        let ready = self.job.map(mapper, at, input)?;
        self.work(ready)
    }

    /// The end of a partition.
    pub fn end(&mut self, partition: usize) -> Result<(), String> {
        let Some((_, _, number)) = self.partitions.get_mut(partition) else { return Ok(()) };
        let at = (partition, *number);
        *number += 1;
        let ready = self.job.arrive(at, Arrival::End, self.now);
        self.work(ready)
    }

    /// Moves the clock on.
    pub fn pass_time(&mut self, to: Timestamp) -> Result<(), String> {
        self.now = to;
        let ready = self.job.pass_time(to);
        self.work(ready)
    }

    /// The virtual wall clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// What the job keeps after everything that was fed.
    pub fn snapshot(&mut self) -> Result<Snapshot, String> {
        self.barrier()?;
        self.cut_snapshot()
    }

    /// Sets apart what the job keeps after everything that was fed. The job may go on; from now on steps encode so many
    /// keys of it after each tick.
    pub fn cut(&mut self, keys: usize) -> Result<(), String> {
        self.job.slice_by(keys);
        self.barrier()
    }

    /// What the job kept at the last [`Direct::cut`].
    pub fn cut_snapshot(&mut self) -> Result<Snapshot, String> {
        self.keep()?;
        Ok(self.snapshot.clone())
    }

    fn barrier(&mut self) -> Result<(), String> {
        match self.job.barrier(false) {
            Some((_, ready)) => self.work(ready),
            None => Ok(()),
        }
    }

    fn keep(&mut self) -> Result<(), String> {
        match self.gathered()? {
            Some(epoch) => self.snapshot.commit(epoch, Status::Running),
            None => Ok(()),
        }
    }

    /// What was handed out at barriers and nobody has taken, all of it.
    fn gathered(&mut self) -> Result<Option<Epoch>, String> {
        let Some(sequence) = self.through.take() else { return Ok(None) };
        let mut stages = self.stages.iter_mut().flatten();
        stages.try_for_each(|stage| self.job.finish(stage))?;
        Ok(Some(self.job.take_epoch(sequence)))
    }

    /// What changed since the job was made or this was last asked.
    pub fn epoch(&mut self) -> Result<Epoch, String> {
        self.barrier()?;
        Ok(self.gathered()?.unwrap_or_default())
    }

    /// How many rows steps hold.
    pub fn held(&self) -> HashMap<NodeId, u64> {
        held(self.stages.iter().flatten())
    }

    /// Sets the clock without letting time pass for partitions.
    pub fn set_now(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// What became of rows at the last snapshot or at the end, by the node's index.
    pub fn ledger(&mut self) -> Result<&BTreeMap<usize, Total>, String> {
        self.keep()?;
        Ok(&self.snapshot.ledger)
    }

    /// What a sink was given so far, and forgets it.
    pub fn take(&mut self, sink: usize) -> Vec<Encoded> {
        self.outputs.get_mut(sink).map(std::mem::take).unwrap_or_default()
    }

    /// The sinks in the order that [`Direct::take`] numbers them.
    pub fn sink_nodes(&self) -> Vec<crate::plan::NodeId> {
        self.job.graph.sink_nodes()
    }

    /// Whether everything has ended.
    pub fn is_done(&self) -> bool {
        self.last
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    fn work(&mut self, ready: Vec<Ready>) -> Result<(), String> {
        let mut queue: VecDeque<Ready> = ready.into();
        while let Some(work) = queue.pop_front() {
            let (sequence, slice) = match work {
                Ready::Stage { reader, share, input } => {
                    let stage = self.stages.get_mut(reader).and_then(|s| s.get_mut(share));
                    let Some(stage) = stage else { continue };
                    loop {
                        self.job.slice(stage)?;
                        let (ready, whole) = self.job.tick(reader, stage, &input)?;
                        queue.extend(ready);
                        if whole {
                            break;
                        }
                    }
                    (input.sequence, input.slice)
                }
                Ready::Sink { reader, sequence, slice, lines, .. } => {
                    let sink = self.job.graph.readers.get(reader).map(|r| &r.kind);
                    if let Some(ReaderKind::Sink(sink)) = sink
                        && let Some(output) = self.outputs.get_mut(*sink)
                        && !lines.ends.is_empty()
                    {
                        output.push(lines);
                    }
                    (sequence, slice)
                }
            };
            if slice.more {
                continue;
            }
            let Some(info) = self.job.done(sequence) else { continue };
            self.last |= info.last;
            if info.barrier {
                self.through = Some(sequence);
            }
        }
        Ok(())
    }
}
