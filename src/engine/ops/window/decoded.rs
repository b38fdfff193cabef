//! Rows of a state that were decoded, before the state takes them in.

use serde::de::DeserializeOwned;

use super::keys::{Found, Key};
use crate::engine::state::{Decode, Decoded, Item, StateError, decode};

/// A key with what was stored for it.
type Row<T> = (Found, Key, T);

struct Rows<T>(Vec<Row<T>>);

impl<T: DeserializeOwned + Send + 'static> Decode for Rows<T> {
    fn row(&mut self, row: Item<'_>) -> Result<(), StateError> {
        if let Some(value) = row.value {
            let bytes = u32::try_from(row.key.len() + value.len()).unwrap_or(u32::MAX);
            let found = Found { hash: row.hash, bytes };
            self.0.push((found, Key::of(decode(row.key)?), decode(value)?));
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Decoded {
        Box::new(self.0)
    }
}

/// Decodes keys with values of a kind. What of a key is gone is none of it.
pub fn decoder<T: DeserializeOwned + Send + 'static>() -> Box<dyn Decode> {
    Box::new(Rows::<T>(Vec::new()))
}

/// What [`decoder`] decoded.
pub fn rows_of<T: 'static>(decoded: Decoded) -> Result<Vec<Row<T>>, StateError> {
    let rows = decoded.downcast::<Vec<Row<T>>>();
    rows.map(|rows| *rows).map_err(|_| StateError::unreadable("it is of another kind of step"))
}
