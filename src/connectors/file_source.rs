//! Source `file`: reads files, each one a partition, to their ends or for as long as they grow.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::file_stream::{FileStream, ReadFile};
use super::find_again::find_again;
use super::follow::{Followed, Follower, Following, Known};
use super::glob::{self, Found};
use super::input_file::{InputFile, cannot};
use super::unpack::Compression;
use super::written::Duration;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::limit::CHUNK_BYTES;
use crate::base::time::TimeSpan;
use crate::base::tree::{Data, Node};
use crate::connector::{
    BoxFuture, CheckContext, Chunk, Link, OpenContext, Opened, Partition, Place, Reach, Read, Source, SourceConnector,
    SourceError, Stood, Watch,
};

/// Partitions beyond which files are not kept open between reads: far below the usual limit of 1,024 descriptors.
const KEPT_OPEN: usize = 200;
/// Bytes that the blocks of all partitions may hold together, since a merge looks at the head of each.
const BLOCKS_BYTES: usize = 64 << 20;
/// The least a block shrinks to.
const LEAST_BLOCK: usize = 16 << 10;
/// How often a file without news is looked at, if the author does not say.
const POLL: TimeSpan = TimeSpan(250_000);
/// How often at least, when nothing has come for long.
const SELDOM: TimeSpan = TimeSpan::seconds(1);
/// How often new files are looked for at most: looking through directories costs more than looking at a file.
const WATCH: std::time::Duration = std::time::Duration::from_millis(500);
/// How long a renamed file is waited for, if the author does not say.
const ROTATE_WAIT: TimeSpan = TimeSpan::seconds(2);

/// The source `file`.
pub struct FileSource;

/// Reads files, each from its beginning to its end, and the run ends when all of them have been read; or, with `follow`,
/// for as long as they grow. A run that goes on after it was stopped or killed goes on with the files it had, where it was
/// in them: one that was cut or replaced since is an error, and those that have come since are read by the next run.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// A path, a pattern or a list of them, relative to the pipeline's file: `data/readings.csv`, `data/*.csv`,
    /// `logs/**/*.ndjson`. Files are taken in the order of their names; each is a partition of its own.
    pub path: Paths,
    /// How files are packed. Several gzip members or zstd frames one after the other are one file; offsets count unpacked
    /// bytes. Of a file that is damaged, or ends too early, the records before that pass, and what follows is one more
    /// that could not be read: it goes to `.errors`, or ends the run with `on_error: fail`.
    #[serde(default)]
    pub compression: Compression,
    /// Whether files are followed as they grow, so that the run goes on until it is stopped. A line that is not
    /// finished waits for its end. Files that come to match the path become partitions as they are found. One that is
    /// renamed is read to its end before the one that took its name is read from its beginning; one that is cut begins
    /// again; one that is deleted ends. A renamed file that the path matches, too, is not read twice, but a copy is: with
    /// rotation by copying, let the path match no copies. Every file that is followed is kept open. What happened to files
    /// while no run went on is found out by the next one that does: it looks in their directories for the file that it had
    /// read, or for a copy of one that was cut (`a.log.1`, `a.log-20260101`), reads the rest of it, then what had its name
    /// in between, then what has its name now.
    #[serde(default)]
    pub follow: bool,
    /// With `follow`: where files begin that are there when the run starts. Those found later are read from their
    /// beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// With `follow`: how often a file without news is looked at. Default `250ms`, and once a second when it has had none for
    /// long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Duration>,
    /// With `follow`: how long a file that was renamed or deleted must bring nothing more until it is left, since
    /// whoever writes it may learn of that late. Default `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_wait: Option<Duration>,
}

/// Where a file begins that is there when the run starts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// With its first line.
    Beginning,
    /// With the first line that is not finished when the run starts.
    End,
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

    fn reach(options: &Options) -> Reach {
        Reach::nothing().with_paths(&options.path.0)
    }

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
        let place = |key: &str| Some(node.get(key).unwrap_or(node).span.clone());
        for key in ["start", "poll", "rotate_wait"].into_iter().filter(|k| !options.follow && node.get(k).is_some()) {
            let message = format!("`{key}` says how files are followed, and `follow` is not set");
            let wrong = Diagnostic::error("needs-follow", message, place(key));
            found.push(wrong.help(format!("add `follow: true`, or leave `{key}` out")));
        }
        if options.poll.is_some_and(|poll| poll.0 < TimeSpan(1_000)) {
            let wrong = Diagnostic::error("bad-poll", "`poll` has to be at least 1ms", place("poll"));
            found.push(wrong.help("the default is `250ms`"));
        }
        if options.rotate_wait.is_some_and(|wait| wait.0 < TimeSpan::ZERO) {
            found.push(Diagnostic::error("bad-wait", "`rotate_wait` cannot be negative", place("rotate_wait")));
        }
    }

    fn bounded(options: &Options) -> bool {
        !options.follow
    }

    fn open(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
        if options.follow { follow(options, context) } else { read_once(options, &context) }
    }
}

fn read_once(options: Options, context: &OpenContext) -> Result<Opened, SourceError> {
    // A source that has come to the pipeline since begins.
    let files = match context.stood.as_ref().filter(|stood| !stood.is_empty()) {
        None => glob::expand(&context.directory, &options.path.0).map_err(|message| SourceError { message })?,
        Some(stood) => same_files(&options, &context.directory, stood)?,
    };
    let count = files.len();
    let block = (BLOCKS_BYTES / count.max(1)).clamp(LEAST_BLOCK, CHUNK_BYTES);
    let compression = options.compression;
    let mut partitions = Vec::with_capacity(count);
    for Found { name, path } in files {
        // Whoever runs the pipeline learns at the start that a file cannot be read, not hours later.
        if std::fs::metadata(&path).map_err(|e| cannot("read", &name, &e))?.is_file() {
            File::open(&path).map_err(|e| cannot("read", &name, &e))?;
        }
        let shown = name.clone();
        let open = move |place: &Place| {
            let mut input = InputFile::open(&path, &shown, compression)?;
            let had = FileStream::parse(&place.stream);
            if let (Some(had), Some(file)) = (had, input.file())
                && !had.current.fits(file).map_err(|e| cannot("read", &shown, &e))?
            {
                return Err(changed(&shown, "is not the file that was read before"));
            }
            if !input.seek(place.position)? {
                let position = place.position;
                return Err(changed(&shown, &format!("is shorter than the {position} bytes that were read before")));
            }
            let keep = count <= KEPT_OPEN || !input.is_regular();
            Ok(Box::new(Reader { input, keep, block, ended: false }) as Box<dyn Source>)
        };
        partitions.push(Partition { name, start: Place::default(), open: Box::new(open), link: Link::default() });
    }
    Ok(Opened { partitions, watch: None })
}

/// The files of a run that goes on: those it had when it began, whatever has come since.
fn same_files(options: &Options, directory: &Path, stood: &BTreeMap<String, Stood>) -> Result<Vec<Found>, SourceError> {
    let mut files = glob::existing(directory, &options.path.0).map_err(|message| SourceError { message })?;
    files.retain(|file| stood.contains_key(&file.name));
    for (name, _) in stood.iter().filter(|(_, stood)| !stood.ended) {
        if !files.iter().any(|file| file.name == *name) {
            return Err(changed(name, "was not read to its end and is gone"));
        }
    }
    Ok(files)
}

/// The error of a file that is not what it was when the run was left.
fn changed(name: &str, what: &str) -> SourceError {
    let message = format!(
        "`{name}` {what}: somebody changed it since, and the run cannot go on with it; put it back as it was, or begin anew with `run --fresh`"
    );
    SourceError { message }
}

/// One file, read to its end.
struct Reader {
    input: InputFile,
    /// Whether it stays open between reads.
    keep: bool,
    block: usize,
    ended: bool,
}

impl Reader {
    fn read(&mut self) -> Result<Read, SourceError> {
        if self.ended {
            return Ok(Read::End);
        }
        let position = self.input.position();
        let mut bytes = self.input.read(self.block, true)?;
        // A file proper gives less than was asked for only at its end.
        self.ended = bytes.is_empty() || (self.input.is_plain() && self.input.is_regular() && bytes.len() < self.block);
        if !self.ended {
            self.input.give_back(&mut bytes);
        }
        let stream = self.stream()?;
        if !self.keep || self.ended {
            self.input.close();
        }
        if bytes.is_empty() {
            let broken = self.input.breaks(true);
            return Ok(broken.map_or(Read::End, |reason| Read::Broken { position, reason }));
        }
        Ok(Read::Chunk(Chunk { stream, bytes, position, ..Chunk::default() }))
    }

    /// The file as far as it was read; a pipe is never found again.
    fn stream(&self) -> Result<Arc<str>, SourceError> {
        let Some(file) = self.input.file().filter(|_| self.input.is_regular()) else { return Ok(Arc::default()) };
        let current = ReadFile::of(file, self.input.raw());
        Ok(FileStream { current: current.map_err(|e| cannot("read", self.input.name(), &e))?, left: Vec::new() }
            .spell())
    }
}

impl Source for Reader {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        // Reads only when polled and has no point of waiting, so a future that is dropped has taken nothing.
        Box::pin(async move { self.read() })
    }
}

fn follow(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
    let span = |given: Option<Duration>, default: TimeSpan| {
        let micros = given.map_or(default, |d| d.0).0;
        std::time::Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    };
    let how = Following {
        compression: options.compression,
        poll: span(options.poll, POLL),
        seldom: span(options.poll, SELDOM),
        rotate_wait: span(options.rotate_wait, ROTATE_WAIT),
        blocks: (BLOCKS_BYTES, LEAST_BLOCK..=CHUNK_BYTES),
        followed: Followed::default(),
    };
    let patterns = options.path.0;
    let (every, seldom) = (how.poll.max(WATCH), how.seldom.max(WATCH));
    let mut finder = Finder { directory: context.directory, patterns, how };
    let mut partitions = match &context.stood {
        Some(stood) => finder.go_on(stood)?,
        None => Vec::new(),
    };
    let mut found = finder.look()?;
    // What comes while a run is down is read from its beginning, as what comes while it goes on.
    if options.start == Some(Start::End) && context.stood.is_none() {
        for (partition, path) in &mut found {
            let (end, read) = end_of_lines(path, &partition.name, finder.how.compression)?;
            if end > partition.start.position {
                partition.start =
                    Place { stream: FileStream { current: read, left: Vec::new() }.spell(), position: end };
            }
        }
    }
    partitions.extend(found.into_iter().map(|(partition, _)| partition));
    partitions.sort_by(|a, b| a.name.cmp(&b.name));
    let look = move || finder.look().map(|found| found.into_iter().map(|(partition, _)| partition).collect());
    Ok(Opened { partitions, watch: Some(Watch { every, seldom, look: Box::new(look) }) })
}

/// Finds files to follow.
struct Finder {
    directory: PathBuf,
    patterns: Vec<String>,
    how: Following,
}

impl Finder {
    /// Partitions for files that are not followed yet, with their paths.
    fn look(&mut self) -> Result<Vec<(Partition, PathBuf)>, SourceError> {
        let found = glob::existing(&self.directory, &self.patterns).map_err(|message| SourceError { message })?;
        let paths: Vec<&Path> = found.iter().map(|f| f.path.as_path()).collect();
        self.how.followed.keep_only(&paths);
        let mut partitions = Vec::new();
        for Found { name, path } in found {
            let Known::From(position, read) = self.how.followed.take(&name, &path) else { continue };
            let (how, shown, at) = (self.how.clone(), name.clone(), path.clone());
            let open =
                move |place: &Place| Ok(Box::new(Follower::new(&at, &shown, &how, place.position)) as Box<dyn Source>);
            let start = Place { stream: FileStream { current: read, left: Vec::new() }.spell(), position };
            partitions.push((Partition { name, start, open: Box::new(open), link: Link::default() }, path));
        }
        Ok(partitions)
    }

    /// Partitions of a run that goes on: of what it had read, all that is there still, or whose path leads to another.
    fn go_on(&mut self, stood: &BTreeMap<String, Stood>) -> Result<Vec<Partition>, SourceError> {
        let there = glob::existing(&self.directory, &self.patterns).map_err(|message| SourceError { message })?;
        let paths: Vec<&Path> = there.iter().map(|f| f.path.as_path()).collect();
        let found = find_again(&self.directory, stood, &paths);
        self.how.followed.resume(&found, &paths);
        let mut partitions = Vec::new();
        for again in found {
            let path = self.directory.join(&again.name);
            let Some(place) = stood.get(&again.name).map(|stood| stood.place.clone()) else { continue };
            if again.at.is_none() {
                // A path that leads nowhere, or to what another has read, brings nothing more.
                match self.how.followed.take(&again.name, &path) {
                    Known::From(..) => {}
                    Known::Read => continue,
                }
            }
            let (how, name) = (self.how.clone(), again.name.clone());
            let open = move |place: &Place| {
                let follower = Follower::new(&path, &again.name, &how, place.position);
                Ok(Box::new(follower.resume(&again)) as Box<dyn Source>)
            };
            partitions.push(Partition { name, start: place, open: Box::new(open), link: Link::default() });
        }
        Ok(partitions)
    }
}

/// Where the first line begins that is not finished, and the file as if it had been read up to there, or beyond.
fn end_of_lines(path: &Path, name: &str, compression: Compression) -> Result<(u64, ReadFile), SourceError> {
    let mut input = InputFile::open(path, name, compression)?;
    let failed = |e: &std::io::Error| cannot("read", name, e);
    let read = |input: &InputFile, raw: u64| match input.file() {
        Some(file) => ReadFile::of(file, raw).map_err(|e| failed(&e)),
        None => Err(failed(&std::io::ErrorKind::NotFound.into())),
    };
    let mut after = 0;
    loop {
        let position = input.position();
        let bytes = input.read(CHUNK_BYTES, false)?;
        if bytes.is_empty() {
            return Ok((after, read(&input, input.raw())?));
        }
        if let Some(file) = input.file().filter(|_| input.is_plain()) {
            let end = last_line_end(file).map_err(|e| failed(&e))?;
            return Ok((end, read(&input, end)?));
        }
        if let Some(end) = memchr::memrchr(b'\n', &bytes) {
            after = position + end as u64 + 1;
        }
    }
}

/// One past the last line end of a file, looked for from its end.
fn last_line_end(file: &File) -> std::io::Result<u64> {
    use std::os::unix::fs::FileExt as _;
    let mut to = file.metadata()?.len();
    let mut piece = vec![0; LEAST_BLOCK];
    while to > 0 {
        let from = to.saturating_sub(piece.len() as u64);
        let room = piece.get_mut(..usize::try_from(to - from).unwrap_or_default()).unwrap_or_default();
        file.read_exact_at(room, from)?;
        if let Some(end) = memchr::memrchr(b'\n', room) {
            return Ok(from + end as u64 + 1);
        }
        to = from;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::{block_on, context, read_all};

    fn open(dir: &Path, options: &serde_json::Value) -> Result<Opened, SourceError> {
        FileSource::open(serde_json::from_value(options.clone()).unwrap(), context(dir))
    }

    #[test]
    fn many_files_stay_closed_between_reads() {
        let dir = tempfile::tempdir().unwrap();
        let text = "line\n".repeat(8_000);
        for i in 0..KEPT_OPEN + 1 {
            let packed = zstd::encode_all(text.as_bytes(), 1).unwrap();
            let bytes = if i % 2 == 0 { text.as_bytes() } else { &packed };
            std::fs::write(dir.path().join(format!("{i:04}.txt")), bytes).unwrap();
        }
        let mut partitions = open(dir.path(), &serde_json::json!({ "path": "*.txt" })).unwrap().partitions;
        assert_eq!(partitions.len(), KEPT_OPEN + 1);
        let mut sources: Vec<_> = partitions.iter_mut().map(|p| (p.open)(&Place::default()).unwrap()).collect();
        for source in &mut sources {
            assert_eq!(read_all(source.as_mut()), text.as_bytes());
        }
    }

    #[test]
    fn a_file_that_shrank_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.txt"), "1\n2\n").unwrap();
        let mut partitions = open(dir.path(), &serde_json::json!({ "path": "a.txt" })).unwrap().partitions;
        let error = (partitions[0].open)(&Place { position: 9, ..Place::default() }).err().unwrap();
        assert!(error.message.contains("`a.txt` is shorter than the 9 bytes"), "{}", error.message);
    }

    /// Where partitions stood that were read up to a position.
    fn read_to(dir: &Path, options: &serde_json::Value, positions: &[(&str, u64, bool)]) -> BTreeMap<String, Stood> {
        let mut partitions = open(dir, options).unwrap().partitions;
        let mut stood = BTreeMap::new();
        for (name, position, ended) in positions {
            let partition = partitions.iter_mut().find(|p| p.name == *name).unwrap();
            let mut place = partition.start.clone();
            let mut source = (partition.open)(&place).unwrap();
            if let Read::Chunk(chunk) = block_on(source.next()).unwrap() {
                place = Place { stream: chunk.stream, position: *position };
            }
            stood.insert((*name).to_owned(), Stood { place, ended: *ended });
        }
        stood
    }

    #[test]
    fn a_run_goes_on_with_the_files_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let options = serde_json::json!({ "path": "*.txt" });
        ["a.txt", "b.txt", "c.txt"].iter().for_each(|name| write(name, "1\n2\n"));
        let stood = read_to(dir.path(), &options, &[("a.txt", 2, false), ("b.txt", 0, false), ("c.txt", 4, true)]);
        let go_on = || {
            let context = OpenContext { stood: Some(stood.clone()), ..context(dir.path()) };
            let parsed = serde_json::from_value(options.clone()).unwrap();
            let mut rest = Vec::new();
            for mut partition in FileSource::open(parsed, context)?.partitions {
                let mut source = (partition.open)(&stood[&partition.name].place)?;
                rest.push((partition.name, String::from_utf8(read_all(source.as_mut())).unwrap()));
            }
            Ok::<_, SourceError>(rest)
        };
        let rest = |of: &[(&str, &str)]| of.iter().map(|(n, t)| ((*n).to_owned(), (*t).to_owned())).collect::<Vec<_>>();
        write("0.txt", "it came later\n");
        write("b.txt", "1\n2\n3\n");
        assert_eq!(go_on().unwrap(), rest(&[("a.txt", "2\n"), ("b.txt", "1\n2\n3\n"), ("c.txt", "")]));
        std::fs::remove_file(dir.path().join("c.txt")).unwrap();
        assert_eq!(go_on().unwrap().len(), 2, "what was read to its end may go");

        for (text, what) in
            [("1\n", "is not the file"), ("1\n3\n", "is not the file"), ("3\n2\n4\n", "is not the file")]
        {
            write("a.txt", text);
            let error = go_on().unwrap_err().message;
            assert!(error.contains(what) && error.contains("`run --fresh`"), "{error}");
        }
        std::fs::remove_file(dir.path().join("a.txt")).unwrap();
        let error = go_on().unwrap_err().message;
        assert!(error.contains("`a.txt` was not read to its end and is gone"), "{error}");
        // A copy of it will do.
        write("a.txt", "1\n2\n");
        assert_eq!(go_on().unwrap()[0], ("a.txt".to_owned(), "2\n".to_owned()));
    }

    #[test]
    fn what_is_cut_or_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let whole = zstd::encode_all(&b"some rows\n".repeat(99)[..], 1).unwrap();
        std::fs::write(dir.path().join("a.zst"), &whole[..whole.len() - 2]).unwrap();
        std::fs::write(dir.path().join("b.gz"), b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x07damage").unwrap();
        std::fs::write(dir.path().join("c.txt"), b"plain").unwrap();
        // What a file brings from a position on, and where and how it breaks.
        let read = |options: &serde_json::Value, position: u64| {
            let place = Place { position, ..Place::default() };
            let mut source = (open(dir.path(), options).unwrap().partitions[0].open)(&place)?;
            let (mut bytes, mut broken) = (Vec::new(), None);
            loop {
                match block_on(source.next())? {
                    Read::Chunk(chunk) => bytes.extend(chunk.bytes),
                    Read::Broken { position, reason } => broken = Some((position, reason)),
                    _ => return Ok::<_, SourceError>((bytes, broken)),
                }
            }
        };
        let a = serde_json::json!({ "path": "a.zst" });
        let (bytes, broken) = read(&a, 0).unwrap();
        let (at, cut) = broken.unwrap();
        assert!(at == bytes.len() as u64 && cut.contains("`a.zst` ends in the middle of its zstd data, after byte"));
        assert_eq!(read(&a, at + 1).unwrap(), (Vec::new(), None), "it is told once");
        assert!(read(&a, at).unwrap().1.is_some());
        assert!(read(&a, at + 2).unwrap_err().message.contains("`a.zst` is shorter than"));
        let (at, damaged) = read(&serde_json::json!({ "path": "b.gz" }), 0).unwrap().1.unwrap();
        assert!(damaged.contains("cannot unpack `b.gz` as gzip after byte 0: the data is damaged"), "{at} {damaged}");
        for packed in ["gzip", "zstd"] {
            let plain = read(&serde_json::json!({ "path": "c.txt", "compression": packed }), 0).unwrap_err().message;
            assert!(plain.contains(&format!("these bytes are no {packed}")), "{plain}");
        }
    }

    #[test]
    fn the_end_is_where_the_unfinished_line_begins() {
        let dir = tempfile::tempdir().unwrap();
        let long = "x".repeat(3 * LEAST_BLOCK);
        for (text, expected) in
            [(String::new(), 0), ("a\nb".into(), 2), ("a\nb\n".into(), 4), (format!("a\n{long}"), 2), (long, 0)]
        {
            let (plain, packed) = (dir.path().join("plain"), dir.path().join("packed"));
            std::fs::write(&plain, &text).unwrap();
            std::fs::write(&packed, zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
            for path in [plain, packed] {
                assert_eq!(end_of_lines(&path, "a", Compression::Auto).unwrap().0, expected);
            }
        }
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
