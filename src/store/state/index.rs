//! Which chunks there are: by step and slice, from the oldest to the newest.

use std::collections::BTreeMap;
use std::ops::Range;

use rusqlite::{Connection, params};

use super::chunk::{Packed, SLICES};
use super::table::Digest;
use crate::base::limit::KEY_GROUPS;

/// When chunks are merged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merging {
    /// Chunks of a slice at which the newest are merged, however small: reading looks at all of them for each key.
    pub(super) chunks: usize,
    /// Bytes up to which what changed is not worth merging with a base.
    pub(super) small: u64,
}

impl Default for Merging {
    fn default() -> Self {
        Merging { chunks: 32, small: 16 << 10 }
    }
}

/// A chunk without its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) id: i64,
    pub(super) epoch: u64,
    /// Whether it holds everything up to its epoch.
    pub(super) base: bool,
    pub(super) rows: u64,
    /// Packed.
    pub(super) bytes: u64,
    pub(super) checksum: u64,
}

impl Meta {
    fn digest(&self, step: &str, slice: usize) -> u128 {
        let chunk = Digest::of("chunk").text(step).count(slice as u64).int(self.id).count(self.epoch);
        chunk.int(self.base.into()).count(self.rows).count(self.bytes).count(self.checksum).finish()
    }
}

/// A chunk to be added.
pub(super) struct NewChunk {
    pub(super) step: String,
    pub(super) slice: usize,
    pub(super) meta: Meta,
    pub(super) data: Vec<u8>,
}

impl NewChunk {
    /// Of what was packed.
    pub(super) fn of(step: &str, slice: usize, id: i64, epoch: u64, base: bool, packed: Packed) -> NewChunk {
        let Packed { data, rows, checksum } = packed;
        let meta = Meta { id, epoch, base, rows, bytes: data.len() as u64, checksum };
        NewChunk { step: step.to_owned(), slice, meta, data }
    }

    /// What it adds to the sum of the hashes.
    pub(super) fn digest(&self) -> u128 {
        self.meta.digest(&self.step, self.slice)
    }

    /// Writes it.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Meta { id, epoch, base, rows, checksum, .. } = self.meta;
        connection.prepare_cached("INSERT INTO chunk VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
            id,
            self.step,
            self.slice as i64,
            epoch.cast_signed(),
            base,
            rows.cast_signed(),
            checksum.cast_signed(),
            self.data
        ])?;
        Ok(())
    }
}

/// The chunks of one slice.
type Slice = Vec<Meta>;

/// All chunks.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    steps: BTreeMap<String, [Slice; SLICES]>,
    last: i64,
    pub(super) merging: Merging,
}

impl Index {
    /// No chunks.
    pub(super) fn merged_by(merging: Merging) -> Index {
        Index { merging, ..Index::default() }
    }

    /// What a database has, and the sum of the hashes.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<(Index, u128)> {
        let sql = "SELECT id, step, slice, epoch, base, rows, checksum, length(data) FROM chunk ORDER BY id";
        let mut statement = connection.prepare(sql)?;
        let mut found = statement.query([])?;
        let (mut index, mut sum) = (Index::default(), 0u128);
        while let Some(row) = found.next()? {
            let (step, slice): (String, i64) = (row.get(1)?, row.get(2)?);
            let meta = Meta {
                id: row.get(0)?,
                epoch: row.get::<_, i64>(3)?.cast_unsigned(),
                base: row.get(4)?,
                rows: row.get::<_, i64>(5)?.cast_unsigned(),
                bytes: row.get::<_, i64>(7)?.cast_unsigned(),
                checksum: row.get::<_, i64>(6)?.cast_unsigned(),
            };
            // Of a slice that cannot be there nothing is ever read; the sum shows it.
            let slice = usize::try_from(slice).unwrap_or(usize::MAX);
            sum = sum.wrapping_add(meta.digest(&step, slice));
            index.add(&step, slice, meta);
        }
        Ok((index, sum))
    }

    /// The id of the next chunk.
    pub(super) fn next_id(&self) -> i64 {
        self.last.saturating_add(1)
    }

    /// Adds a chunk.
    pub(super) fn add(&mut self, step: &str, slice: usize, meta: Meta) {
        if !self.steps.contains_key(step) {
            self.steps.insert(step.to_owned(), Default::default());
        }
        self.last = self.last.max(meta.id);
        if let Some(slice) = self.steps.get_mut(step).and_then(|slices| slices.get_mut(slice)) {
            slice.push(meta);
        }
    }

    /// Puts one chunk, or none, in the place of a slice's chunks from the one numbered `from` on.
    pub(super) fn replace(&mut self, due: &Due, by: Option<Meta>) {
        if let Some(slice) = self.steps.get_mut(&due.step).and_then(|slices| slices.get_mut(due.slice)) {
            slice.truncate(due.from);
        }
        if let Some(meta) = by {
            self.add(&due.step, due.slice, meta);
        }
    }

    /// Forgets a step.
    pub(super) fn forget(&mut self, step: &str) {
        self.steps.remove(step);
    }

    /// The chunks of a step's slice.
    pub(super) fn of(&self, step: &str, slice: usize) -> &[Meta] {
        self.steps.get(step).and_then(|slices| slices.get(slice)).map_or(&[], Vec::as_slice)
    }

    /// The chunks that are to be merged.
    pub(super) fn of_due(&self, due: &Due) -> &[Meta] {
        self.of(&due.step, due.slice).get(due.from..).unwrap_or_default()
    }

    /// The sum of the hashes of the chunks that are to be merged.
    pub(super) fn sum_of(&self, due: &Due) -> u128 {
        let digest = |meta: &Meta| meta.digest(&due.step, due.slice);
        self.of_due(due).iter().fold(0, |sum, meta| sum.wrapping_add(digest(meta)))
    }

    /// The steps that have chunks, each with how many and their bytes.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.steps.iter().map(|(step, slices)| {
            let all = || slices.iter().flatten();
            (step.as_str(), all().count() as u64, all().map(|meta| meta.bytes).sum())
        })
    }

    /// The rows of a step's chunks.
    pub(super) fn rows(&self, step: &str) -> u64 {
        self.steps.get(step).into_iter().flatten().flatten().map(|meta| meta.rows).sum()
    }

    /// What is worth merging.
    pub(super) fn due(&self) -> Vec<Due> {
        let mut due = Vec::new();
        for (step, slices) in &self.steps {
            let slices = slices.iter().enumerate();
            let found = slices.filter_map(|(slice, metas)| Some((slice, self.merging.from(metas)?)));
            due.extend(found.map(|(slice, from)| Due { step: step.clone(), slice, from }));
        }
        due
    }
}

/// The chunks of a slice that are merged: those from the one numbered `from` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) step: String,
    pub(super) slice: usize,
    pub(super) from: usize,
}

impl Due {
    /// All chunks of a slice.
    pub(super) fn all(step: &str, slice: usize) -> Due {
        Due { step: step.to_owned(), slice, from: 0 }
    }
}

impl Merging {
    /// From which chunk on a slice is worth merging: from the first when what changed outgrows half the base, else the
    /// newest ones when they are many. Each row is then written anew as often as the logarithm of what changed since the
    /// base.
    fn from(self, slice: &Slice) -> Option<usize> {
        let bytes = |base: bool| slice.iter().filter(|meta| meta.base == base).map(|meta| meta.bytes).sum::<u64>();
        if bytes(false) > self.small.max(bytes(true) / 2) {
            return Some(0);
        }
        if slice.len() < self.chunks {
            return None;
        }
        // From the newest back to one that is larger than all after it together.
        let (mut from, mut after) = (slice.len(), 0);
        for (index, meta) in slice.iter().enumerate().rev() {
            if after > 0 && meta.bytes > after {
                break;
            }
            (from, after) = (index, after + meta.bytes);
        }
        Some(from.min(slice.len().saturating_sub(2)))
    }
}

/// The slices that hold key groups.
pub(super) fn slices(groups: &Range<u64>) -> Range<usize> {
    let each = KEY_GROUPS / SLICES as u64;
    let (start, end) = (groups.start.min(KEY_GROUPS), groups.end.min(KEY_GROUPS));
    if start >= end { 0..0 } else { (start / each) as usize..end.div_ceil(each) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(bytes: &[u64], base: bool) -> Slice {
        let chunk = |(id, bytes): (usize, &u64)| Meta {
            id: id as i64,
            epoch: id as u64,
            base: base && id == 0,
            rows: 1,
            bytes: *bytes,
            checksum: 0,
        };
        bytes.iter().enumerate().map(chunk).collect()
    }

    #[test]
    fn the_newest_are_merged_and_all_when_what_changed_outgrows_half_the_base() {
        let many = |first: &[u64], small: usize| [first, &vec![10; small][..]].concat();
        assert_eq!(Merging::default().from(&slice(&many(&[1_000_000], 30), true)), None);
        assert_eq!(Merging::default().from(&slice(&many(&[1_000_000], 31), true)), Some(1));
        assert_eq!(Merging::default().from(&slice(&many(&[1_000_000, 5_000, 311], 30), true)), Some(3));
        assert_eq!(Merging::default().from(&slice(&many(&[1_000_000, 5_000, 299], 30), true)), Some(2));
        assert_eq!(Merging::default().from(&slice(&[1_000_000, 400_000, 100_001], true)), Some(0));
        assert_eq!(Merging::default().from(&slice(&[1_000_000, 400_000, 100_000], true)), None);
        assert_eq!(Merging::default().from(&slice(&[20_000], false)), Some(0), "what changed becomes the base");
        assert_eq!(Merging::default().from(&slice(&[20_000], true)), None);
        assert_eq!(Merging::default().from(&slice(&[10_000], false)), None);
        let shrinking: Vec<u64> = (0..40).map(|n| 1u64 << (50 - n)).collect();
        assert_eq!(Merging::default().from(&slice(&shrinking, true)), Some(0));
        let mut shrinking: Vec<u64> = (0..40).map(|n| 1u64 << (40 - n)).collect();
        shrinking[0] = 1 << 50;
        assert_eq!(
            Merging::default().from(&slice(&shrinking, true)),
            Some(38),
            "two at least, so that there are fewer"
        );
    }
}
