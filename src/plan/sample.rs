//! Samples as pure data.

use crate::data::layout::FieldId;

use super::KeyPart;

/// A `sample` step: which rows go on is decided by a hash of what they are, so that it is the same in every run.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// How many go on.
    pub share: Share,
    /// All rows of one key go on, or none; empty decides for each row by itself.
    pub by: Vec<KeyPart>,
    /// Source, partition and position: what tells rows apart that come straight from a source.
    pub identity: [FieldId; 3],
}

/// How many of the rows go on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Share {
    /// This part of them, above 0 and at most 1.
    Rate(f64),
    /// One of so many.
    OneIn(u64),
}

impl Share {
    /// The greatest of evenly spread 64-bit numbers that belongs to the share.
    pub fn greatest(self) -> u64 {
        let whole = 1u128 << 64;
        let numbers = match self {
            // Exact: scaling by a power of two only moves the exponent.
            Share::Rate(rate) => (rate * whole as f64) as u128,
            Share::OneIn(n) => whole / u128::from(n.max(1)),
        };
        u64::try_from(numbers.saturating_sub(1)).unwrap_or(u64::MAX)
    }
}
