//! What every connector must hold, run over the lists: a reader resumes anywhere with exactly the rest, a read that is
//! given up loses nothing, every option is described. With what the tests of single connectors share.

use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::task::{Context, Poll, Waker};

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{SINKS, SOURCES};
use crate::connector::{BoxFuture, Encoded, End, Link, OpenContext, Partition, Place, Read, Source, SourceError};
use crate::store::target::made;

/// What a connector opens with in tests: a bounded run in `directory`.
pub fn context(directory: &Path) -> OpenContext {
    OpenContext {
        directory: directory.into(),
        name: "test".into(),
        seed: 1,
        bounded: true,
        header: None,
        json: true,
        meta: Vec::new(),
        journal: directory.join("journal"),
        link: Link::default(),
        marks: None,
        stood: None,
    }
}

/// Runs a future to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// Rows as a sink gets them.
pub fn encoded(rows: &[&str]) -> Encoded {
    let mut encoded = Encoded::default();
    for row in rows {
        encoded.text.extend_from_slice(row.as_bytes());
        encoded.text.push(b'\n');
        encoded.ends.push(u32::try_from(encoded.text.len()).unwrap());
    }
    encoded
}

/// Everything that a source still has.
pub fn read_all(source: &mut dyn Source) -> Vec<u8> {
    let mut all = Vec::new();
    while let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
        all.extend_from_slice(&chunk.bytes);
    }
    assert!(matches!(block_on(source.next()).unwrap(), Read::End), "the end stays the end");
    all
}

/// Option sets for every source that can be opened in a directory with the files that [`write_input`] makes.
fn source_examples() -> Vec<(&'static str, Value)> {
    vec![
        ("file", json!({"path": "in/*.txt"})),
        ("file", json!({"path": ["in/b.txt"]})),
        ("file", json!({"path": "in/*.gz"})),
        ("file", json!({"path": "in/*.zst"})),
        ("file", json!({"path": "in/*", "follow": true, "poll": "1ms", "rotate_wait": "0s"})),
        ("sqlite", json!({"path": "rows.db", "table": "t", "by": "at"})),
        ("sqlite", json!({"path": "rows.db", "query": "SELECT at, v FROM t WHERE v IS NOT NULL", "by": ["at", "v"]})),
        ("generate", json!({"count": 20_000, "fields": {"n": {"sequence": {}}, "x": {"uniform": [0, 9]}}})),
    ]
}

/// One option set for every sink, writing inside a directory.
fn sink_examples() -> Vec<(&'static str, Value)> {
    vec![
        ("stdout", json!({})),
        ("file", json!({"path": "out/rows"})),
        ("file", json!({"path": "out/packed.gz", "compression": "gzip", "mode": "append"})),
        ("file", json!({"path": "out/rotated", "rotate": {"size": "1MB"}})),
        ("sqlite", json!({"path": "out/rows.db", "table": "rows"})),
        ("http", json!({"url": "http://127.0.0.1:9/in"})),
        ("mqtt", json!({"url": "mqtt://127.0.0.1:9", "topic": "rows"})),
        ("websocket", json!({"url": "ws://127.0.0.1:9/in"})),
        ("webhook", json!({"url": "http://127.0.0.1:9/in"})),
        ("slack", json!({"url": "http://127.0.0.1:9/in"})),
        ("teams", json!({"url": "http://127.0.0.1:9/in"})),
        ("pagerduty", json!({"url": "http://127.0.0.1:9/in", "routing_key": "k"})),
        ("email", json!({"server": "127.0.0.1", "port": 9, "tls": "none", "from": "a@b.example", "to": "c@d.example"})),
        ("alertmanager", json!({"url": "http://127.0.0.1:9"})),
        ("discard", json!({})),
    ]
}

fn write_input(dir: &Path) {
    for (name, rows) in [("a.txt", 40_000), ("b.txt", 3), ("c.gz", 20_000), ("d.zst", 20_000)] {
        let text: String = (0..rows).map(|i| format!("row {i} of {name}\n")).collect();
        let (first, second) = text.as_bytes().split_at(text.len() / 3);
        let packed: Vec<u8> = match name {
            "c.gz" => [first, second].into_iter().flat_map(gzip).collect(),
            "d.zst" => [first, second].into_iter().flat_map(|part| zstd::encode_all(part, 1).unwrap()).collect(),
            _ => text.into_bytes(),
        };
        std::fs::write(dir.join("in").join(name), packed).unwrap();
    }
    if !dir.join("rows.db").exists() {
        let rows = "WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 19999)";
        let sql = format!("CREATE TABLE t (at INT, v TEXT); {rows} INSERT INTO t SELECT i / 3, 'row ' || i FROM n;");
        made(&dir.join("rows.db"), &sql);
    }
}

fn gzip(part: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(part).unwrap();
    encoder.finish().unwrap()
}

/// A partition under test.
struct Tried<'a> {
    kind: &'a str,
    dir: &'a Path,
    partition: Partition,
    /// It goes on for as long as its file is there.
    live: bool,
}

impl Tried<'_> {
    /// Opens it at a position. A file that is followed is taken away as soon as it is open, so that it ends.
    fn open(&mut self, at: u64) -> Begun {
        if self.live {
            write_input(self.dir);
        }
        let mut source = (self.partition.open)(&Place { position: at, ..Place::default() }).unwrap();
        let mut first = None;
        if self.live {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _guard = runtime.enter();
            if let Poll::Ready(read) = source.next().as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                first = Some(read);
            }
            std::fs::remove_file(self.dir.join(&self.partition.name)).unwrap();
        }
        Begun { source, first }
    }
}

/// A source whose first read was taken already.
struct Begun {
    source: Box<dyn Source>,
    first: Option<Result<Read, SourceError>>,
}

impl Source for Begun {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        Box::pin(async move {
            match self.first.take() {
                Some(read) => read,
                None => self.source.next().await,
            }
        })
    }

    fn committed(&mut self, place: &Place) -> BoxFuture<'_, Result<(), SourceError>> {
        self.source.committed(place)
    }
}

/// Units of position in a source's chunks (bytes or records) with the byte where each unit ends.
struct Whole {
    bytes: Vec<u8>,
    /// For each chunk: its position, how many units it has and where its bytes begin.
    chunks: Vec<(u64, u64, usize)>,
    record_ends: Option<Vec<usize>>,
}

fn read_whole(source: &mut dyn Source) -> Whole {
    let mut whole = Whole { bytes: Vec::new(), chunks: Vec::new(), record_ends: None };
    let mut expected = None;
    while let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
        let start = whole.bytes.len();
        assert!(!chunk.bytes.is_empty(), "a chunk has something in it");
        let units = match &chunk.ends {
            None => chunk.bytes.len() as u64,
            Some(ends) => {
                assert_eq!(ends.last().map(|e| *e as usize), Some(chunk.bytes.len()), "every byte is in a record");
                assert!(ends.windows(2).all(|w| w[0] < w[1]));
                let known = whole.record_ends.get_or_insert_default();
                known.extend(ends.iter().map(|e| start + *e as usize));
                ends.len() as u64
            }
        };
        assert!(expected.is_none_or(|e| e == chunk.position), "positions follow one another");
        expected = Some(chunk.position + units);
        whole.chunks.push((chunk.position, units, start));
        whole.bytes.extend_from_slice(&chunk.bytes);
    }
    whole
}

fn each_partition(mut check: impl FnMut(&mut Tried<'_>)) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    for kind in SOURCES {
        let examples: Vec<_> = source_examples().into_iter().filter(|(name, _)| *name == kind.name).collect();
        // Standard input is the process's own; its file tests what it can. What is sent by HTTP or asked for is read from a
        // journal, and the tests of `journalled` hold it to the same.
        assert!(
            !examples.is_empty()
                || ["stdin", "http_server", "http_client", "millstream", "mqtt", "websocket"].contains(&kind.name),
            "{} has no example here",
            kind.name
        );
        for (_, options) in examples {
            write_input(dir.path());
            let partitions = (kind.open)(&options, context(dir.path())).unwrap().partitions;
            assert!(partitions.is_sorted_by(|a, b| a.name < b.name), "partitions are sorted by name");
            for partition in partitions {
                let live = options.get("follow").is_some();
                check(&mut Tried { kind: kind.name, dir: dir.path(), partition, live });
            }
        }
    }
}

#[test]
fn resuming_gives_exactly_the_rest() {
    each_partition(|tried| {
        let whole = read_whole(&mut tried.open(0));
        for (position, units, _) in &whole.chunks {
            for into in [0, 1, units / 2, units - 1, *units] {
                let at = position + into;
                let rest = read_all(&mut tried.open(at));
                let from = match &whole.record_ends {
                    None => usize::try_from(at).unwrap(),
                    Some(_) if at == 0 => 0,
                    Some(ends) => ends[usize::try_from(at).unwrap() - 1],
                };
                let name = (tried.kind, &tried.partition.name);
                assert!(rest == whole.bytes[from..], "{name:?} at {at} of {:?}", whole.chunks);
            }
        }
    });
}

#[test]
fn giving_a_read_up_loses_nothing() {
    each_partition(|tried| {
        let whole = read_whole(&mut tried.open(0));
        let mut source = tried.open(0);
        let mut all = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        loop {
            // Made and never polled, then polled once and dropped if it was not ready.
            drop(source.next());
            let polled = source.next().as_mut().poll(&mut Context::from_waker(Waker::noop()));
            let read = match polled {
                Poll::Ready(read) => read,
                Poll::Pending => runtime.block_on(source.next()),
            };
            match read.unwrap() {
                Read::Chunk(chunk) => all.extend_from_slice(&chunk.bytes),
                Read::Renewed | Read::Broken { .. } => panic!("it is one stream"),
                Read::End => break,
            }
        }
        assert!(all == whole.bytes, "{} {}", tried.kind, tried.partition.name);
    });
}

#[test]
fn being_told_of_checkpoints_changes_nothing_of_what_is_read() {
    each_partition(|tried| {
        let whole = read_whole(&mut tried.open(0));
        let mut source = tried.open(0);
        let mut all = Vec::new();
        while let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
            let place = Place { stream: chunk.stream, position: chunk.position };
            block_on(source.committed(&place)).unwrap();
            all.extend_from_slice(&chunk.bytes);
        }
        assert!(all == whole.bytes, "{} {}", tried.kind, tried.partition.name);
    });
}

#[test]
fn sinks_take_rows_and_finish() {
    let dir = tempfile::tempdir().unwrap();
    for kind in SINKS {
        let examples: Vec<_> = sink_examples().into_iter().filter(|(name, _)| *name == kind.name).collect();
        assert!(!examples.is_empty(), "{} has no example here", kind.name);
        for (_, options) in examples {
            let mut sink = (kind.open)(&options, context(dir.path())).map_err(|e| format!("{e:?}")).unwrap();
            block_on(sink.deliver(&Encoded::default())).unwrap();
            block_on(sink.prepare()).unwrap();
            block_on(sink.committed()).unwrap();
            block_on(sink.finish(End::Complete)).unwrap();
        }
    }
    for name in ["out/rows", "out/packed.gz", "out/rotated-000001"] {
        assert!(dir.path().join(name).is_file(), "a run without rows still makes its file");
    }
}

#[test]
fn every_option_is_described() {
    let schemas = SOURCES.iter().map(|k| (k.name, k.schema)).chain(SINKS.iter().map(|k| (k.name, k.schema)));
    for (name, schema) in schemas {
        let mut generator = SchemaSettings::draft07().into_generator();
        let mut parts = vec![schema(&mut generator).to_value()];
        parts.extend(generator.take_definitions(true).into_iter().map(|(_, v)| v));
        assert!(parts[0].get("description").is_some() || parts[0].get("$ref").is_some(), "{name} says what it is");
        parts.iter().for_each(|part| described(name, part));
    }
}

/// Every property has a description: its own or, where it is another schema, that one's.
fn described(path: &str, schema: &Value) {
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let at = format!("{path}.{key}");
        assert!(inner.get("description").is_some(), "{at} has no description");
        described(&at, inner);
    }
}
