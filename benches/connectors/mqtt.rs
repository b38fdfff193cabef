//! MQTT in and out, through a Mosquitto of the benchmark's own with its default limits.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use rumqttc::{AsyncClient, Event, Packet, PubAckReason, PublishOptions, QoS};

use crate::bare::options;
use crate::process::{Running, bare, millstream, mosquitto, port, row, until, until_listens};
use crate::{Failure, PARALLEL};

/// Messages of a run.
const MESSAGES: usize = 20_000;
/// How long latency is measured.
const FOR: Duration = Duration::from_secs(6);

/// Messages that may be published and not taken yet: the broker keeps a thousand for a subscriber, and drops what is beyond.
const AHEAD: usize = 500;

/// Publishes rows with acknowledgement, for as long as it is wanted; in a thread of its own.
struct Publisher {
    acknowledged: Arc<AtomicUsize>,
    /// What whoever measures knows to be taken.
    taken: Arc<AtomicUsize>,
}

impl Publisher {
    /// `rate` a second, or as fast as they are acknowledged; `text` makes the message.
    fn start(port: u16, messages: usize, rate: Option<f64>, text: fn(usize) -> String) -> Result<Publisher, Failure> {
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let taken = Arc::new(AtomicUsize::new(0));
        let (counts, known) = (Arc::clone(&acknowledged), Arc::clone(&taken));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let (client, mut events) =
                    AsyncClient::builder(options("bench-publisher", port)).capacity(PARALLEL).build();
                let started = Instant::now();
                tokio::spawn(async move {
                    for number in 0..messages {
                        if let Some(rate) = rate {
                            let due = started + Duration::from_secs_f64(number as f64 / rate);
                            tokio::time::sleep_until(due.into()).await;
                        }
                        while rate.is_none() && number > known.load(Ordering::Relaxed) + AHEAD {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        let sent = client.publish("bench/in", text(number), PublishOptions::at_least_once()).await;
                        sent.expect("room");
                    }
                    std::future::pending::<()>().await;
                });
                while let Ok(event) = events.poll().await {
                    if let Event::Incoming(Packet::PubAck(_)) = event {
                        counts.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        });
        Ok(Publisher { acknowledged, taken })
    }
}

/// Messages a second that get through to whoever `taken` counts for.
fn rate_of(mut taken: impl FnMut() -> Result<usize, Failure>, port: u16) -> Result<f64, Failure> {
    let publisher = Publisher::start(port, MESSAGES, None, row)?;
    until(|| Ok(taken()? > 0))?;
    let (started, before) = (Instant::now(), taken()?);
    until(|| {
        let now = taken()?;
        publisher.taken.store(now, Ordering::Relaxed);
        Ok(now >= MESSAGES)
    })?;
    let rate = (MESSAGES - before) as f64 / started.elapsed().as_secs_f64();
    until(|| Ok(publisher.acknowledged.load(Ordering::Relaxed) == MESSAGES))?;
    Ok(rate)
}

/// Counts the lines of a file that grows.
struct Lines {
    path: PathBuf,
    file: Option<File>,
    count: usize,
}

impl Lines {
    fn of(path: PathBuf) -> Lines {
        Lines { path, file: None, count: 0 }
    }

    fn count(&mut self) -> Result<usize, Failure> {
        if self.file.is_none() {
            self.file = File::open(&self.path).ok();
        }
        let mut more = Vec::new();
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut more)?;
        }
        self.count += more.iter().filter(|byte| **byte == b'\n').count();
        Ok(self.count)
    }
}

/// Waits until somebody has subscribed: a publisher of MQTT 5 is told when nobody has.
fn subscribed(port: u16) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, mut events) = AsyncClient::builder(options("bench-asks", port)).capacity(16).build();
        client.publish("bench", "", PublishOptions::at_least_once()).await?;
        loop {
            if let Event::Incoming(Packet::PubAck(ack)) = events.poll().await? {
                if ack.reason != PubAckReason::NoMatchingSubscribers {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                client.publish("bench", "", PublishOptions::at_least_once()).await?;
            }
        }
    })
}

/// Messages a second that the source takes and acknowledges.
pub fn received() -> Result<f64, Failure> {
    let port = port()?;
    let _broker = mosquitto(port)?;
    let yaml = format!(
        "name: p\nsources:\n  in: {{ mqtt: {{ url: \"mqtt://127.0.0.1:{port}\", topics: \"bench/#\" }} }}\nsinks:\n  out: {{ file: {{ path: out.ndjson, visible: at_once }} }}\n"
    );
    let running = millstream(&yaml, 0)?;
    subscribed(port)?;
    let mut out = Lines::of(running.home.path().join("out.ndjson"));
    rate_of(|| out.count(), port)
}

/// The same of a bare subscriber.
pub fn received_bare() -> Result<f64, Failure> {
    let port = port()?;
    let _broker = mosquitto(port)?;
    let running = bare("mqtt_in", &[port.to_string(), MESSAGES.to_string()], 0)?;
    subscribed(port)?;
    let mut out = Lines::of(running.home.path().join("bare.log"));
    rate_of(|| out.count(), port)
}

/// Counts what is published, without acknowledging.
fn count(port: u16) -> Result<Arc<AtomicUsize>, Failure> {
    let came = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&came);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ready, is_ready) = channel();
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let (client, mut events) = AsyncClient::builder(options("bench-counter", port)).capacity(16).build();
            client.subscribe("bench/out", QoS::AtMostOnce).await.expect("room");
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Packet::SubAck(_)) => drop(ready.send(())),
                    Event::Incoming(Packet::Publish(_)) => drop(counts.fetch_add(1, Ordering::Relaxed)),
                    _ => {}
                }
            }
        });
    });
    is_ready.recv()?;
    Ok(came)
}

fn sent_by(start: impl FnOnce(u16) -> Result<Running, Failure>) -> Result<f64, Failure> {
    let port = port()?;
    let _broker = mosquitto(port)?;
    let came = count(port)?;
    let mut sender = start(port)?;
    until(|| Ok(came.load(Ordering::Relaxed) > 0))?;
    let (started, before) = (Instant::now(), came.load(Ordering::Relaxed));
    until(|| Ok(came.load(Ordering::Relaxed) >= MESSAGES))?;
    let rate = (MESSAGES - before) as f64 / started.elapsed().as_secs_f64();
    until(|| sender.ended())?;
    Ok(rate)
}

/// Rows a second that the sink publishes and that are acknowledged.
pub fn sent() -> Result<f64, Failure> {
    sent_by(|port| {
        let yaml = format!(
            "name: p\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  out: {{ mqtt: {{ url: \"mqtt://127.0.0.1:{port}\", topic: bench/out }} }}\n"
        );
        millstream(&yaml, MESSAGES)
    })
}

/// The same of a bare publisher.
pub fn sent_bare() -> Result<f64, Failure> {
    sent_by(|port| bare("mqtt_out", &[port.to_string()], MESSAGES))
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_nanos()
}

/// A webhook that tells how old what comes is, in milliseconds.
fn webhook() -> Result<(String, Receiver<f64>), Failure> {
    let (port, (told, ages)) = (port()?, channel());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            let take = |State(told): State<std::sync::mpsc::Sender<f64>>, body: Bytes| async move {
                let row: serde_json::Value = serde_json::from_slice(&body).expect("a row");
                let sent: u128 = row["sent"].as_str().and_then(|at| at.parse().ok()).expect("a time");
                let _ = told.send((now() - sent) as f64 / 1e6);
            };
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
            axum::serve(listener, Router::new().fallback(take).with_state(told)).await.expect("it serves");
        });
    });
    until_listens(port)?;
    Ok((format!("http://127.0.0.1:{port}/hook"), ages))
}

/// Milliseconds from before a message is published until the webhook has it, at so many a second: the middle, and what 99 in
/// 100 stay below.
pub fn latency(rate: f64) -> Result<(f64, f64), Failure> {
    let port = port()?;
    let _broker = mosquitto(port)?;
    let (url, ages) = webhook()?;
    let yaml = format!(
        "name: p\nsources:\n  in: {{ mqtt: {{ url: \"mqtt://127.0.0.1:{port}\", topics: \"bench/#\" }} }}\nsinks:\n  out: {{ http: {{ url: \"{url}\", concurrency: {PARALLEL} }} }}\n"
    );
    let _running = millstream(&yaml, 0)?;
    subscribed(port)?;
    let messages = (rate * FOR.as_secs_f64()) as usize;
    let text = |number: usize| format!(r#"{{"n":{number},"sent":"{}"}}"#, now());
    let _publisher = Publisher::start(port, messages, Some(rate), text)?;
    let mut all = Vec::with_capacity(messages);
    while all.len() < messages {
        all.push(ages.recv_timeout(Duration::from_secs(30))?);
    }
    // The first ones open connections.
    all.drain(..messages / 10);
    all.sort_by(f64::total_cmp);
    Ok((all[all.len() / 2], all[all.len() * 99 / 100]))
}
