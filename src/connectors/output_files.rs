//! The files that a sink writes: which row goes to which, how they are called, that only so many are open, and what a
//! checkpoint remembers of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_sink::{Mode, Visible};
use super::output::Output;
use super::output_file::{Opening, Target};
use super::output_mark::{Directories, FileMark, remove};
use super::pack::Packing;
use super::pending::Pending;
use super::undo_log::{Entry, UndoLog};
use crate::base::fault;
use crate::base::limit::{KNOWN_FILES, OPEN_FILES, WAITING_BYTES};
use crate::connector::path::{is_template, split};
use crate::connector::{Encoded, Marks, OpenContext};

/// When a further file is begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes that a file has at most.
    pub size: Option<u64>,
    /// Length of a period of event time, in microseconds.
    pub every: Option<i64>,
}

/// What decides a row's file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    path: Arc<str>,
    /// Start of the period, in microseconds.
    period: Option<i64>,
}

/// The files of one key: one, or several by size.
struct Series {
    /// The file being written, with its number: from 1, 0 without numbers.
    current: (u32, Output),
    /// Files that are full, and not yet what they become in the end.
    full: Vec<(u32, Output)>,
    /// Number of the last use.
    used: u64,
    /// Something was written since the last flush.
    unseen: bool,
}

/// The files of a sink.
pub struct OutputFiles {
    directory: PathBuf,
    /// The path, if rows do not decide it.
    path: Option<Arc<str>>,
    opening: Opening,
    rotation: Rotation,
    series: HashMap<Key, Series>,
    uses: u64,
    pending: Pending,
    undo: UndoLog,
    /// Bytes taken since what waits in memory was written to the pending file.
    held: usize,
    directories: Directories,
}

impl OutputFiles {
    /// Files by a path, which may be a template; begins a run, or goes on with one.
    pub fn open(path: String, opening: Opening, rotation: Rotation, context: &OpenContext) -> Result<Self, String> {
        let stem = format!(".{}-{:08x}", context.name, context.seed >> 32);
        let stem = context.directory.join(split(&path).0).join(stem);
        let mut files = OutputFiles {
            directory: context.directory.clone(),
            path: (!is_template(&path)).then(|| Arc::from(path)),
            opening,
            rotation,
            series: HashMap::new(),
            uses: 0,
            pending: Pending::new(&stem),
            undo: UndoLog::new(&stem),
            held: 0,
            directories: Directories::default(),
        };
        match &context.marks {
            Some(marks) => files.resume(marks)?,
            None => {
                files.undo.forget_run()?;
                files.pending.remove()?;
            }
        }
        if let Some(key) = files.only() {
            // Whoever runs the pipeline learns at the start that a file cannot be written, not hours later.
            files.series_of(&key)?.current.1.reserve()?;
        }
        Ok(files)
    }

    /// The key of a sink that has but one file.
    fn only(&self) -> Option<Key> {
        let path = self.path.clone().filter(|_| self.rotation == Rotation::default())?;
        Some(Key { path, period: None })
    }

    fn resume(&mut self, marks: &BTreeMap<String, String>) -> Result<(), String> {
        self.undo.undo(marks)?;
        let mut remembered = Vec::with_capacity(marks.len());
        for (key, json) in marks {
            let mark: FileMark = serde_json::from_str(json).map_err(|e| {
                format!("what was remembered of `{key}` cannot be read ({e}); begin anew with `run --fresh`")
            })?;
            if let Some(piece) = mark.written.pending.first() {
                self.pending.keep(piece.slot);
            }
            remembered.push(mark);
        }
        remembered.sort_by(|a, b| (&a.path, a.period, a.number).cmp(&(&b.path, b.period, b.number)));
        for mark in remembered {
            self.make_room()?;
            let key = Key { path: Arc::clone(&mark.path), period: mark.period };
            let path = self.path_of(&key, mark.number);
            let output = Output::resume(&path, &self.opening, &mark.written, &self.pending)?;
            match self.series.get_mut(&key) {
                Some(series) => {
                    let mut full = std::mem::replace(&mut series.current, (mark.number, output));
                    full.1.close()?;
                    series.full.push(full);
                }
                None => {
                    let current = (mark.number, output);
                    self.series.insert(key, Series { current, full: Vec::new(), used: 0, unseen: false });
                }
            }
        }
        Ok(())
    }

    /// Writes rows, each to its file.
    pub fn write(&mut self, rows: &Encoded) -> Result<(), String> {
        if let Some(key) = self.only() {
            self.series_of(&key)?.current.1.write(&rows.text)?;
        } else {
            self.write_by_key(rows)?;
        }
        if self.opening.visible == Visible::AtOnce {
            return self.flush();
        }
        self.held += rows.text.len();
        if self.held < WAITING_BYTES {
            return Ok(());
        }
        self.held = 0;
        let (pending, directories) = (&mut self.pending, &mut self.directories);
        let mut outputs = self.series.values_mut().flat_map(Series::outputs);
        outputs.try_for_each(|(_, output)| output.spill(pending, directories))
    }

    fn write_by_key(&mut self, rows: &Encoded) -> Result<(), String> {
        let count = rows.ends.len();
        let paths = rows.rendered.first().filter(|_| self.path.is_none());
        if (self.path.is_none() && paths.is_none_or(|p| p.len() != count))
            || (self.rotation.every.is_some() && rows.times.len() != count)
        {
            return Err("rows came without what decides their files".into());
        }
        let period = |row: usize| {
            let (every, at) = (self.rotation.every?, rows.times.get(row)?);
            Some(at.0.div_euclid(every).saturating_mul(every))
        };
        let path = |row: usize| paths.and_then(|p| p.get(row)).or(self.path.as_ref()).cloned().unwrap_or_default();
        // Neighbours of one file are written together.
        let mut runs: Vec<(Key, usize)> = Vec::new();
        for row in 0..count {
            let key = Key { path: path(row), period: period(row) };
            match runs.last_mut() {
                Some((last, run)) if *last == key => *run += 1,
                _ => runs.push((key, 1)),
            }
        }
        self.note_new(&runs)?;
        let mut row = 0;
        for (key, run) in runs {
            self.write_run(&key, rows, row..row + run)?;
            row += run;
        }
        Ok(())
    }

    fn write_run(&mut self, key: &Key, rows: &Encoded, run: std::ops::Range<usize>) -> Result<(), String> {
        let end_of = |row: usize| rows.ends.get(row).map_or(0, |end| *end as usize);
        let mut start = run.start.checked_sub(1).map_or(0, end_of);
        let Some(size) = self.rotation.size else {
            let text = rows.text.get(start..end_of(run.end - 1)).unwrap_or_default();
            return self.series_of(key)?.current.1.write(text);
        };
        let mut row = run.start;
        while row < run.end {
            let (_, file) = &mut self.series_of(key)?.current;
            let room = file.room(size);
            // A row that is larger than a file may be has one of its own.
            let mut to = row + usize::from(!file.has_rows());
            while to < run.end && (end_of(to) - start) as u64 <= room {
                to += 1;
            }
            if to == row {
                self.next(key)?;
                continue;
            }
            let end = end_of(to - 1);
            file.write(rows.text.get(start..end).unwrap_or_default())?;
            (start, row) = (end, to);
        }
        Ok(())
    }

    /// The files of a key, of which the current one is written now.
    fn series_of(&mut self, key: &Key) -> Result<&mut Series, String> {
        self.uses += 1;
        let uses = self.uses;
        if self.series.get(key).is_none_or(|series| series.current.1.needs_descriptor()) {
            self.make_room()?;
        }
        if !self.series.contains_key(key) {
            let number = self.first_number(key)?;
            let current = (number, self.begin_file(key, number)?);
            self.series.insert(key.clone(), Series { current, full: Vec::new(), used: 0, unseen: false });
        }
        let series = self.series.get_mut(key).ok_or_else(|| format!("`{}` is not open", key.path))?;
        (series.used, series.unseen) = (uses, true);
        Ok(series)
    }

    /// Ends the current file of a key and begins the one with the next number.
    fn next(&mut self, key: &Key) -> Result<(), String> {
        let Some(series) = self.series.get_mut(key) else { return Ok(()) };
        let number = series.current.0 + 1;
        series.current.1.close()?;
        let next = (number, self.begin_file(key, number)?);
        if let Some(series) = self.series.get_mut(key) {
            let full = std::mem::replace(&mut series.current, next);
            series.full.push(full);
        }
        Ok(())
    }

    fn begin_file(&mut self, key: &Key, number: u32) -> Result<Output, String> {
        let path = self.path_of(key, number);
        if self.note(key, number)? {
            self.undo.sync()?;
        }
        fault::point("sink.noted");
        let begun = Output::open(&path, &self.opening);
        fault::point("sink.begun");
        begun
    }

    /// Notes the files that are begun for keys which have none: once for all of them, since that waits for the disk.
    fn note_new(&mut self, runs: &[(Key, usize)]) -> Result<(), String> {
        let mut noted = false;
        if self.opening.is_appended() {
            return Ok(());
        }
        for (key, _) in runs {
            if !self.series.contains_key(key) {
                noted |= self.note(key, self.first_number(key)?)?;
            }
        }
        if noted { self.undo.sync() } else { Ok(()) }
    }

    /// Notes how a file is before it is begun; true if that must be on the disk before.
    fn note(&mut self, key: &Key, number: u32) -> Result<bool, String> {
        if self.opening.is_appended() {
            return Ok(false);
        }
        let target = Target::of(&self.path_of(key, number));
        if target.is_special() {
            return Ok(false);
        }
        let path = target.written(&self.opening);
        let beside = path != target.path;
        // Of a sink that has but one file it is known what stands beside, and is begun anew.
        if beside && self.only().is_some() {
            return Ok(false);
        }
        let length = match (self.opening.mode, target.there) {
            (Mode::Append, Some(there)) => Some(there.len()),
            (Mode::Replace, Some(_)) if !beside => Some(0),
            _ => None,
        };
        let noted = self.undo.note(Entry { key: mark_key(key, number), path, length, beside })?;
        // What stands beside is seen by nobody.
        Ok(noted && !beside)
    }

    /// The number of the first file that is written: adding goes on with the last file if it may.
    fn first_number(&self, key: &Key) -> Result<u32, String> {
        let Some(size) = self.rotation.size else { return Ok(0) };
        let mut last = 0;
        while self.opening.mode == Mode::Append && self.path_of(key, last + 1).exists() {
            last += 1;
        }
        let length = std::fs::metadata(self.path_of(key, last)).map_or(u64::MAX, |m| m.len());
        let goes_on = last > 0 && self.opening.packing == Packing::None && length < size;
        Ok(if goes_on { last } else { last + 1 })
    }

    fn path_of(&self, key: &Key, number: u32) -> PathBuf {
        self.directory.join(name_of(key, number))
    }

    /// Closes the file that was used least recently, if as many as may be are open.
    fn make_room(&mut self) -> Result<(), String> {
        if self.series.len() < OPEN_FILES {
            return Ok(());
        }
        let open = || self.series.iter().filter(|(_, s)| s.current.1.is_open());
        if open().count() < OPEN_FILES {
            return Ok(());
        }
        let oldest = open().min_by_key(|(_, series)| series.used).map(|(key, _)| key.clone());
        let series = oldest.and_then(|key| self.series.get_mut(&key));
        series.map_or(Ok(()), |series| series.current.1.close())
    }

    /// What was written can be read, unless it is written beside the file that it replaces.
    fn flush(&mut self) -> Result<(), String> {
        for series in self.series.values_mut().filter(|s| s.unseen) {
            series.unseen = false;
            series.current.1.flush()?;
        }
        Ok(())
    }

    /// Everything written so far outlives a crash; what to remember that changed.
    pub fn prepare(&mut self) -> Result<Marks, String> {
        let mut marks = Marks::new();
        let appends = self.opening.mode == Mode::Append;
        let mut keys: Vec<Key> = self.series.keys().cloned().collect();
        keys.sort();
        for key in &keys {
            let Some(series) = self.series.get_mut(key) else { continue };
            let mut told = Vec::new();
            for (number, output) in series.outputs() {
                let Some(written) = output.prepare(&mut self.pending, &mut self.directories)? else { continue };
                let mark = FileMark { path: Arc::clone(&key.path), period: key.period, number: *number, written };
                let json = serde_json::to_string(&mark).map_err(|e| format!("cannot remember a file: {e}"))?;
                marks.push((mark_key(key, *number), Some(json)));
                told.push(*number);
                fault::point("sink.file_prepared");
            }
            // What is full and was remembered as it is now will not change; beside its target it waits for its name.
            let beside = !appends && self.opening.visible == Visible::Committed;
            let is_done =
                |(number, output): &mut (u32, Output)| !beside && output.is_durable() && !told.contains(number);
            marks.extend(series.full.extract_if(.., is_done).map(|(number, _)| (mark_key(key, number), None)));
        }
        if appends {
            self.forget(&mut marks);
        }
        self.held = 0;
        self.pending.sync()?;
        self.directories.sync()?;
        fault::point("sink.prepared");
        Ok(marks)
    }

    /// Forgets files that were not written for long; one that gets rows again is found as it is on the disk.
    fn forget(&mut self, marks: &mut Marks) {
        // How a packed file goes on by size is known to the run alone.
        if self.series.len() <= KNOWN_FILES || (self.rotation.size.is_some() && self.opening.packing != Packing::None) {
            return;
        }
        let told: HashSet<&String> = marks.iter().map(|(key, _)| key).collect();
        let idle = |(key, series): &(&Key, &Series)| {
            let (number, output) = &series.current;
            series.full.is_empty() && output.is_durable() && !told.contains(&mark_key(key, *number))
        };
        let mut idle: Vec<(u64, Key)> = self.series.iter().filter(idle).map(|(k, s)| (s.used, k.clone())).collect();
        idle.sort();
        let mut gone = Vec::new();
        for (_, key) in idle.into_iter().take(self.series.len() - KNOWN_FILES) {
            if let Some(series) = self.series.remove(&key) {
                gone.push((mark_key(&key, series.current.0), None));
            }
        }
        marks.extend(gone);
    }

    /// The checkpoint is durable: what was prepared can be read.
    pub fn commit(&mut self) -> Result<(), String> {
        if self.opening.is_appended() {
            let waits = |s: &Series| s.current.1.waits() || s.full.iter().any(|(_, output)| output.waits());
            let mut keys: Vec<Key> = self.series.iter().filter(|(_, s)| waits(s)).map(|(key, _)| key.clone()).collect();
            keys.sort();
            for key in keys {
                self.make_room()?;
                let Some(series) = self.series.get_mut(&key) else { continue };
                for (_, output) in &mut series.full {
                    output.commit(&self.pending)?;
                    output.close()?;
                }
                series.current.1.commit(&self.pending)?;
            }
            self.pending.take_turns();
        } else if self.opening.visible == Visible::AtOnce {
            self.undo.clear()?;
        }
        fault::point("sink.committed");
        Ok(())
    }

    /// Every file is complete. In the order of their paths, so that a run which fails here fails the same way again.
    pub fn finish(&mut self) -> Result<(), String> {
        // A run without rows still makes its file.
        if let Some(path) = self.path.clone().filter(|_| self.series.is_empty() && self.rotation.every.is_none()) {
            self.series_of(&Key { path, period: None })?;
        }
        let mut keys: Vec<Key> = self.series.keys().cloned().collect();
        keys.sort();
        for key in &keys {
            let Some(series) = self.series.get_mut(key) else { continue };
            for (_, output) in series.outputs() {
                output.finish(&self.pending, &mut self.directories)?;
            }
        }
        self.directories.sync()?;
        fault::point("sink.named");
        for key in &keys {
            let number = self.series.get(key).map_or(0, |series| series.current.0);
            if number > 0 && self.opening.mode == Mode::Replace {
                self.remove_after(key, number)?;
            }
        }
        self.undo.remove()?;
        fault::point("sink.tidied");
        self.pending.remove()
    }

    /// Removes what an earlier run left under higher numbers.
    fn remove_after(&self, key: &Key, last: u32) -> Result<(), String> {
        let left = (last + 1..).map(|number| self.path_of(key, number)).take_while(|path| path.exists());
        // From the last on, so that a crash leaves no gap behind which the others would stay.
        left.collect::<Vec<_>>().iter().rev().try_for_each(|path| remove(path))
    }
}

impl Series {
    fn outputs(&mut self) -> impl Iterator<Item = &mut (u32, Output)> {
        self.full.iter_mut().chain(std::iter::once(&mut self.current))
    }
}

/// What a checkpoint knows a file by.
fn mark_key(key: &Key, number: u32) -> String {
    name_of(key, number).to_string_lossy().into_owned()
}

/// The path of a file of a key.
fn name_of(key: &Key, number: u32) -> PathBuf {
    let mut mark = String::new();
    if let Some(start) = key.period {
        let at = jiff::Timestamp::from_microsecond(start).unwrap_or_default();
        mark += &at.strftime("-%Y%m%dT%H%M%SZ").to_string();
    }
    if number > 0 {
        mark += &format!("-{number:06}");
    }
    marked(&key.path, &mark)
}

/// A path with a mark before the first dot of its file name.
fn marked(path: &str, mark: &str) -> PathBuf {
    let path = Path::new(path);
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // A dot at the front makes a name hidden, it is no ending.
    let dot = name.char_indices().skip(1).find(|(_, c)| *c == '.').map_or(name.len(), |(at, _)| at);
    let (stem, ending) = name.split_at(dot);
    path.with_file_name(format!("{stem}{mark}{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_before_the_ending() {
        for (path, expected) in [
            ("out/rows.ndjson.gz", "out/rows-1.ndjson.gz"),
            ("rows", "rows-1"),
            ("a.b/.hidden", "a.b/.hidden-1"),
            ("a.b/.hidden.txt", "a.b/.hidden-1.txt"),
            ("a/ü.x", "a/ü-1.x"),
        ] {
            assert_eq!(marked(path, "-1"), Path::new(expected));
        }
        assert_eq!(marked("a/b.c", ""), Path::new("a/b.c"));
    }
}
