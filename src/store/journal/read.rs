//! Reads records again, in the order that they were written in.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::format::{Record, SEGMENT_HEADER, SegmentHeader, SourceId, Unfit};
use super::groups::{Groups, Step};
use super::segment::path_of;

/// The records that were durable when it was made, from one on; it ends after the first error.
pub struct Records {
    directory: PathBuf,
    /// The segments that are still to be read, by their first record.
    segments: VecDeque<u64>,
    reading: Option<(PathBuf, Groups<BufReader<File>>)>,
    group: std::vec::IntoIter<Record>,
    /// The first that is wanted.
    from: u64,
    /// One past the last.
    to: u64,
    /// If only one source's are.
    source: Option<SourceId>,
    over: bool,
}

impl Records {
    pub(super) fn new(directory: &Path, segments: VecDeque<u64>, (from, to): (u64, u64)) -> Self {
        let group = Vec::new().into_iter();
        Records { directory: directory.into(), segments, reading: None, group, from, to, source: None, over: false }
    }

    /// Only those of one source.
    pub fn of(mut self, source: SourceId) -> Self {
        self.source = Some(source);
        self
    }

    /// The next record, wanted or not.
    fn read(&mut self) -> Result<Option<Record>, JournalError> {
        loop {
            if let Some(record) = self.group.next() {
                return Ok(Some(record).filter(|record| record.sequence < self.to));
            }
            let Some((path, groups)) = &mut self.reading else {
                let Some(first) = self.segments.pop_front() else { return Ok(None) };
                self.reading = Some(open(&self.directory, first)?);
                continue;
            };
            // Behind it, somebody may be writing.
            if groups.next >= self.to {
                return Ok(None);
            }
            match groups.step().map_err(|e| JournalError::system(path, "cannot be read", &e))? {
                Step::Group(body) => self.group = body.records.into_iter(),
                Step::End => self.reading = None,
                Step::Bad { why, .. } => return Err(JournalError::damage(path, groups.at, &why)),
            }
        }
    }
}

impl Iterator for Records {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.over {
            match self.read() {
                Ok(Some(record)) => {
                    let wanted =
                        record.sequence >= self.from && self.source.is_none_or(|source| source == record.source);
                    if wanted {
                        return Some(Ok(record));
                    }
                }
                Ok(None) => self.over = true,
                Err(why) => {
                    self.over = true;
                    return Some(Err(why));
                }
            }
        }
        None
    }
}

fn open(directory: &Path, first: u64) -> Result<(PathBuf, Groups<BufReader<File>>), JournalError> {
    let path = path_of(directory, first);
    let refused = |e: &std::io::Error| JournalError::system(&path, "cannot be read", e);
    let mut file = File::open(&path).map_err(|e| refused(&e))?;
    let mut head = Vec::with_capacity(SEGMENT_HEADER);
    file.by_ref().take(SEGMENT_HEADER as u64).read_to_end(&mut head).map_err(|e| refused(&e))?;
    match SegmentHeader::decode(&head) {
        Ok(header) if header.first == first => {
            let groups = Groups::new(BufReader::new(file), header.salt, SEGMENT_HEADER as u64, first);
            Ok((path, groups))
        }
        Ok(_) => Err(JournalError::damage(&path, 12, "it was written as another file")),
        Err(Unfit::Torn(why)) => Err(JournalError::damage(&path, 0, why)),
        Err(Unfit::Version(_)) => Err(JournalError::damage(&path, 8, "its version has changed")),
    }
}
