//! Sink `mqtt`: publishes rows at a broker, each until the broker has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use tokio::sync::{oneshot, watch};

use super::mqtt_link::{Client, Event, NotSent as Unsent, Outgoing, Wire, client_of};
use super::mqtt_options::{Version, bad_topic, mqtt_options};
use super::reconnect::Waits;
use super::sent::texts::{Text, Texts};
use super::sent::{
    Batch, Delivery, Latency, NotSent, Retry, Sender, Sending, Sent, default_buffer, network, promise as sent_promise,
};
use super::tls::ClientTls;
use super::written::{Duration, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};

/// Messages on their way at once where the options do not say.
const CONCURRENCY: u16 = 128;
/// How soon it is looked again whether there is a connection.
const LOOK_AGAIN: StdDuration = StdDuration::from_millis(200);
/// Bytes of a packet beside its topic, payload and properties, at most.
const OVERHEAD: usize = 64;
/// How long saying good-bye may take.
const GOODBYE_WITHIN: StdDuration = StdDuration::from_secs(1);

/// The sink `mqtt`.
pub struct MqttSink;

mqtt_options! {
    /// Publishes rows at an MQTT broker, each a message: `mqtt: { url: "mqtt://localhost:1883", topic: "warm/{{ device_id }}" }`.
    /// With QoS 1 and 2 a row is published again and again until the broker has it; what waits is part of every checkpoint, and
    /// messages come in the order of rows, also over lost connections. After those and after a crash some come again, in MQTT 5
    /// with the same user property `id`. Rows that the broker refuses go to the sink's `.errors`; where nobody reads that they
    /// become dead letters.
    {
        /// Where rows are published; it may depend on the row: `warm/{{ device_id }}`.
        #[schemars(length(min = 1), example = "warm/{{ device_id }}")]
        pub topic: String,
        /// The quality of service: 0 (may be lost), 1 (comes at least once) or 2.
        #[serde(default = "default_qos")]
        #[schemars(range(max = 2))]
        pub qos: u8,
        /// Whether the broker keeps the last message of each topic for those who subscribe later.
        #[serde(default)]
        pub retain: bool,
        /// MQTT 5: user properties; their values may depend on the row: `{ site: "{{ site }}" }`.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub properties: BTreeMap<String, String>,
        /// MQTT 5: what kind of content it is: `application/json`. It may depend on the row.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub content_type: Option<String>,
        /// MQTT 5: the user property that has the row's id, which is the same whenever the row comes again. Empty: none.
        #[serde(default = "default_id")]
        pub id_property: String,
    }
    /// Messages on their way at once, not yet acknowledged; they come in order. 128 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: Option<u16>,
    /// How often it is tried again: to connect, and in MQTT 5 to publish what the broker cannot take at the moment.
    #[serde(default)]
    pub retry: Retry,
    /// When rows are published.
    #[serde(default)]
    pub latency: Latency,
    /// Bytes of rows that wait at most before what feeds the sink is held back.
    #[serde(default = "default_buffer")]
    pub buffer: Size,
    /// Bytes of rows that wait on the disk, beside the state, when `buffer` is full; only then what feeds the sink is held
    /// back. Left out: none do.
    #[serde(default)]
    pub buffer_on_disk: Option<Size>,
}

fn default_qos() -> u8 {
    1
}

fn default_id() -> String {
    "id".to_owned()
}

impl Options {
    fn taken(&self) -> Taken {
        let mut texts = Texts::default();
        let topic = texts.add(&self.topic);
        let properties = self.properties.iter().map(|(name, text)| (name.clone(), texts.add(text))).collect();
        let content_type = self.content_type.as_deref().map(|text| texts.add(text));
        Taken { topic, properties, content_type, templates: texts.templates }
    }

    fn sending(&self) -> Sending {
        Sending {
            batch: Batch::default(),
            retry: self.retry,
            latency: self.latency,
            buffer: self.buffer,
            buffer_on_disk: self.buffer_on_disk,
            concurrency: usize::from(self.concurrency.unwrap_or(CONCURRENCY)),
            key: None,
            templates: self.taken().templates.len(),
        }
    }
}

/// Texts of the options, taken apart.
struct Taken {
    topic: Text,
    properties: Vec<(String, Text)>,
    content_type: Option<Text>,
    templates: Vec<String>,
}

impl SinkConnector for MqttSink {
    const NAME: &'static str = "mqtt";
    const SENDS: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, None).with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        options.way().check(node, found);
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-mqtt", message, place).help(help));
        };
        if options.qos > 2 {
            wrong("qos", "a QoS is 0, 1 or 2".to_owned(), "write for example `qos: 1`");
        }
        if options.taken().topic.is_plain()
            && let Some(why) = bad_topic(&options.topic)
        {
            wrong("topic", why, "write the topic that rows are published to: `warm/{{ device_id }}`");
        }
        if options.version == Version::V311 {
            let needs = |what: &str| format!("MQTT 3.1.1 has no {what}");
            if !options.properties.is_empty() {
                wrong("properties", needs("user properties"), "leave `properties` out, or `version`");
            }
            if options.content_type.is_some() {
                wrong("content_type", needs("content type"), "leave `content_type` out, or `version`");
            }
        }
        options.sending().check(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let why = match (options.qos, options.version) {
            (0, _) => "publishes each row, and with `qos: 0` does not ask whether it came",
            (_, Version::V5) if !options.id_property.is_empty() => {
                "publishes each row until the broker has it, always under the same id: who goes by it sees each once"
            }
            _ => "publishes each row until the broker has it; after a crash some come again",
        };
        sent_promise(why.to_owned(), options.latency)
    }

    fn templates(options: &Options) -> Vec<String> {
        options.taken().templates
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let publisher = Publisher::open(options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(publisher), &context)?))
    }
}

/// Publishes over one connection, which is made anew when it is lost.
struct Publisher {
    client: Arc<dyn Client>,
    connection: watch::Receiver<Connection>,
    options: Options,
    taken: Taken,
    /// Closed when it is to end.
    _stop: oneshot::Sender<()>,
}

/// The connection that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Connection {
    /// None, and why.
    Down(String),
    /// One, and the bytes of the largest packet that it takes.
    Up(Option<u32>),
}

impl Publisher {
    fn open(options: Options, context: &OpenContext) -> Result<Publisher, String> {
        let broker = options.way().broker(context)?;
        let (client, wire) = client_of(&broker)?;
        let (tell, connection) = watch::channel(Connection::Down("there is no connection yet".to_owned()));
        let (stop, stopped) = oneshot::channel();
        let (name, shown, of_wire) = (context.name.clone(), broker.shown, Arc::clone(&client));
        let waits = Waits::of(options.retry.first.0.to_std(), options.retry.most.0.to_std());
        network()?.spawn(async move {
            let mut wire = wire;
            tokio::select! {
                () = hold(&name, &shown, &mut *wire, &tell, waits) => return,
                _ = stopped => of_wire.disconnect(),
            }
            let goodbye = async { while !matches!(wire.next().await, Err(lost) if lost.over) {} };
            // Nobody may be there to hear it.
            let _ = tokio::time::timeout(GOODBYE_WITHIN, goodbye).await;
        });
        Ok(Publisher { client, connection, taken: options.taken(), options, _stop: stop })
    }

    /// The message that a row becomes; the error is why it never can be sent.
    fn message(&self, delivery: &Delivery, largest: Option<u32>) -> Result<Outgoing, String> {
        let topic = self.taken.topic.of(delivery).into_owned();
        if let Some(why) = bad_topic(&topic) {
            return Err(why);
        }
        let mut payload = Vec::new();
        delivery.rows.iter().for_each(|row| payload.extend_from_slice(&row.text));
        if payload.last() == Some(&b'\n') {
            payload.pop();
        }
        let of = |(name, text): &(String, Text)| (name.clone(), text.of(delivery).into_owned());
        let mut properties: Vec<(String, String)> = self.taken.properties.iter().map(of).collect();
        if self.options.version == Version::V5 && !self.options.id_property.is_empty() {
            properties.push((self.options.id_property.clone(), delivery.id()));
        }
        let content_type = self.taken.content_type.as_ref().map(|text| text.of(delivery).into_owned());
        let said: usize = properties.iter().map(|(name, value)| name.len() + value.len() + 5).sum();
        let size = payload.len() + topic.len() + said + content_type.as_ref().map_or(0, String::len) + OVERHEAD;
        if largest.is_some_and(|largest| size > usize::try_from(largest).unwrap_or(usize::MAX)) {
            return Err(format!("the message has about {size} bytes, more than the broker takes"));
        }
        let (qos, retain) = (self.options.qos, self.options.retain);
        Ok(Outgoing { topic, payload, qos, retain, content_type, properties })
    }
}

impl Sender for Publisher {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(async move {
            let mut connection = self.connection.clone();
            let down = |why: String| NotSent::Unreachable { why, after: Some(LOOK_AGAIN) };
            let largest = match connection.borrow_and_update().clone() {
                Connection::Down(why) => return Err(down(why)),
                Connection::Up(largest) => largest,
            };
            let message = self.message(delivery, largest).map_err(|why| NotSent::Refused { why })?;
            tokio::select! {
                biased;
                sent = self.client.publish(message) => match sent {
                    Ok(()) => Ok(()),
                    Err(Unsent::Lost) => Err(down("the connection was lost".to_owned())),
                    Err(Unsent::NotNow(why)) => {
                        Err(NotSent::Failed { why: format!("the broker does not take it ({why})"), after: None })
                    }
                    Err(Unsent::Refused(why)) => Err(NotSent::Refused { why: format!("the broker refuses it ({why})") }),
                },
                // What was under way over it is given up by the client, too.
                _ = connection.changed() => Err(down("the connection was lost".to_owned())),
            }
        })
    }
}

/// Keeps the connection going, and says whether there is one.
async fn hold(name: &str, broker: &str, wire: &mut dyn Wire, tell: &watch::Sender<Connection>, mut waits: Waits) {
    loop {
        match wire.next().await {
            Ok(Event::Connected { largest, .. }) => {
                waits.stands();
                tracing::info!(entry = name, peer = broker, "connected");
                tell.send_replace(Connection::Up(largest));
            }
            Ok(Event::Acknowledged) => waits.brought(),
            Ok(_) => {}
            Err(lost) if lost.over => return,
            Err(lost) => {
                tell.send_replace(Connection::Down(format!("the broker at {broker}: {}", lost.why)));
                let wait = waits.after(lost.taken_over);
                waits.say(name, broker, &lost.told(waits.ends_soon()), wait);
                tokio::time::sleep(wait).await;
            }
        }
    }
}
