//! Records of every format to batches. JSON and CSV have readers of their own; of the others a record becomes the JSON
//! object that it stands for, and from there all is as for JSON: columns for what is read, a text for rows that leave.

pub mod combined_log;
pub mod grok;
mod key_value;
mod logfmt;
mod logfmt_out;
mod misfit;
mod object;
pub mod pattern;
mod quoted;
mod records;
#[cfg(test)]
mod tests;

use super::csv;
use super::format::Format;
use super::framing::{Block, Decoded};
use super::json;
use super::layout::{Demand, Layout};
pub use logfmt_out::encode_logfmt;
use records::Records;

/// Reads blocks of records in one format.
#[derive(Debug)]
pub enum Decoder {
    /// JSON values.
    Json(Box<json::Decoder>),
    /// CSV records.
    Csv(Box<csv::Decoder>),
    /// Records that become JSON first.
    Records(Box<Records>),
}

impl Decoder {
    /// A decoder that fills the columns of a demand. The error says what is wrong with a pattern.
    pub fn new(format: &Format, layout: &Layout, demand: &Demand) -> Result<Self, String> {
        Ok(match format {
            Format::Json => Decoder::Json(Box::new(json::Decoder::new(layout, demand))),
            Format::Csv(dialect) => Decoder::Csv(Box::new(csv::Decoder::new(dialect, layout, demand))),
            other => Decoder::Records(Box::new(Records::new(other, layout, demand)?)),
        })
    }

    /// Reads every record of a block.
    pub fn decode(&mut self, mut block: Block) -> Decoded {
        if let Some(reason) = block.broken.take() {
            let size = block.too_long.map_or(block.bytes.len(), |size| usize::try_from(size).unwrap_or(usize::MAX));
            let beginning = match self {
                Decoder::Records(records) => records.shown(&block.bytes),
                _ => block.bytes,
            };
            return Decoded::broken(beginning, size, reason);
        }
        match self {
            Decoder::Json(decoder) => decoder.decode(block),
            Decoder::Csv(decoder) => decoder.decode(block),
            Decoder::Records(decoder) => decoder.decode(block),
        }
    }
}

/// Why a record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Malformed {
    /// One clause.
    reason: String,
    /// The byte of the record where it went wrong, counted from 0.
    byte: usize,
}

impl Malformed {
    fn new(byte: usize, reason: impl Into<String>) -> Self {
        Malformed { reason: reason.into(), byte }
    }
}

/// The beginning of a piece, for a message.
fn shown(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}
