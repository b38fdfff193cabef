//! What was set apart at a barrier: which keys changed until then, and the rows of those that are encoded already.

use serde::Serialize;

use super::keys::Key;
use crate::base::limit::SLICE_BYTES;
use crate::engine::state::{StateError, StateRows, encode_to};

/// If this part of all keys or more changed, all are looked at, in the order in which they lie in memory.
const LOOK_AT_ALL: usize = 8;

/// How what is kept for a key is encoded.
pub trait Encode<T> {
    /// Adds what is kept for the key of this number to a buffer.
    fn encode(&self, id: u32, kept: &T, out: &mut Vec<u8>) -> Result<(), StateError>;
}

/// What is kept is stored as it is.
pub struct Plain;

impl<T: Serialize> Encode<T> for Plain {
    fn encode(&self, _: u32, kept: &T, out: &mut Vec<u8>) -> Result<(), StateError> {
        encode_to(kept, out)
    }
}

/// What was set apart at a barrier, until it is handed out.
pub struct Frozen {
    /// What its changes are noted under.
    pub generation: u32,
    /// Keys that were forgotten, and how far they are encoded.
    gone: std::vec::IntoIter<(u64, Key)>,
    /// Numbers of keys to look at, the changed ones among them.
    ids: Box<dyn Iterator<Item = u32> + Send>,
    /// Rows of forgotten keys: they come first, for such a key may be there again.
    forgotten: StateRows,
    rows: StateRows,
    failure: Option<StateError>,
}

impl std::fmt::Debug for Frozen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frozen").field("generation", &self.generation).field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Frozen {
    /// Of these changed and forgotten keys, of so many numbers that keys have.
    pub fn new(generation: u32, changed: Vec<u32>, gone: Vec<(u64, Key)>, numbers: usize) -> Self {
        let ids: Box<dyn Iterator<Item = u32> + Send> = match u32::try_from(numbers) {
            Ok(numbers) if changed.len() >= numbers as usize / LOOK_AT_ALL => Box::new(0..numbers),
            _ => Box::new(changed.into_iter()),
        };
        let gone = gone.into_iter();
        Frozen { generation, gone, ids, forgotten: StateRows::default(), rows: StateRows::default(), failure: None }
    }

    /// Adds the row of a key; its bytes.
    pub fn encode(&mut self, hash: u64, key: &Key, value: impl FnOnce(&mut Vec<u8>) -> Result<(), StateError>) -> u32 {
        let before = self.rows.bytes();
        let added = self.rows.push_with(hash, |out| encode_to(key.parts(), out), Some(value));
        self.failure = self.failure.take().or(added.err());
        u32::try_from(self.rows.bytes() - before).unwrap_or(u32::MAX)
    }

    /// Goes through about so many keys, at least one, of which `save` encodes those that are not encoded yet; true if that was
    /// the last of them.
    pub fn slice(&mut self, keys: usize, mut save: impl FnMut(u32, &mut Frozen)) -> Result<bool, StateError> {
        let until = self.bytes() + SLICE_BYTES;
        let mut left = keys.max(1);
        let nothing = None::<fn(&mut Vec<u8>) -> Result<(), StateError>>;
        while left > 0 && self.bytes() < until {
            left -= 1;
            if let Some((hash, key)) = self.gone.next() {
                self.forgotten.push_with(hash, |out| encode_to(key.parts(), out), nothing)?;
            } else if let Some(id) = self.ids.next() {
                save(id, self);
            } else {
                return self.failure.take().map_or(Ok(true), Err);
            }
        }
        Ok(false)
    }

    fn bytes(&self) -> usize {
        self.forgotten.bytes() + self.rows.bytes()
    }

    /// The rows when the last key was gone through.
    pub fn into_rows(self) -> StateRows {
        let mut rows = self.forgotten;
        rows.append(self.rows);
        rows
    }
}
