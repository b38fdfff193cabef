//! The thread that writes: it takes whatever waits, writes it as one group, syncs once and tells everybody who waited.
//! What comes meanwhile is the next group, so that the slower the disk, the larger the groups; an idle one syncs at once.

use std::fs;

use super::error::JournalError;
use super::format::{GROUP_HEADER, SourceId, encode_name};
use super::queue::{Gathered, Shared, answer_all, lock};
use super::recover::{Files, lock as lock_directory};
use super::segment::{Group, Segment, path_of, sync_directory};
use super::{WRITER_GONE, now};
use crate::base::fault;
use crate::base::system::make_private_directory;

/// Memory of a group that is kept for the next one.
const KEPT_BYTES: usize = 1 << 20;

/// What the writer is to do.
enum Work {
    /// Write a group: what it holds, the sequence number of its first record.
    Write(Gathered, u64),
    /// Begin another segment.
    Renew,
}

/// Writes until the journal is closed or cannot go on.
pub(super) fn write_on(shared: &Shared, files: Files) {
    let _gone = Gone(shared);
    let mut writer = Writer { shared, files };
    let mut spare = Vec::new();
    while let Some(work) = take(shared, std::mem::take(&mut spare)) {
        let done = match work {
            Work::Write(gathered, first) => writer.write(gathered, first).map(|memory| spare = memory),
            Work::Renew => writer.renew(),
        };
        if let Err(why) = done {
            return fail(shared, &why);
        }
    }
}

/// Waits for something to do; `None` when there is nothing more.
fn take(shared: &Shared, spare: Vec<u8>) -> Option<Work> {
    let mut state = lock(&shared.state);
    loop {
        if !state.waiting.answers.is_empty() {
            let gathered = std::mem::replace(&mut state.waiting, Gathered::in_memory(spare));
            state.writing = gathered.len();
            let first = state.next - u64::from(gathered.count);
            shared.room.notify_waiters();
            return Some(Work::Write(gathered, first));
        }
        if std::mem::take(&mut state.renew) {
            return Some(Work::Renew);
        }
        if state.closing {
            return None;
        }
        state = shared.work.wait(state).unwrap_or_else(|e| e.into_inner());
    }
}

/// Takes nothing more, and tells those who wait why.
fn fail(shared: &Shared, why: &JournalError) {
    let mut state = lock(&shared.state);
    let why = state.failed.get_or_insert_with(|| why.clone()).clone();
    let waiting = std::mem::replace(&mut state.waiting, Gathered::in_memory(Vec::new()));
    drop(state);
    answer_all(waiting.answers, &Err(why));
    shared.room.notify_waiters();
}

/// However the writer ends, nobody waits for it in vain.
struct Gone<'a>(&'a Shared);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        fail(self.0, &JournalError::Failed(WRITER_GONE.to_owned()));
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    files: Files,
}

impl Writer<'_> {
    /// Makes a group durable; gives its memory back.
    fn write(&mut self, gathered: Gathered, first: u64) -> Result<Vec<u8>, JournalError> {
        let Gathered { bytes, count, answers } = gathered;
        let mut group = Group { bytes, first, count, arrived: now() };
        let written = self.append(&mut group);
        let mut state = lock(&self.shared.state);
        state.writing = 0;
        if written.is_ok() {
            state.grow(group.bytes.len());
            state.durable = first + u64::from(count);
            for append in &answers {
                if let Some(source) = state.sources.get_mut(usize::from(append.source.0)) {
                    source.written = append.last;
                }
            }
        }
        drop(state);
        self.shared.room.notify_waiters();
        answer_all(answers, &written.clone().map(|()| group.arrived));
        written?;
        let memory = if group.bytes.capacity() <= KEPT_BYTES { group.bytes } else { Vec::new() };
        Ok(memory)
    }

    fn append(&mut self, group: &mut Group) -> Result<(), JournalError> {
        let limit = self.shared.settings.segment_bytes();
        let full = |segment: &Segment| segment.first < group.first && segment.bytes + group.bytes.len() as u64 > limit;
        if self.files.segment.as_ref().is_none_or(full) {
            self.begin_segment(group.first)?;
        }
        self.name_sources(group.first)?;
        let Some(segment) = &mut self.files.segment else { return Ok(()) };
        segment.append(group)
    }

    fn begin_segment(&mut self, first: u64) -> Result<(), JournalError> {
        let directory = &self.shared.directory;
        if self.files.lock.is_none() {
            make_private_directory(directory).map_err(|e| JournalError::system(directory, "cannot be made", &e))?;
            if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                sync_directory(parent)?;
            }
            self.files.lock = Some(lock_directory(directory)?);
        }
        let segment = Segment::create(directory, first)?;
        let mut state = lock(&self.shared.state);
        state.segments.push_back((first, segment.bytes));
        state.bytes += segment.bytes;
        drop(state);
        self.files.segment = Some(segment);
        Ok(())
    }

    /// Every segment names all sources that there are, so that it says alone whose its records are.
    fn name_sources(&mut self, next: u64) -> Result<(), JournalError> {
        let Some(segment) = &mut self.files.segment else { return Ok(()) };
        let state = lock(&self.shared.state);
        if state.sources.len() == segment.named {
            return Ok(());
        }
        let mut bytes = vec![0; GROUP_HEADER];
        for (id, source) in (0..).zip(&state.sources).skip(segment.named) {
            encode_name(SourceId(id), &source.name, source.written, &mut bytes);
        }
        let named = state.sources.len();
        drop(state);
        let mut group = Group { bytes, first: next, count: 0, arrived: now() };
        segment.append(&mut group)?;
        segment.named = named;
        lock(&self.shared.state).grow(group.bytes.len());
        Ok(())
    }

    /// Begins another segment, so that the one before, which is covered, can go.
    fn renew(&mut self) -> Result<(), JournalError> {
        let state = lock(&self.shared.state);
        let (next, covered) = (state.next, state.covered);
        // What was appended since is in the way.
        let due =
            state.durable == next && covered >= next && self.files.segment.as_ref().is_some_and(|s| s.first < next);
        drop(state);
        if due {
            self.begin_segment(next)?;
            self.name_sources(next)?;
            // What cannot be removed now is tried again at the next cut, which says why.
            let _ = remove_covered(self.shared);
        }
        Ok(())
    }
}

/// Removes segments that hold nothing that is needed, the oldest first: should this be interrupted, what is left has no gap.
pub(super) fn remove_covered(shared: &Shared) -> Result<(), JournalError> {
    let _removing = lock(&shared.removing);
    loop {
        let state = lock(&shared.state);
        let covered = state.segments.get(1).is_some_and(|(first, _)| *first <= state.covered);
        let Some((first, bytes)) = state.segments.front().copied().filter(|_| covered) else { return Ok(()) };
        drop(state);
        let path = path_of(&shared.directory, first);
        fs::remove_file(&path).map_err(|e| JournalError::system(&path, "cannot be removed", &e))?;
        fault::point("journal.removed");
        sync_directory(&shared.directory)?;
        let mut state = lock(&shared.state);
        state.segments.pop_front();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        shared.room.notify_waiters();
    }
}
