//! Sink `file`: writes rows to a file, or to many whose paths the rows decide.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output_file::{Opening, OutputFile};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::limit::OPEN_FILES;
use crate::base::tree::Node;
use crate::connector::{BoxFuture, CheckContext, Encoded, OpenContext, Sink, SinkConnector, SinkError};

/// The sink `file`.
pub struct FileSink;

/// Writes rows to a file, or to many: `{{ field }}` in the path takes the row's value. Directories are made.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file, relative to the pipeline's file: `out/rows.ndjson`. With fields of the row
    /// (`history/{{ window_start | date('%Y-%m-%d') }}.ndjson`) rows go to many files, all of which stay inside the
    /// directory written before the first `{{`.
    #[schemars(length(min = 1), example = "out/rows.ndjson")]
    pub path: String,
    /// What becomes of a file that is there already. Left out: `replace` when every source of the pipeline comes to an
    /// end by itself, otherwise `append`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// What becomes of a file that is there already.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The rows are written to a file beside it that takes its name when the run is complete; a run that fails leaves
    /// the old file as it was.
    Replace,
    /// The rows are written after what it holds, and are in the file as soon as they are processed.
    Append,
}

/// The directory in plain text that a path begins with, and the rest: rows decide nothing outside of it.
fn split(path: &str) -> (&str, &str) {
    let plain = path.find("{{").or_else(|| path.find("{%")).unwrap_or(path.len());
    let end = path.get(..plain).and_then(|p| p.rfind('/')).map_or(0, |slash| slash + 1);
    path.split_at(end)
}

fn is_template(path: &str) -> bool {
    path.contains("{{") || path.contains("{%")
}

impl SinkConnector for FileSink {
    const NAME: &'static str = "file";
    type Options = Options;

    fn check(options: &Options, node: &Node, context: &CheckContext, found: &mut Diagnostics) {
        let span = node.get("path").unwrap_or(node).span.clone();
        let mut wrong = |message: &str, help: &str| {
            found.push(Diagnostic::error("bad-path", message, Some(span.clone())).help(help));
        };
        let path = options.path.trim();
        if path.is_empty() {
            wrong("the path is empty", "name the file to write, for example `out/rows.ndjson`");
        } else if path.ends_with('/') {
            wrong("the path names a directory", "add a file name, for example `rows.ndjson`");
        } else if !is_template(path) && context.directory.join(path).is_dir() {
            wrong("there is a directory of this name", "add a file name, for example `/rows.ndjson`");
        } else if is_template(path) && Path::new(split(path).1).components().any(|c| c == Component::ParentDir) {
            wrong("`..` after a `{{ field }}` could lead anywhere", "write the directory before the first `{{`");
        }
    }

    fn templates(options: &Options) -> Vec<String> {
        if is_template(&options.path) { vec![options.path.clone()] } else { Vec::new() }
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let mode = options.mode.unwrap_or(if context.bounded { Mode::Replace } else { Mode::Append });
        let opening = Opening { mode, header: context.header.unwrap_or_default() };
        if is_template(&options.path) {
            let plain = split(&options.path).0.to_owned();
            return Ok(Box::new(ManyFiles {
                directory: context.directory,
                plain,
                opening,
                files: HashMap::new(),
                uses: 0,
            }));
        }
        let file = OutputFile::open(&context.directory.join(&options.path), &opening).map_err(SinkError::Fatal)?;
        Ok(Box::new(OneFile { file, mode }))
    }
}

/// A file whose path is plain text.
struct OneFile {
    file: OutputFile,
    mode: Mode,
}

impl Sink for OneFile {
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.file.write(&rows.text).map_err(SinkError::Fatal)?;
            if self.mode == Mode::Append { self.file.flush().map_err(SinkError::Fatal) } else { Ok(()) }
        })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move { self.file.finish().map_err(SinkError::Fatal) })
    }
}

/// Files whose paths the rows decide.
struct ManyFiles {
    directory: PathBuf,
    /// The directory that the author wrote in plain text, with its `/`; empty for the pipeline's own.
    plain: String,
    opening: Opening,
    /// Every file of this run by its rendered path, with the number of its last use.
    files: HashMap<Arc<str>, (OutputFile, u64)>,
    uses: u64,
}

/// Why a rendered path cannot be taken, if it cannot.
fn refuse(plain: &str, path: &str) -> Option<String> {
    let because =
        |why: &str| Some(format!("the row's path `{path}` {why}; files of this sink stay inside `{}`", home(plain)));
    let Some(inner) = path.strip_prefix(plain) else { return because("begins elsewhere") };
    if inner.is_empty() || inner.ends_with('/') {
        return because("has no file name");
    }
    if inner.contains('\0') {
        return because("holds a zero byte");
    }
    if inner.starts_with('/') {
        return because("is absolute");
    }
    let mut parts = Path::new(inner).components();
    if !parts.all(|c| matches!(c, Component::Normal(_) | Component::CurDir)) {
        return because("leads out of its directory");
    }
    None
}

fn home(plain: &str) -> &str {
    if plain.is_empty() { "the pipeline's directory" } else { plain }
}

impl ManyFiles {
    fn file(&mut self, path: &Arc<str>) -> Result<&mut OutputFile, String> {
        self.uses += 1;
        if !self.files.contains_key(path) {
            if let Some(why) = refuse(&self.plain, path) {
                return Err(why);
            }
            self.make_room()?;
            let file = OutputFile::open(&self.directory.join(path.as_ref()), &self.opening)?;
            self.files.insert(Arc::clone(path), (file, 0));
        } else if self.files.get(path).is_some_and(|(file, _)| !file.is_open()) {
            self.make_room()?;
        }
        let uses = self.uses;
        let entry = self.files.get_mut(path).ok_or_else(|| format!("`{path}` is not open"))?;
        entry.1 = uses;
        Ok(&mut entry.0)
    }

    /// Closes the file that was used least recently, if as many as may be are open.
    fn make_room(&mut self) -> Result<(), String> {
        let open = || self.files.iter().filter(|(_, (file, _))| file.is_open());
        if open().count() < OPEN_FILES {
            return Ok(());
        }
        let Some(oldest) = open().min_by_key(|(_, (_, used))| *used).map(|(path, _)| Arc::clone(path)) else {
            return Ok(());
        };
        self.files.get_mut(&oldest).map_or(Ok(()), |(file, _)| file.close())
    }

    fn write(&mut self, rows: &Encoded) -> Result<(), String> {
        let none = Vec::new();
        let paths = rows.rendered.first().unwrap_or(&none);
        if paths.len() != rows.ends.len() {
            return Err("rows came without the path that each belongs to".into());
        }
        // Neighbours of one path are written together.
        let mut start = 0;
        let mut row = 0;
        while let Some(path) = paths.get(row) {
            let run = paths.iter().skip(row).take_while(|p| *p == path).count();
            let end = rows.ends.get(row + run - 1).map_or(start, |e| *e as usize);
            let text = rows.text.get(start..end).unwrap_or_default();
            self.file(path)?.write(text)?;
            (start, row) = (end, row + run);
        }
        if self.opening.mode == Mode::Append {
            self.files.values_mut().try_for_each(|(file, _)| file.flush())?;
        }
        Ok(())
    }
}

impl Sink for ManyFiles {
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move { self.write(rows).map_err(SinkError::Fatal) })
    }

    fn finish(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move {
            // In the order of their paths, so that a run which fails here fails the same way again.
            let mut files: Vec<_> = self.files.iter_mut().collect();
            files.sort_by(|a, b| a.0.cmp(b.0));
            files.into_iter().try_for_each(|(_, (file, _))| file.finish()).map_err(SinkError::Fatal)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::{block_on, context, encoded};

    fn sink(dir: &Path, path: &str, mode: Option<Mode>) -> Result<Box<dyn Sink>, String> {
        let opened = FileSink::open(Options { path: path.into(), mode }, context(dir));
        opened.map_err(|SinkError::Fatal(message)| message)
    }

    fn rows(of: &[(&str, &str)]) -> Encoded {
        let mut rows = encoded(&of.iter().map(|(_, row)| *row).collect::<Vec<_>>());
        rows.rendered = vec![of.iter().map(|(path, _)| Arc::from(*path)).collect()];
        rows
    }

    #[test]
    fn replacing_keeps_the_old_file_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out/rows.ndjson");
        std::fs::create_dir(dir.path().join("out")).unwrap();
        std::fs::write(&path, "old\n").unwrap();
        let old = || std::fs::read_to_string(&path).unwrap();

        let mut failed = sink(dir.path(), "out/rows.ndjson", None).unwrap();
        block_on(failed.deliver(&encoded(&["new"]))).unwrap();
        drop(failed);
        assert_eq!(old(), "old\n");
        assert_eq!(std::fs::read_dir(dir.path().join("out")).unwrap().count(), 1, "nothing is left beside it");

        let mut complete = sink(dir.path(), "out/rows.ndjson", None).unwrap();
        block_on(complete.deliver(&encoded(&["new"]))).unwrap();
        assert_eq!(old(), "old\n");
        block_on(complete.finish()).unwrap();
        assert_eq!(old(), "new\n");
    }

    #[test]
    fn appending_shows_rows_at_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a"), "old\n").unwrap();
        let mut sink = sink(dir.path(), "a", Some(Mode::Append)).unwrap();
        block_on(sink.deliver(&encoded(&["1", "2"]))).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("a")).unwrap(), "old\n1\n2\n");
    }

    #[test]
    fn rows_decide_the_file_and_only_so_many_are_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), "by/{{ id }}.txt", None).unwrap();
        let count = OPEN_FILES + 3;
        for round in 0..2 {
            for i in 0..count {
                let path = format!("by/{i}/x.txt");
                block_on(sink.deliver(&rows(&[(&path, &format!("{round}")), (&path, "again")]))).unwrap();
            }
        }
        block_on(sink.finish()).unwrap();
        for i in 0..count {
            let text = std::fs::read_to_string(dir.path().join(format!("by/{i}/x.txt"))).unwrap();
            assert_eq!(text, "0\nagain\n1\nagain\n");
        }
    }

    #[test]
    fn paths_stay_inside() {
        for (plain, path) in [
            ("by/", "by/../x"),
            ("by/", "by//etc/passwd"),
            ("", "/etc/passwd"),
            ("", "a/../../x"),
            ("by/", "by/"),
            ("by/", "by/a/"),
            ("by/", "elsewhere/a"),
            ("", "a\0b"),
        ] {
            assert!(refuse(plain, path).is_some(), "{plain} {path}");
        }
        for (plain, path) in [("by/", "by/a.txt"), ("", "a/b..c"), ("../out/", "../out/x"), ("/abs/", "/abs/x")] {
            assert_eq!(refuse(plain, path), None);
        }
        assert_eq!(split("a/b-{{ x }}/c"), ("a/", "b-{{ x }}/c"));
        assert_eq!(split("{{ x }}/c"), ("", "{{ x }}/c"));
        assert_eq!(split("/a/b.txt"), ("/a/", "b.txt"));
    }

    #[test]
    fn two_writers_of_one_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = sink(dir.path(), "a", None).unwrap();
        let second = sink(dir.path(), "a", None).err().unwrap();
        assert!(second.contains("is being written by another sink or another run"), "{second}");
    }
}
