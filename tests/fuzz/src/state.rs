//! Stored state: whatever stands in a snapshot, a job begins with it or says that it cannot.

use std::sync::OnceLock;

use millstream::base::time::{TimeSpan, Timestamp};
use millstream::config::Pipeline;
use millstream::connector::Place;
use millstream::data::framing::Block;
use millstream::engine::direct::Direct;
use millstream::engine::job::Snapshot;
use millstream::engine::lower::{Lowering, lower};
use millstream::engine::partition::PartitionSpec;

use crate::pipelines::load;

const PIPELINE: &str = r#"
name: f
sources:
  in: { file: { path: in }, time: { field: ts, out_of_order: 5s } }
  other: { file: { path: other }, time: { field: ts, out_of_order: 5s } }
steps:
  all:
    from: in
    window:
      sliding: { size: 10s, every: 2s }
      by: k
      aggregate:
        a: avg(v)
        b: min(v)
        c: last(v)
        d: stddev(v)
        e: count_if(v > 2)
        f: quantile(v, 0.9)
        g: distinct(v)
        h: approx_distinct(v)
        i: top(v, 3)
        j: collect(v, 5)
        l: { fold: { init: 0, each: acc + v, merge: a + b } }
  visits: { from: in, window: { session: { gap: 3s, max: 1m }, by: k, allow_late: 10s, aggregate: { n: count() } } }
  each: { from: in, window: { count: 3, by: k, aggregate: { n: sum(v) } } }
  days: { from: in, window: { calendar: { every: day, zone: Europe/Berlin }, emit: { every: 1h }, aggregate: { n: count() } } }
  once: { from: in, dedupe: { by: k, within: 10s } }
  few: { from: in, throttle: { by: k, limit: 2, per: 10s } }
  kept: { from: in, script: "state.n = (state.n ?? 0) + 1; n = state.n;", by: k }
  both: { join: { left: in, right: other, on: k, within: 5s, type: full } }
sinks:
  out: { from: [all, visits, each, days, once, few, kept, both], discard: {} }
"#;

fn pipeline() -> &'static Pipeline {
    static MADE: OnceLock<Pipeline> = OnceLock::new();
    MADE.get_or_init(|| {
        let loaded = load(PIPELINE);
        loaded.pipeline.unwrap_or_else(|| panic!("{:#?}", loaded.found.list))
    })
}

fn begin(from: Option<&Snapshot>) -> Result<Direct, String> {
    let graph = lower(&pipeline().plan, Lowering { shares: 2, track: true })?;
    let spec = |source| PartitionSpec {
        source,
        name: String::new(),
        start: Place::default(),
        bounded: true,
        timed: true,
        out_of_order: TimeSpan::seconds(5),
        idle_after: TimeSpan::seconds(30),
        after: None,
    };
    Direct::new(graph, vec![spec(0), spec(1)], 64, Timestamp(0), from)
}

fn feed(direct: &mut Direct, from: u64) -> Result<(), String> {
    for partition in 0..2 {
        let lines = (from..from + 12).map(|n| format!("{{\"ts\":{},\"k\":\"{}\",\"v\":{}}}", n * 7 % 13, n % 2, n % 5));
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for line in lines {
            bytes.extend_from_slice(line.as_bytes());
            ends.push(bytes.len() as u32);
        }
        direct.feed(partition, Block { position: from, ..Block::from_records(bytes, ends) })?;
    }
    Ok(())
}

/// What a job kept, encoded: where the random bytes begin from.
pub fn sample() -> Vec<u8> {
    let mut direct = begin(None).expect("it begins");
    feed(&mut direct, 0).expect("it runs");
    let snapshot = direct.snapshot().expect("a snapshot");
    rmp_serde::to_vec_named(&snapshot).expect("encoded")
}

/// A snapshot.
pub fn state(data: &[u8]) {
    let Ok(snapshot) = rmp_serde::from_slice::<Snapshot>(data) else { return };
    let Ok(mut direct) = begin(Some(&snapshot)) else { return };
    let _ = feed(&mut direct, 12);
    let _ = direct.end(0);
    let _ = direct.end(1);
    let _ = direct.snapshot();
}
