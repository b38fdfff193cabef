//! The keys of a window step: found by hash, kept in order for output, forgotten with their last window.

use std::cmp::Ordering;

use hashbrown::HashTable;

use crate::data::batch::Batch;
use crate::data::column::{Cell, Column};
use crate::data::layout::FieldId;
use crate::data::value::{Val, Value, compare};
use crate::engine::state::{Load, StateError, StateRows};

use super::frozen::{Encode, Frozen};
use super::ordered::Order;
use super::segments::Segmented;

/// Tables that keys are found by. A table that grows is built anew, which for all keys at once is a stop that can be seen.
const TABLES: usize = 64;
/// The bits of a hash that say which: not those that decide about shares, nor those that a table looks at itself.
const TABLE_SHIFT: u32 = 40;

/// Bytes that a key takes in tables and orders beside its entry.
const KEY_BYTES: usize = 24;

/// What is known of a row that is read back.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Of the key.
    pub hash: u64,
    /// Bytes of the row.
    pub bytes: u32,
}

/// A key, spelled as it was first seen.
#[derive(Clone, Debug)]
pub enum Key {
    /// No `by`: all rows are one group.
    All,
    /// One part.
    One(Value),
    /// Several.
    Many(Box<[Value]>),
}

impl Key {
    /// A key of these parts.
    pub fn of(mut parts: Vec<Value>) -> Key {
        match parts.len() {
            0 => Key::All,
            1 => Key::One(parts.swap_remove(0)),
            _ => Key::Many(parts.into_boxed_slice()),
        }
    }

    /// Its parts in the order of `by`.
    pub fn parts(&self) -> &[Value] {
        match self {
            Key::All => &[],
            Key::One(value) => std::slice::from_ref(value),
            Key::Many(values) => values,
        }
    }

    /// The order in which rows of different keys leave.
    pub fn compare(&self, other: &Key) -> Ordering {
        let pairs = self.parts().iter().zip(other.parts());
        pairs.map(|(a, b)| compare(a.as_val(), b.as_val())).find(|o| o.is_ne()).unwrap_or_else(|| {
            // Keys of one step have as many parts.
            self.parts().len().cmp(&other.parts().len())
        })
    }
}

/// What is kept for a key: `T` is its panes or its sessions.
#[derive(Debug)]
pub struct Entry<T> {
    /// Of the key; decides its group.
    pub hash: u64,
    /// The key.
    pub key: Key,
    /// What the window keeps for it.
    pub data: T,
    /// The generation of its last change that was not encoded yet; 0 if there is none.
    pub(super) changed: u32,
    /// Bytes of its row when it was last encoded.
    stored: u32,
}

/// The keys that have a window.
#[derive(Debug)]
pub struct Keys<T> {
    tables: Box<[HashTable<u32>; TABLES]>,
    entries: Segmented<Entry<T>>,
    free: Vec<u32>,
    /// Live keys in order; absent if nobody asks for it.
    order: Option<Order>,
    /// Keys changed since the last barrier, each once.
    changed: Vec<u32>,
    /// Keys forgotten since the last barrier.
    gone: Vec<(u64, Key)>,
    /// What changes are noted under; 0 if they are not noted at all: without checkpoints nobody asks.
    generation: u32,
    /// What was set apart at the last barrier, until all of it is encoded.
    frozen: Option<Box<Frozen>>,
    /// Bytes of all rows as they were last encoded.
    stored: u64,
}

/// The key columns of a batch.
pub struct KeyColumns<'a> {
    columns: Vec<Option<&'a Column>>,
    /// Cells and text of the column if the key is that alone, as most are.
    only: Option<(&'a [Cell], &'a [u8])>,
}

impl<'a> KeyColumns<'a> {
    /// The columns of these fields.
    pub fn of(batch: &'a Batch, fields: &[FieldId]) -> Self {
        let columns: Vec<Option<&Column>> = fields.iter().map(|f| batch.column(*f)).collect();
        let only = match columns.as_slice() {
            [Some(column)] => Some((column.cells.as_slice(), column.text.as_bytes())),
            _ => None,
        };
        KeyColumns { columns, only }
    }

    fn value(&self, part: usize, row: usize) -> Val<'a> {
        self.columns.get(part).copied().flatten().map_or(Val::Unit, |c| c.get(row))
    }

    #[inline]
    fn equal(&self, key: &Key, row: usize) -> bool {
        if let (Key::One(Value::Text(text)), Some((cells, all))) = (key, self.only)
            && let Some(Cell::Text { start, len }) = cells.get(row)
        {
            let start = *start as usize;
            return all.get(start..start + *len as usize) == Some(text.as_bytes());
        }
        self.equal_parts(key, row)
    }

    #[inline(never)]
    fn equal_parts(&self, key: &Key, row: usize) -> bool {
        key.parts().iter().enumerate().all(|(i, v)| compare(v.as_val(), self.value(i, row)).is_eq())
    }

    fn key(&self, row: usize) -> Key {
        Key::of((0..self.columns.len()).map(|part| self.value(part, row).to_value()).collect())
    }
}

impl<T: Default> Keys<T> {
    /// No keys. With `track`, changes are noted for checkpoints.
    pub fn new(track: bool) -> Self {
        Keys {
            tables: Box::new(std::array::from_fn(|_| HashTable::new())),
            entries: Segmented::default(),
            free: Vec::new(),
            order: Some(Order::default()),
            changed: Vec::new(),
            gone: Vec::new(),
            generation: u32::from(track),
            frozen: None,
            stored: 0,
        }
    }

    /// No keys, of which nobody will ask for the order of all: a forgotten one's number is free at once.
    pub fn unordered(track: bool) -> Self {
        Keys { order: None, ..Keys::new(track) }
    }

    /// The number of the key of a row, if it is known.
    #[inline]
    pub fn find(&self, columns: &KeyColumns<'_>, row: usize, hash: u64) -> Option<u32> {
        let same =
            |id: &u32| self.entries.get(*id as usize).is_some_and(|e| e.hash == hash && columns.equal(&e.key, row));
        self.tables[table_of(hash)].find(hash, same).copied()
    }

    /// The number of the key of a row; new if it is not known.
    #[inline]
    pub fn find_or_add(&mut self, columns: &KeyColumns<'_>, row: usize, hash: u64) -> u32 {
        match self.find(columns, row, hash) {
            Some(id) => id,
            None => self.add(hash, columns.key(row)),
        }
    }

    /// Adds a key that is not known.
    pub fn add(&mut self, hash: u64, key: Key) -> u32 {
        let entry = Entry { hash, key, data: T::default(), changed: 0, stored: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(place) = self.entries.get_mut(id as usize) {
                    *place = entry;
                }
                id
            }
            None => {
                self.entries.push(entry);
                crate::data::column::as_u32(self.entries.len() - 1)
            }
        };
        let entries = &self.entries;
        self.tables[table_of(hash)].insert_unique(hash, id, |id| entries.get(*id as usize).map_or(0, |e| e.hash));
        if let Some(order) = &mut self.order {
            order.add(id, &|a, b| order_of(entries, a, b));
        }
        id
    }

    /// An entry by number.
    #[inline]
    pub fn get(&self, id: u32) -> Option<&Entry<T>> {
        self.entries.get(id as usize)
    }

    /// Makes room for so many keys: a table that grows under them is built many times.
    pub fn expect(&mut self, keys: usize) {
        let entries = &self.entries;
        for table in self.tables.iter_mut() {
            table.reserve(keys.div_ceil(TABLES), |id| entries.get(*id as usize).map_or(0, |e| e.hash));
        }
    }

    /// Adds a key that is not known, with what was stored for it: that is no change.
    pub fn put_back(&mut self, found: Found, key: Key, data: T) -> u32 {
        let id = self.add(found.hash, key);
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.data = data;
            entry.stored = found.bytes;
            self.stored += u64::from(found.bytes);
        }
        id
    }

    /// An entry by number, about to be changed; whatever else its row is made of changes after this only.
    #[inline]
    pub fn change(&mut self, id: u32, code: &impl Encode<T>) -> Option<&mut Entry<T>> {
        let entry = self.entries.get_mut(id as usize)?;
        if entry.changed != self.generation {
            save(id, entry, (self.frozen.as_deref_mut(), &mut self.stored), code);
            entry.changed = self.generation;
            self.changed.push(id);
        }
        Some(entry)
    }

    /// Encodes a key if it was set apart: something that its row is made of is about to change, and is none of its own.
    pub fn save(&mut self, id: u32, code: &impl Encode<T>) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            save(id, entry, (self.frozen.as_deref_mut(), &mut self.stored), code);
        }
    }

    /// Whether something is set apart that is not encoded yet.
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Forgets a key. Where order matters its number is not used again before that has been asked for.
    pub fn remove(&mut self, id: u32, code: &impl Encode<T>) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        save(id, entry, (self.frozen.as_deref_mut(), &mut self.stored), code);
        self.stored -= u64::from(std::mem::take(&mut entry.stored));
        let hash = entry.hash;
        let key = std::mem::replace(&mut entry.key, Key::All);
        entry.data = T::default();
        entry.changed = 0;
        if let Ok(found) = self.tables[table_of(hash)].find_entry(hash, |other| *other == id) {
            found.remove();
        }
        if self.generation > 0 {
            self.gone.push((hash, key));
        }
        match &mut self.order {
            Some(order) => order.remove(id),
            None => self.free.push(id),
        }
    }

    /// Live keys in output order, from the place `from` on and at most so many; fewer are the last. What comes and goes
    /// counts when the first is asked for.
    pub fn in_order(&mut self, from: usize, most: usize) -> &[u32] {
        let Some(order) = &mut self.order else { return &[] };
        let entries = &self.entries;
        let compare = |a: u32, b: u32| order_of(entries, a, b);
        if from == 0 {
            self.free.append(&mut order.begin(entries.len(), &compare));
        }
        order.get(from, most, &compare)
    }

    /// Every live key's number, in no order.
    pub fn ids(&self) -> Vec<u32> {
        self.tables.iter().flatten().copied().collect()
    }

    /// The order of two keys by number.
    pub fn order(&self, a: u32, b: u32) -> Ordering {
        order_of(&self.entries, a, b)
    }

    /// Sets apart what changed since the last time.
    pub fn freeze(&mut self) {
        debug_assert!(self.frozen.is_none(), "what was set apart before is not handed out");
        if self.generation == 0 {
            return;
        }
        let (changed, gone) = (std::mem::take(&mut self.changed), std::mem::take(&mut self.gone));
        self.frozen = Some(Box::new(Frozen::new(self.generation, changed, gone, self.entries.len())));
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }

    /// Encodes about so many keys of what was set apart; its rows when that was the last of it.
    pub fn slice(&mut self, keys: usize, code: &impl Encode<T>) -> Result<Option<StateRows>, StateError> {
        let Some(frozen) = self.frozen.as_deref_mut() else { return Ok(Some(StateRows::default())) };
        let whole = frozen.slice(keys, |id, frozen| {
            if let Some(entry) = self.entries.get_mut(id as usize) {
                save(id, entry, (Some(frozen), &mut self.stored), code);
            }
        })?;
        Ok(whole.then(|| self.frozen.take().map(|frozen| frozen.into_rows()).unwrap_or_default()))
    }

    /// How much is kept.
    pub fn load(&self) -> Load {
        let keys = self.len() as u64;
        Load { keys, bytes: keys * (size_of::<Entry<T>>() + KEY_BYTES) as u64 + self.stored }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.tables.iter().all(HashTable::is_empty)
    }
}

/// The table in which a key of this hash is found.
#[inline(always)]
fn table_of(hash: u64) -> usize {
    (hash >> TABLE_SHIFT) as usize % TABLES
}

fn order_of<T>(entries: &Segmented<Entry<T>>, a: u32, b: u32) -> Ordering {
    match (entries.get(a as usize), entries.get(b as usize)) {
        (Some(a), Some(b)) => a.key.compare(&b.key),
        _ => Ordering::Equal,
    }
}

/// Encodes an entry that was set apart and is not encoded yet.
#[inline(never)]
fn save<T>(id: u32, entry: &mut Entry<T>, (frozen, stored): (Option<&mut Frozen>, &mut u64), code: &impl Encode<T>) {
    if let Some(frozen) = frozen.filter(|frozen| frozen.generation == entry.changed) {
        entry.changed = 0;
        let bytes = frozen.encode(entry.hash, &entry.key, |out| code.encode(id, &entry.data, out));
        *stored = *stored - u64::from(entry.stored) + u64::from(bytes);
        entry.stored = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::super::frozen::Plain;
    use super::*;

    #[test]
    fn forgotten_keys_take_no_room() {
        let mut keys: Keys<u8> = Keys::unordered(false);
        for n in 0..1000 {
            let id = keys.add(n, Key::One(Value::Int(n as i64)));
            keys.remove(id, &Plain);
        }
        assert!(keys.is_empty());
        assert_eq!(keys.entries.len(), 1);
    }
}
