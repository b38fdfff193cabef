//! Sinks, and who takes what they send.

use std::ops::Range;
use std::path::Path;

use crate::broker::{Broker, Subscriber};
use crate::listening::Listening;
use crate::mail::{Listens, MailServer};
use crate::program::until;
use crate::receiver::Receiver;
use crate::rig::{Facts, Rig, append, append_rows, number, wide_row};
use crate::sources::connected;
use crate::websocket;

const SINK: Facts = Facts { sink: true, early: true, once: false, ordered: true, loses: false, many: 600 };

/// A Mosquitto, and somebody who subscribes there.
pub struct Mqtt {
    broker: Broker,
    subscriber: Subscriber,
    options: &'static str,
}

impl Mqtt {
    pub fn new(options: &'static str) -> Mqtt {
        let broker = Broker::start("");
        let subscriber = Subscriber::of(&broker, ("rows", "1"), "%p");
        // Until it has subscribed, nothing comes to it.
        until("the subscriber", || {
            broker.publish("rows", ["{}".to_owned()], &[]);
            !subscriber.heard().is_empty()
        });
        Mqtt { broker, subscriber, options }
    }
}

impl Rig for Mqtt {
    fn facts(&self) -> Facts {
        SINK
    }

    fn port(&self) -> u16 {
        self.broker.port
    }

    fn entry(&self, port: u16) -> String {
        format!(
            "mqtt: {{ url: \"mqtt://127.0.0.1:{port}\", topic: rows, buffer: 64KB, keep_alive: 5s, {} }}",
            self.options
        )
    }

    fn give(&self, home: &Path, _: u16, numbers: Range<usize>) {
        append(home, numbers);
    }

    fn came(&self) -> Vec<usize> {
        self.subscriber.heard().iter().filter_map(|line| number(line)).collect()
    }

    fn met(&self, listening: &Listening) -> usize {
        connected(listening)
    }

    fn stop(&mut self) {
        self.broker.stop();
    }

    fn again(&mut self) {
        self.broker.again();
    }
}

/// A server that speaks WebSocket.
pub struct Websocket {
    server: Option<websocket::Server>,
    port: u16,
    /// What earlier ones have heard.
    before: Vec<String>,
}

impl Websocket {
    pub fn new() -> Websocket {
        let server = websocket::Server::start();
        Websocket { port: server.port, server: Some(server), before: Vec::new() }
    }
}

impl Rig for Websocket {
    fn facts(&self) -> Facts {
        Facts { loses: true, ..SINK }
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn entry(&self, port: u16) -> String {
        format!("websocket: {{ url: \"ws://127.0.0.1:{port}\", send: [hello], buffer: 64KB }}")
    }

    fn give(&self, home: &Path, _: u16, numbers: Range<usize>) {
        append(home, numbers);
    }

    fn came(&self) -> Vec<usize> {
        let heard = self.server.iter().flat_map(websocket::Server::heard);
        self.before.iter().cloned().chain(heard).filter_map(|line| number(&line)).collect()
    }

    fn met(&self, listening: &Listening) -> usize {
        connected(listening)
    }

    fn stop(&mut self) {
        self.before.extend(self.server.take().iter().flat_map(websocket::Server::heard));
    }

    fn again(&mut self) {
        self.server = Some(websocket::Server::at(self.port));
    }
}

/// Somebody who is sent to by HTTP.
pub struct Http {
    receiver: Receiver,
    kind: &'static str,
    options: &'static str,
}

impl Http {
    pub fn new() -> Http {
        Http::of("http", "")
    }

    /// The same for another kind that sends so.
    pub fn of(kind: &'static str, options: &'static str) -> Http {
        Http { receiver: Receiver::start(), kind, options }
    }
}

/// The number of a row of which somebody was told.
fn told(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once("n = ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Rows that somebody was sent.
pub fn received(receiver: &Receiver) -> Vec<usize> {
    let rows = |text: String| text.lines().filter_map(|line| number(line).or_else(|| told(line))).collect::<Vec<_>>();
    receiver.came().iter().flat_map(|came| rows(came.text())).collect()
}

impl Rig for Http {
    fn facts(&self) -> Facts {
        SINK
    }

    fn port(&self) -> u16 {
        self.receiver.address.port()
    }

    fn entry(&self, port: u16) -> String {
        let Http { kind, options, .. } = self;
        format!("{kind}: {{ url: \"http://127.0.0.1:{port}/in\", timeout: 5s, buffer: 64KB, {options} }}")
    }

    fn give(&self, home: &Path, _: u16, numbers: Range<usize>) {
        append(home, numbers);
    }

    fn came(&self) -> Vec<usize> {
        received(&self.receiver)
    }

    fn stop(&mut self) {
        self.receiver.leave();
    }

    fn again(&mut self) {
        self.receiver.listen();
    }
}

/// A mail server.
pub struct Email {
    server: MailServer,
}

impl Email {
    pub fn new() -> Email {
        Email { server: MailServer::start(Listens::default()) }
    }
}

impl Rig for Email {
    fn facts(&self) -> Facts {
        // Each is a conversation.
        Facts { many: 200, ..SINK }
    }

    fn beyond(&self) -> usize {
        1_500
    }

    fn port(&self) -> u16 {
        self.server.port
    }

    fn entry(&self, port: u16) -> String {
        let who = "from: a@example.org, to: b@example.org";
        let text = "text: '{\"n\":{{ n }},'";
        format!("email: {{ server: 127.0.0.1, port: {port}, tls: none, {who}, timeout: 5s, buffer: 64KB, {text} }}")
    }

    fn give(&self, home: &Path, _: u16, numbers: Range<usize>) {
        // As many bytes in fewer rows.
        append_rows(home, numbers.map(|n| wide_row(n, 2_000)));
    }

    fn came(&self) -> Vec<usize> {
        self.server.came().iter().flat_map(|came| came.text.lines().filter_map(number).collect::<Vec<_>>()).collect()
    }

    fn stop(&mut self) {
        self.server.stop();
    }

    fn again(&mut self) {
        self.server.again();
    }
}
