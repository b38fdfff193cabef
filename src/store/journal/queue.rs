//! What waits to be written, and whoever waits for it: the state that everybody who uses a journal shares.

use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};

use super::error::JournalError;
use super::format::{GROUP_HEADER, SourceId};
use super::recover::{Files, Source};
use super::{Settings, WRITER_GONE};
use crate::base::time::Timestamp;

/// What became of an append: it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The sequence numbers of its records.
    pub sequences: Range<u64>,
    /// What the wall clock said when it was taken; a replay says the same.
    pub arrived: Timestamp,
}

/// Waits until what was appended is durable: as a future, or with [`Ticket::wait`].
#[derive(Debug)]
pub struct Ticket {
    sequences: Range<u64>,
    answer: oneshot::Receiver<Answer>,
}

type Answer = Result<Timestamp, JournalError>;

impl Ticket {
    /// The sequence numbers that the records will have, if they become durable.
    pub fn sequences(&self) -> Range<u64> {
        self.sequences.clone()
    }

    /// Blocks; not for use in tasks, which await it.
    pub fn wait(self) -> Result<Appended, JournalError> {
        let answer = self.answer.blocking_recv();
        settled(self.sequences, answer)
    }
}

impl Future for Ticket {
    type Output = Result<Appended, JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| settled(self.sequences.clone(), answer))
    }
}

fn settled(sequences: Range<u64>, answer: Result<Answer, oneshot::error::RecvError>) -> Result<Appended, JournalError> {
    let answer = answer.unwrap_or_else(|_| Err(JournalError::Failed(WRITER_GONE.to_owned())));
    answer.map(|arrived| Appended { sequences, arrived })
}

/// Records that are written together.
pub(super) struct Gathered {
    /// Room for a group's header, then the records.
    pub bytes: Vec<u8>,
    /// How many there are.
    pub count: u32,
    /// Whoever waits for them.
    pub answers: Vec<Waiting>,
}

/// An append whose ticket is out.
pub(super) struct Waiting {
    pub source: SourceId,
    /// The sequence number of its last record.
    pub last: u64,
    answer: oneshot::Sender<Answer>,
}

impl Gathered {
    /// Nothing yet, in memory that was used before.
    pub fn in_memory(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(GROUP_HEADER, 0);
        Gathered { bytes, count: 0, answers: Vec::new() }
    }

    /// Bytes of its records.
    pub fn len(&self) -> usize {
        self.bytes.len().saturating_sub(GROUP_HEADER)
    }

    /// Notes that these of its records are one append of a source.
    pub fn add(&mut self, source: SourceId, sequences: Range<u64>) -> Ticket {
        let (sender, answer) = oneshot::channel();
        self.count += u32::try_from(sequences.end - sequences.start).unwrap_or(u32::MAX);
        self.answers.push(Waiting { source, last: sequences.end - 1, answer: sender });
        Ticket { sequences, answer }
    }
}

/// Tells everybody who waited what became of it.
pub(super) fn answer_all(waiting: Vec<Waiting>, answer: &Answer) {
    for waiting in waiting {
        // Whoever gave up waiting needs no answer.
        let _ = waiting.answer.send(answer.clone());
    }
}

/// What the threads that use a journal share.
pub(super) struct Shared {
    pub directory: PathBuf,
    pub settings: Settings,
    pub state: Mutex<State>,
    /// Wakes the writer.
    pub work: Condvar,
    /// Wakes those who wait for room.
    pub room: Notify,
    /// Held by whoever removes segments.
    pub removing: Mutex<()>,
}

/// What is behind the lock.
pub(super) struct State {
    /// What the writer takes next.
    pub waiting: Gathered,
    /// Sequence number of the next record.
    pub next: u64,
    /// One past the last record that is durable.
    pub durable: u64,
    /// Bytes that the writer is writing.
    pub writing: usize,
    /// Bytes in all segments.
    pub bytes: u64,
    /// The record that each segment begins with, and its length.
    pub segments: VecDeque<(u64, u64)>,
    pub sources: Vec<Source>,
    /// Records before it are not needed any more.
    pub covered: u64,
    /// The last segment is covered, and so large that another is begun for it to go.
    pub renew: bool,
    /// Nobody appends any more.
    pub closing: bool,
    /// Why nothing is taken any more.
    pub failed: Option<JournalError>,
    /// Until there is a writer.
    pub files: Option<Files>,
}

impl State {
    /// Takes note of what was written to the last segment.
    pub fn grow(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if let Some(last) = self.segments.back_mut() {
            last.1 += bytes as u64;
        }
    }
}

/// A mutex whose data stays usable when a thread that held it panicked: nothing is left half done under it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
