//! Following a file that grows: what is appended comes as it is written; a file that is renamed away is read to its end
//! before the one that took its name, one that is cut begins again, one that is deleted ends.
//!
//! A file is known by its device and number, and by its first bytes, so that a file that was cut and has grown past the
//! old length is still seen to be another. A run that goes on begins with the file it had read, wherever that is now, then
//! reads those that had the path since.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, Metadata};
use std::io::{self, Seek as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::file_stream::{FileStream, Identity, LeftFile, ReadFile};
use super::find_again::FoundAgain;
use super::input_file::{InputFile, cannot};
use super::unpack::Compression;
use crate::connector::{BoxFuture, Chunk, Read, Source, SourceError, pause};

/// First bytes that are remembered of a file.
const HEAD_BYTES: usize = 256;

/// What the followers of one source know of each other's files.
#[derive(Clone, Default)]
pub struct Followed(Arc<Mutex<Files>>);

#[derive(Default)]
struct Files {
    /// What is being read, by name.
    current: HashMap<String, Identity>,
    /// What was read to its end, with the name that it was read under.
    left: HashMap<Identity, (String, LeftFile)>,
}

/// What is to be done with a file that was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// It is being read, or was.
    Read,
    /// It is new, or has grown after it was left; where to begin, and what was read of it.
    From(u64, ReadFile),
}

impl Followed {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Whether a file that was found under a name that nobody follows must be read; if so, it is that name's from now on.
    pub fn take(&self, name: &str, path: &Path) -> Known {
        if self.files().current.contains_key(name) {
            return Known::Read;
        }
        // What is gone by now is found again when it is back.
        std::fs::metadata(path).map_or(Known::Read, |metadata| self.claim(name, path, &metadata))
    }

    /// Takes a file for a name, unless it is being read under another, or was.
    fn claim(&self, name: &str, path: &Path, metadata: &Metadata) -> Known {
        let mut files = self.files();
        let identity = Identity::of(metadata);
        if files.current.iter().any(|(other, i)| *i == identity && other != name) {
            return Known::Read;
        }
        let from = match files.left.get(&identity) {
            // The number of a deleted file is given to another soon.
            Some((_, left)) if left.file.is_at(path, true) => {
                if metadata.len() == left.file.read {
                    return Known::Read;
                }
                Some((left.position, left.file.clone()))
            }
            _ => None,
        };
        let new = || File::open(path).and_then(|file| ReadFile::of(&file, 0)).map(|read| (0, read));
        // What is gone by now is found again when it is back.
        let Ok((position, read)) = from.map_or_else(new, Ok) else { return Known::Read };
        files.left.remove(&identity);
        files.current.insert(name.to_owned(), identity);
        Known::From(position, read)
    }

    /// A run goes on with files that were found again; `paths` are all that there are.
    pub fn resume(&self, found: &[FoundAgain], paths: &[&Path]) {
        let mut files = self.files();
        for (again, left) in found.iter().flat_map(|again| again.stream.left.iter().map(move |left| (again, left))) {
            let at = |found: &dyn Fn(&Path) -> bool| paths.iter().copied().find(|path| found(path));
            let at = at(&|path| left.file.is_at(path, true)).or_else(|| at(&|path| left.file.has_moved_to(path)));
            if let Some(metadata) = at.and_then(|path| std::fs::metadata(path).ok()) {
                let identity = Identity::of(&metadata);
                let left = LeftFile { file: left.file.clone().known_as(identity), position: left.position };
                files.left.insert(identity, (again.name.clone(), left));
            }
        }
        // What is read on is not what was left, whoever left it.
        for (again, path) in found.iter().filter_map(|again| Some((again, again.at.as_ref()?))) {
            if let Ok(metadata) = std::fs::metadata(path) {
                files.left.remove(&Identity::of(&metadata));
                files.current.insert(again.name.clone(), Identity::of(&metadata));
            }
        }
    }

    /// What was left under a name.
    fn left_under(&self, name: &str) -> Vec<LeftFile> {
        let files = self.files();
        files.left.values().filter(|(by, _)| by == name).map(|(_, left)| left.clone()).collect()
    }

    /// Forgets files that were left and are not among those that exist.
    pub fn keep_only(&self, paths: &[&Path]) {
        let mut files = self.files();
        if !files.left.is_empty() {
            let there = paths.iter().filter_map(|p| std::fs::metadata(p).ok()).map(|m| Identity::of(&m));
            let there: std::collections::HashSet<Identity> = there.collect();
            files.left.retain(|identity, _| there.contains(identity));
        }
    }
}

/// The first bytes of a file, fewer if it has fewer.
fn head(file: &File, length: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; length];
    let mut have = 0;
    while let Some(room) = head.get_mut(have..).filter(|r| !r.is_empty()) {
        match file.read_at(room, have as u64) {
            Ok(0) => break,
            Ok(count) => have += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    head.truncate(have);
    Ok(head)
}

/// How files are followed.
#[derive(Clone)]
pub struct Following {
    /// How they are packed.
    pub compression: Compression,
    /// How often a file without news is looked at.
    pub poll: Duration,
    /// How often at least, when it has had none for long.
    pub seldom: Duration,
    /// How long a file whose name is gone must be silent until it is left.
    pub rotate_wait: Duration,
    /// Bytes that the blocks of all files may hold together, and the least and the most that are read at once.
    pub blocks: (usize, RangeInclusive<usize>),
    /// What the source's other followers read.
    pub followed: Followed,
}

/// One path, being followed.
pub struct Follower {
    path: PathBuf,
    name: String,
    how: Following,
    /// Where to begin in the file that is opened next.
    from: u64,
    /// Files to read before the one that the path leads to.
    before: VecDeque<PathBuf>,
    /// What a run that goes on had read: the first of those files must hold it.
    had: Option<ReadFile>,
    current: Option<Current>,
    /// When to look again.
    next_look: Option<Instant>,
    /// When something came last.
    heard: Instant,
    ended: bool,
}

/// The file that a path leads to, or led to until it was renamed.
struct Current {
    input: InputFile,
    /// The most bytes read at once.
    block: usize,
    identity: Identity,
    head: Vec<u8>,
    /// Its length and time when it was last read to its end.
    drained: Option<(u64, i64, i64)>,
    /// Since when it brings nothing while the path leads elsewhere or nowhere.
    silent_since: Option<Instant>,
}

impl Follower {
    /// Follows a path from a position in the file that it leads to now.
    pub fn new(path: &Path, name: &str, how: &Following, from: u64) -> Self {
        Follower {
            path: path.into(),
            name: name.into(),
            how: how.clone(),
            from,
            before: VecDeque::new(),
            had: None,
            current: None,
            next_look: None,
            heard: Instant::now(),
            ended: false,
        }
    }

    /// Goes on with a file that was found again, then with those that had its path since.
    pub fn resume(mut self, again: &FoundAgain) -> Self {
        self.had = Some(again.stream.current.clone());
        self.before = again.at.iter().chain(&again.between).cloned().collect();
        self
    }

    /// What there is to read now, if anything.
    fn look(&mut self) -> Result<Option<Read>, SourceError> {
        if self.ended {
            return Ok(Some(Read::End));
        }
        if let Some(had) = self.had.take()
            && !self.before.front().is_some_and(|path| had.is_at(path, false))
        {
            // It is gone for good, or was cut: what has its path now is another.
            self.from = 0;
            self.before.pop_front();
            return Ok(Some(Read::Renewed));
        }
        if self.current.is_none() && !self.open()? {
            self.ended = true;
            self.how.followed.files().current.remove(&self.name);
            return Ok(Some(Read::End));
        }
        let Some(current) = &mut self.current else { return Ok(None) };
        let stands = match current.input.file().map(File::metadata) {
            Some(metadata) => metadata.map_err(|e| cannot("read", &self.name, &e))?,
            None => return Ok(None),
        };
        let stands = (stands.len(), stands.mtime(), stands.mtime_nsec());
        if current.drained == Some(stands) {
            return self.at_end();
        }
        if current.was_cut(stands.0).map_err(|e| cannot("read", &self.name, &e))? {
            // What it holds now is read from its beginning.
            self.current = None;
            return Ok(Some(Read::Renewed));
        }
        let position = current.input.position();
        let bytes = current.input.read(current.block, false)?;
        if bytes.is_empty() {
            if let Some(reason) = current.input.breaks(false) {
                return Ok(Some(Read::Broken { position, reason }));
            }
            current.drained = Some(stands);
            return self.at_end();
        }
        current.silent_since = None;
        if !current.is_same(&bytes, position).map_err(|e| cannot("read", &self.name, &e))? {
            // It was cut and written anew while it was read, so these bytes stand somewhere else now.
            self.current = None;
            return Ok(Some(Read::Renewed));
        }
        let left = self.how.followed.left_under(&self.name);
        let stream = current.stream(left).map_err(|e| cannot("read", &self.name, &e))?;
        Ok(Some(Read::Chunk(Chunk { stream, bytes, position, ..Chunk::default() })))
    }

    /// How long is waited until the next look.
    fn pause(&self) -> Duration {
        let moved = self.current.as_ref().is_some_and(|current| current.silent_since.is_some());
        if moved { self.how.poll } else { pause(self.heard.elapsed(), self.how.poll, self.how.seldom) }
    }

    /// Opens the file that is next; false if there is none.
    fn open(&mut self) -> Result<bool, SourceError> {
        while let Some(path) = self.before.pop_front() {
            if self.open_at(&path)? {
                return Ok(true);
            }
        }
        let path = self.path.clone();
        self.open_at(&path)
    }

    /// Opens what a path leads to; false if that is nothing, or read already.
    fn open_at(&mut self, path: &Path) -> Result<bool, SourceError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(cannot("read", &self.name, &e)),
        };
        let metadata = file.metadata().map_err(|e| cannot("read", &self.name, &e))?;
        if !metadata.is_file() {
            let message =
                format!("`{}` is a pipe or a device, which cannot be followed; leave `follow` out", self.name);
            return Err(SourceError { message });
        }
        let identity = Identity::of(&metadata);
        let mut from = std::mem::take(&mut self.from);
        if self.how.followed.files().current.get(&self.name) != Some(&identity) {
            // Where names are passed on (`a.log` to `a.log.1`), what has this one now may be read already.
            match self.how.followed.claim(&self.name, path, &metadata) {
                Known::Read => return Ok(false),
                Known::From(position, _) => from = from.max(position),
            }
        }
        let again = file.try_clone().map_err(|e| cannot("read", &self.name, &e))?;
        let mut input = InputFile::new(file, path, &self.name, self.how.compression)?;
        if !input.seek(from)? {
            // It is not the file that was read before: that one was longer.
            (&again).seek(io::SeekFrom::Start(0)).map_err(|e| cannot("read", &self.name, &e))?;
            input = InputFile::new(again, path, &self.name, self.how.compression)?;
        }
        let (all, each) = &self.how.blocks;
        let block = (all / self.how.followed.files().current.len().max(1)).clamp(*each.start(), *each.end());
        self.current = Some(Current { input, block, identity, head: Vec::new(), drained: None, silent_since: None });
        Ok(true)
    }

    /// The file has no more for now: it may be that its name is another's.
    fn at_end(&mut self) -> Result<Option<Read>, SourceError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let there = match std::fs::metadata(&self.path) {
            Ok(metadata) => Some(Identity::of(&metadata)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(cannot("read", &self.name, &e)),
        };
        if there == Some(current.identity) {
            current.silent_since = None;
            return Ok(None);
        }
        // Whoever writes it may not know yet that it was renamed.
        let now = Instant::now();
        if now.duration_since(*current.silent_since.get_or_insert(now)) < self.how.rotate_wait {
            return Ok(None);
        }
        let position = current.input.position();
        if let Some(reason) = current.input.breaks(true) {
            return Ok(Some(Read::Broken { position, reason }));
        }
        // A deleted file comes under no other name.
        if let Some(file) = current.input.file().filter(|file| file.metadata().is_ok_and(|m| m.nlink() > 0)) {
            let read = ReadFile::of(file, current.input.raw()).map_err(|e| cannot("read", &self.name, &e))?;
            let left = LeftFile { file: read, position: current.input.position() };
            self.how.followed.files().left.insert(current.identity, (self.name.clone(), left));
        }
        self.current = None;
        // Nothing there: the next look ends it.
        if there.is_none() && self.before.is_empty() { self.look() } else { Ok(Some(Read::Renewed)) }
    }
}

impl Current {
    /// The file as far as it was read, with what had its name before.
    fn stream(&self, left: Vec<LeftFile>) -> io::Result<Arc<str>> {
        let Some(file) = self.input.file() else { return Ok(Arc::default()) };
        Ok(FileStream { current: ReadFile::of(file, self.input.raw())?, left }.spell())
    }

    /// Whether the file still begins as it did after `bytes` were read of it at a position; its first bytes are kept.
    fn is_same(&mut self, bytes: &[u8], position: u64) -> io::Result<bool> {
        let Some(file) = self.input.file() else { return Ok(true) };
        let now = head(file, HEAD_BYTES)?;
        let first_read = self.head.is_empty() && position == 0 && self.input.raw() == bytes.len() as u64;
        let known = if first_read { bytes.get(..HEAD_BYTES).unwrap_or(bytes) } else { &self.head };
        let same = now.starts_with(known);
        self.head = now;
        Ok(same)
    }

    /// Whether the file is no longer what was read of it.
    fn was_cut(&self, length: u64) -> io::Result<bool> {
        if length < self.input.raw() {
            return Ok(true);
        }
        match self.input.file() {
            Some(file) if !self.head.is_empty() => Ok(head(file, self.head.len())? != self.head),
            _ => Ok(false),
        }
    }
}

impl Source for Follower {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        Box::pin(async move {
            loop {
                // When to look again outlives this future, which may be dropped while it waits.
                if let Some(at) = self.next_look {
                    tokio::time::sleep_until(at).await;
                    self.next_look = None;
                }
                if let Some(read) = self.look()? {
                    self.heard = Instant::now();
                    return Ok(read);
                }
                self.next_look = Some(Instant::now() + self.pause());
            }
        })
    }
}
