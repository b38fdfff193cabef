//! Reads one source: asks its partitions for bytes as leave is given, cuts records, and hands blocks to the workers.
//! Partitions of a bounded source are read one at a time, as the gate wants them; those of a live one wait side by side.
//! What was read stays open until the last checkpoint, of which its source is told like of those before.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::base::time::Timestamp;
use crate::connector::{Chunk, Partition, Place, Read, Source, SourceError, Watch};
use crate::data::format::Format;
use crate::data::framing::{Block, Framer};

use super::commits::Word;
use super::job::lock;
use super::map::MapInput;
use super::partition::{Arrival, PartitionSpec, PartitionState};
use super::run::{steady_clock, wall_clock};
use super::shared::{MapWork, Shared};
use super::turns::Named;

/// What a source's task is given.
pub(super) struct SourceTask {
    /// Index of the source.
    pub source: usize,
    /// Number of its first partition among all.
    pub first: usize,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// Where partitions stood, if the run goes on from a snapshot.
    pub states: Vec<PartitionState>,
    /// What its partitions have in common.
    pub spec: PartitionSpec,
    /// How more partitions are found.
    pub watch: Option<Watch>,
    /// Let go when nothing more is read.
    pub reading: UnboundedSender<Infallible>,
}

impl SourceTask {
    fn state(&self, name: &str) -> Option<&PartitionState> {
        self.states.iter().find(|s| s.source == self.source && s.name == name)
    }
}

/// A partition being read.
struct Reading {
    /// Its number among all.
    at: usize,
    partition: Partition,
    name: Arc<str>,
    source: Option<Box<dyn Source>>,
    framer: Framer,
    format: Format,
    /// Number of the next block.
    number: u64,
    /// Where it is opened; then what was read last.
    place: Place,
    /// The latest time of arrival, where that is event time.
    arrived: Timestamp,
    /// How often its stream was renewed, and where the piece of it ended that was read last.
    read_to: (u32, u64),
}

impl Reading {
    fn new(
        shared: &Shared,
        (at, partition): (usize, Partition),
        format: &Format,
        state: Option<&PartitionState>,
    ) -> Self {
        let name: Arc<str> = Arc::from(partition.name.as_str());
        Reading {
            at,
            framer: Framer::new(format).named(&name),
            name,
            place: match state {
                Some(state) => Place { stream: Arc::clone(&state.stream), position: state.position },
                None => partition.start.clone(),
            },
            partition,
            source: None,
            format: format.clone(),
            number: 0,
            arrived: state.map_or(Timestamp::MIN, |state| state.greatest),
            read_to: (shared.job.renewed(at), state.map_or(0, |state| state.position)),
        }
    }

    /// When something arrives that did at `at` by the clock. A clock may be set back, but nothing arrives before what has
    /// arrived: it would be late.
    fn arrives(&mut self, at: Timestamp) -> Timestamp {
        self.arrived = self.arrived.max(at);
        self.arrived
    }
}

/// Reads until every partition has ended or the run is ending.
pub(super) async fn read_source(shared: Arc<Shared>, task: SourceTask) {
    if let Err(e) = read_in_turn(&shared, task).await {
        shared.fail(e.message);
    }
}

async fn read_in_turn(shared: &Shared, mut task: SourceTask) -> Result<(), SourceError> {
    let Some(format) = shared.job.graph.sources.get(task.source).map(|s| s.spec.format.clone()) else { return Ok(()) };
    let count = task.partitions.len();
    let mut ended = Vec::with_capacity(count);
    let mut readings = Vec::with_capacity(count);
    for (at, partition) in (task.first..).zip(std::mem::take(&mut task.partitions)) {
        let state = task.state(&partition.name);
        ended.push(state.is_some_and(|s| s.ended));
        readings.push(Reading::new(shared, (at, partition), &format, state));
    }
    while ended.iter().any(|e| !e) {
        let Some(at) = shared.wait_for_leave(task.first..task.first + count, &ended).await else { break };
        let index = at - task.first;
        let Some(reading) = readings.get_mut(index) else { break };
        if read_on(shared, reading, task.source).await? {
            if let Some(flag) = ended.get_mut(index) {
                *flag = true;
            }
            // It can be read again, and there may be many: none stays open to be told of its end.
            reading.close(shared, task.source);
        }
    }
    drop(task.reading);
    hear_last(shared, readings).await
}

/// Reads a live source's partitions, and those that are found, until the run is ending.
pub(super) async fn read_live(shared: Arc<Shared>, task: SourceTask) {
    if let Err(e) = read_side_by_side(&shared, task).await {
        shared.fail(e.message);
    }
}

async fn read_side_by_side(shared: &Arc<Shared>, mut task: SourceTask) -> Result<(), SourceError> {
    let Some(format) = shared.job.graph.sources.get(task.source).map(|s| s.spec.format.clone()) else { return Ok(()) };
    let mut readers = FuturesUnordered::new();
    for (at, partition) in (task.first..).zip(std::mem::take(&mut task.partitions)) {
        let state = task.states.iter().find(|s| s.source == task.source && s.name == partition.name);
        let reading = Reading::new(shared, (at, partition), &format, state);
        readers.push(read_to_end(shared, reading, task.source));
    }
    let mut watch = task.watch.take();
    let mut looks = pin!(tokio::time::sleep(Duration::ZERO));
    let mut found = Instant::now();
    let mut open = Vec::new();
    loop {
        tokio::select! {
            () = shared.until_ending() => break,
            Some(read) = readers.next() => open.extend(read?),
            () = &mut looks, if watch.is_some() => {
                let Some(watch) = &mut watch else { continue };
                for partition in (watch.look)()? {
                    found = Instant::now();
                    let (name, start) = (partition.name.clone(), partition.start.clone());
                    let spec = PartitionSpec { name, start, ..task.spec.clone() };
                    let at = shared.add_partition(spec, None, steady_clock());
                    let reading = Reading::new(shared, (at, partition), &format, None);
                    readers.push(read_to_end(shared, reading, task.source));
                }
                looks.as_mut().reset(Instant::now() + watch.pause(found.elapsed()));
            }
        }
    }
    // Readers hear of the end, too; none of them waits for anything else.
    while let Some(read) = readers.next().await {
        open.extend(read?);
    }
    drop(task.reading);
    hear_last(shared, open).await
}

/// Reads a partition of a live source; gives back what is open when the run is ending. One that is at its end stays open
/// until a checkpoint holds that.
async fn read_to_end(shared: &Shared, mut reading: Reading, source: usize) -> Result<Option<Reading>, SourceError> {
    let at = reading.at;
    let mut ended = false;
    while !ended && shared.leave_for(at).await {
        ended = read_on(shared, &mut reading, source).await?;
        // A partition that always has more must not keep the others waiting.
        tokio::task::yield_now().await;
    }
    loop {
        let word = tokio::select! {
            biased;
            () = shared.until_ending() => return Ok(Some(reading)),
            word = shared.commits.next(at) => word,
        };
        let last = !matches!(word, Word::Stands(_));
        reading.hear(word).await?;
        if last {
            reading.close(shared, source);
            return Ok(None);
        }
    }
}

/// Nothing more is read: waits for the last checkpoint and tells what is open of it.
async fn hear_last(shared: &Shared, open: Vec<Reading>) -> Result<(), SourceError> {
    shared.commits.until_over().await;
    for mut reading in open {
        if let Some(word) = shared.commits.take(reading.at) {
            reading.hear(word).await?;
        }
    }
    Ok(())
}

impl Reading {
    /// The blocks of a chunk, each with when it arrived.
    fn blocks(&mut self, shared: &Shared, source: usize, mut chunk: Chunk, now: Timestamp) -> Vec<(Block, Timestamp)> {
        let length = chunk.ends.as_ref().map_or(chunk.bytes.len(), Vec::len) as u64;
        let end = chunk.position + length;
        self.read_to = (self.read_to.0 + u32::from(chunk.position < self.read_to.1), end);
        let parts = match chunk.arrived {
            Some(at) => Some(vec![(end, at)]),
            None => {
                let of = Named(source, self.partition.name.clone());
                shared.job.arrived(&of, self.read_to.0, (chunk.position, end), now)
            }
        };
        let mut parts = parts.unwrap_or_else(|| vec![(end, now)]).into_iter();
        let mut blocks = Vec::new();
        let last = parts.next_back().map_or(now, |(_, at)| at);
        for (to, at) in parts {
            let rest = split(&mut chunk, to);
            blocks.extend(self.frame(chunk).into_iter().map(|block| (block, at)));
            chunk = rest;
        }
        blocks.extend(self.frame(chunk).into_iter().map(|block| (block, last)));
        blocks
    }

    fn frame(&mut self, chunk: Chunk) -> Vec<Block> {
        match chunk.ends {
            Some(ends) => vec![Block { position: chunk.position, ..Block::from_records(chunk.bytes, ends) }],
            None => self.framer.push(chunk.bytes, chunk.position),
        }
    }

    /// Tells the source of a checkpoint.
    async fn hear(&mut self, word: Word) -> Result<(), SourceError> {
        match (word, &mut self.source) {
            (Word::Stands(place) | Word::Ended(place), Some(source)) => source.committed(&place).await,
            _ => Ok(()),
        }
    }

    fn close(&mut self, shared: &Shared, source: usize) {
        self.source = None;
        shared.commits.leave(source, &self.name, self.at);
    }
}

/// Reads one chunk of a partition and hands on its blocks; true at its end.
async fn read_on(shared: &Shared, reading: &mut Reading, source: usize) -> Result<bool, SourceError> {
    let at = reading.at;
    if reading.source.is_none() {
        if reading.place.position > 0 {
            tokio::select! {
                () = shared.until_ending() => return Ok(false),
                read = read_header(reading) => read?,
            }
        }
        reading.source = Some((reading.partition.open)(&reading.place)?);
        shared.linked(at, &reading.partition.link);
        shared.commits.enter(source, &reading.name, at);
    }
    shared.polls(at, true);
    let Some(read) = next(shared, reading).await? else {
        // What was to be read is read when sources may again.
        shared.polls(at, false);
        shared.correct_leave(at, 1);
        return Ok(false);
    };
    shared.polls(at, false);
    let now = steady_clock();
    let arrived = wall_clock();
    let (mut blocks, mut meta) = (Vec::new(), None);
    let mut ended = false;
    match read {
        Read::Chunk(mut chunk) => {
            reading.place.stream = Arc::clone(&chunk.stream);
            reading.partition.link.hear();
            // With `ends` a chunk is one block.
            meta = chunk.meta.take().filter(|_| chunk.ends.is_some());
            blocks = reading.blocks(shared, source, chunk, arrived);
        }
        Read::Renewed => {
            blocks.extend(reading.framer.finish().map(|block| (block, arrived)));
            reading.framer = Framer::new(&reading.format).named(&reading.name);
        }
        Read::Broken { position, reason } => {
            // Among other records that cannot be read nobody would see it.
            lock(&shared.warnings).push(reason.clone());
            blocks.extend(reading.framer.broken(position, reason).into_iter().map(|block| (block, arrived)));
        }
        Read::End => {
            blocks.extend(reading.framer.finish().map(|block| (block, arrived)));
            ended = true;
        }
    }
    let by_arrival = shared.job.graph.sources.get(source).is_some_and(|part| part.spec.time.is_none());
    // One block was counted when leave was taken.
    shared.correct_leave(at, 1 - blocks.len() as i64);
    for (block, arrived) in blocks {
        let arrived = if by_arrival { reading.arrives(arrived) } else { arrived };
        let (partition, stream) = (Arc::clone(&reading.name), Arc::clone(&reading.place.stream));
        let number = reading.number;
        let meta = meta.take();
        let returned = Vec::new();
        let input = MapInput { block, partition, stream, number, arrived, now, meta, decoded: false, returned };
        shared.map(MapWork { source, at: (at, reading.number), input });
        reading.number += 1;
    }
    if ended {
        shared.hand_out(shared.job.arrive((at, reading.number), Arrival::End, now));
    }
    Ok(ended)
}

/// Cuts a chunk at a position; what is behind it.
fn split(chunk: &mut Chunk, to: u64) -> Chunk {
    let count = usize::try_from(to.saturating_sub(chunk.position)).unwrap_or(usize::MAX);
    let stream = Arc::clone(&chunk.stream);
    match &mut chunk.ends {
        None => {
            let bytes = chunk.bytes.split_off(count.min(chunk.bytes.len()));
            Chunk { stream, bytes, position: to, ..Chunk::default() }
        }
        Some(ends) => {
            let behind = ends.split_off(count.min(ends.len()));
            let cut = ends.last().copied().unwrap_or(0);
            let bytes = chunk.bytes.split_off((cut as usize).min(chunk.bytes.len()));
            let ends = Some(behind.into_iter().map(|end| end - cut).collect());
            Chunk { stream, bytes, ends, position: to, ..Chunk::default() }
        }
    }
}

/// What a source brings next, telling it of checkpoints while it is waited for; nothing if the run is ending.
async fn next(shared: &Shared, reading: &mut Reading) -> Result<Option<Read>, SourceError> {
    loop {
        let Some(source) = &mut reading.source else { return Ok(None) };
        let word = tokio::select! {
            biased;
            () = shared.until_ending() => return Ok(None),
            () = shared.until_paused() => return Ok(None),
            word = shared.commits.next(reading.at) => word,
            read = source.next() => return read.map(Some),
        };
        reading.hear(word).await?;
    }
}

/// A partition that is not read from its start has its header there all the same.
async fn read_header(reading: &mut Reading) -> Result<(), SourceError> {
    let mut from_start = Framer::new(&reading.format).named(&reading.name);
    if !matches!(reading.format, Format::Csv(_)) {
        return Ok(());
    }
    let mut source = (reading.partition.open)(&Place { position: 0, ..reading.place.clone() })?;
    while !from_start.has_header() {
        match source.next().await? {
            Read::Chunk(chunk) => drop(from_start.push(chunk.bytes, chunk.position)),
            Read::Broken { .. } | Read::Renewed | Read::End => break,
        }
    }
    reading.framer = Framer::resume(&reading.format, &from_start);
    Ok(())
}
