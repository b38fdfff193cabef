//! Sources, and who brings to them.

use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::Response;

use crate::broker::{Broker, free_port};
use crate::listening::Listening;
use crate::peer::{Asked, Peer, answer};
use crate::rig::{Facts, Rig, row};
use crate::{server, websocket};

const SOURCE: Facts = Facts { sink: false, early: true, once: true, ordered: true, loses: false, many: 600 };

/// How often a connector says that it is connected.
pub fn connected(listening: &Listening) -> usize {
    listening.said().matches("connected entry=").count()
}

/// Messages of a Mosquitto.
pub struct Mqtt {
    broker: Broker,
    qos: &'static str,
    options: &'static str,
}

impl Mqtt {
    pub fn new(qos: &'static str, options: &'static str) -> Mqtt {
        Mqtt { broker: Broker::start(""), qos, options }
    }
}

impl Rig for Mqtt {
    fn facts(&self) -> Facts {
        // A broker knows who wants a message when somebody has subscribed. Of QoS 2 Mosquitto brings what is new between what
        // it brings again over another connection.
        Facts { early: false, ordered: self.qos != "2", many: 6_000, ..SOURCE }
    }

    fn port(&self) -> u16 {
        self.broker.port
    }

    fn entry(&self, port: u16) -> String {
        let (qos, options) = (self.qos, self.options);
        format!("mqtt: {{ url: \"mqtt://127.0.0.1:{port}\", topics: rows, keep_alive: 5s, qos: {qos}, {options} }}")
    }

    fn give(&self, _: &Path, _: u16, numbers: Range<usize>) {
        self.broker.publish("rows", numbers.map(row), &["-q", self.qos]);
    }

    fn met(&self, listening: &Listening) -> usize {
        let said = listening.said();
        let subscribed = said.contains(" subscribed") || said.contains("session=true");
        if subscribed { connected(listening) } else { 0 }
    }

    fn stop(&mut self) {
        self.broker.stop();
    }

    fn again(&mut self) {
        self.broker.again();
    }
}

/// Messages of a server that speaks WebSocket.
pub struct Websocket {
    server: Option<websocket::Server>,
    port: u16,
}

impl Websocket {
    pub fn new() -> Websocket {
        let server = websocket::Server::start();
        Websocket { port: server.port, server: Some(server) }
    }
}

impl Rig for Websocket {
    fn facts(&self) -> Facts {
        Facts { early: false, loses: true, ..SOURCE }
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn entry(&self, port: u16) -> String {
        format!("websocket: {{ url: \"ws://127.0.0.1:{port}\", send: [hello] }}")
    }

    fn give(&self, _: &Path, _: u16, numbers: Range<usize>) {
        for n in numbers {
            self.server.as_ref().unwrap().say(row(n));
        }
    }

    fn met(&self, listening: &Listening) -> usize {
        connected(listening)
    }

    fn stop(&mut self) {
        self.server = None;
    }

    fn again(&mut self) {
        self.server = Some(websocket::Server::at(self.port));
    }
}

/// Somebody who sends by HTTP, each request until it is answered.
pub struct HttpServer {
    port: u16,
}

impl HttpServer {
    pub fn new() -> HttpServer {
        HttpServer { port: free_port() }
    }
}

impl Rig for HttpServer {
    fn facts(&self) -> Facts {
        SOURCE
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn entry(&self, _: u16) -> String {
        format!("http_server: {{ listen: \"127.0.0.1:{}\", path: /in, timeout: 1s }}", self.port)
    }

    fn give(&self, _: &Path, port: u16, numbers: Range<usize>) {
        let numbers: Vec<usize> = numbers.collect();
        for some in numbers.chunks(5) {
            let body: Vec<String> = some.iter().map(|n| row(*n)).collect();
            let head = format!("POST /in HTTP/1.1\r\nIdempotency-Key: k{}", some[0]);
            while server::send(port, &head, body.join("\n").as_bytes()).map_or(0, |answer| answer.status) != 202 {
                std::thread::yield_now();
            }
        }
    }

    fn met(&self, _: &Listening) -> usize {
        if TcpStream::connect(("127.0.0.1", self.port)).is_ok() { usize::MAX } else { 0 }
    }

    fn stop(&mut self) {}

    fn again(&mut self) {}
}

/// A server that is asked by HTTP.
pub struct HttpClient {
    peer: Peer,
    /// How many rows it has.
    has: Arc<AtomicUsize>,
    options: &'static str,
}

impl HttpClient {
    /// Pages of what is new, again and again.
    pub fn polled() -> HttpClient {
        let options = "every: 5ms, query: { since: \"{{ cursor }}\" }, cursor: { field: n, start: 0 }";
        HttpClient::with(options, |asked, has| {
            let since: usize = asked.query("since").unwrap().parse().unwrap();
            let page: Vec<String> = (since..has).take(20).map(row).collect();
            answer(200, &[("content-type", "application/json")], format!("[{}]", page.join(",")))
        })
    }

    /// Events in a stream, which ends now and then.
    pub fn streamed() -> HttpClient {
        HttpClient::with("stream: sse", |asked, has| {
            let from = asked.header("last-event-id").map_or(0, |id| id.parse::<usize>().unwrap() + 1);
            let text = (from..has).take(20).map(|n| format!("id: {n}\ndata: {}\n\n", row(n)));
            let text: String = std::iter::once("retry: 5\n\n".to_owned()).chain(text).collect();
            answer(200, &[("content-type", "text/event-stream")], text)
        })
    }

    fn with(options: &'static str, answers: impl Fn(&Asked, usize) -> Response + Send + Sync + 'static) -> HttpClient {
        let has = Arc::<AtomicUsize>::default();
        let of_peer = Arc::clone(&has);
        let peer = Peer::start(move |asked| answers(asked, of_peer.load(Ordering::Acquire)));
        HttpClient { peer, has, options }
    }
}

impl Rig for HttpClient {
    fn facts(&self) -> Facts {
        SOURCE
    }

    fn port(&self) -> u16 {
        self.peer.port
    }

    fn entry(&self, port: u16) -> String {
        format!("http_client: {{ url: \"http://127.0.0.1:{port}/rows\", timeout: 5s, {} }}", self.options)
    }

    fn give(&self, _: &Path, _: u16, numbers: Range<usize>) {
        self.has.store(numbers.end, Ordering::Release);
    }

    fn stop(&mut self) {
        self.peer.stop();
    }

    fn again(&mut self) {
        self.peer.run();
    }
}
