//! What a machine does to a run: its disk is full or cannot be written, nobody takes the output.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const MILLSTREAM: &str = env!("CARGO_BIN_EXE_millstream");

/// Rows of input, and keys that are remembered.
const ROWS: u64 = 30_000;

/// Writes to `out`, keeps its state in `state`, remembers every row.
const PIPELINE: &str = r#"
name: t
checkpoint: { every: 20ms }
sources:
  rows:
    file: { path: in.ndjson }
    time: { field: ts, format: unix }
steps:
  once:
    dedupe: { by: n, within: 10h }
  minutes:
    window: { tumbling: 1m, by: k, aggregate: { count: count(), sum: sum(n) } }
sinks:
  rows_out: { from: once, file: { path: out/rows.ndjson } }
  minutes_out: { from: minutes, file: { path: out/minutes.ndjson, mode: append } }
"#;

fn home() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let mut rows = String::new();
    for n in 0..ROWS {
        let ts = 1_767_225_600 + n / 10;
        // Every third row comes twice, and now and then there is none.
        for _ in 0..if n % 3 == 0 { 2 } else { 1 } {
            writeln!(rows, "{{\"ts\":{ts},\"k\":\"k{}\",\"n\":{n}}}", n % 7).unwrap();
        }
        if n % 1000 == 0 {
            rows.push_str("{\"ts\":\n");
        }
    }
    fs::write(home.path().join("in.ndjson"), rows).unwrap();
    fs::write(home.path().join("t.yaml"), PIPELINE).unwrap();
    fs::create_dir(home.path().join("out")).unwrap();
    fs::create_dir(home.path().join("state")).unwrap();
    home
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a shell script that may mount file systems of its own below the directory. `run` is a function in it that runs
/// the pipeline and prints how it ended. What is mounted is gone with the script.
fn with_disks(home: &Path, script: &str) -> String {
    let script = format!(
        "set -eu\nrun() {{ {MILLSTREAM} run --quiet --workers 2 --data state t.yaml && echo ended well || echo ended with $?; }}\n{script}"
    );
    // Whoever is not root becomes it in a world of its own.
    let may = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status().unwrap().success();
    let flags = if may { "-m" } else { "-rm" };
    let mut command = Command::new("unshare");
    command.args([flags, "sh", "-c", &script]).current_dir(home).stderr(Stdio::piped());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = text(&stdout) + &text(&stderr);
    assert!(status.success(), "{status}: {said}");
    said
}

/// What an undisturbed run writes.
fn undisturbed() -> [String; 2] {
    let home = home();
    let output = Command::new(MILLSTREAM).args(["run", "--quiet", "t.yaml"]).current_dir(home.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    written(&home.path().join("out"))
}

fn written(directory: &Path) -> [String; 2] {
    ["rows.ndjson", "minutes.ndjson"].map(|name| fs::read_to_string(directory.join(name)).unwrap())
}

#[test]
fn a_full_disk_under_the_output_ends_the_run_with_a_sentence_and_the_next_one_goes_on() {
    let home = home();
    let said = with_disks(
        home.path(),
        "mount -t tmpfs -o size=500k none out
         run
         mount -o remount,size=50m out
         run
         mkdir kept && cp out/* kept",
    );
    assert!(said.contains("ended with 1\nended well"), "{said}");
    assert!(said.contains("out/rows.ndjson`: the disk is full"), "{said}");
    assert_eq!(written(&home.path().join("kept")), undisturbed());
}

#[test]
fn a_full_disk_under_the_state_ends_the_run_with_a_sentence_and_the_next_one_goes_on() {
    let home = home();
    let said = with_disks(
        home.path(),
        "mount -t tmpfs -o size=250k none state
         run
         run
         mount -o remount,size=50m state
         run",
    );
    // A start needs room, too.
    assert!(said.contains("ended with 1\nended with 1\nended well"), "{said}");
    assert!(said.contains("t.db") && said.contains("full"), "{said}");
    assert_eq!(written(&home.path().join("out")), undisturbed());
}

#[test]
fn a_directory_that_cannot_be_written_is_said() {
    for (directory, path) in [("out", "out/"), ("state", "state")] {
        let home = home();
        let said = with_disks(
            home.path(),
            &format!(
                "mount -t tmpfs -o size=50m none {directory}
                 mount -o remount,ro {directory}
                 run
                 mount -o remount,rw {directory}
                 run
                 mkdir kept && cp out/* kept"
            ),
        );
        assert!(said.contains("ended with 1\nended well"), "{directory}: {said}");
        assert!(said.contains(path) && said.to_lowercase().contains("read-only"), "{directory}: {said}");
        assert_eq!(written(&home.path().join("kept")), undisturbed(), "{directory}");
    }
}

#[test]
fn a_run_that_cannot_bring_its_rows_anywhere_does_not_wait_for_ever_when_told_to_stop() {
    let home = home();
    let pipeline = PIPELINE.replace("file: { path: out/rows.ndjson }", "stdout: {}");
    fs::write(home.path().join("t.yaml"), pipeline).unwrap();
    let mut command = Command::new(MILLSTREAM);
    command.args(["run", "--quiet", "t.yaml"]).current_dir(home.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Somebody holds the other end of the pipe and takes nothing; it has begun when the pipe has something.
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0]).unwrap();
    let told = Instant::now();
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("did not stop within 30 s"), "{said}");
    assert!(told.elapsed() >= Duration::from_secs(29), "it waited");
}
