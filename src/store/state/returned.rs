//! Rows that whoever a sink sends to has refused, where somebody reads the sink's `.errors`: they are kept here from the
//! checkpoint that holds that they were refused to the one that holds that they were taken in there.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, params};
use xxhash_rust::xxh3::xxh3_64;

use super::fault::{StateError, damaged, fault};
use super::file::StateFile;
use super::schema;
use super::table::Digest;
use crate::base::sum;
use crate::store::rows::{Cause, DeadLetter, Origin, ReturnedRow};

/// Rows, and bytes of their originals, that are read at once.
const PAGE: (usize, usize) = (1_024, 1 << 20);

/// Which rows there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Returned {
    /// Their numbers, by sink: they go in the order that they came.
    ranges: BTreeMap<String, Range<u64>>,
    /// Of the hashes of all of them.
    pub(super) sum: u128,
}

impl ReturnedRow {
    fn checksum(&self) -> i64 {
        let ReturnedRow { sink, number, time, reason, json, original } = self;
        let row = Digest::of("returned").text(sink).count(*number).int(time.is_some().into());
        let row = row.int(time.unwrap_or_default()).text(reason).int((*json).into()).count(xxh3_64(original));
        (row.finish() as u64).cast_signed()
    }

    /// As it is kept where nobody takes it in.
    fn into_letter(self) -> DeadLetter {
        DeadLetter {
            entry: self.sink,
            cause: Cause::Error,
            reason: self.reason,
            place: String::new(),
            time: self.time,
            origin: if self.json { Origin::Row } else { Origin::Made },
            header: None,
            original: self.original,
        }
    }
}

/// The hash of a row: its checksum stands for what is in it.
fn digest(sink: &str, number: u64, checksum: i64) -> u128 {
    Digest::of("returned").text(sink).count(number).int(checksum).finish()
}

impl Returned {
    /// What a database has.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Returned> {
        let mut found = Returned::default();
        let mut statement = connection.prepare("SELECT sink, number, checksum FROM returned ORDER BY sink, number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (sink, number, checksum) = (row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned(), row.get(2)?);
            found.note(sink, number, checksum);
        }
        Ok(found)
    }

    fn note(&mut self, sink: String, number: u64, checksum: i64) {
        self.sum = self.sum.wrapping_add(digest(&sink, number, checksum));
        let range = self.ranges.entry(sink).or_insert(number..number);
        if range.is_empty() {
            range.start = number;
        }
        range.end = number.saturating_add(1);
    }

    /// How many rows each sink has.
    pub(super) fn counts(&self) -> Vec<(String, u64)> {
        let there = self.ranges.iter().filter(|(_, range)| !range.is_empty());
        there.map(|(sink, range)| (sink.clone(), range.end - range.start)).collect()
    }

    /// Keeps new ones.
    pub(super) fn add(&mut self, connection: &Connection, rows: &[ReturnedRow]) -> rusqlite::Result<()> {
        let sql = "INSERT INTO returned (sink, number, time, reason, json, checksum, original) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        for row in rows {
            let ReturnedRow { sink, number, time, reason, json, original } = row;
            let checksum = row.checksum();
            let all = params![sink, number.cast_signed(), time, reason, json, checksum, original];
            connection.prepare_cached(sql)?.execute(all)?;
            self.note(sink.clone(), *number, checksum);
        }
        Ok(())
    }

    /// Lets those of a sink go whose number is less.
    pub(super) fn take_in(&mut self, connection: &Connection, sink: &str, before: u64) -> rusqlite::Result<()> {
        let Some(range) = self.ranges.get_mut(sink).filter(|range| !range.is_empty() && range.start < before) else {
            return Ok(());
        };
        range.start = before.min(range.end);
        let before = before.cast_signed();
        let mut gone =
            connection.prepare_cached("SELECT number, checksum FROM returned WHERE sink = ?1 AND number < ?2")?;
        let mut rows = gone.query(params![sink, before])?;
        while let Some(row) = rows.next()? {
            let (number, checksum) = (row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?);
            self.sum = self.sum.wrapping_sub(digest(sink, number, checksum));
        }
        let sql = "DELETE FROM returned WHERE sink = ?1 AND number < ?2";
        connection.prepare_cached(sql)?.execute(params![sink, before])?;
        Ok(())
    }
}

/// Rows of a sink from a number on, the first of them.
fn page(connection: &Connection, path: &Path, sink: &str, from: u64) -> Result<Vec<ReturnedRow>, StateError> {
    let wrong = |e: rusqlite::Error| fault(path, &e);
    let sql = "SELECT sink, number, time, reason, json, original, checksum FROM returned \
        WHERE sink = ?1 AND number >= ?2 ORDER BY number";
    let mut statement = connection.prepare_cached(sql).map_err(wrong)?;
    let mut rows = statement.query(params![sink, from.cast_signed()]).map_err(wrong)?;
    let (mut page, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(wrong)? {
        let (row, checksum) = read(row).map_err(wrong)?;
        if !sum::is_right(row.checksum() == checksum) {
            let which = format!("the row {} that `{sink}` was refused has not the checksum that it says", row.number);
            return Err(damaged(path, which));
        }
        bytes += row.original.len();
        page.push(row);
        if page.len() >= PAGE.0 || bytes >= PAGE.1 {
            break;
        }
    }
    Ok(page)
}

fn read(row: &Row<'_>) -> rusqlite::Result<(ReturnedRow, i64)> {
    let returned = ReturnedRow {
        sink: row.get(0)?,
        number: row.get::<_, i64>(1)?.cast_unsigned(),
        time: row.get(2)?,
        reason: row.get(3)?,
        json: row.get(4)?,
        original: row.get(5)?,
    };
    Ok((returned, row.get(6)?))
}

/// Hands out every row of a sink.
pub(super) fn each(
    connection: &Connection,
    path: &Path,
    sink: &str,
    each: &mut dyn FnMut(ReturnedRow),
) -> Result<(), StateError> {
    let mut from = 0;
    loop {
        let rows = page(connection, path, sink, from)?;
        let Some(last) = rows.last() else { return Ok(()) };
        from = last.number.saturating_add(1);
        rows.into_iter().for_each(&mut *each);
    }
}

impl StateFile {
    /// How many rows each sink was refused that its `.errors` have still to take in.
    pub fn returned(&self) -> Vec<(String, u64)> {
        self.content.returned.counts()
    }

    /// The number after the last row that a sink was refused and that is still here.
    pub fn returned_end(&self, sink: &str) -> Option<u64> {
        self.content.returned.ranges.get(sink).filter(|range| !range.is_empty()).map(|range| range.end)
    }

    /// Makes dead letters of the rows that nobody takes in, those of all sinks but the ones that are `read`: how many, by
    /// sink.
    pub fn unread(&mut self, read: &[&str], now: i64) -> Result<Vec<(String, u64)>, StateError> {
        let mut unread = self.returned();
        unread.retain(|(sink, _)| !read.contains(&sink.as_str()));
        if unread.is_empty() {
            return Ok(unread);
        }
        let content = &self.content;
        let kept_in = (content.kept.run, content.kept.epoch, now);
        let (mut letters, mut returned, mut all) = (content.letters, content.returned.clone(), Vec::new());
        for (sink, _) in &unread {
            each(&self.connection, &self.path, sink, &mut |row| all.push(row.into_letter()))?;
        }
        let before = content.letters.digest().wrapping_add(content.returned.sum);
        let sum = self.write(|connection| {
            unread.iter().try_for_each(|(sink, _)| returned.take_in(connection, sink, u64::MAX >> 1))?;
            letters.add(connection, &all, kept_in)?;
            letters.write(connection)?;
            let sum = content.sum.wrapping_sub(before).wrapping_add(letters.digest()).wrapping_add(returned.sum);
            content.kept.write(connection, content.kept.moment(), sum)?;
            Ok(sum)
        })?;
        let content = &mut self.content;
        (content.letters, content.returned, content.sum) = (letters, returned, sum);
        Ok(unread)
    }

    /// Reads what comes back to sinks, beside this.
    pub fn returned_reader(&self) -> Result<ReturnedReader, StateError> {
        Ok(ReturnedReader { path: self.path.clone(), connection: schema::open_read_only(&self.path)? })
    }
}

/// Reads rows that sinks were refused, beside whoever writes the state.
pub struct ReturnedReader {
    path: PathBuf,
    connection: Connection,
}

impl ReturnedReader {
    /// The first rows of a sink from a number on; none if there is none yet.
    pub fn read(&self, sink: &str, from: u64) -> Result<Vec<ReturnedRow>, StateError> {
        page(&self.connection, &self.path, sink, from)
    }
}
