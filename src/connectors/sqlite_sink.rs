//! Sink `sqlite`: writes rows to a table of a SQLite database, each once.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::output_mark::{Directories, Piece, make_parent};
use super::pending::Pending;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::fault;
use crate::base::limit::WAITING_BYTES;
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::{
    BoxFuture, CheckContext, Encoded, End, Marks, OpenContext, Prepared, Reach, Sink, SinkConnector, SinkError,
};
use crate::store::target::{Target, TargetSpec};

/// What the sink remembers is about itself.
const MARK: &str = "epoch";

/// The sink `sqlite`.
pub struct SqliteSink;

/// Writes rows to a table of a SQLite database: a field is a column; lists and objects are JSON text, `true` and `false`
/// are 1 and 0. Rows are written when a checkpoint holds them, in one transaction with a note of it in the table
/// `_millstream` beside, so that each is written once, whatever happens in between.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The database, relative to the pipeline's file; it is made if it is not there: `out/readings.db`.
    #[schemars(length(min = 1), example = "out/readings.db")]
    pub path: String,
    /// The table.
    #[schemars(length(min = 1), example = &"readings")]
    pub table: String,
    /// Fields by which rows are told apart, `[device_id, window_start]`: a row whose values are there already changes that
    /// row, in the fields that it has; others are added. A table that is there needs a unique index or a primary key of
    /// just these columns. Left out: every row is added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Whether the table is made if it is not there, and a column for every field that has none. With `false` such a field
    /// ends the run.
    #[serde(default = "yes")]
    pub create: bool,
    /// What becomes of rows that are in the table already. Left out: `replace` when every source of the pipeline comes to an
    /// end by itself and there is no `key`, otherwise `append`. Until they take the place of others, rows are in a table
    /// `_millstream_TABLE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<TableMode>,
}

/// What becomes of rows that are in a table already.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum TableMode {
    /// The run's rows take their place when the run is complete, in one step; a run that fails or is stopped leaves them.
    Replace,
    /// They stay.
    Append,
}

fn yes() -> bool {
    true
}

impl SinkConnector for SqliteSink {
    const NAME: &'static str = "sqlite";
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::path(&options.path)
    }

    fn check(options: &Options, node: &Node, context: &CheckContext, found: &mut Diagnostics) {
        let place = |key: &str| Some(node.get(key).unwrap_or(node).span.clone());
        if options.path.trim().is_empty() || context.directory.join(&options.path).is_dir() {
            let wrong = Diagnostic::error("bad-path", "the path names no file", place("path"));
            found.push(wrong.help("name the database to write, for example `out/readings.db`"));
        }
        let ours = options.table.to_ascii_lowercase();
        if options.table.trim().is_empty() || ours.starts_with("sqlite_") || ours.starts_with("_millstream") {
            let wrong = Diagnostic::error("bad-table", "a table cannot have this name", place("table"));
            found.push(wrong.help("names that begin with `sqlite_` or `_millstream` are taken"));
        }
        if let Some(twice) =
            (1..options.key.len()).find(|i| options.key.iter().take(*i).any(|k| Some(k) == options.key.get(*i)))
        {
            let name = options.key.get(twice).map_or("", String::as_str);
            found.push(Diagnostic::error("bad-key", format!("`{name}` is written twice"), place("key")));
        }
    }

    fn promise(options: &Options) -> Promise {
        let once = Promise::once("writes each row once, with a note of the checkpoint in the same transaction");
        match options.mode {
            Some(TableMode::Append) => once.grows(),
            None if !options.key.is_empty() => once.grows(),
            _ => once,
        }
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        if !context.json {
            let message = "the sink `sqlite` takes rows as they are; leave its `format` out";
            return Err(SinkError::Fatal(message.into()));
        }
        Table::open(options, &context).map(|table| Box::new(table) as Box<dyn Sink>).map_err(SinkError::Fatal)
    }
}

/// The table, open.
struct Table {
    path: PathBuf,
    target: Target,
    pending: Pending,
    directories: Directories,
    /// Rows that wait in memory.
    held: Vec<u8>,
    /// Rows that wait in the pending file, before those in memory.
    pieces: Vec<Piece>,
}

/// What is remembered: rows of an epoch that wait, or are written already.
#[derive(Serialize, Deserialize)]
struct Waiting {
    epoch: u64,
    pieces: Vec<Piece>,
}

impl Table {
    fn open(options: Options, context: &OpenContext) -> Result<Table, String> {
        let path = context.directory.join(&options.path);
        make_parent(&path)?;
        let replace = options.mode.map_or(context.bounded && options.key.is_empty(), |mode| mode == TableMode::Replace);
        let stem = path.with_file_name(format!(".{}-{:08x}", context.name, context.seed >> 32));
        let target = Target::open(TargetSpec {
            path: path.clone(),
            table: options.table,
            key: options.key,
            create: options.create,
            replace,
            writer: format!("{}-{:016x}", context.name, context.seed),
        })?;
        let pending = Pending::new(&stem);
        let directories = Directories::default();
        let mut this = Table { path, target, pending, directories, held: Vec::new(), pieces: Vec::new() };
        match context.marks.as_ref().and_then(|marks| marks.get(MARK)) {
            Some(mark) => this.resume(mark)?,
            None => {
                this.target.begin()?;
                this.pending.remove()?;
            }
        }
        Ok(this)
    }

    /// Goes on from a checkpoint: its rows are in the database, or wait for it.
    fn resume(&mut self, mark: &str) -> Result<(), String> {
        let waiting: Waiting =
            serde_json::from_str(mark).map_err(|e| format!("what was remembered cannot be read: {e}"))?;
        if let Some(piece) = waiting.pieces.first() {
            self.pending.keep(piece.slot);
        }
        match self.target.epoch() {
            written if written == waiting.epoch => Ok(()),
            written if written + 1 == waiting.epoch => {
                self.pieces = waiting.pieces;
                self.write()
            }
            written => Err(format!(
                "`{}` holds what the sink wrote up to its checkpoint {written}, and the run goes on from {}: the database was put back or replaced since; put the right one there, or begin anew with `run --fresh`",
                self.path.display(),
                waiting.epoch
            )),
        }
    }

    fn spill(&mut self) -> Result<(), String> {
        if !self.held.is_empty() {
            self.pieces.push(self.pending.add(&self.held, &mut self.directories)?);
            self.held.clear();
        }
        Ok(())
    }

    /// What waits in the pending file is written to the table.
    fn write(&mut self) -> Result<(), String> {
        let pieces = std::mem::take(&mut self.pieces);
        if pieces.is_empty() {
            return Ok(());
        }
        let pending = &self.pending;
        self.target.write(self.target.epoch() + 1, &mut |row| {
            let mut rest: Vec<u8> = Vec::new();
            for piece in &pieces {
                pending.read(*piece, &mut |part| {
                    let mut from = 0;
                    for end in memchr::memchr_iter(b'\n', part) {
                        rest.extend_from_slice(part.get(from..end).unwrap_or_default());
                        row(&rest)?;
                        rest.clear();
                        from = end + 1;
                    }
                    rest.extend_from_slice(part.get(from..).unwrap_or_default());
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    fn prepare(&mut self) -> Result<Marks, String> {
        self.spill()?;
        if self.pieces.is_empty() {
            return Ok(Marks::new());
        }
        self.pending.sync()?;
        self.directories.sync()?;
        let waiting = Waiting { epoch: self.target.epoch() + 1, pieces: self.pieces.clone() };
        let mark = serde_json::to_string(&waiting).map_err(|e| format!("cannot remember what waits: {e}"))?;
        fault::point("sink.prepared");
        Ok(vec![(MARK.to_owned(), Some(mark))])
    }

    fn commit(&mut self) -> Result<(), String> {
        self.write()?;
        fault::point("sink.committed");
        self.pending.take_turns();
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        self.spill()?;
        self.write()?;
        self.target.finish()?;
        fault::point("sink.named");
        self.pending.remove()
    }
}

impl Sink for Table {
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            self.held.extend_from_slice(&rows.text);
            if self.held.len() < WAITING_BYTES { Ok(()) } else { self.spill().map_err(SinkError::Fatal) }
        })
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(async move { Table::prepare(self).map(Prepared::from).map_err(SinkError::Fatal) })
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(async move { self.commit().map_err(SinkError::Fatal) })
    }

    fn finish(&mut self, end: End) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(async move {
            match end {
                End::Complete => Table::finish(self).map_err(SinkError::Fatal)?,
                End::Stopped => {}
            }
            Ok(Prepared::default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault::armed;
    use crate::connectors::conformance::{block_on, context, encoded};
    use crate::store::target::dump;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    fn open(dir: &Path, options: &Value, marks: Option<&BTreeMap<String, String>>) -> Result<Box<dyn Sink>, String> {
        let options = serde_json::from_value(options.clone()).unwrap();
        SqliteSink::open(options, OpenContext { marks: marks.cloned(), ..context(dir) }).map_err(SinkError::message)
    }

    /// What the engine and its database know.
    #[derive(Default)]
    struct Run {
        marks: Option<BTreeMap<String, String>>,
        taken: usize,
        finishing: bool,
    }

    impl Run {
        fn checkpoint(&mut self, sink: &mut dyn Sink, taken: usize, finishing: bool) {
            let changed = block_on(sink.prepare()).unwrap().marks;
            fault::point("engine.before_transaction");
            self.marks.get_or_insert_default().extend(changed.into_iter().map(|(key, value)| (key, value.unwrap())));
            (self.taken, self.finishing) = (taken, finishing);
            fault::point("engine.after_transaction");
            block_on(sink.committed()).unwrap();
        }

        fn go_on(&mut self, dir: &Path, options: &Value, deliveries: &[&[&str]]) {
            let marks = self.marks.clone();
            self.marks.get_or_insert_default();
            let mut sink = open(dir, options, marks.as_ref()).unwrap();
            if !self.finishing {
                for (at, rows) in deliveries.iter().enumerate().skip(self.taken) {
                    block_on(sink.deliver(&encoded(rows))).unwrap();
                    fault::point("engine.delivered");
                    self.checkpoint(sink.as_mut(), at + 1, false);
                }
                self.checkpoint(sink.as_mut(), deliveries.len(), true);
            }
            block_on(sink.finish(End::Complete)).unwrap();
            fault::point("engine.finished");
        }
    }

    const DELIVERIES: &[&[&str]] = &[
        &[r#"{"id":"a","n":1}"#, r#"{"id":"b","n":2.5,"tags":["x"],"ok":true}"#],
        &[],
        &[r#"{"id":"a","N":7,"more":null}"#, "{}"],
        &[r#"{"n":12345678901234567890,"id":"c"}"#],
    ];

    fn expected(key: bool) -> Vec<String> {
        let a = if key {
            r#"{"id":"a","n":7,"tags":null,"ok":null,"more":null}"#
        } else {
            r#"{"id":"a","n":1,"tags":null,"ok":null,"more":null}"#
        };
        let mut rows = vec![a, r#"{"id":"b","n":2.5,"tags":"[\"x\"]","ok":1,"more":null}"#];
        if !key {
            rows.push(r#"{"id":"a","n":7,"tags":null,"ok":null,"more":null}"#);
        }
        rows.push(r#"{"id":"c","n":"12345678901234567890","tags":null,"ok":null,"more":null}"#);
        rows.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn each_row_is_written_once_whatever_point_a_crash_falls_on() {
        let points = [
            "sink.prepared",
            "sink.committed",
            "sink.named",
            "engine.delivered",
            "engine.before_transaction",
            "engine.after_transaction",
            "engine.finished",
        ];
        for (mode, key) in [("append", false), ("append", true), ("replace", false), ("replace", true)] {
            for point in points {
                for times in [1, 3] {
                    let dir = tempfile::tempdir().unwrap();
                    let key_of = if key { json!(["id"]) } else { json!([]) };
                    let options = json!({ "path": "out/t.db", "table": "rows of", "mode": mode, "key": key_of });
                    let mut run = Run::default();
                    armed::arm(&format!("{point}:{times}"));
                    let died = catch_unwind(AssertUnwindSafe(|| run.go_on(dir.path(), &options, DELIVERIES))).is_err();
                    assert!(armed::disarm() == died);
                    if died {
                        run.go_on(dir.path(), &options, DELIVERIES);
                    }
                    let path = dir.path().join("out/t.db");
                    assert_eq!(dump(&path, "rows of"), expected(key), "{mode} {key} {point}:{times}");
                    // The next run.
                    Run::default().go_on(dir.path(), &options, DELIVERIES);
                    let twice = if mode == "replace" || key { 1 } else { 2 };
                    assert_eq!(dump(&path, "rows of").len(), expected(key).len() * twice);
                    if mode == "replace" {
                        Run::default().go_on(dir.path(), &options, &[]);
                        assert_eq!(dump(&path, "rows of"), Vec::<String>::new(), "of a run without rows");
                    }
                    let left = std::fs::read_dir(dir.path().join("out")).unwrap().count();
                    assert_eq!(left, 1, "nothing is left beside");
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut run = Run::default();
        let options = json!({ "path": "t.db", "table": "t", "mode": "append" });
        armed::arm("engine.delivered:2");
        assert!(catch_unwind(AssertUnwindSafe(|| run.go_on(dir.path(), &options, DELIVERIES))).is_err());
        assert!(armed::disarm());
        let before = std::fs::read(dir.path().join("t.db")).unwrap();
        Run::default().go_on(dir.path(), &options, DELIVERIES);
        let error = open(dir.path(), &options, run.marks.as_ref()).err().unwrap();
        assert!(error.contains("`run --fresh`"), "{error}");
        std::fs::write(dir.path().join("t.db"), before).unwrap();
        run.go_on(dir.path(), &options, DELIVERIES);

        let strict = json!({ "path": "t.db", "table": "t", "create": false, "mode": "append" });
        let mut sink = open(dir.path(), &strict, None).unwrap();
        block_on(sink.deliver(&encoded(&[r#"{"idd":1}"#]))).unwrap();
        let error = block_on(sink.finish(End::Complete)).unwrap_err().message();
        assert!(error.contains("has no column `idd`"), "{error}");
        let other = json!({ "path": "t.db", "table": "u", "create": false });
        assert!(open(dir.path(), &other, None).err().unwrap().contains("has no table `u`"));
        let mut keyed = open(dir.path(), &json!({ "path": "t.db", "table": "t", "key": ["id"] }), None).unwrap();
        block_on(keyed.deliver(&encoded(&[r#"{"id":1}"#]))).unwrap();
        assert!(block_on(keyed.finish(End::Complete)).unwrap_err().message().contains("ON CONFLICT"));
        std::fs::write(dir.path().join("x.db"), "no database, but long enough to be looked at as if it were one")
            .unwrap();
        let error = open(dir.path(), &json!({ "path": "x.db", "table": "t" }), None).err().unwrap();
        assert!(error.contains("file is not a database"), "{error}");
    }
}
