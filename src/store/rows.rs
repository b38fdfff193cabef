//! What a state database holds, a type a kind of row.

use serde::{Deserialize, Serialize};

use crate::base::limit::KEY_GROUPS;

/// What a step keeps for one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRow {
    /// Of the key; its group decides which worker keeps it.
    pub hash: u64,
    /// The key, encoded.
    pub key: Vec<u8>,
    /// What is kept, encoded; `None` when the key is gone.
    pub value: Option<Vec<u8>>,
}

impl StateRow {
    /// The group that the row is stored under.
    pub fn group(&self) -> u64 {
        key_group(self.hash)
    }

    /// Borrowed.
    pub fn item(&self) -> Item<'_> {
        Item { hash: self.hash, key: &self.key, value: self.value.as_deref() }
    }
}

/// A row that borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Of the key.
    pub hash: u64,
    /// The key, encoded.
    pub key: &'a [u8],
    /// What is kept, encoded; `None` when the key is gone.
    pub value: Option<&'a [u8]>,
}

/// Rows in the order they were handed out. They lie one behind the other in a few large pieces: a million of them are not
/// two million allocations, and nothing is moved when more come.
#[derive(Clone, Debug, Default)]
pub struct StateRows {
    pieces: Vec<Piece>,
    rows: usize,
    bytes: usize,
}

/// Rows that lie in one buffer.
#[derive(Clone, Debug, Default)]
struct Piece {
    bytes: Vec<u8>,
    rows: Vec<Lies>,
}

/// Where a row lies: behind the one before it.
#[derive(Clone, Copy, Debug)]
struct Lies {
    hash: u64,
    /// Where its key ends.
    key: usize,
    /// Where its value ends, if it has one.
    value: Option<usize>,
}

/// Bytes of a piece, and room that is left at its end for the row that fills it.
const PIECE_BYTES: usize = 256 << 10;
const PIECE_ROOM: usize = 4 << 10;

impl Piece {
    fn get(&self, index: usize) -> Option<Item<'_>> {
        let Lies { hash, key, value } = *self.rows.get(index)?;
        let before = index.checked_sub(1).and_then(|before| self.rows.get(before));
        let start = before.map_or(0, |before| before.value.unwrap_or(before.key));
        let value = match value {
            Some(end) => Some(self.bytes.get(key..end)?),
            None => None,
        };
        Some(Item { hash, key: self.bytes.get(start..key)?, value })
    }
}

impl StateRows {
    /// Adds a row whose key and value are written to the end of a buffer; without a value the key is gone. After an error
    /// there is no such row.
    pub fn push_with<E>(
        &mut self,
        hash: u64,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), E>>,
    ) -> Result<(), E> {
        if self.pieces.last().is_none_or(|piece| piece.bytes.len() >= PIECE_BYTES) {
            // The first ones of a checkpoint are mostly all.
            let room = if self.pieces.is_empty() { 0 } else { PIECE_BYTES + PIECE_ROOM };
            self.pieces.push(Piece { bytes: Vec::with_capacity(room), rows: Vec::new() });
        }
        let Some(Piece { bytes, rows }) = self.pieces.last_mut() else { return Ok(()) };
        let start = bytes.len();
        let write = || {
            key(bytes)?;
            let key = bytes.len();
            let value = value.map(|value| value(bytes)).transpose()?.map(|()| bytes.len());
            rows.push(Lies { hash, key, value });
            Ok(())
        };
        match write() {
            Ok(()) => {
                self.rows += 1;
                self.bytes += bytes.len() - start;
                Ok(())
            }
            Err(error) => {
                bytes.truncate(start);
                Err(error)
            }
        }
    }

    /// Adds rows that were handed out later.
    pub fn append(&mut self, mut later: StateRows) {
        self.pieces.append(&mut later.pieces);
        self.rows += later.rows;
        self.bytes += later.bytes;
    }

    /// The rows in order.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.places().filter_map(|at| self.get(at))
    }

    /// Where each row is: its piece and its place in that, which rise.
    pub fn places(&self) -> impl Iterator<Item = (u32, u32)> {
        (0u32..).zip(&self.pieces).flat_map(|(piece, of)| (0u32..).zip(&of.rows).map(move |(row, _)| (piece, row)))
    }

    /// The row at a place.
    pub fn get(&self, (piece, row): (u32, u32)) -> Option<Item<'_>> {
        self.pieces.get(piece as usize)?.get(row as usize)
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes of the keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl FromIterator<StateRow> for StateRows {
    fn from_iter<I: IntoIterator<Item = StateRow>>(rows: I) -> Self {
        let mut all = StateRows::default();
        let write = |bytes: Vec<u8>| {
            move |out: &mut Vec<u8>| {
                out.extend_from_slice(&bytes);
                Ok::<(), std::convert::Infallible>(())
            }
        };
        for row in rows {
            let Ok(()) = all.push_with(row.hash, write(row.key), row.value.map(write));
        }
        all
    }
}

impl From<Vec<StateRow>> for StateRows {
    fn from(rows: Vec<StateRow>) -> Self {
        rows.into_iter().collect()
    }
}

impl Item<'_> {
    /// An owned copy.
    pub fn to_row(self) -> StateRow {
        StateRow { hash: self.hash, key: self.key.to_vec(), value: self.value.map(<[u8]>::to_vec) }
    }
}

/// The group of a key's hash.
pub fn key_group(hash: u64) -> u64 {
    // The low bits choose the place in hash tables, so groups use the high ones.
    hash >> (64 - KEY_GROUPS.trailing_zeros())
}

/// Where a partition of a source stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Its source.
    pub source: String,
    /// Its name; empty if the source is one partition.
    pub name: String,
    /// The stream that the position counts in, as the source names it: which file it is. Empty if there is but one.
    pub stream: String,
    /// Position of the next record: bytes or records, as the source counts.
    pub position: u64,
    /// The greatest event time seen, microseconds; the least there is if there was none.
    pub greatest: i64,
    /// Whether its end was taken.
    pub ended: bool,
}

/// A step with state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// Its name.
    pub name: String,
    /// What its state means, as JSON: state is only used by a step of the same meaning.
    pub meaning: String,
    /// Its watermark, microseconds.
    pub watermark: i64,
}

/// Something a sink remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkRow {
    /// The sink.
    pub sink: String,
    /// What it is about: a file.
    pub key: String,
    /// What is remembered, as JSON.
    pub value: String,
}

/// What became of the rows of an entry since the run began, by reasons; the names are those of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerRow {
    /// The entry.
    pub entry: String,
    /// Rows that came in.
    pub taken: u64,
    /// Rows made here beyond those that came in.
    pub made: u64,
    /// Rows that went on to readers.
    pub passed: u64,
    /// Rows for which a condition was false.
    pub filtered: u64,
    /// Rows that a script dropped.
    pub dropped: u64,
    /// Rows that repeat one before them.
    pub duplicate: u64,
    /// Rows that could not be processed.
    pub failed: u64,
    /// Rows that came too late.
    pub late: u64,
    /// Of the failed and late ones those that became dead letters.
    pub dead: u64,
    /// Rows whose last window is gone.
    pub absorbed: u64,
    /// Rows that open windows hold.
    pub held: u64,
}

impl LedgerRow {
    /// Rows that there were to account for.
    pub fn came(&self) -> u64 {
        self.taken.wrapping_add(self.made)
    }

    /// Rows that are accounted for.
    pub fn ended(&self) -> u64 {
        let LedgerRow { passed, filtered, dropped, duplicate, failed, late, absorbed, held, .. } = self;
        [passed, filtered, dropped, duplicate, failed, late, absorbed, held]
            .into_iter()
            .fold(0, |sum, n| sum.wrapping_add(*n))
    }

    /// Whether each row ended once.
    pub fn balances(&self) -> bool {
        self.came() == self.ended()
    }
}

/// Rows that an input of an entry has handed to it since the run began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandedRow {
    /// The entry.
    pub entry: String,
    /// The input: an entry's name, with its port if that is not the main one; or what is in parentheses, which is no entry:
    /// dead letters that were sent again, rows of before this was counted.
    pub input: String,
    /// How many.
    pub rows: u64,
}

/// What does not balance in a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imbalance {
    /// Rows that came into an entry or were made there, and those that it accounts for: entry, came, ended.
    Entry(String, u64, u64),
    /// Rows that were handed to an entry, and those that it took in: entry, handed, taken.
    Handed(String, u64, u64),
}

/// What does not balance: every row that an entry took in comes to one end, and what its inputs have handed to an entry is
/// what it took in. `is_source` says which entries have no inputs; a ledger in which nothing was handed to anybody was begun
/// before that was counted.
pub fn imbalances(ledger: &[LedgerRow], handed: &[HandedRow], is_source: &dyn Fn(&str) -> bool) -> Vec<Imbalance> {
    let mut wrong = Vec::new();
    for row in ledger {
        let entry = &row.entry;
        if !row.balances() {
            wrong.push(Imbalance::Entry(entry.clone(), row.came(), row.ended()));
        }
        let of_entry = handed.iter().filter(|handed| handed.entry == *entry);
        let sum = of_entry.fold(0u64, |sum, handed| sum.wrapping_add(handed.rows));
        if !handed.is_empty() && !is_source(entry) && sum != row.taken {
            wrong.push(Imbalance::Handed(entry.clone(), sum, row.taken));
        }
    }
    wrong
}

/// Why a row is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// It could not be processed.
    Error,
    /// It came after what it belongs to was gone.
    Late,
}

/// What is kept of the row of a dead letter, and so how it can be sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It is not known: an older version kept it.
    #[default]
    Unknown,
    /// The row as it came to the entry, as JSON.
    Row,
    /// The same, of a join's left side.
    Left,
    /// The same, of a join's right side.
    Right,
    /// A record that could not be read, in its source's format; in Base64 if that is no text.
    Record,
    /// The beginning of a record that is too long, or in which its stream breaks.
    Part,
    /// A row that the entry made itself.
    Made,
}

/// A row that nobody could take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The entry that it came to.
    pub entry: String,
    /// Why it is one.
    pub cause: Cause,
    /// What is wrong, one sentence.
    pub reason: String,
    /// Where: a place in the pipeline file, or a byte of the record and where that stands in its file; empty if that is not
    /// known.
    pub place: String,
    /// Its event time, microseconds, if it has one.
    pub time: Option<i64>,
    /// What `original` is.
    pub origin: Origin,
    /// Of a record of CSV: the names of its fields.
    pub header: Option<Vec<String>>,
    /// The row as it came to the entry: of a source the record's bytes in the source's format, otherwise JSON.
    pub original: Vec<u8>,
}

/// A row that whoever a sink sends to has refused, on its way to who reads the sink's `.errors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnedRow {
    /// The sink.
    pub sink: String,
    /// Its number among those of the sink, in the order that they were refused.
    pub number: u64,
    /// Its event time, microseconds, if it has one.
    pub time: Option<i64>,
    /// What was answered, one sentence.
    pub reason: String,
    /// Whether it was written as JSON.
    pub json: bool,
    /// The row as it was written.
    pub original: Vec<u8>,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It goes on, or was killed.
    Running,
    /// It was told to stop, and can be resumed.
    Stopped,
    /// All input was taken; the sinks are making their output final.
    Finishing,
    /// It is over; the next run starts afresh.
    Complete,
    /// It could not go on, and can be resumed.
    Failed,
}

/// Everything that one checkpoint changes.
#[derive(Clone, Debug)]
pub struct Commit {
    /// How far the run is.
    pub status: Status,
    /// Partitions that moved or are new.
    pub partitions: Vec<PartitionRow>,
    /// Partitions that are gone: source and name.
    pub gone: Vec<(String, String)>,
    /// Every step with state.
    pub steps: Vec<StepRow>,
    /// Changed rows by step.
    pub changes: Vec<(String, StateRows)>,
    /// What sinks remember: sink, key, and the new value; `None` forgets it.
    pub marks: Vec<(String, String, Option<String>)>,
    /// Every entry.
    pub ledger: Vec<LedgerRow>,
    /// Every input of every entry that rows have come by.
    pub handed: Vec<HandedRow>,
    /// New ones.
    pub dead_letters: Vec<DeadLetter>,
    /// Those that are dead letters no longer, by their ids: they were sent again.
    pub sent_again: Vec<u64>,
    /// Rows that sinks were refused and that come back out of their `.errors`.
    pub returned: Vec<ReturnedRow>,
    /// Up to which of them those that read `.errors` have taken them in: sink, and the number of the next.
    pub taken_in: Vec<(String, u64)>,
    /// The wall clock, microseconds.
    pub now: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_added() {
        let row = |n: u64| StateRow {
            hash: n,
            key: vec![n as u8; (n % 5) as usize],
            value: (!n.is_multiple_of(3)).then(|| vec![n as u8; (n * 37 % 4_000) as usize]),
        };
        let rows: Vec<StateRow> = (0..500).map(row).collect();
        let (first, second) = rows.split_at(200);
        let mut all = StateRows::from(first.to_vec());
        all.append(StateRows::default());
        all.append(StateRows::from(second.to_vec()));
        assert_eq!(all.iter().map(Item::to_row).collect::<Vec<_>>(), rows);
        assert_eq!((all.len(), all.is_empty(), StateRows::default().is_empty()), (500, false, true));
        assert!(all.pieces.len() > 2);
    }

    #[test]
    fn a_row_that_cannot_be_written_is_not_there() {
        let mut rows = StateRows::default();
        let bytes = |text: &'static str, fails: bool| {
            move |out: &mut Vec<u8>| {
                out.extend_from_slice(text.as_bytes());
                if fails { Err(()) } else { Ok(()) }
            }
        };
        rows.push_with(1, bytes("a", false), Some(bytes("1", false))).unwrap();
        rows.push_with(2, bytes("b", false), Some(bytes("2", true))).unwrap_err();
        rows.push_with(3, bytes("c", true), Some(bytes("3", false))).unwrap_err();
        rows.push_with(4, bytes("d", false), None::<fn(&mut Vec<u8>) -> Result<(), ()>>).unwrap();
        let texts: Vec<_> = rows.iter().map(|item| (item.hash, item.key, item.value)).collect();
        assert_eq!(texts, [(1, &b"a"[..], Some(&b"1"[..])), (4, b"d", None)]);
    }
}
