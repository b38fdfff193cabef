//! Events that are sent by HTTP again because their sender had no answer, and over TLS.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/program.rs"]
mod program;
#[path = "support/server.rs"]
mod server;
#[path = "support/tls.rs"]
mod tls;

use std::fs;
use std::net::TcpStream;

use millstream::connectors::http_call::client;
use millstream::connectors::tls::ClientTls;
use server::{Server, numbers, send};
use tls::certificates;

const PLAIN: &str = r#"
name: t
checkpoint: { every: 20ms }
sources:
  in:
    http_server: { listen: "127.0.0.1:PORT", path: /in }
sinks:
  out: { file: { path: out.ndjson } }
"#;

fn keyed(key: &str) -> String {
    format!("POST /in HTTP/1.1\r\nIdempotency-Key: {key}")
}

#[test]
fn a_key_that_comes_again_is_answered_like_the_first_time() {
    let mut server = Server::start(PLAIN);
    let first = server.send(&keyed("a"), b"{\"n\":1}\n7");
    assert_eq!(first.status, 202);
    assert!(first.body.contains("\"accepted\":1,\"rejected\":1"), "{}", first.body);
    let again = server.send(&keyed("a"), b"{\"n\":1}\n7");
    assert_eq!((again.status, &again.body), (202, &first.body));
    let other = server.send(&keyed("a"), b"{\"n\":2}");
    assert_eq!(other.status, 422, "{}", other.body);
    assert_eq!(server.send(&keyed(&"k".repeat(256)), b"{}").status, 400);
    // A checkpoint covers the events, and the key is known all the same: also when it was killed, and twice.
    server.until("out.ndjson", |found| found == "{\"n\":1}\n");
    for _ in 0..2 {
        server.kill();
        server.run();
        let again = server.send(&keyed("a"), b"{\"n\":1}\n7");
        assert_eq!((again.status, &again.body), (202, &first.body));
        assert_eq!(server.send(&keyed("a"), b"{\"n\":2}").status, 422);
    }
    assert_eq!(server.send(&keyed("b"), b"{\"n\":3}").status, 202);
    server.until("out.ndjson", |found| found == "{\"n\":1}\n{\"n\":3}\n");
    server.stop();
}

#[test]
fn a_key_has_a_header_and_an_end() {
    let server = Server::start(&PLAIN.replace("path: /in", "path: /in, idempotency: { header: X-Id, keep: 1ms }"));
    let head = "POST /in HTTP/1.1\r\nX-Id: a";
    assert_eq!(server.send(head, b"{\"n\":1}").status, 202);
    server.until("out.ndjson", |found| found == "{\"n\":1}\n");
    assert_eq!(server.send(head, b"{\"n\":2}").status, 202);
    server.until("out.ndjson", |found| found == "{\"n\":1}\n{\"n\":2}\n");
}

#[test]
fn nothing_comes_twice_however_often_it_is_sent_and_killed() {
    let mut server = Server::start(PLAIN);
    let port = server.port;
    let senders: Vec<_> = (0..4u64)
        .map(|sender| {
            std::thread::spawn(move || {
                for n in (0..60).map(|n| n * 4 + sender) {
                    // Until there is an answer; each time there are two of them at once.
                    let body = format!("{{\"n\":{n}}}");
                    let once = || send(port, &keyed(&n.to_string()), body.as_bytes()).is_ok_and(|a| a.status == 202);
                    while !std::thread::scope(|scope| {
                        let other = scope.spawn(once);
                        once() | other.join().unwrap()
                    }) {
                        std::thread::yield_now();
                    }
                }
            })
        })
        .collect();
    let mut kills = 0;
    while !senders.iter().all(std::thread::JoinHandle::is_finished) {
        let before = numbers(server.home.path()).len();
        server.until("out.ndjson", |_| {
            numbers(server.home.path()).len() > before + 20 || senders.iter().all(std::thread::JoinHandle::is_finished)
        });
        server.kill();
        server.run();
        kills += 1;
    }
    assert!(kills >= 3);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let home = server.home.path().to_owned();
    server.until("out.ndjson", |_| numbers(&home).len() >= 240);
    server.stop();
    let mut found = numbers(&home);
    found.sort_unstable();
    assert_eq!(found, (0..240).collect::<Vec<u64>>());
}

#[test]
fn only_clients_with_a_certificate_are_heard() {
    let home = tempfile::tempdir().unwrap();
    certificates(home.path());
    let tls =
        "tls: { certificate: localhost.pem, key: localhost-key.pem, client_ca: ca.pem }, connections: 2, path: /in";
    let mut server = Server::start_in(home, &PLAIN.replace("path: /in", tls));
    let mut known = ClientTls { ca: Some("ca.pem".into()), ..ClientTls::default() };
    let post = |tls: &ClientTls| {
        let client = client(Some(tls), None, server.home.path()).unwrap();
        let url = format!("https://localhost:{}/in", server.port);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { client.post(url).body("{\"n\":1}").send().await.map(|a| a.status().as_u16()) })
    };
    assert!(post(&known).is_err(), "it shows no certificate");
    (known.certificate, known.key) = (Some("localhost.pem".into()), Some("localhost-key.pem".into()));
    assert_eq!(post(&known).unwrap(), 202);
    assert!(post(&ClientTls { ca: None, ..known.clone() }).is_err(), "the server is not believed");
    assert!(send(server.port, "POST /in HTTP/1.1", b"{}").is_err(), "it is not encrypted");
    // Another authority and other certificates, while it runs.
    let shown = |ca: &str| post(&ClientTls { ca: Some(ca.into()), ..known.clone() });
    fs::copy(server.home.path().join("ca.pem"), server.home.path().join("old.pem")).unwrap();
    certificates(server.home.path());
    program::until("the new certificates", || shown("ca.pem").is_ok_and(|status| status == 202));
    assert!(shown("old.pem").is_err());
    server.until("out.ndjson", |found| found == "{\"n\":1}\n".repeat(2));
    server.stop();
}

/// Beyond the number of connections nobody is heard until one ends.
#[test]
fn connections_beyond_the_limit_wait() {
    use std::io::{Read as _, Write as _};
    let mut server = Server::start(&PLAIN.replace("path: /in", "path: /in, connections: 1"));
    let request = |n: u32| format!("POST /in HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n\r\n{{\"n\":{n}}}");
    let answered = |stream: &mut TcpStream| {
        let mut head = [0; 1024];
        let count = stream.read(&mut head).unwrap();
        String::from_utf8_lossy(&head[..count]).starts_with("HTTP/1.1 202")
    };
    let mut one = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    one.write_all(request(1).as_bytes()).unwrap();
    assert!(answered(&mut one));
    let mut other = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    other.write_all(request(2).as_bytes()).unwrap();
    one.write_all(request(3).as_bytes()).unwrap();
    assert!(answered(&mut one), "the first stays");
    other.set_nonblocking(true).unwrap();
    let error = other.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "the second waits");
    other.set_nonblocking(false).unwrap();
    drop(one);
    assert!(answered(&mut other));
    drop(other);
    server.until("out.ndjson", |found| found == "{\"n\":1}\n{\"n\":3}\n{\"n\":2}\n");
    server.stop();
}

/// A header that its sender gave a request is read by its events; a key that lets somebody in cannot be.
#[test]
fn events_read_the_headers_of_their_request() {
    let yaml = PLAIN
        .replace("path: /in", "path: /in, meta_headers: [X-Request-Id]")
        .replace("sinks:", "steps:\n  said: { script: \"request = meta.headers.x_request_id\" }\nsinks:");
    let mut server = Server::start(&yaml);
    let told = server.send("POST /in HTTP/1.1\r\nX-Request-Id: a b\r\nAuthorization: x", b"[{\"n\":1},{\"n\":2}]");
    assert_eq!(told.status, 202);
    assert_eq!(server.send("POST /in HTTP/1.1", b"{\"n\":3}").status, 202);
    let wanted = "{\"n\":1,\"request\":\"a b\"}\n{\"n\":2,\"request\":\"a b\"}\n{\"n\":3}\n";
    server.until("out.ndjson", |found| found == wanted);
    server.stop();
    fs::write(server.home.path().join("t.yaml"), yaml.replace("X-Request-Id", "X-Api-Key")).unwrap();
    let output = program::run(server.home.path(), &["check", "t.yaml"]);
    let said = program::said(&output);
    assert!(said.contains("`X-Api-Key` may hold what lets somebody in"), "{said}");
}

/// Two programs want one address: the second is told, the first goes on; when it is gone, the second has it.
#[test]
fn an_address_belongs_to_one_program() {
    let mut first = Server::start(PLAIN);
    let yaml = PLAIN.replace("PORT", &first.port.to_string());
    let home = program::with_texts(&[("t.yaml", &yaml)]);
    let refused = program::run(home.path(), &["run", "--quiet", "t.yaml"]);
    let said = program::said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("another program does; stop it or choose another port"), "{said}");
    assert_eq!(first.post("{\"n\":1}").status, 202);
    first.stop();
    let second = program::command(home.path(), &["run", "--quiet", "t.yaml"]).spawn().unwrap();
    program::until("the second answers", || {
        send(first.port, "POST /in HTTP/1.1", b"{\"n\":2}").is_ok_and(|answer| answer.status == 202)
    });
    program::stop(second, nix::sys::signal::Signal::SIGTERM);
}
