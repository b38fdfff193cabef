//! Rows that wait on the disk, because there are more of them than memory is to hold: pieces in a journal of the sink's own,
//! read back in order. Checkpoints hold where a piece is instead of its rows.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::outbox::Written;
use crate::store::journal::{Journal, JournalError, Kind, Records, Settings, SourceId};

/// The journal of one sink.
pub(super) struct Spool {
    journal: Arc<Journal>,
    source: SourceId,
    /// Pieces that are not in memory, in order.
    waiting: VecDeque<Spooled>,
    /// Bytes of them.
    pub(super) bytes: u64,
    reading: Option<Records>,
}

/// A piece that is on the disk.
pub(super) struct Spooled {
    /// The number of its first row.
    pub(super) first: u64,
    /// The number of its record.
    pub(super) at: u64,
    /// Bytes of it.
    pub(super) bytes: u64,
    /// Rows of it, from its first, that were taken before a restart.
    pub(super) taken: Vec<u64>,
}

/// What came of appending a piece.
pub(super) enum Appended {
    /// It is the record of this number, and so large.
    At(u64, u64),
    /// The disk is slower than what comes: there is room again when [`Journal::room`] says so.
    Later,
}

impl Spool {
    /// The spool in a directory, which is made when it is first used. The error is a sentence.
    pub(super) fn open(directory: &Path) -> Result<Spool, String> {
        // What may wait is bounded by who fills it; this would hold back the checkpoint that makes room.
        let settings = Settings { max_bytes: u64::MAX / 2, ..Settings::default() };
        let journal = Journal::open(directory, settings).map_err(JournalError::into_message)?;
        let source = journal.source("rows").map_err(JournalError::into_message)?;
        Ok(Spool { journal: Arc::new(journal), source, waiting: VecDeque::new(), bytes: 0, reading: None })
    }

    /// Whether every piece is in memory, or taken.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The journal, to wait for.
    pub(super) fn journal(&self) -> Arc<Journal> {
        Arc::clone(&self.journal)
    }

    /// Appends a piece.
    pub(super) fn append(&self, rows: &[Written]) -> Result<Appended, String> {
        let text = serde_json::to_vec(rows).map_err(|e| e.to_string())?;
        match self.journal.append(self.source, Kind::NOTE, std::iter::once(text.as_slice())) {
            Ok(ticket) => Ok(Appended::At(ticket.sequences().start, text.len() as u64)),
            Err(JournalError::Full(_)) => Ok(Appended::Later),
            Err(why) => Err(why.into_message()),
        }
    }

    /// A piece waits.
    pub(super) fn wait(&mut self, piece: Spooled) {
        self.bytes += piece.bytes;
        self.waiting.push_back(piece);
    }

    /// A piece waits that a checkpoint speaks of. The error is a sentence: it is not there.
    pub(super) fn wait_again(&mut self, piece: Spooled) -> Result<(), String> {
        // Otherwise it would be waited for as for one that is still being written.
        if !self.journal.is_durable(piece.at) {
            return Err(gone(piece.at));
        }
        self.wait(piece);
        Ok(())
    }

    /// Reads the next piece back, if it is on the disk already.
    pub(super) fn next(&mut self) -> Result<Option<(Spooled, Vec<Written>)>, String> {
        let Some(at) = self.waiting.front().map(|piece| piece.at) else { return Ok(None) };
        if !self.journal.is_durable(at) {
            return Ok(None);
        }
        let mut fresh = false;
        loop {
            let reading = match &mut self.reading {
                Some(reading) => reading,
                none => {
                    fresh = true;
                    let records = self.journal.read_from(at).map_err(JournalError::into_message)?;
                    none.insert(records.of(self.source))
                }
            };
            // Records that no piece is at are of a run that crashed before a checkpoint held them.
            match reading.find(|record| record.as_ref().is_ok_and(|record| record.sequence >= at) || record.is_err()) {
                Some(Ok(record)) if record.sequence == at => {
                    let rows = serde_json::from_slice(&record.payload)
                        .map_err(|e| format!("the piece {at} of the rows that wait cannot be read: {e}"))?;
                    let piece = self.waiting.pop_front();
                    self.bytes = self.bytes.saturating_sub(piece.as_ref().map_or(0, |piece| piece.bytes));
                    return Ok(piece.map(|piece| (piece, rows)));
                }
                Some(Err(why)) => return Err(why.into_message()),
                _ if fresh => return Err(gone(at)),
                // What was durable when it was made has been read.
                _ => self.reading = None,
            }
        }
    }

    /// No piece before this one is needed any more.
    pub(super) fn cover(&self, up_to: u64) -> Result<(), String> {
        self.journal.cover(self.source, up_to).map_err(JournalError::into_message)
    }
}

fn gone(at: u64) -> String {
    format!(
        "the piece {at} of the rows that wait is gone from the disk: put the directory back that belongs to the state (`.outbox`), or begin anew with `run --fresh`"
    )
}
