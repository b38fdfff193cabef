//! Sink `websocket`: connects to a server by WebSocket and sends it rows.

use std::sync::Arc;
use std::time::Duration as StdDuration;
use tracing::Instrument as _;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::reconnect::Waits;
use super::sent::{
    Batch, Delivery, Latency, NotSent, Retry, Sender, Sending, Sent, default_buffer, network, promise as sent_promise,
};
use super::tls::ClientTls;
use super::websocket_link::{Connection, Target, said, websocket_options};
use super::written::{Duration, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};

/// Rows on their way at once where the options do not say.
const CONCURRENCY: u16 = 64;
/// How soon it is looked again whether there is a connection.
const LOOK_AGAIN: StdDuration = StdDuration::from_millis(200);
/// Bytes of what the other side says at most; it is not read.
const MOST_HEARD: usize = 1 << 20;

/// The sink `websocket`.
pub struct WebsocketSink;

websocket_options! {
    /// Connects to a server by WebSocket and sends it each row as a message. While there is no connection rows wait, and what
    /// waits is part of every checkpoint. Nobody says by WebSocket that a message has come: those that were on their way when a
    /// connection is lost may be lost with it.
    {
        /// Rows that are handed to a connection at once; they come in order. 64 if it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 1024))]
        pub concurrency: Option<u16>,
        /// How often it is tried again to connect. Nobody refuses a row by WebSocket, so `give_up_after` has no meaning here.
        #[serde(default)]
        pub retry: Retry,
        /// When rows are sent.
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
}

impl Options {
    fn concurrency(&self) -> usize {
        usize::from(self.concurrency.unwrap_or(CONCURRENCY))
    }

    fn sending(&self) -> Sending {
        Sending {
            batch: Batch::default(),
            retry: self.retry,
            latency: self.latency,
            buffer: self.buffer,
            buffer_on_disk: self.buffer_on_disk,
            concurrency: self.concurrency(),
            key: None,
            templates: 0,
        }
    }
}

impl SinkConnector for WebsocketSink {
    const NAME: &'static str = "websocket";
    const SENDS: bool = true;
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
        if options.retry.give_up_after != Retry::default().give_up_after {
            let help = "leave `give_up_after` out: rows wait for as long as it takes";
            wrong("retry", "nobody refuses a row by WebSocket, so that it could be given up".to_owned(), help);
        }
        options.sending().check(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let why = "sends each row over a connection that stands; nobody says whether it came";
        sent_promise(why.to_owned(), options.latency)
    }

    fn templates(_: &Options) -> Vec<String> {
        Vec::new()
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let speaker = Speaker::open(&options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(speaker), &context)?))
    }
}

/// A message, and where it is told what became of it.
type Asked = (Message, oneshot::Sender<Result<(), String>>);

/// Speaks over one connection, which is made anew when it is lost.
struct Speaker {
    asks: mpsc::Sender<Asked>,
    /// Why there is no connection, if there is none.
    down: watch::Receiver<Option<String>>,
}

impl Speaker {
    fn open(options: &Options, context: &OpenContext) -> Result<Speaker, String> {
        let target = options.target(&context.directory, MOST_HEARD)?;
        let (asks, asked) = mpsc::channel(options.concurrency().max(1));
        let (tell, down) = watch::channel(Some("there is no connection yet".to_owned()));
        let speaking = Speaking {
            name: context.name.clone(),
            target,
            first: options.send.clone(),
            keep_alive: options.keep_alive.0.to_std(),
            waits: Waits::of(options.retry.first.0.to_std(), options.retry.most.0.to_std()),
            asked,
            tell,
        };
        network()?.spawn(speaking.speak().in_current_span());
        Ok(Speaker { asks, down })
    }
}

impl Sender for Speaker {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(async move {
            let unreachable = |why: String| NotSent::Unreachable { why, after: Some(LOOK_AGAIN) };
            if let Some(why) = self.down.borrow().clone() {
                return Err(unreachable(why));
            }
            let mut text = Vec::new();
            delivery.rows.iter().for_each(|row| text.extend_from_slice(&row.text));
            if text.last() == Some(&b'\n') {
                text.pop();
            }
            let message = match String::from_utf8(text) {
                Ok(text) => Message::text(text),
                Err(e) => Message::binary(e.into_bytes()),
            };
            let (tell, told) = oneshot::channel();
            // The first poll puts it in line.
            let lost = || unreachable("the connection was lost".to_owned());
            self.asks.send((message, tell)).await.map_err(|_| lost())?;
            told.await.map_err(|_| lost())?.map_err(unreachable)
        })
    }
}

/// What speaks.
struct Speaking {
    name: String,
    target: Target,
    first: Vec<String>,
    keep_alive: StdDuration,
    waits: Waits,
    asked: mpsc::Receiver<Asked>,
    tell: watch::Sender<Option<String>>,
}

impl Speaking {
    /// Over one connection after the other, until nobody asks any more.
    async fn speak(mut self) {
        let mut waits = std::mem::take(&mut self.waits);
        loop {
            let why = match self.target.connect().await {
                Ok(mut connection) => {
                    waits.stands();
                    tracing::info!(entry = self.name, peer = self.target.shown, "connected");
                    match self.over(&mut connection, &mut waits).await {
                        Some(why) => why,
                        None => {
                            // Whoever is there no more needs no good-bye.
                            let _ = connection.close(None).await;
                            return;
                        }
                    }
                }
                Err(why) => why,
            };
            self.tell.send_replace(Some(format!("{}: {why}", self.target.shown)));
            // What is in line was meant for the connection that is gone.
            while let Ok((_, tell)) = self.asked.try_recv() {
                let _ = tell.send(Err(why.clone()));
            }
            if self.asked.is_closed() {
                return;
            }
            let wait = waits.after(false);
            waits.say(&self.name, &self.target.shown, &why, wait);
            tokio::time::sleep(wait).await;
        }
    }

    /// Over one: why it ended; nothing if nobody asks any more.
    async fn over(&mut self, connection: &mut Connection, waits: &mut Waits) -> Option<String> {
        for message in &self.first {
            if let Err(e) = connection.send(Message::text(message.as_str())).await {
                return Some(said(&e));
            }
        }
        self.tell.send_replace(None);
        let (mut heard, mut pinged) = (Instant::now(), false);
        loop {
            tokio::select! {
                asked = self.asked.recv() => {
                    let (message, tell) = asked?;
                    let sent = connection.send(message).await.map_err(|e| said(&e));
                    let lost = sent.clone().err();
                    // Whoever gave up waiting needs no answer.
                    let _ = tell.send(sent);
                    if lost.is_some() {
                        return lost;
                    }
                    waits.brought();
                }
                next = connection.next() => match next {
                    Some(Ok(Message::Close(_))) | None => return Some("the other side has closed the connection".to_owned()),
                    Some(Ok(_)) => (heard, pinged) = (Instant::now(), false),
                    Some(Err(e)) => return Some(said(&e)),
                },
                () = tokio::time::sleep_until(heard + self.keep_alive * (1 + u32::from(pinged))) => {
                    if pinged {
                        return Some("the other side does not answer any more".to_owned());
                    }
                    pinged = true;
                    if let Err(e) = connection.send(Message::Ping(Vec::new().into())).await {
                        return Some(said(&e));
                    }
                }
            }
        }
    }
}
