//! Somebody who is sent to by HTTP: remembers what came, and answers as a test wants.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::expect_used, reason = "a test that cannot go on says why")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::sync::oneshot;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Came {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Came {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What is answered: status, headers, body.
pub type Answer = (u16, Vec<(&'static str, String)>, String);

type Behaves = Box<dyn FnMut(&Came) -> Answer + Send>;

#[derive(Default)]
struct Known {
    came: Mutex<Vec<Came>>,
    behaves: Mutex<Option<Behaves>>,
}

/// The receiver; it goes when it is dropped, and may come again at its address.
pub struct Receiver {
    pub address: SocketAddr,
    known: Arc<Known>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

pub fn ok() -> Answer {
    (200, Vec::new(), String::new())
}

impl Receiver {
    /// Takes everything.
    pub fn start() -> Receiver {
        Self::at("127.0.0.1:0".parse().expect("an address"))
    }

    /// Takes everything at an address.
    pub fn at(address: SocketAddr) -> Receiver {
        let mut receiver = Receiver { address, known: Arc::default(), stop: None, thread: None };
        receiver.listen();
        receiver
    }

    /// Answers like this from now on.
    pub fn answers(&self, behaves: impl FnMut(&Came) -> Answer + Send + 'static) {
        *self.known.behaves.lock().expect("no panic") = Some(Box::new(behaves));
    }

    /// What came so far.
    pub fn came(&self) -> Vec<Came> {
        self.known.came.lock().expect("no panic").clone()
    }

    /// Listens (again).
    pub fn listen(&mut self) {
        let listener = TcpListener::bind(self.address).expect("the address is free");
        listener.set_nonblocking(true).expect("a socket");
        self.address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let known = Arc::clone(&self.known);
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let app = Router::new().fallback(answer).with_state(known);
            tokio::select! {
                served = axum::serve(listener, app) => served.expect("it serves"),
                _ = stopped => {}
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        self.stop = Some(stop);
        self.thread = Some(std::thread::spawn(move || runtime.block_on(serve)));
    }

    /// Goes: connections are cut, and nobody listens.
    pub fn leave(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.leave();
    }
}

async fn answer(
    State(known): State<Arc<Known>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or("").to_owned()));
    let (method, path) = (method.to_string(), uri.to_string());
    let came = Came { method, path, headers: headers.collect(), body: body.to_vec() };
    let behaves = &mut *known.behaves.lock().expect("no panic");
    let (status, list, text) = behaves.as_mut().map_or_else(ok, |behaves| behaves(&came));
    known.came.lock().expect("no panic").push(came);
    let mut response = (StatusCode::from_u16(status).expect("a status"), text).into_response();
    for (name, value) in list {
        response.headers_mut().insert(name, value.parse().expect("a value"));
    }
    response
}
