//! Dead letters: rows that nobody could take, kept within bounds of size and age until somebody looks at them.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use xxhash_rust::xxh3::xxh3_64;

use super::fault::{StateError, damaged, fault};
use super::table::Digest;
use crate::base::{limit, sum};
use crate::store::rows::{Cause, DeadLetter, Origin};

/// A dead letter as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// In order of arrival, from 1; never used again.
    pub id: u64,
    /// What it is.
    pub letter: DeadLetter,
    /// When it was kept, microseconds of the wall clock.
    pub at: i64,
    /// The number of the run that kept it.
    pub run: u64,
    /// The checkpoint that kept it.
    pub epoch: u64,
}

impl Letter {
    fn checksum(&self) -> u64 {
        let DeadLetter { entry, cause, reason, place, time, origin, header, original } = &self.letter;
        let texts = Digest::of("dead_letter").count(self.id).text(entry).text(cause.word()).text(reason).text(place);
        let times = texts.int(time.is_some().into()).int(time.unwrap_or_default()).int(self.at);
        let all = times.count(self.run).count(self.epoch).count(xxh3_64(original));
        // What an older version kept has neither.
        let all = if *origin == Origin::Unknown { all } else { all.text(origin.word()) };
        let all = if let Some(header) = header { header.iter().fold(all, |all, name| all.text(name)) } else { all };
        all.finish() as u64
    }

    fn bytes(&self) -> u64 {
        let DeadLetter { entry, reason, place, header, original, .. } = &self.letter;
        let header: usize = header.iter().flatten().map(String::len).sum();
        (entry.len() + reason.len() + place.len() + header + original.len()) as u64
    }

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "INSERT INTO dead_letter (id, entry, cause, reason, place, time, at, run, epoch, checksum, original, \
            origin, header) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let DeadLetter { entry, cause, reason, place, time, origin, header, original } = &self.letter;
        let header = header.as_ref().map(|names| serde_json::Value::from(names.as_slice()).to_string());
        let (id, run, epoch) = (self.id.cast_signed(), self.run.cast_signed(), self.epoch.cast_signed());
        let checksum = self.checksum().cast_signed();
        let (cause, origin, at) = (cause.word(), origin.word(), self.at);
        let row = params![id, entry, cause, reason, place, time, at, run, epoch, checksum, original, origin, header];
        connection.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }
}

impl Cause {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Error => "error",
            Cause::Late => "late",
        }
    }

    /// From [`Self::word`].
    pub fn of_word(word: &str) -> Option<Cause> {
        [Cause::Error, Cause::Late].into_iter().find(|cause| cause.word() == word)
    }
}

impl Origin {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Unknown => "",
            Origin::Row => "row",
            Origin::Left => "left",
            Origin::Right => "right",
            Origin::Record => "record",
            Origin::Part => "part",
            Origin::Made => "made",
        }
    }

    /// What is written so.
    pub fn of_word(word: &str) -> Option<Origin> {
        use Origin::{Left, Made, Part, Record, Right, Row, Unknown};
        [Unknown, Row, Left, Right, Record, Part, Made].into_iter().find(|origin| origin.word() == word)
    }
}

/// Which dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// These alone.
    pub ids: Option<Vec<u64>>,
    /// Those that came to this entry.
    pub entry: Option<String>,
    /// Those of this cause.
    pub cause: Option<Cause>,
    /// Those whose reason has this in it.
    pub reason: Option<String>,
    /// Those kept at this time or later, microseconds.
    pub since: Option<i64>,
    /// Those kept before this time, microseconds.
    pub before: Option<i64>,
}

impl Filter {
    fn takes(&self, letter: &Letter) -> bool {
        let Filter { ids, entry, cause, reason, since, before } = self;
        ids.as_ref().is_none_or(|ids| ids.contains(&letter.id))
            && entry.as_ref().is_none_or(|entry| *entry == letter.letter.entry)
            && cause.is_none_or(|cause| cause == letter.letter.cause)
            && reason.as_ref().is_none_or(|reason| letter.letter.reason.contains(reason))
            && since.is_none_or(|since| since <= letter.at)
            && before.is_none_or(|before| letter.at < before)
    }
}

/// What dead letters there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The id of the next one.
    pub next: u64,
    /// How many there are.
    pub letters: u64,
    /// Their originals, reasons and places together.
    pub bytes: u64,
    /// Their checksums together.
    pub(super) checksum: u64,
    /// How many went because there were too many or they were too old.
    pub let_go: u64,
}

impl Totals {
    /// What a database has.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Totals> {
        let sql = "SELECT next, letters, bytes, checksum, let_go FROM dead_letter_total";
        connection.query_row(sql, [], |row| {
            let count = |index: usize| row.get::<_, i64>(index).map(i64::cast_unsigned);
            Ok(Totals { next: count(0)?, letters: count(1)?, bytes: count(2)?, checksum: count(3)?, let_go: count(4)? })
        })
    }

    /// The hash of its row.
    pub(super) fn digest(&self) -> u128 {
        let Totals { next, letters, bytes, checksum, let_go } = *self;
        [next, letters, bytes, checksum, let_go]
            .into_iter()
            .fold(Digest::of("dead_letter_total"), Digest::count)
            .finish()
    }

    /// Writes it.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let sql = "UPDATE dead_letter_total SET next = ?1, letters = ?2, bytes = ?3, checksum = ?4, let_go = ?5";
        let Totals { next, letters, bytes, checksum, let_go } = *self;
        let all = [next, letters, bytes, checksum, let_go].map(u64::cast_signed);
        connection.prepare_cached(sql)?.execute(all)?;
        Ok(())
    }

    /// Keeps new ones.
    pub(super) fn add(
        &mut self,
        connection: &Connection,
        letters: &[DeadLetter],
        kept: (u64, u64, i64),
    ) -> rusqlite::Result<()> {
        let (run, epoch, at) = kept;
        for letter in letters {
            let letter = Letter { id: self.next, letter: letter.clone(), at, run, epoch };
            letter.write(connection)?;
            self.next = self.next.saturating_add(1);
            self.count(&letter);
        }
        Ok(())
    }

    fn count(&mut self, letter: &Letter) {
        self.letters = self.letters.saturating_add(1);
        self.bytes = self.bytes.saturating_add(letter.bytes());
        self.checksum = self.checksum.wrapping_add(letter.checksum());
    }

    /// Lets the oldest go while there are too many bytes of them, or while they are too old.
    pub(super) fn bound(&mut self, connection: &Connection, now: i64, most: Bounds) -> rusqlite::Result<()> {
        let oldest_kept = now.saturating_sub(most.age);
        while self.letters > 0 {
            let oldest = "SELECT id, at FROM dead_letter ORDER BY id LIMIT 1";
            let oldest =
                connection.prepare_cached(oldest)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some::<(i64, i64)>((id, at)) = oldest else { break };
            if self.bytes <= most.bytes && at >= oldest_kept {
                break;
            }
            let (letter, checksum) =
                connection.prepare_cached(&format!("{LETTERS} WHERE id = ?1"))?.query_row([id], read)?;
            self.take(connection, letter.id, letter.bytes(), checksum)?;
            self.let_go = self.let_go.saturating_add(1);
        }
        Ok(())
    }

    /// Takes one away.
    fn take(&mut self, connection: &Connection, id: u64, bytes: u64, checksum: u64) -> rusqlite::Result<()> {
        connection.prepare_cached("DELETE FROM dead_letter WHERE id = ?1")?.execute([id.cast_signed()])?;
        self.letters = self.letters.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.checksum = self.checksum.wrapping_sub(checksum);
        Ok(())
    }

    /// Takes away those of a filter: how many.
    pub(super) fn purge(&mut self, connection: &Connection, path: &Path, filter: &Filter) -> Result<u64, StateError> {
        let found = self.find(connection, path, filter)?;
        self.remove(connection, &found).map_err(|e| fault(path, &e))?;
        Ok(found.len() as u64)
    }

    /// Those of a filter.
    pub(super) fn find(&self, connection: &Connection, path: &Path, filter: &Filter) -> Result<Vec<Found>, StateError> {
        let mut found = Vec::new();
        list(connection, path, self, (filter, 0, usize::MAX), &mut |letter| {
            found.push(Found { id: letter.id, bytes: letter.bytes(), checksum: letter.checksum() });
            Ok(())
        })?;
        Ok(found)
    }

    /// Takes away those that were found.
    pub(super) fn remove(&mut self, connection: &Connection, found: &[Found]) -> rusqlite::Result<()> {
        found.iter().try_for_each(|letter| self.take(connection, letter.id, letter.bytes, letter.checksum))
    }
}

/// A dead letter that is to be taken away.
pub(super) struct Found {
    id: u64,
    bytes: u64,
    checksum: u64,
}

/// How many dead letters are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: u64,
    /// Microseconds.
    pub(super) age: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { bytes: limit::DEAD_LETTER_BYTES, age: limit::DEAD_LETTER_AGE.0 }
    }
}

const LETTERS: &str = "SELECT id, entry, cause, reason, place, time, at, run, epoch, checksum, original, origin, header \
    FROM dead_letter";

/// A row of [`LETTERS`], and its checksum.
fn read(row: &Row<'_>) -> rusqlite::Result<(Letter, u64)> {
    let count = |index: usize| row.get::<_, i64>(index).map(i64::cast_unsigned);
    let (word, origin): (String, String) = (row.get(2)?, row.get(11)?);
    let header: Option<String> = row.get(12)?;
    let letter = DeadLetter {
        entry: row.get(1)?,
        // Another word has another checksum.
        cause: Cause::of_word(&word).unwrap_or(Cause::Error),
        reason: row.get(3)?,
        place: row.get(4)?,
        time: row.get(5)?,
        origin: Origin::of_word(&origin).unwrap_or_default(),
        header: header.map(|names| serde_json::from_str(&names).unwrap_or_default()),
        original: row.get(10)?,
    };
    Ok((Letter { id: count(0)?, letter, at: row.get(6)?, run: count(7)?, epoch: count(8)? }, count(9)?))
}

/// Hands out at most `most` dead letters of a filter, the oldest first, of those whose id is greater than `after`. Where all
/// were looked at, they must be those that `totals` counts.
pub(super) fn list(
    connection: &Connection,
    path: &Path,
    totals: &Totals,
    page: (&Filter, u64, usize),
    each: &mut dyn FnMut(Letter) -> Result<(), String>,
) -> Result<(), StateError> {
    let (filter, after, most) = page;
    let wrong = |e: rusqlite::Error| fault(path, &e);
    let sql = format!("{LETTERS} WHERE id > ?1 ORDER BY id");
    let mut statement = connection.prepare_cached(&sql).map_err(wrong)?;
    let mut rows = statement.query([after.cast_signed()]).map_err(wrong)?;
    let mut found = Totals { next: totals.next, let_go: totals.let_go, ..Totals::default() };
    let mut left = most;
    while left > 0 {
        let Some(row) = rows.next().map_err(wrong)? else {
            if after == 0 && found != *totals {
                return Err(damaged(path, "dead letters are missing, or there are some that nobody wrote"));
            }
            break;
        };
        let (letter, checksum) = read(row).map_err(wrong)?;
        if !sum::is_right(letter.checksum() == checksum) {
            return Err(damaged(path, format_args!("the dead letter {} has not the checksum that it says", letter.id)));
        }
        found.count(&letter);
        if filter.takes(&letter) {
            left -= 1;
            each(letter).map_err(StateError::new)?;
        }
    }
    Ok(())
}
