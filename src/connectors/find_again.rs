//! Finding the files again that a run had read when it was left: under their own names, under those that they were
//! given since, or as copies of what was cut since.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::file_stream::{FileStream, ReadFile};
use super::output_mark::parent;
use crate::connector::Stood;

/// A partition whose file was looked for.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundAgain {
    /// The partition's name.
    pub name: String,
    /// What was read of it, and before it under its name.
    pub stream: FileStream,
    /// Where its file is now; `None` if it is gone for good, or cut.
    pub at: Option<PathBuf>,
    /// Files that had its name after that one and before the one that has it now, the oldest first.
    pub between: Vec<PathBuf>,
}

/// Looks for the files of partitions; `others` are files that the source's paths mean.
pub fn find_again(directory: &Path, stood: &BTreeMap<String, Stood>, others: &[&Path]) -> Vec<FoundAgain> {
    let known = stood.iter().filter_map(|(name, stood)| Some((name, FileStream::parse(&stood.place.stream)?)));
    let mut known: Vec<_> = known.collect();
    // Where two have read of one file, under a name and under the next, the one that read more goes on with it.
    known.sort_by_key(|(name, stream)| (std::cmp::Reverse(stream.current.read), (*name).clone()));
    let mut listings: HashMap<PathBuf, Vec<PathBuf>> = HashMap::new();
    let mut taken: HashSet<PathBuf> = HashSet::new();
    let mut found: Vec<FoundAgain> = Vec::new();
    // The very files first: a copy must not be taken for one that is there.
    for same in [true, false] {
        for (name, stream) in &known {
            if found.iter().any(|f| f.name == **name && f.at.is_some()) {
                continue;
            }
            let path = directory.join(name);
            let siblings = listings.entry(parent(&path).to_path_buf()).or_insert_with_key(|d| list(d));
            let at = look(&path, siblings, others, &stream.current, same).filter(|at| taken.insert(at.clone()));
            let between = at.as_ref().map(|at| between(&path, at, siblings)).unwrap_or_default();
            found.retain(|f| f.name != **name);
            found.push(FoundAgain { name: (*name).clone(), stream: stream.clone(), at, between });
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).map(|all| all.flatten().map(|entry| entry.path()).collect());
    let mut entries: Vec<PathBuf> = entries.unwrap_or_default();
    entries.sort();
    entries
}

/// Where what was read is now.
fn look(path: &Path, siblings: &[PathBuf], others: &[&Path], read: &ReadFile, same: bool) -> Option<PathBuf> {
    let is_there = |path: &&Path| read.is_at(path, same);
    let own = Some(path).into_iter();
    if same {
        let all = own.chain(siblings.iter().map(PathBuf::as_path)).chain(others.iter().copied());
        return all.into_iter().find(is_there).map(Path::to_path_buf);
    }
    // Of another file what it holds must tell, so something must have been read; and its name, that it is a copy.
    let copies = siblings.iter().map(PathBuf::as_path).filter(|other| *other != path && suffix(path, other).is_some());
    own.chain(copies).filter(|_| read.read > 0).find(is_there).map(Path::to_path_buf)
}

/// What a file's name has behind another's, as names that were passed on have: `a.log.1`, `a.log-20260101`.
fn suffix<'a>(path: &Path, other: &'a Path) -> Option<&'a str> {
    let name = path.file_name()?.to_str()?;
    let rest = other.file_name()?.to_str()?.strip_prefix(name)?;
    rest.strip_prefix(['.', '-', '_'])
}

/// Files that had a name between the one that is `at` a name it was given later and the one that has the name now.
fn between(path: &Path, at: &Path, siblings: &[PathBuf]) -> Vec<PathBuf> {
    let Some(own) = suffix(path, at).filter(|_| parent(path) == parent(at)) else { return Vec::new() };
    let is_passed_on =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b"-.TZ_".contains(&b));
    let later = siblings.iter().filter_map(|other| Some((suffix(path, other).filter(|s| is_passed_on(s))?, other)));
    // Numbers count up as files get older, dates as they get newer.
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() <= 4);
    let mut later: Vec<(u32, &str, &PathBuf)> = match number(own) {
        Some(own) => {
            later.filter_map(|(s, other)| Some((u32::MAX - number(s).filter(|n| *n < own)?, "", other))).collect()
        }
        None if is_passed_on(own) => {
            later.filter(|(s, _)| s.len() == own.len() && *s > own).map(|(s, other)| (0, s, other)).collect()
        }
        None => Vec::new(),
    };
    later.sort();
    later.into_iter().map(|(_, _, other)| other.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::Place;
    use std::fs::{self, File};

    struct Home(tempfile::TempDir);

    impl Home {
        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.at(name), text).unwrap();
        }

        /// As if so much of it had been read.
        fn read(&self, name: &str, read: u64) -> (String, Stood) {
            let current = ReadFile::of(&File::open(self.at(name)).unwrap(), read).unwrap();
            let stream = FileStream { current, left: Vec::new() }.spell();
            (name.to_owned(), Stood { place: Place { stream, position: read }, ended: false })
        }

        /// Where the files of the partitions are, and what is between.
        fn find(&self, stood: &[(String, Stood)]) -> Vec<(Option<String>, Vec<String>)> {
            let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            let found = find_again(self.0.path(), &stood.iter().cloned().collect(), &[]);
            found.iter().map(|f| (f.at.as_ref().map(name), f.between.iter().map(name).collect())).collect()
        }
    }

    fn home() -> Home {
        let home = Home(tempfile::tempdir().unwrap());
        home.write("a.log", "one\ntwo\n");
        home
    }

    fn at(name: &str, between: &[&str]) -> Vec<(Option<String>, Vec<String>)> {
        vec![(Some(name.to_owned()), between.iter().map(|name| (*name).to_owned()).collect())]
    }

    #[test]
    fn files_are_found_where_they_are() {
        let home = home();
        let stood = [home.read("a.log", 4)];
        assert_eq!(home.find(&stood), at("a.log", &[]));
        fs::rename(home.at("a.log"), home.at("else")).unwrap();
        home.write("a.log", "one\nnew\n");
        assert_eq!(home.find(&stood), at("else", &[]), "another has its name, and begins as it does");
        fs::remove_file(home.at("else")).unwrap();
        assert_eq!(home.find(&stood), at("a.log", &[]), "what was read is there");
        home.write("a.log", "two\nnew\n");
        assert_eq!(home.find(&stood), [(None, vec![])]);
    }

    #[test]
    fn what_had_the_name_in_between_is_found() {
        let home = home();
        let stood = [home.read("a.log", 4)];
        fs::rename(home.at("a.log"), home.at("a.log.11")).unwrap();
        for name in ["a.log", "a.log.9", "a.log.10", "a.log.12", "a.log.bak", "b.log.3"] {
            home.write(name, name);
        }
        assert_eq!(home.find(&stood), at("a.log.11", &["a.log.10", "a.log.9"]));
        fs::rename(home.at("a.log.11"), home.at("a.log-20260102")).unwrap();
        for name in ["a.log-20260101", "a.log-20260103", "a.log-20260104"] {
            home.write(name, name);
        }
        assert_eq!(home.find(&stood), at("a.log-20260102", &["a.log-20260103", "a.log-20260104"]));
    }

    #[test]
    fn a_copy_of_what_was_cut_is_found() {
        let home = home();
        let stood = [home.read("a.log", 4)];
        fs::copy(home.at("a.log"), home.at("a.log.1")).unwrap();
        assert_eq!(home.find(&stood), at("a.log", &[]), "the file itself is there");
        home.write("a.log", "");
        assert_eq!(home.find(&stood), at("a.log.1", &[]));
        fs::rename(home.at("a.log.1"), home.at("other")).unwrap();
        assert_eq!(home.find(&stood), [(None, vec![])], "its name does not say that it is one");
    }

    #[test]
    fn of_two_that_read_one_file_the_one_goes_on_that_read_more() {
        let home = home();
        let (_, first) = home.read("a.log", 4);
        let (_, second) = home.read("a.log", 8);
        let found = home.find(&[("a.log".to_owned(), second), ("b.log".to_owned(), first)]);
        assert_eq!(found, [at("a.log", &[]), vec![(None, vec![])]].concat());
    }
}
