//! The keys of a window step: found by hash, kept in order for output, forgotten with their last window.

use std::cmp::Ordering;

use hashbrown::HashTable;

use crate::data::batch::Batch;
use crate::data::column::Column;
use crate::data::layout::FieldId;
use crate::data::value::{Val, Value, compare};
use crate::engine::state::{StateError, StateRow, encode};

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
    /// Changed since the last snapshot.
    pub dirty: bool,
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
    /// Changed keys, each once.
    changed: Vec<u32>,
    /// Keys forgotten since the last snapshot.
    gone: Vec<(u64, Key)>,
    /// Whether changes are noted at all: without snapshots nobody asks.
    track: bool,
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
    /// No keys. With `track`, changes are noted for snapshots.
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
            track,
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
        let entry = Entry { hash, key, data: T::default(), dirty: false };
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

    /// An entry by number, about to be changed.
    #[inline]
    pub fn change(&mut self, id: u32) -> Option<&mut Entry<T>> {
        let entry = self.entries.get_mut(id as usize)?;
        if self.track && !entry.dirty {
            entry.dirty = true;
            self.changed.push(id);
        }
        Some(entry)
    }

    /// Forgets a key. Where order matters its number is not used again before that has been asked for.
    pub fn remove(&mut self, id: u32) {
        let Some(entry) = self.entries.get_mut(id as usize) else { return };
        let hash = entry.hash;
        let key = std::mem::replace(&mut entry.key, Key::All);
        entry.data = T::default();
        entry.dirty = false;
        if let Ok(found) = self.table.find_entry(hash, |other| *other == id) {
            found.remove();
        }
        if self.track {
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

    /// Numbers of keys changed since the last call, and keys forgotten since then.
    pub fn take_changes(&mut self) -> (Vec<u32>, Vec<(u64, Key)>) {
        let mut changed = std::mem::take(&mut self.changed);
        changed.retain(|id| self.entries.get_mut(*id as usize).is_some_and(|e| std::mem::take(&mut e.dirty)));
        (changed, std::mem::take(&mut self.gone))
    }

    /// What changed since the last call, as rows to store; `value` encodes what is kept for a key.
    pub fn state_rows(
        &mut self,
        value: impl Fn(u32, &Entry<T>) -> Result<Vec<u8>, StateError>,
    ) -> Result<Vec<StateRow>, StateError> {
        let (changed, gone) = self.take_changes();
        let mut rows = Vec::with_capacity(changed.len() + gone.len());
        for (hash, key) in gone {
            rows.push(StateRow { hash, key: encode(&key.parts())?, value: None });
        }
        for id in changed {
            if let Some(entry) = self.get(id) {
                let key = encode(&entry.key.parts())?;
                rows.push(StateRow { hash: entry.hash, key, value: Some(value(id, entry)?) });
            }
        }
        Ok(rows)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgotten_keys_take_no_room() {
        let mut keys: Keys<u8> = Keys::unordered(false);
        for n in 0..1000 {
            let id = keys.add(n, Key::One(Value::Int(n as i64)));
            keys.remove(id);
        }
        assert!(keys.is_empty());
        assert_eq!((keys.entries.len(), keys.fresh.len(), keys.dead.len()), (1, 0, 0));
    }
}
