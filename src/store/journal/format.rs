//! The bytes of a journal's files, as the module docs of [`super`] have them: encoding, and reading that believes nothing.

use bytes::Bytes;

use crate::base::limit::JOURNAL_GROUP_BYTES;
use crate::base::sum;
use crate::base::time::Timestamp;

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 32;
/// Bytes of a group's header.
pub(super) const GROUP_HEADER: usize = 36;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER: usize = 7;

const SEGMENT_MAGIC: [u8; 8] = *b"MSTRJRNL";
/// What a group begins with.
pub(super) const GROUP_MAGIC: [u8; 4] = *b"MSGR";
const VERSION: u16 = 1;

/// What a record is. Kinds are open: a reader passes on those that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(pub u8);

impl Kind {
    /// Names a source; written by the journal itself, and never handed out.
    pub(super) const NAME: Kind = Kind(0);
    /// An event as its source received it.
    pub const EVENT: Kind = Kind(1);
    /// An event with what its source says of it: a JSON object, a line feed, and the event as it was received.
    pub const DESCRIBED: Kind = Kind(2);
    /// What a source has to know again, or where it stands, when the events that follow it in the same append are taken; no
    /// event.
    pub const NOTE: Kind = Kind(3);
    /// What a [`Kind::NOTE`] is, as earlier versions wrote it of a source that says where it stands. It is read, and no longer
    /// written.
    pub const STANDS: Kind = Kind(4);
    /// The key by which the sender of events that follow it in the same append knows them.
    pub const KEY: Kind = Kind(5);
    /// An event that is not taken: why, a line feed, and its beginning.
    pub const REFUSED: Kind = Kind(6);
}

/// A record to be appended: its payload in two parts.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: Kind,
    /// What becomes its payload, one after the other.
    pub parts: [&'a [u8]; 2],
}

impl Entry<'_> {
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// The number that a source has within one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u16);

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the one order of everything in the journal: 1 is the first that was ever written.
    pub sequence: u64,
    /// What the wall clock said when the journal took it.
    pub arrived: Timestamp,
    /// Who appended it.
    pub source: SourceId,
    /// What it is.
    pub kind: Kind,
    /// What was appended.
    pub payload: Bytes,
}

/// A number at a place in bytes whose length was looked at before.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(number(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(number(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(number(bytes, at))
}

/// Why bytes are no header of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// They are not what was written, or not all of it.
    Torn(&'static str),
    /// Another version of the format.
    Version(u16),
}

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The sequence number of its first record.
    pub first: u64,
    /// Goes into the checksum of each group's header: nothing that peers can send looks like a group of this file.
    pub salt: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut bytes = [0; SEGMENT_HEADER];
        let parts: [&[u8]; 5] =
            [&SEGMENT_MAGIC, &VERSION.to_le_bytes(), &[0, 0], &self.first.to_le_bytes(), &self.salt.to_le_bytes()];
        let body = parts.concat();
        let crc = crc32fast::hash(&body).to_le_bytes();
        bytes.iter_mut().zip(body.into_iter().chain(crc)).for_each(|(to, from)| *to = from);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Unfit> {
        if bytes.len() < SEGMENT_HEADER {
            return Err(Unfit::Torn("it ends within its header"));
        }
        if !bytes.starts_with(&SEGMENT_MAGIC) {
            return Err(Unfit::Torn("it does not begin as a journal's file does"));
        }
        if !sum::is_right(u32_at(bytes, 28) == crc32fast::hash(bytes.get(..28).unwrap_or_default())) {
            return Err(Unfit::Torn("its header does not have the checksum that it was written with"));
        }
        let version = u16_at(bytes, 8);
        if version != VERSION {
            return Err(Unfit::Version(version));
        }
        Ok(SegmentHeader { first: u64_at(bytes, 12), salt: u64_at(bytes, 20) })
    }
}

/// What a group begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHeader {
    /// Bytes of its records.
    pub length: u32,
    /// The sequence number of its first record.
    pub first: u64,
    /// Records that have a sequence number.
    pub count: u32,
    /// What the wall clock said.
    pub arrived: Timestamp,
    /// The checksum of its records.
    pub body: u32,
}

impl GroupHeader {
    pub(super) fn encode(&self, salt: u64) -> [u8; GROUP_HEADER] {
        let mut bytes = [0; GROUP_HEADER];
        let parts: [&[u8]; 6] = [
            &GROUP_MAGIC,
            &self.length.to_le_bytes(),
            &self.first.to_le_bytes(),
            &self.count.to_le_bytes(),
            &self.arrived.0.to_le_bytes(),
            &self.body.to_le_bytes(),
        ];
        let body = parts.concat();
        let crc = salted(salt, &body).to_le_bytes();
        bytes.iter_mut().zip(body.into_iter().chain(crc)).for_each(|(to, from)| *to = from);
        bytes
    }

    /// `None` if these bytes were not written as the header of a group in a file of this salt.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let summed = bytes.get(..GROUP_HEADER - 4)?;
        if bytes.len() < GROUP_HEADER || !summed.starts_with(&GROUP_MAGIC) {
            return None;
        }
        if !sum::is_right(u32_at(bytes, GROUP_HEADER - 4) == salted(salt, summed)) {
            return None;
        }
        let arrived = Timestamp(i64::from_le_bytes(number(bytes, 20)));
        let header = GroupHeader {
            length: u32_at(bytes, 4),
            first: u64_at(bytes, 8),
            count: u32_at(bytes, 16),
            arrived,
            body: u32_at(bytes, 28),
        };
        // A number that stands in a sound header and cannot be was written so by nobody.
        let fits = header.length as usize <= JOURNAL_GROUP_BYTES
            && header.first.checked_add(u64::from(header.count)).is_some();
        fits.then_some(header)
    }

    /// One past the sequence number of its last record.
    pub(super) fn next(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

fn salted(salt: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Writes one record behind others.
pub(super) fn encode_record(source: SourceId, entry: Entry<'_>, into: &mut Vec<u8>) {
    into.push(entry.kind.0);
    into.extend_from_slice(&source.0.to_le_bytes());
    // What is appended was measured before.
    into.extend_from_slice(&u32::try_from(entry.len()).unwrap_or(u32::MAX).to_le_bytes());
    entry.parts.iter().for_each(|part| into.extend_from_slice(part));
}

/// Writes the record that names a source, with the sequence number of the last record that it appended before.
pub(super) fn encode_name(source: SourceId, name: &str, last: u64, into: &mut Vec<u8>) {
    encode_record(source, Entry { kind: Kind::NAME, parts: [&last.to_le_bytes(), name.as_bytes()] }, into);
}

/// A source as a segment names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    pub source: SourceId,
    pub name: String,
    /// Sequence number of the last record that it appended before; 0 if there was none.
    pub last: u64,
}

/// What the records of a group say.
#[derive(Debug, Default)]
pub(super) struct Body {
    /// Records with a sequence number.
    pub records: Vec<Record>,
    /// Sources that are named.
    pub names: Vec<Named>,
}

/// Takes a group's records apart; their checksum was found right before. `None` if they are not as many as the header
/// says, or not whole.
pub(super) fn decode_body(header: &GroupHeader, bytes: &Bytes) -> Option<Body> {
    let mut body = Body::default();
    let mut at = 0;
    while at < bytes.len() {
        let start = at.checked_add(RECORD_HEADER)?;
        let head = bytes.get(at..start)?;
        let end = start.checked_add(u32_at(head, 3) as usize)?;
        let payload = bytes.get(start..end)?;
        let (kind, source) = (Kind(*head.first()?), SourceId(u16_at(head, 1)));
        if kind == Kind::NAME {
            let name = std::str::from_utf8(payload.get(8..)?).ok()?.to_owned();
            body.names.push(Named { source, name, last: u64_at(payload, 0) });
        } else {
            let sequence = header.first.checked_add(body.records.len() as u64)?;
            let payload = bytes.slice(start..end);
            body.records.push(Record { sequence, arrived: header.arrived, source, kind, payload });
        }
        at = end;
    }
    (body.records.len() == header.count as usize).then_some(body)
}
