//! Rows that wait for a sink that a pipeline no longer has.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;

use std::fs;
use std::path::Path;
use std::process::Child;

use nix::sys::signal::Signal;
use program::{command, run, said, stop, until, with_texts};
use receiver::Receiver;

fn start(home: &Path) -> Child {
    command(home, &["run", "--quiet", "t.yaml"]).spawn().unwrap()
}

/// Rows that the sink `out` holds.
fn held(home: &Path) -> u64 {
    let status = said(&run(home, &["status", "t.yaml", "--format", "json"]));
    let status: serde_json::Value = serde_json::from_str(&status).unwrap_or_default();
    fn sum(value: &serde_json::Value) -> u64 {
        match value {
            serde_json::Value::Object(map) => {
                map.iter().map(|(key, v)| if key == "held" { v.as_u64().unwrap_or(0) } else { sum(v) }).sum()
            }
            serde_json::Value::Array(list) => list.iter().map(sum).sum(),
            _ => 0,
        }
    }
    sum(&status)
}

/// Rows that wait for a sink are not lost because it was renamed: it is said, and refused until it is allowed.
#[test]
fn a_sink_that_is_gone_does_not_take_its_rows_with_it() {
    let mut to = Receiver::start();
    to.leave();
    let yaml = |name: &str| {
        format!(
            "name: t\ncheckpoint: {{ every: 20ms }}\nsources:\n  in: {{ file: {{ path: in.ndjson, follow: true, poll: 10ms }} }}\nsinks:\n  {name}:\n    http: {{ url: \"http://{}/in\", retry: {{ first: 5ms, most: 50ms }} }}\n",
            to.address
        )
    };
    let home = with_texts(&[
        ("t.yaml", &yaml("out")),
        ("in.ndjson", &(0..20).map(|n| format!("{{\"n\":{n}}}\n")).collect::<String>()),
    ]);
    let child = start(home.path());
    until("rows wait", || held(home.path()) == 20);
    stop(child, Signal::SIGTERM);
    for kind in ["other", "out"] {
        // Renamed; and one of the name that does not send.
        let changed = match kind {
            "other" => yaml("other"),
            _ => yaml("out").split("    http:").next().unwrap().to_owned() + "    file: { path: out.ndjson }\n",
        };
        fs::write(home.path().join("t.yaml"), changed).unwrap();
        let plan = run(home.path(), &["plan", "t.yaml"]);
        assert_eq!(plan.status.code(), Some(1));
        assert!(
            said(&plan).contains("out: no longer a sink that sends; it has 20 rows still to send"),
            "{}",
            said(&plan)
        );
        let refused = run(home.path(), &["run", "--quiet", "t.yaml"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains("`out` was a sink that has 20 rows still to send"), "{}", said(&refused));
    }
    // Put back, it sends them; and told so, it forgets them.
    fs::write(home.path().join("t.yaml"), yaml("other")).unwrap();
    let copy = tempfile::tempdir().unwrap();
    let copied =
        std::process::Command::new("cp").arg("-r").arg(home.path()).arg(copy.path().join("c")).status().unwrap();
    assert!(copied.success());
    let there = copy.path().join("c");
    let child = command(&there, &["run", "--quiet", "--reset-state", "out", "t.yaml"]).spawn().unwrap();
    let plan = || said(&run(&there, &["plan", "t.yaml"]));
    until("nothing is left of it", || !plan().contains("still to send"));
    stop(child, Signal::SIGTERM);
    fs::write(home.path().join("t.yaml"), yaml("out")).unwrap();
    to.listen();
    let child = start(home.path());
    until("all rows", || to.came().len() >= 20);
    stop(child, Signal::SIGTERM);
    let came: Vec<String> = to.came().iter().map(receiver::Came::text).collect();
    assert_eq!(came, (0..20).map(|n| format!("{{\"n\":{n}}}")).collect::<Vec<_>>());
}
