//! A server of HTTP to be asked, that can be stopped at any moment and started again at its address.
#![allow(dead_code)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use tokio::sync::oneshot;

/// What it was asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: String,
}

impl Asked {
    /// A parameter behind the address.
    pub fn query(&self, name: &str) -> Option<String> {
        let pairs = url::form_urlencoded::parse(self.uri.query().unwrap_or_default().as_bytes());
        pairs.into_owned().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

type Answers = Arc<dyn Fn(&Asked) -> Response + Send + Sync>;

pub struct Peer {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    answers: Answers,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// An answer with a body.
pub fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let builder = headers.iter().fold(Response::builder().status(status), |b, (name, value)| b.header(*name, *value));
    builder.body(body.into()).unwrap()
}

impl Peer {
    pub fn start(answers: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Peer {
        let mut peer = Peer { port: 0, asked: Arc::default(), answers: Arc::new(answers), running: None };
        peer.run();
        peer
    }

    /// Listens again.
    pub fn run(&mut self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).unwrap();
        self.port = listener.local_addr().unwrap().port();
        let (asked, answers) = (Arc::clone(&self.asked), Arc::clone(&self.answers));
        let handle = move |uri: Uri, headers: HeaderMap, body: String| async move {
            let question = Asked { uri, headers, body };
            asked.lock().unwrap().push(question.clone());
            answers(&question)
        };
        let app = Router::new().fallback(handle);
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            tokio::select! {
                served = axum::serve(listener, app) => served.unwrap(),
                _ = stopped => {}
            }
        };
        // What the runtime still does ends with it.
        self.running = Some((stop, std::thread::spawn(move || runtime.block_on(serve))));
    }

    /// Cuts every connection and listens no more.
    pub fn stop(&mut self) {
        let (stop, thread) = self.running.take().unwrap();
        drop(stop);
        thread.join().unwrap();
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}
