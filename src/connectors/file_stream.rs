//! Which file a position counts in: what a source remembers of a file to find it again whatever it is called by then, and
//! to see that it is another although it is called the same.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are compared at the beginning of what was read of a file, and as many at its end.
const COMPARED_BYTES: u64 = 256;

/// What a file is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    number: u64,
}

impl Identity {
    /// That of an existing file.
    pub fn of(metadata: &Metadata) -> Self {
        Identity { device: metadata.dev(), number: metadata.ino() }
    }
}

/// A file as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFile {
    /// Which it was.
    pub file: Identity,
    /// How many bytes of the file itself were read.
    pub read: u64,
    /// A hash of the first and the last of them.
    hash: u64,
}

impl ReadFile {
    /// An open file of which so many bytes were read.
    pub fn of(file: &File, read: u64) -> io::Result<ReadFile> {
        let identity = Identity::of(&file.metadata()?);
        Ok(ReadFile { file: identity, read, hash: hash(file, read)? })
    }

    /// The same under the identity that the file has now.
    pub fn known_as(self, file: Identity) -> ReadFile {
        ReadFile { file, ..self }
    }

    /// Whether a file holds what was read, so that it can be gone on with.
    pub fn fits(&self, file: &File) -> io::Result<bool> {
        Ok(file.metadata()?.len() >= self.read && hash(file, self.read)? == self.hash)
    }

    /// Whether the file at a path holds what was read and has only changed its device, as after a restart of the machine.
    pub fn has_moved_to(&self, path: &Path) -> bool {
        let device = std::fs::metadata(path).map(|metadata| metadata.dev());
        self.read > 0 && device.is_ok_and(|device| device != self.file.device) && self.is_at(path, false)
    }

    /// Whether the file at a path holds what was read; `same`: and is the very file.
    pub fn is_at(&self, path: &Path, same: bool) -> bool {
        // Opening a pipe would wait for whoever writes it.
        let Ok(metadata) = std::fs::metadata(path) else { return false };
        let may = metadata.is_file() && (!same || Identity::of(&metadata) == self.file);
        may && File::open(path).is_ok_and(|file| self.fits(&file).unwrap_or(false))
    }
}

fn hash(file: &File, read: u64) -> io::Result<u64> {
    let mut hash = Xxh3::new();
    let mut bytes = [0; COMPARED_BYTES as usize];
    let compared = COMPARED_BYTES.min(read);
    for from in [0, read - compared] {
        let part = bytes.get_mut(..usize::try_from(compared).unwrap_or_default()).unwrap_or_default();
        match file.read_exact_at(part, from) {
            Ok(()) => hash.update(part),
            // It was cut this moment: then it is no longer what was read.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => hash.update(&[0]),
            Err(e) => return Err(e),
        }
        if compared == read {
            break;
        }
    }
    Ok(hash.digest())
}

/// A file that was read to its end under a name that now belongs to another, or to none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftFile {
    /// The file.
    pub file: ReadFile,
    /// The position of its end, unpacked.
    pub position: u64,
}

/// What a source spells the stream of a partition by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStream {
    /// The file that positions count in.
    pub current: ReadFile,
    /// Files that had the partition's name before and are still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<LeftFile>,
}

impl FileStream {
    /// As a place has it.
    pub fn spell(&self) -> Arc<str> {
        Arc::from(serde_json::to_string(self).unwrap_or_default())
    }

    /// From what a place has; `None` if that is nothing.
    pub fn parse(stream: &str) -> Option<FileStream> {
        serde_json::from_str(stream).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grew_fits_and_one_that_is_another_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for length in [0, 1, 255, 256, 257, 600] {
            let text: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
            std::fs::write(&path, &text).unwrap();
            let read = ReadFile::of(&File::open(&path).unwrap(), length).unwrap();
            let stream = FileStream { current: read.clone(), left: Vec::new() };
            assert_eq!(FileStream::parse(&stream.spell()), Some(stream));
            let fits = |now: &[u8]| {
                std::fs::write(&path, now).unwrap();
                read.fits(&File::open(&path).unwrap()).unwrap()
            };
            assert!(fits(&text) && fits(&[text.as_slice(), b"more"].concat()));
            if length > 0 {
                let last = text.len() - 1;
                assert!(!fits(&text[..last]), "cut");
                for changed in [0, last] {
                    let mut other = text.clone();
                    other[changed] ^= 1;
                    assert!(!fits(&other), "byte {changed} of {length}");
                }
            }
        }
    }
}
