//! What a machine does to `serve`: a disk that is full for one pipeline, a clock that is set, too few files. The process goes
//! on, and so do the pipelines that can.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use self::daemon::Daemon;
use self::program::{read, said, until, with_texts};

/// Numbers, each on a line, as fast as they go or at a rate.
fn numbers(rate: Option<u32>, count: Option<u32>, out: &str) -> String {
    let rate = rate.map_or_else(String::new, |rate| format!("rate: {rate}, "));
    let count = count.map_or_else(String::new, |count| format!("count: {count}, "));
    format!(
        "sources:\n  gen: {{ generate: {{ {rate}{count}fields: {{ n: {{ sequence: {{}} }} }} }} }}\nsinks:\n  out: {{ file: {{ path: {out}, mode: append }} }}\ncheckpoint: {{ every: 50ms }}\n"
    )
}

/// Asserts that a file has the numbers from 0 on, each once.
fn counts(text: &str) -> usize {
    for (line, n) in text.lines().zip(0u64..) {
        assert_eq!(line, format!("{{\"n\":{n}}}"));
    }
    text.lines().count()
}

#[test]
fn a_full_disk_stops_the_pipeline_that_needs_it_and_room_lets_it_go_on() {
    let home = with_texts(&[
        ("fills.yaml", &numbers(None, Some(100_000), "disk/fills.ndjson")),
        ("other.yaml", &numbers(Some(500), None, "other.ndjson")),
        ("disk/x", ""),
    ]);
    let script = format!(
        "set -eu
         ctl() {{ {MILLSTREAM} ctl --url \"$url\" \"$@\"; }}
         mount -t tmpfs -o size=600k none disk
         {MILLSTREAM} serve --pipelines . --data data --listen 127.0.0.1:0 2> log & daemon=$!
         trap 'kill -9 $daemon 2> /dev/null || true' EXIT
         until grep -q 'millstream serves' log; do sleep 0.05; done
         url=$(sed -n 's/^millstream serves .* at //p' log)
         until ctl list | grep -q '^fills .*waiting.*full'; do sleep 0.05; done
         ctl list | grep '^other .*running'
         mount -o remount,size=50m disk
         until ctl list | grep -q '^fills .*complete'; do sleep 0.05; done
         ctl list | grep '^other .*running'
         kill $daemon
         wait $daemon
         cp disk/fills.ndjson fills.ndjson
         echo ended well",
        MILLSTREAM = env!("CARGO_BIN_EXE_millstream"),
    );
    // Whoever is not root becomes it in a world of its own.
    let may = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status().unwrap().success();
    let flags = if may { "-m" } else { "-rm" };
    let mut command = Command::new("timeout");
    let output =
        command.args(["120", "unshare", flags, "sh", "-c", &script]).current_dir(home.path()).output().unwrap();
    let log = read(home.path(), "log");
    assert!(output.status.success() && said(&output).contains("ended well"), "{}\n{log}", said(&output));
    assert_eq!(counts(&read(home.path(), "fills.ndjson")), 100_000);
    assert!(counts(&read(home.path(), "other.ndjson")) > 0);
}

#[test]
fn with_too_few_files_some_pipelines_wait_and_the_process_answers() {
    const MANY: usize = 60;
    const FEW: usize = 6;
    let home = with_texts(&[]);
    for n in 0..MANY {
        fs::write(home.path().join(format!("p{n}.yaml")), numbers(Some(10), None, &format!("p{n}.ndjson"))).unwrap();
    }
    let daemon = Daemon::start_limited(home.path(), "ulimit -n 150");
    let phases = |daemon: &Daemon| -> Vec<(String, String)> {
        let all = daemon.get("/api/v1/pipelines");
        let text = |of: &serde_json::Value| of.as_str().unwrap_or_default().to_owned();
        all.as_array().unwrap().iter().map(|p| (text(&p["phase"]), text(&p["why"]))).collect()
    };
    let count = |phases: &[(String, String)], phase: &str| phases.iter().filter(|(p, _)| p == phase).count();
    let seen = daemon.until("some that wait", |daemon| {
        let seen = phases(daemon);
        (count(&seen, "waiting") > 0 && count(&seen, "running") > 0).then_some(seen)
    });
    // SQLite says no more than that it cannot.
    let says = |why: &str| why.contains("open files") || why.contains("unable to open database file");
    assert!(seen.iter().any(|(_, why)| says(why)), "{seen:?}");
    // When some are gone there is room for the others.
    for n in FEW..MANY {
        fs::remove_file(home.path().join(format!("p{n}.yaml"))).unwrap();
    }
    daemon.until("that they are gone", |daemon| (phases(daemon).len() == FEW).then_some(()));
    // Who mends something does not wait until they are tried again.
    for n in 0..FEW {
        let start = format!("/api/v1/pipelines/p{n}/start");
        // What they had open may take a moment to be closed.
        daemon.until("that it may be started", |daemon| (daemon.ask("POST", &start, &[], "").0 == 200).then_some(()));
    }
    daemon.until("those that are left", |daemon| {
        let seen = phases(daemon);
        (count(&seen, "running") == FEW).then_some(())
    });
    (0..FEW).for_each(|n| until("rows", || counts(&read(home.path(), &format!("p{n}.ndjson"))) > 5));
    assert_eq!(daemon.stop(), Some(0));
}

/// The library that gives a program another clock.
fn faketime() -> PathBuf {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let mut libraries = places.iter().map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"));
    libraries
        .find(|library| library.exists())
        .unwrap_or_else(|| panic!("libfaketime is missing; tests/run.sh installs it"))
}

#[test]
fn a_clock_that_is_set_disturbs_nothing() {
    let home = with_texts(&[("p.yaml", &numbers(Some(200), None, "p.ndjson"))]);
    let set = |at: &str| {
        fs::write(home.path().join("clock.new"), at).unwrap();
        fs::rename(home.path().join("clock.new"), home.path().join("clock")).unwrap();
    };
    set("2026-06-01 12:00:00");
    let (library, clock) = (faketime(), home.path().join("clock"));
    let env = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        // Only what people call the time; how long things take goes on.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let daemon = Daemon::start_with(home.path(), &[], &env);
    daemon.until_phase("p", "running");
    for at in ["2026-06-03 12:00:00", "2026-05-01 00:00:00", "2026-06-01 12:00:00"] {
        set(at);
        let before = counts(&read(home.path(), "p.ndjson"));
        until("more rows", || counts(&read(home.path(), "p.ndjson")) > before + 50);
        daemon.until("that it is ready", |daemon| (daemon.ask("GET", "/readyz", &[], "").0 == 200).then_some(()));
        let view = daemon.get("/api/v1/pipelines/p");
        assert_eq!((&view["phase"], &view["restarts"]), (&"running".into(), &0.into()), "{view}");
        // What changes is taken, whatever time it says it is.
        let text = read(home.path(), "p.yaml") + "# changed\n";
        fs::write(home.path().join("p.yaml"), text).unwrap();
        daemon.post("/api/v1/pipelines/p/reload", "{}");
    }
    // A backwards clock is no reason to begin anew.
    daemon.kill();
    set("2026-01-01 00:00:00");
    let daemon = Daemon::start_with(home.path(), &[], &env);
    daemon.until_phase("p", "running");
    let before = counts(&read(home.path(), "p.ndjson"));
    until("more rows", || counts(&read(home.path(), "p.ndjson")) > before + 50);
    assert_eq!(daemon.stop(), Some(0));
}
