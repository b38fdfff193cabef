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
    /// Where: a place in the pipeline file or a byte of the record; empty if that is not known.
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
    pub changes: Vec<(String, Vec<StateRow>)>,
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
    /// The wall clock, microseconds.
    pub now: i64,
}
