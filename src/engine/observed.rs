//! A running job as it is seen from outside, at one moment.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::latency::{Counts, Latencies};
use crate::base::time::{Timestamp, parse_rfc3339};

pub use crate::base::latency::BOUNDS as LATENCY_BOUNDS;

use super::ledger::Tally;

/// All that is to be seen of a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Observed {
    /// What became of the rows of each source, step and sink, in the order written.
    pub entries: Vec<EntryCounts>,
    /// Where each partition of each source stands.
    pub partitions: Vec<PartitionStanding>,
    /// How far each step with state is.
    pub steps: Vec<StepStanding>,
    /// How far each sink is.
    pub sinks: Vec<SinkStanding>,
    /// What is known of checkpoints.
    pub checkpoints: Checkpoints,
    /// Blocks that were read and wait to be decoded.
    pub blocks_waiting: usize,
    /// The least watermark of any step.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub watermark: Option<Timestamp>,
}

/// What became of the rows of one entry, since this run began or went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct EntryCounts {
    /// The entry.
    pub entry: String,
    /// Rows.
    #[serde(flatten)]
    pub tally: Tally,
}

/// Where a partition of a source stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct PartitionStanding {
    /// The source.
    pub source: String,
    /// The partition; nothing if the source has only one.
    pub partition: String,
    /// The greatest event time seen; absent before the first event.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub greatest: Option<Timestamp>,
    /// The same, less what it may be out of order; absent before the first event, and of one that has ended.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub watermark: Option<Timestamp>,
    /// It has been silent for so long that nobody waits for it.
    pub idle: bool,
    /// Its end was taken.
    pub ended: bool,
    /// It has no leave to read on, because what was read before is still under way.
    pub held: bool,
    /// Its source is connected to what it reads.
    pub connected: bool,
}

/// How far a step with state is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct StepStanding {
    /// The step.
    pub step: String,
    /// The watermark that all its shares have reached; absent before the first event, and after the end of all input.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub watermark: Option<Timestamp>,
    /// Whose watermark is the least of those that it waits for. `None` if all its inputs have ended or gone idle.
    pub held_back_by: Option<HeldBackBy>,
    /// All its inputs are idle: its watermark goes on at the pace of the clock.
    pub idle: bool,
    /// Ticks that wait for it, over its shares.
    pub ticks_waiting: usize,
    /// Rows of its input that are part of what it keeps.
    pub held: u64,
    /// Keys that it keeps something for.
    pub keys: u64,
    /// Bytes of that, roughly, as of the last checkpoint.
    pub bytes: u64,
}

/// The partition that holds a step's watermark back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeldBackBy {
    /// The source.
    pub source: String,
    /// The partition; nothing if the source has only one.
    pub partition: String,
    /// Its watermark; absent before its first event.
    #[serde(serialize_with = "rfc3339", deserialize_with = "of_rfc3339")]
    #[schemars(with = "Option<String>")]
    pub watermark: Option<Timestamp>,
}

/// How far a sink is.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct SinkStanding {
    /// The sink.
    pub sink: String,
    /// Ticks that wait for it.
    pub ticks_waiting: usize,
    /// Rows that were handed to it and that it has not taken yet.
    pub rows_waiting: u64,
    /// It has no room, and holds back what feeds it.
    pub full: bool,
    /// Of one that sends: rows on their way at the last checkpoint.
    pub held: u64,
    /// How long it took from when rows were handed to it until it had taken them, by delivery; of a sink that sends, from the
    /// first attempt until whoever they go to had taken them.
    pub latency: Histogram,
}

/// How long something took, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Histogram {
    /// By bucket of [`LATENCY_BOUNDS`], and beyond: how often it took so long.
    pub counts: Counts,
    /// Seconds of all together.
    pub sum: f64,
}

impl Histogram {
    /// What was counted so far.
    pub(super) fn of(latency: &Latencies) -> Histogram {
        Histogram { counts: latency.counts(), sum: latency.sum().as_secs_f64() }
    }

    /// How often in all.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What is known of the checkpoints of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Checkpoints {
    /// How many this run has made.
    pub made: u64,
    /// By the wall clock, when the last one became durable.
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "Option<String>")]
    pub last: Option<Timestamp>,
    /// Seconds from when its barrier set out until it was durable.
    pub seconds: f64,
    /// Rows of state in it: keys that had changed.
    pub rows: u64,
    /// Bytes of these rows.
    pub bytes: u64,
}

/// Writes an instant as people read it.
pub(super) fn rfc3339<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

fn of_rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let read = |text: &String| parse_rfc3339(text.as_bytes()).ok_or_else(|| D::Error::custom("this is no time"));
    text.as_ref().map(read).transpose()
}

/// An instant that can be written: a watermark before every event and one at the end of everything cannot.
pub(super) fn shown(at: Timestamp) -> Option<Timestamp> {
    Some(at).filter(|at| at.is_event_time())
}
