//! Sinks whose rows go to somebody who takes each or refuses it: written once for all of them. Rows wait in an outbox,
//! which checkpoints hold, until they are taken; they are put together, sent side by side, sent again for as long as that
//! may help, and refused ones leave by the sink's `.errors` or become dead letters. A connector only says how a delivery is sent ([`Sender`]).

mod breaker;
mod outbox;
mod pump;
mod spool;
pub mod texts;

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration as StdDuration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::written::{Duration, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::latency::Latencies;
use crate::base::promise::{Effect, Promise};
use crate::base::time::{TimeSpan, Timestamp};
use crate::base::tree::Node;
use crate::connector::{BoxFuture, Encoded, End, OpenContext, Prepared, Sink, SinkError};
use crate::data::hash::row_id;
use pump::Shared;
use spool::Spool;

/// How long a run that was stopped waits for what is being sent.
const STOP_WITHIN: StdDuration = StdDuration::from_secs(10);
/// Rows of a batch at most.
const MOST_ROWS: u32 = 100_000;

/// Sends for one sink.
pub trait Sender: Send + Sync + 'static {
    /// Sends a delivery; done when those it goes to have it. It is sent again as it is until then, under the same id.
    /// Deliveries are begun in order: what the first poll does happens in the order of rows.
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>>;
}

/// A row that is sent.
#[derive(Debug)]
pub struct Row {
    /// The row in the sink's format, with its line end.
    pub text: Vec<u8>,
    /// For each of the sink's templates what the row makes of it.
    pub rendered: Vec<Arc<str>>,
    /// Its event time; the least if it has none.
    pub time: Timestamp,
    /// The same whenever the row comes again, and no other row's.
    pub id: u128,
}

/// Rows that are sent together: of the templates they make the same, but for those of the key.
#[derive(Debug)]
pub struct Delivery {
    /// At least one.
    pub rows: Vec<Arc<Row>>,
}

impl Delivery {
    /// The same for the same rows, whenever they are sent: 32 hexadecimal digits.
    pub fn id(&self) -> String {
        match self.rows.as_slice() {
            [only] => format!("{:032x}", only.id),
            rows => {
                let ids: Vec<u8> = rows.iter().flat_map(|row| row.id.to_be_bytes()).collect();
                format!("{:032x}", row_id(0, &ids))
            }
        }
    }

    /// What the rows make of one of the sink's templates, in the order that the connector named them.
    pub fn rendered(&self, template: usize) -> &str {
        self.rows.first().and_then(|row| row.rendered.get(template)).map_or("", |text| text)
    }
}

/// Why a delivery was not taken. Each reason is one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotSent {
    /// Nobody is there, or they cannot take anything now: whatever is sent would not be taken. It is tried for ever.
    Unreachable {
        /// What happened.
        why: String,
        /// When they asked to be tried again.
        after: Option<StdDuration>,
    },
    /// It failed and may not the next time. It is tried until `give_up_after`.
    Failed {
        /// What happened.
        why: String,
        /// When they asked to be tried again.
        after: Option<StdDuration>,
    },
    /// It never will be taken.
    Refused {
        /// What happened, with what was answered.
        why: String,
    },
}

/// How rows are put together.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Rows in one delivery at most.
    #[serde(default = "default_count")]
    #[schemars(range(min = 1))]
    pub count: u32,
    /// Bytes in one delivery at most; a larger row goes alone.
    #[serde(default = "default_bytes")]
    pub bytes: Size,
    /// How long rows wait for others. With `0s` those go together that are there when one can be sent.
    #[serde(default = "default_within")]
    pub within: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { count: 1, bytes: default_bytes(), within: default_within() }
    }
}

/// How often it is tried again.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How long until the second try. Each wait is up to twice the one before, and differs by chance.
    #[serde(default = "default_first")]
    pub first: Duration,
    /// The longest wait, unless the other side asks for more.
    #[serde(default = "default_most")]
    pub most: Duration,
    /// How long rows are tried that are answered with an error which may pass; then they are refused. While nobody
    /// answers, or the answer is that nothing can be taken now, rows wait for as long as it takes.
    #[serde(default = "default_give_up")]
    pub give_up_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { first: default_first(), most: default_most(), give_up_after: default_give_up() }
    }
}

/// When rows are sent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Latency {
    /// At once. After a crash those since the last checkpoint are sent again under the same ids; how live sources met is
    /// written down before, so that they say the same again.
    #[default]
    Immediate,
    /// When a checkpoint holds them: what was sent is never taken back. Takes as long as checkpoints are apart
    /// (`checkpoint: { every: 5s }`).
    Exact,
}

fn default_count() -> u32 {
    100
}

fn default_bytes() -> Size {
    Size(1 << 20)
}

fn default_within() -> Duration {
    Duration(TimeSpan::ZERO)
}

fn default_first() -> Duration {
    Duration(TimeSpan(200_000))
}

fn default_most() -> Duration {
    Duration(TimeSpan::seconds(30))
}

fn default_give_up() -> Duration {
    Duration(TimeSpan::seconds(600))
}

/// The `buffer` of a sink where none is written.
pub fn default_buffer() -> Size {
    Size(16 << 20)
}

/// What a sink that sends promises; `why` has it as its subject.
pub fn promise(why: String, latency: Latency) -> Promise {
    let early = latency == Latency::Immediate;
    let stronger = "`latency: exact` sends when a checkpoint holds what a row was made of, so that it never changes";
    Promise { effect: Effect::Repeats, why, stronger: early.then(|| stronger.to_owned()), early, grows: true }
}

/// How a sink sends.
#[derive(Clone, Debug)]
pub struct Sending {
    /// How rows are put together.
    pub batch: Batch,
    /// How often it is tried again.
    pub retry: Retry,
    /// When rows are sent.
    pub latency: Latency,
    /// Bytes of rows that wait at most before what feeds the sink is held back.
    pub buffer: Size,
    /// Bytes of rows that wait on the disk at most, when memory has as many as it may.
    pub buffer_on_disk: Option<Size>,
    /// Deliveries under way at most.
    pub concurrency: usize,
    /// Which templates are the key: rows of one are sent one after the other.
    pub key: Option<Range<usize>>,
    /// How many templates the sink has.
    pub templates: usize,
}

impl Sending {
    /// Pure: what the types do not hold.
    pub fn check(&self, node: &Node, found: &mut Diagnostics) {
        let mut wrong = |key: &str, message: &str, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-sending", message, place).help(help));
        };
        if self.batch.count == 0 || self.batch.count > MOST_ROWS {
            wrong("batch", "a delivery has between 1 and 100000 rows", "write for example `batch: { count: 100 }`");
        }
        if self.batch.bytes.0 == 0 || self.batch.bytes.0 > 256 << 20 {
            wrong("batch", "a delivery has between 1 byte and 256 MiB", "write for example `batch: { bytes: 1MB }`");
        }
        if self.batch.within.0 > TimeSpan::seconds(3600) || self.batch.within.0 < TimeSpan::ZERO {
            wrong("batch", "rows wait for others for at most an hour", "write for example `batch: { within: 1s }`");
        }
        let Retry { first, most, give_up_after } = self.retry;
        if first.0 <= TimeSpan::ZERO || most.0 < first.0 || give_up_after.0 < TimeSpan::ZERO {
            let help =
                "`first` is longer than nothing, and `most` at least as long: `retry: { first: 200ms, most: 30s }`";
            wrong("retry", "it cannot be tried again in this way", help);
        }
        if self.concurrency == 0 || self.concurrency > 1_024 {
            wrong("concurrency", "between 1 and 1024 deliveries are under way", "write for example `concurrency: 16`");
        }
        if self.buffer.0 < 1 << 10 {
            wrong("buffer", "a buffer has at least 1 KiB", "write for example `buffer: 16MB`");
        }
        if self.buffer_on_disk.is_some_and(|size| size.0 < 1 << 20) {
            let help = "write for example `buffer_on_disk: 1GB`, or leave it out";
            wrong("buffer_on_disk", "a buffer on the disk has at least 1 MiB", help);
        }
    }
}

/// Where connectors talk to others: a thread of its own, for as long as the process lives, so that no sink or source waits
/// for the network of another.
pub fn network() -> Result<Handle, String> {
    static NETWORK: OnceLock<Result<Handle, String>> = OnceLock::new();
    let begin = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no runtime for the network: {e}"))?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("network".to_owned());
        let spawned = thread.spawn(move || runtime.block_on(std::future::pending::<()>()));
        spawned.map_err(|e| format!("no thread for the network: {e}"))?;
        Ok(handle)
    };
    NETWORK.get_or_init(begin).clone()
}

/// A sink that sends.
pub struct Sent {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
    exact: bool,
    /// Whether rows are JSON.
    json: bool,
    seed: u64,
    /// Rows before this one are in the checkpoint that is being made.
    prepared_to: u64,
    /// Until when it sends what is left of a run that was stopped; it is asked again and again.
    stops: Option<Instant>,
}

impl Sent {
    /// Goes on with what the last checkpoint held, and takes rows from then on.
    pub fn open(sending: Sending, sender: Arc<dyn Sender>, context: &OpenContext) -> Result<Sent, SinkError> {
        let exact = sending.latency == Latency::Exact;
        let nothing = BTreeMap::new();
        let marks = context.marks.as_ref().unwrap_or(&nothing);
        let spooled = sending.buffer_on_disk.is_some() || context.journal.is_dir();
        let spool = spooled.then(|| Spool::open(&context.journal)).transpose().map_err(SinkError::Fatal)?;
        let shared = Shared::new(sending, (&context.name, &context.link), marks, spool).map_err(SinkError::Fatal)?;
        let shared = Arc::new(shared);
        let pump =
            network().map_err(SinkError::Fatal)?.spawn(pump::pump(Arc::clone(&shared), sender).in_current_span());
        Ok(Sent { shared, pump, exact, json: context.json, seed: context.seed, prepared_to: 0, stops: None })
    }

    fn rows(&self, rows: &Encoded) -> Vec<Row> {
        // Rows that are alike because one input row made them both.
        let mut alike: HashMap<u128, u32> = HashMap::new();
        let starts = std::iter::once(0).chain(rows.ends.iter().copied());
        let mut made = Vec::with_capacity(rows.ends.len());
        for (at, (from, to)) in starts.zip(&rows.ends).enumerate() {
            let number = alike.entry(rows.ids.get(at).copied().unwrap_or_default()).or_default();
            let mut what = rows.ids.get(at).copied().unwrap_or_default().to_be_bytes().to_vec();
            what.extend_from_slice(&number.to_be_bytes());
            *number += 1;
            made.push(Row {
                text: rows.text.get(from as usize..*to as usize).unwrap_or_default().to_vec(),
                rendered: rows.rendered.iter().filter_map(|texts| texts.get(at).cloned()).collect(),
                time: rows.times.get(at).copied().unwrap_or(Timestamp::MIN),
                id: row_id(self.seed, &what),
            });
        }
        made
    }

    async fn hand_out(&mut self) -> Result<Prepared, SinkError> {
        let (prepared, to) = self.shared.hand_out(self.json);
        self.prepared_to = to;
        self.shared.until_durable().await.map_err(SinkError::Fatal)?;
        Ok(prepared)
    }
}

impl Sink for Sent {
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        let rows = self.rows(rows);
        Box::pin(async move { self.shared.add_all(rows, !self.exact).await.map_err(SinkError::Fatal) })
    }

    fn prepare(&mut self) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(self.hand_out())
    }

    fn committed(&mut self) -> BoxFuture<'_, Result<(), SinkError>> {
        self.shared.release(self.prepared_to);
        Box::pin(std::future::ready(self.shared.committed().map_err(SinkError::Fatal)))
    }

    fn finish(&mut self, end: End) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(async move {
            match end {
                End::Complete => self.shared.until_all_is_sent().await,
                End::Stopped => {
                    let by = *self.stops.get_or_insert_with(|| Instant::now() + STOP_WITHIN);
                    let well = self.shared.until_it_goes_badly();
                    // What is not sent by then is sent when the run goes on.
                    let _ = tokio::time::timeout_at(by, well).await;
                }
            }
            self.hand_out().await
        })
    }

    fn latency(&self) -> Option<Latencies> {
        Some(self.shared.latency.clone())
    }

    fn wants_checkpoint(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.until_many_are_refused().await })
    }

    fn room(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.shared.until_room())
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.pump.abort();
    }
}
