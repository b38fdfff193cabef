//! A state database read beside whoever writes it.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::content::{Content, Kept};
use super::fault::{StateError, damaged, fault};
use super::letters::{self, Filter, Letter, Totals};
use super::lock::{self, Held};
use super::returned;
use super::schema;
use crate::store::rows::Item;

/// A state database as it was when it was opened, whatever is written to it since. While it is held, the log beside the
/// file cannot be taken over into it: hold it shortly.
pub struct StateReader {
    path: PathBuf,
    connection: Connection,
    content: Content,
}

/// How much a step keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSize {
    /// The step.
    pub step: String,
    /// Chunks that hold its rows.
    pub chunks: u64,
    /// Their bytes, packed.
    pub bytes: u64,
}

impl StateReader {
    /// Opens the database at `path` and finds out whether it is what was written.
    pub fn open(path: &Path) -> Result<StateReader, StateError> {
        let connection = schema::open_read_only(path)?;
        // All that is read is of one moment.
        connection.execute_batch("BEGIN").map_err(|e| fault(path, &e))?;
        let content = Content::load(&connection, path)?;
        Ok(StateReader { path: path.to_owned(), connection, content })
    }

    /// Who has the state at a path now, if anybody; also of a state that cannot be opened.
    pub fn held(path: &Path) -> Option<Held> {
        lock::held(path)
    }

    /// What the last checkpoint holds; `None` if no run ever began. The last run may be complete.
    pub fn kept(&self) -> Option<&Kept> {
        Some(&self.content.kept).filter(|kept| kept.run > 0)
    }

    /// How much the steps keep that keep something.
    pub fn sizes(&self) -> Vec<StepSize> {
        let size = |(step, chunks, bytes): (&str, u64, u64)| StepSize { step: step.to_owned(), chunks, bytes };
        self.content.index.steps().map(size).collect()
    }

    /// Bytes of the file and of the log beside it.
    pub fn file_bytes(&self) -> (u64, u64) {
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |about| about.len());
        (size(&self.path), size(&schema::log_path(&self.path)))
    }

    /// Hands out the rows of a step whose key group is in `groups`, each key once, in the order of their hashes; the value
    /// of a key that is gone is `None`.
    pub fn rows(
        &self,
        step: &str,
        groups: Range<u64>,
        each: &mut dyn FnMut(Item<'_>) -> Result<(), String>,
    ) -> Result<(), StateError> {
        self.content.rows(&self.connection, &self.path, step, groups, each)
    }

    /// What dead letters there are.
    pub fn letters(&self) -> Totals {
        self.content.letters
    }

    /// Hands out at most `most` dead letters of a filter, the oldest first, of those whose id is greater than `after`.
    pub fn each_letter(
        &self,
        filter: &Filter,
        after: u64,
        most: usize,
        each: &mut dyn FnMut(Letter) -> Result<(), String>,
    ) -> Result<(), StateError> {
        letters::list(&self.connection, &self.path, &self.content.letters, (filter, after, most), each)
    }

    /// How many dead letters a filter lets through.
    pub fn count_letters(&self, filter: &Filter) -> Result<u64, StateError> {
        let mut found = 0;
        self.each_letter(filter, 0, usize::MAX, &mut |_| {
            found += 1;
            Ok(())
        })?;
        Ok(found)
    }

    /// How many rows each sink was refused that its `.errors` have still to take in.
    pub fn returned(&self) -> Vec<(String, u64)> {
        self.content.returned.counts()
    }

    /// Reads everything: whether SQLite finds its file in order, and whether every chunk, dead letter and row that came back is
    /// what was written. Returns how many keys the steps keep.
    pub fn check(&self) -> Result<u64, StateError> {
        let ask = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, String>(0));
        let said = ask("PRAGMA integrity_check(1)").map_err(|e| fault(&self.path, &e))?;
        if said != "ok" {
            return Err(damaged(&self.path, said));
        }
        let mut keys = 0;
        for size in self.sizes() {
            self.rows(&size.step, 0..crate::base::limit::KEY_GROUPS, &mut |row| {
                keys += u64::from(row.value.is_some());
                Ok(())
            })?;
        }
        self.each_letter(&Filter::default(), 0, usize::MAX, &mut |_| Ok(()))?;
        for (sink, _) in self.returned() {
            returned::each(&self.connection, &self.path, &sink, &mut |_| {})?;
        }
        Ok(keys)
    }
}
