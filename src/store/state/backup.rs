//! Copies a state while others may be writing it: SQLite hands out one moment of it.

use std::fs::File;
use std::path::Path;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::fault::{StateError, fault};
use super::schema;
use crate::base::system::{make_private_file, reason};

/// Copies the state at `from` to a file that is not there yet, and syncs it. Whoever writes it meanwhile goes on.
pub fn copy(from: &Path, to: &Path) -> Result<(), StateError> {
    let source = schema::open_read_only(from)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    make_private_file(to).map_err(|e| StateError::new(format!("`{}` cannot be made: {}", to.display(), reason(&e))))?;
    let mut copy = Connection::open_with_flags(to, flags).map_err(|e| fault(to, &e))?;
    // All at once is one moment; in pieces it would begin anew with each checkpoint.
    Backup::new(&source, &mut copy).and_then(|backup| backup.step(-1)).map_err(|e| fault(to, &e))?;
    // Reading a copy leaves nothing beside it; the run that it is put back for writes a log again.
    copy.execute_batch("PRAGMA journal_mode = DELETE").map_err(|e| fault(to, &e))?;
    copy.close().map_err(|(_, e)| fault(to, &e))?;
    let synced = File::open(to).and_then(|file| file.sync_all());
    synced.map_err(|e| StateError::new(format!("`{}` cannot be synced: {}", to.display(), reason(&e))))
}
