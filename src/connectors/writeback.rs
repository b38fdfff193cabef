//! Brings a file to the disk while it is being written, so that a checkpoint or the end finds little left to wait for.

use std::fs::File;
use std::io;
use std::thread::JoinHandle;

/// Bytes after which the disk is given something to do: enough that the calls cost nothing, little enough to be written
/// in a moment.
const STEP_BYTES: u64 = 8 << 20;

/// The part of one file's writing that goes on beside the flow.
#[derive(Default)]
pub struct Writeback {
    /// Bytes written since the last step began.
    since: u64,
    under_way: Option<JoinHandle<io::Result<()>>>,
}

impl Writeback {
    /// So many bytes were written to `file`; begins a step if there are enough and the last one has ended.
    ///
    /// # Errors
    /// What the last step met. The system tells it once, so it must not be passed over.
    pub fn wrote(&mut self, bytes: u64, file: &File) -> io::Result<()> {
        self.since += bytes;
        if self.since < STEP_BYTES || self.under_way.as_ref().is_some_and(|step| !step.is_finished()) {
            return Ok(());
        }
        self.wait()?;
        self.since = 0;
        let same = file.try_clone()?;
        let named = std::thread::Builder::new().name("writeback".to_owned());
        self.under_way = Some(named.spawn(move || same.sync_data())?);
        Ok(())
    }

    /// Waits for the step that is under way.
    ///
    /// # Errors
    /// What it met.
    pub fn wait(&mut self) -> io::Result<()> {
        match self.under_way.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(synced)) => synced,
            Some(Err(_)) => Err(io::Error::other("the thread that syncs it panicked")),
        }
    }
}

impl Drop for Writeback {
    fn drop(&mut self) {
        // Its descriptor holds the file's lock. Whoever needs to know what it met has waited before.
        let _ = self.wait();
    }
}
