//! Blocks of records that become JSON first: cutting them, refusing what is malformed, and counting all of them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Malformed;
use super::combined_log;
use super::key_value;
use super::logfmt;
use super::object::Members;
use super::pattern::Matcher;
use crate::base::limit::RECORD_BYTES;
use crate::data::column::as_u32;
use crate::data::format::{Format, KeyValue};
use crate::data::framing::{Block, Decoded, KEPT_OF_LONG, Refused, too_long};
use crate::data::json;
use crate::data::layout::{Demand, Layout};
use crate::data::msgpack;

/// Reads blocks of records that are lines of text, or MessagePack values.
#[derive(Debug)]
pub struct Records {
    reader: Reader,
    json: json::Decoder,
    members: Members,
}

/// How one record is read.
#[derive(Debug)]
enum Reader {
    /// The whole record is one field; the value is `{"name":`.
    Text(Vec<u8>),
    Logfmt {
        infer: bool,
    },
    Pattern(Matcher),
    CombinedLog,
    KeyValue(KeyValue),
    MessagePack,
}

impl Records {
    /// A decoder for a format that is neither JSON nor CSV. The error says what is wrong with a pattern.
    pub fn new(format: &Format, layout: &Layout, demand: &Demand) -> Result<Self, String> {
        let reader = match format {
            Format::Text(text) => {
                let mut head = vec![b'{'];
                json::write_text(&text.field, &mut head);
                head.push(b':');
                Reader::Text(head)
            }
            Format::Logfmt(logfmt) => Reader::Logfmt { infer: logfmt.infer },
            Format::Pattern(pattern) => Reader::Pattern(Matcher::new(pattern)?),
            Format::CombinedLog => Reader::CombinedLog,
            Format::KeyValue(options) => Reader::KeyValue(options.clone()),
            Format::MessagePack => Reader::MessagePack,
            Format::Json | Format::Csv(_) => return Err("JSON and CSV have readers of their own".to_owned()),
            Format::Line => return Err("lines of a template are only written".to_owned()),
        };
        Ok(Records { reader, json: json::Decoder::new(layout, demand), members: Members::default() })
    }

    /// Reads every record of a block. The rows' text is JSON.
    pub fn decode(&mut self, block: Block) -> Decoded {
        if let Some(size) = block.too_long {
            return self.unread(block, size);
        }
        let Block { bytes, ends, .. } = block;
        let ends = match &self.reader {
            Reader::MessagePack => ends.or_else(|| Some(msgpack::ends(&bytes))),
            _ => ends,
        };
        let (bytes, ends) = (bytes.as_slice(), ends.as_deref());
        let mut made = Made { text: Vec::with_capacity(bytes.len() * 2), ..Made::default() };
        match ends {
            // Records that came one by one are read one by one; an empty one is a record too.
            Some(ends) => {
                let mut at = 0;
                for end in ends {
                    let end = *end as usize;
                    self.record(bytes, at, end, &mut made);
                    at = end;
                }
            }
            None => {
                let mut at = 0;
                while at < bytes.len() {
                    let rest = bytes.get(at..).unwrap_or_default();
                    let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    // Blank lines are nobody's.
                    if !rest.get(..len).unwrap_or_default().trim_ascii().is_empty() {
                        self.record(bytes, at, at + len, &mut made);
                    }
                    at += len + 1;
                }
            }
        }
        self.finish(bytes, ends, made)
    }

    fn record(&mut self, bytes: &[u8], start: usize, end: usize, made: &mut Made) {
        let record = self.without_line_end(bytes.get(start..end).unwrap_or_default());
        let before = made.text.len();
        match self.write(record, &mut made.text) {
            Ok(()) => {
                made.ordinals.push(as_u32(made.starts.len()));
                made.text.push(b'\n');
            }
            Err(malformed) => {
                made.text.truncate(before);
                let original = self.shown(record);
                made.refuse(as_u32(made.starts.len()), malformed, original, record.len() <= RECORD_BYTES);
            }
        }
        made.starts.push(as_u32(start));
    }

    /// Adds a record as JSON without a line end; after an error something may have been added.
    fn write(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
        if record.len() > RECORD_BYTES {
            return Err(Malformed::new(RECORD_BYTES, self.too_long(record.len() as u64)));
        }
        if let Reader::MessagePack = self.reader {
            return msgpack::read(record, out).map_err(|(byte, reason)| Malformed::new(byte, reason));
        }
        let text = std::str::from_utf8(record)
            .map_err(|error| Malformed::new(error.valid_up_to(), "this is not valid UTF-8"))?;
        match &mut self.reader {
            Reader::Text(head) => {
                out.extend_from_slice(head);
                json::write_text(text, out);
                out.push(b'}');
                Ok(())
            }
            Reader::Logfmt { infer } => self.members.object(out, |o| logfmt::read(text, *infer, o)),
            Reader::Pattern(matcher) => matcher.read(text, out),
            Reader::CombinedLog => self.members.object(out, |o| combined_log::read(text, o)),
            Reader::KeyValue(options) => self.members.object(out, |o| key_value::read(text, options, o)),
            Reader::MessagePack => Ok(()),
        }
    }

    /// A record whose bytes were not kept.
    fn unread(&self, block: Block, size: u64) -> Decoded {
        let Block { bytes, lost, .. } = block;
        let mut decoded = Decoded::too_long(self.shown(&bytes), size);
        if let (Reader::MessagePack, Some(refused)) = (&self.reader, decoded.refused.first_mut()) {
            refused.reason = self.too_long(size);
            if let Some(byte) = lost {
                refused.place = format!("byte {}", byte + 1);
                let so = "so nothing from this record to the end of the stream can be read";
                refused.reason = format!("{}, {so}", msgpack::RESERVED);
            }
        }
        decoded
    }

    fn too_long(&self, size: u64) -> String {
        match &self.reader {
            Reader::MessagePack => {
                format!("the value has {size} bytes, more than the {RECORD_BYTES} that one may have")
            }
            _ => too_long(size),
        }
    }

    /// A record as it came, or its beginning if it is too long; bytes that are no text in Base64.
    pub(super) fn shown(&self, record: &[u8]) -> Vec<u8> {
        let shown = if record.len() > RECORD_BYTES { record.get(..KEPT_OF_LONG).unwrap_or_default() } else { record };
        match &self.reader {
            Reader::MessagePack => STANDARD.encode(shown).into_bytes(),
            _ => shown.to_vec(),
        }
    }

    fn without_line_end<'r>(&self, record: &'r [u8]) -> &'r [u8] {
        if let Reader::MessagePack = self.reader {
            return record;
        }
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        record.strip_suffix(b"\r").unwrap_or(record)
    }

    /// Fills the columns from what the records became.
    fn finish(&mut self, bytes: &[u8], ends: Option<&[u32]>, made: Made) -> Decoded {
        let Made { text, ordinals, starts, mut refused } = made;
        let decoded = self.json.decode(Block { bytes: text, ..Block::default() });
        let ordinal = |made: u32| ordinals.get(made as usize).copied().unwrap_or(made);
        // Only one that has grown beyond what a record may be is refused once it is JSON.
        for grown in decoded.refused {
            let ordinal = ordinal(grown.ordinal);
            let start = starts.get(ordinal as usize).map_or(0, |s| *s as usize);
            let rest = bytes.get(start..).unwrap_or_default();
            let len = match ends {
                Some(ends) => ends.get(ordinal as usize).map_or(0, |end| *end as usize - start),
                None => memchr::memchr(b'\n', rest).unwrap_or(rest.len()),
            };
            let record = self.without_line_end(rest.get(..len).unwrap_or_default());
            let (original, whole) = (self.shown(record), record.len() <= RECORD_BYTES);
            let reason = format!("as JSON this cannot be read: {}", grown.reason);
            refused.push(Refused { ordinal, reason, place: "byte 1".to_owned(), original, whole });
        }
        refused.sort_by_key(|r| r.ordinal);
        let mut batch = decoded.batch;
        batch.ordinals.iter_mut().for_each(|o| *o = ordinal(*o));
        Decoded { batch, refused, records: as_u32(starts.len()), starts }
    }
}

/// What a block becomes, record by record.
#[derive(Default)]
struct Made {
    /// A line of JSON for each record that was read.
    text: Vec<u8>,
    /// Which records those are.
    ordinals: Vec<u32>,
    /// Where every record begins.
    starts: Vec<u32>,
    refused: Vec<Refused>,
}

impl Made {
    fn refuse(&mut self, ordinal: u32, malformed: Malformed, original: Vec<u8>, whole: bool) {
        let place = format!("byte {}", malformed.byte + 1);
        self.refused.push(Refused { ordinal, reason: malformed.reason, place, original, whole });
    }
}
