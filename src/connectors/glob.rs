//! Which files a path or pattern of a pipeline means.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use walkdir::WalkDir;

use super::io_reason;
use crate::base::suggest::nearest;

/// A file that a pattern means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Relative to the pipeline's directory where it lies inside, with `/` between names: the same in every run.
    pub name: String,
    /// For opening it.
    pub path: PathBuf,
}

/// Whether the text is a pattern rather than a path.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// What is wrong with a pattern, if anything; looks at the text alone.
pub fn check(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("the path is empty".into());
    }
    if is_pattern(text) {
        matcher(text)?;
    }
    Ok(())
}

fn matcher(pattern: &str) -> Result<GlobMatcher, String> {
    let built = GlobBuilder::new(pattern).literal_separator(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|e| format!("`{pattern}` is not a file pattern: {}", e.kind()))
}

/// Every file that any of the paths and patterns means, each once, sorted by name. A path or pattern that means none is
/// an error. As in a shell, `*` does not stand for names that begin with a dot.
pub fn expand(directory: &Path, patterns: &[String]) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    for pattern in patterns {
        let found = expand_one(directory, pattern.trim_start_matches("./"), true)?;
        if found.is_empty() {
            return Err(format!("no file matches `{pattern}` in {}", shown(directory)));
        }
        all.extend(found);
    }
    Ok(in_order(all))
}

/// Like [`expand`], but a path or pattern may mean none: what it means may come later.
pub fn existing(directory: &Path, patterns: &[String]) -> Result<Vec<Found>, String> {
    let mut all = Vec::new();
    for pattern in patterns {
        all.extend(expand_one(directory, pattern.trim_start_matches("./"), false)?);
    }
    Ok(in_order(all))
}

fn in_order(mut all: Vec<Found>) -> Vec<Found> {
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

fn shown(directory: &Path) -> String {
    let text = directory.display().to_string();
    if text.is_empty() || text == "." { "the current directory".into() } else { text }
}

fn expand_one(directory: &Path, pattern: &str, must_exist: bool) -> Result<Vec<Found>, String> {
    let literal = directory.join(pattern);
    if literal.is_dir() {
        return Err(format!(
            "`{pattern}` is a directory; write `{}/*` for the files in it",
            pattern.trim_end_matches('/')
        ));
    }
    // A file may have brackets in its name.
    if literal.symlink_metadata().is_ok() {
        return Ok(vec![Found { name: name_of(directory, &literal, pattern), path: literal }]);
    }
    if !is_pattern(pattern) {
        return if must_exist { Err(not_there(directory, pattern, &literal)) } else { Ok(Vec::new()) };
    }
    walk(directory, pattern)
}

/// The error for a plain path that leads nowhere, with the nearest name that does.
fn not_there(directory: &Path, pattern: &str, literal: &Path) -> String {
    let parent = literal.parent().unwrap_or(directory);
    let names: Vec<String> = std::fs::read_dir(parent)
        .map(|entries| entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
        .unwrap_or_default();
    let wanted = literal.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let hint = match nearest(&wanted, names.iter().map(String::as_str)) {
        Some(near) => {
            format!("; did you mean `{}`?", pattern.strip_suffix(&wanted).unwrap_or_default().to_owned() + near)
        }
        None => String::new(),
    };
    format!("there is no file `{pattern}` in {}{hint}", shown(directory))
}

fn walk(directory: &Path, pattern: &str) -> Result<Vec<Found>, String> {
    let matches = matcher(pattern)?;
    let parts: Vec<&str> = pattern.split('/').collect();
    let plain = parts.iter().take_while(|p| !is_pattern(p)).count();
    let prefix = parts.get(..plain).unwrap_or_default().join("/");
    let start = match (prefix.as_str(), pattern.starts_with('/')) {
        ("", true) => PathBuf::from("/"),
        _ => directory.join(&prefix),
    };
    let mut walker = WalkDir::new(&start).follow_links(true).min_depth(1);
    // Braces may hold separators, so only their absence tells how deep a match can lie.
    if !pattern.contains("**") && !pattern.contains('{') {
        walker = walker.max_depth(parts.len() - plain);
    }
    let dotted = parts.iter().any(|p| p.starts_with('.') && *p != "..");
    let visible = |entry: &walkdir::DirEntry| {
        entry.depth() == 0 || dotted || !entry.file_name().to_string_lossy().starts_with('.')
    };
    let mut found = Vec::new();
    for entry in walker.into_iter().filter_entry(visible) {
        let entry = match entry {
            Ok(entry) => entry,
            // A link that leads nowhere or in a circle holds no file; a pattern passes over it.
            Err(e) if e.loop_ancestor().is_some() => continue,
            Err(e) if e.io_error().is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) => continue,
            Err(e) => return Err(unreadable(&e)),
        };
        if entry.file_type().is_dir() {
            continue;
        }
        let inner = entry.path().strip_prefix(&start).unwrap_or(entry.path());
        let as_written = Path::new(if start == Path::new("/") { "/" } else { &prefix }).join(inner);
        if matches.is_match(&as_written) {
            let name = name_of(directory, entry.path(), &as_written.to_string_lossy());
            found.push(Found { name, path: entry.into_path() });
        }
    }
    Ok(found)
}

fn unreadable(error: &walkdir::Error) -> String {
    let place = error.path().map(|p| p.display().to_string()).unwrap_or_default();
    let reason = error.io_error().map_or_else(|| error.to_string(), io_reason);
    format!("cannot look for files in {place}: {reason}")
}

/// The name of a file: inside the pipeline's directory relative to it, elsewhere as written.
fn name_of(directory: &Path, path: &Path, as_written: &str) -> String {
    let inside = Path::new(as_written).is_absolute().then(|| path.strip_prefix(directory).ok()).flatten();
    let name = inside.map_or_else(|| as_written.to_owned(), |p| p.to_string_lossy().into_owned());
    if std::path::MAIN_SEPARATOR == '/' { name } else { name.replace(std::path::MAIN_SEPARATOR, "/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        dir
    }

    fn names(dir: &Path, patterns: &[&str]) -> Result<Vec<String>, String> {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        expand(dir, &patterns).map(|found| found.into_iter().map(|f| f.name).collect())
    }

    #[test]
    fn patterns_find_files_by_name() {
        let dir = tree(&["data/b.csv", "data/a.csv", "data/.hidden.csv", "data/deep/c.csv", "x[1].txt", "data/d.json"]);
        let at = dir.path();
        assert_eq!(names(at, &["data/*.csv"]).unwrap(), ["data/a.csv", "data/b.csv"]);
        assert_eq!(names(at, &["./data/*.csv", "data/a.csv"]).unwrap(), ["data/a.csv", "data/b.csv"]);
        assert_eq!(names(at, &["**/*.csv"]).unwrap(), ["data/a.csv", "data/b.csv", "data/deep/c.csv"]);
        assert_eq!(names(at, &["data/{a,deep/c}.csv"]).unwrap(), ["data/a.csv", "data/deep/c.csv"]);
        assert_eq!(names(at, &["data/.*.csv"]).unwrap(), ["data/.hidden.csv"]);
        assert_eq!(names(at, &["x[1].txt"]).unwrap(), ["x[1].txt"]);
        let absolute = at.join("data/*.json").to_string_lossy().into_owned();
        assert_eq!(names(at, &[&absolute]).unwrap(), ["data/d.json"]);
        assert_eq!(names(&at.join("data/deep"), &["../*.json"]).unwrap(), ["../d.json"]);
    }

    #[test]
    fn what_matches_nothing_is_named() {
        let dir = tree(&["data/readings.csv"]);
        let says = |p: &str| names(dir.path(), &[p]).unwrap_err();
        assert!(says("data/*.json").contains("no file matches `data/*.json`"));
        assert!(says("data/reading.csv").contains("did you mean `data/readings.csv`?"), "{}", says("data/reading.csv"));
        assert!(says("data").contains("is a directory; write `data/*`"));
        assert!(says("data/[").contains("is not a file pattern"));
        assert!(check("data/[").is_err() && check(" ").is_err() && check("data/*.csv").is_ok());
    }
}
