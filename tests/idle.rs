//! What a pipeline costs that waits: no thread, few files and little memory.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;

use std::fs;
use std::path::Path;

use self::daemon::Daemon;
use self::program::{read, with_texts};

/// Pipelines that there are first, and those that come to them.
const FIRST: usize = 4;
const MORE: usize = 40;

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    threads: usize,
    files: usize,
    kilobytes: usize,
}

fn held(daemon: &Daemon) -> Held {
    let own = format!("/proc/{}", daemon.id());
    let status = fs::read_to_string(format!("{own}/status")).unwrap();
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let files = fs::read_dir(format!("{own}/fd")).unwrap().count();
    Held { threads: number("Threads:"), files, kilobytes: number("VmRSS:") }
}

/// A followed file, a window by device, a file.
fn pipeline(home: &Path, n: usize) {
    let row =
        |s: usize| format!("{{\"time\":\"2026-05-01T10:{:02}:00Z\",\"device\":\"d{}\",\"v\":{s}}}\n", s % 60, s % 7);
    fs::write(home.join(format!("in{n}.ndjson")), (0..60).map(row).collect::<String>()).unwrap();
    let yaml = format!(
        "sources:\n  in: {{ file: {{ path: in{n}.ndjson, follow: true }}, time: {{ field: time, idle_after: 2s }} }}\nsteps:\n  per: {{ window: {{ tumbling: 1m, by: device, aggregate: {{ n: count(), most: max(v) }} }} }}\nsinks:\n  out: {{ file: {{ path: out{n}.ndjson, mode: append }} }}\ncheckpoint: {{ every: 1s }}\n"
    );
    // Whoever looks at the directory meanwhile sees the whole file.
    fs::write(home.join(format!(".p{n}.new")), yaml).unwrap();
    fs::rename(home.join(format!(".p{n}.new")), home.join(format!("p{n}.yaml"))).unwrap();
}

/// Waits until all have run and read, and are quiet.
fn settled(daemon: &Daemon, home: &Path, count: usize) -> Held {
    daemon.until("that all run", |daemon| {
        let all = daemon.get("/api/v1/pipelines");
        let all = all.as_array()?;
        (all.len() == count && all.iter().all(|p| p["phase"] == "running")).then_some(())
    });
    daemon.until("what they write", |_| {
        let wrote = |n: &usize| read(home, &format!("out{n}.ndjson")).lines().count() >= 59;
        (0..count).all(|n| wrote(&n)).then_some(())
    });
    // Threads that have nothing to do go; now and then one looks at a file.
    daemon.until("few threads", |daemon| Some(held(daemon)).filter(|held| held.threads <= 12))
}

#[test]
fn a_pipeline_that_waits_has_no_thread_and_few_files_and_little_memory() {
    let home = with_texts(&[]);
    (0..FIRST).for_each(|n| pipeline(home.path(), n));
    let daemon = Daemon::start(home.path(), &[]);
    let before = settled(&daemon, home.path(), FIRST);
    (FIRST..FIRST + MORE).for_each(|n| pipeline(home.path(), n));
    let after = settled(&daemon, home.path(), FIRST + MORE);
    // The state and its log, shared memory and lock, its socket, what is read, what is written and what waits to be.
    assert!(after.files <= before.files + 8 * MORE, "{before:?}, then {after:?}");
    assert!(after.kilobytes <= before.kilobytes + 1_024 * MORE, "{before:?}, then {after:?}");
    assert_eq!(daemon.stop(), Some(0));
}
