//! The program running a pipeline that takes what others send, with what it says and what it has written.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::broker::PATIENCE;
use super::program;

/// Runs `t.yaml`, which writes `out.ndjson`.
pub struct Listening {
    pub home: tempfile::TempDir,
    child: Option<Child>,
}

impl Listening {
    pub fn start(yaml: &str) -> Listening {
        Listening::start_in(tempfile::tempdir().unwrap(), yaml)
    }

    /// The same in a directory that has what it needs.
    pub fn start_in(home: tempfile::TempDir, yaml: &str) -> Listening {
        let mut listening = Listening { home, child: None };
        listening.write(yaml);
        listening.run();
        listening
    }

    /// Changes the pipeline.
    pub fn write(&self, yaml: &str) {
        fs::write(self.home.path().join("t.yaml"), yaml).unwrap();
    }

    pub fn run(&mut self) {
        let said = fs::File::create(self.home.path().join("said")).unwrap();
        let mut command = program::command(self.home.path(), &["run", "--quiet", "t.yaml"]);
        command.env("MILLSTREAM_LOG", "millstream=info").stdout(Stdio::null()).stderr(said);
        self.child = Some(command.spawn().unwrap());
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn stop(&mut self) {
        program::stop(self.child.take().unwrap(), Signal::SIGTERM);
    }

    /// Asks it to stop, and again before it has: the second time it ends at once.
    pub fn stop_twice(&mut self) {
        let child = self.child.take().unwrap();
        let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(id, Signal::SIGTERM).unwrap();
        program::stop(child, Signal::SIGTERM);
    }

    /// What this run has said so far.
    pub fn said(&self) -> String {
        program::read(self.home.path(), "said")
    }

    /// Waits until what it says is as it should be.
    pub fn until(&self, what: &str, mut is: impl FnMut(&str) -> bool) {
        let started = Instant::now();
        while !is(&self.said()) {
            assert!(started.elapsed() < PATIENCE, "not so that {what}; it says:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn until_said(&self, text: &str) {
        self.until(text, |said| said.contains(text));
    }

    /// What it has written, when it is at least so many rows.
    pub fn rows(&self, least: usize) -> Vec<Value> {
        let read = || program::read(self.home.path(), "out.ndjson");
        self.until(&format!("{least} rows are there"), |_| read().lines().count() >= least);
        let text = read();
        // The last line may be half written.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
