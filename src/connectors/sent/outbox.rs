//! Rows that were not taken yet, in order, and what checkpoints hold of them: pieces of rows, each written once, and for a
//! piece of which some are taken a list of those. What was taken between two checkpoints is never written.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Row;
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
    /// Bytes of them.
    pub(super) bytes: usize,
    /// Rows before this one are in a piece, unless they are taken.
    stored_to: u64,
    pieces: BTreeMap<u64, Piece>,
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
}

/// A row as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
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
    /// What a checkpoint held. The error is a sentence.
    pub(super) fn restore(marks: &BTreeMap<String, String>) -> Result<Outbox, String> {
        let mut outbox = Outbox::default();
        let unreadable =
            |key: &str, why: &dyn std::fmt::Display| format!("what waits in `{key}` cannot be read: {why}");
        for (key, value) in marks {
            let Some(number) = key.strip_prefix("rows-") else { continue };
            let first = u64::from_str_radix(number, 16).map_err(|e| unreadable(key, &e))?;
            let written: Vec<Written> = serde_json::from_str(value).map_err(|e| unreadable(key, &e))?;
            let list = marks.get(&taken_key(first));
            let taken: Vec<u64> = match list {
                Some(list) => serde_json::from_str(list).map_err(|e| unreadable(&taken_key(first), &e))?,
                None => Vec::new(),
            };
            let to = first + written.last().map_or(0, |row| row.n + 1);
            if outbox.rows.is_empty() {
                outbox.base = first;
            }
            let mut left = 0;
            for row in written.into_iter().filter(|row| !taken.contains(&row.n)) {
                let at = first + row.n;
                outbox.put(at, row.read().map_err(|why| unreadable(key, &why))?);
                left += 1;
            }
            outbox.stored_to = outbox.stored_to.max(to);
            outbox.pieces.insert(first, Piece { to, left, changed: false, listed: list.is_some() });
        }
        // Numbers are not given twice.
        while outbox.end() < outbox.stored_to {
            outbox.rows.push_back(None);
        }
        Ok(outbox)
    }

    fn put(&mut self, at: u64, row: Row) {
        while self.end() < at {
            self.rows.push_back(None);
        }
        self.push(Arc::new(row));
    }

    /// One past the last row.
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
        if number < self.stored_to
            && let Some((_, piece)) = self.pieces.range_mut(..=number).next_back()
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
        marks
    }

    fn update(&mut self, first: u64, marks: &mut Marks) {
        let Some(piece) = self.pieces.get_mut(&first) else { return };
        piece.changed = false;
        if piece.left == 0 {
            marks.push((piece_key(first), None));
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
            let Some(row) = self.get(number).cloned() else { continue };
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

    fn close(&mut self, first: u64, to: u64, written: Vec<Written>, marks: &mut Marks) {
        if written.is_empty() {
            return;
        }
        // Texts and numbers alone: this cannot fail.
        marks.push((piece_key(first), serde_json::to_string(&written).ok()));
        self.pieces.insert(first, Piece { to, left: written.len(), changed: false, listed: false });
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
                let restored = Outbox::restore(&marks).unwrap();
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
}
