//! Opens what an earlier run left: every file is read through, an unfinished last write is cut off.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::format::{Body, SEGMENT_HEADER, SegmentHeader, Unfit};
use super::groups::{Groups, Step, has_later_group};
use super::segment::{Segment, first_of, path_of, sync_directory};

/// The file that says that a journal is in use, by being locked.
const LOCK: &str = "lock";

/// A source as the journal knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub name: String,
    /// The last record that it appended; 0 if there is none.
    pub last: u64,
    /// The last one that is durable.
    pub written: u64,
    /// Its last record before those that are there.
    pub cut: u64,
    /// Where it goes on from: no record before is needed any more.
    pub covered: u64,
    /// Whether it belongs to this run. What other sources left is of no use to it.
    pub registered: bool,
}

impl Source {
    pub fn new(name: String) -> Self {
        Source { name, last: 0, written: 0, cut: 0, covered: 0, registered: false }
    }
}

/// What is written to.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Held for as long as the journal is open.
    pub lock: Option<File>,
    /// The last segment.
    pub segment: Option<Segment>,
}

/// A journal as it was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub files: Files,
    /// The record that each segment begins with, and its length.
    pub segments: VecDeque<(u64, u64)>,
    pub sources: Vec<Source>,
    /// The sequence number of the next record.
    pub next: u64,
    /// Bytes of an unfinished write that were cut off.
    pub torn: u64,
}

/// Takes the lock of a journal's directory.
pub(super) fn lock(directory: &Path) -> Result<File, JournalError> {
    let path = directory.join(LOCK);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = opened.map_err(|e| JournalError::system(&path, "cannot be opened", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Failed(format!(
            "the journal `{}` is in use by another process; stop that one, or give this pipeline another place (`state`)",
            directory.display()
        ))),
        Err(TryLockError::Error(e)) => Err(JournalError::system(&path, "cannot be locked", &e)),
    }
}

/// Reads what is there.
pub(super) fn recover(directory: &Path) -> Result<Found, JournalError> {
    let mut found = Found { next: 1, ..Found::default() };
    let firsts = segments(directory)?;
    let Some(firsts) = firsts else { return Ok(found) };
    found.files.lock = Some(lock(directory)?);
    for (index, first) in firsts.iter().enumerate() {
        let last = index + 1 == firsts.len();
        if index == 0 {
            found.next = *first;
        } else if *first != found.next {
            return Err(JournalError::Damaged(format!(
                "the journal `{}` has no records from {} to {}: a file is missing. Put it back from a backup; or move the \
                 directory away, and what it holds beyond the last checkpoint is not processed",
                directory.display(),
                found.next,
                first.saturating_sub(1)
            )));
        }
        found.read_segment(directory, *first, last)?;
    }
    Ok(found)
}

/// The records that segments begin with, in order; `None` if there is no directory.
fn segments(directory: &Path) -> Result<Option<Vec<u64>>, JournalError> {
    let listed = match fs::read_dir(directory) {
        Ok(listed) => listed,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(JournalError::system(directory, "cannot be listed", &e)),
    };
    let mut firsts = Vec::new();
    for entry in listed {
        let path = entry.map_err(|e| JournalError::system(directory, "cannot be listed", &e))?.path();
        firsts.extend(first_of(&path));
    }
    firsts.sort_unstable();
    Ok(Some(firsts))
}

/// A segment being read.
struct Reading {
    path: PathBuf,
    /// How many sources it has named.
    named: usize,
}

impl Found {
    fn read_segment(&mut self, directory: &Path, first: u64, last: bool) -> Result<(), JournalError> {
        let path = path_of(directory, first);
        let refused = |e: &std::io::Error| JournalError::system(&path, "cannot be read", e);
        let mut file = File::open(&path).map_err(|e| refused(&e))?;
        let length = file.metadata().map_err(|e| refused(&e))?.len();
        let mut head = Vec::with_capacity(SEGMENT_HEADER);
        file.by_ref().take(SEGMENT_HEADER as u64).read_to_end(&mut head).map_err(|e| refused(&e))?;
        let header = match SegmentHeader::decode(&head) {
            Ok(header) => header,
            // The header is synced before anything follows it: so short a file has nothing that was acknowledged.
            Err(Unfit::Torn(_)) if last && length <= SEGMENT_HEADER as u64 => {
                self.torn += length;
                fs::remove_file(&path).map_err(|e| JournalError::system(&path, "cannot be removed", &e))?;
                return sync_directory(directory);
            }
            Err(Unfit::Torn(why)) => return Err(JournalError::damage(&path, 0, why)),
            Err(Unfit::Version(version)) => {
                return Err(JournalError::Failed(format!(
                    "the journal's `{}` has version {version} of the format, which this Millstream does not read; run the \
                     Millstream that wrote it",
                    path.display()
                )));
            }
        };
        if header.first != first {
            let why = format!("it was written as the file that begins with record {}", header.first);
            return Err(JournalError::damage(&path, 12, &why));
        }
        let mut reading = Reading { path: path.clone(), named: 0 };
        let mut groups = Groups::new(BufReader::new(&file), header.salt, SEGMENT_HEADER as u64, first);
        let bad = loop {
            match groups.step().map_err(|e| refused(&e))? {
                Step::Group(body) => self.take(&mut reading, groups.at, body)?,
                Step::End => break None,
                Step::Bad { why, torn } => break Some((why, torn)),
            }
        };
        let (at, next) = (groups.at, groups.next);
        if let Some((why, torn)) = bad {
            if !last || !torn || has_more(&mut file, at, header.salt, next).map_err(|e| refused(&e))? {
                return Err(JournalError::damage(&path, at, &why));
            }
            self.torn += length.saturating_sub(at);
        }
        self.next = next;
        self.segments.push_back((first, at));
        if last {
            self.files.segment = Some(Segment::reopen(&path, header, at, reading.named)?);
            sync_directory(directory)?;
        }
        Ok(())
    }

    /// Takes note of what a group has; `end` is the byte behind it.
    fn take(&mut self, reading: &mut Reading, end: u64, body: Body) -> Result<(), JournalError> {
        let damage = |why: &str| Err(JournalError::damage(&reading.path, end, why));
        for named in body.names {
            let index = usize::from(named.source.0);
            if index != reading.named {
                return damage("the group before it names sources out of order");
            }
            reading.named += 1;
            match self.sources.get(index) {
                Some(source) if source.name != named.name => {
                    return damage("the group before it gives a source the name of another");
                }
                Some(_) => {}
                None => {
                    let last = named.last;
                    self.sources.push(Source { last, written: last, cut: last, ..Source::new(named.name) });
                }
            }
        }
        for record in body.records {
            let index = usize::from(record.source.0);
            match self.sources.get_mut(index) {
                Some(source) if index < reading.named => {
                    (source.last, source.written) = (record.sequence, record.sequence);
                }
                _ => return damage("the group before it has a record of a source that was not named"),
            }
        }
        Ok(())
    }
}

/// Whether a later group stands behind something that is none.
fn has_more(file: &mut File, at: u64, salt: u64, next: u64) -> std::io::Result<bool> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.read_to_end(&mut rest)?;
    Ok(has_later_group(&rest, salt, next))
}
