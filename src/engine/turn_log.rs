//! Keeps [turns](super::turns) in a journal of their own. What leaves before a checkpoint waits until the turns that it
//! depends on are durable there; a checkpoint lets those before it go.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::time::Timestamp;
use crate::store::journal::{Journal, JournalError, Kind, Settings, SourceId};

use super::arrivals::{Arrivals, Arrived};
use super::gate::Tick;
use super::job::{Job, lock};
use super::lower::{Graph, ReaderKind};
use super::turns::{Named, Point, Turn};

/// Up to where turns are part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Written {
    /// The sources and steps that turns speak of by number; those of another pipeline are not read.
    pub shape: String,
    /// The number of the first turn that is not part of it.
    pub turn: u64,
    /// The same of arrivals.
    pub arrival: u64,
    /// What is to be known of partitions then.
    pub point: Point,
}

impl Written {
    /// As it is kept: all but the number, as JSON.
    pub fn text(&self) -> String {
        serde_json::to_string(&(&self.shape, self.arrival, &self.point.idle, &self.point.renewed, self.point.clock))
            .unwrap_or_default()
    }

    /// From what was kept; `None` if it is nothing of this version's.
    pub fn of_text(text: &str, turn: u64) -> Option<Written> {
        let (shape, arrival, idle, renewed, clock) = serde_json::from_str(text).ok()?;
        Some(Written { shape, turn, arrival, point: Point { next: None, idle, renewed, clock } })
    }
}

/// Turns as they were read back, with their numbers.
pub type Read = VecDeque<(u64, Turn)>;

/// The journal of turns, open.
pub struct TurnLog {
    journal: Journal,
    turns: SourceId,
    arrivals: SourceId,
    known: Mutex<Arrivals>,
    shape: String,
    /// One past the last record that was appended.
    appended: AtomicU64,
    failed: Mutex<Option<String>>,
}

impl TurnLog {
    /// Opens the journal in a directory; a run that goes on is given what it has to repeat.
    pub fn open(directory: &Path, graph: &Graph, stood: Option<&Written>) -> Result<(TurnLog, Read), String> {
        let journal = Journal::open(directory, Settings::default()).map_err(JournalError::into_message)?;
        let arrivals = journal.source("arrivals").map_err(JournalError::into_message)?;
        let turns = journal.source("turns").map_err(JournalError::into_message)?;
        let shape = shape_of(graph);
        let (mut read, mut known) = (Read::new(), Arrivals::default());
        if let Some(stood) = stood.filter(|stood| stood.shape == shape) {
            let records = journal.read_from(stood.turn.min(stood.arrival)).map_err(JournalError::into_message)?;
            for record in records {
                let record = record.map_err(JournalError::into_message)?;
                let (number, payload) = (record.sequence, &record.payload);
                let unreadable = |e| format!("record {number} of `{}` cannot be read: {e}", directory.display());
                if record.source == turns && number >= stood.turn {
                    read.push_back((number, rmp_serde::from_slice(payload).map_err(unreadable)?));
                } else if record.source == arrivals && number >= stood.arrival {
                    known.was_read(number, rmp_serde::from_slice(payload).map_err(unreadable)?);
                }
            }
        }
        let (appended, known) = (AtomicU64::new(0), Mutex::new(known));
        Ok((TurnLog { journal, turns, arrivals, known, shape, appended, failed: Mutex::default() }, read))
    }

    /// Appends records; the number of the first. An error is for whoever waits for them.
    fn append<T: serde::Serialize>(&self, source: SourceId, records: &[T]) -> Option<u64> {
        let bytes: Result<Vec<Vec<u8>>, _> = records.iter().map(rmp_serde::to_vec).collect();
        let appended = bytes.map_err(|e| e.to_string()).and_then(|bytes| {
            let ticket = self.journal.append(source, Kind::NOTE, bytes.iter().map(Vec::as_slice));
            ticket.map_err(JournalError::into_message)
        });
        match appended {
            Ok(ticket) => {
                self.appended.fetch_max(ticket.sequences().end, Ordering::AcqRel);
                Some(ticket.sequences().start)
            }
            Err(why) => {
                lock(&self.failed).get_or_insert(why);
                self.appended.store(u64::MAX, Ordering::Release);
                None
            }
        }
    }

    /// When a piece of a partition arrived, from a position to another: the end of each part, and its time. What comes for the
    /// first time arrives at `now`, which is written down.
    pub(super) fn arrived(
        &self,
        of: &Named,
        renewed: u32,
        (from, to): (u64, u64),
        now: Timestamp,
    ) -> Vec<(u64, Timestamp)> {
        let mut known = lock(&self.known);
        let mut parts = known.of(of, renewed, (from, to));
        if parts.last().is_none_or(|(end, _)| *end < to) {
            let arrived = Arrived { of: of.clone(), renewed, to, at: now };
            if let Some(number) = self.append(self.arrivals, std::slice::from_ref(&arrived)) {
                known.was_written(number, &arrived);
            }
            parts.push((to, now));
        }
        parts
    }

    /// Writes the turns of ticks, in the order of the ticks, and says of each what has to be durable before its rows may
    /// leave. Takes memory, not time.
    pub(super) fn write(&self, ticks: &mut [Tick]) {
        for tick in ticks {
            if !tick.turns.is_empty() {
                self.append(self.turns, &tick.turns);
            }
            tick.written = self.appended.load(Ordering::Acquire);
            if let Some(cut) = &mut tick.barrier {
                let next = self.journal.next();
                cut.turns.next.get_or_insert(next);
                cut.arrival = lock(&self.known).needed(&cut.partitions, &cut.turns.renewed, next);
            }
        }
    }

    /// Where a checkpoint cuts them: at a turn, or behind the last one.
    pub(super) fn written(&self, point: Point, arrival: Option<u64>) -> Written {
        let turn = point.next.unwrap_or_else(|| self.journal.next());
        let arrival = arrival.unwrap_or_else(|| self.journal.next());
        Written { shape: self.shape.clone(), turn, arrival, point: Point { next: None, ..point } }
    }

    /// Waits until every turn before this number is durable. The error ends the run.
    pub(super) async fn until_durable(&self, before: u64) -> Result<(), String> {
        if let Some(why) = &*lock(&self.failed) {
            return Err(why.clone());
        }
        self.journal.until_durable(before).await.map_err(JournalError::into_message)
    }

    /// A checkpoint is durable that holds what came before.
    fn cover(&self, written: &Written) -> Result<(), String> {
        let covered = self.journal.cover(self.turns, written.turn);
        covered.and_then(|()| self.journal.cover(self.arrivals, written.arrival)).map_err(JournalError::into_message)
    }
}

impl Job {
    /// Writes down how live inputs meet from now on, after it has repeated what was `read` back. Before [`Job::restore`].
    pub fn write_turns(&mut self, log: TurnLog, read: Read, now: Timestamp) {
        if !read.is_empty() {
            // A turn may end inside a block.
            let recounts = self.graph.context.letters;
            self.graph.sources.iter().for_each(|s| s.spec.recounts.store(recounts, Ordering::Relaxed));
        }
        lock(&self.gate).write_turns(read, now);
        self.turn_log = Some(log);
    }

    /// Up to where turns are part of a checkpoint of what was taken so far.
    pub fn written(&self) -> Option<Written> {
        let mut gate = lock(&self.gate);
        let point = gate.point();
        self.turn_log.as_ref().map(|log| log.written(point, None))
    }

    /// Waits until turns before this number are durable. The error ends the run.
    pub(super) async fn until_written(&self, before: u64) -> Result<(), String> {
        match &self.turn_log {
            Some(log) if before > 0 => log.until_durable(before).await,
            _ => Ok(()),
        }
    }

    /// How often a partition's stream was renewed, as far as it was taken.
    pub(super) fn renewed(&self, partition: usize) -> u32 {
        lock(&self.gate).partitions.get(partition).map_or(0, |p| p.renewed)
    }

    /// When a piece of a partition arrived that its source cannot say it of, if that is event time or bounds it and is written
    /// down: the end of each part, and its time.
    pub(super) fn arrived(
        &self,
        of: &Named,
        renewed: u32,
        piece: (u64, u64),
        now: Timestamp,
    ) -> Option<Vec<(u64, Timestamp)>> {
        let log = self.turn_log.as_ref()?;
        let time = &self.graph.sources.get(of.0)?.spec.time;
        let matters = time.as_ref().is_none_or(|time| time.max_future.is_some());
        matters.then(|| log.arrived(of, renewed, piece, now))
    }

    /// A checkpoint is durable that these turns are part of.
    pub(super) fn cover_turns(&self, written: Option<&Written>) -> Result<(), String> {
        match (&self.turn_log, written) {
            (Some(log), Some(written)) => log.cover(written),
            _ => Ok(()),
        }
    }

    /// Under the gate's lock, for ticks in their order.
    pub(super) fn write(&self, mut ticks: Vec<Tick>) -> Vec<Tick> {
        if let Some(log) = &self.turn_log {
            log.write(&mut ticks);
        }
        ticks
    }
}

fn shape_of(graph: &Graph) -> String {
    let name = |node: crate::plan::NodeId| graph.context.entries.get(node.index()).map(|entry| entry.name.as_str());
    let sources: Vec<_> = graph.sources.iter().map(|source| name(source.node)).collect();
    let steps = graph.readers.iter().filter(|reader| matches!(reader.kind, ReaderKind::Stage(..)));
    let steps: Vec<_> = steps.map(|reader| (name(reader.node), &reader.sources)).collect();
    serde_json::to_string(&(sources, steps)).unwrap_or_default()
}
