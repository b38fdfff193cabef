//! One file that a sink adds to when a checkpoint is durable, so that readers see no row that may come again. Until then
//! its rows wait, packed already, in memory and in a pending file.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::file_stream::Identity;
use super::output_file::{Opening, Target, cut_unfinished, lock};
use super::output_mark::{Directories, Piece, Written, cannot, lost, make_parent};
use super::pack::{Packer, Packing};
use super::pending::Pending;
use crate::base::fault;

/// A file that is added to.
pub struct AppendedFile {
    target: PathBuf,
    /// `None` while it is closed to save descriptors, or not there.
    file: Option<File>,
    /// Which file it is, if it is there.
    identity: Option<Identity>,
    packer: Packer,
    /// Bytes in it before they are packed; of a packed file that was there already only what was added.
    length: u64,
    /// Whether rows are in it, or wait for it.
    has_rows: bool,
    /// Bytes that wait in memory.
    held: Vec<u8>,
    /// Bytes that wait in the pending file, before those in memory.
    pieces: Vec<Piece>,
    /// It may hold bytes that are not on the disk.
    unsynced: bool,
    /// Its name may not be on the disk.
    unnamed: bool,
}

impl AppendedFile {
    /// Begins to add to a file, which need not be there.
    pub fn open(path: &Path, opening: &Opening) -> Result<AppendedFile, String> {
        let target = Target::of(path);
        let mut this = AppendedFile::at(target.path, opening);
        if let Some(there) = target.there {
            this.identity = Some(Identity::of(&there));
            if opening.packing == Packing::None {
                this.length = there.len();
            } else {
                let path = this.target.clone();
                cut_unfinished(this.opened()?, &path)?;
            }
            this.has_rows = there.len() > 0;
        }
        if !this.has_rows {
            this.write(&opening.header)?;
            this.has_rows = false;
        }
        Ok(this)
    }

    /// Goes on with a file as a checkpoint has it: it gets the rows that the checkpoint had waiting, once.
    pub fn resume(path: &Path, opening: &Opening, so_far: &Written, pending: &Pending) -> Result<AppendedFile, String> {
        let target = Target::of(path);
        let mut this = AppendedFile::at(target.path, opening);
        (this.length, this.has_rows) = (so_far.unpacked, so_far.has_rows);
        let waiting: u64 = so_far.pending.iter().map(|piece| piece.length).sum();
        let length = match &target.there {
            None if so_far.file.is_some() => return Err(lost(&this.target, "is gone")),
            None => 0,
            Some(there) => {
                so_far.check(&this.target, there)?;
                if so_far.file.is_none() && there.len() > so_far.length + waiting {
                    return Err(lost(&this.target, "is another file than the one that the run wrote"));
                }
                this.identity = Some(Identity::of(there));
                there.len()
            }
        };
        this.pieces.clone_from(&so_far.pending);
        // A run that dies when it is complete may have removed what waited: then nothing waits any more.
        if length >= so_far.length + waiting && !so_far.pending.iter().all(|piece| pending.has(*piece)) {
            this.pieces.clear();
        }
        this.unsynced = true;
        this.add_pieces(so_far.length, pending)?;
        Ok(this)
    }

    fn at(target: PathBuf, opening: &Opening) -> AppendedFile {
        AppendedFile {
            target,
            file: None,
            identity: None,
            packer: Packer::new(opening.packing),
            length: 0,
            has_rows: false,
            held: Vec::new(),
            pieces: Vec::new(),
            unsynced: false,
            unnamed: true,
        }
    }

    /// The file, made if it is not there.
    pub fn opened(&mut self) -> Result<&File, String> {
        if self.file.is_none() {
            make_parent(&self.target)?;
            let opened = OpenOptions::new().read(true).append(true).create(true).open(&self.target);
            let opened = opened.map_err(|e| cannot("write", &self.target, &e))?;
            lock(&opened, &self.target)?;
            let metadata = opened.metadata().map_err(|e| cannot("write", &self.target, &e))?;
            self.identity = Some(Identity::of(&metadata));
            self.file = Some(opened);
        }
        self.file.as_ref().ok_or_else(|| format!("`{}` is closed", self.target.display()))
    }

    /// Whether it holds a descriptor.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Whether rows are in it, or wait for it.
    pub fn has_rows(&self) -> bool {
        self.has_rows
    }

    /// Whether the next checkpoint need not be told anything of it.
    pub fn is_durable(&self) -> bool {
        !self.unsynced && !self.waits()
    }

    /// Whether rows wait for it.
    pub fn waits(&self) -> bool {
        !self.held.is_empty() || !self.pieces.is_empty() || self.packer.has_begun()
    }

    /// Bytes that it may grow by within a limit, before they are packed.
    pub fn room(&self, limit: u64) -> u64 {
        limit.saturating_sub(self.length)
    }

    /// Adds bytes at the end of those that wait.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.length += bytes.len() as u64;
        self.has_rows |= !bytes.is_empty();
        self.packer.write(bytes, &mut self.held).map_err(|e| cannot("pack", &self.target, &e))
    }

    /// Gives the descriptor back until it is needed.
    pub fn close(&mut self) {
        self.file = None;
    }

    /// What waits in memory waits in the pending file.
    pub fn spill(&mut self, pending: &mut Pending, directories: &mut Directories) -> Result<(), String> {
        if !self.held.is_empty() {
            let piece = pending.add(&self.held, directories)?;
            self.held = Vec::new();
            match self.pieces.last_mut() {
                Some(last) if last.offset + last.length == piece.offset => last.length += piece.length,
                _ => self.pieces.push(piece),
            }
        }
        Ok(())
    }

    /// What was added before is on the disk, and what waits is in the pending file; what to remember if that changed.
    pub fn prepare(&mut self, pending: &mut Pending, directories: &mut Directories) -> Result<Option<Written>, String> {
        if self.is_durable() {
            return Ok(None);
        }
        self.packer.end(&mut self.held).map_err(|e| cannot("pack", &self.target, &e))?;
        self.spill(pending, directories)?;
        self.sync(directories)?;
        let length = match self.identity {
            None => 0,
            Some(_) => std::fs::metadata(&self.target).map_err(|e| cannot("write", &self.target, &e))?.len(),
        };
        Ok(Some(Written {
            file: self.identity,
            length,
            unpacked: self.length,
            has_rows: self.has_rows,
            pending: self.pieces.clone(),
        }))
    }

    fn sync(&mut self, directories: &mut Directories) -> Result<(), String> {
        if !self.unsynced || self.identity.is_none() {
            return Ok(());
        }
        let synced = match &self.file {
            Some(file) => file.sync_all(),
            None => File::open(&self.target).and_then(|file| file.sync_all()),
        };
        synced.map_err(|e| cannot("write", &self.target, &e))?;
        if std::mem::take(&mut self.unnamed) {
            directories.changed(&self.target);
        }
        self.unsynced = false;
        Ok(())
    }

    /// The checkpoint is durable: rows that wait in the pending file are added.
    pub fn commit(&mut self, pending: &Pending) -> Result<(), String> {
        if self.pieces.is_empty() {
            return Ok(());
        }
        let file = self.opened()?;
        let length = file.metadata().map(|m| m.len());
        let length = length.map_err(|e| cannot("write", &self.target, &e))?;
        self.unsynced = true;
        self.add_pieces(length, pending)
    }

    /// Adds what waits behind a length; as far as it is there already it stays.
    fn add_pieces(&mut self, length: u64, pending: &Pending) -> Result<(), String> {
        let pieces = std::mem::take(&mut self.pieces);
        if pieces.is_empty() {
            return Ok(());
        }
        let target = self.target.clone();
        let failed = |e: &std::io::Error| cannot("write", &target, e);
        let mut file = self.opened()?;
        let mut there = file.metadata().map_err(|e| failed(&e))?.len();
        let mut at = length;
        let mut found = Vec::new();
        for piece in pieces {
            pending.read(piece, &mut |part| {
                let have = usize::try_from(there.saturating_sub(at)).map_or(part.len(), |n| n.min(part.len()));
                found.resize(have, 0);
                let same = file.read_exact_at(&mut found, at).is_ok() && part.starts_with(&found);
                if !same {
                    file.set_len(at).map_err(|e| failed(&e))?;
                }
                let missing = part.get(if same { have } else { 0 }..).unwrap_or_default();
                file.write_all(missing).map_err(|e| failed(&e))?;
                at += part.len() as u64;
                there = if same { there.max(at) } else { at };
                fault::point("sink.appended");
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Everything is in the file and on the disk.
    pub fn finish(&mut self, pending: &Pending, directories: &mut Directories) -> Result<(), String> {
        self.packer.end(&mut self.held).map_err(|e| cannot("pack", &self.target, &e))?;
        self.commit(pending)?;
        let held = std::mem::take(&mut self.held);
        let target = self.target.clone();
        let mut file = self.opened()?;
        file.write_all(&held).map_err(|e| cannot("write", &target, &e))?;
        self.unsynced = true;
        self.sync(directories)?;
        self.file = None;
        Ok(())
    }
}
