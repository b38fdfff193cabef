//! What a state database holds, in memory, and whether it is what the last checkpoint wrote.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::chunk::{self, Stopped};
use super::fault::{StateError, damaged, fault};
use super::index::{Due, Index, Meta, slices};
use super::letters::Totals;
use super::returned::Returned;
use super::table::{self, Digest};
use crate::base::sum;
use crate::store::rows::{HandedRow, Item, LedgerRow, MarkRow, PartitionRow, Status, StepRow, key_group};

/// What the last checkpoint of a run holds. Rows are in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The pipeline's file, as it was last named.
    pub pipeline: String,
    /// The version of the program that wrote last.
    pub program: String,
    /// How far the run is.
    pub status: Status,
    /// Checkpoints that it has made.
    pub epoch: u64,
    /// Its number; 0 before the first.
    pub run: u64,
    /// When it began, microseconds of the wall clock.
    pub started: i64,
    /// When the last checkpoint was made.
    pub committed: i64,
    /// Where the partitions of the sources stand.
    pub partitions: Vec<PartitionRow>,
    /// The steps with state.
    pub steps: Vec<StepRow>,
    /// What sinks remember.
    pub marks: Vec<MarkRow>,
    /// What became of the rows.
    pub ledger: Vec<LedgerRow>,
    /// By which inputs they came to each entry.
    pub handed: Vec<HandedRow>,
}

impl Status {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Stopped => "stopped",
            Status::Finishing => "finishing",
            Status::Complete => "complete",
            Status::Failed => "failed",
        }
    }

    fn of_word(word: &str) -> Option<Status> {
        let all = [Status::Running, Status::Stopped, Status::Finishing, Status::Complete, Status::Failed];
        all.into_iter().find(|status| status.word() == word)
    }
}

impl Kept {
    /// Whether there is a run to go on with.
    pub(super) fn can_resume(&self) -> bool {
        self.run > 0 && self.status != Status::Complete
    }

    /// What its checkpoints change of the run's row.
    pub(super) fn moment(&self) -> Moment {
        let Kept { status, run, epoch, started, committed, .. } = *self;
        Moment { status, run, epoch, started, committed }
    }

    /// The hash of the run's row.
    fn digest(&self, moment: Moment) -> u128 {
        let Moment { status, run, epoch, started, committed } = moment;
        let row = Digest::of("run").text(&self.pipeline).text(&self.program).count(run).count(epoch);
        row.text(status.word()).int(started).int(committed).finish()
    }

    /// Writes the run's row as of a moment; `sum` is that of the hashes of all other rows.
    pub(super) fn write(&self, connection: &Connection, moment: Moment, sum: u128) -> rusqlite::Result<()> {
        let sql = "UPDATE run SET pipeline = ?1, program = ?2, run = ?3, epoch = ?4, status = ?5, started = ?6, committed = ?7, digest = ?8";
        let digest = sum.wrapping_add(self.digest(moment)).to_le_bytes();
        let Moment { status, run, epoch, started, committed } = moment;
        let (run, epoch) = (run.cast_signed(), epoch.cast_signed());
        let row = params![self.pipeline, self.program, run, epoch, status.word(), started, committed, digest];
        connection.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }
}

/// How far a run is at a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) status: Status,
    pub(super) run: u64,
    pub(super) epoch: u64,
    pub(super) started: i64,
    pub(super) committed: i64,
}

/// Everything but what chunks and dead letters hold.
#[derive(Clone, Debug)]
pub(super) struct Content {
    pub(super) kept: Kept,
    pub(super) index: Index,
    pub(super) letters: Totals,
    pub(super) returned: Returned,
    /// Of the hashes of all rows but the run's.
    pub(super) sum: u128,
}

impl Content {
    /// Reads a database, and whether it is what was written.
    pub(super) fn load(connection: &Connection, path: &Path) -> Result<Content, StateError> {
        let (content, digest) = read(connection, path)?;
        if !sum::is_right(content.digest() == digest) {
            return Err(damaged(path, "its rows are not those that the last checkpoint wrote"));
        }
        Ok(content)
    }

    fn digest(&self) -> [u8; 16] {
        self.sum.wrapping_add(self.kept.digest(self.kept.moment())).to_le_bytes()
    }

    /// Hands out the rows of a step whose key group is in `groups`, each key once. Keys that are gone come only from chunks
    /// that are not merged yet.
    pub(super) fn rows(
        &self,
        connection: &Connection,
        path: &Path,
        step: &str,
        groups: Range<u64>,
        each: &mut dyn FnMut(Item<'_>) -> Result<(), String>,
    ) -> Result<(), StateError> {
        slices(&groups).try_for_each(|slice| {
            let chunks = self.chunks(connection, path, &Due::all(step, slice))?;
            let part = Part { chunks: vec![chunks], groups: groups.clone() };
            part.rows(each)
        })
    }

    /// The rows of a step whose key group is in `groups`, as they lie in the database.
    pub(super) fn part(
        &self,
        connection: &Connection,
        path: &Path,
        step: &str,
        groups: Range<u64>,
    ) -> Result<Part, StateError> {
        let chunks = slices(&groups).map(|slice| self.chunks(connection, path, &Due::all(step, slice)));
        Ok(Part { chunks: chunks.collect::<Result<_, _>>()?, groups })
    }

    /// Merges chunks of a slice.
    pub(super) fn merge(
        &self,
        connection: &Connection,
        path: &Path,
        due: &Due,
        each: &mut dyn FnMut(Item<'_>) -> Result<(), String>,
    ) -> Result<(), StateError> {
        self.chunks(connection, path, due)?.merge(each)
    }

    fn chunks(&self, connection: &Connection, path: &Path, due: &Due) -> Result<Chunks, StateError> {
        let mut chunks = Chunks { path: path.to_owned(), step: due.step.clone(), packed: Vec::new() };
        for meta in self.index.of_due(due) {
            let data = data_of(connection, meta.id).map_err(|e| fault(path, &e))?;
            let data = data.ok_or_else(|| chunks.broken(meta.id, "it is gone"))?;
            chunks.packed.push((*meta, data));
        }
        Ok(chunks)
    }
}

/// Rows of a step as they lie in the database: checking and unpacking them is work that any thread can do.
pub struct Part {
    chunks: Vec<Chunks>,
    groups: Range<u64>,
}

impl Part {
    /// Hands them out, each key once, in the order of their hashes; the value of a key that is gone is `None`.
    pub fn rows(self, each: &mut dyn FnMut(Item<'_>) -> Result<(), String>) -> Result<(), StateError> {
        let groups = self.groups;
        self.chunks.into_iter().try_for_each(|chunks| {
            chunks.merge(&mut |item| if groups.contains(&key_group(item.hash)) { each(item) } else { Ok(()) })
        })
    }
}

/// Chunks of one slice, from the oldest to the newest.
struct Chunks {
    path: PathBuf,
    step: String,
    packed: Vec<(Meta, Vec<u8>)>,
}

impl Chunks {
    fn broken(&self, id: i64, why: &str) -> StateError {
        damaged(&self.path, format_args!("the chunk {id} of the step `{}` cannot be read: {why}", self.step))
    }

    fn merge(mut self, each: &mut dyn FnMut(Item<'_>) -> Result<(), String>) -> Result<(), StateError> {
        let mut plain = Vec::with_capacity(self.packed.len());
        for (meta, data) in std::mem::take(&mut self.packed) {
            if !sum::is_right(chunk::checksum(&data) == meta.checksum) {
                return Err(self.broken(meta.id, "it has not the checksum that it says"));
            }
            let unpacked = chunk::unpack(&data).map_err(|why| self.broken(meta.id, &why))?;
            plain.push((meta.id, unpacked));
        }
        let (ids, plain): (Vec<i64>, Vec<Vec<u8>>) = plain.into_iter().unzip();
        chunk::merge(&plain, each).map_err(|stopped| match stopped {
            Stopped::Broken(index, why) => self.broken(ids.get(index).copied().unwrap_or(0), &why),
            Stopped::By(why) => StateError::new(why),
        })
    }
}

fn data_of(connection: &Connection, id: i64) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = connection.prepare_cached("SELECT data FROM chunk WHERE id = ?1")?;
    statement.query_row([id], |row| row.get(0)).optional()
}

/// What a database has, and the digest that it says it has.
fn read(connection: &Connection, path: &Path) -> Result<(Content, [u8; 16]), StateError> {
    let wrong = |e: rusqlite::Error| fault(path, &e);
    let (partitions, of_partitions) = table::all::<PartitionRow>(connection).map_err(wrong)?;
    let (steps, of_steps) = table::all::<StepRow>(connection).map_err(wrong)?;
    let (marks, of_marks) = table::all::<MarkRow>(connection).map_err(wrong)?;
    let (ledger, of_ledger) = table::all::<LedgerRow>(connection).map_err(wrong)?;
    let (handed, of_handed) = table::all::<HandedRow>(connection).map_err(wrong)?;
    let (index, of_chunks) = Index::read(connection).map_err(wrong)?;
    let letters = Totals::read(connection).map_err(wrong)?;
    let returned = Returned::read(connection).map_err(wrong)?;
    let of_letters = letters.digest().wrapping_add(returned.sum);
    let parts = [of_partitions, of_steps, of_marks, of_ledger, of_handed, of_chunks, of_letters];
    let sum = parts.into_iter().fold(0u128, u128::wrapping_add);
    let sql = "SELECT pipeline, program, run, epoch, status, started, committed, digest FROM run";
    let (kept, status, digest) = connection
        .query_row(sql, [], |row| {
            let kept = Kept {
                pipeline: row.get(0)?,
                program: row.get(1)?,
                status: Status::Complete,
                run: row.get::<_, i64>(2)?.cast_unsigned(),
                epoch: row.get::<_, i64>(3)?.cast_unsigned(),
                started: row.get(5)?,
                committed: row.get(6)?,
                partitions,
                steps,
                marks,
                ledger,
                handed,
            };
            Ok((kept, row.get::<_, String>(4)?, row.get::<_, [u8; 16]>(7)?))
        })
        .map_err(wrong)?;
    let status =
        Status::of_word(&status).ok_or_else(|| damaged(path, format_args!("there is no status `{status}`")))?;
    Ok((Content { kept: Kept { status, ..kept }, index, letters, returned, sum }, digest))
}

/// Writes the digest of a database that was just made.
pub(super) fn finish(connection: &Connection) -> rusqlite::Result<()> {
    let kept = Kept {
        pipeline: String::new(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        status: Status::Complete,
        epoch: 0,
        run: 0,
        started: 0,
        committed: 0,
        partitions: Vec::new(),
        steps: Vec::new(),
        marks: Vec::new(),
        ledger: Vec::new(),
        handed: Vec::new(),
    };
    kept.write(connection, kept.moment(), Totals::read(connection)?.digest())
}
