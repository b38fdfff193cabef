//! Reads one source: asks its partitions for bytes as leave is given, cuts records, and hands blocks to the workers.

use std::sync::Arc;
use std::time::Duration;

use crate::connector::{Partition, Read, Source, SourceError};
use crate::data::format::Format;
use crate::data::framing::{Block, Framer};

use super::map::MapInput;
use super::partition::{Arrival, PartitionState};
use super::run::wall_clock;
use super::shared::{MapWork, Shared};

/// What a source's thread is given.
pub(super) struct SourceTask {
    /// Index of the source.
    pub source: usize,
    /// Number of its first partition among all.
    pub first: usize,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// Where partitions stood, if the run goes on from a snapshot.
    pub states: Vec<PartitionState>,
}

/// A partition being read.
struct Reading {
    partition: Partition,
    name: Arc<str>,
    source: Option<Box<dyn Source>>,
    framer: Framer,
    format: Format,
    /// Number of the next block.
    number: u64,
    position: u64,
}

/// How often a source that waits for input looks whether the run is ending.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Reads until every partition has ended or the run is ending.
pub(super) fn read_source(shared: &Shared, task: SourceTask) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return shared.fail(format!("no runtime for a source: {e}")),
    };
    let Some(format) = shared.job.graph.sources.get(task.source).map(|s| s.spec.format.clone()) else { return };
    let count = task.partitions.len();
    let mut ended = vec![false; count];
    let mut readings = Vec::with_capacity(count);
    for (index, partition) in task.partitions.into_iter().enumerate() {
        let state = task.states.iter().find(|s| s.source == task.source && s.name == partition.name);
        if let Some(flag) = ended.get_mut(index) {
            *flag = state.is_some_and(|s| s.ended);
        }
        readings.push(Reading {
            name: Arc::from(partition.name.as_str()),
            partition,
            source: None,
            framer: Framer::new(&format),
            format: format.clone(),
            number: 0,
            position: state.map_or(0, |s| s.position),
        });
    }
    while ended.iter().any(|e| !e) {
        let Some(at) = shared.wait_for_leave(task.first..task.first + count, &ended) else { return };
        let index = at - task.first;
        let Some(reading) = readings.get_mut(index) else { return };
        match runtime.block_on(read_on(shared, reading, task.source, at)) {
            Ok(true) => {
                if let Some(flag) = ended.get_mut(index) {
                    *flag = true;
                }
                reading.source = None;
            }
            Ok(false) => {}
            Err(e) => return shared.fail(e.message),
        }
    }
}

/// Reads one chunk of a partition and hands on its blocks; true at its end.
async fn read_on(shared: &Shared, reading: &mut Reading, source: usize, at: usize) -> Result<bool, SourceError> {
    let opened = match &mut reading.source {
        Some(opened) => opened,
        None => {
            if reading.position > 0 {
                read_header(reading).await?;
            }
            let opened = (reading.partition.open)(reading.position)?;
            reading.source.insert(opened)
        }
    };
    shared.polls(at, true);
    let read = loop {
        match tokio::time::timeout(STOP_CHECK, opened.next()).await {
            Ok(read) => break read?,
            Err(_) if shared.is_ending() => return Ok(false),
            Err(_) => {}
        }
    };
    shared.polls(at, false);
    let mut blocks = Vec::new();
    let mut ended = false;
    match read {
        Read::Chunk(chunk) => match chunk.ends {
            Some(ends) => blocks.push(Block { position: chunk.position, ..Block::from_records(chunk.bytes, ends) }),
            None => blocks = reading.framer.push(chunk.bytes, chunk.position),
        },
        Read::End => {
            blocks.extend(reading.framer.finish());
            ended = true;
        }
    }
    // One block was counted when leave was taken.
    shared.correct_leave(at, 1 - blocks.len() as i64);
    let arrived = wall_clock();
    for block in blocks {
        let input =
            MapInput { block, partition: Arc::clone(&reading.name), number: reading.number, arrived, decoded: false };
        shared.map(MapWork { source, at: (at, reading.number), input });
        reading.number += 1;
    }
    if ended {
        shared.hand_out(shared.job.arrive((at, reading.number), Arrival::End, arrived));
    }
    Ok(ended)
}

/// A partition that is not read from its start has its header there all the same.
async fn read_header(reading: &mut Reading) -> Result<(), SourceError> {
    let mut from_start = Framer::new(&reading.format);
    if !matches!(reading.format, Format::Csv(_)) {
        return Ok(());
    }
    let mut source = (reading.partition.open)(0)?;
    while from_start.header().is_none() {
        match source.next().await? {
            Read::Chunk(chunk) => drop(from_start.push(chunk.bytes, chunk.position)),
            Read::End => break,
        }
    }
    reading.framer = Framer::resume(&reading.format, from_start.header().cloned());
    Ok(())
}
