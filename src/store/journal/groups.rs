//! Walks through the groups of one segment.

use std::io::{self, Read};

use bytes::Bytes;
use memchr::memmem;

use super::format::{Body, GROUP_HEADER, GROUP_MAGIC, GroupHeader, decode_body};
use crate::base::sum;

/// Reads groups one after the other.
pub(super) struct Groups<R> {
    input: R,
    salt: u64,
    /// The byte of the file that the next group begins at.
    pub at: u64,
    /// The sequence number that it begins with.
    pub next: u64,
}

/// What comes next in a segment.
pub(super) enum Step {
    /// A whole group.
    Group(Body),
    /// Nothing: the file ends here.
    End,
    /// Something else, at [`Groups::at`].
    Bad {
        /// What is wrong, for people.
        why: String,
        /// Whether an unfinished write can be the reason.
        torn: bool,
    },
}

impl<R: Read> Groups<R> {
    /// `input` stands behind the segment's header, which was `at` bytes long.
    pub fn new(input: R, salt: u64, at: u64, first: u64) -> Self {
        Groups { input, salt, at, next: first }
    }

    /// The next group.
    pub fn step(&mut self) -> io::Result<Step> {
        let bad = |why: &str, torn: bool| Ok(Step::Bad { why: why.to_owned(), torn });
        let head = self.take(GROUP_HEADER)?;
        if head.is_empty() {
            return Ok(Step::End);
        }
        if head.len() < GROUP_HEADER {
            return bad("it ends within the header of a group of records", true);
        }
        let Some(header) = GroupHeader::decode(&head, self.salt) else {
            return bad("a group of records should begin here, and none does", true);
        };
        if header.first != self.next {
            let why = format!("a group begins with record {} where record {} is next", header.first, self.next);
            return Ok(Step::Bad { why, torn: false });
        }
        let records = Bytes::from(self.take(header.length as usize)?);
        if records.len() < header.length as usize {
            return bad("it ends within a group of records", true);
        }
        if !sum::is_right(crc32fast::hash(&records) == header.body) {
            return bad("a group of records does not have the checksum that it was written with", true);
        }
        let Some(body) = decode_body(&header, &records) else {
            return bad("a group does not have the records that its header says", false);
        };
        self.at += (GROUP_HEADER + records.len()) as u64;
        self.next = header.next();
        Ok(Step::Group(body))
    }

    /// So many bytes, or those that are left.
    fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        self.input.by_ref().take(count as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Whether a later group begins somewhere behind the first byte of `rest`. A group is only written after the one before it
/// was synced: then what stands before it was whole once, and no unfinished write explains that it is not.
pub(super) fn has_later_group(rest: &[u8], salt: u64, next: u64) -> bool {
    let behind = rest.get(1..).unwrap_or_default();
    memmem::find_iter(behind, &GROUP_MAGIC).any(|at| {
        let header = behind.get(at..).and_then(|bytes| GroupHeader::decode(bytes, salt));
        header.is_some_and(|header| header.first >= next)
    })
}
