//! `millstream doctor` finds what is wrong, and says how it is mended.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

#[path = "support/program.rs"]
mod program;

use program::{run, said, text, with_texts};

const PIPELINE: &str = "name: t
sources:
  rows:
    file: { path: in.ndjson }
sinks:
  out: { file: { path: out.ndjson } }
";

/// The findings: what, verdict, what it says.
fn findings(home: &Path, arguments: &[&str]) -> (Option<i32>, Vec<(String, String, String)>) {
    let output = run(home, &[&["doctor", "--format", "json"], arguments].concat());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
    let word = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let list = report["findings"].as_array().unwrap();
    for finding in list.iter().filter(|finding| finding["verdict"] != "ok") {
        assert!(finding["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{finding}");
    }
    let wrong = list.iter().filter(|finding| finding["verdict"] == "wrong").count() as u64;
    assert_eq!(report["wrong"].as_u64(), Some(wrong));
    assert_eq!(output.status.code(), Some(i32::from(wrong > 0)));
    let list = list.iter().map(|f| (word(f, "what"), word(f, "verdict"), word(f, "says"))).collect();
    (output.status.code(), list)
}

#[track_caller]
fn expect(found: &[(String, String, String)], what: &str, verdict: &str, says: &str) {
    let is = |f: &&(String, String, String)| f.0 == what && f.1 == verdict && f.2.contains(says);
    assert!(found.iter().any(|f| is(&f)), "no `{what}`, `{verdict}`, `{says}` in {found:#?}");
}

#[test]
fn a_machine_and_a_pipeline_that_are_in_order() {
    let home = with_texts(&[("t.yaml", PIPELINE), ("in.ndjson", "{\"n\":1}\n")]);
    let (code, found) = findings(home.path(), &["t.yaml"]);
    assert_eq!(code, Some(0), "{found:#?}");
    for what in ["program", "clock", "disk", "data", "file", "state"] {
        assert!(found.iter().any(|(other, ..)| other == what), "{found:#?}");
    }
    expect(&found, "state", "ok", "there is none yet");
    assert!(run(home.path(), &["run", "--quiet", "t.yaml"]).status.success());
    let (_, found) = findings(home.path(), &["t.yaml"]);
    expect(&found, "state", "ok", "is what was written");
    // What was tried is gone again.
    assert!(fs::read_dir(home.path().join(".millstream")).unwrap().all(|e| !e.unwrap().path().ends_with("doctor")));
    let shown = text(&run(home.path(), &["doctor", "."]).stdout);
    let well = ["all is in order", "nothing is wrong, "].iter().any(|end| shown.contains(end));
    assert!(shown.contains(" clock ") && well, "{shown}");
}

#[test]
fn each_thing_that_is_wrong_is_found() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let yaml = format!(
        "name: t\nsources:\n  posted: {{ http_server: {{ listen: \"{}\", path: /in }} }}\n  here: {{ http_server: {{ listen: \"127.0.0.1:0\", path: /x }} }}\n\
         sinks:\n  there: {{ from: posted, http: {{ url: \"http://{}/x?token=secret\" }} }}\n  nobody: {{ from: posted, webhook: {{ url: \"http://{gone}/hook/secret\" }} }}\n\
         \x20 no_tls: {{ from: here, http: {{ url: \"https://{}/x\" }} }}\n",
        taken.local_addr().unwrap(),
        taken.local_addr().unwrap(),
        silent.local_addr().unwrap(),
    );
    let broken = "name: b\nsources:\n  rows: { file: { path: in.ndjson } }\nsinks:\n  out: { http: { url: \"${NO_SUCH_VARIABLE}\" } }\n";
    let home = with_texts(&[
        ("t.yaml", yaml.as_str()),
        ("damaged.yaml", &PIPELINE.replace("name: t", "name: damaged")),
        ("broken.yaml", broken),
        ("in.ndjson", "{}\n"),
    ]);
    assert!(run(home.path(), &["run", "--quiet", "damaged.yaml"]).status.success());
    let state = home.path().join(".millstream/damaged.db");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(&state).unwrap();
    let from = bytes.len() / 3;
    bytes[from..].fill(7);
    fs::write(&state, bytes).unwrap();
    fs::set_permissions(home.path().join("damaged.yaml"), fs::Permissions::from_mode(0o666)).unwrap();

    let (code, found) = findings(home.path(), &["--timeout", "1s", "."]);
    assert_eq!(code, Some(1));
    expect(&found, "file", "wrong", "everybody on this machine may change it");
    expect(&found, "file", "wrong", "NO_SUCH_VARIABLE");
    expect(&found, "state", "warning", "everybody on this machine may read");
    assert!(found.iter().any(|f| f.0 == "state" && f.1 == "wrong"), "{found:#?}");
    expect(&found, "port", "wrong", "which is in use");
    expect(&found, "peer", "ok", "`there` reaches");
    expect(&found, "peer", "wrong", "cannot be reached");
    expect(&found, "peer", "wrong", "does not answer within 1 s");
    let (_, with_file) = findings(home.path(), &["--data", "in.ndjson/x"]);
    expect(&with_file, "data", "wrong", "is a file");
    assert!(!format!("{found:?}").contains("secret"), "{found:#?}");
    assert_eq!(run(home.path(), &["doctor", "nowhere.yaml", "--timeout", "x"]).status.code(), Some(2));
}
