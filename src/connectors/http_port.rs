//! Addresses that HTTP sources listen on. One is open while somebody has a path on it; sources and pipelines of one process
//! share it by their paths.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::connector::BoxFuture;

/// How long a peer may take to send the head of a request, or to begin the next one.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long requests under way are waited for when a port closes.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// Connections of one port; beyond it they wait to be accepted.
const CONNECTIONS: usize = 4_096;
/// How long is waited after the system could not accept a connection: it has no more descriptors, and may have some soon.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What answers requests to a path.
pub trait Endpoint: Send + Sync {
    /// The answer.
    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<'static, Response>;
}

/// Ports that are open, by address.
static PORTS: Mutex<BTreeMap<SocketAddr, Weak<Port>>> = Mutex::new(BTreeMap::new());

/// An address that is listened on, until it is dropped.
struct Port {
    address: SocketAddr,
    routes: Arc<Routes>,
    /// Closed when the port is: its receivers are the thread's.
    open: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Routes(RwLock<HashMap<String, Arc<dyn Endpoint>>>);

impl Routes {
    fn get(&self, path: &str) -> Option<Arc<dyn Endpoint>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

/// A path that is answered until this is dropped.
pub struct Mounted {
    port: Arc<Port>,
    path: String,
}

impl Mounted {
    /// Answers requests to a path of an address; listens on the address if nobody in this process does. The error is a
    /// sentence.
    pub fn new(listen: &str, path: &str, endpoint: Arc<dyn Endpoint>) -> Result<Mounted, String> {
        let port = Port::at(address_of(listen)?)?;
        let mut routes = port.routes.0.write().unwrap_or_else(PoisonError::into_inner);
        if routes.contains_key(path) {
            return Err(format!("`{path}` on {listen} belongs to another source already; give each its own `path`"));
        }
        routes.insert(path.to_owned(), endpoint);
        drop(routes);
        Ok(Mounted { port, path: path.to_owned() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.port.routes.0.write().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

/// The address that is written as `host:port`.
pub fn address_of(listen: &str) -> Result<SocketAddr, String> {
    let found = listen.to_socket_addrs().map_err(|e| format!("`{listen}` is no address to listen on: {e}"))?;
    found.into_iter().next().ok_or_else(|| format!("`{listen}` has no address"))
}

fn ports() -> MutexGuard<'static, BTreeMap<SocketAddr, Weak<Port>>> {
    PORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Port {
    fn at(address: SocketAddr) -> Result<Arc<Port>, String> {
        let mut ports = ports();
        if let Some(port) = ports.get(&address).and_then(Weak::upgrade) {
            return Ok(port);
        }
        let port = Arc::new(Port::listen(address)?);
        ports.insert(address, Arc::downgrade(&port));
        Ok(port)
    }

    fn listen(address: SocketAddr) -> Result<Port, String> {
        let cannot = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("cannot listen on {address}: another program does; stop it or choose another port")
            }
            _ => format!("cannot listen on {address}: {}", super::io_reason(&e)),
        };
        // Sets SO_REUSEADDR: a port that was just closed can be opened again.
        let listener = TcpListener::bind(address).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let routes = Arc::new(Routes::default());
        let (open, closed) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let for_thread = Arc::clone(&routes);
        let thread = std::thread::Builder::new().name("http".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serve(listener, for_thread, closed))).map_err(cannot)?;
        Ok(Port { address, routes, open: Some(open), thread: Some(thread) })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Nobody finds it any more from here on: whoever opens the address next waits for the lock, and then listens anew.
        let mut ports = ports();
        self.open = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if ports.get(&self.address).is_some_and(|port| port.strong_count() == 0) {
            ports.remove(&self.address);
        }
    }
}

/// Accepts connections until the port closes, and then waits for the requests under way.
async fn serve(listener: TcpListener, routes: Arc<Routes>, mut closed: watch::Receiver<()>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let app = Router::new().fallback(answer).with_state(routes);
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let accepted = tokio::select! {
            // The sender is gone.
            _ = closed.changed() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(talk(stream, app.clone(), closed.clone(), permit))),
            Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
    drop(listener);
    let all = permits.acquire_many(u32::try_from(CONNECTIONS).unwrap_or(u32::MAX));
    // One that does not come to an end is cut.
    let _ = tokio::time::timeout(CLOSE_WITHIN, all).await;
}

/// Answers the requests of one connection.
async fn talk(stream: TcpStream, app: Router, mut closed: watch::Receiver<()>, permit: OwnedSemaphorePermit) {
    // Answers are short and whole.
    let _ = stream.set_nodelay(true);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(connection);
    tokio::select! {
        // What a peer does wrong with its connection concerns nobody else.
        _ = connection.as_mut() => {}
        _ = closed.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    drop(permit);
}

async fn answer(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    match routes.get(request.uri().path()) {
        Some(endpoint) => endpoint.answer(request).await,
        None => (StatusCode::NOT_FOUND, "nothing is received at this path\n").into_response(),
    }
}
