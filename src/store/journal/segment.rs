//! One file of a journal: where it lies, how it is made and how it grows.

use std::collections::hash_map::RandomState;
use std::fs::{File, OpenOptions};
use std::hash::BuildHasher;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::format::{GROUP_HEADER, GroupHeader, SEGMENT_HEADER, SegmentHeader};
use crate::base::fault;
use crate::base::time::Timestamp;

/// What every segment's name ends with.
const EXTENSION: &str = "log";
/// Digits of a segment's name, so that names sort as numbers do.
const DIGITS: usize = 16;

/// Where the segment that begins with a record lies.
pub(super) fn path_of(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:0DIGITS$}.{EXTENSION}"))
}

/// The record that a file of this name begins with; `None` if it is no segment.
pub(super) fn first_of(path: &Path) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    let named = path.extension()? == EXTENSION && stem.len() >= DIGITS && stem.bytes().all(|b| b.is_ascii_digit());
    stem.parse()
        .ok()
        .filter(|first| named && path_of(Path::new(""), *first).as_os_str() == path.file_name().unwrap_or_default())
}

/// Makes what was made or removed in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), JournalError> {
    // Other systems know no such thing, and need none.
    if !cfg!(unix) {
        return Ok(());
    }
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    synced.map_err(|e| JournalError::system(directory, "cannot be synced", &e))
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    path: PathBuf,
    salt: u64,
    /// The record that it begins with.
    pub first: u64,
    /// How long it is.
    pub bytes: u64,
    /// How many sources it names.
    pub named: usize,
}

/// What goes into a segment at once.
pub(super) struct Group {
    /// Room for the header, then the records.
    pub bytes: Vec<u8>,
    /// Sequence number of the first.
    pub first: u64,
    /// How many have a sequence number.
    pub count: u32,
    /// What the wall clock said.
    pub arrived: Timestamp,
}

impl Segment {
    /// Makes one, durably: its header is written and synced before any group is.
    pub fn create(directory: &Path, first: u64) -> Result<Segment, JournalError> {
        let path = path_of(directory, first);
        // The keys of a hasher are the random numbers that the standard library has.
        let salt = RandomState::new().hash_one(first);
        let made = OpenOptions::new().append(true).create_new(true).open(&path);
        let mut file = made.map_err(|e| JournalError::system(&path, "cannot be made", &e))?;
        let header = SegmentHeader { first, salt }.encode();
        let written = file.write_all(&header).and_then(|()| file.sync_all());
        written.map_err(|e| JournalError::system(&path, "cannot be written", &e))?;
        fault::point("journal.segment_written");
        sync_directory(directory)?;
        fault::point("journal.segment_made");
        Ok(Segment { file, path, salt, first, bytes: SEGMENT_HEADER as u64, named: 0 })
    }

    /// Goes on with one that was read to its end, at `bytes`; what lies behind is cut.
    pub fn reopen(path: &Path, header: SegmentHeader, bytes: u64, named: usize) -> Result<Segment, JournalError> {
        let opened = OpenOptions::new().append(true).open(path);
        let file = opened.map_err(|e| JournalError::system(path, "cannot be opened for writing", &e))?;
        // Synced even if nothing is cut: what was read may be in memory only, and counts as durable from here on.
        let synced = file.set_len(bytes).and_then(|()| file.sync_all());
        synced.map_err(|e| JournalError::system(path, "cannot be written", &e))?;
        Ok(Segment { file, path: path.into(), salt: header.salt, first: header.first, bytes, named })
    }

    /// Writes a group and syncs it.
    pub fn append(&mut self, group: &mut Group) -> Result<(), JournalError> {
        let body = group.bytes.get(GROUP_HEADER..).unwrap_or_default();
        let header = GroupHeader {
            length: u32::try_from(body.len()).unwrap_or(u32::MAX),
            first: group.first,
            count: group.count,
            arrived: group.arrived,
            body: crc32fast::hash(body),
        };
        let header = header.encode(self.salt);
        group.bytes.iter_mut().zip(header).for_each(|(to, from)| *to = from);
        let written = self.file.write_all(&group.bytes);
        written.map_err(|e| JournalError::system(&self.path, "cannot be written", &e))?;
        fault::point("journal.written");
        self.file.sync_data().map_err(|e| JournalError::system(&self.path, "cannot be synced", &e))?;
        fault::point("journal.synced");
        self.bytes += group.bytes.len() as u64;
        Ok(())
    }
}
