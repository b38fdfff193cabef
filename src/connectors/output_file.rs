//! One file that a sink writes: in place, or beside it until it is complete.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::file_sink::{Mode, Visible};
use super::io_reason;
use super::pack::{Packer, Packing};
use super::unpack::whole_members;

/// Bytes gathered before they are written; a larger piece is written at once, without being copied.
const BUFFER_BYTES: usize = 64 << 10;

/// How a sink opens its files.
#[derive(Clone)]
pub struct Opening {
    /// What becomes of a file that is there already.
    pub mode: Mode,
    /// When readers see what is written.
    pub visible: Visible,
    /// How files are packed.
    pub packing: Packing,
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
    packer: Packer,
    /// Bytes in it before they are packed; of a packed file that was there already only what was added.
    length: u64,
    /// Whether rows are in it, of this run or an earlier one.
    has_rows: bool,
    /// A device or a pipe: it has no length and is never renamed over.
    special: bool,
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
        let replace = opening.mode == Mode::Replace && !special;
        let beside = replace && opening.visible == Visible::Committed;
        let written = if beside { partial(&target) } else { target.clone() };
        let options = OpenOptions::new().append(true).create(true).clone();
        let file = options.open(&written).map_err(|e| cannot("write", &written, &e))?;
        if !special {
            lock(&file, &target)?;
        }
        if replace {
            // What a killed run left, or what is replaced in place.
            file.set_len(0).map_err(|e| cannot("write", &written, &e))?;
        } else if opening.packing != Packing::None && !special {
            cut_unfinished(&file, &written)?;
        }
        let packer = Packer::new(opening.packing);
        let length = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        let fresh = length == Some(0);
        let mut this = OutputFile {
            target,
            written,
            file: None,
            packer,
            length: length.filter(|_| opening.packing == Packing::None).unwrap_or(0),
            has_rows: !fresh,
            special,
            complete: false,
        };
        if let Some(old) = old.filter(|_| beside) {
            file.set_permissions(old.permissions()).map_err(|e| cannot("write", &this.written, &e))?;
        }
        this.file = Some(BufWriter::with_capacity(BUFFER_BYTES, file));
        if fresh {
            this.write(&opening.header)?;
            this.has_rows = false;
        }
        Ok(this)
    }

    /// Whether it holds a descriptor.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether rows are in it.
    pub fn has_rows(&self) -> bool {
        self.has_rows
    }

    /// Bytes that it may grow by within a limit, before they are packed.
    pub fn room(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.length)
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
        self.length += bytes.len() as u64;
        self.has_rows |= !bytes.is_empty();
        self.packer.write(bytes, file).map_err(|e| cannot("write", &self.target, &e))
    }

    /// Everything written so far is in the file and can be read, though perhaps not yet on the disk.
    pub fn flush(&mut self) -> Result<(), String> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let flushed = self.packer.end(file).and_then(|()| file.flush());
        flushed.map_err(|e| cannot("write", &self.target, &e))
    }

    /// Gives the descriptor back until the next write.
    pub fn close(&mut self) -> Result<(), String> {
        self.flush()?;
        self.file = None;
        Ok(())
    }

    /// Everything is written and on the disk: the file gets its name.
    pub fn finish(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.complete, true) {
            return Ok(());
        }
        let done = self.make_whole();
        self.complete = done.is_ok();
        done
    }

    fn make_whole(&mut self) -> Result<(), String> {
        self.flush()?;
        let file = self.file.take();
        if self.special {
            return Ok(());
        }
        let failed = |e: &std::io::Error| cannot("write", &self.target, e);
        match file {
            Some(file) => file.get_ref().sync_all(),
            // It was closed in between.
            None => File::open(&self.written).and_then(|file| file.sync_all()),
        }
        .map_err(|e| failed(&e))?;
        if self.written != self.target {
            std::fs::rename(&self.written, &self.target).map_err(|e| failed(&e))?;
        }
        // A name is on the disk when its directory is.
        let parent = self.target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match File::open(parent).and_then(|directory| directory.sync_all()) {
            // Some file systems know no such thing.
            Err(e) if e.kind() != std::io::ErrorKind::InvalidInput => Err(failed(&e)),
            _ => Ok(()),
        }
    }
}

/// A run that did not complete leaves nothing beside the old file.
impl Drop for OutputFile {
    fn drop(&mut self) {
        // Nobody is left to be told; the next run would cut what remains.
        if !self.complete && self.written != self.target {
            let _ = std::fs::remove_file(&self.written);
        } else if !self.complete {
            let _ = self.flush();
        }
    }
}

/// A run that was killed may have left a member or frame without its end, behind which nothing could be unpacked.
fn cut_unfinished(file: &File, path: &Path) -> Result<(), String> {
    let length = file.metadata().map_err(|e| cannot("write", path, &e))?.len();
    let read = File::open(path).map_err(|e| cannot("read", path, &e))?;
    let whole = whole_members(read).map_err(|e| format!("cannot add to `{}`: {e}", path.display()))?;
    if whole < length {
        file.set_len(whole).map_err(|e| cannot("write", path, &e))?;
    }
    Ok(())
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
    use crate::connectors::unpack::unpack_all;

    fn opening(mode: Mode, packing: Packing, header: &[u8]) -> Opening {
        Opening { mode, visible: Visible::Committed, packing, header: header.to_vec() }
    }

    #[test]
    fn headers_begin_new_files_only() {
        let dir = tempfile::tempdir().unwrap();
        for packing in [Packing::None, Packing::Gzip, Packing::Zstd] {
            let path = dir.path().join(format!("{packing:?}"));
            let opening = opening(Mode::Append, packing, b"x,y\n");
            for row in [&b"1,2\n"[..], b"3,4\n"] {
                let mut file = OutputFile::open(&path, &opening).unwrap();
                file.write(row).unwrap();
                file.close().unwrap();
                file.finish().unwrap();
            }
            assert_eq!(unpack_all(&path), b"x,y\n1,2\n3,4\n");
        }
    }

    #[test]
    fn packed_files_can_be_read_after_every_flush() {
        let dir = tempfile::tempdir().unwrap();
        for packing in [Packing::Gzip, Packing::Zstd] {
            let path = dir.path().join(format!("{packing:?}"));
            let mut file = OutputFile::open(&path, &opening(Mode::Append, packing, b"")).unwrap();
            let mut expected = String::new();
            for i in 0..20 {
                let row = format!("{i}\n").repeat(1 + i * 1000);
                file.write(row.as_bytes()).unwrap();
                expected += &row;
                file.flush().unwrap();
                assert!(unpack_all(&path) == expected.as_bytes());
            }
            // A run that was killed leaves the beginning of a member.
            let whole = std::fs::read(&path).unwrap();
            drop(file);
            std::fs::write(&path, [whole.as_slice(), &whole[..whole.len() / 2]].concat()).unwrap();
            let mut file = OutputFile::open(&path, &opening(Mode::Append, packing, b"")).unwrap();
            file.write(b"more\n").unwrap();
            file.finish().unwrap();
            assert!(unpack_all(&path).starts_with(expected.as_bytes()));
            assert!(unpack_all(&path).ends_with(b"more\n"));
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let opening = opening(Mode::Replace, Packing::None, b"");
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
