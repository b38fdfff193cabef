//! What runs, as Prometheus reads it. Everything is looked at when it is asked for; labels are pipelines and their entries, so
//! their number is bounded by what people wrote.

use std::fmt;
use std::fs;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::api::Service;
use super::seen::Phase;
use super::supervised::Supervised;
use crate::base::time::{Timestamp, parse_rfc3339};
use crate::engine::ledger::Tally;
use crate::engine::observed::{Histogram, LATENCY_BOUNDS, Observed};
use crate::engine::run::wall_clock;

/// All metrics of the process, in the text form of OpenMetrics. The error is a sentence.
pub fn text(service: &Arc<Service>) -> Result<String, String> {
    let mut registry = Registry::default();
    let all = service.pipelines.all().iter().map(One::of).collect();
    registry.register_collector(Box::new(All(all)));
    let mut text = String::new();
    let encoded = prometheus_client::encoding::text::encode(&mut text, &registry);
    encoded.map_err(|e| format!("metrics cannot be told: {e}")).map(|()| text)
}

/// A pipeline at one moment.
#[derive(Debug)]
struct One {
    id: String,
    phase: Phase,
    restarts: u64,
    refused: u64,
    links: Vec<super::links::Told>,
    observed: Observed,
}

impl One {
    fn of(of: &Arc<Supervised>) -> One {
        let seen = of.seen();
        One {
            id: of.id.clone(),
            phase: seen.phase,
            restarts: seen.restarts,
            refused: seen.refused,
            links: seen.connections,
            observed: seen.handle.map(|handle| handle.observe()).unwrap_or_default(),
        }
    }
}

/// A value, with its labels.
type Row = (Vec<(&'static str, String)>, Value);

#[derive(Debug, Clone, Copy)]
enum Value {
    Count(u64),
    Gauge(f64),
    Seconds(Histogram),
}

/// One metric, and how it is found.
struct Family {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    rows: fn(&One) -> Vec<Row>,
}

fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1e6
}

fn of_pipeline(one: &One, value: Value) -> Vec<Row> {
    vec![(vec![("pipeline", one.id.clone())], value)]
}

fn of_entry(one: &One, entry: &str, value: Value) -> Row {
    (vec![("pipeline", one.id.clone()), ("entry", entry.to_owned())], value)
}

/// A count of the ledger, by entry.
fn tally(one: &One, count: fn(&Tally) -> u64) -> Vec<Row> {
    one.observed.entries.iter().map(|e| of_entry(one, &e.entry, Value::Count(count(&e.tally)))).collect()
}

const PHASES: [(Phase, &str); 8] = [
    (Phase::Paused, "paused"),
    (Phase::Broken, "broken"),
    (Phase::Starting, "starting"),
    (Phase::Running, "running"),
    (Phase::Stopping, "stopping"),
    (Phase::Waiting, "waiting"),
    (Phase::Stopped, "stopped"),
    (Phase::Complete, "complete"),
];

fn phases(one: &One) -> Vec<Row> {
    let row = |(phase, word): &(Phase, &str)| {
        let is = if *phase == one.phase { 1.0 } else { 0.0 };
        (vec![("pipeline", one.id.clone()), ("phase", (*word).to_owned())], Value::Gauge(is))
    };
    PHASES.iter().map(row).collect()
}

/// Partitions of each source, by what they do.
fn partitions(one: &One) -> Vec<Row> {
    let mut rows: Vec<(String, [f64; 4])> = Vec::new();
    for partition in &one.observed.partitions {
        if rows.last().is_none_or(|(source, _)| *source != partition.source) {
            rows.push((partition.source.clone(), [0.0; 4]));
        }
        let at = match () {
            () if partition.ended => 3,
            () if partition.idle => 1,
            () if partition.held => 2,
            () => 0,
        };
        if let Some(count) = rows.last_mut().and_then(|(_, counts)| counts.get_mut(at)) {
            *count += 1.0;
        }
    }
    let words = ["active", "idle", "held", "ended"];
    let of_source = |(source, counts): (String, [f64; 4])| {
        let labels =
            move |word: &str| vec![("pipeline", one.id.clone()), ("entry", source.clone()), ("is", word.to_owned())];
        words.into_iter().zip(counts).map(move |(word, count)| (labels(word), Value::Gauge(count))).collect::<Vec<_>>()
    };
    rows.into_iter().flat_map(of_source).collect()
}

fn checkpoint(one: &One, value: Value) -> Vec<Row> {
    if one.observed.checkpoints.made > 0 { of_pipeline(one, value) } else { Vec::new() }
}

fn heard(one: &One) -> Vec<Row> {
    let at = |link: &super::links::Told| parse_rfc3339(link.heard.as_ref()?.as_bytes());
    let row = |link: &super::links::Told| Some(of_entry(one, &link.entry, Value::Gauge(seconds(at(link)?))));
    one.links.iter().filter_map(row).collect()
}

fn waiting(one: &One) -> Vec<Row> {
    let steps = one.observed.steps.iter().map(|step| (&step.step, step.ticks_waiting));
    let sinks = one.observed.sinks.iter().map(|sink| (&sink.sink, sink.ticks_waiting));
    steps.chain(sinks).map(|(name, ticks)| of_entry(one, name, Value::Gauge(ticks as f64))).collect()
}

fn watermarks(one: &One, value: fn(Timestamp) -> f64) -> Vec<Row> {
    let steps = one.observed.steps.iter().filter_map(|step| Some((&step.step, step.watermark?)));
    steps.map(|(name, at)| of_entry(one, name, Value::Gauge(value(at)))).collect()
}

fn counter(name: &'static str, help: &'static str, rows: fn(&One) -> Vec<Row>) -> Family {
    Family { name, help, unit: None, kind: MetricType::Counter, rows }
}

fn gauge(name: &'static str, help: &'static str, rows: fn(&One) -> Vec<Row>) -> Family {
    Family { name, help, unit: None, kind: MetricType::Gauge, rows }
}

impl Family {
    fn seconds(self) -> Family {
        Family { unit: Some(Unit::Seconds), ..self }
    }

    fn bytes(self) -> Family {
        Family { unit: Some(Unit::Bytes), ..self }
    }
}

/// What there is of pipelines.
fn families() -> Vec<Family> {
    vec![
        gauge("millstream_pipeline_phase", "What a pipeline does: 1 for the phase that it is in", phases),
        counter("millstream_pipeline_restarts", "Starts after failures", |o| of_pipeline(o, Value::Count(o.restarts))),
        counter("millstream_pipeline_reloads_refused", "Changed files that could not be taken", |o| {
            of_pipeline(o, Value::Count(o.refused))
        }),
        counter("millstream_rows_in", "Rows that came to an entry", |o| tally(o, |t| t.taken)),
        counter("millstream_rows_made", "Rows that an entry made", |o| tally(o, |t| t.made)),
        counter("millstream_rows_out", "Rows that went on from an entry", |o| tally(o, |t| t.passed)),
        counter("millstream_rows_filtered", "Rows for which a condition was false", |o| tally(o, |t| t.filtered)),
        counter("millstream_rows_dropped", "Rows that a script dropped", |o| tally(o, |t| t.dropped)),
        counter("millstream_rows_duplicate", "Rows that repeat one before", |o| tally(o, |t| t.duplicate)),
        counter("millstream_rows_failed", "Rows that an entry could not process", |o| tally(o, |t| t.failed)),
        counter("millstream_rows_late", "Rows that came too late", |o| tally(o, |t| t.late)),
        counter("millstream_rows_dead", "Failed and late rows that nobody reads", |o| tally(o, |t| t.dead)),
        gauge("millstream_step_watermark", "The watermark of a step, since 1970", |o| watermarks(o, seconds)).seconds(),
        gauge("millstream_step_lag", "How far the watermark of a step is behind the clock", |o| {
            watermarks(o, |at| seconds(wall_clock()) - seconds(at))
        })
        .seconds(),
        gauge("millstream_source_partitions", "Partitions of a source, by what they do", partitions),
        gauge("millstream_ticks_waiting", "Pieces of input that wait for a step or sink", waiting),
        gauge("millstream_sink_rows_waiting", "Rows that a sink was handed and has not taken", |o| {
            let sinks = o.observed.sinks.iter();
            sinks.map(|s| of_entry(o, &s.sink, Value::Gauge(s.rows_waiting as f64))).collect()
        }),
        gauge("millstream_sink_rows_held", "Rows on their way from a sink at the last checkpoint", |o| {
            let sinks = o.observed.sinks.iter();
            sinks.map(|s| of_entry(o, &s.sink, Value::Gauge(s.held as f64))).collect()
        }),
        Family {
            name: "millstream_sink_latency",
            help: "How long a sink took with what it was handed",
            unit: Some(Unit::Seconds),
            kind: MetricType::Histogram,
            rows: |o| o.observed.sinks.iter().map(|s| of_entry(o, &s.sink, Value::Seconds(s.latency))).collect(),
        },
        counter("millstream_checkpoints", "Checkpoints of the run that goes on", |o| {
            of_pipeline(o, Value::Count(o.observed.checkpoints.made))
        }),
        gauge("millstream_checkpoint_last", "When the last checkpoint became durable, since 1970", |o| {
            let last = o.observed.checkpoints.last.map(|at| Value::Gauge(seconds(at)));
            last.map(|at| of_pipeline(o, at)).unwrap_or_default()
        })
        .seconds(),
        gauge("millstream_checkpoint_duration", "How long the last checkpoint took", |o| {
            checkpoint(o, Value::Gauge(o.observed.checkpoints.seconds))
        })
        .seconds(),
        gauge("millstream_checkpoint_rows", "Keys that had changed at the last checkpoint", |o| {
            checkpoint(o, Value::Gauge(o.observed.checkpoints.rows as f64))
        }),
        gauge("millstream_checkpoint_size", "How much the last checkpoint wrote of state", |o| {
            checkpoint(o, Value::Gauge(o.observed.checkpoints.bytes as f64))
        })
        .bytes(),
        gauge("millstream_connection_up", "Whether a source or sink is connected", |o| {
            let up = |link: &super::links::Told| Value::Gauge(if link.up { 1.0 } else { 0.0 });
            o.links.iter().map(|link| of_entry(o, &link.entry, up(link))).collect()
        }),
        gauge("millstream_connection_last_heard", "When something last came or was taken, since 1970", heard).seconds(),
    ]
}

/// Everything that is told.
#[derive(Debug)]
struct All(Vec<One>);

impl Collector for All {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in families() {
            let mut told = encoder.encode_descriptor(family.name, family.help, family.unit.as_ref(), family.kind)?;
            for (labels, value) in self.0.iter().flat_map(family.rows) {
                let labels: Vec<(&str, &str)> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let mut one = told.encode_family(&labels)?;
                match value {
                    Value::Count(count) => one.encode_counter::<NoLabelSet, _, u64>(&count, None)?,
                    Value::Gauge(value) => one.encode_gauge(&value)?,
                    Value::Seconds(latency) => {
                        let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
                        let buckets: Vec<(f64, u64)> = bounds.zip(latency.counts).collect();
                        one.encode_histogram::<NoLabelSet>(latency.sum, latency.count(), &buckets, None)?;
                    }
                }
            }
        }
        process(&mut encoder)
    }
}

/// What the process takes, under the names that Prometheus has for it. What the system does not tell is left out.
fn process(encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut one = |name, help, unit: Option<Unit>, value: Option<f64>| -> Result<(), fmt::Error> {
        let Some(value) = value else { return Ok(()) };
        encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&value)
    };
    one("process_resident_memory", "Memory in use", Some(Unit::Bytes), resident())?;
    one("process_open_fds", "Files and connections that are open", None, entries("/proc/self/fd"))?;
    one("process_threads", "Threads", None, entries("/proc/self/task"))
}

fn entries(directory: &str) -> Option<f64> {
    Some(fs::read_dir(directory).ok()?.count() as f64)
}

fn resident() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024.0)
}
