//! JSON: records to batches ([`Decoder`]), batches to records ([`Encoder`]), values to text and back.

mod columns;
mod decode;
mod encode;
mod made;
mod materialise;
mod merge;
mod number;
mod scalar;
mod scan;
mod shape;
mod splice;
mod text;
mod tree;
mod value;
mod walk;

pub use decode::Decoder;
pub use encode::{Encoder, Untouched};
pub use materialise::materialise;
pub use merge::{Holed, Joining, elements, text_at, write_joined, write_without};
pub use number::{write_float, write_int};
pub use scan::is_number;
pub use text::write_text;
pub use tree::event_of;
pub use value::{parse_value, write_val, write_value};

/// Why text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// One clause.
    pub reason: String,
    /// The byte where it went wrong, counted from 1.
    pub byte: usize,
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (byte {})", self.reason, self.byte)
    }
}

#[cfg(test)]
mod tests;
