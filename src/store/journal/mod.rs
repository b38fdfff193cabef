//! The journal: what came in and could not be read again is appended here, and is durable before anybody is told that it
//! was taken. Its sequence numbers are the positions of events; a checkpoint that covers them lets files go.
//!
//! # Files
//! A journal is a directory. Its file `lock` is locked while a process has it open. The others are *segments*, named by the
//! sequence number of their first record in 16 decimal digits: `0000000000000001.log`. A segment begins where the one before
//! it ends. Only the last is written to, and only at its end. Numbers in it are little-endian, checksums CRC-32 (as zlib's).
//!
//! A segment begins with 32 bytes:
//!
//! | byte | | |
//! |---|---|---|
//! | 0 | 8 | `MSTRJRNL` |
//! | 8 | 2 | version of the format, 1 |
//! | 10 | 2 | 0 |
//! | 12 | 8 | sequence number of its first record |
//! | 20 | 8 | salt, a random number |
//! | 28 | 4 | checksum of bytes 0 to 27 |
//!
//! Then come *groups*, each what was written and synced at once. A group begins with 36 bytes:
//!
//! | byte | | |
//! |---|---|---|
//! | 0 | 4 | `MSGR` |
//! | 4 | 4 | bytes of its records |
//! | 8 | 8 | sequence number of its first record |
//! | 16 | 4 | how many of its records have a sequence number |
//! | 20 | 8 | what the wall clock said: microseconds since 1970, signed |
//! | 28 | 4 | checksum of its records |
//! | 32 | 4 | checksum of the salt's 8 bytes and of bytes 0 to 31 |
//!
//! Then its *records*, one after the other:
//!
//! | byte | | |
//! |---|---|---|
//! | 0 | 1 | kind ([`Kind`]): 0 names a source, 1 and 2 are events, the others are notes of a source |
//! | 1 | 2 | number of the source |
//! | 3 | 4 | bytes of the payload |
//! | 7 | | the payload |
//!
//! Records of every kind but 0 have sequence numbers, one after the other. One of kind 0 says what a source's number stands
//! for in this segment: its payload is the sequence number of the last record that the source appended before (8 bytes, 0 if
//! there is none) and its name. Every segment names all sources before it has a record of one, so older ones can go.
//!
//! # What a crash leaves
//! A group is only written when the one before it is synced. So at most the last one is unfinished, nothing in it was
//! acknowledged, and opening the journal cuts it off. Where a group is broken and another follows, the bytes were whole once
//! and are damaged: that is an error, and nothing is skipped. A peer cannot send what looks like a group that follows, for
//! the salt is not known to it. What cannot be told apart from an unfinished write is damage to the last group alone.
//!
//! A write or sync that fails ends the journal: everybody who waits is told, nothing more is taken. What a failed sync left
//! in memory may read as written and be gone after a loss of power; so opening the journal again syncs what it read first.

mod error;
mod format;
mod groups;
mod queue;
mod read;
mod recover;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

pub use error::JournalError;
pub use format::{Entry, Kind, Record, SourceId};
pub use queue::{Appended, Ticket};
pub use read::Records;

use crate::base::limit;
use crate::base::time::Timestamp;
use format::{RECORD_HEADER, encode_record};
use queue::{Gathered, Shared, State, lock};
use recover::{Source, recover};
use writer::{remove_covered, write_on};

/// Said when the writing thread has ended; a failure of its own was said before.
const WRITER_GONE: &str = "the journal is closed";

/// The bounds of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes after which a segment is followed by another.
    pub segment_bytes: u64,
    /// Bytes of all segments. An append that would go beyond is not taken.
    pub max_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { segment_bytes: limit::JOURNAL_SEGMENT_BYTES, max_bytes: limit::JOURNAL_BYTES }
    }
}

impl Settings {
    /// Segments go whole, so that a journal needs some for its bound to be of use.
    fn segment_bytes(&self) -> u64 {
        self.segment_bytes.min(self.max_bytes / 4)
    }

    /// How large a covered segment may stay.
    fn covered_bytes(&self) -> u64 {
        limit::JOURNAL_COVERED_BYTES.min(self.segment_bytes())
    }
}

/// A journal, open. Threads and tasks share it; the last that lets it go waits until everything is written.
pub struct Journal {
    shared: Arc<Shared>,
    /// The writer, once there was something to write.
    writer: Mutex<Option<JoinHandle<()>>>,
    torn: u64,
}

impl Journal {
    /// Opens the journal in a directory, which is made when something is first appended. Blocks.
    pub fn open(directory: &Path, settings: Settings) -> Result<Journal, JournalError> {
        let found = recover(directory)?;
        let state = State {
            waiting: Gathered::in_memory(Vec::new()),
            next: found.next,
            durable: found.next,
            writing: 0,
            bytes: found.segments.iter().map(|(_, bytes)| bytes).sum(),
            segments: found.segments,
            sources: found.sources,
            covered: 0,
            renew: false,
            closing: false,
            failed: None,
            files: Some(found.files),
        };
        let shared = Shared {
            directory: directory.into(),
            settings,
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Notify::new(),
            removing: Mutex::new(()),
        };
        Ok(Journal { shared: Arc::new(shared), writer: Mutex::new(None), torn: found.torn })
    }

    /// The journal in a directory, opened by its default settings if this process has not: what sources of one pipeline bring
    /// is made durable together. Blocks.
    pub fn shared(directory: &Path) -> Result<Arc<Journal>, JournalError> {
        static OPEN: Mutex<BTreeMap<PathBuf, Weak<Journal>>> = Mutex::new(BTreeMap::new());
        let mut open = lock(&OPEN);
        if let Some(journal) = open.get(directory).and_then(Weak::upgrade) {
            return Ok(journal);
        }
        let journal = Arc::new(Journal::open(directory, Settings::default())?);
        open.retain(|_, journal| journal.strong_count() > 0);
        open.insert(directory.to_owned(), Arc::downgrade(&journal));
        Ok(journal)
    }

    /// Bytes of an unfinished write that were cut off when it was opened.
    pub fn torn(&self) -> u64 {
        self.torn
    }

    /// Sequence number of the next record.
    pub fn next(&self) -> u64 {
        lock(&self.shared.state).next
    }

    /// Bytes in its files.
    pub fn bytes(&self) -> u64 {
        lock(&self.shared.state).bytes
    }

    /// The number of a source, by its name. From now on nothing goes that it appended and [`Journal::cover`] has not let
    /// go; so the sources of a run are all named before the first of them is read.
    pub fn source(&self, name: &str) -> Result<SourceId, JournalError> {
        let mut state = lock(&self.shared.state);
        let index = match state.sources.iter().position(|source| source.name == name) {
            Some(index) => index,
            None if name.len() > limit::JOURNAL_NAME_BYTES => {
                let least = limit::JOURNAL_NAME_BYTES;
                return Err(JournalError::TooLarge(format!("a source's name has more than {least} bytes; shorten it")));
            }
            None => {
                state.sources.push(Source::new(name.to_owned()));
                state.sources.len() - 1
            }
        };
        let id = u16::try_from(index).ok().filter(|_| index < limit::JOURNAL_SOURCES);
        let (Some(id), Some(source)) = (id, state.sources.get_mut(index)) else {
            state.sources.truncate(limit::JOURNAL_SOURCES);
            let most = limit::JOURNAL_SOURCES;
            return Err(JournalError::TooLarge(format!(
                "the journal has had {most} different sources, the most it takes; stop the pipeline once its input is \
                 processed and remove the journal's directory"
            )));
        };
        source.registered = true;
        Ok(SourceId(id))
    }

    /// Appends records of one source, in order; all of them survive a crash, or none. They are durable when the ticket
    /// says so. Takes memory, not time: when too much waits to be written it is [`JournalError::Full`].
    pub fn append<'a>(
        &self,
        source: SourceId,
        kind: Kind,
        payloads: impl Iterator<Item = &'a [u8]> + Clone,
    ) -> Result<Ticket, JournalError> {
        self.append_all(source, payloads.map(|payload| Entry { kind, parts: [payload, &[]] }))
    }

    /// The same of records of several kinds.
    pub fn append_all<'a>(
        &self,
        source: SourceId,
        entries: impl Iterator<Item = Entry<'a>> + Clone,
    ) -> Result<Ticket, JournalError> {
        let lengths = entries.clone().map(|entry| RECORD_HEADER + entry.len());
        let names = entries.clone().any(|entry| entry.kind == Kind::NAME);
        let (count, bytes) =
            lengths.fold((0u64, 0usize), |(count, sum), length| (count + 1, sum.saturating_add(length)));
        let settings = &self.shared.settings;
        if bytes > limit::JOURNAL_GROUP_BYTES || bytes as u64 > settings.max_bytes / 2 {
            let most = (limit::JOURNAL_GROUP_BYTES as u64).min(settings.max_bytes / 2);
            return Err(JournalError::TooLarge(format!(
                "{bytes} bytes at once are more than the {most} that a journal takes; send less at once"
            )));
        }
        let mut state = lock(&self.shared.state);
        if let Some(why) = &state.failed {
            return Err(why.clone());
        }
        if names || count == 0 || usize::from(source.0) >= state.sources.len() {
            return Err(JournalError::Failed(
                "a journal takes records of sources that it knows; this is a fault of Millstream's own".into(),
            ));
        }
        if state.waiting.len() + bytes > limit::JOURNAL_GROUP_BYTES {
            return Err(JournalError::Full(
                "the disk is slower than what comes in; wait for what was taken".to_owned(),
            ));
        }
        if state.bytes + (state.writing + state.waiting.len() + bytes) as u64 > settings.max_bytes {
            return Err(JournalError::Full(format!(
                "the journal `{}` holds {} bytes, nearly the {} that it may: the pipeline is behind; wait until a checkpoint \
                 has covered more",
                self.shared.directory.display(),
                state.bytes,
                settings.max_bytes
            )));
        }
        self.start(&mut state)?;
        entries.for_each(|entry| encode_record(source, entry, &mut state.waiting.bytes));
        let sequences = state.next..state.next + count;
        state.next = sequences.end;
        if let Some(known) = state.sources.get_mut(usize::from(source.0)) {
            known.last = sequences.end - 1;
        }
        let ticket = state.waiting.add(source, sequences);
        self.shared.work.notify_one();
        Ok(ticket)
    }

    /// Wakes when there may be room again. Made before an append that turns out [`JournalError::Full`], it misses nothing.
    pub fn room(&self) -> Notified<'_> {
        self.shared.room.notified()
    }

    /// Whether the record of a sequence number is durable.
    pub fn is_durable(&self, sequence: u64) -> bool {
        lock(&self.shared.state).durable > sequence
    }

    /// Waits until every record before a sequence number is durable.
    pub async fn until_durable(&self, before: u64) -> Result<(), JournalError> {
        loop {
            // Made first, it misses nothing.
            let told = self.room();
            if self.reached(before)? {
                return Ok(());
            }
            told.await;
        }
    }

    fn reached(&self, before: u64) -> Result<bool, JournalError> {
        let state = lock(&self.shared.state);
        match &state.failed {
            Some(why) if state.durable < before => Err(why.clone()),
            _ => Ok(state.durable >= before),
        }
    }

    /// The records that are durable now, from a sequence number on; those before what the journal begins with are gone.
    pub fn read_from(&self, sequence: u64) -> Result<Records, JournalError> {
        let state = lock(&self.shared.state);
        if sequence > state.durable {
            return Err(JournalError::Missing(format!(
                "the journal `{}` ends before record {}, and the pipeline has already processed up to record {}: it is not \
                 the journal that belongs to this state. Put that one back; or move both away, and the pipeline begins anew",
                self.shared.directory.display(),
                state.durable,
                sequence - 1
            )));
        }
        let older = state.segments.iter().skip(1).take_while(|(first, _)| *first <= sequence).count();
        let segments = state.segments.iter().skip(older).map(|(first, _)| *first).collect();
        Ok(Records::new(&self.shared.directory, segments, (sequence, state.durable)))
    }

    /// The records of a source from the position on at which its last checkpoint stood; 0 if there is none. What is before
    /// it is covered.
    pub fn resume(&self, source: SourceId, position: u64) -> Result<Records, JournalError> {
        let records = self.read_from(position)?.of(source);
        self.stands(source, position, true)?;
        Ok(records)
    }

    /// The same with whatever is still there of the source before that position, none of which is covered until
    /// [`Journal::cover`] says so.
    pub fn resume_with_older(&self, source: SourceId, position: u64) -> Result<Records, JournalError> {
        self.read_from(position)?;
        self.stands(source, position, false)?;
        Ok(self.read_from(0)?.of(source))
    }

    /// A source goes on from a position, if the journal has what comes then.
    fn stands(&self, source: SourceId, position: u64, covered: bool) -> Result<(), JournalError> {
        let mut state = lock(&self.shared.state);
        let Some(known) = state.sources.get_mut(usize::from(source.0)) else { return Ok(()) };
        if position > 0 && known.cut >= position {
            return Err(JournalError::Missing(format!(
                "the journal `{}` no longer has records {position} to {} of `{}`: a later checkpoint than the one this \
                 state is of has covered them. Put the state back that belongs to the journal; or move both away, and \
                 the pipeline begins anew",
                self.shared.directory.display(),
                known.cut,
                known.name
            )));
        }
        if covered {
            known.covered = known.covered.max(position);
        }
        Ok(())
    }

    /// Whether it holds so much that what is kept in it without need has to go.
    pub fn crowded(&self) -> bool {
        self.bytes() > self.shared.settings.max_bytes / 4
    }

    /// A checkpoint holds everything that a source appended before `position`. When no source of this run needs a segment
    /// any more it goes. Blocks for as long as removing files takes.
    pub fn cover(&self, source: SourceId, position: u64) -> Result<(), JournalError> {
        let mut state = lock(&self.shared.state);
        if let Some(known) = state.sources.get_mut(usize::from(source.0)) {
            known.covered = known.covered.max(position);
        }
        // A source that has nothing behind its position does not hold what others have done with.
        let needed = state.sources.iter().filter(|source| source.registered && source.last >= source.covered.max(1));
        let up_to = needed.map(|source| source.covered).min().unwrap_or(state.next);
        drop(state);
        self.cut(up_to)
    }

    /// A checkpoint covers every record before `up_to`: segments with nothing else go.
    pub fn cut(&self, up_to: u64) -> Result<(), JournalError> {
        let mut state = lock(&self.shared.state);
        state.covered = state.covered.max(up_to.min(state.durable));
        let large = state.segments.back().is_some_and(|(_, bytes)| *bytes > self.shared.settings.covered_bytes());
        if large && state.covered >= state.next && state.failed.is_none() {
            state.renew = true;
            self.start(&mut state)?;
            self.shared.work.notify_one();
        }
        drop(state);
        remove_covered(&self.shared)
    }

    /// Starts the writer if there is none yet.
    fn start(&self, state: &mut State) -> Result<(), JournalError> {
        let Some(files) = state.files.take() else { return Ok(()) };
        let shared = Arc::clone(&self.shared);
        let started = std::thread::Builder::new().name("journal".into()).spawn(move || write_on(&shared, files));
        let started =
            started.map_err(|e| JournalError::Failed(format!("cannot start a thread for the journal: {e}")))?;
        *lock(&self.writer) = Some(started);
        Ok(())
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        lock(&self.shared.state).closing = true;
        self.shared.work.notify_one();
        if let Some(writer) = lock(&self.writer).take() {
            // A panic of its own has told everybody who waited.
            let _ = writer.join();
        }
    }
}

/// The wall clock.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.ok().and_then(|d| i64::try_from(d.as_micros()).ok()).unwrap_or(0))
}
