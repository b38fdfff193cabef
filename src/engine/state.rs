//! State behind one trait: what an operator keeps is rows by key, handed out as changes and given back on restart.
//! Rows carry their key group, so the worker count may change in between.

use serde::{Deserialize, Serialize};

use crate::base::limit::KEY_GROUPS;

/// What an operator keeps for one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRow {
    /// Of the key; its group decides which worker keeps it.
    pub hash: u64,
    /// The key, encoded.
    pub key: Vec<u8>,
    /// What is kept, encoded; `None` when the key is gone.
    pub value: Option<Vec<u8>>,
}

impl StateRow {
    /// The group that the row is stored under.
    pub fn group(&self) -> u64 {
        key_group(self.hash)
    }
}

/// The group of a key's hash.
pub fn key_group(hash: u64) -> u64 {
    // The low bits choose the place in hash tables, so groups use the high ones.
    hash >> (64 - KEY_GROUPS.trailing_zeros())
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
