//! A run seen and steered from outside, through its handle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/running.rs"]
mod running;
mod support;

use millstream::base::latency::Latencies;
use millstream::base::time::TimeSpan;
use millstream::engine::observed::{HeldBackBy, Observed};
use millstream::engine::run::Outcome;
use running::begin;

const PIPELINE: &str = "
name: t
sources:
  orders: { file: { path: none }, time: { field: ts, format: unix } }
  refunds: { file: { path: none }, time: { field: ts, format: unix } }
steps:
  minutes:
    from: [orders, refunds]
    window: { tumbling: 1m, by: k, aggregate: { n: count() } }
  few:
    from: minutes
    filter: n > 0
sinks:
  out: { from: few, discard: {} }
  all: { from: orders, discard: {} }
";

const PARTITIONS: &[&[&str]] = &[&["a", "b"], &[""]];

#[test]
fn a_run_says_who_holds_it_back() {
    let running = begin(PIPELINE, PARTITIONS).start();
    running.feed((0, 0), 0..100);
    running.feed((0, 1), 0..80);
    running.feed((1, 0), [70]);
    running.until_taken("orders", 180);
    running.until_taken("refunds", 1);
    let seen = running.until("the step is there", |seen| {
        seen.steps[0].watermark.is_some_and(|at| at.to_string() == "2026-01-01T00:01:10Z")
    });
    let minutes = &seen.steps[0];
    assert_eq!((minutes.step.as_str(), minutes.idle), ("minutes", false));
    let held_back_by = |source: &str, partition: &str| {
        Some(HeldBackBy { source: source.into(), partition: partition.into(), watermark: minutes.watermark })
    };
    assert_eq!(minutes.held_back_by, held_back_by("refunds", ""));
    let names: Vec<_> = seen.partitions.iter().map(|p| (p.source.as_str(), p.partition.as_str(), p.idle)).collect();
    assert_eq!(names, [("orders", "a", false), ("orders", "b", false), ("refunds", "", false)]);
    assert_eq!(seen.partitions[0].greatest.unwrap().to_string(), "2026-01-01T00:01:39Z");
    assert!(seen.partitions.iter().all(|p| !p.ended && p.connected));

    // When refunds are past it, it is the partition that is behind.
    running.feed((1, 0), [200]);
    let seen = running
        .until("the next holds it", |seen| seen.steps[0].held_back_by.as_ref().is_some_and(|by| by.partition == "b"));
    assert_eq!(seen.steps[0].held_back_by.as_ref().unwrap().watermark.unwrap().to_string(), "2026-01-01T00:01:19Z");
    let seen = running.until("a checkpoint is made", |seen| seen.checkpoints.made > 1 && seen.checkpoints.rows > 0);
    assert!(seen.checkpoints.bytes > 0 && seen.checkpoints.seconds > 0.0 && seen.checkpoints.last.is_some());
    running.handle.stop();
    assert_eq!(running.ended().0.outcome, Outcome::Stopped);
}

#[test]
fn where_all_is_idle_nobody_holds_it_back() {
    let mut idle = begin(PIPELINE, PARTITIONS);
    idle.idle_after = TimeSpan(1000);
    let running = idle.start();
    running.feed((0, 0), 0..10);
    let seen = running.until("all is idle", |seen| seen.steps[0].idle);
    assert_eq!(seen.steps[0].held_back_by, None);
    assert!(seen.partitions.iter().all(|p| p.idle));
    running.handle.stop();
    running.ended();
}

#[test]
fn time_passes_in_silence_whether_or_not_anything_happens() {
    let seconds = PIPELINE.replace("tumbling: 1m", "tumbling: 1s");
    let mut idle = begin(&seconds, PARTITIONS);
    idle.idle_after = TimeSpan(1000);
    let running = idle.start();
    running.feed((0, 0), 0..3);
    // The last second is over by silence alone, and then there is nothing to wait for.
    let out = |seen: &Observed| seen.entries[4].tally.taken;
    running.until("the last second closes", |seen| out(seen) == 3 && seen.steps[0].keys == 0);
    let at = |seen: &Observed| seen.steps[0].watermark.unwrap().to_string();
    running.until("its watermark goes on", |seen| at(seen).as_str() > "2026-01-01T00:00:05.5Z");
    // What comes then is late by all that time.
    running.feed((0, 0), [4]);
    let seen = running.until("it is judged", |seen| seen.entries[2].tally.late == 1 || seen.steps[0].keys > 0);
    assert_eq!((seen.entries[2].tally.late, out(&seen)), (1, 3), "{seen:#?}");
    running.handle.stop();
    running.ended();
}

#[test]
fn a_sink_that_takes_nothing_is_seen() {
    let mut closed = begin(PIPELINE, PARTITIONS);
    closed.open = false;
    let running = closed.start();
    running.feed((0, 0), 0..50);
    let waiting = |seen: &Observed| seen.sinks[1].clone();
    let seen = running.until("rows wait", |seen| waiting(seen).rows_waiting > 0);
    assert_eq!(seen.sinks.iter().map(|sink| sink.sink.as_str()).collect::<Vec<_>>(), ["out", "all"]);
    assert_eq!(waiting(&seen).latency.count(), 0);
    running.open();
    let seen = running.until("all is taken", |seen| {
        let all = waiting(seen);
        all.rows_waiting == 0 && all.ticks_waiting == 0 && seen.entries[5].tally.taken == 50
    });
    let latency = waiting(&seen).latency;
    assert!(latency.count() > 0 && latency.sum > 0.0);
    running.handle.stop();
    assert_eq!(running.ended().2.lines().count(), 50);
}

#[test]
fn a_sink_that_counts_its_deliveries_itself_is_believed() {
    let (mut counting, counts) = (begin(PIPELINE, PARTITIONS), Latencies::default());
    counting.counts = Some(counts.clone());
    let running = counting.start();
    running.feed((0, 0), 0..5);
    running.until("all is taken", |seen| seen.entries[5].tally.taken == 5 && seen.sinks[1].rows_waiting == 0);
    counts.count(std::time::Duration::from_secs(3));
    let seen = running.handle.observe();
    assert_eq!((seen.sinks[1].latency.count(), seen.sinks[1].latency.sum), (1, 3.0));
    running.handle.stop();
    running.ended();
}

#[test]
fn what_is_seen_can_be_written() {
    let running = begin(PIPELINE, PARTITIONS).start();
    running.feed((0, 0), [0, 61]);
    running.feed((0, 1), [61]);
    running.feed((1, 0), [61]);
    let watermark = |seen: &Observed| serde_json::to_value(seen).unwrap()["steps"][0]["watermark"].clone();
    let seen = running.until("the watermark", |seen| watermark(seen) == "2026-01-01T00:01:01Z");
    let text = serde_json::to_value(&seen).unwrap();
    assert_eq!(text["entries"][0]["entry"], "orders");
    assert!(text["entries"][0]["taken"].is_u64() && text["sinks"][0]["latency"]["counts"].is_array());
    running.handle.stop();
    running.ended();
}

#[test]
fn a_run_that_is_drained_closes_what_one_that_is_stopped_leaves_open() {
    for drains in [true, false] {
        let running = begin(PIPELINE, PARTITIONS).start();
        running.feed((0, 0), 0..100);
        running.feed((0, 1), 0..10);
        running.until_taken("orders", 110);
        if drains {
            running.handle.drain()
        } else {
            running.handle.stop()
        }
        let (summary, kept, taken) = running.ended();
        let windows = taken.lines().filter(|line| line.contains("window_start")).count();
        let open = kept.ledger.values().map(|total| total.held).sum::<u64>();
        if drains {
            // Two minutes, three keys.
            assert_eq!((summary.outcome, windows, open), (Outcome::Complete, 6, 0), "{taken}");
        } else {
            // Refunds have brought nothing.
            assert_eq!((summary.outcome, windows, open), (Outcome::Stopped, 0, 110), "{taken}");
        }
        assert_eq!(taken.lines().count() - windows, 110);
    }
}

#[test]
fn a_run_without_rows_is_drained_as_well() {
    let running = begin(PIPELINE, PARTITIONS).start();
    running.handle.drain();
    assert_eq!(running.ended().0.outcome, Outcome::Complete);
}

#[test]
fn a_drain_that_takes_too_long_can_be_stopped() {
    let mut closed = begin(PIPELINE, PARTITIONS);
    closed.open = false;
    let running = closed.start();
    running.feed((0, 0), 0..100);
    running.until("rows wait", |seen| seen.sinks[1].rows_waiting > 0);
    running.handle.drain();
    running.handle.stop();
    running.open();
    assert!(matches!(running.ended().0.outcome, Outcome::Stopped | Outcome::Complete));
}
