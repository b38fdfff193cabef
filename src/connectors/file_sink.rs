//! Sink `file`: writes rows to a file, or to many: by paths that the rows decide, by size, by event time.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output_file::Opening;
use super::output_files::{OutputFiles, Rotation};
use super::pack::Packing;
use super::written::{Duration, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Promise;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::path::{is_template, split};
use crate::connector::{
    BoxFuture, CheckContext, Encoded, End, OpenContext, Prepared, Reach, Sink, SinkConnector, SinkError,
};

/// The sink `file`.
pub struct FileSink;

/// Writes rows to a file, or to many: `{{ field }}` in the path takes the row's value. Directories are made. Each row is
/// written once, whatever happens in between: a run that goes on after it was stopped or killed goes on with its own files.
/// What waits until it may be seen stands in hidden files beside them (`.rows.ndjson.partial`, `.SINK-….pending-0`), which
/// are gone when the run is complete.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The file, relative to the pipeline's file: `out/rows.ndjson`. With fields of the row
    /// (`history/{{ window_start | date('%Y-%m-%d') }}.ndjson`) rows go to many files, all of which stay inside the
    /// directory written before the first `{{`; a row that would lead out of it cannot be processed.
    #[schemars(length(min = 1), example = "out/rows.ndjson")]
    pub path: String,
    /// What becomes of a file that is there already. Left out: `replace` when every source of the pipeline comes to an
    /// end by itself, otherwise `append`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// When readers see what is written.
    #[serde(default)]
    pub visible: Visible,
    /// How files are packed. Their names are as `path` has them: `out/rows.ndjson.gz`.
    #[serde(default)]
    pub compression: Packing,
    /// When a further file is begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate: Option<Rotate>,
}

/// What becomes of a file that is there already.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The run's rows take the place of what it holds. With `visible: committed` they are written to a file beside it
    /// that takes its name when the run is complete; a run that fails or is stopped leaves the old file as it was, and is
    /// gone on with beside it.
    Replace,
    /// The rows are written after what it holds, and stay when the run fails or is stopped.
    Append,
}

/// When readers see what is written.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Visible {
    /// When it will stay. With `mode: replace` that is when the run is complete. With `mode: append` it is when a
    /// checkpoint holds the rows (`checkpoint: { every: 5s }`): nobody sees one that comes again or is taken back. A packed
    /// file can be unpacked after each.
    #[default]
    Committed,
    /// As soon as they are processed. With `mode: replace` the old file is emptied when the run begins, and rows of a run
    /// that fails stay in it. A run that goes on after it was killed takes back the rows that no checkpoint holds and writes
    /// them again: who looked in between has seen them twice. Packed, every piece is packed for itself, which makes larger
    /// files.
    AtOnce,
}

/// When a further file is begun: by size, by event time, or both. The name of each goes before the first dot of the
/// path's file name, so `rows.ndjson` becomes `rows-20260101T100000Z.ndjson`, `rows-000001.ndjson` or
/// `rows-20260101T100000Z-000001.ndjson`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Bytes that a file has at most, before it is packed: `100MB`. Rows are never split; one that is larger has a file of
    /// its own. Files are numbered from 1. With `mode: append` the last one goes on if it has room and is not packed; with
    /// `mode: replace` those with higher numbers, which an earlier run left, are removed when the run is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// A file for each period of event time, of the row and not of the clock, named by the period's start in UTC: `1h`.
    /// Periods are aligned to the Unix epoch. A row that comes late goes to the file of its own period; one without an
    /// event time cannot be processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
}

impl SinkConnector for FileSink {
    const NAME: &'static str = "file";
    const PATHS: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::path(&options.path)
    }

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
        } else if is_template(path)
            && Path::new(split(path).1).components().any(|c| c == std::path::Component::ParentDir)
        {
            wrong("`..` after a `{{ field }}` could lead anywhere", "write the directory before the first `{{`");
        }
        if let Some(rotate) = &options.rotate {
            rotate.check(node.get("rotate").unwrap_or(node), found);
        }
    }

    fn promise(options: &Options) -> Promise {
        let once = Promise::once("writes each row once; what a crash left half-written is cut");
        match options.visible {
            Visible::Committed => once,
            Visible::AtOnce => Promise {
                why: "writes each row once; whoever reads along may see rows that are cut after a crash and written again".into(),
                stronger: Some("`visible: committed` shows rows when a checkpoint holds them".into()),
                early: true,
                ..once
            },
        }
    }

    fn templates(options: &Options) -> Vec<String> {
        if is_template(&options.path) { vec![options.path.clone()] } else { Vec::new() }
    }

    fn timed(options: &Options) -> bool {
        options.rotate.is_some_and(|rotate| rotate.every.is_some())
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let mode = options.mode.unwrap_or(if context.bounded { Mode::Replace } else { Mode::Append });
        let header = context.header.clone().unwrap_or_default();
        let opening = Opening { mode, visible: options.visible, packing: options.compression, header };
        let rotation = Rotation {
            size: options.rotate.and_then(|r| r.size).map(|size| size.0),
            every: options.rotate.and_then(|r| r.every).map(|every| every.0.0),
        };
        let files = OutputFiles::open(options.path, opening, rotation, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Files(files)))
    }
}

impl Rotate {
    fn check(&self, node: &Node, found: &mut Diagnostics) {
        let place = |key: &str| Some(node.get(key).unwrap_or(node).span.clone());
        if self.size.is_none() && self.every.is_none() {
            let wrong = Diagnostic::error("bad-rotate", "`rotate` needs `size` or `every`", place(""));
            found.push(wrong.help("write `rotate: { size: 100MB }` or `rotate: { every: 1h }`"));
        }
        if self.size.is_some_and(|size| size.0 == 0) {
            found.push(Diagnostic::error("bad-rotate", "`size` has to be more than nothing", place("size")));
        }
        if self.every.is_some_and(|every| every.0 < TimeSpan::seconds(1) || every.0.0 % 1_000_000 != 0) {
            let wrong = Diagnostic::error("bad-rotate", "`every` has to be whole seconds", place("every"));
            found.push(wrong.help("files are named by the second in which their period begins"));
        }
    }
}

/// The files, open.
struct Files(OutputFiles);

impl Sink for Files {
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move { self.0.write(rows).map_err(SinkError::Fatal) })
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(async move { self.0.prepare().map(Prepared::from).map_err(SinkError::Fatal) })
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move { self.0.commit().map_err(SinkError::Fatal) })
    }

    fn finish(&mut self, end: End) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(async move {
            match end {
                End::Complete => self.0.finish().map_err(SinkError::Fatal)?,
                End::Stopped => {}
            }
            Ok(Prepared::default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limit::OPEN_FILES;
    use crate::connectors::conformance::{block_on, context, encoded};
    use crate::connectors::unpack::unpack_all;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn sink(dir: &Path, options: &Value) -> Result<Box<dyn Sink>, String> {
        let options = serde_json::from_value(options.clone()).unwrap();
        FileSink::open(options, context(dir)).map_err(SinkError::message)
    }

    fn rows(of: &[(&str, &str)]) -> Encoded {
        let mut rows = encoded(&of.iter().map(|(_, row)| *row).collect::<Vec<_>>());
        rows.rendered = vec![of.iter().map(|(path, _)| Arc::from(*path)).collect()];
        rows
    }

    /// Every file of a directory with what is in it, unpacked.
    fn files(dir: &Path) -> Vec<(String, String)> {
        let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
        let text = |path: &Path| String::from_utf8(unpack_all(path)).unwrap();
        let mut all: Vec<_> =
            entries.map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), text(&p))).collect();
        all.sort();
        all
    }

    fn named(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn replacing_keeps_the_old_file_until_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out/rows.ndjson");
        std::fs::create_dir(dir.path().join("out")).unwrap();
        std::fs::write(&path, "old\n").unwrap();
        let old = || std::fs::read_to_string(&path).unwrap();
        let options = json!({ "path": "out/rows.ndjson" });

        let mut failed = sink(dir.path(), &options).unwrap();
        block_on(failed.deliver(&encoded(&["new"]))).unwrap();
        block_on(failed.committed()).unwrap();
        drop(failed);
        assert_eq!(old(), "old\n");
        assert_eq!(std::fs::read_dir(dir.path().join("out")).unwrap().count(), 1, "nothing is left beside it");

        let mut complete = sink(dir.path(), &options).unwrap();
        block_on(complete.deliver(&encoded(&["new"]))).unwrap();
        assert_eq!(old(), "old\n");
        block_on(complete.finish(End::Complete)).unwrap();
        assert_eq!(old(), "new\n");

        let mut at_once = sink(dir.path(), &json!({ "path": "out/rows.ndjson", "visible": "at_once" })).unwrap();
        assert_eq!(old(), "");
        block_on(at_once.deliver(&encoded(&["newer"]))).unwrap();
        assert_eq!(old(), "newer\n");
        drop(at_once);
        assert_eq!(old(), "newer\n");
    }

    #[test]
    fn appended_rows_are_seen_at_once_or_when_flushed() {
        let dir = tempfile::tempdir().unwrap();
        for (compression, visible) in
            [("none", "at_once"), ("gzip", "at_once"), ("none", "committed"), ("zstd", "committed")]
        {
            let path = dir.path().join(format!("{compression}-{visible}"));
            let options = json!({
                "path": path, "mode": "append", "visible": visible, "compression": compression
            });
            let mut first = sink(dir.path(), &options).unwrap();
            block_on(first.deliver(&encoded(&["1", "2"]))).unwrap();
            block_on(first.finish(End::Complete)).unwrap();
            let mut second = sink(dir.path(), &options).unwrap();
            block_on(second.deliver(&encoded(&["3"]))).unwrap();
            if visible == "committed" {
                assert_eq!(unpack_all(&path), b"1\n2\n");
                block_on(second.prepare()).unwrap();
                assert_eq!(unpack_all(&path), b"1\n2\n");
                block_on(second.committed()).unwrap();
            }
            assert_eq!(unpack_all(&path), b"1\n2\n3\n");
        }
    }

    #[test]
    fn rows_decide_the_file_and_only_so_many_are_open() {
        let dir = tempfile::tempdir().unwrap();
        let mut sink = sink(dir.path(), &json!({ "path": "by/{{ id }}.txt" })).unwrap();
        let count = OPEN_FILES + 3;
        for round in 0..2 {
            for i in 0..count {
                let path = format!("by/{i}/x.txt");
                block_on(sink.deliver(&rows(&[(&path, &format!("{round}")), (&path, "again")]))).unwrap();
            }
        }
        block_on(sink.finish(End::Complete)).unwrap();
        for i in 0..count {
            let text = std::fs::read_to_string(dir.path().join(format!("by/{i}/x.txt"))).unwrap();
            assert_eq!(text, "0\nagain\n1\nagain\n");
        }
    }

    #[test]
    fn a_file_that_is_full_is_followed_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let options = |mode: &str, compression: &str| {
            let path = format!("{mode}-{compression}/r.x.gz");
            json!({ "path": path, "mode": mode, "compression": compression, "rotate": { "size": "6B" } })
        };
        let run = |options: &Value, pieces: &[&[&str]]| {
            let mut sink = sink(dir.path(), options).unwrap();
            pieces.iter().for_each(|rows| block_on(sink.deliver(&encoded(rows))).unwrap());
            block_on(sink.finish(End::Complete)).unwrap();
        };
        let whole = named(&[("r-000001.x.gz", "12\n34\n"), ("r-000002.x.gz", "1234567\n"), ("r-000003.x.gz", "5\n")]);
        for (mode, compression) in [("replace", "none"), ("replace", "zstd"), ("append", "none"), ("append", "gzip")] {
            run(&options(mode, compression), &[&["12"], &["34", "1234567"], &["5"]]);
            assert_eq!(files(&dir.path().join(format!("{mode}-{compression}"))), whole);
        }
        run(&options("append", "none"), &[&["6"], &["7", "8"]]);
        let more = named(&[("r-000003.x.gz", "5\n6\n7\n"), ("r-000004.x.gz", "8\n")]);
        assert_eq!(files(&dir.path().join("append-none"))[2..], more);
        run(&options("append", "gzip"), &[&["6"]]);
        assert_eq!(
            files(&dir.path().join("append-gzip"))[2..],
            named(&[("r-000003.x.gz", "5\n"), ("r-000004.x.gz", "6\n")])
        );
        run(&options("replace", "zstd"), &[&["6"]]);
        assert_eq!(files(&dir.path().join("replace-zstd")), named(&[("r-000001.x.gz", "6\n")]), "others are removed");
    }

    #[test]
    fn event_time_decides_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let options = json!({ "path": "out/r.txt", "rotate": { "every": "1h", "size": "4B" } });
        let mut sink = sink(dir.path(), &options).unwrap();
        let mut rows = encoded(&["a", "b", "c", "late", "before"]);
        let hour = 3_600_000_000;
        rows.times = [hour, hour + 1, 2 * hour, 2 * hour - 1, -1].map(crate::base::time::Timestamp).to_vec();
        block_on(sink.deliver(&rows)).unwrap();
        block_on(sink.finish(End::Complete)).unwrap();
        let expected = named(&[
            ("r-19691231T230000Z-000001.txt", "before\n"),
            ("r-19700101T010000Z-000001.txt", "a\nb\n"),
            ("r-19700101T010000Z-000002.txt", "late\n"),
            ("r-19700101T020000Z-000001.txt", "c\n"),
        ]);
        assert_eq!(files(&dir.path().join("out")), expected);
    }

    #[test]
    fn two_writers_of_one_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = sink(dir.path(), &json!({ "path": "a" })).unwrap();
        let second = sink(dir.path(), &json!({ "path": "a" })).err().unwrap();
        assert!(second.contains("is being written by another sink or another run"), "{second}");
    }
}
