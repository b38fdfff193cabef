//! Who did what: a line of JSON for each request that changes something, and for each that was refused.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use crate::base::system::{make_private_directory, reason};
use crate::engine::run::wall_clock;

/// A file that has grown so far is put aside, in place of the one that was put aside before.
const BYTES: u64 = 16 << 20;

/// The file.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    open: Mutex<Option<(File, u64)>>,
}

impl Audit {
    /// In a directory; the file comes with its first line.
    pub fn new(own: &Path) -> Audit {
        Audit { path: own.join("audit.ndjson"), open: Mutex::default() }
    }

    /// Notes who asked for what, from where, and the status of the answer. What cannot be written is said in the log.
    pub fn note(&self, (who, from): (&str, SocketAddr), (method, path): (&str, &str), status: u16) {
        let at = wall_clock().to_string();
        let line =
            json!({ "at": at, "who": who, "from": from.to_string(), "method": method, "path": path, "status": status });
        if let Err(e) = self.write(&format!("{line}\n")) {
            tracing::error!("`{}` cannot be written: {}; {line}", self.path.display(), reason(&e));
        }
    }

    fn write(&self, line: &str) -> std::io::Result<()> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let full = open.as_ref().is_some_and(|(_, bytes)| *bytes >= BYTES);
        if full {
            *open = None;
            fs::rename(&self.path, self.path.with_extension("1.ndjson"))?;
        }
        if open.is_none() {
            if let Some(directory) = self.path.parent() {
                make_private_directory(directory)?;
            }
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            let bytes = file.metadata()?.len();
            *open = Some((file, bytes));
        }
        let Some((file, bytes)) = open.as_mut() else { return Ok(()) };
        file.write_all(line.as_bytes())?;
        *bytes += line.len() as u64;
        Ok(())
    }
}
