//! The program itself over generated files: every file that it writes is the same byte for byte with one, two and four
//! workers, whatever the sources, and a run that fails says why and ends.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

#[path = "support/inputs.rs"]
mod inputs;
#[path = "support/program.rs"]
mod program;

use inputs::{SOURCES, START, write_inputs};
use program::{command, run};

const PIPELINES: &[(&str, &str)] = &[
    (
        "windows",
        r#"
steps:
  minutes:
    from: [parts, more]
    window:
      tumbling: 1m
      by: device
      aggregate: { n: count(), mean: avg(v), spread: stddev(v) }
  hours:
    window: { tumbling: 10m, aggregate: { n: sum(n), devices: count(), best: max(mean) } }
sinks:
  out_minutes: { from: minutes, file: { path: out/minutes.ndjson } }
  out_hours: { from: hours, file: { path: out/hours.ndjson } }
  late: { from: minutes.late, file: { path: out/late.ndjson } }
  wrong: { from: [parts.errors, minutes.errors, more.errors], file: { path: out/wrong.ndjson } }
"#,
    ),
    (
        "scripts",
        r#"
steps:
  ways:
    from: [more, parts]
    route: { low: v < 500, high: v > 1500 }
  changes:
    from: [ways.low, ways.high]
    script: |
      if state.before == () { state.before = 0; state.seen = 0; }
      state.seen += 1;
      step = v - state.before;
      state.before = v;
      if state.seen % 10 == 0 { emit(#{ device: device, seen: state.seen }); }
      if step > 1000 { emit("jumps", event); }
      let total = 0;
      for i in 0..3 { total += i * state.seen; }
      weight = total;
    by: device
    state_ttl: 2m
    ports: jumps
  stays:
    from: parts
    window: { session: { gap: 3s }, by: [device, site.floor], allow_late: 20s, aggregate: { n: count(), last: last(v) } }
sinks:
  out_changes: { from: changes, file: { path: out/changes.ndjson } }
  jumps: { from: [changes.jumps, changes.errors, ways.errors], file: { path: out/jumps.ndjson } }
  everything: { from: [ways, stays, stays.late, changes], file: { path: "out/{{ device }}.ndjson" } }
  wrong: { from: [parts.errors, more.errors], file: { path: out/wrong.ndjson } }
"#,
    ),
    (
        "sliding",
        r#"
steps:
  warm: { from: parts, filter: v > 300 }
  doubled: { from: more, set: { v: v * 2, origin: meta.path } }
  named: { from: [warm, doubled], rename: { device: thing } }
  lean: { keep: [ts, thing, v, origin] }
  slides:
    window: { sliding: { size: 5m, every: 30s }, by: thing, aggregate: { n: count(), least: min(v), first: first(v) } }
sinks:
  out_slides: { from: slides, file: { path: out/slides.csv }, format: { csv: { columns: [thing, window_end, n, least] } } }
  out_lean: { from: lean, file: { path: out/lean.ndjson } }
  wrong: { from: [parts.errors, warm.errors, doubled.errors, slides.late], file: { path: out/wrong.ndjson } }
"#,
    ),
];

/// Every file of a directory by name.
fn written(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap());
    let mut files: Vec<_> =
        entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn files_are_the_same_with_one_two_and_four_workers() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("in")).unwrap();
    write_inputs(home.path(), 500);
    for (name, steps) in PIPELINES {
        let file = format!("{name}.yaml");
        fs::write(home.path().join(&file), format!("name: {name}{SOURCES}{steps}")).unwrap();
        let mut expected: Option<Vec<(String, Vec<u8>)>> = None;
        for workers in ["1", "2", "4"] {
            let output = run(home.path(), &["run", "--workers", workers, &file]);
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            let made = written(&home.path().join("out"));
            fs::remove_dir_all(home.path().join("out")).unwrap();
            assert!(made.iter().filter(|(_, bytes)| !bytes.is_empty()).count() >= 3, "{name} wrote too little");
            let Some(expected) = &expected else {
                expected = Some(made);
                continue;
            };
            let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            assert_eq!(names(expected), names(&made), "{name}");
            for ((path, one), (_, other)) in expected.iter().zip(&made) {
                assert!(one == other, "{name}: {path} differs with {workers} workers");
            }
        }
    }
}

#[test]
fn more_partitions_than_may_be_read_ahead() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("in")).unwrap();
    for file in 0..300 {
        let mut text = String::new();
        for row in 0..20 {
            writeln!(text, "{{\"ts\":{},\"v\":{file}}}", START + row * 300 + (file * 7) % 300).unwrap();
        }
        fs::write(home.path().join(format!("in/{file:03}.ndjson")), text).unwrap();
    }
    let pipeline = "
name: many
sources:
  in: { file: { path: in/*.ndjson }, time: { field: ts, format: unix } }
steps:
  minutes: { window: { tumbling: 1m, aggregate: { n: count() } } }
sinks:
  all: { from: in, file: { path: out/all.ndjson } }
  out_minutes: { from: minutes, file: { path: out/minutes.ndjson } }
  late: { from: minutes.late, file: { path: out/late.ndjson } }
";
    fs::write(home.path().join("t.yaml"), pipeline).unwrap();
    let output = run(home.path(), &["run", "--workers", "4", "t.yaml"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = |name: &str| fs::read_to_string(home.path().join("out").join(name)).unwrap();
    // Read in the order of their times, none is late although none may come out of order.
    assert_eq!(text("late.ndjson"), "");
    assert_eq!(text("all.ndjson").lines().count(), 6_000);
    let times = text("all.ndjson");
    let time = |line: &str| line.split([':', ',']).nth(1).unwrap().parse::<u64>().unwrap();
    assert!(times.lines().skip(300).map(time).is_sorted_by(|a, b| *b + 300 > *a));
    assert_eq!(text("minutes.ndjson").lines().count(), 100);
}

#[cfg(target_os = "linux")]
#[test]
fn a_sink_that_fails_ends_the_run() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("in")).unwrap();
    write_inputs(home.path(), 500);
    let pipeline = format!(
        "name: full{SOURCES}sinks:\n  out: {{ from: [parts, more], stdout: {{}} }}\n  too: {{ from: more, file: {{ path: out/too.ndjson }} }}\n  wrong: {{ from: [parts.errors, more.errors], file: {{ path: out/wrong.ndjson }} }}\n"
    );
    fs::write(home.path().join("t.yaml"), pipeline).unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(home.path(), &["run", "--quiet", "t.yaml"]).stdout(full).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: "), "{said}");
    assert!(!home.path().join("out/too.ndjson").exists(), "a failed run leaves no file as if it were whole");
}
