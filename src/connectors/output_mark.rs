//! What a sink remembers of its files at a checkpoint, and the sentences for when a file is no longer what it was.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::file_stream::Identity;
use super::io_reason;

/// One file of a sink.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct FileMark {
    /// Its path without period and number, as the pipeline or the rows have it.
    pub path: Arc<str>,
    /// Start of its period of event time, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<i64>,
    /// Its number, from 1; 0 without numbers.
    #[serde(default)]
    pub number: u32,
    /// How far it is written.
    pub written: Written,
}

/// How far a file is written.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Which file it is; `None` if it is not there before the checkpoint is durable.
    pub file: Option<Identity>,
    /// Its bytes that count; what is behind them is cut.
    pub length: u64,
    /// Bytes in it before they are packed, as far as the run knows them.
    pub unpacked: u64,
    /// Whether rows are in it.
    pub has_rows: bool,
    /// Rows that it gets when the checkpoint is durable: pieces of a pending file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Piece>,
}

/// A piece of a pending file.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which of the two pending files.
    pub slot: usize,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

impl Written {
    /// Whether the file that is there is the one that was written; the error is for whoever runs the pipeline.
    pub fn check(&self, path: &Path, metadata: &Metadata) -> Result<(), String> {
        if self.file.is_some_and(|file| file != Identity::of(metadata)) {
            return Err(lost(path, "is another file than the one that the run wrote"));
        }
        if metadata.len() < self.length {
            let (has, had) = (metadata.len(), self.length);
            return Err(lost(path, &format!("has {has} bytes, and the run had written {had}")));
        }
        Ok(())
    }
}

/// The sentence for a file that is not as the run left it.
pub fn lost(path: &Path, what: &str) -> String {
    format!(
        "`{}` {what}: somebody changed it since, and the run cannot go on with it; put it back as it was, or begin anew with `run --fresh`",
        path.display()
    )
}

/// The sentence for a failed operation on a file.
pub fn cannot(what: &str, path: &Path, error: &io::Error) -> String {
    format!("cannot {what} `{}`: {}", path.display(), io_reason(error))
}

/// Directories whose entries changed; a file's name is on the disk when its directory is.
#[derive(Default)]
pub struct Directories(BTreeSet<PathBuf>);

impl Directories {
    /// The name of a file changed.
    pub fn changed(&mut self, file: &Path) {
        self.0.insert(parent(file).to_path_buf());
    }

    /// Names are on the disk.
    pub fn sync(&mut self) -> Result<(), String> {
        for directory in std::mem::take(&mut self.0) {
            match File::open(&directory).and_then(|opened| opened.sync_all()) {
                // Some file systems know no such thing.
                Err(e) if e.kind() != io::ErrorKind::InvalidInput => return Err(cannot("write", &directory, &e)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The directory of a file.
pub fn parent(file: &Path) -> &Path {
    file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the directory of a file.
pub fn make_parent(file: &Path) -> Result<(), String> {
    let parent = parent(file);
    std::fs::create_dir_all(parent).map_err(|e| cannot("make the directory", parent, &e))
}

/// Removes a file that may be gone already.
pub fn remove(path: &Path) -> Result<(), String> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path, &e)),
        _ => Ok(()),
    }
}
