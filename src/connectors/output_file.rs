//! One file that a sink writes: in place, or beside it until it is complete.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::file_sink::Mode;
use super::io_reason;

/// Bytes gathered before they are written; a larger piece is written at once, without being copied.
const BUFFER_BYTES: usize = 64 << 10;

/// How a sink opens its files.
pub struct Opening {
    /// What becomes of a file that is there already.
    pub mode: Mode,
    /// What a new file begins with.
    pub header: Vec<u8>,
}

/// A file being written.
pub struct OutputFile {
    /// What the file is called in the end.
    target: PathBuf,
    /// What is written until then; the target itself when it is written in place.
    written: PathBuf,
    /// `None` while it is closed to save descriptors, and when it is complete.
    file: Option<BufWriter<File>>,
    complete: bool,
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> String {
    format!("cannot {what} `{}`: {}", path.display(), io_reason(error))
}

impl OutputFile {
    /// Opens the file, making its directories.
    pub fn open(path: &Path, opening: &Opening) -> Result<OutputFile, String> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|e| cannot("make the directory", parent, &e))?;
        }
        // A link stays a link: what it leads to is replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let old = std::fs::metadata(&target).ok();
        // A device or a pipe must never be renamed over.
        let special = old.as_ref().is_some_and(|m| !m.is_file());
        let beside = opening.mode == Mode::Replace && !special;
        let written = if beside { partial(&target) } else { target.clone() };
        let options = OpenOptions::new().append(true).create(true).clone();
        let file = options.open(&written).map_err(|e| cannot("write", &written, &e))?;
        if !special {
            lock(&file, &target)?;
        }
        let mut this = OutputFile { target, written, file: None, complete: false };
        if beside {
            // What a killed run left.
            file.set_len(0).map_err(|e| cannot("write", &this.written, &e))?;
            if let Some(old) = old {
                file.set_permissions(old.permissions()).map_err(|e| cannot("write", &this.written, &e))?;
            }
        }
        let fresh = file.metadata().is_ok_and(|m| m.is_file() && m.len() == 0);
        this.file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        if fresh {
            this.write(&opening.header)?;
        }
        Ok(this)
    }

    /// Whether it holds a descriptor.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Adds bytes at the end; opens the file again if it was closed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let opened = OpenOptions::new().append(true).open(&self.written);
                let opened = opened.map_err(|e| cannot("go on writing", &self.written, &e))?;
                self.file.insert(BufWriter::with_capacity(BUFFER_BYTES, opened))
            }
        };
        file.write_all(bytes).map_err(|e| cannot("write", &self.target, &e))
    }

    /// Everything written so far is in the file, though perhaps not yet on the disk.
    pub fn flush(&mut self) -> Result<(), String> {
        match &mut self.file {
            Some(file) => file.flush().map_err(|e| cannot("write", &self.target, &e)),
            None => Ok(()),
        }
    }

    /// Gives the descriptor back until the next write.
    pub fn close(&mut self) -> Result<(), String> {
        self.flush()?;
        self.file = None;
        Ok(())
    }

    /// Everything is written: the file gets its name.
    pub fn finish(&mut self) -> Result<(), String> {
        self.flush()?;
        if self.written != self.target {
            std::fs::rename(&self.written, &self.target).map_err(|e| cannot("write", &self.target, &e))?;
        }
        self.complete = true;
        self.file = None;
        Ok(())
    }
}

/// A run that did not complete leaves nothing beside the old file.
impl Drop for OutputFile {
    fn drop(&mut self) {
        if !self.complete && self.written != self.target {
            // Nobody is left to be told; the next run would cut what remains.
            let _ = std::fs::remove_file(&self.written);
        }
    }
}

/// The file that is written until it can take the target's name: hidden, in the same directory, so that renaming is one step.
fn partial(target: &Path) -> PathBuf {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    target.with_file_name(format!(".{name}.partial"))
}

fn lock(file: &File, target: &Path) -> Result<(), String> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(format!(
            "`{}` is being written by another sink or another run; give each its own path",
            target.display()
        )),
        // Some file systems have no locks; they are a courtesy, not what keeps a single run right.
        Err(TryLockError::Error(e)) if e.kind() == std::io::ErrorKind::Unsupported => Ok(()),
        Err(TryLockError::Error(e)) => Err(cannot("lock", target, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_begin_new_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let opening = Opening { mode: Mode::Append, header: b"x,y\n".to_vec() };
        for row in [&b"1,2\n"[..], b"3,4\n"] {
            let mut file = OutputFile::open(&path, &opening).unwrap();
            file.write(row).unwrap();
            file.close().unwrap();
            file.finish().unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x,y\n1,2\n3,4\n");
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let opening = Opening { mode: Mode::Replace, header: Vec::new() };
        let mut file = OutputFile::open(&link, &opening).unwrap();
        file.write(b"new").unwrap();
        file.finish().unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");

        let mut device = OutputFile::open(Path::new("/dev/null"), &opening).unwrap();
        device.write(b"gone").unwrap();
        device.finish().unwrap();
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }
}
