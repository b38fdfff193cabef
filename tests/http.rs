//! Events that are sent by HTTP, to the program itself: what it answers, what it takes, and that nothing it has answered for
//! is lost, however often it is killed.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

struct Server {
    home: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

/// An answer: its status, its head, its body.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// A port that nobody has at the moment.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Runs a pipeline; `PORT` in it is a free one.
    fn start(yaml: &str) -> Server {
        let (home, port) = (tempfile::tempdir().unwrap(), free_port());
        fs::write(home.path().join("t.yaml"), yaml.replace("PORT", &port.to_string())).unwrap();
        let mut server = Server { home, port, child: None };
        server.run();
        server
    }

    /// Starts the program and waits until it listens.
    fn run(&mut self) {
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

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }

    fn send(&self, head: &str, body: &[u8]) -> Answer {
        send(self.port, head, body).unwrap()
    }

    /// Sends to `/in` as curl does.
    fn post(&self, body: &str) -> Answer {
        self.send("POST /in HTTP/1.1", body.as_bytes())
    }

    /// Waits until a file of the pipeline's directory holds what it should.
    fn until(&self, file: &str, is: impl Fn(&str) -> bool) {
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
fn send(port: u16, head: &str, body: &[u8]) -> std::io::Result<Answer> {
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

const PLAIN: &str = r#"
name: t
checkpoint: { every: 20ms }
sources:
  in:
    http_server: { listen: "127.0.0.1:PORT", path: /in, max_body: 1KB }
sinks:
  out: { file: { path: out.ndjson } }
"#;

#[test]
fn bodies_of_every_kind_become_events() {
    let mut server = Server::start(PLAIN);
    let told = server.post("{\"n\":1}");
    assert_eq!((told.status, told.body.as_str()), (202, "{\"accepted\":1,\"rejected\":0}\n"));
    assert_eq!(server.post("[{\"n\":2},{\"n\":3}]").body, "{\"accepted\":2,\"rejected\":0}\n");
    let told = server.post("{\"n\":4}\n{\"n\n{\"n\":5}\n");
    assert_eq!(told.status, 202);
    assert!(
        told.body.starts_with("{\"accepted\":2,\"rejected\":1,\"errors\":[{\"record\":2,\"reason\":\"not JSON: "),
        "{}",
        told.body
    );
    let form = "PUT /in HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    assert_eq!(server.send(form, b"n=6").status, 202);
    let packed = zstd::encode_all(&b"{\"n\":7}"[..], 0).unwrap();
    assert_eq!(server.send("POST /in HTTP/1.1\r\nContent-Encoding: zstd", &packed).status, 202);
    let wanted = "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n{\"n\":5}\n{\"n\":\"6\"}\n{\"n\":7}\n";
    server.until("out.ndjson", |found| found == wanted);
    server.stop();
}

#[test]
fn what_cannot_be_taken_is_answered_with_the_reason() {
    let server = Server::start(PLAIN);
    for (head, body, status, said) in [
        ("POST /in HTTP/1.1", "", 400, "the body is empty"),
        ("POST /in HTTP/1.1", "7", 400, "an event is an object"),
        ("POST /in HTTP/1.1", "{\"a\"", 400, "not JSON"),
        ("GET /in HTTP/1.1", "", 405, "not sent by this method"),
        ("POST /out HTTP/1.1", "{}", 404, "nothing is received at this path"),
        ("POST /in HTTP/1.1\r\nContent-Encoding: br", "{}", 415, "gzip, deflate or zstd"),
        ("POST /in HTTP/1.1\r\nContent-Encoding: gzip", "{}", 400, "damaged"),
    ] {
        let told = server.send(head, body.as_bytes());
        assert_eq!(told.status, status, "{head}: {}", told.body);
        assert!(told.body.contains(said), "{head}: {}", told.body);
    }
    let told = server.post(&"x".repeat(2000));
    assert_eq!(told.status, 413);
    let bomb = zstd::encode_all("{\"a\":\"\"}".repeat(100_000).as_bytes(), 0).unwrap();
    assert!(bomb.len() < 1000);
    assert_eq!(server.send("POST /in HTTP/1.1\r\nContent-Encoding: zstd", &bomb).status, 413);
    assert!(server.send("GET /in HTTP/1.1", b"").head.contains("allow: post, put"));
}

#[test]
fn strangers_and_floods_are_kept_out() {
    let server = Server::start(
        r#"
name: t
sources:
  known:
    http_server:
      listen: "127.0.0.1:PORT"
      path: /known
      auth: { bearer: t0ken }
      cors: [https://example.org]
  few:
    http_server: { listen: "127.0.0.1:PORT", path: /few, rate: { limit: 2, per: 1h } }
sinks:
  out: { from: [known, few], discard: {} }
"#,
    );
    let told = server.send("POST /known HTTP/1.1", b"{}");
    assert_eq!(told.status, 401);
    assert!(told.head.contains("www-authenticate: bearer"), "{}", told.head);
    assert!(!told.body.contains("t0ken"));
    let with = "POST /known HTTP/1.1\r\nAuthorization: Bearer t0ken\r\nOrigin: https://example.org";
    let told = server.send(with, b"{}");
    assert_eq!(told.status, 202);
    assert!(told.head.contains("access-control-allow-origin: https://example.org"), "{}", told.head);
    let asked = server.send("OPTIONS /known HTTP/1.1\r\nOrigin: https://example.org", b"");
    assert_eq!(asked.status, 204);
    let asked = server.send("OPTIONS /known HTTP/1.1\r\nOrigin: https://example.com", b"");
    assert_eq!(asked.status, 405);
    let told: Vec<Answer> = (0..3).map(|_| server.send("POST /few HTTP/1.1", b"{}")).collect();
    assert_eq!(told.iter().map(|t| t.status).collect::<Vec<_>>(), [202, 202, 429]);
    let wait = told[2].head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1_000..=1_800).contains(&wait.parse::<u32>().unwrap()), "{wait}");
}

#[test]
fn an_answer_may_wait_for_the_checkpoint() {
    let server = Server::start(&PLAIN.replace("max_body: 1KB", "ack: processed"));
    let told = server.post("{\"n\":1}");
    assert_eq!(told.status, 200, "{}", told.body);
    // It is there when the answer is.
    server.until("out.ndjson", |found| found == "{\"n\":1}\n");
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fs::write(home.path().join("t.yaml"), PLAIN.replace("PORT", &port)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    let output = command.args(["run", "--quiet", "t.yaml"]).current_dir(home.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another program does"), "{said}");
}

/// Numbers of the rows of a file, in their order.
fn numbers(home: &Path) -> Vec<u64> {
    let text = fs::read_to_string(home.join("out.ndjson")).unwrap_or_default();
    text.lines().map(|line| line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()).collect()
}

#[test]
fn nothing_that_was_answered_for_is_lost_when_it_is_killed() {
    let mut server = Server::start(PLAIN);
    let next = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (next, over, port) = (Arc::clone(&next), Arc::clone(&over), server.port);
            std::thread::spawn(move || {
                let mut answered = Vec::new();
                while over.load(Ordering::Acquire) == 0 {
                    let n = next.fetch_add(1, Ordering::AcqRel);
                    // Sent once: without an answer it may be there or not.
                    if send(port, "POST /in HTTP/1.1", format!("{{\"n\":{n}}}").as_bytes())
                        .is_ok_and(|a| a.status == 202)
                    {
                        answered.push(n);
                    }
                }
                answered
            })
        })
        .collect();
    for _ in 0..6 {
        let (before, started) = (numbers(server.home.path()).len(), Instant::now());
        while numbers(server.home.path()).len() < before + 20 {
            assert!(started.elapsed() < PATIENCE, "nothing comes through");
            std::thread::sleep(Duration::from_millis(5));
        }
        server.kill();
        server.run();
    }
    over.store(1, Ordering::Release);
    let mut answered: Vec<u64> = senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect();
    answered.sort_unstable();
    assert!(answered.len() >= 100);
    let home = server.home.path().to_owned();
    server.until("out.ndjson", |_| {
        let found = numbers(&home);
        answered.iter().all(|n| found.contains(n))
    });
    server.stop();
    let mut found = numbers(&home);
    let count = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), count, "every event is there once");
}
