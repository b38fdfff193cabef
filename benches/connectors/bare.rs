//! The bare programs: the same libraries, and nothing else. What they take or have sent they append to a file, which they
//! sync per group.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, oneshot};

use crate::{Failure, PARALLEL};

/// Runs one.
pub fn run(what: &str, arguments: &[&str]) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match (what, arguments) {
        ("http_in", [port]) => runtime.block_on(http_in(port.parse()?)),
        ("http_out", [url]) => runtime.block_on(http_out(url)),
        ("mqtt_in", [port, count]) => runtime.block_on(mqtt_in(port.parse()?, count.parse()?)),
        ("mqtt_out", [port]) => runtime.block_on(mqtt_out(port.parse()?)),
        _ => Err(format!("there is no bare program `{what}` with {arguments:?}").into()),
    }
}

type Durable = mpsc::UnboundedSender<(Bytes, oneshot::Sender<()>)>;

/// A thread that appends what comes and syncs once for all that waits.
fn appender() -> Result<Durable, Failure> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Bytes, oneshot::Sender<()>)>();
    let mut file = File::create("bare.log")?;
    std::thread::spawn(move || {
        while let Some(first) = receiver.blocking_recv() {
            let mut group = vec![first];
            while let Ok(next) = receiver.try_recv() {
                group.push(next);
            }
            let text: Vec<u8> = group.iter().flat_map(|(bytes, _)| bytes.iter().copied().chain([b'\n'])).collect();
            file.write_all(&text).and_then(|()| file.sync_data()).expect("a disk");
            for (_, told) in group {
                let _ = told.send(());
            }
        }
    });
    Ok(sender)
}

async fn append(to: &Durable, bytes: Bytes) {
    let (told, durable) = oneshot::channel();
    if to.send((bytes, told)).is_ok() {
        let _ = durable.await;
    }
}

async fn http_in(port: u16) -> Result<(), Failure> {
    async fn take(State(to): State<Durable>, body: Bytes) -> (StatusCode, &'static str) {
        append(&to, body).await;
        (StatusCode::ACCEPTED, "{\"accepted\":1,\"rejected\":0}")
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, Router::new().fallback(take).with_state(appender()?)).await?)
}

fn rows() -> Result<Vec<Bytes>, Failure> {
    Ok(std::fs::read_to_string("in.ndjson")?.lines().map(|line| Bytes::copy_from_slice(line.as_bytes())).collect())
}

async fn http_out(url: &str) -> Result<(), Failure> {
    let (client, log) = (reqwest::Client::new(), appender()?);
    let sends = rows()?.into_iter().enumerate().map(|(number, row)| {
        let (client, log) = (client.clone(), log.clone());
        async move {
            let request = client.post(url).header("content-type", "application/json").body(row);
            let answer = request.send().await.expect("an answer");
            assert!(answer.status().is_success());
            let _ = answer.bytes().await;
            append(&log, Bytes::from(number.to_string())).await;
        }
    });
    futures_util::stream::iter(sends).buffer_unordered(PARALLEL).for_each(|()| std::future::ready(())).await;
    Ok(())
}

/// What both ways of MQTT are set to.
pub fn options(name: &str, port: u16) -> rumqttc::MqttOptions {
    let mut options = rumqttc::MqttOptions::new(name, ("127.0.0.1", port));
    options.set_keep_alive(30);
    options.set_outgoing_inflight_upper_limit(256);
    options
}

async fn mqtt_in(port: u16, count: usize) -> Result<(), Failure> {
    let mut options = options("bare-in", port);
    options.set_ack_mode(rumqttc::AckMode::Manual);
    let (client, mut events) = rumqttc::AsyncClient::builder(options).capacity(1_024).build();
    client.subscribe("bench/#", rumqttc::QoS::AtLeastOnce).await?;
    let log = appender()?;
    let (taken, mut acks) = mpsc::unbounded_channel::<(rumqttc::Publish, oneshot::Receiver<()>)>();
    let client = Arc::new(client);
    let acking = Arc::clone(&client);
    let acked = tokio::spawn(async move {
        let mut left = count;
        while let Some((publish, durable)) = acks.recv().await {
            let _ = durable.await;
            acking.ack(&publish).await.expect("a connection");
            left -= 1;
            if left == 0 {
                break;
            }
        }
        // The last acknowledgement is on its way.
        tokio::time::sleep(Duration::from_millis(20)).await;
    });
    tokio::pin!(acked);
    loop {
        tokio::select! {
            event = events.poll() => {
                if let rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) = event? {
                    let (told, durable) = oneshot::channel();
                    log.send((publish.payload.clone(), told))?;
                    taken.send((publish, durable))?;
                }
            }
            _ = &mut acked => return Ok(()),
        }
    }
}

async fn mqtt_out(port: u16) -> Result<(), Failure> {
    let (client, mut events) = rumqttc::AsyncClient::builder(options("bare-out", port)).capacity(PARALLEL).build();
    let (rows, log) = (rows()?, appender()?);
    let mut left = rows.len();
    tokio::spawn(async move {
        for row in rows {
            client.publish("bench/out", row, rumqttc::PublishOptions::at_least_once()).await.expect("room");
        }
        std::future::pending::<()>().await;
    });
    while left > 0 {
        if let rumqttc::Event::Incoming(rumqttc::Packet::PubAck(ack)) = events.poll().await? {
            left -= 1;
            // Nobody waits for it: what is sent is noted, in groups.
            drop(log.send((Bytes::from(ack.pkid.to_string()), oneshot::channel().0)));
        }
    }
    Ok(())
}
