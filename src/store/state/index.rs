//! Which chunks there are: by step and slice, from the oldest to the newest.

use std::collections::BTreeMap;
use std::ops::Range;

use rusqlite::{Connection, params};

use super::chunk::{Packed, SLICES};
use super::table::Digest;
use crate::base::limit::KEY_GROUPS;

/// Chunks after a base at which they are merged, however small: reading looks at all of them for each key.
const CHUNKS: usize = 32;
/// Bytes below which chunks are not worth merging for their size.
const SMALL: u64 = 16 << 10;

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
}

impl Index {
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

    /// Puts one chunk in the place of all that a slice has, or none.
    pub(super) fn replace(&mut self, step: &str, slice: usize, base: Option<Meta>) {
        if let Some(slice) = self.steps.get_mut(step).and_then(|slices| slices.get_mut(slice)) {
            slice.clear();
        }
        if let Some(meta) = base {
            self.add(step, slice, meta);
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

    /// The sum of the hashes of a slice's chunks.
    pub(super) fn sum_of(&self, step: &str, slice: usize) -> u128 {
        self.of(step, slice).iter().fold(0, |sum, meta| sum.wrapping_add(meta.digest(step, slice)))
    }

    /// The steps that have chunks, each with how many and their bytes.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        self.steps.iter().map(|(step, slices)| {
            let all = || slices.iter().flatten();
            (step.as_str(), all().count() as u64, all().map(|meta| meta.bytes).sum())
        })
    }

    /// The slices whose chunks are worth merging.
    pub(super) fn due(&self) -> Vec<(String, usize)> {
        let mut due = Vec::new();
        for (step, slices) in &self.steps {
            let slices = slices.iter().enumerate().filter(|(_, slice)| is_due(slice));
            due.extend(slices.map(|(slice, _)| (step.clone(), slice)));
        }
        due
    }
}

fn is_due(slice: &Slice) -> bool {
    let bytes = |base: bool| slice.iter().filter(|meta| meta.base == base).map(|meta| meta.bytes).sum::<u64>();
    let changed = slice.iter().filter(|meta| !meta.base).count();
    changed >= CHUNKS || (changed > 0 && bytes(false) > SMALL.max(bytes(true) / 2))
}

/// The slices that hold key groups.
pub(super) fn slices(groups: &Range<u64>) -> Range<usize> {
    let each = KEY_GROUPS / SLICES as u64;
    let (start, end) = (groups.start.min(KEY_GROUPS), groups.end.min(KEY_GROUPS));
    if start >= end { 0..0 } else { (start / each) as usize..end.div_ceil(each) as usize }
}
