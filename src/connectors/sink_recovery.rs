//! Crashes of the `file` sink: whatever point one falls on, the run that goes on with the marks of the last durable
//! checkpoint writes what an undisturbed run would have written, and leaves nothing else behind.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::conformance::{block_on, context, encoded};
use super::file_sink::FileSink;
use super::output_mark::FileMark;
use super::unpack::unpack_all;
use crate::base::fault::armed;
use crate::base::time::Timestamp;
use crate::connector::{Encoded, End, OpenContext, Sink, SinkConnector, SinkError};

/// Where a crash may fall.
const POINTS: &[&str] = &[
    "sink.noted",
    "sink.begun",
    "sink.file_prepared",
    "sink.prepared",
    "sink.appended",
    "sink.committed",
    "sink.synced",
    "sink.renamed",
    "sink.named",
    "sink.tidied",
    // The engine's own: between what it asks of the sink.
    "engine.delivered",
    "engine.before_transaction",
    "engine.after_transaction",
    "engine.finished",
];

/// One row: which of a few paths it goes to, its hour, its length.
type Row = (u8, u8, u8);

/// What a run is made of: deliveries, each with whether a checkpoint follows.
type Script = Vec<(Vec<Row>, bool)>;

fn rows(of: &[Row], first: usize) -> Encoded {
    let texts: Vec<String> =
        (first..).zip(of).map(|(n, (_, _, fill))| format!("{n}{}", "x".repeat((*fill).into()))).collect();
    let mut rows = encoded(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    rows.rendered = vec![of.iter().map(|(path, _, _)| Arc::from(format!("out/{path}/r.txt"))).collect()];
    rows.times = of.iter().map(|(_, hour, _)| Timestamp(i64::from(*hour) * 3_600_000_000)).collect();
    rows
}

fn with_marks(dir: &Path, marks: Option<&BTreeMap<String, String>>) -> OpenContext {
    OpenContext { header: Some(b"header\n".to_vec()), marks: marks.cloned(), ..context(dir) }
}

fn open(dir: &Path, options: &Value, marks: Option<&BTreeMap<String, String>>) -> Result<Box<dyn Sink>, String> {
    let options = serde_json::from_value(options.clone()).unwrap();
    FileSink::open(options, with_marks(dir, marks)).map_err(SinkError::message)
}

/// What the engine and its database know of a run.
#[derive(Default)]
struct Run {
    marks: Option<BTreeMap<String, String>>,
    /// Deliveries that the last durable checkpoint holds.
    taken: usize,
    finishing: bool,
    complete: bool,
}

impl Run {
    fn checkpoint(&mut self, sink: &mut dyn Sink, taken: usize, finishing: bool) {
        let changed = block_on(sink.prepare()).unwrap().marks;
        crate::base::fault::point("engine.before_transaction");
        let marks = self.marks.get_or_insert_default();
        for (key, value) in changed {
            match value {
                Some(value) => drop(marks.insert(key, value)),
                None => drop(marks.remove(&key)),
            }
        }
        (self.taken, self.finishing) = (taken, finishing);
        crate::base::fault::point("engine.after_transaction");
        block_on(sink.committed()).unwrap();
    }

    /// Goes on to the end, as the engine does.
    fn go_on(&mut self, dir: &Path, options: &Value, script: &Script) {
        let marks = self.marks.clone();
        // From here on it is known that the run has begun.
        self.marks.get_or_insert_default();
        let mut sink = open(dir, options, marks.as_ref()).unwrap();
        if !self.finishing {
            for at in self.taken..script.len() {
                let first = script.iter().take(at).map(|(rows, _)| rows.len()).sum();
                block_on(sink.deliver(&rows(&script[at].0, first))).unwrap();
                crate::base::fault::point("engine.delivered");
                if script[at].1 {
                    self.checkpoint(sink.as_mut(), at + 1, false);
                }
            }
            self.checkpoint(sink.as_mut(), script.len(), true);
        }
        block_on(sink.finish(End::Complete)).unwrap();
        crate::base::fault::point("engine.finished");
        self.complete = true;
    }
}

/// What a crash makes of bytes that no checkpoint knows: some of them are not there, or others.
fn tear(dir: &Path, options: &Value, run: &Run, chance: u8) {
    for (key, json) in run.marks.iter().flatten() {
        let mark: FileMark = serde_json::from_str(json).unwrap();
        let path = dir.join(key);
        let beside = path.with_file_name(format!(".{}.partial", path.file_name().unwrap().to_str().unwrap()));
        let path = if beside.exists() { beside } else { path };
        let Ok(metadata) = fs::metadata(&path) else { continue };
        let length = mark.written.length;
        let file = OpenOptions::new().append(true).open(&path).unwrap();
        if metadata.len() > length {
            file.set_len(length + (metadata.len() - length) * u64::from(chance) / 255).unwrap();
        }
        let at_will = !run.finishing && (options["mode"] == "replace" || options["visible"] == "at_once");
        if at_will && chance.is_multiple_of(2) {
            (&file).write_all(b"torn").unwrap();
        }
    }
    // What dies by itself takes away what stands beside; what is killed does not.
    if options["mode"] == "replace" && options["visible"] == "committed" && chance.is_multiple_of(3) {
        for path in all_files(dir).into_keys().filter(|path| path.ends_with(".undo")) {
            for line in fs::read_to_string(dir.join(path)).unwrap().lines() {
                let entry: Value = serde_json::from_str(line).unwrap();
                let path = Path::new(entry["path"].as_str().unwrap());
                if !path.exists() && path.parent().unwrap().exists() && !run.finishing {
                    fs::write(path, "left").unwrap();
                }
            }
        }
    }
}

/// Every file below a directory, by its path, unpacked where it can be.
fn all_files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = walkdir::WalkDir::new(dir).into_iter().map(Result::unwrap).filter(|e| e.file_type().is_file());
    let name = |path: &Path| path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
    files
        .map(|e| (name(e.path()), if name(e.path()).contains("/.") { Vec::new() } else { unpack_all(e.path()) }))
        .collect()
}

/// What an earlier run left.
fn leave_earlier(dir: &Path, options: &Value) {
    let mut sink = open(dir, options, None).unwrap();
    let earlier: Vec<Row> = vec![(0, 0, 3), (1, 1, 9), (0, 0, 12), (0, 0, 12)];
    block_on(sink.deliver(&rows(&earlier, 100))).unwrap();
    block_on(sink.finish(End::Complete)).unwrap();
}

fn options() -> impl Strategy<Value = Value> {
    let modes = prop::sample::select(vec!["replace", "append"]);
    let visible = prop::sample::select(vec!["committed", "at_once"]);
    let packing = prop::sample::select(vec!["none", "none", "gzip", "zstd"]);
    let shapes = prop::sample::select(vec![
        json!({ "path": "out/r.txt" }),
        json!({ "path": "out/{{ id }}/r.txt" }),
        json!({ "path": "out/r.txt", "rotate": { "size": "30B" } }),
        json!({ "path": "out/{{ id }}/r.txt", "rotate": { "size": "40B", "every": "1h" } }),
    ]);
    (modes, visible, packing, shapes).prop_map(|(mode, visible, packing, mut shape)| {
        shape["mode"] = mode.into();
        shape["visible"] = visible.into();
        shape["compression"] = packing.into();
        shape
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn a_run_that_crashes_writes_what_one_writes_that_does_not(
        options in options(),
        earlier in any::<bool>(),
        script in vec((vec((0u8..4, 0u8..3, 0u8..20), 0..6), prop::bool::weighted(0.4)), 1..9),
        crashes in vec((prop::sample::select(POINTS.to_vec()), 1u64..6, any::<u8>()), 0..6),
    ) {
        let (calm, stormy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        if earlier {
            leave_earlier(calm.path(), &options);
            leave_earlier(stormy.path(), &options);
        }
        let never: Script = script.iter().map(|(rows, _)| (rows.clone(), false)).collect();
        Run::default().go_on(calm.path(), &options, &never);

        let mut run = Run::default();
        for (point, times, chance) in &crashes {
            armed::arm(&format!("{point}:{times}"));
            let died = catch_unwind(AssertUnwindSafe(|| run.go_on(stormy.path(), &options, &script)));
            let asked = armed::disarm();
            prop_assert!(died.is_ok() || asked, "it failed by itself");
            if died.is_ok() {
                break;
            }
            // From then on everything is on the disk.
            if !["sink.named", "sink.tidied", "engine.finished"].contains(point) {
                tear(stormy.path(), &options, &run, *chance);
            }
        }
        if !run.complete {
            run.go_on(stormy.path(), &options, &script);
        }
        prop_assert_eq!(all_files(stormy.path()), all_files(calm.path()));
        prop_assert!(all_files(calm.path()).keys().all(|path| !path.contains("/.")), "nothing is left beside");
    }
}

/// A run that was left after its second checkpoint: what it remembers.
fn left(dir: &Path, options: &Value) -> BTreeMap<String, String> {
    let mut run = Run::default();
    armed::arm("engine.delivered:3");
    let script: Script = vec![(vec![(0, 0, 3)], true), (vec![(0, 0, 4)], true), (vec![(0, 0, 5)], true)];
    assert!(catch_unwind(AssertUnwindSafe(|| run.go_on(dir, options, &script))).is_err());
    assert!(armed::disarm());
    run.marks.unwrap()
}

#[test]
fn a_file_that_somebody_changed_is_an_error() {
    for (mode, visible) in
        [("replace", "committed"), ("replace", "at_once"), ("append", "committed"), ("append", "at_once")]
    {
        let options = json!({ "path": "out/r.txt", "mode": mode, "visible": visible });
        let changes: [(&str, fn(&Path)); 3] = [
            ("is gone", |path| fs::remove_file(path).unwrap()),
            ("bytes, and the run had written", |path| fs::write(path, "h").unwrap()),
            ("another file", |path| {
                let copy = path.with_extension("copy");
                fs::copy(path, &copy).unwrap();
                fs::rename(copy, path).unwrap();
            }),
        ];
        for (what, change) in changes {
            let dir = tempfile::tempdir().unwrap();
            let marks = left(dir.path(), &options);
            let beside = dir.path().join("out/.r.txt.partial");
            change(if beside.exists() { &beside } else { Box::leak(dir.path().join("out/r.txt").into_boxed_path()) });
            let error = open(dir.path(), &options, Some(&marks)).err().unwrap();
            assert!(error.contains(what) && error.contains("`run --fresh`"), "{mode} {visible}: {error}");
        }
    }
}

#[test]
fn what_a_run_left_goes_when_the_next_begins() {
    for path in ["out/r.txt", "out/{{ id }}/r.txt"] {
        for mode in ["replace", "append"] {
            let dir = tempfile::tempdir().unwrap();
            let options = json!({ "path": path, "mode": mode });
            drop(left(dir.path(), &options));
            assert!(all_files(dir.path()).keys().any(|path| path.contains("/.")), "it waits to be gone on with");
            block_on(open(dir.path(), &options, None).unwrap().finish(End::Complete)).unwrap();
            let left: Vec<_> = all_files(dir.path()).into_keys().filter(|path| path.contains("/.")).collect();
            assert_eq!(left, Vec::<String>::new());
        }
    }
}

#[test]
fn readers_of_a_file_that_is_added_to_see_what_stays() {
    let dir = tempfile::tempdir().unwrap();
    let options = json!({ "path": "out/r.txt", "mode": "append" });
    let mut run = Run::default();
    let seen = || fs::read_to_string(dir.path().join("out/r.txt")).unwrap();
    let mut sink = open(dir.path(), &options, None).unwrap();
    run.checkpoint(sink.as_mut(), 0, false);
    let many = vec![(0, 0, 200); 50_000];
    block_on(sink.deliver(&rows(&many, 0))).unwrap();
    assert_eq!(seen(), "header\n", "more than may wait in memory is not seen either");
    run.checkpoint(sink.as_mut(), 1, false);
    let all = seen();
    assert_eq!(all.lines().count(), 50_001);
    block_on(sink.deliver(&rows(&[(0, 0, 1)], 0))).unwrap();
    drop(sink);
    assert!(seen() == all, "what no checkpoint holds was never there");
}
