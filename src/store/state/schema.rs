//! The tables of a state database, how a file comes to be and how an older one is brought to this version. People open
//! these files: the statements carry what every table and column means, and `.schema` shows it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::fault::{StateError, damaged, fault};
use crate::base::system::make_private_file;

/// What SQLite's header says the file is: "MiSt".
const APPLICATION: i64 = 0x4d69_5374;
/// How long a statement waits for another program that has the file open.
const BUSY: Duration = Duration::from_secs(5);
/// Pages of the log beside the file after which they are taken over into it: 8 MiB.
const LOG_PAGES: u32 = 2_048;

/// What brings a database of version n to version n + 1; the first makes one out of nothing. Never change one that was
/// released, add another.
pub const MIGRATIONS: &[&str] = &["\
CREATE TABLE run (
  -- How far the pipeline is. One row. Times are microseconds since 1970-01-01T00:00:00Z.
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  pipeline TEXT NOT NULL,      -- the pipeline's file, as it was last named
  program TEXT NOT NULL,       -- the version of Millstream that wrote last
  run INTEGER NOT NULL,        -- number of the run; 0 before the first
  epoch INTEGER NOT NULL,      -- checkpoints that the run has made
  status TEXT NOT NULL,        -- running, stopped, finishing, complete or failed
  started INTEGER NOT NULL,    -- when the run began
  committed INTEGER NOT NULL,  -- when the last checkpoint was made
  digest BLOB NOT NULL         -- sum of the hashes of all rows, chunks by their checksum; 16 bytes, the lowest first
) STRICT;

CREATE TABLE partition (
  -- Where each partition of each source stands.
  -- The row without a source says up to where the checkpoint holds what is written of how live inputs met, beside the state
  -- (`.turns`): the position is a record's number.
  source TEXT NOT NULL,        -- the source
  name TEXT NOT NULL,          -- the partition: a file; empty if the source is one partition
  stream TEXT NOT NULL,        -- what the position counts in, as the source names it
  position INTEGER NOT NULL,   -- position of the next record: bytes or records, as the source counts
  greatest INTEGER NOT NULL,   -- greatest event time seen, microseconds
  ended INTEGER NOT NULL,      -- 1 if its end was taken
  PRIMARY KEY (source, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE step (
  -- Steps that keep something.
  name TEXT PRIMARY KEY NOT NULL,
  meaning TEXT NOT NULL,       -- what its state means, JSON: only a step of the same meaning takes it
  watermark INTEGER NOT NULL   -- its watermark, microseconds
) STRICT, WITHOUT ROWID;

CREATE TABLE chunk (
  -- What steps keep by key, packed; `millstream state` shows it as rows. Within a slice the one with the greatest id counts
  -- where several have a key.
  id INTEGER PRIMARY KEY,
  step TEXT NOT NULL,          -- the step
  slice INTEGER NOT NULL,      -- 0 to 15: the highest four bits of the keys' hashes
  epoch INTEGER NOT NULL,      -- the checkpoint that wrote it, of a base the last one in it
  base INTEGER NOT NULL,       -- 1 if it holds everything up to its epoch, 0 if it holds what changed since the ones before
  rows INTEGER NOT NULL,       -- keys in it
  checksum INTEGER NOT NULL,   -- of data: XXH3, 64 bits
  data BLOB NOT NULL           -- byte 0: version 1; byte 1: 0 plain, 1 zstd; 8 bytes: size unpacked; then rows by hash and
                               -- key: hash (8 bytes), size of key, key, size of value + 1 or 0 for a key that is gone, value.
                               -- Integers of fixed size have the lowest byte first; sizes are LEB128. Keys and values are
                               -- MessagePack.
) STRICT;

CREATE TABLE mark (
  -- What sinks remember: how many bytes of a file are committed.
  sink TEXT NOT NULL,
  key TEXT NOT NULL,           -- what it is about
  value TEXT NOT NULL,         -- JSON
  PRIMARY KEY (sink, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
  -- What became of the rows of each entry since the run began:
  -- taken + made = passed + filtered + dropped + duplicate + failed + late + absorbed + held.
  entry TEXT PRIMARY KEY NOT NULL,
  taken INTEGER NOT NULL,      -- came in
  made INTEGER NOT NULL,       -- were made here beyond those that came in
  passed INTEGER NOT NULL,     -- went on to readers
  filtered INTEGER NOT NULL,   -- a condition was false for them
  dropped INTEGER NOT NULL,    -- a script dropped them
  duplicate INTEGER NOT NULL,  -- repeat one before them
  failed INTEGER NOT NULL,     -- could not be processed
  late INTEGER NOT NULL,       -- came too late
  dead INTEGER NOT NULL,       -- of the failed and late ones: became dead letters
  absorbed INTEGER NOT NULL,   -- their last window is gone
  held INTEGER NOT NULL        -- open windows hold them
) STRICT, WITHOUT ROWID;

CREATE TABLE dead_letter (
  -- Rows that nobody could take. They outlive runs; the oldest go when there are too many or they are too old.
  id INTEGER PRIMARY KEY,      -- in order of arrival
  entry TEXT NOT NULL,         -- where it came to
  cause TEXT NOT NULL,         -- error or late
  reason TEXT NOT NULL,        -- what is wrong
  place TEXT NOT NULL,         -- where: in the pipeline file or the record; empty if not known
  time INTEGER,                -- its event time, microseconds
  at INTEGER NOT NULL,         -- when it was kept, microseconds
  run INTEGER NOT NULL,        -- number of the run
  epoch INTEGER NOT NULL,      -- the checkpoint that kept it
  checksum INTEGER NOT NULL,   -- of all other columns: XXH3, 64 bits
  original BLOB NOT NULL       -- the row as it came
) STRICT;

CREATE TABLE dead_letter_total (
  -- What there is in dead_letter. One row.
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  next INTEGER NOT NULL,       -- id of the next one
  letters INTEGER NOT NULL,    -- how many there are
  bytes INTEGER NOT NULL,      -- their originals, reasons and places together
  checksum INTEGER NOT NULL,   -- their checksums together
  let_go INTEGER NOT NULL      -- how many went since the file was made because there were too many or they were too old
) STRICT;

INSERT INTO dead_letter_total VALUES (1, 1, 0, 0, 0, 0);
INSERT INTO run VALUES (1, '', '', 0, 0, 'complete', 0, 0, zeroblob(16));
", "\
ALTER TABLE dead_letter ADD COLUMN origin /* what original is: a row as it came, of a join's left or right side; a record of a
  source that could not be read; part of one that is too long; a row that the entry made; empty if an older version kept it */
  TEXT NOT NULL DEFAULT '';
ALTER TABLE dead_letter ADD COLUMN header /* of a record of CSV: the names of its fields, JSON */ TEXT;

CREATE TABLE handed (
  -- Rows that each input of each entry has handed to it since the run began; they add up to what the ledger says it has taken.
  entry TEXT NOT NULL,         -- the entry
  input TEXT NOT NULL,         -- an entry, with its port if that is not the main one; what is in parentheses is none
  rows INTEGER NOT NULL,
  PRIMARY KEY (entry, input)
) STRICT, WITHOUT ROWID;
", "\
CREATE TABLE returned (
  -- Rows that whoever a sink sends to has refused, where somebody reads the sink's `.errors`. They go with the checkpoint that
  -- holds that they were taken in there, which is where the partition of the source `SINK.errors` stands.
  sink TEXT NOT NULL,          -- the sink
  number INTEGER NOT NULL,     -- among those of the sink, in the order that they were refused
  time INTEGER,                -- its event time, microseconds
  reason TEXT NOT NULL,        -- what was answered
  json INTEGER NOT NULL,       -- 1 if it was written as JSON
  checksum INTEGER NOT NULL,   -- of all other columns: XXH3, 64 bits
  original BLOB NOT NULL,      -- the row as it was written
  PRIMARY KEY (sink, number)
) STRICT;
"];

/// The version that this program writes.
fn latest() -> i64 {
    MIGRATIONS.len() as i64
}

/// Makes the file if there is none: under another name, renamed when it is whole. `finish` completes what the tables hold.
pub(super) fn make(path: &Path, finish: &dyn Fn(&Connection) -> Result<(), rusqlite::Error>) -> Result<(), StateError> {
    let making = beside(path, ".making");
    let failed = |e: std::io::Error| {
        StateError::new(format!(
            "the state `{}` cannot be made: {e}; name another directory with `--data`",
            path.display()
        ))
    };
    // What an earlier attempt left holds nothing, and the log of a file that somebody took away must not come to this one.
    for left in [&making, &log_path(path), &shared_path(path)] {
        match std::fs::remove_file(left) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
    }
    make_private_file(&making).map_err(failed)?;
    let made = Connection::open(&making).and_then(|connection| {
        // A log beside the file would have to be renamed with it.
        connection.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL;")?;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for migration in MIGRATIONS {
            connection.execute_batch(migration)?;
        }
        finish(&connection)?;
        let (application, version) = (APPLICATION, latest());
        connection.execute_batch(&format!(
            "PRAGMA application_id = {application}; PRAGMA user_version = {version}; COMMIT;"
        ))?;
        connection.close().map_err(|(_, error)| error)
    });
    made.map_err(|e| fault(path, &e))?;
    std::fs::rename(&making, path).map_err(failed)?;
    sync_directory(path).map_err(failed)
}

/// A renamed file is there after a loss of power once its directory was synced.
fn sync_directory(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::File::open(parent)?.sync_all(),
        _ => std::fs::File::open(".")?.sync_all(),
    }
}

/// Opens a file that is there for the one process that writes it, and brings it to the latest version.
pub(super) fn open(path: &Path) -> Result<Connection, StateError> {
    let wrong = |e: rusqlite::Error| fault(path, &e);
    not_empty(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(wrong)?;
    connection.busy_timeout(BUSY).map_err(wrong)?;
    let version = version(&connection, path)?;
    let pragmas = format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = {LOG_PAGES}; \
         PRAGMA journal_size_limit = {}; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;",
        u64::from(LOG_PAGES) * 4_096 * 2
    );
    connection.execute_batch(&pragmas).map_err(wrong)?;
    migrate(&connection, version, MIGRATIONS).map_err(wrong)?;
    Ok(connection)
}

/// Opens a file for reading beside whoever writes it.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, StateError> {
    not_empty(path)?;
    let connection = match readable(path, OpenFlags::empty()) {
        // Even reading takes files beside this one. Where none can be made and there is no log, nobody writes: the file is
        // as it is.
        Err(e) if cannot_write(&e) && !log_path(path).exists() => readable(&as_it_is(path), OpenFlags::SQLITE_OPEN_URI),
        other => other,
    };
    let connection = connection.map_err(|e| fault(path, &e))?;
    let version = version(&connection, path)?;
    if version < latest() {
        return Err(StateError::new(format!(
            "the state `{}` was written by an older Millstream (format {version}, this one reads {}); the next `run` brings it up to date",
            path.display(),
            latest()
        )));
    }
    Ok(connection)
}

fn readable(path: &Path, more: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags | more)?;
    connection.busy_timeout(BUSY)?;
    // The file is only read with the first statement that asks it for something.
    connection.execute_batch("PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA user_version")?;
    Ok(connection)
}

fn cannot_write(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}

/// A file beside another.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The log beside a file.
pub(super) fn log_path(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// What SQLite shares among those that have a file open.
fn shared_path(path: &Path) -> PathBuf {
    beside(path, "-shm")
}

/// Puts a file that cannot be used aside, under a name that says so, and its log with it: where it is now.
pub(super) fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = beside(path, ".damaged");
    std::fs::rename(path, &aside)?;
    for (from, to) in [(log_path(path), log_path(&aside)), (shared_path(path), shared_path(&aside))] {
        match std::fs::rename(from, to) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(aside)
}

/// The address of a file that nobody writes.
fn as_it_is(path: &Path) -> PathBuf {
    let mut address = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => address.push(char::from(*byte)),
            _ => address.push_str(&format!("%{byte:02x}")),
        }
    }
    PathBuf::from(address + "?immutable=1")
}

/// An empty file was never made whole by anybody: to SQLite it would be a new database.
fn not_empty(path: &Path) -> Result<(), StateError> {
    match std::fs::metadata(path) {
        Ok(about) if about.is_file() && about.len() == 0 => Err(damaged(path, "it is empty")),
        Ok(about) if !about.is_file() => Err(StateError::new(format!(
            "the state `{}` is no file; name another directory with `--data`",
            path.display()
        ))),
        Ok(_) => Ok(()),
        Err(e) => Err(StateError::new(format!("the state `{}` cannot be opened: {e}", path.display()))),
    }
}

/// The version of a state database; what is none, and what is newer, is refused.
fn version(connection: &Connection, path: &Path) -> Result<i64, StateError> {
    let ask = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = ask("application_id").map_err(|e| fault(path, &e))?;
    if application != APPLICATION {
        let file = path.display();
        return Err(StateError::new(format!(
            "`{file}` is no state of a pipeline: it is a database of something else; name another directory with `--data`"
        )));
    }
    let version = ask("user_version").map_err(|e| fault(path, &e))?;
    match version {
        _ if version > latest() => Err(StateError::useless(format!(
            "the state `{}` was written by a newer Millstream (format {version}, this one knows {}): go on with that one, or begin anew with `run --fresh`",
            path.display(),
            latest()
        ))),
        _ if version < 1 => Err(damaged(path, format_args!("there is no format {version}"))),
        _ => Ok(version),
    }
}

/// Brings a database to the last version of `migrations`, a transaction a step.
fn migrate(connection: &Connection, from: i64, migrations: &[&str]) -> rusqlite::Result<()> {
    let from = usize::try_from(from).unwrap_or(0);
    for (index, migration) in migrations.iter().enumerate().skip(from) {
        let next = index + 1;
        let all = format!("BEGIN IMMEDIATE; {migration}; PRAGMA user_version = {next}; COMMIT;");
        if let Err(error) = connection.execute_batch(&all) {
            // Nothing is half migrated; where no transaction was begun there is none to end.
            let _ = connection.execute_batch("ROLLBACK");
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_database_is_brought_to_the_latest_version_or_left_as_it_was() {
        let connection = Connection::open_in_memory().unwrap();
        let version = || connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)";
        migrate(&connection, 0, &[first]).unwrap();
        assert_eq!(version(), 1);
        let second = "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 7";
        let broken = "INSERT INTO a VALUES (2, 2); CREATE TABLE a (z)";
        assert!(migrate(&connection, 1, &[first, second, broken]).is_err());
        assert_eq!(version(), 2);
        let rows: i64 = connection.query_row("SELECT sum(x * 10 + y) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 17);
        migrate(&connection, 2, &[first, second, "DELETE FROM a"]).unwrap();
        assert_eq!(version(), 3);
    }
}
