//! Whether a file is still the one that was read.

use std::fs::Metadata;
use std::path::Path;
use std::time::SystemTime;

/// What changes when a file is written or another takes its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// Device and number of the file.
    file: (u64, u64),
    size: u64,
    modified: Option<SystemTime>,
}

impl Identity {
    /// Of an open file or of what was asked about it.
    pub(super) fn of(metadata: &Metadata) -> Identity {
        Identity { file: number(metadata), size: metadata.len(), modified: metadata.modified().ok() }
    }

    /// Of the file at a path now; `None` if there is none to be seen.
    pub(super) fn at(path: &Path) -> Option<Identity> {
        std::fs::metadata(path).ok().map(|metadata| Identity::of(&metadata))
    }

    /// Whether it is the same file, perhaps written to.
    pub(super) fn same_file(&self, other: &Identity) -> bool {
        self.file == other.file
    }
}

#[cfg(unix)]
fn number(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn number(_: &Metadata) -> (u64, u64) {
    (0, 0)
}
