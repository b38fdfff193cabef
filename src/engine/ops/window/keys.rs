//! The keys of a window step: found by hash, kept in order for output, forgotten with their last window.

use std::cmp::Ordering;

use hashbrown::HashTable;

use crate::data::batch::Batch;
use crate::data::column::Column;
use crate::data::layout::FieldId;
use crate::data::value::{Val, Value, compare};
use crate::engine::state::{StateError, StateRows};

use super::frozen::{Encode, Frozen};

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
}

/// The keys that have a window.
#[derive(Debug)]
pub struct Keys<T> {
    table: HashTable<u32>,
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    /// Live keys in order, except those in `fresh`; may still hold `dead` ones.
    sorted: Vec<u32>,
    fresh: Vec<u32>,
    dead: Vec<u32>,
    /// Keys changed since the last barrier, each once.
    changed: Vec<u32>,
    /// Keys forgotten since the last barrier.
    gone: Vec<(u64, Key)>,
    /// What changes are noted under; 0 if they are not noted at all: without checkpoints nobody asks.
    generation: u32,
    /// What was set apart at the last barrier, until all of it is encoded.
    frozen: Option<Box<Frozen>>,
    /// Whether [`Keys::in_order`] is ever asked for.
    ordered: bool,
}

/// The key columns of a batch.
pub struct KeyColumns<'a> {
    columns: Vec<Option<&'a Column>>,
}

impl<'a> KeyColumns<'a> {
    /// The columns of these fields.
    pub fn of(batch: &'a Batch, fields: &[FieldId]) -> Self {
        KeyColumns { columns: fields.iter().map(|f| batch.column(*f)).collect() }
    }

    fn value(&self, part: usize, row: usize) -> Val<'a> {
        self.columns.get(part).copied().flatten().map_or(Val::Unit, |c| c.get(row))
    }

    #[inline]
    fn equal(&self, key: &Key, row: usize) -> bool {
        match key {
            Key::One(Value::Text(text)) => matches!(self.value(0, row), Val::Text(t) if t == text.as_str()),
            key => key.parts().iter().enumerate().all(|(i, v)| compare(v.as_val(), self.value(i, row)).is_eq()),
        }
    }

    fn key(&self, row: usize) -> Key {
        Key::of((0..self.columns.len()).map(|part| self.value(part, row).to_value()).collect())
    }
}

impl<T: Default> Keys<T> {
    /// No keys. With `track`, changes are noted for checkpoints.
    pub fn new(track: bool) -> Self {
        Keys {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            sorted: Vec::new(),
            fresh: Vec::new(),
            dead: Vec::new(),
            changed: Vec::new(),
            gone: Vec::new(),
            generation: u32::from(track),
            frozen: None,
            ordered: true,
        }
    }

    /// No keys, of which nobody will ask for the order of all: a forgotten one's number is free at once.
    pub fn unordered(track: bool) -> Self {
        Keys { ordered: false, ..Keys::new(track) }
    }

    /// The number of the key of a row, if it is known.
    #[inline]
    pub fn find(&self, columns: &KeyColumns<'_>, row: usize, hash: u64) -> Option<u32> {
        let same =
            |id: &u32| self.entries.get(*id as usize).is_some_and(|e| e.hash == hash && columns.equal(&e.key, row));
        self.table.find(hash, same).copied()
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
        let entry = Entry { hash, key, data: T::default(), changed: 0 };
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
        self.table.insert_unique(hash, id, |id| entries.get(*id as usize).map_or(0, |e| e.hash));
        if self.ordered {
            self.fresh.push(id);
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
        self.table.reserve(keys, |id| entries.get(*id as usize).map_or(0, |e| e.hash));
        self.entries.reserve(keys);
    }

    /// Adds a key that is not known, with what was stored for it: that is no change.
    pub fn put_back(&mut self, hash: u64, key: Key, data: T) -> u32 {
        let id = self.add(hash, key);
        if let Some(entry) = self.entries.get_mut(id as usize) {
            entry.data = data;
        }
        id
    }

    /// An entry by number, about to be changed; whatever else its row is made of changes after this only.
    #[inline]
    pub fn change(&mut self, id: u32, code: &impl Encode<T>) -> Option<&mut Entry<T>> {
        let entry = self.entries.get_mut(id as usize)?;
        if entry.changed != self.generation {
            save(id, entry, self.frozen.as_deref_mut(), code);
            entry.changed = self.generation;
            self.changed.push(id);
        }
        Some(entry)
    }

    /// Encodes a key if it was set apart: something that its row is made of is about to change, and is none of its own.
    pub fn save(&mut self, id: u32, code: &impl Encode<T>) {
        if let Some(entry) = self.entries.get_mut(id as usize) {
            save(id, entry, self.frozen.as_deref_mut(), code);
        }
    }

    /// Whether something is set apart that is not encoded yet.
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Forgets a key. Where order matters its number is not used again before that has been asked for.
    pub fn remove(&mut self, id: u32, code: &impl Encode<T>) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        save(id, entry, self.frozen.as_deref_mut(), code);
        let hash = entry.hash;
        let key = std::mem::replace(&mut entry.key, Key::All);
        entry.data = T::default();
        entry.changed = 0;
        if let Ok(found) = self.table.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        if self.generation > 0 {
            self.gone.push((hash, key));
        }
        if self.ordered {
            self.dead.push(id);
        } else {
            self.free.push(id);
        }
    }

    /// Every live key in output order.
    pub fn in_order(&mut self) -> &[u32] {
        if !self.dead.is_empty() {
            let mut dead: Vec<bool> = vec![false; self.entries.len()];
            for id in &self.dead {
                if let Some(flag) = dead.get_mut(*id as usize) {
                    *flag = true;
                }
            }
            let alive = |id: &u32| !dead.get(*id as usize).copied().unwrap_or(false);
            self.sorted.retain(alive);
            self.fresh.retain(alive);
            self.free.append(&mut self.dead);
        }
        if !self.fresh.is_empty() {
            let entries = &self.entries;
            let order = |a: &u32, b: &u32| match (entries.get(*a as usize), entries.get(*b as usize)) {
                (Some(a), Some(b)) => a.key.compare(&b.key),
                _ => Ordering::Equal,
            };
            // Both runs are sorted, so this is a merge: the sort finds existing runs.
            self.fresh.sort_by(order);
            self.sorted.append(&mut self.fresh);
            self.sorted.sort_by(order);
        }
        &self.sorted
    }

    /// Every live key's number and what is kept for it, in no order.
    pub fn live(&self) -> impl Iterator<Item = (u32, &T)> {
        self.table.iter().filter_map(|id| self.entries.get(*id as usize).map(|e| (*id, &e.data)))
    }

    /// The order of two keys by number.
    pub fn order(&self, a: u32, b: u32) -> Ordering {
        match (self.get(a), self.get(b)) {
            (Some(a), Some(b)) => a.key.compare(&b.key),
            _ => Ordering::Equal,
        }
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
                save(id, entry, Some(frozen), code);
            }
        })?;
        Ok(whole.then(|| self.frozen.take().map(|frozen| frozen.into_rows()).unwrap_or_default()))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

/// Encodes an entry that was set apart and is not encoded yet.
#[inline(never)]
fn save<T>(id: u32, entry: &mut Entry<T>, frozen: Option<&mut Frozen>, code: &impl Encode<T>) {
    if let Some(frozen) = frozen.filter(|frozen| frozen.generation == entry.changed) {
        entry.changed = 0;
        frozen.encode(entry.hash, &entry.key, |out| code.encode(id, &entry.data, out));
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
        assert_eq!((keys.entries.len(), keys.fresh.len(), keys.dead.len()), (1, 0, 0));
    }
}
