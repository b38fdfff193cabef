//! What a connector is: the contracts between the engine, which owns every loop, and the files under `connectors`, each
//! of which brings rows in or takes them out. Knows no engine and no connector.

pub mod board;
mod link;
pub mod path;
mod reach;
pub mod registry;
pub mod row_template;
pub mod template;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use link::{Link, LinkState};
pub use reach::{Allowed, Reach, Refusal};

use crate::base::diag::Diagnostics;
use crate::base::latency::Latencies;
use crate::base::promise::{Promise, Replay};
use crate::base::time::Timestamp;
use crate::base::tree::Node;

/// A future that a connector returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where a partition stands.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the position counts in, in a spelling of the source's own by which it finds it again: which file it is, and
    /// what was read of it. Empty if there is but one, or if nothing was read yet.
    pub stream: Arc<str>,
    /// Of a stream the offset of its next byte, of records the number of the next.
    pub position: u64,
}

/// Where a partition stood when a run was left that goes on now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stood {
    /// What comes next.
    pub place: Place,
    /// Whether its end was taken.
    pub ended: bool,
}

/// Bytes that came in together.
#[derive(Debug, Default)]
pub struct Chunk {
    /// What the position counts in, as [`Place`] has it. It may be spelled otherwise after every read.
    pub stream: Arc<str>,
    /// What was read. Without `ends` a piece of a stream, cut anywhere; the engine cuts records by the source's format.
    pub bytes: Vec<u8>,
    /// With a connector that knows where records end (messages): one past the end of each. Then every byte is in a record.
    pub ends: Option<Vec<u32>>,
    /// Where the chunk stands in its partition: of a stream the offset of its first byte, of records the number of its first.
    pub position: u64,
    /// When it arrived, of a source that says the same when it brings it again; otherwise it arrives as it is read.
    pub arrived: Option<Timestamp>,
    /// With `ends`: what the source says of each record, if [`OpenContext::meta`] asks for it.
    pub meta: Option<Metadata>,
}

/// What a source says of records: a JSON object each, on one line with its line feed. Its members are read as `meta.topic`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The objects, one after the other.
    pub text: Vec<u8>,
    /// One past the end of each.
    pub ends: Vec<u32>,
    /// Of one record alone: it is not taken, why; what came is its beginning. It becomes a dead letter.
    pub refused: Option<String>,
}

impl Metadata {
    /// That one record is not taken.
    pub fn refused(why: String) -> Metadata {
        Metadata { refused: Some(why), ..Metadata::default() }
    }

    /// Adds what is said of one more record.
    pub fn push(&mut self, object: &[u8]) {
        self.text.extend_from_slice(object);
        self.ends.push(u32::try_from(self.text.len()).unwrap_or(u32::MAX));
    }

    /// What is said of each record.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(from, to)| self.text.get(from as usize..*to as usize).unwrap_or_default())
    }
}

/// What a source answers.
#[derive(Debug)]
pub enum Read {
    /// More rows.
    Chunk(Chunk),
    /// What follows begins a new stream in the same partition, at position 0: a file was replaced or cut. What is
    /// unfinished of the old one is whole.
    Renewed,
    /// What follows cannot be read, and never will: a packed file is damaged. It is one record that could not be, and counts
    /// as one byte of the stream, so that a place behind it can be told from one before it.
    Broken {
        /// The offset of the first byte that is not there.
        position: u64,
        /// One sentence.
        reason: String,
    },
    /// The partition is at its end; of an unbounded source because it is gone.
    End,
}

/// One partition of a source, being read: one file of a glob, standard input. Its order is the order of its events.
pub trait Source: Send {
    /// More rows, or the end; waits while there are none. Cancel-safe: the engine drops this future to pass a barrier,
    /// and what it would have returned comes with the next call.
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>>;

    /// A checkpoint is durable in which the partition stands at a place: nothing before it will be asked for again, so
    /// whoever keeps it for that need not. Comes between reads, also after the last one, and of several checkpoints perhaps
    /// only the newest; a partition of a bounded source is not told after its end. A source that can always be read again
    /// does nothing.
    fn committed(&mut self, _place: &Place) -> BoxFuture<'_, Result<(), SourceError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A partition of a source before it is read.
pub struct Partition {
    /// Stable over runs: the file's path relative to the pipeline. Empty if the source is one partition.
    pub name: String,
    /// Where to begin if nothing of it was read before.
    pub start: Place,
    /// Opens it at a place that a [`Chunk`] of it had, plus bytes or records into it; position 0 is the start of what the
    /// stream says. A stream that is gone for good comes as [`Read::Renewed`], and what follows it after that. I/O happens
    /// here.
    pub open: Box<dyn FnMut(&Place) -> Result<Box<dyn Source>, SourceError> + Send>,
    /// Whether it is connected to what it reads: while it is not, its silence means nothing.
    pub link: Link,
}

/// What opening a source gives.
pub struct Opened {
    /// Its partitions, in the order of their names. If a run goes on, those among them that are in [`OpenContext::stood`]
    /// are opened where they stood; of a source that ends by itself there are no others, and of one that does not, one that
    /// had ended is there if it may have more.
    pub partitions: Vec<Partition>,
    /// How an unbounded source finds more while it runs, if it can.
    pub watch: Option<Watch>,
}

impl From<Vec<Partition>> for Opened {
    fn from(partitions: Vec<Partition>) -> Self {
        Opened { partitions, watch: None }
    }
}

/// How new partitions are found.
pub struct Watch {
    /// How often to look.
    pub every: std::time::Duration,
    /// How often at least, when nothing has come for long.
    pub seldom: std::time::Duration,
    /// I/O: the partitions that came since the last look, in the order of their names. One that has ended may come again.
    /// They are opened at their start.
    pub look: Box<dyn FnMut() -> Result<Vec<Partition>, SourceError> + Send>,
}

impl Watch {
    /// How long is waited until the next look, when nothing has come for so long.
    pub fn pause(&self, quiet: std::time::Duration) -> std::time::Duration {
        pause(quiet, self.every, self.seldom)
    }
}

/// How long is waited until something is looked at again in which nothing has changed for so long: the longer the longer that
/// is, for what changes now and then is not in a hurry.
pub fn pause(
    quiet: std::time::Duration,
    every: std::time::Duration,
    seldom: std::time::Duration,
) -> std::time::Duration {
    (quiet / 16).clamp(every, seldom.max(every))
}

/// Why a source cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceError {
    /// One sentence for the person who runs the pipeline, with what to do.
    pub message: String,
}

/// Rows for a sink, written in its format.
#[derive(Debug, Default, Clone)]
pub struct Encoded {
    /// The rows one after the other, each with its line end.
    pub text: Vec<u8>,
    /// One past the end of each row in `text`.
    pub ends: Vec<u32>,
    /// For each of the sink's templates the rendered texts, one a row.
    pub rendered: Vec<Vec<Arc<str>>>,
    /// The event time of each row, for a sink that asks for it or sends; otherwise empty.
    pub times: Vec<Timestamp>,
    /// For a sink that sends: what tells each row from others, the same whenever it comes again. Rows of one input row that
    /// are alike have the same.
    pub ids: Vec<u128>,
}

/// A sink, open.
pub trait Sink: Send {
    /// Takes rows, in order. When it returns they are the sink's, though perhaps not yet where others see them.
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>>;

    /// A checkpoint is being made: everything delivered so far is put where a crash does not lose it, and what must be
    /// remembered to find it again is handed out. Nothing is delivered before [`Sink::committed`].
    fn prepare(&mut self) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(std::future::ready(Ok(Prepared::default())))
    }

    /// The checkpoint is durable: what was delivered before it may be seen, and will never be delivered again. After a
    /// crash a sink is opened with the marks of the last checkpoint instead, and does what is left to do of this then.
    fn committed(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// The run ends, and a checkpoint holds everything: nothing is delivered after it. It may be asked for again, by a sink
    /// opened with the same marks, after a crash in the middle of it. What it hands out is what has changed since, for a last
    /// checkpoint.
    fn finish(&mut self, end: End) -> BoxFuture<'_, Result<Prepared, SinkError>>;

    /// What counts how long deliveries take, of a sink that sends: it knows when they are taken. Others are watched.
    fn latency(&self) -> Option<Latencies> {
        None
    }

    /// Waits until a checkpoint would make room for more rows. Cancel-safe.
    fn wants_checkpoint(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    /// Waits until it wants more rows. It takes those that come regardless, but what feeds it is held back until then. Cancel-safe.
    fn room(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The input has ended: output becomes final, and what is to be sent is sent, however long it takes.
    Complete,
    /// The run was stopped, and will go on: what is to be sent is sent for as long as it goes well.
    Stopped,
}

/// What a sink remembers that changed since the last checkpoint: a key of its choice, and JSON; `None` forgets the key.
pub type Marks = Vec<(String, Option<String>)>;

/// What a sink hands out at a checkpoint.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// What it remembers.
    pub marks: Marks,
    /// Of a sink that sends: rows that whoever they go to has taken since the last checkpoint.
    pub sent: u64,
    /// Of a sink that sends: rows that were refused since the last checkpoint and never will be taken.
    pub refused: Vec<Refused>,
    /// Of a sink that sends: rows on their way.
    pub held: u64,
}

impl From<Marks> for Prepared {
    fn from(marks: Marks) -> Self {
        Prepared { marks, ..Prepared::default() }
    }
}

/// A row that whoever it goes to will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The row as it was written.
    pub text: Vec<u8>,
    /// Its event time; the least if it has none.
    pub time: Timestamp,
    /// One sentence, with what was answered.
    pub reason: String,
    /// Whether it was written as JSON, so that it can be sent again.
    pub json: bool,
}

/// Why a sink did not take rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkError {
    /// The sink cannot go on and the run fails. One sentence, with what to do.
    Fatal(String),
    /// Whoever read the rows has gone and wants no more, as `head` does. The run stops without complaint.
    Gone,
}

impl SinkError {
    /// One sentence for the person who runs the pipeline.
    pub fn message(self) -> String {
        match self {
            SinkError::Fatal(why) => why,
            SinkError::Gone => "whoever read the rows has gone".to_owned(),
        }
    }
}

/// What a connector may know while its options are checked: nothing but the file's own directory.
#[derive(Debug, Clone)]
pub struct CheckContext {
    /// Paths in options are relative to this.
    pub directory: PathBuf,
    /// What may be reached; everything, if whoever runs the program wrote the options.
    pub allowed: Option<Arc<Allowed>>,
}

/// What a connector is given when it is opened.
#[derive(Debug, Clone)]
pub struct OpenContext {
    /// Paths in options are relative to this.
    pub directory: PathBuf,
    /// The entry's name in the pipeline.
    pub name: String,
    /// A seed for what must be random and yet the same in every run: a hash of the pipeline's and the entry's name.
    pub seed: u64,
    /// Whether every source of the pipeline comes to an end by itself.
    pub bounded: bool,
    /// Of a sink whose format has one: the header line that a new file begins with.
    pub header: Option<Vec<u8>>,
    /// Of a sink: whether its rows come as JSON, a row a line. Of a source: whether its records are to be JSON.
    pub json: bool,
    /// Of a source: the names of metadata that the pipeline reads, `topic` for `meta.topic`.
    pub meta: Vec<String>,
    /// The directory in which a source may keep what it was given until a checkpoint holds it, and a sink rows that wait.
    pub journal: PathBuf,
    /// Of a sink: where it says whether it reaches what it sends to.
    pub link: Link,
    /// Of a sink: what it remembered at the last checkpoint of the run that goes on; `None` if a run begins, in which the
    /// output of earlier runs counts as complete.
    pub marks: Option<BTreeMap<String, String>>,
    /// Of a source: where its partitions stood at the last checkpoint of the run that goes on, by name; `None` if a run
    /// begins.
    pub stood: Option<BTreeMap<String, Stood>>,
}

/// Options that were found right.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Defaults filled in; [`SourceKind::open`] takes them again.
    pub options: serde_json::Value,
    /// Of a source: whether it comes to an end by itself.
    pub bounded: bool,
    /// Whether its records or rows are JSON and have no other format ([`SourceConnector::JSON`], [`SinkConnector::JSON`]).
    pub json: bool,
    /// Of a sink: texts among its options that depend on the row, with their places.
    pub templates: Vec<String>,
    /// Of a sink: whether its templates are paths ([`SinkConnector::PATHS`]).
    pub paths: bool,
    /// Of a sink: whether it needs the event time of rows.
    pub timed: bool,
    /// Of a sink: whether it sends ([`SinkConnector::SENDS`]).
    pub sends: bool,
    /// Of a source: what it does about events whose effect a crash undid.
    pub replay: Replay,
    /// Of a sink: how often a row has an effect.
    pub promise: Option<Promise>,
}

/// A source connector: a file under `connectors` implements this and is listed in `connectors::SOURCES`.
pub trait SourceConnector {
    /// The kind key in a pipeline file.
    const NAME: &'static str;
    /// Whether its records are JSON whatever they come from, so that a `format` has no meaning.
    const JSON: bool = false;
    /// Its options; their doc comments are the reference, the schema and the editor's hover.
    type Options: Serialize + DeserializeOwned + JsonSchema;

    /// Pure: what it reaches beside the pipeline. What rows decide stays inside of it.
    fn reach(options: &Self::Options) -> Reach;
    /// Pure: ranges and combinations that the types do not hold. `node` is where the options are written.
    fn check(options: &Self::Options, node: &Node, context: &CheckContext, found: &mut Diagnostics);
    /// Whether it comes to an end by itself.
    fn bounded(options: &Self::Options) -> bool;
    /// What it does about events whose effect a crash undid.
    fn replay(_: &Self::Options) -> Replay {
        Replay::Seek
    }
    /// I/O: its partitions.
    fn open(options: Self::Options, context: OpenContext) -> Result<Opened, SourceError>;
}

/// A sink connector: a file under `connectors` implements this and is listed in `connectors::SINKS`.
pub trait SinkConnector {
    /// The kind key in a pipeline file.
    const NAME: &'static str;
    /// Whether its templates are paths of files: what a row makes of one stays inside the directory that the template
    /// begins with in plain text; other rows are refused.
    const PATHS: bool = false;
    /// Whether its rows go to somebody who takes each or refuses it, later than the sink is given it: they have ids, and what
    /// becomes of them is known by [`Prepared`].
    const SENDS: bool = false;
    /// Whether it makes what it sends of rows as JSON, so that a `format` has no meaning.
    const JSON: bool = false;
    /// Its options; their doc comments are the reference, the schema and the editor's hover.
    type Options: Serialize + DeserializeOwned + JsonSchema;

    /// Pure: what it reaches beside the pipeline. What rows decide stays inside of it.
    fn reach(options: &Self::Options) -> Reach;
    /// Pure: ranges and combinations that the types do not hold. `node` is where the options are written.
    fn check(options: &Self::Options, node: &Node, context: &CheckContext, found: &mut Diagnostics);
    /// Whether it needs the event time of rows; rows without one are refused then.
    fn timed(_: &Self::Options) -> bool {
        false
    }
    /// How often a row has an effect.
    fn promise(options: &Self::Options) -> Promise;
    /// Texts among the options that depend on the row.
    fn templates(options: &Self::Options) -> Vec<String>;
    /// I/O.
    fn open(options: Self::Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError>;
}

/// A source connector as the registry lists it.
#[derive(Clone, Copy)]
pub struct SourceKind {
    /// The kind key.
    pub name: &'static str,
    /// The schema of its options.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether its records are JSON and have no other format ([`SourceConnector::JSON`]).
    pub json: bool,
    /// Pure: decodes and checks options.
    pub check: fn(&Node, &CheckContext, &mut Diagnostics) -> Option<Checked>,
    /// Pure: what it reaches with options that were checked.
    pub reach: fn(&serde_json::Value) -> Reach,
    /// I/O: its partitions.
    pub open: fn(&serde_json::Value, OpenContext) -> Result<Opened, SourceError>,
}

/// A sink connector as the registry lists it.
#[derive(Clone, Copy)]
pub struct SinkKind {
    /// The kind key.
    pub name: &'static str,
    /// The schema of its options.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Whether its rows are JSON and have no other format ([`SinkConnector::JSON`]).
    pub json: bool,
    /// Pure: decodes and checks options.
    pub check: fn(&Node, &CheckContext, &mut Diagnostics) -> Option<Checked>,
    /// Pure: what it reaches with options that were checked.
    pub reach: fn(&serde_json::Value) -> Reach,
    /// I/O: the sink, open.
    pub open: fn(&serde_json::Value, OpenContext) -> Result<Box<dyn Sink>, SinkError>,
}
