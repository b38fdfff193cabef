//! The thread that holds a source's connection to its broker. Three things go on in it: one asks the connection for what
//! happens and never waits for anything else, so that the broker hears of us; one puts messages into the journal and
//! acknowledges them, in order of arrival; one sees to the subscriptions.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::journalled::{Brought, NotTaken, Producer};
use super::live::{Running, Stopped};
use super::mqtt_known::{Kept, Known, hash_of, note_of};
use super::mqtt_link::{Broker, Client, Event, Message, Wire, client_of};
use super::reconnect::Waits;
use crate::base::limit::CHUNK_BYTES;
use crate::connector::{Link, Metadata};

/// Bytes of messages that wait for the journal; beyond it the connection is not read.
const WAITING_BYTES: usize = 64 << 20;
/// Bytes of the properties of a message, written as JSON; of a message with more nothing is said of them.
const MOST_PROPERTIES: usize = 256 << 10;
/// How long it is until a subscription that was refused is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long saying good-bye may take.
const GOODBYE_WITHIN: Duration = Duration::from_secs(1);

/// What a source's thread is given.
#[derive(Clone)]
pub(super) struct Session {
    /// Of the source.
    pub name: String,
    /// Who we are to which broker.
    pub id: u64,
    pub broker: Broker,
    /// What is subscribed to, and the QoS.
    pub filters: BTreeMap<String, u8>,
    /// Names of metadata that are read.
    pub wanted: Vec<String>,
    pub producer: Producer,
    /// Tells whether it is connected and subscribed.
    pub link: Link,
    pub kept: Arc<Mutex<Kept>>,
}

/// Holds a connection until what this gives is dropped.
pub(super) fn hold_on(session: Session) -> Result<Running, String> {
    let (client, wire) = client_of(&session.broker)?;
    session.link.set(false);
    Running::start("mqtt", |stopped| async move { hold(&session, client, wire, stopped).await })
}

/// Holds the connection until it is told to stop, or nobody takes messages any more.
async fn hold(session: &Session, client: Arc<dyn Client>, mut wire: Box<dyn Wire>, stopped: Stopped) {
    let (connected, connections) = watch::channel(Connection::default());
    let shared = Shared { inbox: Inbox::default(), connected };
    tokio::select! {
        () = listen(session, &shared, &mut *wire) => {}
        () = journal(session, &shared, &*client) => {}
        () = subscribe(session, &*client, connections) => {}
        _ = stopped => {}
    }
    client.disconnect();
    let goodbye = async { while !matches!(wire.next().await, Err(lost) if lost.over) {} };
    // Nobody may be there to hear it.
    let _ = tokio::time::timeout(GOODBYE_WITHIN, goodbye).await;
}

/// Which connection there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Connection {
    /// How many there were before: what came over another is not acknowledged over this one.
    number: u64,
    /// Whether it stands, and if so, whether the broker knew us.
    session: Option<bool>,
}

/// What the three share.
struct Shared {
    inbox: Inbox,
    connected: watch::Sender<Connection>,
}

/// What has come, in order.
enum Arrived {
    Message {
        message: Message,
        /// The connection that it came over.
        connection: u64,
        /// It was acknowledged already.
        answered: bool,
    },
    /// The broker knows nothing of earlier connections.
    Anew,
}

/// Where it waits for the journal.
#[derive(Default)]
struct Inbox {
    queue: RefCell<VecDeque<Arrived>>,
    bytes: Cell<usize>,
    came: Notify,
    room: Notify,
}

impl Inbox {
    fn push(&self, arrived: Arrived) {
        self.bytes.set(self.bytes.get() + weight(&arrived));
        self.queue.borrow_mut().push_back(arrived);
        self.came.notify_one();
    }

    async fn room(&self) {
        while self.bytes.get() > WAITING_BYTES {
            self.room.notified().await;
        }
    }

    /// Messages that go into the journal together; or none, if the broker begins anew.
    async fn take(&self) -> Vec<Arrived> {
        while self.queue.borrow().is_empty() {
            self.came.notified().await;
        }
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let mut queue = self.queue.borrow_mut();
        while let Some(arrived) = queue.pop_front() {
            let size = weight(&arrived);
            let stays = match &arrived {
                Arrived::Anew => !taken.is_empty(),
                // What is too large goes into the journal alone.
                Arrived::Message { message, .. } if message.beyond.is_some() => !taken.is_empty(),
                Arrived::Message { .. } => !taken.is_empty() && bytes + size > CHUNK_BYTES,
            };
            if stays {
                queue.push_front(arrived);
                break;
            }
            self.bytes.set(self.bytes.get().saturating_sub(size));
            bytes += size;
            if matches!(arrived, Arrived::Anew) {
                break;
            }
            let alone = matches!(&arrived, Arrived::Message { message, .. } if message.beyond.is_some());
            taken.push(arrived);
            if alone {
                break;
            }
        }
        self.room.notify_one();
        taken
    }
}

fn weight(arrived: &Arrived) -> usize {
    match arrived {
        Arrived::Anew => 0,
        Arrived::Message { message, .. } => {
            let properties = message.properties.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            message.payload.len() + message.topic.len() + properties
        }
    }
}

/// Asks the connection for what happens, and makes another when it is lost, for ever.
async fn listen(session: &Session, shared: &Shared, wire: &mut dyn Wire) {
    let (name, broker) = (session.name.as_str(), session.broker.shown.as_str());
    // Messages of QoS 2 of which the broker has heard that they came: the client answers them by itself.
    let mut received: HashSet<u16> = HashSet::new();
    let mut waits = Waits::default();
    loop {
        match wire.next().await {
            Ok(Event::Connected { session: known, .. }) => {
                waits.stands();
                if !known {
                    received.clear();
                    shared.inbox.push(Arrived::Anew);
                }
                tracing::info!(entry = name, peer = broker, session = known, "connected");
                shared.connected.send_modify(|connection| connection.session = Some(known));
            }
            Ok(Event::Message(message)) => {
                waits.brought();
                let answered = message.qos == 2 && received.contains(&message.packet);
                let connection = shared.connected.borrow().number;
                shared.inbox.push(Arrived::Message { message, connection, answered });
                shared.inbox.room().await;
            }
            Ok(Event::Received(packet)) => drop(received.insert(packet)),
            Ok(Event::Released(packet)) => drop(received.remove(&packet)),
            Ok(Event::Acknowledged | Event::Other) => {}
            Err(lost) if lost.over => return,
            Err(lost) => {
                session.link.set(false);
                shared.connected.send_modify(|connection| {
                    connection.number += 1;
                    connection.session = None;
                });
                let wait = waits.after(lost.taken_over);
                waits.say(name, broker, &lost.told(waits.ends_soon()), wait);
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Puts messages into the journal, and acknowledges them when they are there. Ends when nobody takes them any more.
async fn journal(session: &Session, shared: &Shared, client: &dyn Client) {
    let mut known = kept(session).known.clone();
    loop {
        let arrived = shared.inbox.take().await;
        if arrived.is_empty() {
            known.clear();
            let mut kept = kept(session);
            kept.known.clear();
            kept.changed = true;
            continue;
        }
        let brought = sort(session, &arrived, &mut known);
        match session.producer.bring(brought).await {
            Ok(_) => {}
            Err(NotTaken::Refused(why)) => {
                tracing::error!(entry = session.name, why, "messages are not taken any more");
                return;
            }
            Err(NotTaken::Unknown) => return,
        }
        for arrived in &arrived {
            let Arrived::Message { message, connection, answered: false } = arrived else { continue };
            if message.qos > 0 && *connection == shared.connected.borrow().number {
                client.acknowledge(message.packet, message.qos).await;
            }
        }
    }
}

fn kept(session: &Session) -> MutexGuard<'_, Kept> {
    session.kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What goes into the journal of what has come: all but what is there already.
fn sort(session: &Session, arrived: &[Arrived], known: &mut Known) -> Brought {
    let (mut brought, mut seen) = (Brought::default(), Vec::new());
    let describes = session.wanted.iter().any(|name| DESCRIBED.contains(&name.as_str()));
    let mut meta = describes.then(Metadata::default);
    for arrived in arrived {
        let Arrived::Message { message, .. } = arrived else { continue };
        if message.qos > 0 {
            let one = (message.packet, hash_of(&message.topic, &message.payload));
            if message.again && known.has(one) {
                tracing::debug!(entry = session.name, packet = message.packet, "came again");
                continue;
            }
            known.add(one);
            seen.push(one);
        }
        brought.refused = message.beyond.map(|bytes| {
            format!("the message has {bytes} bytes, more than the {} of `max_message`", session.broker.max_message)
        });
        brought.bytes.extend_from_slice(&message.payload);
        brought.ends.push(u32::try_from(brought.bytes.len()).unwrap_or(u32::MAX));
        if let Some(meta) = &mut meta {
            meta.push(&describe(message, &session.wanted));
        }
    }
    brought.meta = meta;
    brought.note = (!seen.is_empty()).then(|| note_of(session.id, &seen));
    brought
}

/// Names of metadata that messages have.
const DESCRIBED: [&str; 5] = ["topic", "qos", "retain", "content_type", "properties"];

/// What is said of a message, as far as it is read: a line of JSON.
fn describe(message: &Message, wanted: &[String]) -> Vec<u8> {
    let mut said = serde_json::Map::new();
    for name in wanted {
        let value = match name.as_str() {
            "topic" => String::from_utf8_lossy(&message.topic).into(),
            "qos" => message.qos.into(),
            "retain" => message.retain.into(),
            "content_type" => match &message.content_type {
                Some(kind) => kind.as_str().into(),
                None => continue,
            },
            // Of properties of the same name the last one counts, as in JSON.
            "properties" => {
                let properties = message.properties.iter();
                let properties: serde_json::Value =
                    properties.map(|(name, text)| (name.clone(), serde_json::Value::from(text.as_str()))).collect();
                if properties.to_string().len() > MOST_PROPERTIES {
                    continue;
                }
                properties
            }
            _ => continue,
        };
        said.insert(name.clone(), value);
    }
    let mut line = serde_json::Value::Object(said).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Subscribes on each connection to what the broker does not know that we want, and takes back what we no longer do.
async fn subscribe(session: &Session, client: &dyn Client, mut connections: watch::Receiver<Connection>) {
    loop {
        let connection = *connections.borrow_and_update();
        let settled = match connection.session {
            Some(known) => {
                tokio::select! {
                    settled = settle(session, client, known) => settled,
                    // Another connection, another session perhaps.
                    changed = connections.changed() => match changed {
                        Ok(()) => continue,
                        Err(_) => return,
                    },
                }
            }
            None => true,
        };
        if connection.session.is_some() {
            session.link.set(true);
        }
        tokio::select! {
            changed = connections.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(ASK_AGAIN), if !settled => {}
        }
    }
}

/// Brings the broker's subscriptions to what they should be; whether they are.
async fn settle(session: &Session, client: &dyn Client, known: bool) -> bool {
    let name = session.name.as_str();
    let before = match known {
        true => kept(session).subscribed.clone(),
        false => BTreeMap::new(),
    };
    let stale: Vec<String> = before.keys().filter(|filter| !session.filters.contains_key(*filter)).cloned().collect();
    let missing = session.filters.iter().filter(|(filter, qos)| before.get(*filter) != Some(*qos));
    let missing: Vec<(String, u8)> = missing.map(|(filter, qos)| (filter.clone(), *qos)).collect();
    let mut now = before;
    if !stale.is_empty() {
        if let Err(why) = client.unsubscribe(stale.clone()).await {
            tracing::warn!(entry = name, why, "what is no longer wanted is still subscribed to");
            return false;
        }
        now.retain(|filter, _| !stale.contains(filter));
        tracing::info!(entry = name, topics = stale.join(" "), "unsubscribed");
    }
    let mut settled = true;
    if !missing.is_empty() {
        let granted = match client.subscribe(missing.clone()).await {
            Ok(granted) => granted,
            Err(why) => {
                tracing::warn!(entry = name, why, "not subscribed");
                return false;
            }
        };
        for ((filter, asked), granted) in missing.into_iter().zip(granted) {
            match granted {
                Ok(qos) => {
                    if qos < asked {
                        tracing::warn!(entry = name, topic = filter, qos, "the broker grants a lower QoS");
                    }
                    tracing::info!(entry = name, topic = filter, qos, "subscribed");
                    now.insert(filter, asked);
                }
                Err(why) => {
                    tracing::error!(entry = name, topic = filter, why, "the broker refuses a subscription");
                    settled = false;
                }
            }
        }
    }
    let mut kept = kept(session);
    if kept.subscribed != now {
        kept.subscribed = now;
        kept.changed = true;
        if let Err(why) = kept.store() {
            tracing::error!(entry = name, why, "what is subscribed to is not remembered");
        }
    }
    settled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_a_message_is_a_short_line() {
        let mut message = Message {
            topic: "a\nb".into(),
            payload: "x".into(),
            qos: 1,
            packet: 1,
            again: false,
            retain: true,
            content_type: None,
            beyond: None,
            properties: vec![("p".into(), "1".into()), ("p".into(), "\n\"".into())],
        };
        let wanted: Vec<String> = DESCRIBED.iter().map(|name| name.to_string()).chain(["other".into()]).collect();
        let said = |message: &Message| String::from_utf8(describe(message, &wanted)).unwrap();
        assert_eq!(
            said(&message),
            "{\"topic\":\"a\\nb\",\"qos\":1,\"retain\":true,\"properties\":{\"p\":\"\\n\\\"\"}}\n"
        );
        // Six bytes for each.
        message.properties = vec![("p".into(), "\u{1}".repeat(50_000))];
        assert_eq!(said(&message), "{\"topic\":\"a\\nb\",\"qos\":1,\"retain\":true}\n");
    }
}
