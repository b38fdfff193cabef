//! The real binary on real files: what it prints, what it writes and how it exits, also when things go wrong.

#![allow(clippy::expect_used, reason = "a test that cannot go on should say why")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[path = "support/program.rs"]
mod program;

use program::{command, read, run, text, with, with_texts};

/// Standard error without the line that says how long it took.
fn said(output: &Output) -> String {
    text(&output.stderr).lines().filter(|l| !l.contains(" rows in, ")).map(|l| format!("{l}\n")).collect()
}

const MINUTES: &str = "
name: minutes
sources:
  in:
    file: { path: 'data/*.ndjson' }
    time: { field: ts, out_of_order: 5s }
steps:
  ok:
    filter: status == \"ok\"
  w:
    window:
      tumbling: 10s
      by: device
      aggregate: { n: count(), most: max(v) }
sinks:
  out: { from: w, file: { path: out.ndjson } }
  late: { from: w.late, file: { path: late.ndjson } }
  wrong: { from: in.errors, file: { path: wrong.ndjson } }
";

/// Rows of three files: out of order, some late, some broken.
fn readings(file: u64) -> Vec<u8> {
    let mut lines = String::new();
    for i in 0..2_000u64 {
        let mixed = (i * 7_919 + file * 104_729) % 1_000;
        let back = if mixed < 20 { 9_000 } else { mixed * 4 };
        let ms = 10_000 + i * 20 - back.min(i * 20);
        let status = if mixed.is_multiple_of(7) { "failed" } else { "ok" };
        let at = format!("2026-01-01T00:{:02}:{:02}.{:03}Z", ms / 60_000, ms / 1_000 % 60, ms % 1_000);
        match mixed {
            500 => lines.push_str("{\"device\":\n"),
            501 => lines.push_str("{\"device\":\"d\",\"v\":1}\n"),
            _ => lines.push_str(&format!(
                "{{\"device\":\"d{}\",\"ts\":\"{at}\",\"v\":{mixed},\"status\":\"{status}\"}}\n",
                mixed % 17
            )),
        }
    }
    lines.into_bytes()
}

#[test]
fn output_is_the_same_with_any_number_of_workers() {
    let data: Vec<Vec<u8>> = (0..3).map(readings).collect();
    let files: Vec<(String, &[u8])> =
        data.iter().enumerate().map(|(i, d)| (format!("data/{i}.ndjson"), d.as_slice())).collect();
    let mut all: Vec<(&str, &[u8])> = files.iter().map(|(n, d)| (n.as_str(), *d)).collect();
    all.push(("p.yaml", MINUTES.as_bytes()));
    let directory = with(&all);
    let mut outputs = Vec::new();
    for workers in ["1", "2", "4"] {
        let output = run(directory.path(), &["run", "p.yaml", "--workers", workers]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        outputs.push(["out.ndjson", "late.ndjson", "wrong.ndjson"].map(|name| read(directory.path(), name)));
    }
    let [out, late, wrong] = &outputs[0];
    assert!(out.lines().count() > 50 && late.lines().count() > 5, "{out}\n{late}");
    assert_eq!(wrong.lines().count(), 3 * 4);
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}

#[test]
fn what_nobody_reads_is_counted_and_shown() {
    let pipeline = b"name: p\nsources:\n  in:\n    file: { path: in.ndjson }\n    time: { field: ts }\nsinks:\n  out: { stdout: {} }\n";
    let rows = b"{\"ts\":1767225600}\n{\"ts\":\n{\"a\":1}\n\xff\xfe\n{\"ts\":\"never\"}\n";
    let directory = with(&[("p.yaml", pipeline), ("in.ndjson", rows)]);
    let output = run(directory.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(text(&output.stdout), "{\"ts\":1767225600}\n");
    insta::assert_snapshot!("what_nobody_reads", said(&output));
}

#[test]
fn a_run_can_be_told_to_fail_at_the_first_bad_row() {
    let pipeline = b"name: p\nsources:\n  in:\n    file: { path: in.ndjson }\n    on_error: fail\nsinks:\n  out: { file: { path: out.ndjson } }\n";
    let directory = with(&[("p.yaml", pipeline), ("in.ndjson", b"{\"a\":1}\n{\n"), ("out.ndjson", b"old\n")]);
    let output = run(directory.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("`in` could not process a row"), "{}", said(&output));
    assert_eq!(read(directory.path(), "out.ndjson"), "old\n", "a failed run leaves the old file");
}

#[test]
fn input_that_cannot_be_read_is_named() {
    let pipeline = |path: &str| {
        format!("name: p\nsources: {{ in: {{ file: {{ path: '{path}' }} }} }}\nsinks: {{ out: {{ stdout: {{}} }} }}\n")
    };
    for (path, part) in [("none.ndjson", "none.ndjson"), ("*.none", "*.none"), ("folder", "folder")] {
        let directory = with(&[("p.yaml", pipeline(path).as_bytes()), ("folder/x", b"")]);
        let output = run(directory.path(), &["run", "p.yaml"]);
        assert_eq!(output.status.code(), Some(1), "{path}");
        let said = said(&output);
        assert!(said.starts_with("error: ") && said.contains(part), "{said}");
    }
    let output = run(with(&[]).path(), &["run", "none.yaml"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn csv_goes_in_and_out() {
    let pipeline = "name: p\nsources:\n  in:\n    file: { path: in.csv }\n    format: csv\nsteps:\n  s: { filter: value > 1 }\nsinks:\n  out:\n    file: { path: out.csv }\n    format: { csv: { columns: [name, value] } }\n";
    let rows = b"name,value,other\n\"a, b\",2,x\nc,1,y\nd,3.50,z\nshort,2\n";
    let directory = with(&[("p.yaml", pipeline.as_bytes()), ("in.csv", rows)]);
    let output = run(directory.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(read(directory.path(), "out.csv"), "name,value\n\"a, b\",2\nd,3.5\n");
    assert!(said(&output).contains("1 row could not be processed"), "{}", said(&output));
}

#[test]
fn a_failing_test_shows_what_differs() {
    let pipeline = "name: p\nsources: { in: { stdin: {} } }\nsteps: { s: { filter: a > 1 } }\nsinks: { out: { stdout: {} } }\ntests:\n  - name: big ones\n    given: { in: [{ a: 1 }, { a: 2 }, { a: 3 }] }\n    expect: { s: [{ a: 2 }, { a: 4 }], out: { contains: [{ a: 9 }] }, in.errors: { count: 1 } }\n";
    let directory = with(&[("p.yaml", pipeline.as_bytes())]);
    let output = run(directory.path(), &["test", "."]);
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!("a_failing_test", text(&output.stderr));
}

#[test]
fn a_field_that_no_given_event_has_is_told() {
    let pipeline = "name: p
sources:
  in:
    stdin: {}
steps:
  s:
    filter: status == 1 || statsu == 1 || rare == 1
sinks:
  out:
    stdout: {}
tests:
  - name: one
    given: { in: [{ status: 1 }] }
    expect: { s: [{ status: 1 }] }
  - name: two
    given: { in: [{ status: 2, rare: 1 }] }
    expect: { s: [{ status: 2 }] }
";
    let directory = with(&[("p.yaml", pipeline.as_bytes())]);
    let output = run(directory.path(), &["test", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!("what_no_given_event_has", text(&output.stderr));
    // One test may well leave a field out.
    assert!(!text(&run(directory.path(), &["test", "p.yaml", "--filter", "one"]).stderr).contains("warning"));
}

#[test]
fn a_field_that_a_step_sets_for_some_rows_may_be_there() {
    let pipeline = "name: p
sources:
  in:
    stdin: {}
steps:
  marked:
    script: |
      if temperature > 30 { alarm = \"hot\"; site.floor = 1; }
  alarms:
    filter: alarm == \"hot\" || site.floor == 1 || statsu == 1
sinks:
  out:
    stdout: {}
tests:
  - name: cold
    given: { in: [{ temperature: 1 }] }
    expect: { alarms: [] }
";
    let directory = with(&[("p.yaml", pipeline.as_bytes())]);
    let said = text(&run(directory.path(), &["test", "p.yaml"]).stderr).to_owned();
    assert_eq!(said.matches("missing-field").count(), 1, "{said}");
    assert!(said.contains("reads `statsu`"), "{said}");
}

#[test]
fn a_signal_stops_a_live_run_and_closes_nothing() {
    let pipeline = "name: p\nsources:\n  in:\n    generate: { every: 1s, rate: 50, fields: { ts: { time: rfc3339 }, n: { sequence: {} } } }\n    time: { field: ts }\nsteps:\n  kept: { filter: n >= 0 }\n  w:\n    window: { tumbling: 1000d, aggregate: { n: count() } }\nsinks:\n  rows: { from: kept, stdout: {} }\n  windows: { from: w, file: { path: windows.ndjson } }\n";
    let directory = with(&[("p.yaml", pipeline.as_bytes())]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(["run", "p.yaml"]).current_dir(directory.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("standard output")).lines();
    let first = lines.next().expect("a row").expect("readable");
    assert!(first.contains("\"n\":"), "{first}");
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).expect("it is there");
    for line in lines {
        line.expect("whole rows to the end");
    }
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("stopped before its input ended"), "{}", text(&output.stderr));
    assert_eq!(read(directory.path(), "windows.ndjson"), "");
}

#[test]
fn every_example_pipeline_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for verb in ["check", "test"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        let output = command.args([verb, "pipelines"]).current_dir(root).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{verb}: {}", text(&output.stderr));
    }
}

#[test]
fn test_results_go_to_build_servers_and_programs() {
    let right = "name: right\nsources: { in: { stdin: {} } }\nsinks: { out: { stdout: {} } }\ntests:\n  - name: \"1 < 2\"\n    given: { in: [{ a: 1 }] }\n    expect: { out: [{ a: 1 }] }\n";
    let failing = right.replace("out: [{ a: 1 }]", "out: [{ a: '<2>' }]");
    let directory = with(&[("a.yaml", right.as_bytes()), ("b.yaml", failing.as_bytes()), ("c.yaml", b"sinks: 1\n")]);
    let output = run(directory.path(), &["test", "--format", "junit", "a.yaml", "b.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    let xml = text(&output.stdout);
    assert!(xml.starts_with("<?xml ") && xml.ends_with("</testsuites>\n"), "{xml}");
    assert!(xml.contains("<testsuites name=\"millstream\" tests=\"2\" failures=\"1\" errors=\"0\""), "{xml}");
    assert!(xml.contains("<testcase name=\"1 &lt; 2\" classname=\"right\" file=\"a.yaml\" line=\"5\""), "{xml}");
    assert!(xml.contains("\n- {&quot;a&quot;:&quot;&lt;2&gt;&quot;}\n"), "{xml}");
    assert!(text(&output.stderr).contains("1 passed, 1 failed"), "people see the same on standard error");
    let output = run(directory.path(), &["test", "--format", "json", "."]);
    assert_eq!(output.status.code(), Some(2), "a file that is wrong weighs more than a test that fails");
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&value["passed"], &value["failed"], &value["wrong"]), (&1.into(), &1.into(), &1.into()));
    let wrong = value["files"][2]["wrong"].as_str().unwrap_or_default();
    assert!(wrong.contains("c.yaml:1:8"), "{wrong}");
    let output = run(directory.path(), &["test", "--filter", "1 > 2", "a.yaml", "b.yaml"]);
    assert_eq!(output.status.code(), Some(2), "a test that nobody wrote does not pass");
    assert!(said(&output).contains("error: no test has `1 > 2` in its name"), "{}", said(&output));
}

#[test]
fn shells_take_the_completions() {
    let directory = with(&[]);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(directory.path(), &["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        assert!(script.contains("millstream") && script.contains("check"), "{shell}: {script}");
        if shell == "bash" {
            std::fs::write(directory.path().join("script"), &script).expect("written");
            let read = Command::new("bash").args(["-n", "script"]).current_dir(&directory).output().expect("it runs");
            assert!(read.status.success(), "{}", text(&read.stderr));
        }
    }
}

#[test]
fn a_new_pipeline_is_right_and_passes_its_tests() {
    let directory = with(&[]);
    let listed = text(&run(directory.path(), &["new"]).stdout);
    let names: Vec<&str> = listed.lines().filter_map(|l| l.strip_prefix("  ")?.split("  ").next()).collect();
    assert!(names.len() >= 4, "{listed}");
    for name in &names {
        let output = run(directory.path(), &["new", name]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stderr));
        let file = format!("{name}.yaml");
        assert!(text(&output.stdout).starts_with(&format!("wrote {file}: ")));
        for verb in [&["check", "--strict"][..], &["test"]] {
            let output = run(directory.path(), &[verb, &[file.as_str()]].concat());
            assert_eq!(output.status.code(), Some(0), "{verb:?} {name}: {}", text(&output.stderr));
        }
        let output = run(directory.path(), &["test", &file]);
        assert!(!text(&output.stderr).contains("0 passed"), "{name}");
    }
    // They run as they stand; those that read something need it.
    let sales = "time,shop,article,amount,price\n2026-01-05T09:12:00Z,north,tea,2,3.50\n";
    std::fs::write(directory.path().join("sales.csv"), sales).expect("written");
    let error = r#"{"time":"2026-01-05T09:12:00Z","level":"ERROR","service":"shop","message":"out of tea"}"#;
    std::fs::write(directory.path().join("app.log"), format!("{error}\n").repeat(3)).expect("written");
    for name in &names {
        let log = std::fs::File::open(directory.path().join("app.log")).expect("it is there");
        let mut command = command(directory.path(), &["run", "-q", &format!("{name}.yaml")]);
        let output = command.stdin(log).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{name} runs as it stands: {}", text(&output.stderr));
        let file = if *name == "batch-file" { read(directory.path(), "out/sales-by-day.csv") } else { String::new() };
        assert!(!output.stdout.is_empty() || file.contains("north"), "{name}");
    }
}

#[test]
fn a_new_pipeline_takes_no_other_files_place() {
    let directory = with(&[("mine.yaml", b"mine")]);
    let output = run(directory.path(), &["new", "sessions", "-o", "mine.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("`--force`"), "{}", text(&output.stderr));
    assert_eq!(read(directory.path(), "mine.yaml"), "mine");
    let output = run(directory.path(), &["new", "sessions", "-o", "mine.yaml", "--force"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(read(directory.path(), "mine.yaml").contains("millstream run mine.yaml"));
    let output = run(directory.path(), &["new", "sessions", "-o", "deep/er/it's.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(read(directory.path(), "deep/er/it's.yaml").contains("millstream run 'deep/er/it'\\''s.yaml'"));
    assert!(text(&run(directory.path(), &["new", "sessions", "-o", "-"]).stdout).contains("session: { gap: 10m }"));
    let output = run(directory.path(), &["new", "sesions"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("did you mean `sessions`?"), "{}", text(&output.stderr));
}

#[test]
fn a_misspelt_field_of_a_join_is_a_warning() {
    let pipeline = b"name: p
sources:
  orders: { file: { path: orders.ndjson }, time: { field: ts } }
  payments: { file: { path: payments.ndjson }, time: { field: ts } }
steps:
  paid:
    join:
      left: orders
      right: payments
      on: id
      within: 5m
      type: left
      select:
        id: orders.id
        amount: orders.amont
        by: payments.customer
        paid: payments.paid
sinks:
  out: { stdout: {} }
";
    let orders = b"{\"id\":1,\"ts\":1,\"amount\":5}\n{\"id\":2,\"ts\":2,\"amount\":5}\n";
    let payments = b"{\"id\":1,\"ts\":1,\"paid\":5}\n";
    let files: [(&str, &[u8]); 3] = [("p.yaml", pipeline), ("orders.ndjson", orders), ("payments.ndjson", payments)];
    let directory = with(&files);
    let output = run(directory.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    insta::assert_snapshot!("a_misspelt_field_of_a_join", said(&output));
    // Where a side never is, nothing is said of its fields.
    std::fs::write(directory.path().join("payments.ndjson"), "{\"id\":9,\"ts\":1}\n").expect("written");
    let without = said(&run(directory.path(), &["run", "p.yaml"]));
    assert!(without.contains("orders.amont") && !without.contains("payments."), "{without}");
}

#[test]
fn what_is_said_of_rows_at_the_end_leaves_out_those_that_somebody_reads() {
    let yaml = "sources:\n  in: { file: { path: in.ndjson }, time: { field: t, format: unix } }\nsteps:\n  m: { window: { tumbling: 1m, aggregate: { a: avg(v) } } }\nsinks:\n  out: { from: m, file: { path: out.ndjson } }\n  late: { from: m.late, file: { path: late.ndjson } }\n";
    let rows = "{\"t\":600,\"v\":1}\n{\"t\":1,\"v\":1}\n{\"t\":2,\"v\":1}\n{\"t\":601,\"v\":\"x\"}\n";
    let home = with_texts(&[("p.yaml", yaml), ("in.ndjson", rows)]);
    let said = said(&run(home.path(), &["run", "p.yaml"]));
    assert!(said.contains("`m`: 1 row could not be processed (read `m.errors` to keep them)\n"), "{said}");
    assert_eq!(read(home.path(), "late.ndjson").lines().count(), 2);
}
