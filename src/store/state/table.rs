//! The plain rows of a checkpoint: each kind in memory in the order of its key, so that only what changed is written.

use rusqlite::{Connection, Row, params};
use xxhash_rust::xxh3::xxh3_128;

use crate::store::rows::{HandedRow, LedgerRow, MarkRow, PartitionRow, StepRow};

/// The hash of a row's fields; the sum of the hashes of all rows stands for what there is, in whatever order.
#[derive(Default)]
pub(super) struct Digest {
    bytes: Vec<u8>,
}

impl Digest {
    /// Of a table's row.
    pub(super) fn of(table: &str) -> Digest {
        Digest::default().text(table)
    }

    /// Adds a field with its length, so that `a` and `bc` are not `ab` and `c`.
    pub(super) fn text(mut self, text: &str) -> Digest {
        self.bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// Adds a field.
    pub(super) fn int(mut self, int: i64) -> Digest {
        self.bytes.extend_from_slice(&int.to_le_bytes());
        self
    }

    /// Adds a field.
    pub(super) fn count(self, count: u64) -> Digest {
        self.int(count.cast_signed())
    }

    /// The hash.
    pub(super) fn finish(self) -> u128 {
        xxh3_128(&self.bytes)
    }
}

/// A row of a table whose key is up to two texts.
pub(super) trait Record: Clone + PartialEq {
    /// Reads all rows.
    const ALL: &'static str;
    /// Writes a row over what its key had.
    const PUT: &'static str;
    /// Takes the row of a key away; its two parts are the parameters.
    const TAKE: &'static str;
    /// By what it is found.
    fn key(&self) -> (&str, &str);
    /// The hash of all its fields.
    fn digest(&self) -> u128;
    /// From a row of [`Self::ALL`].
    fn read(row: &Row<'_>) -> rusqlite::Result<Self>;
    /// By [`Self::PUT`].
    fn put(&self, connection: &Connection) -> rusqlite::Result<()>;
}

/// What changes in a table.
pub(super) struct Change<R> {
    put: Vec<R>,
    taken: Vec<(String, String)>,
    /// What it adds to the sum of the hashes, in the ring of 128 bits.
    pub(super) sum: u128,
}

impl<R: Record> Change<R> {
    /// What of `put` and `taken` is a change of `rows`, which are in the order of their keys. A key that is in both is put.
    pub(super) fn of<'a>(
        rows: &[R],
        put: impl Iterator<Item = &'a R>,
        taken: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Change<R>
    where
        R: 'a,
    {
        // Of one key the last counts; the sort keeps their order.
        let mut sorted: Vec<&R> = put.collect();
        sorted.sort_by(|a, b| a.key().cmp(&b.key()));
        let mut change = Change { put: Vec::new(), taken: Vec::new(), sum: 0 };
        for (index, row) in sorted.iter().enumerate() {
            if sorted.get(index + 1).is_some_and(|next| next.key() == row.key()) {
                continue;
            }
            let before = find(rows, row.key()).ok().and_then(|at| rows.get(at));
            if before == Some(*row) {
                continue;
            }
            let less = before.map_or(0, Record::digest);
            change.sum = change.sum.wrapping_add(row.digest()).wrapping_sub(less);
            change.put.push((*row).clone());
        }
        let mut gone: Vec<(&str, &str)> = taken.collect();
        gone.sort_unstable();
        gone.dedup();
        for key in gone {
            if sorted.binary_search_by(|row| row.key().cmp(&key)).is_ok() {
                continue;
            }
            if let Some(before) = find(rows, key).ok().and_then(|at| rows.get(at)) {
                change.sum = change.sum.wrapping_sub(before.digest());
                change.taken.push((key.0.to_owned(), key.1.to_owned()));
            }
        }
        change
    }

    /// Writes it.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        for (first, second) in &self.taken {
            connection.prepare_cached(R::TAKE)?.execute(params![first, second])?;
        }
        self.put.iter().try_for_each(|row| row.put(connection))
    }

    /// Makes it in memory, where what is written is kept.
    pub(super) fn apply(self, rows: &mut Vec<R>) {
        if !self.taken.is_empty() {
            let is_taken = |row: &R| {
                let key = row.key();
                self.taken.binary_search_by(|(first, second)| (first.as_str(), second.as_str()).cmp(&key)).is_ok()
            };
            rows.retain(|row| !is_taken(row));
        }
        let mut new = Vec::new();
        for row in self.put {
            match find(rows, row.key()) {
                Ok(at) => rows[at] = row,
                Err(_) => new.push(row),
            }
        }
        if !new.is_empty() {
            rows.append(&mut new);
            rows.sort_by(|a, b| a.key().cmp(&b.key()));
        }
    }
}

fn find<R: Record>(rows: &[R], key: (&str, &str)) -> Result<usize, usize> {
    rows.binary_search_by(|row| row.key().cmp(&key))
}

/// All rows of a table in the order of their keys, and the sum of their hashes.
pub(super) fn all<R: Record>(connection: &Connection) -> rusqlite::Result<(Vec<R>, u128)> {
    let mut statement = connection.prepare(R::ALL)?;
    let mut rows = statement.query_map([], R::read)?.collect::<rusqlite::Result<Vec<R>>>()?;
    rows.sort_by(|a, b| a.key().cmp(&b.key()));
    let sum = rows.iter().fold(0u128, |sum, row| sum.wrapping_add(row.digest()));
    Ok((rows, sum))
}

/// A count as SQLite has it.
fn count(row: &Row<'_>, index: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(index).map(i64::cast_unsigned)
}

impl Record for PartitionRow {
    const ALL: &'static str = "SELECT source, name, stream, position, greatest, ended FROM partition";
    const PUT: &'static str = "INSERT OR REPLACE INTO partition VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    const TAKE: &'static str = "DELETE FROM partition WHERE source = ?1 AND name = ?2";

    fn key(&self) -> (&str, &str) {
        (&self.source, &self.name)
    }

    fn digest(&self) -> u128 {
        let row = Digest::of("partition").text(&self.source).text(&self.name).text(&self.stream);
        row.count(self.position).int(self.greatest).int(self.ended.into()).finish()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(PartitionRow {
            source: row.get(0)?,
            name: row.get(1)?,
            stream: row.get(2)?,
            position: count(row, 3)?,
            greatest: row.get(4)?,
            ended: row.get(5)?,
        })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Self { source, name, stream, position, greatest, ended } = self;
        let position = position.cast_signed();
        connection.prepare_cached(Self::PUT)?.execute(params![source, name, stream, position, greatest, ended])?;
        Ok(())
    }
}

impl Record for StepRow {
    const ALL: &'static str = "SELECT name, meaning, watermark FROM step";
    const PUT: &'static str = "INSERT OR REPLACE INTO step VALUES (?1, ?2, ?3)";
    const TAKE: &'static str = "DELETE FROM step WHERE name = ?1 AND ?2 = ''";

    fn key(&self) -> (&str, &str) {
        (&self.name, "")
    }

    fn digest(&self) -> u128 {
        Digest::of("step").text(&self.name).text(&self.meaning).int(self.watermark).finish()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(StepRow { name: row.get(0)?, meaning: row.get(1)?, watermark: row.get(2)? })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.prepare_cached(Self::PUT)?.execute(params![self.name, self.meaning, self.watermark])?;
        Ok(())
    }
}

impl Record for MarkRow {
    const ALL: &'static str = "SELECT sink, key, value FROM mark";
    const PUT: &'static str = "INSERT OR REPLACE INTO mark VALUES (?1, ?2, ?3)";
    const TAKE: &'static str = "DELETE FROM mark WHERE sink = ?1 AND key = ?2";

    fn key(&self) -> (&str, &str) {
        (&self.sink, &self.key)
    }

    fn digest(&self) -> u128 {
        Digest::of("mark").text(&self.sink).text(&self.key).text(&self.value).finish()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(MarkRow { sink: row.get(0)?, key: row.get(1)?, value: row.get(2)? })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.prepare_cached(Self::PUT)?.execute(params![self.sink, self.key, self.value])?;
        Ok(())
    }
}

impl Record for HandedRow {
    const ALL: &'static str = "SELECT entry, input, rows FROM handed";
    const PUT: &'static str = "INSERT OR REPLACE INTO handed VALUES (?1, ?2, ?3)";
    const TAKE: &'static str = "DELETE FROM handed WHERE entry = ?1 AND input = ?2";

    fn key(&self) -> (&str, &str) {
        (&self.entry, &self.input)
    }

    fn digest(&self) -> u128 {
        Digest::of("handed").text(&self.entry).text(&self.input).count(self.rows).finish()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(HandedRow { entry: row.get(0)?, input: row.get(1)?, rows: count(row, 2)? })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.prepare_cached(Self::PUT)?.execute(params![self.entry, self.input, self.rows.cast_signed()])?;
        Ok(())
    }
}

/// The counts of a ledger row in the order of its table's columns.
fn counts(row: &LedgerRow) -> [u64; 11] {
    let LedgerRow { entry: _, taken, made, passed, filtered, dropped, duplicate, failed, late, dead, absorbed, held } =
        row;
    [*taken, *made, *passed, *filtered, *dropped, *duplicate, *failed, *late, *dead, *absorbed, *held]
}

impl Record for LedgerRow {
    const ALL: &'static str = "SELECT entry, taken, made, passed, filtered, dropped, duplicate, failed, late, dead, absorbed, held FROM ledger";
    const PUT: &'static str =
        "INSERT OR REPLACE INTO ledger VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    const TAKE: &'static str = "DELETE FROM ledger WHERE entry = ?1 AND ?2 = ''";

    fn key(&self) -> (&str, &str) {
        (&self.entry, "")
    }

    fn digest(&self) -> u128 {
        counts(self).into_iter().fold(Digest::of("ledger").text(&self.entry), Digest::count).finish()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(LedgerRow {
            entry: row.get(0)?,
            taken: count(row, 1)?,
            made: count(row, 2)?,
            passed: count(row, 3)?,
            filtered: count(row, 4)?,
            dropped: count(row, 5)?,
            duplicate: count(row, 6)?,
            failed: count(row, 7)?,
            late: count(row, 8)?,
            dead: count(row, 9)?,
            absorbed: count(row, 10)?,
            held: count(row, 11)?,
        })
    }

    fn put(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(Self::PUT)?;
        statement.raw_bind_parameter(1, &self.entry)?;
        for (index, count) in counts(self).into_iter().enumerate() {
            statement.raw_bind_parameter(index + 2, count.cast_signed())?;
        }
        statement.raw_execute()?;
        Ok(())
    }
}
