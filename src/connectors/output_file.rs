//! One file that a sink writes as rows come: in place, or beside it until it is complete.

use std::fs::{File, Metadata, OpenOptions, TryLockError};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::file_sink::{Mode, Visible};
use super::file_stream::Identity;
use super::output_mark::{Directories, Written, cannot, lost, make_parent};
use super::pack::{Packer, Packing};
use super::unpack::whole_members;
use super::writeback::Writeback;
use crate::base::fault;

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

impl Opening {
    /// Whether files get their rows when a checkpoint is durable.
    pub fn is_appended(&self) -> bool {
        self.mode == Mode::Append && self.visible == Visible::Committed
    }
}

/// Where a path leads.
pub struct Target {
    /// The file itself: a link stays a link, what it leads to is written.
    pub path: PathBuf,
    /// What is there.
    pub there: Option<Metadata>,
}

impl Target {
    /// What a path leads to.
    pub fn of(path: &Path) -> Target {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let there = std::fs::metadata(&path).ok();
        Target { path, there }
    }

    /// Whether it is a device or a pipe: it has no length, and must never be renamed over.
    pub fn is_special(&self) -> bool {
        self.there.as_ref().is_some_and(|m| !m.is_file())
    }

    /// What is written until the file is complete: the file itself, or one beside it.
    pub fn written(&self, opening: &Opening) -> PathBuf {
        let beside = opening.mode == Mode::Replace && opening.visible == Visible::Committed && !self.is_special();
        if beside { partial(&self.path) } else { self.path.clone() }
    }
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
    writeback: Writeback,
    /// Bytes in it before they are packed; of a packed file that was there already only what was added.
    length: u64,
    /// Whether rows are in it, of this run or an earlier one.
    has_rows: bool,
    /// A device or a pipe: there is nothing to remember of it.
    special: bool,
    /// It may hold bytes that are not on the disk.
    unsynced: bool,
    /// A checkpoint may know it: it stays when the run stops.
    prepared: bool,
    complete: bool,
}

impl OutputFile {
    /// Opens the file, making its directories.
    pub fn open(path: &Path, opening: &Opening) -> Result<OutputFile, String> {
        make_parent(path)?;
        let target = Target::of(path);
        let special = target.is_special();
        let written = target.written(opening);
        let options = OpenOptions::new().append(true).create(true).clone();
        let file = options.open(&written).map_err(|e| cannot("write", &written, &e))?;
        if !special {
            lock(&file, &target.path)?;
        }
        if opening.mode == Mode::Replace && !special {
            // What a killed run left, or what is replaced in place.
            file.set_len(0).map_err(|e| cannot("write", &written, &e))?;
        } else if opening.packing != Packing::None && !special {
            cut_unfinished(&file, &written)?;
        }
        if let Some(old) = target.there.filter(|_| written != target.path) {
            file.set_permissions(old.permissions()).map_err(|e| cannot("write", &written, &e))?;
        }
        let length = file.metadata().ok().filter(Metadata::is_file).map(|m| m.len());
        let fresh = length == Some(0);
        let mut this = OutputFile {
            target: target.path,
            written,
            file: Some(BufWriter::with_capacity(BUFFER_BYTES, file)),
            packer: Packer::new(opening.packing),
            writeback: Writeback::default(),
            length: length.filter(|_| opening.packing == Packing::None).unwrap_or(0),
            has_rows: !fresh,
            special,
            unsynced: true,
            prepared: false,
            complete: false,
        };
        if fresh {
            this.write(&opening.header)?;
            this.has_rows = false;
        }
        Ok(this)
    }

    /// Goes on with a file as a checkpoint has it: what was written after it is cut.
    pub fn resume(path: &Path, opening: &Opening, so_far: &Written) -> Result<OutputFile, String> {
        let target = Target::of(path);
        let written = target.written(opening);
        let mut this = OutputFile {
            target: target.path,
            written,
            file: None,
            packer: Packer::new(opening.packing),
            writeback: Writeback::default(),
            length: so_far.unpacked,
            has_rows: so_far.has_rows,
            special: false,
            unsynced: false,
            prepared: true,
            complete: false,
        };
        let metadata = match std::fs::metadata(&this.written) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // The run may have died after it gave the file its name.
                let there = target.there.ok_or_else(|| lost(&this.written, "is gone"))?;
                if so_far.file != Some(Identity::of(&there)) || there.len() != so_far.length {
                    return Err(lost(&this.written, "is gone"));
                }
                this.complete = true;
                return Ok(this);
            }
            Err(e) => return Err(cannot("go on writing", &this.written, &e)),
        };
        so_far.check(&this.written, &metadata)?;
        let file = this.reopen()?;
        if metadata.len() > so_far.length {
            file.get_ref().set_len(so_far.length).map_err(|e| cannot("write", &this.written, &e))?;
            this.unsynced = true;
        }
        Ok(this)
    }

    fn reopen(&mut self) -> Result<&mut BufWriter<File>, String> {
        let opened = OpenOptions::new().append(true).open(&self.written);
        let opened = opened.map_err(|e| cannot("go on writing", &self.written, &e))?;
        if !self.special {
            lock(&opened, &self.target)?;
        }
        Ok(self.file.insert(BufWriter::with_capacity(BUFFER_BYTES, opened)))
    }

    /// Whether it holds a descriptor.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether rows are in it.
    pub fn has_rows(&self) -> bool {
        self.has_rows
    }

    /// Whether the next checkpoint need not be told anything of it.
    pub fn is_durable(&self) -> bool {
        self.special || (self.prepared && !self.unsynced)
    }

    /// Bytes that it may grow by within a limit, before they are packed.
    pub fn room(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.length)
    }

    /// Adds bytes at the end; opens the file again if it was closed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.file.is_none() {
            if self.complete {
                return Err(lost(&self.target, "is complete already"));
            }
            self.reopen()?;
        }
        self.length += bytes.len() as u64;
        self.has_rows |= !bytes.is_empty();
        self.unsynced = true;
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = self.packer.write(bytes, file);
        let written = match self.special {
            true => written,
            false => written.and_then(|()| self.writeback.wrote(bytes.len() as u64, file.get_ref())),
        };
        written.map_err(|e| cannot("write", &self.target, &e))
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
        self.writeback.wait().map_err(|e| cannot("write", &self.target, &e))?;
        self.file = None;
        Ok(())
    }

    /// Everything written so far is on the disk, and can be gone on with behind it; what to remember if that changed.
    pub fn prepare(&mut self, directories: &mut Directories) -> Result<Option<Written>, String> {
        self.flush()?;
        if self.is_durable() || self.complete {
            return Ok(None);
        }
        let metadata = self.sync()?;
        if !std::mem::replace(&mut self.prepared, true) {
            directories.changed(&self.written);
        }
        Ok(Some(Written {
            file: Some(Identity::of(&metadata)),
            length: metadata.len(),
            unpacked: self.length,
            has_rows: self.has_rows,
            pending: Vec::new(),
        }))
    }

    fn sync(&mut self) -> Result<Metadata, String> {
        self.writeback.wait().map_err(|e| cannot("write", &self.target, &e))?;
        let opened;
        let file = match &self.file {
            Some(file) => file.get_ref(),
            // It was closed in between.
            None => {
                opened = File::open(&self.written).map_err(|e| cannot("write", &self.target, &e))?;
                &opened
            }
        };
        let synced = if self.unsynced { file.sync_all() } else { Ok(()) };
        let metadata = synced.and_then(|()| file.metadata()).map_err(|e| cannot("write", &self.target, &e))?;
        self.unsynced = false;
        Ok(metadata)
    }

    /// Everything is written and on the disk: the file gets its name.
    pub fn finish(&mut self, directories: &mut Directories) -> Result<(), String> {
        if self.complete {
            return Ok(());
        }
        self.flush()?;
        if !self.special {
            self.sync()?;
            fault::point("sink.synced");
            if self.written != self.target {
                std::fs::rename(&self.written, &self.target).map_err(|e| cannot("write", &self.target, &e))?;
                fault::point("sink.renamed");
            }
            directories.changed(&self.target);
        }
        self.file = None;
        self.complete = true;
        Ok(())
    }
}

/// A run that no checkpoint knows leaves nothing beside the old file.
impl Drop for OutputFile {
    fn drop(&mut self) {
        // Nobody is left to be told; the next run would cut what remains.
        if !self.complete && !self.prepared && self.written != self.target {
            let _ = std::fs::remove_file(&self.written);
        } else if !self.complete {
            let _ = self.flush();
        }
    }
}

/// A run that was killed may have left a member or frame without its end, behind which nothing could be unpacked.
pub fn cut_unfinished(file: &File, path: &Path) -> Result<(), String> {
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

/// Keeps another sink or another run from writing the same file.
pub fn lock(file: &File, target: &Path) -> Result<(), String> {
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

    fn finish(file: &mut OutputFile) {
        file.finish(&mut Directories::default()).unwrap();
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
                finish(&mut file);
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
            finish(&mut file);
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
        finish(&mut file);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "new");

        let mut device = OutputFile::open(Path::new("/dev/null"), &opening).unwrap();
        device.write(b"gone").unwrap();
        finish(&mut device);
        assert!(!Path::new("/dev/null").metadata().unwrap().is_file());
    }
}
