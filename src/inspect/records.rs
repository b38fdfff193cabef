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
}

/// How many characters of a broken record are shown.
const SHOWN: usize = 60;

/// Hands each event of a stream to `take`, at most `most` of them.
pub fn read(
    mut stream: impl Read,
    format: &Format,
    most: Option<u64>,
    mut take: impl FnMut(Value),
) -> std::io::Result<Told> {
    let mut framer = Framer::new(format);
    let mut reader = Reader::new(format).map_err(std::io::Error::other)?;
    let (mut told, mut position) = (Told::default(), 0u64);
    loop {
        let mut chunk = vec![0; CHUNK_BYTES];
        let read = stream.read(&mut chunk)?;
        chunk.truncate(read);
        let ended = read == 0;
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

struct Reader {
    layout: Layout,
    decoder: Decoder,
}

impl Reader {
    fn new(format: &Format) -> Result<Self, String> {
        let (layout, whole) = (Layout::default(), Demand { body: true, ..Demand::default() });
        let decoder = Decoder::new(format, &layout, &whole)?;
        Ok(Reader { layout, decoder })
    }

    fn decode(&mut self, block: Block, most: Option<u64>, told: &mut Told, take: &mut impl FnMut(Value)) {
        let decoded = self.decoder.decode(block);
        told.broken += decoded.refused.len() as u64;
        if let (None, Some(first)) = (&told.first_broken, decoded.refused.first()) {
            let text = String::from_utf8_lossy(&first.original);
            let text = text.trim_end();
            let dots = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
            // What a terminal would take for a command is shown as what it is.
            let spelled = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            let short: String = text.chars().take(SHOWN).map(spelled).collect();
            told.first_broken = Some(format!("{} ({}): {short}{dots}", first.reason, first.place));
        }
        for row in 0..decoded.batch.rows {
            if most.is_some_and(|most| told.events >= most) {
                told.more = true;
                return;
            }
            told.events += 1;
            take(json::event_of(&self.layout, &decoded.batch, row));
        }
    }
}
