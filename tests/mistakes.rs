//! Every mistake an author can make, one small file each, with what `millstream check` says of it.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

fn check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("check").args(arguments).current_dir("tests/mistakes").env_remove("MISSING").env_remove("ALSO");
    command.output().unwrap()
}

fn settings() -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("mistakes/said");
    settings.set_omit_expression(true);
    settings
}

#[test]
fn every_mistake_is_explained() {
    let directory = Path::new("tests/mistakes");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    assert!(files.len() > 50, "the mistakes are gone");
    let mut unnoticed = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let said = check(&[name]);
        let text = String::from_utf8(said.stderr).unwrap();
        let warned = text.starts_with("warning") && !text.contains("error");
        assert_eq!(said.status.code(), Some(if warned { 0 } else { 2 }), "{name}: {text}");
        if text.is_empty() || !said.stdout.is_empty() {
            unnoticed.push(name.to_owned());
        }
        settings().bind(|| insta::assert_snapshot!(name.trim_end_matches(".yaml"), text));
    }
    assert_eq!(unnoticed, Vec::<String>::new(), "nothing was said of these");
}

#[test]
fn programs_read_what_was_found() {
    let said = |arguments: &[&str]| {
        let output = check(arguments);
        assert!(output.stderr.is_empty());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = said(&["--format", "json", "cycle.yaml", "rows_come_twice.yaml"]);
    assert_eq!(code, Some(2));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["errors"], &report["warnings"]), (&1.into(), &1.into()));
    assert_eq!(report["diagnostics"][0]["place"]["file"], "cycle.yaml");
    let (code, text) = said(&["--format", "github", "no_shape.yaml"]);
    assert_eq!(code, Some(2));
    assert!(text.starts_with("::error file=no_shape.yaml,line=6,col=5,"), "{text}");
}

#[test]
fn warnings_fail_only_where_asked() {
    assert_eq!(check(&["rows_come_twice.yaml"]).status.code(), Some(0));
    assert_eq!(check(&["--strict", "rows_come_twice.yaml"]).status.code(), Some(2));
    assert_eq!(check(&["no_such_file.yaml"]).status.code(), Some(2));
}
