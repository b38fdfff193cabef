//! A file of a sink, whichever way it is written.

use std::path::Path;

use super::appended_file::AppendedFile;
use super::output_file::{Opening, OutputFile, Target};
use super::output_mark::{Directories, Written};
use super::pending::Pending;

/// A file of a sink.
pub enum Output {
    /// Rows are written as they come, in place or beside it.
    Written(OutputFile),
    /// Rows wait until a checkpoint is durable.
    Appended(AppendedFile),
}

impl Output {
    /// Begins a file.
    pub fn open(path: &Path, opening: &Opening) -> Result<Output, String> {
        // Who reads a pipe or a device sees what was written before, whatever becomes of it.
        if opening.is_appended() && !Target::of(path).is_special() {
            return AppendedFile::open(path, opening).map(Output::Appended);
        }
        OutputFile::open(path, opening).map(Output::Written)
    }

    /// Goes on with a file as a checkpoint has it.
    pub fn resume(path: &Path, opening: &Opening, so_far: &Written, pending: &Pending) -> Result<Output, String> {
        if opening.is_appended() {
            return AppendedFile::resume(path, opening, so_far, pending).map(Output::Appended);
        }
        OutputFile::resume(path, opening, so_far).map(Output::Written)
    }

    /// Takes the file, so that nobody else writes it.
    pub fn reserve(&mut self) -> Result<(), String> {
        match self {
            Output::Written(_) => Ok(()),
            Output::Appended(file) => file.opened().map(drop),
        }
    }

    /// Whether it holds a descriptor.
    pub fn is_open(&self) -> bool {
        match self {
            Output::Written(file) => file.is_open(),
            Output::Appended(file) => file.is_open(),
        }
    }

    /// Whether writing rows takes a descriptor that it does not hold.
    pub fn needs_descriptor(&self) -> bool {
        matches!(self, Output::Written(file) if !file.is_open())
    }

    /// Whether rows are in it, or wait for it.
    pub fn has_rows(&self) -> bool {
        match self {
            Output::Written(file) => file.has_rows(),
            Output::Appended(file) => file.has_rows(),
        }
    }

    /// Whether rows wait until a checkpoint is durable.
    pub fn waits(&self) -> bool {
        matches!(self, Output::Appended(file) if file.waits())
    }

    /// Whether the next checkpoint need not be told anything of it.
    pub fn is_durable(&self) -> bool {
        match self {
            Output::Written(file) => file.is_durable(),
            Output::Appended(file) => file.is_durable(),
        }
    }

    /// Bytes that it may grow by within a limit, before they are packed.
    pub fn room(&self, limit: u64) -> u64 {
        match self {
            Output::Written(file) => file.room(limit),
            Output::Appended(file) => file.room(limit),
        }
    }

    /// Adds bytes at the end.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self {
            Output::Written(file) => file.write(bytes),
            Output::Appended(file) => file.write(bytes),
        }
    }

    /// What is written as it comes can be read.
    pub fn flush(&mut self) -> Result<(), String> {
        match self {
            Output::Written(file) => file.flush(),
            Output::Appended(_) => Ok(()),
        }
    }

    /// Gives memory back that rows wait in.
    pub fn spill(&mut self, pending: &mut Pending, directories: &mut Directories) -> Result<(), String> {
        match self {
            Output::Written(_) => Ok(()),
            Output::Appended(file) => file.spill(pending, directories),
        }
    }

    /// Gives the descriptor back until it is needed.
    pub fn close(&mut self) -> Result<(), String> {
        match self {
            Output::Written(file) => file.close(),
            Output::Appended(file) => {
                file.close();
                Ok(())
            }
        }
    }

    /// Everything outlives a crash; what to remember if that changed.
    pub fn prepare(&mut self, pending: &mut Pending, directories: &mut Directories) -> Result<Option<Written>, String> {
        match self {
            Output::Written(file) => file.prepare(directories),
            Output::Appended(file) => file.prepare(pending, directories),
        }
    }

    /// The checkpoint is durable.
    pub fn commit(&mut self, pending: &Pending) -> Result<(), String> {
        match self {
            Output::Written(_) => Ok(()),
            Output::Appended(file) => file.commit(pending),
        }
    }

    /// The file is complete and on the disk.
    pub fn finish(&mut self, pending: &Pending, directories: &mut Directories) -> Result<(), String> {
        match self {
            Output::Written(file) => file.finish(directories),
            Output::Appended(file) => file.finish(pending, directories),
        }
    }
}
