//! What every connector must hold, run over the lists: a reader resumes anywhere with exactly the rest, a read that is
//! given up loses nothing, every option is described. With what the tests of single connectors share.

use std::future::Future;
use std::path::Path;
use std::task::{Context, Poll, Waker};

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use super::{SINKS, SOURCES};
use crate::connector::{Encoded, OpenContext, Partition, Read, Source};

/// What a connector opens with in tests: a bounded run in `directory`.
pub fn context(directory: &Path) -> OpenContext {
    OpenContext { directory: directory.into(), name: "test".into(), seed: 1, bounded: true, header: None }
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

/// One option set for every source that can be opened in a directory with files `in/a.txt`, `in/b.txt`.
fn source_examples() -> Vec<(&'static str, Value)> {
    vec![
        ("file", json!({"path": "in/*.txt"})),
        ("file", json!({"path": ["in/b.txt"]})),
        ("generate", json!({"count": 20_000, "fields": {"n": {"sequence": {}}, "x": {"uniform": [0, 9]}}})),
    ]
}

/// One option set for every sink, writing inside a directory.
fn sink_examples() -> Vec<(&'static str, Value)> {
    vec![("stdout", json!({})), ("file", json!({"path": "out/rows"})), ("discard", json!({}))]
}

fn input() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("in")).unwrap();
    for (name, rows) in [("a.txt", 70_000), ("b.txt", 3)] {
        let text: String = (0..rows).map(|i| format!("row {i} of {name}\n")).collect();
        std::fs::write(dir.path().join("in").join(name), text).unwrap();
    }
    dir
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

fn each_partition(mut check: impl FnMut(&str, &mut Partition)) {
    let dir = input();
    for kind in SOURCES {
        let examples: Vec<_> = source_examples().into_iter().filter(|(name, _)| *name == kind.name).collect();
        // Standard input is the process's own; its file tests what it can.
        assert!(!examples.is_empty() || kind.name == "stdin", "{} has no example here", kind.name);
        for (_, options) in examples {
            let partitions = (kind.open)(&options, context(dir.path())).unwrap();
            assert!(partitions.is_sorted_by(|a, b| a.name < b.name), "partitions are sorted by name");
            for mut partition in partitions {
                check(kind.name, &mut partition);
            }
        }
    }
}

#[test]
fn resuming_gives_exactly_the_rest() {
    each_partition(|name, partition| {
        let whole = read_whole((partition.open)(0).unwrap().as_mut());
        for (position, units, _) in &whole.chunks {
            for into in [0, 1, units / 2, units - 1, *units] {
                let at = position + into;
                let rest = read_all((partition.open)(at).unwrap().as_mut());
                let from = match &whole.record_ends {
                    None => usize::try_from(at).unwrap(),
                    Some(_) if at == 0 => 0,
                    Some(ends) => ends[usize::try_from(at).unwrap() - 1],
                };
                assert!(rest == whole.bytes[from..], "{name} at {at} of {:?}", whole.chunks);
            }
        }
    });
}

#[test]
fn giving_a_read_up_loses_nothing() {
    each_partition(|name, partition| {
        let whole = read_whole((partition.open)(0).unwrap().as_mut());
        let mut source = (partition.open)(0).unwrap();
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
                Read::End => break,
            }
        }
        assert!(all == whole.bytes, "{name}");
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
            block_on(sink.finish()).unwrap();
        }
    }
    assert!(dir.path().join("out/rows").is_file(), "a run without rows still makes its file");
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
