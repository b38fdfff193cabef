//! Who has a state: a lock on a file beside it, which ends with the process that holds it however it ends, and in that file
//! who it is.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::fault::StateError;
use crate::base::time::Timestamp;

/// How often a lock is tried for, and how long is waited in between: who only looks at it has it for a moment.
const TRIES: u32 = 10;
const WAIT: Duration = Duration::from_millis(20);
/// More than any holder writes.
const HELD_BYTES: u64 = 64 << 10;

/// Who opens a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The pipeline's file, as the user named it.
    pub pipeline: String,
    /// The verb: `run`.
    pub command: String,
}

/// Who has a state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The number of the process.
    pub pid: u32,
    /// The pipeline's file, as it was named.
    pub pipeline: String,
    /// The verb.
    pub command: String,
    /// Since when, RFC 3339.
    pub since: String,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Held { pid, pipeline, command, since } = self;
        write!(f, "`millstream {command} {pipeline}`, process {pid}, since {since}")
    }
}

/// A lock that is held until it is dropped, and until all that it was lent to have dropped it.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// The file of a state's lock.
pub(super) fn lock_path(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl Lock {
    /// Takes the lock of the state at a path. The error names who has it.
    pub(super) fn take(state: &Path, holder: &Holder) -> Result<Lock, StateError> {
        let path = lock_path(state);
        let failed = |e: std::io::Error| {
            StateError::new(format!(
                "`{}`, which keeps others from the state, cannot be written: {e}; make its directory writable, or name another with `--data`",
                path.display()
            ))
        };
        let mut options = OpenOptions::new();
        // Whoever can read it could hold it, and keep everybody from the state.
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(&path).map_err(failed)?;
        for left in (0..TRIES).rev() {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if left > 0 => std::thread::sleep(WAIT),
                Err(TryLockError::WouldBlock) => return Err(taken(state, read(&mut file))),
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
        let mut lock = Lock { file };
        lock.name(holder).map_err(failed)?;
        Ok(lock)
    }

    /// The lock of another process, which lent it.
    pub(in crate::store) fn lent(file: File) -> Lock {
        Lock { file }
    }

    /// Names who has it now.
    pub(super) fn name(&mut self, holder: &Holder) -> std::io::Result<()> {
        let held = Held {
            pid: std::process::id(),
            pipeline: holder.pipeline.clone(),
            command: holder.command.clone(),
            since: now().to_string(),
        };
        write(&mut self.file, &held)
    }
}

/// What is lent to another process.
impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn taken(state: &Path, held: Option<Held>) -> StateError {
    let who = held.map_or_else(|| "another process".to_owned(), |held| held.to_string());
    StateError::new(format!(
        "the state `{}` is in use by {who}; stop that first, or give this run a state of its own with `--data DIR`",
        state.display()
    ))
}

/// Who has the state at a path now, if anybody.
pub(super) fn held(state: &Path) -> Option<Held> {
    let mut file = File::open(lock_path(state)).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let unknown = || Held { pid: 0, pipeline: "?".into(), command: "?".into(), since: "?".into() };
            Some(read(&mut file).unwrap_or_else(unknown))
        }
        _ => None,
    }
}

fn write(file: &mut File, held: &Held) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(held)?;
    text.push(b'\n');
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&text)
}

fn read(file: &mut File) -> Option<Held> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.take(HELD_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_secs()).map_or(0, |seconds| seconds.saturating_mul(1_000_000)))
}
