//! The records of a stream as values.

use std::io::Read;

use crate::base::limit::CHUNK_BYTES;
use crate::data::format::Format;
use crate::data::formats::Decoder;
use crate::data::framing::{Block, Framer};
use crate::data::json;
use crate::data::layout::{Demand, Layout};
use crate::data::value::Value;

/// What a stream brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Records that are events.
    pub events: u64,
    /// Records that could not be read.
    pub broken: u64,
    /// The first of those: what is wrong with it.
    pub first_broken: Option<String>,
    /// Whether the stream went on after the last record that was asked for.
    pub more: bool,
    /// How the stream begins: its first line, or as much of it as is ever shown.
    pub first_line: String,
}

/// How many bytes of the first line are kept.
const HEAD: usize = 4096;

/// How many characters of a record or a value are shown.
const SHOWN: usize = 60;

/// Hands each event of a stream to `take`, at most `most` of them, each with which record of the stream it is, from 1.
pub fn read(
    mut stream: impl Read,
    format: &Format,
    most: Option<u64>,
    mut take: impl FnMut(u64, Value),
) -> std::io::Result<Told> {
    let mut framer = Framer::new(format);
    let mut reader = Reader::new(format).map_err(std::io::Error::other)?;
    let (mut told, mut position) = (Told::default(), 0u64);
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = stream.read(&mut chunk)?;
        chunk.truncate(read);
        let ended = read == 0;
        if position == 0 {
            told.first_line = first_line(&chunk);
        }
        let blocks = if ended { framer.finish().into_iter().collect() } else { framer.push(chunk, position) };
        position += read as u64;
        for block in blocks {
            reader.decode(block, most, &mut told, &mut take);
            if told.more {
                return Ok(told);
            }
        }
        if ended {
            return Ok(told);
        }
    }
}

/// The first line of what a stream begins with.
fn first_line(chunk: &[u8]) -> String {
    let line = chunk.split(|byte| *byte == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(line.get(..HEAD).unwrap_or(line)).trim_end().to_owned()
}

/// A text as it is shown: cut where it is long, and what a terminal would take for a command spelled out.
pub fn shown(text: &str) -> String {
    let dots = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    let spelled = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    let short: String = text.chars().take(SHOWN).map(spelled).collect();
    format!("{short}{dots}")
}

struct Reader {
    layout: Layout,
    decoder: Decoder,
    /// Records before the next block.
    records: u64,
}

impl Reader {
    fn new(format: &Format) -> Result<Self, String> {
        let (layout, whole) = (Layout::default(), Demand { body: true, ..Demand::default() });
        let decoder = Decoder::new(format, &layout, &whole)?;
        Ok(Reader { layout, decoder, records: 0 })
    }

    fn decode(&mut self, block: Block, most: Option<u64>, told: &mut Told, take: &mut impl FnMut(u64, Value)) {
        let decoded = self.decoder.decode(block);
        told.broken += decoded.refused.len() as u64;
        if let (None, Some(first)) = (&told.first_broken, decoded.refused.first()) {
            let text = String::from_utf8_lossy(&first.original);
            told.first_broken = Some(format!("{} ({}): {}", first.reason, first.place, shown(text.trim_end())));
        }
        for row in 0..decoded.batch.rows {
            if most.is_some_and(|most| told.events >= most) {
                told.more = true;
                return;
            }
            told.events += 1;
            let ordinal = decoded.batch.ordinals.get(row).copied().unwrap_or(row as u32);
            take(self.records + u64::from(ordinal) + 1, json::event_of(&self.layout, &decoded.batch, row));
        }
        self.records += u64::from(decoded.records);
    }
}
