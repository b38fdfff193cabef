//! Drives a job step by step on one thread, in virtual time: what `millstream test` runs on, and what property tests
//! hold the engine to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use crate::base::time::Timestamp;
use crate::connector::Encoded;
use crate::data::framing::Block;
use crate::plan::NodeId;
use crate::store::rows::Status;

use super::epoch::{Epoch, Keeper, Resume};
use super::job::{Job, Ready, Snapshot};
use super::ledger::Total;
use super::lower::{Graph, ReaderKind};
use super::map::{MapInput, Mapper};
use super::partition::{Arrival, PartitionSpec};
use super::stage::{Stage, held};

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
    /// What was handed out at barriers and nobody has taken.
    epochs: Vec<Epoch>,
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
        let named = partitions.iter().map(|p| (p.source, Arc::from(p.name.as_str()), 0)).collect();
        let job = Job::new(graph, partitions, target, now);
        let mut stages = Vec::new();
        let mut sinks = 0;
        for (index, reader) in job.graph.readers.iter().enumerate() {
            match &reader.kind {
                ReaderKind::Stage(spec, _) => {
                    let shares = (0..spec.shares).map(|share| job.stage(index, share, from.as_ref()));
                    stages.push(shares.collect::<Result<Vec<_>, _>>()?);
                }
                ReaderKind::Sink(_) => {
                    sinks += 1;
                    stages.push(Vec::new());
                }
            }
        }
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
            epochs: Vec::new(),
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
            decoded,
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
        self.keep()?;
        Ok(self.snapshot.clone())
    }

    fn barrier(&mut self) -> Result<(), String> {
        match self.job.barrier() {
            Some((_, ready)) => self.work(ready),
            None => Ok(()),
        }
    }

    fn keep(&mut self) -> Result<(), String> {
        self.epochs.drain(..).try_for_each(|epoch| self.snapshot.commit(epoch, Status::Running))
    }

    /// What changed since the job was made or this was last asked.
    pub fn epoch(&mut self) -> Result<Epoch, String> {
        self.barrier()?;
        let mut whole = Epoch::default();
        self.epochs.drain(..).for_each(|epoch| whole.follow(epoch));
        Ok(whole)
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
            let sequence = match work {
                Ready::Stage { reader, share, input } => {
                    let sequence = input.sequence;
                    if let Some(stage) = self.stages.get_mut(reader).and_then(|s| s.get_mut(share)) {
                        queue.extend(self.job.tick(reader, stage, input)?);
                    }
                    sequence
                }
                Ready::Sink { reader, sequence, lines, .. } => {
                    let sink = self.job.graph.readers.get(reader).map(|r| &r.kind);
                    if let Some(ReaderKind::Sink(sink)) = sink
                        && let Some(output) = self.outputs.get_mut(*sink)
                        && !lines.ends.is_empty()
                    {
                        output.push(lines);
                    }
                    sequence
                }
            };
            let Some(info) = self.job.done(sequence) else { continue };
            self.last |= info.last;
            if info.barrier {
                self.epochs.push(self.job.take_epoch(sequence));
            }
        }
        Ok(())
    }
}
