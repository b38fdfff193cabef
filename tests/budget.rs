//! How much the steps of a run may keep.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/running.rs"]
mod running;
mod support;

use millstream::engine::run::Outcome;
use running::{Running, begin};

const SOURCE: &str = "
name: t
sources:
  events: { file: { path: none }, time: { field: ts, format: unix } }
steps:
";

const SINK: &str = "
sinks:
  out: { discard: {} }
";

/// A run of steps with a budget of keys and one of bytes.
fn start(steps: &str, keys: Option<u64>, bytes: Option<u64>) -> Running {
    let yaml = format!("{SOURCE}{steps}{SINK}");
    let mut begin = begin(&yaml, &[&[""]]);
    (begin.options.max_keys, begin.options.max_state_bytes) = (keys, bytes);
    begin.start()
}

fn feed(running: &Running, keys: std::ops::Range<u64>) {
    for key in keys {
        let line = format!("{{\"ts\":1767225600,\"k\":\"key number {key}\"}}");
        // A run over its budget reads no more.
        let _ = running.feeds[0][0].send(line);
    }
}

const STEPS: [(&str, &str); 6] = [
    ("window", "  one: { window: { tumbling: 1h, by: k, aggregate: { n: count() } } }"),
    ("session", "  one: { window: { session: { gap: 1h }, by: k, aggregate: { n: count() } } }"),
    ("count", "  one: { window: { count: 100, by: k, aggregate: { n: count() } } }"),
    ("dedupe", "  one: { dedupe: { by: k, within: 1h } }"),
    ("throttle", "  one: { throttle: { by: k, limit: 5, per: 1h } }"),
    ("script", "  one: { script: 'state.n = 1;', by: k }"),
];

#[test]
fn every_step_says_what_it_keeps() {
    for (what, step) in STEPS {
        let running = start(step, None, None);
        feed(&running, 0..50);
        let seen = running.until(what, |seen| seen.steps[0].keys == 50 && seen.steps[0].bytes > 50 * 80);
        assert!(seen.steps[0].bytes < 50 * 1000, "{what}: {}", seen.steps[0].bytes);
        running.handle.stop();
        running.ended();
    }
}

#[test]
fn what_is_forgotten_does_not_count() {
    let running = start(STEPS[0].1, Some(60), None);
    feed(&running, 0..50);
    running.until("they are kept", |seen| seen.steps[0].keys == 50);
    running.feeds[0][0].send("{\"ts\":1767300000,\"k\":\"later\"}".to_owned()).unwrap();
    let seen = running.until("the windows have closed", |seen| seen.steps[0].keys == 1 && seen.steps[0].bytes < 500);
    assert!(seen.steps[0].bytes > 0);
    running.handle.stop();
    assert_eq!(running.ended().0.outcome, Outcome::Stopped);
}

#[test]
fn a_run_with_too_many_keys_fails_and_says_what_mends_it() {
    let steps = "
  first: { dedupe: { by: k, within: 1h } }
  second: { window: { tumbling: 1h, aggregate: { n: count() } } }
";
    let running = start(steps, Some(100), None);
    feed(&running, 0..200);
    let Outcome::Failed(why) = running.ended().0.outcome else { panic!("it goes on") };
    assert!(why.starts_with("`first` holds 1"), "{why}");
    assert!(
        why.contains(": more than the budget of 100 keys; let it forget sooner (shorter windows, `within`"),
        "{why}"
    );
}

#[test]
fn a_run_that_keeps_too_many_bytes_fails() {
    let running = start(STEPS[5].1, None, Some(20_000));
    feed(&running, 0..2000);
    let Outcome::Failed(why) = running.ended().0.outcome else { panic!("it goes on") };
    assert!(why.contains("`one` holds ") && why.contains("more than the budget of 19.5 KiB"), "{why}");
}
