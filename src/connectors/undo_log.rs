//! Files that a sink begins or changes between two checkpoints, written down before it does, so that a run which goes on
//! can undo what the last checkpoint knows nothing of.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::output_mark::{cannot, make_parent, remove};

/// How one file was.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What a checkpoint knows it by.
    pub key: String,
    /// The file.
    pub path: PathBuf,
    /// Its length before; `None` if it was not there.
    pub length: Option<u64>,
    /// It stands beside the file whose name it takes in the end, and nobody misses it.
    pub beside: bool,
}

/// The log, a file of an entry a line; there is none while there is nothing to undo.
pub struct UndoLog {
    path: PathBuf,
    file: Option<File>,
    /// Keys of the entries in it.
    noted: HashSet<String>,
}

impl UndoLog {
    /// The log called `stem` and an ending.
    pub fn new(stem: &Path) -> Self {
        let mut name = stem.file_name().unwrap_or_default().to_os_string();
        name.push(".undo");
        UndoLog { path: stem.with_file_name(name), file: None, noted: HashSet::new() }
    }

    /// A run begins: what an earlier one left beside its files goes, what it wrote into them stays.
    pub fn forget_run(&mut self) -> Result<(), String> {
        for entry in self.entries()?.iter().filter(|entry| entry.beside) {
            remove(&entry.path)?;
        }
        self.remove()
    }

    /// A run goes on: files that no checkpoint knows are as they were before, and the log holds those it knows.
    pub fn undo(&mut self, known: &BTreeMap<String, String>) -> Result<(), String> {
        let (keep, undo): (Vec<Entry>, Vec<Entry>) =
            self.entries()?.into_iter().partition(|entry| known.contains_key(&entry.key));
        // What was noted first is how it was.
        let mut done = HashSet::new();
        for entry in undo.iter().filter(|entry| done.insert(entry.path.clone())) {
            match entry.length {
                None => remove(&entry.path)?,
                Some(length) => cut(&entry.path, length)?,
            }
        }
        self.remove()?;
        keep.into_iter().filter(|entry| entry.beside).try_for_each(|entry| self.note(entry).map(drop))
    }

    /// Notes how a file is that is begun or changed now; false if that is noted already.
    pub fn note(&mut self, entry: Entry) -> Result<bool, String> {
        if !self.noted.insert(entry.key.clone()) {
            return Ok(false);
        }
        let failed = |e: &std::io::Error| cannot("write", &self.path, e);
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                make_parent(&self.path)?;
                let file = OpenOptions::new().append(true).create(true).open(&self.path);
                none.insert(file.map_err(|e| failed(&e))?)
            }
        };
        let mut line = serde_json::to_vec(&entry).map_err(|e| format!("cannot note a file: {e}"))?;
        line.push(b'\n');
        file.write_all(&line).map_err(|e| failed(&e))?;
        Ok(true)
    }

    /// What was noted is on the disk.
    pub fn sync(&self) -> Result<(), String> {
        self.file.as_ref().map_or(Ok(()), |file| file.sync_data().map_err(|e| cannot("write", &self.path, &e)))
    }

    /// A checkpoint knows everything.
    pub fn clear(&mut self) -> Result<(), String> {
        if self.noted.is_empty() {
            return Ok(());
        }
        self.noted.clear();
        self.file.as_ref().map_or(Ok(()), |file| file.set_len(0).map_err(|e| cannot("write", &self.path, &e)))
    }

    /// There is nothing to undo any more.
    pub fn remove(&mut self) -> Result<(), String> {
        self.noted.clear();
        self.file = None;
        remove(&self.path)
    }

    fn entries(&self) -> Result<Vec<Entry>, String> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(cannot("read", &self.path, &e)),
        };
        let lines = BufReader::new(file).split(b'\n');
        // The last line may be cut: then its file was not touched yet.
        Ok(lines.map_while(Result::ok).filter_map(|line| serde_json::from_slice(&line).ok()).collect())
    }
}

fn cut(path: &Path, length: u64) -> Result<(), String> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(cannot("write", path, &e)),
    };
    let longer = file.metadata().is_ok_and(|m| m.len() > length);
    if longer { file.set_len(length).map_err(|e| cannot("write", path, &e)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_as_they_were_before_the_first_note() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mut log = UndoLog::new(&at(".out"));
        std::fs::write(at("old"), "before").unwrap();
        for (name, length, beside) in [("old", Some(6), false), ("new", None, false), ("known", None, true)] {
            log.note(Entry { key: name.into(), path: at(name), length, beside }).unwrap();
            std::fs::write(at(name), "before and after").unwrap();
        }
        let mut torn = OpenOptions::new().append(true).open(at(".out.undo")).unwrap();
        torn.write_all(b"{\"path\":\"no").unwrap();
        drop(log);

        let mut log = UndoLog::new(&at(".out"));
        log.undo(&BTreeMap::from([("known".into(), "{}".into())])).unwrap();
        assert_eq!(std::fs::read_to_string(at("old")).unwrap(), "before");
        assert!(!at("new").exists() && at("known").exists());
        drop(log);
        UndoLog::new(&at(".out")).forget_run().unwrap();
        assert!(!at("known").exists(), "what stood beside is gone with its run");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
