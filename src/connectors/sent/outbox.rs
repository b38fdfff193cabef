//! Rows that were not taken yet, in order, and what checkpoints hold of them: pieces of rows, each written once, and for a
//! piece of which some are taken a list of those. What was taken between two checkpoints is never written. Where there are
//! more rows than memory is to hold, those behind wait in a [spool](Spool).

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Row;
use super::spool::{Appended, Spool, Spooled};
use crate::base::time::Timestamp;
use crate::connector::Marks;

/// Rows of a piece at most.
const PIECE_ROWS: usize = 512;
/// Bytes of a piece after which another begins.
const PIECE_BYTES: usize = 1 << 20;

/// Rows by number.
#[derive(Default)]
pub(super) struct Outbox {
    /// Those from `base` on; taken ones are gone.
    rows: VecDeque<Option<Arc<Row>>>,
    base: u64,
    /// How many are there.
    pub(super) left: usize,
    /// Bytes of those in memory.
    pub(super) bytes: usize,
    /// Rows before this one are in a piece, unless they are taken.
    stored_to: u64,
    pieces: BTreeMap<u64, Piece>,
    spool: Option<Spool>,
    /// One past the last row on the disk.
    spooled_to: u64,
    /// The first record of the spool that the checkpoint being made needs.
    needed: Option<u64>,
}

/// Rows that a checkpoint holds.
struct Piece {
    /// One past its last row.
    to: u64,
    left: usize,
    /// Some were taken since the last checkpoint.
    changed: bool,
    /// Whether a list of those that were taken is written.
    listed: bool,
    /// The record of the spool that holds it, and its bytes.
    at: Option<(u64, u64)>,
    /// Whether a checkpoint knows of it.
    told: bool,
}

/// A piece as a checkpoint holds it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Rows(Vec<Written>),
    Spooled { at: u64, rows: u64, bytes: u64 },
}

/// A row as it is written.
#[derive(Serialize, Deserialize)]
pub(super) struct Written {
    /// Its number, from the piece's first.
    n: u64,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rendered: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    /// In Base64, if it is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

fn weight(row: &Row) -> usize {
    row.text.len() + row.rendered.iter().map(|text| text.len()).sum::<usize>() + size_of::<Row>()
}

fn piece_key(first: u64) -> String {
    format!("rows-{first:016x}")
}

fn taken_key(first: u64) -> String {
    format!("taken-{first:016x}")
}

impl Outbox {
    /// What a checkpoint held; rows that are more than memory is to hold wait in `spool`. The error is a sentence.
    pub(super) fn restore(marks: &BTreeMap<String, String>, spool: Option<Spool>) -> Result<Outbox, String> {
        let mut outbox = Outbox { spool, ..Outbox::default() };
        let unreadable =
            |key: &str, why: &dyn std::fmt::Display| format!("what waits in `{key}` cannot be read: {why}");
        for (key, value) in marks {
            let Some(number) = key.strip_prefix("rows-") else { continue };
            let first = u64::from_str_radix(number, 16).map_err(|e| unreadable(key, &e))?;
            let kept: Kept = serde_json::from_str(value).map_err(|e| unreadable(key, &e))?;
            let list = marks.get(&taken_key(first));
            let taken: Vec<u64> = match list {
                Some(list) => serde_json::from_str(list).map_err(|e| unreadable(&taken_key(first), &e))?,
                None => Vec::new(),
            };
            let piece = |to, left, at| Piece { to, left, changed: false, listed: list.is_some(), at, told: true };
            match kept {
                Kept::Rows(written) => {
                    // What stands before it was in memory, too.
                    while outbox.load()?.is_some() {}
                    let to = first + written.last().map_or(0, |row| row.n + 1);
                    let left = outbox.put_all((first, to), written, &taken).map_err(|why| unreadable(key, &why))?;
                    outbox.left += left;
                    outbox.pieces.insert(first, piece(to, left, None));
                }
                Kept::Spooled { at, rows, bytes } => {
                    let left = usize::try_from(rows).unwrap_or(usize::MAX).saturating_sub(taken.len());
                    outbox.left += left;
                    outbox.spooled_to = first + rows;
                    outbox.pieces.insert(first, piece(first + rows, left, Some((at, bytes))));
                    let spool = outbox.spool.as_mut().ok_or_else(|| unreadable(key, &"it is on the disk"))?;
                    spool.wait_again(Spooled { first, at, bytes, taken })?;
                }
            }
        }
        Ok(outbox)
    }

    /// Puts the rows of a piece where they belong, but for those that were taken: how many. Numbers are not given twice.
    fn put_all(&mut self, (first, to): (u64, u64), written: Vec<Written>, taken: &[u64]) -> Result<usize, String> {
        if self.rows.is_empty() {
            self.base = self.base.max(first);
        }
        let mut left = 0;
        for row in written.into_iter().filter(|row| !taken.contains(&row.n)) {
            self.put(first + row.n, row.read()?);
            left += 1;
        }
        while self.end() < to {
            self.rows.push_back(None);
        }
        self.stored_to = self.stored_to.max(to);
        Ok(left)
    }

    /// Takes the next piece of the spool into memory: its rows' numbers. `None` if there is none, or not on the disk yet.
    pub(super) fn load(&mut self) -> Result<Option<Range<u64>>, String> {
        let Some((piece, written)) = self.spool.as_mut().map(Spool::next).transpose()?.flatten() else {
            return Ok(None);
        };
        // Rows before it that no checkpoint has seen stay as they are; this piece is in one.
        let (first, stored_to) = (piece.first, self.stored_to);
        let to = self.pieces.get(&first).map_or(first, |piece| piece.to);
        self.put_all((first, to), written, &piece.taken)?;
        if stored_to < first {
            self.stored_to = stored_to;
        }
        Ok(Some(first..to))
    }

    /// Whether rows wait on the disk, which may be read when there is room in memory.
    pub(super) fn has_spooled(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| !spool.is_empty())
    }

    /// Bytes of rows on the disk alone.
    pub(super) fn spooled_bytes(&self) -> u64 {
        self.spool.as_ref().map_or(0, |spool| spool.bytes)
    }

    /// The spool, to wait for.
    pub(super) fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref()
    }

    /// Adds rows behind the others, on the disk if memory has so many bytes or others wait there. Gives back those for
    /// which the disk was not ready, with all that follow.
    pub(super) fn add(&mut self, rows: Vec<Row>, memory: Option<u64>) -> Result<Vec<Row>, String> {
        let mut rows: VecDeque<Row> = rows.into();
        while !self.has_spooled() && memory.is_none_or(|memory| (self.bytes as u64) < memory) {
            let Some(row) = rows.pop_front() else { return Ok(Vec::new()) };
            self.push(Arc::new(row));
        }
        while !rows.is_empty() {
            let mut bytes = 0;
            let fits = |row: &&Row| {
                bytes += weight(row);
                bytes <= PIECE_BYTES
            };
            let count = rows.iter().take(PIECE_ROWS).take_while(fits).count().max(1);
            let written: Vec<Written> = rows.iter().take(count).zip(0..).map(|(row, n)| Written::of(row, n)).collect();
            let first = self.last();
            let Some(spool) = &mut self.spool else { return Ok(rows.into()) };
            let Appended::At(at, bytes) = spool.append(&written)? else { return Ok(rows.into()) };
            spool.wait(Spooled { first, at, bytes, taken: Vec::new() });
            self.spooled_to = first + count as u64;
            self.left += count;
            let piece = Piece {
                to: self.spooled_to,
                left: count,
                changed: false,
                listed: false,
                at: Some((at, bytes)),
                told: false,
            };
            self.pieces.insert(first, piece);
            rows.drain(..count);
        }
        Ok(Vec::new())
    }

    fn put(&mut self, at: u64, row: Row) {
        while self.end() < at {
            self.rows.push_back(None);
        }
        self.bytes += weight(&row);
        self.rows.push_back(Some(Arc::new(row)));
    }

    /// One past the last row, wherever it is.
    pub(super) fn last(&self) -> u64 {
        self.end().max(self.spooled_to)
    }

    /// One past the last row in memory.
    pub(super) fn end(&self) -> u64 {
        self.base + self.rows.len() as u64
    }

    /// The first row that may not have been taken.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Adds a row behind the others.
    pub(super) fn push(&mut self, row: Arc<Row>) {
        self.left += 1;
        self.bytes += weight(&row);
        self.rows.push_back(Some(row));
    }

    /// A row that is there.
    pub(super) fn get(&self, number: u64) -> Option<&Arc<Row>> {
        let at = usize::try_from(number.checked_sub(self.base)?).ok()?;
        self.rows.get(at)?.as_ref()
    }

    /// Takes a row away: somebody has it, or never will.
    pub(super) fn remove(&mut self, number: u64) -> Option<Arc<Row>> {
        let at = usize::try_from(number.checked_sub(self.base)?).ok()?;
        let row = self.rows.get_mut(at)?.take()?;
        self.left -= 1;
        self.bytes = self.bytes.saturating_sub(weight(&row));
        if let Some((_, piece)) = self.pieces.range_mut(..=number).next_back()
            && number < piece.to
        {
            piece.left -= 1;
            piece.changed = true;
        }
        while let Some(None) = self.rows.front() {
            self.rows.pop_front();
            self.base += 1;
        }
        Some(row)
    }

    /// What a checkpoint has to hold that the one before did not.
    pub(super) fn marks(&mut self) -> Marks {
        let mut marks = Marks::new();
        let old: Vec<u64> = self.pieces.iter().filter(|(_, p)| p.changed).map(|(first, _)| *first).collect();
        for first in old {
            self.update(first, &mut marks);
        }
        self.store(&mut marks);
        let spooled = self.pieces.iter_mut().filter(|(_, piece)| !piece.told);
        for (first, piece) in spooled {
            let Some((at, bytes)) = piece.at else { continue };
            piece.told = true;
            let kept = Kept::Spooled { at, rows: piece.to - first, bytes };
            // Numbers alone: this cannot fail.
            marks.push((piece_key(*first), serde_json::to_string(&kept).ok()));
        }
        let least = self.pieces.values().filter_map(|piece| piece.at).map(|(at, _)| at).min();
        self.needed = least.or_else(|| self.spool.as_ref().map(|spool| spool.journal().next()));
        marks
    }

    /// One past the last record of the spool that the checkpoint being made speaks of.
    pub(super) fn spooled_before(&self) -> u64 {
        self.pieces.values().filter_map(|piece| piece.at).map(|(at, _)| at + 1).max().unwrap_or(0)
    }

    /// The checkpoint is durable: what it does not need of the spool may go.
    pub(super) fn committed(&self) -> Result<(), String> {
        match (&self.spool, self.needed) {
            (Some(spool), Some(needed)) => spool.cover(needed),
            _ => Ok(()),
        }
    }

    fn update(&mut self, first: u64, marks: &mut Marks) {
        let Some(piece) = self.pieces.get_mut(&first) else { return };
        piece.changed = false;
        if piece.left == 0 {
            if piece.told {
                marks.push((piece_key(first), None));
            }
            if piece.listed {
                marks.push((taken_key(first), None));
            }
            self.pieces.remove(&first);
            return;
        }
        piece.listed = true;
        let to = piece.to;
        let taken: Vec<u64> = (first..to).filter(|n| self.get(*n).is_none()).map(|n| n - first).collect();
        // Numbers alone: this cannot fail.
        marks.push((taken_key(first), serde_json::to_string(&taken).ok()));
    }

    /// Writes the rows that are in no piece.
    fn store(&mut self, marks: &mut Marks) {
        let (from, to) = (self.stored_to.max(self.base), self.end());
        self.stored_to = to;
        let mut written: Vec<Written> = Vec::new();
        let (mut first, mut bytes) = (from, 0);
        for number in from..to {
            let Some(row) = self.get(number).cloned().filter(|_| !self.is_spooled(number)) else { continue };
            if written.is_empty() {
                (first, bytes) = (number, 0);
            }
            bytes += weight(&row);
            written.push(Written::of(&row, number - first));
            if written.len() >= PIECE_ROWS || bytes >= PIECE_BYTES {
                self.close(first, number + 1, std::mem::take(&mut written), marks);
            }
        }
        self.close(first, to, written, marks);
    }

    fn is_spooled(&self, number: u64) -> bool {
        let piece = self.pieces.range(..=number).next_back();
        piece.is_some_and(|(_, piece)| piece.at.is_some() && number < piece.to)
    }

    fn close(&mut self, first: u64, to: u64, written: Vec<Written>, marks: &mut Marks) {
        if written.is_empty() {
            return;
        }
        // Texts and numbers alone: this cannot fail.
        marks.push((piece_key(first), serde_json::to_string(&written).ok()));
        let (left, changed, listed) = (written.len(), false, false);
        self.pieces.insert(first, Piece { to, left, changed, listed, at: None, told: true });
    }
}

impl Written {
    fn of(row: &Row, n: u64) -> Written {
        let text = std::str::from_utf8(&row.text).ok().map(str::to_owned);
        let bytes = text.is_none().then(|| STANDARD.encode(&row.text));
        let time = (row.time != Timestamp::MIN).then_some(row.time.0);
        let rendered = row.rendered.iter().map(|text| text.to_string()).collect();
        Written { n, id: format!("{:032x}", row.id), time, rendered, text, bytes }
    }

    fn read(self) -> Result<Row, String> {
        let text = match (self.text, self.bytes) {
            (Some(text), _) => text.into_bytes(),
            (None, Some(bytes)) => STANDARD.decode(bytes).map_err(|e| e.to_string())?,
            (None, None) => Vec::new(),
        };
        Ok(Row {
            text,
            rendered: self.rendered.into_iter().map(Arc::from).collect(),
            time: self.time.map_or(Timestamp::MIN, Timestamp),
            id: u128::from_str_radix(&self.id, 16).map_err(|e| e.to_string())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(number: u64) -> Arc<Row> {
        let text = if number.is_multiple_of(7) { vec![0xff, number as u8] } else { format!("{number}\n").into_bytes() };
        let rendered = vec![Arc::from(format!("to/{number}")); (number % 3) as usize];
        Arc::new(Row { text, rendered, time: Timestamp(number as i64), id: u128::from(number) << 70 | 1 })
    }

    fn there(outbox: &Outbox) -> Vec<(u64, String)> {
        let rows = (outbox.base()..outbox.end()).filter_map(|n| Some((n, format!("{:?}", outbox.get(n)?))));
        rows.collect()
    }

    proptest! {
        #[test]
        fn what_a_checkpoint_holds_is_what_was_there(
            rounds in prop::collection::vec((0usize..1_500, prop::collection::vec(any::<prop::sample::Index>(), 0..40), any::<bool>()), 1..12)
        ) {
            let (mut outbox, mut marks) = (Outbox::default(), BTreeMap::new());
            let mut number = 0;
            for (add, take, again) in rounds {
                for _ in 0..add {
                    outbox.push(row(number));
                    number += 1;
                }
                for index in take {
                    let all: Vec<u64> = there(&outbox).into_iter().map(|(n, _)| n).collect();
                    if !all.is_empty() {
                        // Whole runs of rows go, so that pieces become empty.
                        let from = index.index(all.len());
                        for n in all.iter().skip(from).take(700) {
                            prop_assert!(outbox.remove(*n).is_some());
                            prop_assert!(outbox.remove(*n).is_none());
                        }
                    }
                }
                for (key, value) in outbox.marks() {
                    match value {
                        Some(value) => drop(marks.insert(key, value)),
                        None => prop_assert!(marks.remove(&key).is_some(), "{}", key),
                    }
                }
                let restored = Outbox::restore(&marks, None).unwrap();
                prop_assert_eq!(there(&outbox), there(&restored));
                prop_assert_eq!((outbox.left, outbox.bytes), (restored.left, restored.bytes));
                prop_assert_eq!(outbox.left == 0, marks.is_empty());
                if again {
                    // A number that nothing holds may be given again.
                    outbox = restored;
                    number = outbox.end();
                }
            }
        }
    }

    /// What happens to an outbox that keeps rows on the disk.
    #[derive(Clone, Debug)]
    enum Step {
        Add(usize),
        Load,
        /// So many of those in memory are taken, from one on.
        Take(prop::sample::Index, usize),
        Checkpoint,
        Crash,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (1usize..1_500).prop_map(Step::Add),
            3 => Just(Step::Load),
            4 => (any::<prop::sample::Index>(), 1usize..1_000).prop_map(|(from, count)| Step::Take(from, count)),
            3 => Just(Step::Checkpoint),
            1 => Just(Step::Crash),
        ]
    }

    fn all(outbox: &Outbox) -> BTreeMap<u64, String> {
        there(outbox).into_iter().collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

        #[test]
        fn rows_on_the_disk_come_back_in_order(steps in prop::collection::vec(step(), 1..30), memory in 1_000u64..60_000) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("spool");
            let open = |marks: &BTreeMap<String, String>| Outbox::restore(marks, Some(Spool::open(&path).unwrap())).unwrap();
            let (mut outbox, mut marks) = (open(&BTreeMap::new()), BTreeMap::new());
            let (mut rows, mut kept) = (BTreeMap::new(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Add(count) => {
                        let first = outbox.last();
                        let added: Vec<Row> = (first..).take(count).map(|n| Arc::into_inner(row(n)).unwrap()).collect();
                        rows.extend((first..).zip(&added).map(|(n, row)| (n, format!("{row:?}"))));
                        prop_assert!(outbox.add(added, Some(memory)).unwrap().is_empty());
                    }
                    Step::Load => while (outbox.bytes as u64) < memory && outbox.load().unwrap().is_some() {},
                    Step::Take(from, count) => {
                        let numbers: Vec<u64> = all(&outbox).into_keys().collect();
                        if !numbers.is_empty() {
                            for n in numbers.iter().skip(from.index(numbers.len())).take(count) {
                                prop_assert!(outbox.remove(*n).is_some());
                                rows.remove(n);
                            }
                        }
                    }
                    Step::Checkpoint => {
                        for (key, value) in outbox.marks() {
                            match value {
                                Some(value) => drop(marks.insert(key, value)),
                                None => prop_assert!(marks.remove(&key).is_some(), "{}", key),
                            }
                        }
                        let journal = outbox.spool().unwrap().journal();
                        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                        runtime.block_on(journal.until_durable(outbox.spooled_before())).unwrap();
                        outbox.committed().unwrap();
                        kept = rows.clone();
                    }
                    Step::Crash => {
                        drop(outbox);
                        outbox = open(&marks);
                        rows = kept.clone();
                    }
                }
                prop_assert_eq!(outbox.left, rows.len());
                prop_assert!(all(&outbox).iter().all(|(n, row)| rows.get(n) == Some(row)));
            }
            while outbox.has_spooled() {
                outbox.load().unwrap();
            }
            prop_assert_eq!(all(&outbox), rows);
        }
    }
}
