//! A running pipeline that listens, and what it is sent.
#![allow(dead_code)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Server {
    pub home: tempfile::TempDir,
    pub port: u16,
    child: Option<Child>,
}

/// An answer: its status, its head, its body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A port that nobody has at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Runs a pipeline; `PORT` in it is a free one.
    pub fn start(yaml: &str) -> Server {
        Server::start_in(tempfile::tempdir().unwrap(), yaml)
    }

    /// The same where there are files already.
    pub fn start_in(home: tempfile::TempDir, yaml: &str) -> Server {
        let port = free_port();
        fs::write(home.path().join("t.yaml"), yaml.replace("PORT", &port.to_string())).unwrap();
        let mut server = Server { home, port, child: None };
        server.run();
        server
    }

    /// Starts the program and waits until it listens.
    pub fn run(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["run", "--quiet", "t.yaml"]).current_dir(self.home.path());
        self.child = Some(command.stderr(Stdio::inherit()).spawn().unwrap());
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < PATIENCE, "it does not listen");
            assert!(self.child.as_mut().unwrap().try_wait().unwrap().is_none(), "it ended");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }

    pub fn send(&self, head: &str, body: &[u8]) -> Answer {
        send(self.port, head, body).unwrap()
    }

    /// Sends to `/in` as curl does.
    pub fn post(&self, body: &str) -> Answer {
        self.send("POST /in HTTP/1.1", body.as_bytes())
    }

    /// Waits until a file of the pipeline's directory holds what it should.
    pub fn until(&self, file: &str, is: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let found = fs::read_to_string(self.home.path().join(file)).unwrap_or_default();
            if is(&found) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{file} holds:\n{found}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sends one request over a connection of its own; `head` is its first line and what headers it has.
pub fn send(port: u16, head: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    stream
        .write_all(format!("{head}\r\nHost: t\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n").as_bytes())?;
    // It may be refused before all of it is sent.
    let _ = stream.write_all(body);
    let mut text = Vec::new();
    let read = stream.read_to_end(&mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Err(read.err().unwrap_or_else(|| std::io::ErrorKind::UnexpectedEof.into()));
    };
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
    Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// Numbers of the rows of a file, in their order.
pub fn numbers(home: &Path) -> Vec<u64> {
    let text = fs::read_to_string(home.join("out.ndjson")).unwrap_or_default();
    text.lines().map(|line| line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()).collect()
}
