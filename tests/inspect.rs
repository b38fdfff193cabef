//! `infer` and `suggest time`: the real binary on data of all sorts, and what it proposes held against `check`.

#![allow(clippy::expect_used, reason = "a test that cannot go on should say why")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[path = "support/program.rs"]
mod program;

use tempfile::TempDir;

use program::with_texts;

fn run(directory: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(arguments).current_dir(directory).env("NO_COLOR", "1");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

/// What a command prints: standard output, standard error and the exit code where it is not 0.
fn said(directory: &TempDir, arguments: &[&str], input: &str) -> String {
    let output = run(directory.path(), arguments, input);
    let code = match output.status.code() {
        Some(0) => String::new(),
        code => format!("exit {}\n", code.unwrap_or(-1)),
    };
    format!("{}── {}{code}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const EVENTS: &str = r#"{"@timestamp":"2026-01-01T00:00:00Z","id":1,"value":20,"tags":[],"site":{"floor":1,"on":true},"match":"a"}
{"@timestamp":"2026-01-01T00:00:01Z","id":2,"value":20.5,"tags":["x"],"site":null,"match":null}
{"@timestamp":"2026-01-01T00:00:0
{"@timestamp":"2026-01-01T00:00:03Z","id":3,"value":21,"tags":[],"site":{"floor":2,"on":false},"a b":1}
7
"#;

const PARKING: &str = "day;hour;lot;free
2026-03-01;7;north;120
2026-03-01;8;north;80
2026-03-01;8;south;15
2026-03-01;9;north;
2026-03-02;7;south;x
";

#[test]
fn infer_writes_what_check_takes() {
    let files = with_texts(&[("events.ndjson", EVENTS), ("parking.csv", PARKING)]);
    insta::assert_snapshot!("infer-json", said(&files, &["infer", "events.ndjson"], ""));
    insta::assert_snapshot!("infer-csv", said(&files, &["infer", "parking.csv", "--delimiter", ";"], ""));
    let log = "level=info at=2026-01-01T00:00:00Z took=1.5\nlevel=warn at=2026-01-01T00:00:02Z took=2 user=ada\n";
    insta::assert_snapshot!("infer-logfmt", said(&files, &["infer", "-", "--format", "logfmt"], log));
    insta::assert_snapshot!("infer-no-json", said(&files, &["infer", "-"], log));
    insta::assert_snapshot!("infer-first", said(&files, &["infer", "-", "--sample", "1", "--as", "json"], EVENTS));
    for (arguments, source) in [
        (vec!["infer", "events.ndjson"], "stdin: {}"),
        (vec!["infer", "parking.csv", "--delimiter", ";"], "stdin: {}\n    format: { csv: { delimiter: \";\" } }"),
    ] {
        let schema = String::from_utf8(run(files.path(), &arguments, "").stdout).expect("text");
        let schema: String = schema.lines().map(|line| format!("    {line}\n")).collect();
        let pipeline = format!("sources:\n  in:\n    {source}\n{schema}sinks:\n  out:\n    stdout: {{}}\n");
        std::fs::write(files.path().join("p.yaml"), &pipeline).expect("written");
        let check = run(files.path(), &["check", "--strict", "p.yaml"], "");
        assert!(check.status.success(), "{pipeline}{}", String::from_utf8_lossy(&check.stderr));
    }
}

#[test]
fn packed_files_are_unpacked() {
    let files = with_texts(&[("parking.csv", PARKING)]);
    let plain = run(files.path(), &["infer", "parking.csv", "--delimiter", ";"], "").stdout;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(PARKING.replace(';', ",").as_bytes()).expect("packed");
    let gzip = gzip.finish().expect("packed");
    std::fs::write(files.path().join("parking.csv.gz"), &gzip).expect("written");
    assert_eq!(run(files.path(), &["infer", "parking.csv.gz"], "").stdout, plain);
    std::fs::write(files.path().join("parking.csv.gz"), &gzip[..gzip.len() - 9]).expect("written");
    let cut = said(&files, &["infer", "parking.csv.gz"], "");
    assert!(cut.contains("`parking.csv.gz` ends in the middle of its gzip data") && cut.contains("exit 1"), "{cut}");
}

#[test]
fn infer_says_why_there_is_nothing() {
    let files = with_texts(&[("empty.ndjson", ""), ("numbers.ndjson", "1\n2\n")]);
    insta::assert_snapshot!(
        "infer-nothing",
        [
            said(&files, &["infer", "empty.ndjson"], ""),
            said(&files, &["infer", "numbers.ndjson"], ""),
            said(&files, &["infer", "missing.ndjson"], ""),
            said(&files, &["infer", "."], ""),
            said(&files, &["infer", "empty.ndjson", "--sample", "0"], ""),
        ]
        .concat()
    );
}

#[test]
fn infer_says_what_differs_and_how_fields_are_parted() {
    let mixed: String = (1..=3000)
        .map(|i| if i % 500 == 12 { "{\"v\":\"ERR\"}\n".to_owned() } else { format!("{{\"v\":{i}}}\n") })
        .collect();
    let files = with_texts(&[("parking.csv", PARKING), ("tabs.csv", "a\tb\n1\t2\n"), ("mixed.ndjson", &mixed)]);
    insta::assert_snapshot!("infer-mixed", said(&files, &["infer", "mixed.ndjson"], ""));
    insta::assert_snapshot!("infer-semicolons", said(&files, &["infer", "parking.csv"], ""));
    insta::assert_snapshot!("infer-tabs", said(&files, &["infer", "tabs.csv"], ""));
}

/// Events every ten seconds; each fifth comes seven seconds late, and one a minute.
fn shuffled(time: impl Fn(i64) -> String) -> String {
    (0..100i64)
        .map(|i| {
            let late = if i == 50 {
                60
            } else if i % 5 == 4 {
                17
            } else {
                0
            };
            format!("{{{},\"n\":{i}}}\n", time(1_767_225_600 + i * 10 - late))
        })
        .collect()
}

#[test]
fn suggest_time_measures_how_far_events_are_out_of_order() {
    let files = with_texts(&[("parking.csv", PARKING)]);
    let stamped = shuffled(|s| format!("\"meta\":{{\"ts\":{}}},\"first_seen\":\"2026-01-01T00:00:00Z\"", s * 1000));
    insta::assert_snapshot!("suggest-shuffled", said(&files, &["suggest", "time", "-"], &stamped));
    insta::assert_snapshot!("suggest-json", said(&files, &["suggest", "time", "-", "--as", "json"], &stamped));
    insta::assert_snapshot!("suggest-one", said(&files, &["suggest", "time", "-", "--field", "first_seen"], &stamped));
    insta::assert_snapshot!(
        "suggest-two-fields",
        said(&files, &["suggest", "time", "parking.csv", "--delimiter", ";"], "")
    );
    insta::assert_snapshot!("suggest-nothing", said(&files, &["suggest", "time", "-"], "{\"a\":1}\n{\"a\":\"x\"}\n"));
    insta::assert_snapshot!("suggest-no-field", said(&files, &["suggest", "time", "-", "--field", "n"], &stamped));
}

#[test]
fn suggest_time_does_not_give_up_over_single_values() {
    let files = with_texts(&[]);
    let texts: String = (0..51)
        .map(|i| match i {
            6 => "{\"time\":\"not a time\"}\n".to_owned(),
            _ => format!("{{\"time\":\"2026-01-01T00:00:{i:02}Z\"}}\n"),
        })
        .collect();
    insta::assert_snapshot!("suggest-one-text", said(&files, &["suggest", "time", "-"], &texts));
    // The line that is no JSON counts as a row.
    let zero: String = (0..3000)
        .map(|i| match i {
            0 => "{\"ts\":\n".to_owned(),
            700 => "{\"ts\":0}\n".to_owned(),
            _ => format!("{{\"ts\":{}}}\n", 1_767_225_600 + i),
        })
        .collect();
    insta::assert_snapshot!("suggest-one-zero", said(&files, &["suggest", "time", "-"], &zero));
    insta::assert_snapshot!("suggest-one-zero-json", said(&files, &["suggest", "time", "-", "--as", "json"], &zero));
    let half = "{\"at\":\"2026-01-01\"}\n{\"at\":\"soon\"}\n{\"at\":null}\n";
    insta::assert_snapshot!("suggest-half", said(&files, &["suggest", "time", "-"], half));
    insta::assert_snapshot!("suggest-half-field", said(&files, &["suggest", "time", "-", "--field", "at"], half));
    insta::assert_snapshot!("suggest-absent", said(&files, &["suggest", "time", "-", "--field", "when"], half));
}

#[test]
fn suggest_time_knows_common_spellings() {
    let files = with_texts(&[]);
    let mut all = String::new();
    for spelled in [
        "\"10/Oct/2026:13:55:36 -0700\"",
        "\"Sat, 10 Oct 2026 13:55:36 +0000\"",
        "\"2026/10/10 13:55:36\"",
        "\"10.10.2026 13:55\"",
        "\"10/09/2026 13:55:36\"",
        "\"20261010135536\"",
        "1791640536",
        "1791640536.25",
        "\"1791640536\"",
        "1791640536123456",
        "1791640536123456789",
        "\"2026-10-10 13:55:36,123\"",
        "\"2026-10-10\"",
    ] {
        let output = run(files.path(), &["suggest", "time", "-"], &format!("{{\"at\":{spelled}}}\n"));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let kept = text.lines().filter(|l| l.starts_with("# at:") || l.starts_with("# from ") || l.contains("format:"));
        all += &format!("{spelled}\n{}", kept.map(|l| format!("    {l}\n")).collect::<String>());
    }
    insta::assert_snapshot!("suggest-spellings", all);
}

#[test]
fn what_is_proposed_lets_no_event_be_late() {
    let files = with_texts(&[]);
    let stamped = shuffled(|s| format!("\"ts\":{s}"));
    let time = String::from_utf8(run(files.path(), &["suggest", "time", "-"], &stamped).stdout).expect("text");
    let time: String = time.lines().map(|line| format!("    {line}\n")).collect();
    let pipeline = format!(
        "sources:\n  in:\n    stdin: {{}}\n{time}steps:\n  w:\n    window:\n      tumbling: 1s\n      aggregate:\n        n: count()\nsinks:\n  out:\n    stdout: {{ as: json }}\n  late:\n    from: w.late\n    file: {{ path: late.ndjson }}\n"
    );
    std::fs::write(files.path().join("p.yaml"), &pipeline).expect("written");
    let output = run(files.path(), &["run", "-q", "p.yaml"], &stamped);
    assert!(output.status.success(), "{pipeline}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_to_string(files.path().join("late.ndjson")).unwrap_or_default(), "");
    assert!(String::from_utf8_lossy(&output.stdout).lines().count() > 80);
}
