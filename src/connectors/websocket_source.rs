//! Source `websocket`: connects to a server by WebSocket and takes its messages.

use std::sync::Arc;
use std::time::Duration as StdDuration;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::journalled::{NotTaken, Producer, journalled};
use super::live::brought_to;
use super::reconnect::Waits;
use super::tls::ClientTls;
use super::websocket_link::{Connection, Target, said, websocket_options};
use super::written::{Duration, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::limit::CHUNK_BYTES;
use crate::base::promise::Replay;
use crate::base::tree::Node;
use crate::connector::{CheckContext, Link, OpenContext, Opened, Reach, SourceConnector, SourceError};
use crate::store::journal::Journal;

/// The largest message that may be allowed: with others it has to fit into what a journal takes at once.
const MOST_MESSAGE: u64 = 16 << 20;

/// The source `websocket`.
pub struct WebsocketSource;

websocket_options! {
    /// Connects to a server by WebSocket and takes each of its messages as an event. It connects for as long as the pipeline
    /// runs, however often the server goes. What was taken is in the journal; what is sent while there is no connection is not
    /// seen, for a server sends nothing twice.
    {
        /// Bytes of a message; a larger one ends the connection.
        #[serde(default = "default_message")]
        pub max_message: Size,
    }
}

fn default_message() -> Size {
    Size(4 << 20)
}

impl SourceConnector for WebsocketSource {
    const NAME: &'static str = "websocket";
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, None).with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        options.check_link(node, found);
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-websocket", message, place).help(help));
        };
        if options.max_message.0 == 0 || options.max_message.0 > MOST_MESSAGE {
            let message = "a message has between 1 byte and 16 MiB".to_owned();
            wrong("max_message", message, "write for example `max_message: 1MB`");
        }
    }

    fn bounded(_: &Options) -> bool {
        false
    }

    fn replay(_: &Options) -> Replay {
        Replay::Taken
    }

    fn open(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
        let failed = |message: String| SourceError { message };
        let most = usize::try_from(options.max_message.0).unwrap_or(usize::MAX);
        let target = options.target(&context.directory, most);
        let journal = Journal::shared(&context.journal).map_err(|e| failed(e.message().to_owned()))?;
        let (producer, partition) = journalled(&journal, &context.name, "")?;
        let taking = Arc::new(Taking {
            name: context.name,
            target: target.map_err(failed)?,
            first: options.send,
            keep_alive: options.keep_alive.0.to_std(),
            producer,
            link: partition.link.clone(),
        });
        let work = move || {
            let taking = Arc::clone(&taking);
            async move { taking.take().await }
        };
        Ok(vec![brought_to(partition, "websocket", work)].into())
    }
}

/// Takes the messages of one source.
struct Taking {
    name: String,
    target: Target,
    /// What is sent first.
    first: Vec<String>,
    keep_alive: StdDuration,
    producer: Producer,
    /// Tells whether it is connected.
    link: Link,
}

/// Why a connection is read no more.
enum Ended {
    /// It is gone; for people.
    Lost(String),
    /// Nobody takes messages any more.
    Over,
}

impl Taking {
    /// Takes messages, over one connection after the other, until nobody wants any.
    async fn take(&self) {
        let (name, server) = (self.name.as_str(), self.target.shown.as_str());
        let mut waits = Waits::default();
        loop {
            self.link.set(false);
            let ended = match self.target.connect().await {
                Ok(mut connection) => {
                    waits.stands();
                    tracing::info!(entry = name, peer = server, "connected");
                    self.read(&mut connection, &mut waits).await
                }
                Err(why) => Ended::Lost(why),
            };
            let Ended::Lost(why) = ended else { return };
            let wait = waits.after(false);
            waits.say(name, server, &why, wait);
            tokio::time::sleep(wait).await;
        }
    }

    async fn read(&self, connection: &mut Connection, waits: &mut Waits) -> Ended {
        for message in &self.first {
            if let Err(e) = connection.send(Message::text(message.as_str())).await {
                return Ended::Lost(said(&e));
            }
        }
        self.link.set(true);
        let (mut heard, mut asked) = (Instant::now(), false);
        loop {
            let next = tokio::select! {
                next = connection.next() => next,
                () = tokio::time::sleep_until(heard + self.keep_alive * (1 + u32::from(asked))) => {
                    if asked {
                        return Ended::Lost("the other side does not answer any more".to_owned());
                    }
                    asked = true;
                    match connection.send(Message::Ping(Vec::new().into())).await {
                        Ok(()) => continue,
                        Err(e) => return Ended::Lost(said(&e)),
                    }
                }
            };
            (heard, asked) = (Instant::now(), false);
            let mut messages = Messages::default();
            let mut last = messages.add(next);
            // What is there already goes into the journal with it.
            while last.is_none() && messages.bytes.len() < CHUNK_BYTES {
                let Some(next) = connection.next().now_or_never() else { break };
                last = messages.add(next);
            }
            if !messages.ends.is_empty() {
                waits.brought();
                match self.producer.offer(messages.bytes, messages.ends).await {
                    Ok(_) => {}
                    Err(NotTaken::Refused(why)) => {
                        tracing::error!(entry = self.name, why, "messages are not taken any more");
                        return Ended::Over;
                    }
                    Err(NotTaken::Unknown) => return Ended::Over,
                }
            }
            if let Some(why) = last {
                return Ended::Lost(why);
            }
        }
    }
}

/// Messages that came together.
#[derive(Default)]
struct Messages {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Messages {
    /// Adds what came next; why there will be no more, if there will be none.
    fn add(&mut self, next: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> Option<String> {
        match next {
            Some(Ok(Message::Text(text))) => self.push(text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => self.push(&bytes),
            Some(Ok(Message::Close(_))) | None => return Some("the other side has closed the connection".to_owned()),
            // Pings are answered by the library.
            Some(Ok(_)) => {}
            Some(Err(e)) => return Some(said(&e)),
        }
        None
    }

    fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(message);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }
}
