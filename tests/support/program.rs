//! The program itself: started, waited for, asked to stop, and what it wrote.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A directory with these files.
pub fn with(files: &[(&str, &[u8])]) -> TempDir {
    let home = TempDir::new().expect("a directory");
    for (name, bytes) in files {
        let path = home.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, bytes).expect("written");
    }
    home
}

/// The same of text.
pub fn with_texts(files: &[(&str, &str)]) -> TempDir {
    with(&files.iter().map(|(name, text)| (*name, text.as_bytes())).collect::<Vec<_>>())
}

/// The program in a directory, without colours and without input.
pub fn command(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.args(arguments).current_dir(home).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn run(home: &Path, arguments: &[&str]) -> Output {
    command(home, arguments).output().expect("it runs")
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it printed and what it said.
pub fn said(output: &Output) -> String {
    text(&output.stdout) + &text(&output.stderr)
}

/// What is in a file; nothing if there is none.
pub fn read(home: &Path, name: &str) -> String {
    fs::read_to_string(home.join(name)).unwrap_or_default()
}

/// Waits until something holds.
pub fn until(what: &str, holds: impl FnMut() -> bool) {
    assert!(met(holds), "{what} did not come");
}

/// Waits until something holds; false if it does not in a minute.
pub fn met(mut holds: impl FnMut() -> bool) -> bool {
    let started = Instant::now();
    while !holds() {
        if started.elapsed() >= Duration::from_secs(60) {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Stops a run with a signal, which it has to obey well.
pub fn stop(mut child: Child, signal: Signal) {
    let id = Pid::from_raw(i32::try_from(child.id()).expect("a number"));
    kill(id, signal).expect("it is there");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
