//! A connection to an MQTT broker as the source and the sink see it: one small contract over the clients of both versions
//! of the protocol, which differ in their types and not in what they do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ClientConfig;

use super::mqtt_options::{Version, Will};
use super::{mqtt_v4, mqtt_v5};
use crate::connector::BoxFuture;

/// Requests that wait for a client: acknowledgements and messages. Whoever makes more waits.
pub(super) const REQUESTS: usize = 4_096;
/// Messages on their way to the broker at once, if it takes as many.
pub(super) const IN_FLIGHT: u16 = 256;

/// How long a connection may take to be made.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Where the broker is, who comes to it, and what is asked of it.
#[derive(Clone)]
pub(super) struct Broker {
    /// For people: without what is secret.
    pub shown: String,
    pub host: String,
    pub port: u16,
    /// The whole address if it is spoken to over WebSocket.
    pub websocket: Option<String>,
    pub tls: Option<Arc<ClientConfig>>,
    pub version: Version,
    pub client_id: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// Seconds.
    pub keep_alive: u16,
    pub will: Option<Will>,
    /// Whether nothing is kept from one connection to the next.
    pub clean: bool,
    /// Seconds for which the broker keeps the session; version 5.
    pub session_expiry: u32,
    /// Messages that are on their way to us at once; version 5.
    pub receive_maximum: Option<u16>,
    /// Bytes of the largest message that is taken.
    pub max_message: u32,
}

/// What happens on a connection.
pub(super) enum Event {
    /// It stands.
    Connected {
        /// Whether the broker knows who we are from before.
        session: bool,
        /// Bytes of the largest packet that the broker takes, if it says.
        largest: Option<u32>,
    },
    /// A message has come.
    Message(Message),
    /// The broker has a message that was sent.
    Acknowledged,
    /// The broker was told that a message of QoS 2 has come.
    Received(u16),
    /// The broker will not bring that message again.
    Released(u16),
    /// Something that is of no matter here.
    Other,
}

/// A message as it came.
pub(super) struct Message {
    pub topic: Bytes,
    pub payload: Bytes,
    pub qos: u8,
    /// What it is acknowledged by; 0 of QoS 0.
    pub packet: u16,
    /// Whether the broker may have brought it before.
    pub again: bool,
    pub retain: bool,
    pub content_type: Option<String>,
    pub properties: Vec<(String, String)>,
    /// Of one that is larger than it may be: the bytes of its packet. Then `payload` is its beginning.
    pub beyond: Option<u64>,
}

/// A message to be sent.
pub(super) struct Outgoing {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub retain: bool,
    pub content_type: Option<String>,
    pub properties: Vec<(String, String)>,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// For people; the part of a sentence that follows a colon.
    pub why: String,
    /// Another client has come by our name.
    pub taken_over: bool,
    /// It was ended from here.
    pub over: bool,
}

impl Lost {
    /// Why, with what is suspected if connections end again and again as soon as they stand: not every broker says that
    /// another has come, and in 3.1.1 none can.
    pub fn told(&self, ends_soon: bool) -> String {
        match ends_soon && !self.taken_over {
            true => format!(
                "{}; it ends each connection soon: perhaps another client comes by the same `client_id`",
                self.why
            ),
            false => self.why.clone(),
        }
    }

    pub fn because(why: impl ToString) -> Lost {
        Lost { why: why.to_string(), taken_over: false, over: false }
    }
}

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotSent {
    /// The connection went; it may have come or not.
    Lost,
    /// The broker does not take it at the moment.
    NotNow(String),
    /// The broker refuses it.
    Refused(String),
}

/// Goes on only while it is asked for the next event; after one is lost, the next call makes another connection.
pub(super) trait Wire: Send {
    fn next(&mut self) -> BoxFuture<'_, Result<Event, Lost>>;
}

/// What is asked of the broker. None of it may be awaited by whoever asks the [`Wire`] for events.
pub(super) trait Client: Send + Sync {
    /// A message need not come again.
    fn acknowledge(&self, packet: u16, qos: u8) -> BoxFuture<'_, ()>;
    /// Of each filter what QoS it was granted, or why it was not.
    fn subscribe(&self, filters: Vec<(String, u8)>) -> BoxFuture<'_, Result<Vec<Result<u8, String>>, String>>;
    fn unsubscribe(&self, filters: Vec<String>) -> BoxFuture<'_, Result<(), String>>;
    /// Comes back when the broker has the message; of QoS 0, when it is on its way. Messages go in the order of calls.
    fn publish(&self, message: Outgoing) -> BoxFuture<'_, Result<(), NotSent>>;
    /// Says good-bye.
    fn disconnect(&self);
}

/// A client of a broker; nothing is sent yet.
pub(super) fn client_of(broker: &Broker) -> Result<(Arc<dyn Client>, Box<dyn Wire>), String> {
    match broker.version {
        Version::V5 => mqtt_v5::client_of(broker),
        Version::V311 => mqtt_v4::client_of(broker),
    }
}
