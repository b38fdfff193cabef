//! State behind one trait: what an operator keeps is rows by key, handed out as changes and given back on restart.
//! Rows carry their key group, so the worker count may change in between.

use serde::{Deserialize, Serialize};

use crate::base::limit::KEY_GROUPS;

pub use crate::store::rows::{StateRow, key_group};

/// The least hash of a key group.
pub fn first_hash(group: u64) -> u64 {
    group << (64 - KEY_GROUPS.trailing_zeros())
}

/// Which of `partitions` workers keeps a key.
pub fn partition_of(hash: u64, partitions: usize) -> usize {
    let partitions = partitions as u64;
    (key_group(hash) * partitions / KEY_GROUPS) as usize
}

/// Why stored state cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateError {
    /// One sentence.
    pub message: String,
}

impl StateError {
    /// State that does not decode.
    pub fn unreadable(why: impl std::fmt::Display) -> Self {
        StateError { message: format!("stored state cannot be read: {why}") }
    }
}

/// What an operator keeps between ticks.
pub trait State {
    /// The rows that changed since the last call, forgotten keys among them.
    fn changes(&mut self) -> Result<Vec<StateRow>, StateError>;

    /// Takes back a row; rows of one key come in the order they were handed out, the last one counts.
    fn restore(&mut self, row: &StateRow) -> Result<(), StateError>;
}

/// Encodes with named fields, so that a later version with more fields reads it.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, StateError> {
    rmp_serde::to_vec_named(value).map_err(|e| StateError { message: format!("state cannot be stored: {e}") })
}

/// Decodes what [`encode`] wrote.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StateError> {
    rmp_serde::from_slice(bytes).map_err(StateError::unreadable)
}
