//! Many files that a sink writes: which row goes to which, how they are called, and that only so many are open.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file_sink::{Mode, Visible};
use super::io_reason;
use super::output_file::{Opening, OutputFile};
use super::pack::Packing;
use crate::base::limit::OPEN_FILES;
use crate::connector::Encoded;

/// When a further file is begun.
#[derive(Clone, Copy, Debug, Default)]
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
    /// The file being written; `None` only while the next one is opened.
    current: Option<OutputFile>,
    /// Number of the current file, from 1; 0 without numbers.
    number: u32,
    /// Files that are full and get their names at the end.
    full: Vec<OutputFile>,
    /// Number of the last use.
    used: u64,
    /// Something was written since the last flush.
    unseen: bool,
}

/// Many files.
pub struct OutputFiles {
    directory: PathBuf,
    /// The path, if rows do not decide it.
    path: Option<Arc<str>>,
    opening: Opening,
    rotation: Rotation,
    series: HashMap<Key, Series>,
    uses: u64,
}

impl OutputFiles {
    /// Files below a directory; without a `path` each row brings its own.
    pub fn new(directory: PathBuf, path: Option<String>, opening: Opening, rotation: Rotation) -> Self {
        OutputFiles { directory, path: path.map(Arc::from), opening, rotation, series: HashMap::new(), uses: 0 }
    }

    /// Writes rows, each to its file.
    pub fn write(&mut self, rows: &Encoded) -> Result<(), String> {
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
        let mut row = 0;
        for (key, run) in runs {
            self.write_run(&key, rows, row..row + run)?;
            row += run;
        }
        if self.opening.visible == Visible::AtOnce { self.flush() } else { Ok(()) }
    }

    fn write_run(&mut self, key: &Key, rows: &Encoded, run: std::ops::Range<usize>) -> Result<(), String> {
        let end_of = |row: usize| rows.ends.get(row).map_or(0, |end| *end as usize);
        let mut start = run.start.checked_sub(1).map_or(0, end_of);
        let Some(size) = self.rotation.size else {
            let text = rows.text.get(start..end_of(run.end - 1)).unwrap_or_default();
            return self.current(key)?.write(text);
        };
        let mut row = run.start;
        while row < run.end {
            let file = self.current(key)?;
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

    /// The file of a key that is written now.
    fn current(&mut self, key: &Key) -> Result<&mut OutputFile, String> {
        self.uses += 1;
        let uses = self.uses;
        if self.series.get(key).is_none_or(|s| !s.current.as_ref().is_some_and(OutputFile::is_open)) {
            self.make_room()?;
        }
        if !self.series.contains_key(key) {
            let number = self.first_number(key)?;
            let file = OutputFile::open(&self.path_of(key, number), &self.opening)?;
            let series = Series { current: Some(file), number, full: Vec::new(), used: 0, unseen: false };
            self.series.insert(key.clone(), series);
        }
        let series = self.series.get_mut(key);
        let file = series.and_then(|series| {
            (series.used, series.unseen) = (uses, true);
            series.current.as_mut()
        });
        file.ok_or_else(|| format!("`{}` is not open", key.path))
    }

    /// Ends the current file of a key and begins the one with the next number.
    fn next(&mut self, key: &Key) -> Result<(), String> {
        let Some(series) = self.series.get_mut(key) else { return Ok(()) };
        series.number += 1;
        let number = series.number;
        if let Some(mut file) = series.current.take() {
            if self.opening.mode == Mode::Append {
                file.finish()?;
            } else {
                file.close()?;
                series.full.push(file);
            }
        }
        let file = OutputFile::open(&self.path_of(key, number), &self.opening)?;
        if let Some(series) = self.series.get_mut(key) {
            series.current = Some(file);
        }
        Ok(())
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
        let mut mark = String::new();
        if let Some(start) = key.period {
            let at = jiff::Timestamp::from_microsecond(start).unwrap_or_default();
            mark += &at.strftime("-%Y%m%dT%H%M%SZ").to_string();
        }
        if number > 0 {
            mark += &format!("-{number:06}");
        }
        self.directory.join(marked(&key.path, &mark))
    }

    /// Closes the file that was used least recently, if as many as may be are open.
    fn make_room(&mut self) -> Result<(), String> {
        let open = || self.series.iter().filter(|(_, s)| s.current.as_ref().is_some_and(OutputFile::is_open));
        if open().count() < OPEN_FILES {
            return Ok(());
        }
        let oldest = open().min_by_key(|(_, series)| series.used).map(|(key, _)| key.clone());
        let series = oldest.and_then(|key| self.series.get_mut(&key));
        series.and_then(|s| s.current.as_mut()).map_or(Ok(()), OutputFile::close)
    }

    /// What was written can be read, unless it is written beside the file that it replaces.
    pub fn flush(&mut self) -> Result<(), String> {
        if self.opening.mode == Mode::Replace && self.opening.visible == Visible::Committed {
            return Ok(());
        }
        for series in self.series.values_mut().filter(|s| s.unseen) {
            series.unseen = false;
            series.current.as_mut().map_or(Ok(()), OutputFile::flush)?;
        }
        Ok(())
    }

    /// Every file is complete. In the order of their paths, so that a run which fails here fails the same way again.
    pub fn finish(&mut self) -> Result<(), String> {
        // A run without rows still makes its file.
        if let Some(path) = self.path.clone().filter(|_| self.series.is_empty() && self.rotation.every.is_none()) {
            self.current(&Key { path, period: None })?;
        }
        let mut keys: Vec<Key> = self.series.keys().cloned().collect();
        keys.sort();
        for key in keys {
            let Some(series) = self.series.get_mut(&key) else { continue };
            series.full.iter_mut().chain(&mut series.current).try_for_each(OutputFile::finish)?;
            let number = series.number;
            if number > 0 && self.opening.mode == Mode::Replace {
                self.remove_after(&key, number)?;
            }
        }
        Ok(())
    }

    /// Removes what an earlier run left under higher numbers.
    fn remove_after(&self, key: &Key, last: u32) -> Result<(), String> {
        for number in last + 1.. {
            let path = self.path_of(key, number);
            match std::fs::remove_file(&path) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => break,
                Err(e) => return Err(format!("cannot remove `{}`: {}", path.display(), io_reason(&e))),
            }
        }
        Ok(())
    }
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
