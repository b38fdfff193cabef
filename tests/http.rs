//! Events that are sent by HTTP, to the program itself: what it answers, what it takes, and that nothing it has answered for
//! is lost, however often it is killed.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/program.rs"]
mod program;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use program::until;
use server::{Answer, PATIENCE, Server, numbers, send};

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
    // Until its source is there, a path says so.
    let status = |path: &str| server.send(&format!("GET {path} HTTP/1.1"), b"").status;
    until("both paths", || {
        ["/known", "/few"].iter().all(|path| match status(path) {
            405 => true,
            early => {
                assert_eq!(early, 503, "{path}");
                false
            }
        })
    });
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
