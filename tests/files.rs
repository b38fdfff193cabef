//! What the sinks leave behind when the real binary runs: files by size and by time, packed files that can be read while
//! they grow, rows whose paths lead elsewhere, and a reader that goes away.

#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

#[path = "support/program.rs"]
mod program;

use program::{command, run, with_texts};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Every file of a directory with its text.
fn files(directory: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<_> = entries
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&p).unwrap()))
        .collect();
    all.sort();
    all
}

fn named(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

const IN: &str = "name: p\nsources:\n  in:\n    file: { path: in.ndjson }\n    time: { field: ts, out_of_order: 1h }\n";

#[test]
fn rows_go_to_the_file_of_their_hour() {
    let rows = "{\"ts\":\"2026-01-01T10:59:59Z\"}\n{\"ts\":\"2026-01-01T11:00:00Z\"}\n{\"ts\":\"2026-01-01T10:00:00Z\"}\n{\"ts\":\"soon\"}\n";
    let sinks = "steps:\n  w:\n    window: { tumbling: 30m, aggregate: { n: count() } }\nsinks:\n  rows:\n    from: in\n    file: { path: rows/r.ndjson, rotate: { every: 1h } }\n  windows:\n    from: w\n    file: { path: windows/w.csv, rotate: { every: 1d } }\n    format: { csv: { columns: [window_end, n] } }\n  wrong:\n    from: in.errors\n    file: { path: wrong/x.ndjson, rotate: { every: 1d } }\n";
    let home = with_texts(&[("p.yaml", &format!("{IN}{sinks}")), ("in.ndjson", rows)]);
    let output = run(home.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let at = |name: &str| home.path().join(name);
    assert_eq!(
        files(&at("rows")),
        named(&[
            ("r-20260101T100000Z.ndjson", "{\"ts\":\"2026-01-01T10:59:59Z\"}\n{\"ts\":\"2026-01-01T10:00:00Z\"}\n"),
            ("r-20260101T110000Z.ndjson", "{\"ts\":\"2026-01-01T11:00:00Z\"}\n"),
        ])
    );
    let windows = "window_end,n\n2026-01-01T10:30:00Z,1\n2026-01-01T11:00:00Z,1\n2026-01-01T11:30:00Z,1\n";
    assert_eq!(files(&at("windows")), named(&[("w-20260101T000000Z.csv", windows)]));
    // A row whose time cannot be read has no period.
    assert!(!at("wrong").exists());
    assert!(said(&output).contains("the row has no event time, which this sink goes by"), "{}", said(&output));
}

#[test]
fn a_row_that_leads_out_of_its_directory_is_a_dead_letter() {
    let sinks = "sinks:\n  out: { file: { path: 'by/{{ id }}.ndjson' } }\n";
    let rows = "{\"ts\":1,\"id\":\"a\"}\n{\"ts\":1,\"id\":\"../../escape\"}\n{\"ts\":1,\"id\":\"/etc/x\"}\n{\"ts\":1}\n{\"ts\":1,\"id\":\"a\"}\n";
    let home = with_texts(&[("p.yaml", &format!("{IN}{sinks}")), ("in.ndjson", rows)]);
    let output = run(home.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(
        files(&home.path().join("by")),
        named(&[("a.ndjson", "{\"ts\":1,\"id\":\"a\"}\n{\"ts\":1,\"id\":\"a\"}\n")])
    );
    let said = said(&output);
    assert!(said.contains("`out`: 3 rows could not be written"), "{said}");
    assert!(said.contains("the row's path `by/../../escape.ndjson` leads out of its directory"), "{said}");
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_run_quietly() {
    let yaml = "name: p\nsources:\n  in: { generate: { fields: { n: { sequence: {} } } } }\nsinks:\n  out: { stdout: { as: json } }\n  all: { from: in, file: { path: all.ndjson } }\n";
    let home = with_texts(&[("p.yaml", yaml)]);
    let mut child =
        command(home.path(), &["run", "p.yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "{\"n\":0}");
    drop(lines);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), said(&output)), (Some(141), String::new()));
    // What was read went to the other sink, whole.
    let all = fs::read_to_string(home.path().join("all.ndjson")).unwrap();
    assert!(all.ends_with('\n'));
    assert!(all.lines().enumerate().all(|(n, line)| line == format!("{{\"n\":{n}}}")));
}

#[test]
fn packed_files_can_be_read_while_they_grow() {
    let yaml = "name: p\nsources:\n  in: { generate: { every: 1ms, rate: 2000, fields: { n: { sequence: {} } } } }\nsinks:\n  a: { from: in, file: { path: a.gz, compression: gzip } }\n  b: { from: in, file: { path: b.zst, compression: zstd, visible: at_once } }\n";
    let home = with_texts(&[("p.yaml", yaml)]);
    let mut child = command(home.path(), &["run", "-q", "p.yaml"]).spawn().unwrap();
    let read = |name: &str| -> Option<String> {
        let packed = fs::read(home.path().join(name)).ok()?;
        let mut text = String::new();
        if name.ends_with("gz") {
            flate2::read::MultiGzDecoder::new(packed.as_slice()).read_to_string(&mut text).ok()?;
        } else {
            zstd::stream::read::Decoder::new(packed.as_slice()).ok()?.read_to_string(&mut text).ok()?;
        }
        Some(text)
    };
    let in_order = |text: &str| text.lines().enumerate().all(|(n, line)| line == format!("{{\"n\":{n}}}"));
    for name in ["a.gz", "b.zst"] {
        let mut sizes = Vec::new();
        let begun = Instant::now();
        while sizes.len() < 3 {
            assert!(begun.elapsed() < Duration::from_secs(120), "{name}: {sizes:?}");
            // While a piece is being written its last member may not be whole.
            if let Some(text) = read(name).filter(|text| text.len() > sizes.last().copied().unwrap_or(0)) {
                assert!(in_order(&text));
                sizes.push(text.len());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let (a, b) = (read("a.gz").unwrap(), read("b.zst").unwrap());
    assert!(in_order(&a) && a == b && !a.is_empty(), "stopped, both hold all that was read");
}

#[test]
fn packed_files_go_in() {
    let yaml = "name: p\nsources:\n  in: { file: { path: 'in.*' } }\nsinks:\n  out: { stdout: { as: json } }\n";
    let home = with_texts(&[("p.yaml", yaml)]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, b"{\"n\":1}\n{\"n\":").unwrap();
    let mut first = gzip.finish().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, b"2}\n").unwrap();
    first.extend(gzip.finish().unwrap());
    fs::write(home.path().join("in.a"), &first).unwrap();
    fs::write(home.path().join("in.b"), zstd::encode_all(&b"{\"n\":3}\n"[..], 1).unwrap()).unwrap();
    let output = run(home.path(), &["run", "p.yaml"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    fs::write(home.path().join("in.a"), &first[..first.len() - 4]).unwrap();
    let output = run(home.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    assert!(
        said(&output).contains("warning: `in.a` ends in the middle of its gzip data, after byte "),
        "{}",
        said(&output)
    );
}

#[test]
fn rows_leave_in_every_format_and_come_back() {
    let rows = "{\"n\":1,\"tank\":{\"id\":\"a b\"},\"level\":20.5}\n{\"n\":18446744073709551615,\"level\":null}\n";
    let there = "name: p\nsources:\n  in:\n    file: { path: in.ndjson }\nsinks:\n  packed:\n    from: in\n    file: { path: rows.msgpack.gz, compression: gzip }\n    format: msgpack\n  pairs:\n    from: in\n    file: { path: rows.logfmt }\n    format: logfmt\n  lines:\n    from: in\n    file: { path: rows.txt }\n    format: { text: \"{{ n }}: {{ tank.id }}\" }\n";
    let home = with_texts(&[("p.yaml", there), ("in.ndjson", rows)]);
    let output = run(home.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
    assert_eq!(read("rows.txt"), "1: a b\n");
    assert!(said(&output).contains("the row has no `tank`"), "{}", said(&output));
    assert_eq!(read("rows.logfmt"), "n=1 tank.id=\"a b\" level=20.5\nn=18446744073709551615 level=\n");
    let back = "name: p\nsources:\n  in:\n    file: { path: rows.msgpack.gz }\n    format: msgpack\nsinks:\n  out:\n    file: { path: back.ndjson }\n";
    fs::write(home.path().join("p.yaml"), back).unwrap();
    let output = run(home.path(), &["run", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(read("back.ndjson"), rows);
}

#[test]
fn rows_that_a_sink_cannot_write_are_read_from_its_errors() {
    let pipeline = "
name: p
sources:
  in:
    file: { path: in.ndjson }
    time: { field: ts }
sinks:
  out:
    from: in
    file: { path: 'out/{{ device }}.ndjson' }
  wrong:
    from: out.errors
    file: { path: 'wrong/{{ place_name }}.ndjson' }
  again:
    from: wrong.errors
    file: { path: again.ndjson }
  all:
    from: [in, in.errors]
    file: { path: all.ndjson }
tests:
  - name: rows without a device
    given:
      in: [{ ts: 1, device: a }, { ts: 2 }, { ts: 3, device: ../b }]
    expect:
      out.errors: [{ entry: out, reason: the row has no `device` }, { entry: out }]
      wrong.errors: { count: 2 }
";
    let rows = "{\"ts\":1,\"device\":\"a\"}\n{\"ts\":2}\n{\"ts\":3,\"device\":\"../b\"}\n{\"ts\":4,\"device\":\"a\"}\n";
    let home = with_texts(&[("p.yaml", pipeline), ("in.ndjson", rows)]);
    for workers in ["1", "3"] {
        let output = command(home.path(), &["run", "p.yaml", "--workers", workers]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let read = |name: &str| fs::read_to_string(home.path().join(name)).unwrap();
        assert_eq!(read("out/a.ndjson"), "{\"ts\":1,\"device\":\"a\"}\n{\"ts\":4,\"device\":\"a\"}\n");
        assert_eq!(read("all.ndjson").lines().count(), 4);
        let again: Vec<serde_json::Value> =
            read("again.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(again.len(), 2);
        let original: serde_json::Value = serde_json::from_str(again[0]["original"].as_str().unwrap()).unwrap();
        assert_eq!(original["reason"], "the row has no `device`");
        assert_eq!(original["original"], "{\"ts\":2}");
        assert_eq!(again[1]["entry"], "wrong");
    }
    let tested = command(home.path(), &["test", "p.yaml"]).output().unwrap();
    assert_eq!(tested.status.code(), Some(0), "{}", String::from_utf8_lossy(&tested.stdout));
}
