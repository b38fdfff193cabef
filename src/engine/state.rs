//! State behind one trait: what an operator keeps is rows by key, handed out as changes and given back on restart.
//! Rows carry their key group, so the worker count may change in between.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::base::limit::KEY_GROUPS;

pub use crate::store::rows::{Item, StateRow, StateRows, key_group};

/// The least hash of a key group.
pub fn first_hash(group: u64) -> u64 {
    group << (64 - KEY_GROUPS.trailing_zeros())
}

/// Which of `partitions` workers keeps a key.
pub fn partition_of(hash: u64, partitions: usize) -> usize {
    let partitions = partitions as u64;
    (key_group(hash) * partitions / KEY_GROUPS) as usize
}

/// How much an operator keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Keys.
    pub keys: u64,
    /// Bytes, roughly: what was stored of them when that last happened, and what a key costs in memory besides.
    pub bytes: u64,
}

impl std::ops::Add for Load {
    type Output = Load;

    fn add(self, other: Load) -> Load {
        Load { keys: self.keys + other.keys, bytes: self.bytes + other.bytes }
    }
}

impl std::iter::Sum for Load {
    fn sum<I: Iterator<Item = Load>>(loads: I) -> Load {
        loads.fold(Load::default(), |all, load| all + load)
    }
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
///
/// What changed is handed out while the operator goes on: at a barrier it is set apart, which takes no longer however much
/// it is, and then encoded in slices. Whoever changes a key before its slice has come encodes it first, so that every row
/// is as it was at the barrier.
pub trait State {
    /// Sets apart what changed since the last time, forgotten keys among it. All that was set apart before has been handed
    /// out.
    fn freeze(&mut self);

    /// Encodes about so many keys of what was set apart, at least one; its rows when that was the last of it. Without
    /// something set apart there are no rows.
    fn slice(&mut self, keys: usize) -> Result<Option<StateRows>, StateError>;

    /// About so many keys will come back.
    fn expect(&mut self, keys: usize);

    /// What came back with it: `kept` says whether another step has anything of the run that goes on.
    fn beside(&mut self, _kept: &dyn Fn(&str) -> bool) {}

    /// What decodes its rows.
    fn decoder(&self) -> Decoder;

    /// Takes back rows that its decoder decoded; each key comes once.
    fn restore(&mut self, rows: Decoded) -> Result<(), StateError>;
}

/// Decodes rows of a state away from it: most of the work of reading a state back, which many threads can do at once.
pub trait Decode: Send {
    /// Decodes a row that has a value.
    fn row(&mut self, row: Item<'_>) -> Result<(), StateError>;

    /// The rows.
    fn finish(self: Box<Self>) -> Decoded;
}

/// Makes what decodes rows of a state.
pub type Decoder = fn() -> Box<dyn Decode>;

/// Rows that were decoded; only a state of their kind can take them.
pub type Decoded = Box<dyn Any + Send>;

/// Encodes with named fields, so that a later version with more fields reads it.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, StateError> {
    let mut bytes = Vec::new();
    encode_to(value, &mut bytes)?;
    Ok(bytes)
}

/// As [`encode`], to the end of a buffer.
pub fn encode_to<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), StateError> {
    let stored = rmp_serde::encode::write_named(out, value);
    stored.map_err(|e| StateError { message: format!("state cannot be stored: {e}") })
}

/// Decodes what [`encode`] wrote.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StateError> {
    rmp_serde::from_slice(bytes).map_err(StateError::unreadable)
}
