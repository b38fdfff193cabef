//! A running `serve`: started on a port of its own, asked over HTTP, killed.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::command;

/// How one is started over the pipelines of the directory that it is in.
const SERVE: [&str; 5] = ["serve", "--pipelines", ".", "--listen", "127.0.0.1:0"];

/// A daemon; it is killed when it is dropped.
pub struct Daemon {
    child: Child,
    /// Where it listens: `host:port`.
    pub address: String,
    said: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts one over the pipelines of a directory and waits until it listens.
    pub fn start(home: &Path, more: &[&str]) -> Daemon {
        Daemon::start_with(home, more, &[])
    }

    /// The same with more of an environment.
    pub fn start_with(home: &Path, more: &[&str], env: &[(&str, &str)]) -> Daemon {
        let arguments = [&SERVE, more].concat();
        let mut command = command(home, &arguments);
        command.envs(env.iter().copied());
        Daemon::spawn(command)
    }

    /// Starts one from a shell that does something before, as `ulimit -n 100`.
    pub fn start_limited(home: &Path, before: &str) -> Daemon {
        let mut command = Command::new("sh");
        let line = format!("{before}; exec {} {}", env!("CARGO_BIN_EXE_millstream"), SERVE.join(" "));
        command.args(["-c", &line]).current_dir(home).stdin(Stdio::null());
        Daemon::spawn(command)
    }

    /// Starts one whose standard output nobody reads.
    pub fn start_silent(home: &Path) -> Daemon {
        let mut command = command(home, &SERVE);
        command.stdout(Stdio::piped());
        Daemon::spawn(command)
    }

    fn spawn(mut command: Command) -> Daemon {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let said = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("its words")).lines();
        let keeps = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut said = keeps.lock().expect("no test panicked with it");
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mut daemon = Daemon { child, address: String::new(), said };
        daemon.address = daemon.until("where it listens", |daemon| {
            let said = daemon.said();
            let line = said.lines().find(|line| line.starts_with("millstream serves"))?;
            line.rsplit("://").next().map(str::to_owned)
        });
        daemon
    }

    /// What it wrote on standard error.
    pub fn said(&self) -> String {
        self.said.lock().expect("no test panicked with it").clone()
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something is there.
    pub fn until<T>(&self, what: &str, mut found: impl FnMut(&Daemon) -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{what} did not come; it said:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks something: the status and the body.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head.push_str(&format!("Host: {}\r\n", self.address));
        }
        headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).expect("sent");
        let mut answer = Vec::new();
        // One that refuses a body before it has read it closes hard.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        (status, if chunked { unchunked(body) } else { body.to_owned() })
    }

    /// Reads JSON.
    pub fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, &[], "");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|e| panic!("{path}: {e}: {body}"))
    }

    /// Does something that must be done.
    pub fn post(&self, path: &str, body: &str) -> Value {
        let (status, answer) = self.ask("POST", path, &[("Content-Type", "application/json")], body);
        assert_eq!(status, 200, "{path}: {answer}");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{path}: {e}: {answer}"))
    }

    /// What a pipeline does.
    pub fn phase(&self, id: &str) -> String {
        let (status, body) = self.ask("GET", &format!("/api/v1/pipelines/{id}"), &[], "");
        let view: Value = serde_json::from_str(&body).unwrap_or_default();
        if status == 200 { view["phase"].as_str().unwrap_or_default().to_owned() } else { status.to_string() }
    }

    /// Waits until a pipeline does something.
    pub fn until_phase(&self, id: &str, phase: &str) {
        self.until(&format!("`{id}` {phase}"), |daemon| (daemon.phase(id) == phase).then_some(()));
    }

    /// Waits until it has ended by itself.
    pub fn wait(mut self) {
        self.child.wait().expect("it ends");
    }

    /// Kills it at once.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Ends it in good order: its exit code.
    pub fn stop(mut self) -> Option<i32> {
        use nix::sys::signal::{Signal, kill};
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a number"));
        kill(id, Signal::SIGTERM).expect("it is there");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((length, after)) = rest.split_once("\r\n") {
        let Ok(length) = usize::from_str_radix(length, 16) else { break };
        whole.push_str(after.get(..length).unwrap_or(after));
        rest = after.get(length + 2..).unwrap_or_default();
    }
    whole
}
