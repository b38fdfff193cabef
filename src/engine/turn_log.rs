//! Keeps [turns](super::turns) in a journal of their own. What leaves before a checkpoint waits until the turns that it
//! depends on are durable there; a checkpoint lets those before it go.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::time::Timestamp;
use crate::store::journal::{Journal, JournalError, Kind, Settings, SourceId};

use super::gate::Tick;
use super::job::{Job, lock};
use super::lower::{Graph, ReaderKind};
use super::turns::{Point, Turn};

/// Up to where turns are part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Written {
    /// The sources and steps that turns speak of by number; those of another pipeline are not read.
    pub shape: String,
    /// The number of the first turn that is not part of it.
    pub turn: u64,
    /// What is to be known of partitions then.
    pub point: Point,
}

impl Written {
    /// As it is kept: all but the number, as JSON.
    pub fn text(&self) -> String {
        serde_json::to_string(&(&self.shape, &self.point.idle, &self.point.renewed)).unwrap_or_default()
    }

    /// From what was kept; `None` if it is nothing of this version's.
    pub fn of_text(text: &str, turn: u64) -> Option<Written> {
        let (shape, idle, renewed) = serde_json::from_str(text).ok()?;
        Some(Written { shape, turn, point: Point { next: None, idle, renewed } })
    }
}

/// Turns as they were read back, with their numbers.
pub type Read = VecDeque<(u64, Turn)>;

/// The journal of turns, open.
pub struct TurnLog {
    journal: Journal,
    source: SourceId,
    shape: String,
    /// One past the last turn that was appended.
    appended: AtomicU64,
    failed: Mutex<Option<String>>,
}

impl TurnLog {
    /// Opens the journal in a directory; a run that goes on is given what it has to repeat.
    pub fn open(directory: &Path, graph: &Graph, stood: Option<&Written>) -> Result<(TurnLog, Read), String> {
        let journal = Journal::open(directory, Settings::default()).map_err(JournalError::into_message)?;
        let source = journal.source("turns").map_err(JournalError::into_message)?;
        let shape = shape_of(graph);
        let mut read = Read::new();
        if let Some(stood) = stood.filter(|stood| stood.shape == shape) {
            for record in journal.read_from(stood.turn).map_err(JournalError::into_message)? {
                let record = record.map_err(JournalError::into_message)?;
                let turn = rmp_serde::from_slice(&record.payload)
                    .map_err(|e| format!("record {} of `{}` is no turn: {e}", record.sequence, directory.display()))?;
                read.push_back((record.sequence, turn));
            }
        }
        let appended = AtomicU64::new(0);
        Ok((TurnLog { journal, source, shape, appended, failed: Mutex::default() }, read))
    }

    /// Writes the turns of ticks, in the order of the ticks, and says of each what has to be durable before its rows may
    /// leave. Takes memory, not time.
    pub(super) fn write(&self, ticks: &mut [Tick]) {
        for tick in ticks {
            let turns: Result<Vec<Vec<u8>>, _> = tick.turns.iter().map(rmp_serde::to_vec).collect();
            let appended = match turns {
                Ok(turns) if turns.is_empty() => Ok(None),
                Ok(turns) => {
                    let records = turns.iter().map(Vec::as_slice);
                    let ticket = self.journal.append(self.source, Kind::NOTE, records);
                    ticket.map(|ticket| Some(ticket.sequences().end)).map_err(JournalError::into_message)
                }
                Err(e) => Err(e.to_string()),
            };
            match appended {
                Ok(Some(end)) => self.appended.store(end, Ordering::Release),
                Ok(None) => {}
                Err(why) => {
                    lock(&self.failed).get_or_insert(why);
                    self.appended.store(u64::MAX, Ordering::Release);
                }
            }
            tick.written = self.appended.load(Ordering::Acquire);
            if let Some(cut) = &mut tick.barrier {
                cut.turns.next.get_or_insert_with(|| self.journal.next());
            }
        }
    }

    /// Where a checkpoint cuts them: at a turn, or behind the last one.
    pub(super) fn written(&self, point: Point) -> Written {
        let turn = point.next.unwrap_or_else(|| self.journal.next());
        Written { shape: self.shape.clone(), turn, point: Point { next: None, ..point } }
    }

    /// Waits until every turn before this number is durable. The error ends the run.
    pub(super) async fn until_durable(&self, before: u64) -> Result<(), String> {
        if let Some(why) = &*lock(&self.failed) {
            return Err(why.clone());
        }
        self.journal.until_durable(before).await.map_err(JournalError::into_message)
    }

    /// A checkpoint holds what every turn before this number did.
    pub(super) fn cover(&self, turn: u64) -> Result<(), String> {
        self.journal.cover(self.source, turn).map_err(JournalError::into_message)
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
        self.turn_log.as_ref().map(|log| log.written(point))
    }

    /// Waits until turns before this number are durable. The error ends the run.
    pub(super) async fn until_written(&self, before: u64) -> Result<(), String> {
        match &self.turn_log {
            Some(log) if before > 0 => log.until_durable(before).await,
            _ => Ok(()),
        }
    }

    /// A checkpoint is durable that these turns are part of.
    pub(super) fn cover_turns(&self, written: Option<&Written>) -> Result<(), String> {
        match (&self.turn_log, written) {
            (Some(log), Some(written)) => log.cover(written.turn),
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
