//! What a machine does to a run: its disk is full or cannot be written, its clock is set back, nobody takes the output.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
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
    // Whichever of its files is the one that has no room.
    assert!(said.contains("out/") && said.contains("`: the disk is full"), "{said}");
    assert_eq!(written(&home.path().join("kept")), undisturbed());
}

#[test]
fn a_full_disk_under_the_state_ends_the_run_with_a_sentence_and_the_next_one_goes_on() {
    let home = home();
    let said = with_disks(
        home.path(),
        "mount -t tmpfs -o size=200k none state
         run
         cat /dev/zero > state/more 2> cat || true
         run
         mount -o remount,size=50m state
         run",
    );
    // A start needs room, too, and none is left then.
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

/// A run of a pipeline that never ends by itself, with a clock that `clock` in its directory sets.
struct Clocked {
    child: Child,
    home: tempfile::TempDir,
}

impl Clocked {
    fn start(yaml: &str, at: &str) -> Clocked {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("t.yaml"), yaml).unwrap();
        fs::write(home.path().join("in.ndjson"), "").unwrap();
        let child = Clocked::run(home.path(), at);
        Clocked { child, home }
    }

    fn run(home: &Path, at: &str) -> Child {
        fs::write(home.join("clock"), at).unwrap();
        Command::new(MILLSTREAM)
            .args(["run", "--quiet", "t.yaml"])
            .current_dir(home)
            .env("LD_PRELOAD", faketime())
            .env("FAKETIME_TIMESTAMP_FILE", home.join("clock"))
            .env("FAKETIME_NO_CACHE", "1")
            // Only what people call the time; how long things take goes on.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .spawn()
            .unwrap()
    }

    fn set_clock(&self, at: &str) {
        // Whole at once: it is read at any moment.
        fs::write(self.home.path().join("clock.new"), at).unwrap();
        fs::rename(self.home.path().join("clock.new"), self.home.path().join("clock")).unwrap();
    }

    fn add(&self, rows: &str) {
        let mut input = fs::OpenOptions::new().append(true).open(self.home.path().join("in.ndjson")).unwrap();
        input.write_all(rows.as_bytes()).unwrap();
    }

    /// Waits until the file was read up to its end, and a checkpoint has it.
    fn until_read(&mut self) {
        let length = self.home.path().join("in.ndjson").metadata().unwrap().len() as i64;
        self.until(|home| {
            let Ok(state) = rusqlite::Connection::open(home.join(".millstream/t.db")) else { return false };
            let read = state.query_row("SELECT position FROM partition", [], |row| row.get::<_, i64>(0));
            read.is_ok_and(|read| read == length)
        });
    }

    fn until_written(&mut self, wanted: &str) {
        self.until(|home| fs::read_to_string(home.join("out.ndjson")).is_ok_and(|found| found == wanted));
    }

    fn until(&mut self, is: impl Fn(&Path) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !is(self.home.path()) {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended");
            let found = fs::read_to_string(self.home.path().join("out.ndjson")).unwrap_or_default();
            assert!(Instant::now() < deadline, "waited too long; the output is\n{found}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{status}");
    }
}

/// The library that gives a program another clock.
fn faketime() -> PathBuf {
    let places = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let libraries = places.map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"));
    libraries
        .into_iter()
        .find(|library| library.exists())
        .unwrap_or_else(|| panic!("libfaketime is missing; tests/run.sh installs it"))
}

const ARRIVALS: &str = r#"
name: t
checkpoint: { every: 50ms }
sources:
  rows:
    file: { path: in.ndjson, follow: true }
steps:
  minutes:
    window: { tumbling: 1m, aggregate: { count: count(), sum: sum(n) } }
sinks:
  out: { file: { path: out.ndjson, mode: append }, format: { json: { } } }
"#;

fn minute(start: &str, end: &str, count: u32, sum: u32) -> String {
    format!("{{\"window_start\":\"{start}\",\"window_end\":\"{end}\",\"count\":{count},\"sum\":{sum}}}\n")
}

#[test]
fn a_clock_that_is_set_back_loses_no_row_and_repeats_none() {
    let mut run = Clocked::start(ARRIVALS, "2026-01-01 00:00:10");
    run.add("{\"n\":1}\n{\"n\":2}\n");
    run.until_read();
    run.set_clock("2026-01-01 00:02:00");
    run.add("{\"n\":3}\n");
    let mut wanted = minute("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", 2, 3);
    run.until_written(&wanted);
    // Nothing arrives before what has arrived: the rows are not late, and what has closed stays closed.
    run.set_clock("2025-12-31 23:00:00");
    run.add("{\"n\":4}\n");
    run.until_read();
    run.stop();
    run.child = Clocked::run(run.home.path(), "2025-12-31 22:00:00");
    run.add("{\"n\":5}\n");
    run.until_read();
    run.set_clock("2026-01-01 00:05:00");
    run.add("{\"n\":6}\n");
    wanted += &minute("2026-01-01T00:02:00Z", "2026-01-01T00:03:00Z", 3, 12);
    run.until_written(&wanted);
    run.stop();
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
