//! Rows that wait beside their files until a checkpoint is durable: two files that take turns, so that the one which the
//! last durable checkpoint refers to stays as it is while the other is written.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::output_mark::{Directories, Piece, cannot, lost, make_parent, remove};

/// Bytes that are copied at once.
const COPY_BYTES: u64 = 256 << 10;

/// The two pending files of a sink.
pub struct Pending {
    slots: [Slot; 2],
    /// Which is written until the next checkpoint.
    turn: usize,
    /// Bytes in it.
    length: u64,
}

struct Slot {
    path: PathBuf,
    file: Option<File>,
}

impl Pending {
    /// Pending files called `stem` and a number; neither is touched before there is something to write.
    pub fn new(stem: &Path) -> Self {
        let slot = |number: usize| {
            let mut name = stem.file_name().unwrap_or_default().to_os_string();
            name.push(format!(".pending-{number}"));
            Slot { path: stem.with_file_name(name), file: None }
        };
        Pending { slots: [slot(0), slot(1)], turn: 0, length: 0 }
    }

    /// A checkpoint refers to this one: the other is written next.
    pub fn keep(&mut self, slot: usize) {
        self.turn = 1 - slot.min(1);
    }

    /// Writes bytes behind those that wait.
    pub fn add(&mut self, bytes: &[u8], directories: &mut Directories) -> Result<Piece, String> {
        let Some(slot) = self.slots.get_mut(self.turn) else { return Err("no pending file".into()) };
        let failed = |path: &Path, e: &std::io::Error| cannot("write", path, e);
        let file = match &mut slot.file {
            Some(file) => file,
            none => {
                make_parent(&slot.path)?;
                let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
                let file = options.open(&slot.path).map_err(|e| failed(&slot.path, &e))?;
                directories.changed(&slot.path);
                none.insert(file)
            }
        };
        if self.length == 0 {
            file.set_len(0).map_err(|e| failed(&slot.path, &e))?;
        }
        file.write_all_at(bytes, self.length).map_err(|e| failed(&slot.path, &e))?;
        let piece = Piece { slot: self.turn, offset: self.length, length: bytes.len() as u64 };
        self.length += piece.length;
        Ok(piece)
    }

    /// What waits is on the disk.
    pub fn sync(&self) -> Result<(), String> {
        match self.slots.get(self.turn) {
            Some(Slot { path, file: Some(file) }) if self.length > 0 => {
                file.sync_data().map_err(|e| cannot("write", path, &e))
            }
            _ => Ok(()),
        }
    }

    /// The checkpoint is durable: what comes next goes to the other file.
    pub fn take_turns(&mut self) {
        if std::mem::take(&mut self.length) > 0 {
            self.turn = 1 - self.turn;
        }
    }

    /// Hands out a piece in order, in parts.
    pub fn read(&self, piece: Piece, each: &mut dyn FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
        let Some(slot) = self.slots.get(piece.slot) else { return Err("no such pending file".into()) };
        let opened;
        let file = match &slot.file {
            Some(file) => file,
            None => {
                opened = File::open(&slot.path).map_err(|e| match e.kind() {
                    std::io::ErrorKind::NotFound => lost(&slot.path, "is gone"),
                    _ => cannot("read", &slot.path, &e),
                })?;
                &opened
            }
        };
        let mut part = Vec::new();
        let (mut at, end) = (piece.offset, piece.offset + piece.length);
        while at < end {
            part.resize(usize::try_from(COPY_BYTES.min(end - at)).unwrap_or_default(), 0);
            file.read_exact_at(&mut part, at).map_err(|e| match e.kind() {
                std::io::ErrorKind::UnexpectedEof => lost(&slot.path, "was cut"),
                _ => cannot("read", &slot.path, &e),
            })?;
            each(&part)?;
            at += part.len() as u64;
        }
        Ok(())
    }

    /// Whether the file of a piece is there.
    pub fn has(&self, piece: Piece) -> bool {
        self.slots.get(piece.slot).is_some_and(|slot| slot.path.exists())
    }

    /// Nothing waits any more.
    pub fn remove(&mut self) -> Result<(), String> {
        self.length = 0;
        for slot in &mut self.slots {
            slot.file = None;
            remove(&slot.path)?;
        }
        Ok(())
    }
}
