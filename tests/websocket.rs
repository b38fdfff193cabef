//! Messages by WebSocket, from and to a real server, with the program itself.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/listening.rs"]
mod listening;
#[path = "support/program.rs"]
mod program;
#[path = "support/websocket.rs"]
mod websocket;

use listening::Listening;
use websocket::Server;

const IN: &str = r#"
name: t
checkpoint: { every: 20ms }
sources:
  in:
    websocket:
      url: "ws://127.0.0.1:PORT/stream"
      send: ['{"subscribe":"a"}', "and b"]
      headers: { Authorization: "Bearer secret" }
      max_message: 1KB
sinks:
  out: { file: { path: out.ndjson, visible: at_once } }
"#;

fn pipeline(port: u16) -> String {
    IN.replace("PORT", &port.to_string())
}

fn numbers(listening: &Listening, least: usize) -> Vec<u64> {
    listening.rows(least).iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

#[test]
fn what_a_server_says_is_taken_over_one_connection_after_the_other() {
    let server = Server::start();
    let listening = Listening::start(&pipeline(server.port));
    let greeting = ["authorization: Bearer secret", "{\"subscribe\":\"a\"}", "and b"];
    listening.until("it says what it wants", |_| server.heard() == greeting);
    for n in 0..100 {
        assert_eq!(server.say(format!("{{\"n\":{n}}}")), 1);
    }
    server.say("{\"n\":100}".as_bytes().to_vec());
    assert_eq!(numbers(&listening, 101), (0..=100).collect::<Vec<_>>());
    server.cut();
    listening.until("it comes again", |_| server.heard() == [greeting, greeting].concat());
    server.say("{\"n\":101}");
    assert_eq!(numbers(&listening, 102).last(), Some(&101));
    // Too large, which ends the connection.
    server.say(format!("{{\"n\":\"{}\"}}", "x".repeat(2_000)));
    listening.until_said("a message is larger than `max_message`");
    assert!(!listening.said().contains("secret"), "{}", listening.said());
}

const OUT: &str = r#"
name: t
checkpoint: { every: 20ms }
sources:
  in: { file: { path: in.ndjson, follow: true, poll: 10ms } }
sinks:
  out:
    websocket: { url: "ws://127.0.0.1:PORT/in", send: [hello], headers: { Authorization: "Bearer secret" } }
"#;

fn write(listening: &Listening, numbers: std::ops::Range<usize>) {
    use std::io::Write as _;
    let path = listening.home.path().join("in.ndjson");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let rows: String = numbers.map(|n| format!("{{\"n\":{n}}}\n")).collect();
    file.write_all(rows.as_bytes()).unwrap();
}

/// Rows come in order; while there is no server they wait.
#[test]
fn rows_are_sent_over_one_connection_after_the_other() {
    let port = broker::free_port();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("in.ndjson"), "").unwrap();
    let mut listening = Listening::start_in(home, &OUT.replace("PORT", &port.to_string()));
    write(&listening, 0..100);
    listening.until_said("cannot be reached");
    let row = |n: usize| format!("{{\"n\":{n}}}");
    let server = Server::at(port);
    let greeting = ["authorization: Bearer secret".to_owned(), "hello".to_owned()];
    let first: Vec<String> = greeting.iter().cloned().chain((0..100).map(row)).collect();
    listening.until("they come", |_| server.heard() == first);
    // Nobody is there, also for another run.
    drop(server);
    listening.until("it is seen", |said| said.matches("not connected").count() > 1);
    write(&listening, 100..200);
    listening.kill();
    write(&listening, 200..300);
    listening.run();
    let server = Server::at(port);
    let last = || server.heard().into_iter().skip(2).collect::<Vec<_>>();
    listening.until("the rest comes", |_| last().ends_with(&(100..300).map(row).collect::<Vec<_>>()));
    listening.stop();
}

/// Both ways with TLS: a server that nobody knows is not spoken to.
#[test]
fn whom_it_speaks_to_has_to_be_known() {
    let (server, pem) = Server::start_tls();
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("ca.pem"), pem).unwrap();
    let yaml = format!(
        "name: t\nsources:\n  in:\n    websocket: {{ url: \"wss://localhost:{port}/in\", tls: {{ TLS }} }}\nsinks:\n  \
         out: {{ file: {{ path: out.ndjson, visible: at_once }} }}\n  back:\n    \
         websocket: {{ url: \"wss://localhost:{port}/out\", tls: {{ TLS }} }}\n",
        port = server.port
    );
    let mut listening = Listening::start_in(home, &yaml.replace("TLS", ""));
    listening.until_said("UnknownIssuer");
    assert!(server.heard().is_empty());
    listening.stop();
    listening.write(&yaml.replace("TLS", "ca: ca.pem"));
    listening.run();
    listening.until("both are there", |said| said.matches(" connected").count() == 2);
    server.say("{\"n\":1}");
    assert_eq!(numbers(&listening, 1), [1]);
    listening.until("it comes back", |_| server.heard().contains(&"{\"n\":1}".to_owned()));
    listening.stop();
}
