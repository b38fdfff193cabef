//! Source `sqlite`: the rows of a table or query in the order of a column that grows, once or for as long as more come.

use std::collections::VecDeque;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::written::{Duration, Names};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::limit::{CHUNK_BYTES, EQUAL_ROWS_BYTES, READ_AHEAD_BYTES};
use crate::base::time::TimeSpan;
use crate::base::tree::{Data, Node};
use crate::connector::{
    BoxFuture, CheckContext, Chunk, Link, OpenContext, Opened, Partition, Place, Reach, Read, Source, SourceConnector,
    SourceError,
};
use crate::store::database::Ask;
use crate::store::growing::{Growing, GrowingSpec, Key, Part, Trouble, Wrong};

/// How often new rows are looked for, if the author does not say.
const POLL: std::time::Duration = std::time::Duration::from_secs(1);
/// How often a database that another program holds is tried for when a run starts: for some seconds each time.
const TRIES: u32 = 6;
/// How long it is until a database that another program holds is asked again.
const BUSY: std::time::Duration = std::time::Duration::from_millis(100);

/// The source `sqlite`.
pub struct SqliteSource;

/// Reads rows of a SQLite database in the order of a column that grows (`by`), and the run ends with the last one; or, with
/// `follow`, goes on with those that come. A row is an event, its columns are the fields; null is null, bytes are text in
/// Base64. The database is only read, and held only while rows are taken from it; one that another program holds is waited
/// for.
///
/// Each row is read once, also by a run that goes on after it was stopped or killed: what was read last is kept by its
/// values of `by` and, since rows may share these, by the primary key or the rowid of their table. A row that comes later, or
/// is changed, and does not stand behind that one is not read; nor is one in which a column of `by` is null. Of a view or
/// query nothing but `by` tells rows apart: one that comes later with just the values that were read last is not read, so
/// let `by` end with a column that does, `[updated_at, id]`.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// The database, relative to the pipeline's file: `shop.db`.
    #[schemars(length(min = 1), example = "shop.db")]
    pub path: String,
    /// The table or view. Either this or `query`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"orders")]
    pub table: Option<String>,
    /// A `SELECT` without parameters, `LIMIT` and order: it is asked for what comes after a row, in the order of `by`, which
    /// are columns of its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"SELECT id, amount FROM orders WHERE paid")]
    pub query: Option<String>,
    /// A column whose values grow from row to row, `id`, or several of which the second does among equals of the first:
    /// `[updated_at, id]`. An index on them keeps looks cheap.
    pub by: Names,
    /// Whether the run waits for more rows, until it is stopped.
    #[serde(default)]
    pub follow: bool,
    /// With `follow`: whether it begins with the rows that are there when the run starts, or with those that come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// With `follow`: how often new rows are looked for. Default `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Duration>,
}

/// Which rows are read first.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "StartOfRows")]
pub enum Start {
    /// The least ones.
    Beginning,
    /// Those beyond what is there when the run starts.
    End,
}

impl Options {
    fn spec(&self, directory: &std::path::Path) -> Option<GrowingSpec> {
        let ask = match (&self.table, &self.query) {
            (Some(table), None) => Ask::Table(table.clone()),
            (None, Some(query)) => Ask::Query(query.clone()),
            _ => return None,
        };
        Some(GrowingSpec { path: directory.join(&self.path), ask, by: self.by.0.clone() })
    }
}

impl SourceConnector for SqliteSource {
    const NAME: &'static str = "sqlite";
    const JSON: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::path(&options.path)
    }

    fn check(options: &Options, node: &Node, context: &CheckContext, found: &mut Diagnostics) {
        let at = |key: &str| node.get(key).unwrap_or(node);
        let mut wrong = |code: &'static str, message: String, node: &Node, help: &str| {
            found.push(Diagnostic::error(code, message, Some(node.span.clone())).help(help));
        };
        let before = |index: usize| options.by.0.iter().take(index);
        let twice = (1..options.by.0.len()).find(|i| before(*i).any(|name| Some(name) == options.by.0.get(*i)));
        for key in ["start", "poll"].into_iter().filter(|key| !options.follow && node.get(key).is_some()) {
            let message = format!("`{key}` says how new rows are waited for, and `follow` is not set");
            wrong("needs-follow", message, at(key), &format!("add `follow: true`, or leave `{key}` out"));
        }
        if options.poll.is_some_and(|poll| poll.0 < TimeSpan(1_000)) {
            wrong("bad-poll", "`poll` has to be at least 1ms".into(), at("poll"), "the default is `1s`");
        }
        if let Some(name) = twice.and_then(|index| options.by.0.get(index)) {
            wrong("bad-key", format!("`{name}` is written twice"), at("by"), "name each column once");
        }
        if options.by.0.is_empty() {
            wrong("bad-key", "`by` names no column".into(), at("by"), "name a column that grows, for example `id`");
            return;
        }
        let Some(spec) = options.spec(&context.directory) else {
            let help = "write `sqlite: { path: shop.db, table: orders, by: id }`";
            wrong("one-kind", "a `sqlite` source needs either `table` or `query`".into(), node, help);
            return;
        };
        // One that is not there may come before the run.
        if twice.is_some() || !spec.path.is_file() {
            return;
        }
        if let Err((part, why)) = Growing::open(&spec) {
            if part == Part::Held {
                let held = format!("{} is not looked at: another program holds it", options.path);
                found.push(Diagnostic::warning("held-database", held, Some(at("path").span.clone())));
                return;
            }
            let by = at("by");
            let place = match (part, &by.data) {
                (Part::Path | Part::Held, _) => at("path"),
                (Part::Ask, _) => at(if options.table.is_some() { "table" } else { "query" }),
                (Part::By(index), Data::List(items)) => items.get(index).unwrap_or(by),
                (Part::By(_), _) => by,
            };
            let message = format!("{} {why}", options.path);
            found.push(Diagnostic::error("unusable-table", message, Some(place.span.clone())));
        }
    }

    fn bounded(options: &Options) -> bool {
        !options.follow
    }

    fn open(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
        let failed = |why: String| SourceError { message: format!("`{}` {why}", options.path) };
        let spec = options.spec(&context.directory).ok_or_else(|| failed("needs either `table` or `query`".into()))?;
        let mut opened = Growing::open(&spec);
        for _ in 1..TRIES {
            if !matches!(opened, Err((Part::Held, _))) {
                break;
            }
            opened = Growing::open(&spec);
        }
        let growing = opened.map_err(|(part, why): Wrong| {
            let hint = match part {
                Part::Path => "; name the database that is to be read",
                Part::Held => ", and has for half a minute; run again when it lets it go",
                Part::Ask | Part::By(_) => "",
            };
            failed(format!("{why}{hint}"))
        })?;
        let mut start = Place::default();
        if options.start == Some(Start::End) {
            let last = growing.last().map_err(|trouble| failed(said(trouble)))?;
            let after = last.map(|last| Stands { by: growing.columns().into(), last: Some(last), ..Stands::default() });
            start.stream = after.map(|stands| stands.spell()).transpose().map_err(failed)?.unwrap_or_default();
        }
        let poll = options.poll.map_or(POLL, |poll| poll.0.to_std());
        let (growing, shown, follow) = (Arc::new(growing), options.path, options.follow.then_some(poll));
        let open = move |place: &Place| {
            let reader = Reader::open(Arc::clone(&growing), &shown, follow, place)?;
            Ok(Box::new(reader) as Box<dyn Source>)
        };
        Ok(vec![Partition { name: String::new(), start, open: Box::new(open), link: Link::default() }].into())
    }
}

fn said(trouble: Trouble) -> String {
    match trouble {
        Trouble::Busy => "cannot be read: another program holds it; try again when it does not".into(),
        Trouble::Failed(why) => why,
    }
}

/// What a chunk says of where it stands: its rows are those after one key, up to another.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Stands {
    /// The columns of the keys.
    by: Vec<String>,
    /// The row before it; none at the beginning.
    after: Option<Key>,
    /// Its last row; none of a stream that was not read.
    last: Option<Key>,
    /// The number of its first row.
    number: u64,
    /// How many rows it has.
    rows: u64,
}

impl Stands {
    fn spell(&self) -> Result<Arc<str>, String> {
        serde_json::to_string(self).map(Arc::from).map_err(|e| format!("cannot say where it was read: {e}"))
    }
}

/// Rows that are left of a chunk that was taken in part.
#[derive(Clone, Debug)]
struct Rest {
    until: Option<Key>,
    skip: u64,
}

/// The rows, being read.
struct Reader {
    growing: Arc<Growing>,
    /// The database, as it is named.
    shown: String,
    /// How long it is from one look for more to the next.
    follow: Option<std::time::Duration>,
    /// The last row that was read.
    after: Option<Key>,
    /// The number of the next.
    position: u64,
    /// What has to be read before that.
    rest: Option<Rest>,
    /// Read and not handed on yet.
    ready: VecDeque<Chunk>,
    /// When to look again.
    due: Option<Instant>,
    ended: bool,
}

impl Reader {
    fn open(
        growing: Arc<Growing>,
        shown: &str,
        follow: Option<std::time::Duration>,
        place: &Place,
    ) -> Result<Reader, SourceError> {
        let stands = match &*place.stream {
            "" => Stands { by: growing.columns().into(), ..Stands::default() },
            spelled => serde_json::from_str::<Stands>(spelled)
                .map_err(|e| SourceError { message: format!("`{shown}`: where it was read is not known: {e}") })?,
        };
        if stands.by != growing.columns() {
            let message = format!(
                "`{shown}` was read by {}, and is to be read by {} now; put that back as it was, or begin anew with `run --fresh`",
                stands.by.join(", "),
                growing.columns().join(", ")
            );
            return Err(SourceError { message });
        }
        let skip = place.position.saturating_sub(stands.number);
        let whole = stands.last.is_some() && skip >= stands.rows;
        let (after, rest) = match whole {
            true => (stands.last, None),
            false => (stands.after, (skip > 0).then_some(Rest { until: stands.last, skip })),
        };
        let position = place.position;
        let (shown, ready) = (shown.to_owned(), VecDeque::new());
        Ok(Reader { growing, shown, follow, after, position, rest, ready, due: None, ended: false })
    }

    /// Reads some rows ahead, in chunks that end where a key does.
    fn look(&mut self) -> Result<(), Trouble> {
        let growing = Arc::clone(&self.growing);
        let (until, mut skip) = self.rest.clone().map_or((None, 0), |rest| (rest.until, rest.skip));
        let mut chunks = Chunks::new(&growing, self.after.clone(), (self.position.saturating_sub(skip), self.position));
        let mut skipped = None;
        growing.read((self.after.as_ref(), until.as_ref()), &mut |row, key| {
            if skip > 0 {
                skip -= 1;
                skipped = Some(key);
                return true;
            }
            chunks.row(row, key)
        })?;
        chunks.cut();
        if let Some(why) = chunks.failed {
            return Err(Trouble::Failed(why));
        }
        self.rest = None;
        self.after = match chunks.done.is_empty() {
            true => until.or(skipped).or(self.after.take()),
            false => chunks.after,
        };
        self.position = chunks.number;
        self.ready.extend(chunks.done);
        Ok(())
    }

    async fn read(&mut self) -> Result<Read, SourceError> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Read::Chunk(chunk));
            }
            if self.ended {
                return Ok(Read::End);
            }
            if let Some(due) = self.due {
                tokio::time::sleep_until(due).await;
                self.due = None;
            }
            let had_rest = self.rest.is_some();
            match self.look() {
                Ok(()) if !self.ready.is_empty() || had_rest => {}
                Ok(()) => match self.follow {
                    Some(poll) => self.due = Some(Instant::now() + poll),
                    None => self.ended = true,
                },
                Err(Trouble::Busy) => self.due = Some(Instant::now() + BUSY),
                Err(Trouble::Failed(why)) => {
                    return Err(SourceError { message: format!("`{}` {why}", self.shown) });
                }
            }
        }
    }
}

impl Source for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        // What it waits for, and what was read ahead, is in `self`.
        Box::pin(self.read())
    }
}

/// Puts rows into chunks.
struct Chunks<'a> {
    growing: &'a Growing,
    /// The last row of the chunk before.
    after: Option<Key>,
    /// The number of the row that follows it.
    base: u64,
    /// The number of the first row of the chunk in the making: greater if those before it were taken already.
    number: u64,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// The last row of the chunk in the making.
    last: Option<Key>,
    done: Vec<Chunk>,
    /// Bytes of those.
    sum: usize,
    failed: Option<String>,
}

impl<'a> Chunks<'a> {
    fn new(growing: &'a Growing, after: Option<Key>, (base, number): (u64, u64)) -> Chunks<'a> {
        let (bytes, ends, done) = (Vec::new(), Vec::new(), Vec::new());
        Chunks { growing, after, base, number, bytes, ends, last: None, done, sum: 0, failed: None }
    }

    /// Takes a row; false if that is enough.
    fn row(&mut self, row: &[u8], key: Key) -> bool {
        if self.bytes.len() >= CHUNK_BYTES && self.last.as_ref() != Some(&key) {
            self.cut();
            if self.sum >= READ_AHEAD_BYTES {
                return false;
            }
        }
        self.bytes.extend_from_slice(row);
        if self.bytes.len() > EQUAL_ROWS_BYTES {
            self.failed = Some(format!(
                "has more than {EQUAL_ROWS_BYTES} bytes of rows that have the same {}; add a column to `by` that tells them apart",
                self.growing.columns().join(", ")
            ));
            return false;
        }
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.last = Some(key);
        true
    }

    /// Ends the chunk in the making.
    fn cut(&mut self) {
        let Some(last) = self.last.take().filter(|_| self.failed.is_none()) else { return };
        let (bytes, ends) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.ends));
        let position = self.number;
        self.number += ends.len() as u64;
        let after = self.after.replace(last.clone());
        let (number, rows) = (self.base, self.number - self.base);
        self.base = self.number;
        match (Stands { by: self.growing.columns().into(), after, last: Some(last), number, rows }).spell() {
            Ok(stream) => {
                self.sum += bytes.len();
                self.done.push(Chunk { stream, bytes, ends: Some(ends), position, ..Chunk::default() });
            }
            Err(why) => self.failed = Some(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::{block_on, context, read_all};
    use std::path::Path;

    fn made(directory: &Path, sql: &str) {
        crate::store::target::made(&directory.join("t.db"), sql);
    }

    fn opened(directory: &Path, options: serde_json::Value) -> Partition {
        let options = serde_json::from_value(options).unwrap();
        SqliteSource::open(options, context(directory)).map_err(|e| e.message).unwrap().partitions.remove(0)
    }

    /// Rows of a view of which several share a place, wherever they are taken up again.
    #[test]
    fn rows_of_one_place_are_neither_lost_nor_repeated() {
        let directory = tempfile::tempdir().unwrap();
        let sql = "CREATE TABLE t (at INT, v TEXT); CREATE VIEW w AS SELECT * FROM t;
            WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)
            INSERT INTO t SELECT CASE WHEN i < 6000 THEN 1 ELSE i END, printf('%060d', i) FROM n;";
        made(directory.path(), sql);
        let mut partition = opened(directory.path(), serde_json::json!({ "path": "t.db", "table": "w", "by": "at" }));
        let mut source = (partition.open)(&Place::default()).unwrap();
        let (mut all, mut places) = (Vec::new(), Vec::new());
        while let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
            let ends = chunk.ends.unwrap();
            for (index, end) in ends.iter().enumerate().filter(|(index, _)| index % 700 == 0 || index + 1 == ends.len())
            {
                let place = Place { stream: Arc::clone(&chunk.stream), position: chunk.position + index as u64 + 1 };
                places.push((place, all.len() + *end as usize));
            }
            all.extend(chunk.bytes);
        }
        assert!(places.len() > 12, "{} places", places.len());
        for (place, at) in places {
            let mut source = (partition.open)(&place).unwrap();
            let Read::Chunk(chunk) = block_on(source.next()).unwrap() else {
                assert_eq!(at, all.len());
                continue;
            };
            assert_eq!(chunk.position, place.position);
            // In the middle of what is left, too.
            let (half, ends) = (chunk.ends.as_ref().unwrap().len() / 2, chunk.ends.as_ref().unwrap());
            let within = Place { stream: Arc::clone(&chunk.stream), position: chunk.position + half as u64 };
            let from = at + half.checked_sub(1).map_or(0, |before| ends[before] as usize);
            assert!(read_all(&mut *(partition.open)(&within).unwrap()) == all[from..], "{within:?}");
            assert!([chunk.bytes, read_all(&mut *source)].concat() == all[at..], "{place:?}");
        }
    }

    #[test]
    fn a_place_of_other_columns_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        made(directory.path(), "CREATE TABLE t (at INT, v TEXT); INSERT INTO t VALUES (1, 'x')");
        let mut one = opened(directory.path(), serde_json::json!({ "path": "t.db", "table": "t", "by": "at" }));
        let Read::Chunk(chunk) = block_on((one.open)(&Place::default()).unwrap().next()).unwrap() else {
            panic!("a row")
        };
        let mut other = opened(directory.path(), serde_json::json!({ "path": "t.db", "table": "t", "by": "v" }));
        let why = (other.open)(&Place { stream: chunk.stream, position: 1 }).err().unwrap().message;
        assert!(why.contains("read by \"at\", rowid, and is to be read by \"v\", rowid now"), "{why}");
    }
}
