//! HTTP in and out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use futures_util::StreamExt as _;

use crate::process::{Running, bare, millstream, port, row, until, until_listens};
use crate::{Failure, PARALLEL};

/// How long is sent.
const FOR: Duration = Duration::from_secs(4);
/// Rows that are sent.
const ROWS: usize = 20_000;

/// Requests a second that the source takes.
pub fn received() -> Result<f64, Failure> {
    let port = port()?;
    let yaml = format!(
        "name: p\nsources:\n  in: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }} }}\nsinks:\n  out: {{ discard: {{}} }}\n"
    );
    let _running = millstream(&yaml, 0)?;
    until_listens(port)?;
    send_for(&format!("http://127.0.0.1:{port}/in"))
}

/// The same of a bare server.
pub fn received_bare() -> Result<f64, Failure> {
    let port = port()?;
    let _running = bare("http_in", &[port.to_string()], 0)?;
    until_listens(port)?;
    send_for(&format!("http://127.0.0.1:{port}/in"))
}

fn send_for(url: &str) -> Result<f64, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = reqwest::Client::new();
    let started = Instant::now();
    let answered = runtime.block_on(async {
        let senders = (0..PARALLEL).map(|_| async {
            let mut answered = 0usize;
            while started.elapsed() < FOR {
                let request = client.post(url).header("content-type", "application/json").body(row(answered));
                let answer = request.send().await?;
                assert_eq!(answer.status(), 202);
                answer.bytes().await?;
                answered += 1;
            }
            Ok::<usize, reqwest::Error>(answered)
        });
        let all = futures_util::stream::iter(senders).buffer_unordered(PARALLEL);
        all.fold(Ok(0), |sum, of| async move { Ok::<usize, reqwest::Error>(sum? + of?) }).await
    })?;
    Ok(answered as f64 / started.elapsed().as_secs_f64())
}

/// Somebody who takes everything, and counts.
struct Receiver {
    url: String,
    came: Arc<AtomicUsize>,
}

impl Receiver {
    fn start() -> Result<Receiver, Failure> {
        let (port, came) = (port()?, Arc::new(AtomicUsize::new(0)));
        let counts = Arc::clone(&came);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let count = |State(came): State<Arc<AtomicUsize>>, _: axum::body::Bytes| async move {
                    came.fetch_add(1, Ordering::Relaxed);
                };
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("the port is free");
                let served = axum::serve(listener, Router::new().fallback(count).with_state(counts)).await;
                served.expect("it serves");
            });
        });
        until_listens(port)?;
        Ok(Receiver { url: format!("http://127.0.0.1:{port}/out"), came })
    }

    /// Rows a second, from the first that comes.
    fn rate(&self, mut sender: Running) -> Result<f64, Failure> {
        until(|| Ok(self.came.load(Ordering::Relaxed) > 0))?;
        let (started, before) = (Instant::now(), self.came.load(Ordering::Relaxed));
        until(|| Ok(self.came.load(Ordering::Relaxed) >= ROWS))?;
        let rate = (ROWS - before) as f64 / started.elapsed().as_secs_f64();
        until(|| sender.ended())?;
        Ok(rate)
    }
}

/// Rows a second that the sink sends.
pub fn sent() -> Result<f64, Failure> {
    let receiver = Receiver::start()?;
    let yaml = format!(
        "name: p\nsources:\n  in: {{ file: {{ path: in.ndjson }} }}\nsinks:\n  out: {{ http: {{ url: \"{}\", concurrency: {PARALLEL} }} }}\n",
        receiver.url
    );
    receiver.rate(millstream(&yaml, ROWS)?)
}

/// The same of a bare client.
pub fn sent_bare() -> Result<f64, Failure> {
    let receiver = Receiver::start()?;
    receiver.rate(bare("http_out", std::slice::from_ref(&receiver.url), ROWS)?)
}
