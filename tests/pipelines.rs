//! Every pipeline under `pipelines` is right, runs to its end and gives what it is there to show; and how two of them
//! look in words and as a drawing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A copy of the pipelines and their data, so that what they write stays out of the repository.
fn copy() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    fs::create_dir(home.path().join("data")).unwrap();
    for directory in ["", "data"] {
        for entry in fs::read_dir(from.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::copy(&path, home.path().join(directory).join(path.file_name().unwrap())).unwrap();
            }
        }
    }
    home
}

fn pipelines(home: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(home).unwrap().map(|e| e.unwrap().path());
    let mut files: Vec<_> = files.filter(|p| p.extension().is_some_and(|e| e == "yaml")).collect();
    files.sort();
    files
}

/// Runs the program in a directory; its standard output.
fn millstream(home: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    let output = command.current_dir(home).args(arguments).env("NO_COLOR", "1").output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} ended with {}:\n{errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Every file below a directory with its text, by name.
fn written(directory: &Path) -> String {
    let mut all = String::new();
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            all += &written(&path);
        } else if path.extension().is_none_or(|ending| ending != "db") {
            // A database is not the same byte for byte.
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            all += &format!("── {name}\n{}", fs::read_to_string(&path).unwrap());
        }
    }
    all
}

#[test]
fn every_pipeline_is_right() {
    let home = copy();
    let files = pipelines(home.path());
    assert!(files.len() >= 5);
    for file in files {
        millstream(home.path(), &["check", "--strict", file.to_str().unwrap()]);
    }
}

#[test]
fn the_tests_that_every_pipeline_holds_pass() {
    let home = copy();
    for file in pipelines(home.path()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\ntests:\n"), "{} has no tests", file.display());
    }
    millstream(home.path(), &["test", "."]);
}

#[test]
fn every_pipeline_gives_the_same_with_one_worker_and_with_three() {
    let mut seen: Vec<String> = Vec::new();
    for workers in ["1", "3"] {
        let home = copy();
        let mut all = String::new();
        // One that takes what others send has no end, and one that sends wants somebody to take it: tests of their own
        // (`tests/http.rs`, `tests/http_client.rs`, `tests/http_sink.rs`, `tests/receivers.rs`) are on the other side. One that is
        // told how the others go has nobody to tell it (`tests/serve_api.rs`).
        let alone = |file: &PathBuf| {
            let text = fs::read_to_string(file).unwrap();
            !["http_server:", "http_client:", "http:", "millstream:", "mqtt:", "websocket:", "\n    webhook:"]
                .iter()
                .any(|kind| text.contains(kind))
        };
        for file in pipelines(home.path()).into_iter().filter(alone) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            all += &format!("══ {name}\n{}", millstream(home.path(), &["run", "--quiet", "--workers", workers, &name]));
        }
        all += &written(&home.path().join("out"));
        seen.push(all);
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn every_pipeline_stands_in_the_list_of_ideas() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let list = fs::read_to_string(home.join("README.md")).unwrap();
    for file in pipelines(&home) {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(list.contains(&format!("]({name})")), "say in pipelines/README.md what {name} shows");
    }
    for name in list.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(home.join(name).is_file(), "pipelines/README.md names {name}, which is not there");
    }
}

#[test]
fn what_they_show() {
    let home = copy();
    let shown = [
        "disorder",
        "energy",
        "event-time",
        "first",
        "hourly",
        "households",
        "keyed-state",
        "late",
        "orders",
        "parts",
        "rooms",
        "sliding",
        "tumbling",
    ];
    for name in shown {
        insta::assert_snapshot!(name, millstream(home.path(), &["run", "--quiet", &format!("{name}.yaml")]));
    }
    let missed = fs::read_to_string(home.path().join("out/missed-cars.ndjson")).unwrap();
    insta::assert_snapshot!("missed-cars", missed);
    let wrong = fs::read_to_string(home.path().join("out/orders-wrong.ndjson")).unwrap();
    insta::assert_snapshot!("orders-wrong", wrong);
}

#[test]
fn what_joins_and_those_that_hold_back_show() {
    let home = copy();
    for name in ["payments", "repeats", "calm"] {
        insta::assert_snapshot!(name, millstream(home.path(), &["run", "--quiet", &format!("{name}.yaml")]));
        let explained = millstream(home.path(), &["explain", &format!("{name}.yaml")]);
        insta::assert_snapshot!(format!("explain-{name}"), explained);
    }
    insta::assert_snapshot!("payments-drawn", millstream(home.path(), &["graph", "--format", "dot", "payments.yaml"]));
}

#[test]
fn plans_in_words_and_as_drawings() {
    let home = copy();
    for name in ["orders", "late", "rooms", "hourly", "parts", "households"] {
        insta::assert_snapshot!(
            format!("explain-{name}"),
            millstream(home.path(), &["explain", &format!("{name}.yaml")])
        );
    }
    let drawn = millstream(home.path(), &["graph", "--format", "svg", "orders.yaml"]);
    let kept = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/orders.svg")).unwrap();
    let command = "cargo run -q -- graph --format svg pipelines/orders.yaml -o pipelines/orders.svg";
    assert!(drawn == kept, "pipelines/orders.svg is stale: draw it anew with `{command}`");
    for format in ["terminal", "mermaid", "dot"] {
        let drawn = millstream(home.path(), &["graph", "--format", format, "orders.yaml"]);
        insta::assert_snapshot!(format!("graph-{format}"), drawn);
    }
    for format in ["terminal", "mermaid", "dot"] {
        let drawn = millstream(home.path(), &["graph", "--fields", "--format", format, "late.yaml"]);
        insta::assert_snapshot!(format!("graph-fields-{format}"), drawn);
    }
}
