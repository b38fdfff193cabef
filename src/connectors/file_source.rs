//! Source `file`: reads files from their beginning to their end, each one a partition.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{glob, io_reason};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::limit::CHUNK_BYTES;
use crate::base::tree::{Data, Node};
use crate::connector::{
    BoxFuture, CheckContext, Chunk, OpenContext, Partition, Read, Source, SourceConnector, SourceError,
};

/// Partitions beyond which files are not kept open between reads: far below the usual limit of 1,024 descriptors.
const KEPT_OPEN: usize = 200;
/// Bytes that the blocks of all partitions may hold together, since a merge looks at the head of each.
const BLOCKS_BYTES: usize = 64 << 20;
/// The least a block shrinks to.
const LEAST_BLOCK: usize = 16 << 10;

/// The source `file`.
pub struct FileSource;

/// Reads files, each from its beginning to its end. The run ends when all of them have been read.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// A path, a pattern or a list of them, relative to the pipeline's file: `data/readings.csv`, `data/*.csv`,
    /// `logs/**/*.ndjson`. Files are taken in the order of their names; each is a partition of its own.
    pub path: Paths,
}

/// One path or several; written as text or as a list of texts.
#[derive(Serialize, Clone, Debug, PartialEq, Eq)]
pub struct Paths(pub Vec<String>);

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Paths;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path or a list of paths")
            }

            fn visit_str<E>(self, text: &str) -> Result<Paths, E> {
                Ok(Paths(vec![text.into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Paths, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = items.next_element()? {
                    paths.push(path);
                }
                Ok(Paths(paths))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl JsonSchema for Paths {
    fn schema_name() -> Cow<'static, str> {
        "Paths".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A path or pattern, or a list of them.",
            "anyOf": [
                { "type": "string", "minLength": 1 },
                { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 }
            ],
            "examples": ["data/*.csv"]
        })
    }
}

impl SourceConnector for FileSource {
    const NAME: &'static str = "file";
    type Options = Options;

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        let written = node.get("path").unwrap_or(node);
        if options.path.0.is_empty() {
            let wrong = Diagnostic::error("no-path", "`path` is an empty list", Some(written.span.clone()));
            found.push(wrong.help("name at least one file, for example `data/*.csv`"));
        }
        for (i, path) in options.path.0.iter().enumerate() {
            if let Err(message) = glob::check(path) {
                let item = match &written.data {
                    Data::List(items) => items.get(i).unwrap_or(written),
                    _ => written,
                };
                found.push(Diagnostic::error("bad-pattern", message, Some(item.span.clone())));
            }
        }
    }

    fn bounded(_: &Options) -> bool {
        true
    }

    fn open(options: Options, context: OpenContext) -> Result<Vec<Partition>, SourceError> {
        let files = glob::expand(&context.directory, &options.path.0).map_err(|message| SourceError { message })?;
        let count = files.len();
        let block = (BLOCKS_BYTES / count.max(1)).clamp(LEAST_BLOCK, CHUNK_BYTES);
        let mut partitions = Vec::with_capacity(count);
        for glob::Found { name, path } in files {
            // Whoever runs the pipeline learns at the start that a file cannot be read, not hours later.
            let regular = std::fs::metadata(&path).map_err(|e| cannot("read", &name, &e))?.is_file();
            if regular {
                File::open(&path).map_err(|e| cannot("read", &name, &e))?;
            }
            let shown = name.clone();
            let open = move |position| {
                let keep = count <= KEPT_OPEN || !regular;
                let reader = Reader {
                    path: path.clone(),
                    name: shown.clone(),
                    regular,
                    keep,
                    block,
                    position,
                    file: None,
                    ended: false,
                };
                Ok(Box::new(reader) as Box<dyn Source>)
            };
            partitions.push(Partition { name, open: Box::new(open) });
        }
        Ok(partitions)
    }
}

fn cannot(what: &str, name: &str, error: &std::io::Error) -> SourceError {
    SourceError { message: format!("cannot {what} `{name}`: {}", io_reason(error)) }
}

/// One file, being read.
struct Reader {
    path: PathBuf,
    name: String,
    /// A file proper, not a pipe or a device: it has a length and can be opened again.
    regular: bool,
    /// Whether it stays open between reads.
    keep: bool,
    block: usize,
    position: u64,
    file: Option<File>,
    ended: bool,
}

impl Reader {
    fn open(&self) -> Result<File, SourceError> {
        let mut file = File::open(&self.path).map_err(|e| cannot("read", &self.name, &e))?;
        if self.position > 0 {
            let length = file.metadata().map_err(|e| cannot("read", &self.name, &e))?.len();
            if self.regular && length < self.position {
                let message = format!(
                    "`{}` has {length} bytes, but {} were read before: it was cut or replaced; start afresh to read it from its beginning",
                    self.name, self.position
                );
                return Err(SourceError { message });
            }
            file.seek(SeekFrom::Start(self.position)).map_err(|e| cannot("go on reading", &self.name, &e))?;
        }
        Ok(file)
    }

    fn read(&mut self) -> Result<Read, SourceError> {
        if self.ended {
            return Ok(Read::End);
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let mut bytes = Vec::with_capacity(self.block);
        let read = if self.regular {
            (&mut file).take(self.block as u64).read_to_end(&mut bytes)
        } else {
            // A pipe hands on what it has and does not wait for a whole block.
            bytes.resize(self.block, 0);
            file.read(&mut bytes)
        };
        let count = read.map_err(|e| cannot("read", &self.name, &e))?;
        bytes.truncate(count);
        self.ended = count == 0 || (self.regular && count < self.block);
        if self.keep && !self.ended {
            self.file = Some(file);
        }
        if count == 0 {
            return Ok(Read::End);
        }
        let chunk = Chunk { bytes, ends: None, position: self.position };
        self.position += count as u64;
        Ok(Read::Chunk(chunk))
    }
}

impl Source for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        // Reads only when polled and has no point of waiting, so a future that is dropped has taken nothing.
        Box::pin(async move { self.read() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::{context, read_all};

    fn open(dir: &std::path::Path, path: &str) -> Result<Vec<Partition>, SourceError> {
        FileSource::open(Options { path: Paths(vec![path.into()]) }, context(dir))
    }

    #[test]
    fn many_files_stay_closed_between_reads() {
        let dir = tempfile::tempdir().unwrap();
        let text = "line\n".repeat(8_000);
        for i in 0..KEPT_OPEN + 1 {
            std::fs::write(dir.path().join(format!("{i:04}.txt")), &text).unwrap();
        }
        let mut partitions = open(dir.path(), "*.txt").unwrap();
        assert_eq!(partitions.len(), KEPT_OPEN + 1);
        let mut sources: Vec<_> = partitions.iter_mut().map(|p| (p.open)(0).unwrap()).collect();
        for source in &mut sources {
            assert_eq!(read_all(source.as_mut()), text.as_bytes());
        }
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "1\n2\n").unwrap();
        let mut partitions = open(dir.path(), "a.txt").unwrap();
        let mut source = (partitions[0].open)(9).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(source.next()).unwrap_err();
        assert!(error.message.contains("has 4 bytes, but 9 were read before"), "{}", error.message);
    }

    #[test]
    fn paths_are_text_or_a_list() {
        let parse = |json: &str| serde_json::from_str::<Options>(json).map(|o| o.path.0).map_err(|e| e.to_string());
        assert_eq!(parse(r#"{"path": "a"}"#).unwrap(), ["a"]);
        assert_eq!(parse(r#"{"path": ["a", "b"]}"#).unwrap(), ["a", "b"]);
        assert!(parse(r#"{"path": 1}"#).unwrap_err().contains("a path or a list of paths"));
        assert!(parse(r#"{"paths": "a"}"#).is_err());
    }
}
