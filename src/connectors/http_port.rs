//! Addresses that HTTP sources listen on. One is open while somebody has a path on it; sources and pipelines of one process
//! share it by their paths.

use std::collections::{BTreeMap, HashMap};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::tls::ServerTls;
use crate::connector::BoxFuture;

/// How long a peer may take to send the head of a request, or to begin the next one.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long requests under way are waited for when a port closes.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long is waited after the system could not accept a connection: it has no more descriptors, and may have some soon.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How often files of TLS are looked at, when somebody connects.
const LOOK: Duration = Duration::from_secs(1);

/// What answers requests to a path.
pub trait Endpoint: Send + Sync {
    /// The answer.
    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<'static, Response>;
}

/// What holds for all who share an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where: `host:port`.
    pub listen: String,
    /// Connections at a time; more wait to be accepted.
    pub connections: u32,
    /// What is shown and who is let in; without it nothing is encrypted.
    pub tls: Option<ServerTls>,
}

/// Ports that are open, by address. One that is closing is still there, and cannot be upgraded.
static PORTS: Mutex<BTreeMap<SocketAddr, Weak<Port>>> = Mutex::new(BTreeMap::new());
/// Paths of addresses that a source will answer soon, or did until now.
static EXPECTED: Mutex<Vec<(SocketAddr, String)>> = Mutex::new(Vec::new());
/// Wakes when a port has closed.
static CLOSED: Condvar = Condvar::new();

/// An address that is listened on, until it is dropped.
struct Port {
    address: SocketAddr,
    /// As whoever opened it wanted it.
    wanted: Address,
    routes: Arc<Routes>,
    /// Closed when the port is: its receivers are the thread's.
    open: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Routes {
    address: SocketAddr,
    paths: RwLock<HashMap<String, Arc<dyn Endpoint>>>,
}

impl Routes {
    /// Answers a path; if it is answered already, that path.
    fn add<'a>(&self, (path, endpoint): (&'a str, Arc<dyn Endpoint>)) -> Result<(), &'a str> {
        let mut routes = self.paths.write().unwrap_or_else(PoisonError::into_inner);
        if routes.contains_key(path) {
            return Err(path);
        }
        routes.insert(path.to_owned(), endpoint);
        Ok(())
    }

    fn get(&self, path: &str) -> Option<Arc<dyn Endpoint>> {
        self.paths.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

/// A path that is answered until this is dropped.
pub struct Mounted {
    port: Arc<Port>,
    path: String,
}

impl Mounted {
    /// Answers requests to a path of an address; listens on the address if nobody in this process does. Files of TLS are
    /// relative to `directory`. The error is a sentence.
    pub fn new(
        address: &Address,
        directory: &Path,
        path: &str,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<Mounted, String> {
        // Which files are meant is told by where they are: the same text may mean others in another directory.
        let tls = address.tls.as_ref().map(|tls| tls.at(directory));
        let port = Port::at(&Address { tls, ..address.clone() }, directory, (path, endpoint))?;
        Ok(Mounted { port, path: path.to_owned() })
    }
}

/// While it is there, whoever sends to a path that is not answered yet, or no more, is told to come again.
pub struct Expected(SocketAddr, String);

impl Expected {
    /// A source has this path on an address.
    pub fn new(address: SocketAddr, path: &str) -> Expected {
        EXPECTED.lock().unwrap_or_else(PoisonError::into_inner).push((address, path.to_owned()));
        Expected(address, path.to_owned())
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        let mut expected = EXPECTED.lock().unwrap_or_else(PoisonError::into_inner);
        let own = expected.iter().position(|(address, path)| (*address, path) == (self.0, &self.1));
        own.map(|own| expected.swap_remove(own));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.port.routes.paths.write().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
}

/// The address that is written as `host:port`.
pub fn address_of(listen: &str) -> Result<SocketAddr, String> {
    let found = listen.to_socket_addrs().map_err(|e| format!("`{listen}` is no address to listen on: {e}"))?;
    found.into_iter().next().ok_or_else(|| format!("`{listen}` has no address"))
}

impl Port {
    /// The port at an address, with a path on it. A new one has the path before it takes its first request.
    fn at(wanted: &Address, directory: &Path, route: (&str, Arc<dyn Endpoint>)) -> Result<Arc<Port>, String> {
        let address = address_of(&wanted.listen)?;
        let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(port) = ports.get(&address) {
            match port.upgrade() {
                Some(port) if port.wanted == *wanted => {
                    // Whoever lets it go waits for the list of ports.
                    drop(ports);
                    port.routes.add(route).map_err(|path| {
                        let listen = &wanted.listen;
                        format!("`{path}` on {listen} belongs to another source already; give each its own `path`")
                    })?;
                    return Ok(port);
                }
                Some(port) => {
                    drop(ports);
                    let key = if port.wanted.tls == wanted.tls { "connections" } else { "tls" };
                    return Err(format!(
                        "sources that share {address} need the same `{key}`; another has it otherwise"
                    ));
                }
                // It is closing: the system gives the address to nobody else until that is done.
                None => ports = CLOSED.wait(ports).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let port = Arc::new(Port::listen(address, wanted, directory, route)?);
        ports.insert(address, Arc::downgrade(&port));
        Ok(port)
    }

    fn listen(
        address: SocketAddr,
        wanted: &Address,
        directory: &Path,
        route: (&str, Arc<dyn Endpoint>),
    ) -> Result<Port, String> {
        let tls = wanted.tls.as_ref().map(|tls| Renewed::read(tls, directory)).transpose()?;
        let tls = tls.map(|tls| Arc::new(Mutex::new(tls)));
        let cannot = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("cannot listen on {address}: another program does; stop it or choose another port")
            }
            _ => format!("cannot listen on {address}: {}", super::io_reason(&e)),
        };
        // Sets SO_REUSEADDR: a port that was just closed can be opened again.
        let listener = TcpListener::bind(address).map_err(cannot)?;
        listener.set_nonblocking(true).map_err(cannot)?;
        let routes = Arc::new(Routes { address, paths: RwLock::default() });
        let _ = routes.add(route);
        let (open, closed) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let app = Router::new().fallback(answer).with_state(Arc::clone(&routes));
        let serving = Serving { app, tls, closed, connections: wanted.connections };
        let thread = std::thread::Builder::new().name("http".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serving.serve(listener))).map_err(cannot)?;
        Ok(Port { address, wanted: wanted.clone(), routes, open: Some(open), thread: Some(thread) })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Nobody finds it any more: whoever opens the address next waits until it is free, and then listens anew.
        self.open = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        PORTS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.address);
        CLOSED.notify_all();
    }
}

/// TLS as its files have it: certificates end, and whoever renews them does not stop a pipeline for it.
struct Renewed {
    tls: ServerTls,
    directory: PathBuf,
    acceptor: TlsAcceptor,
    looked: Instant,
    /// When the files were written.
    written: Vec<Option<SystemTime>>,
}

impl Renewed {
    fn read(tls: &ServerTls, directory: &Path) -> Result<Renewed, String> {
        // Looked at first: what is written meanwhile is read again.
        let written = tls.written(directory);
        let acceptor = acceptor(tls, directory)?;
        Ok(Renewed { tls: tls.clone(), directory: directory.to_owned(), acceptor, looked: Instant::now(), written })
    }

    /// What the next connection is met with; files that were changed are read again. If they are not right, those before count.
    fn acceptor(&mut self) -> TlsAcceptor {
        if self.looked.elapsed() < LOOK {
            return self.acceptor.clone();
        }
        self.looked = Instant::now();
        let written = self.tls.written(&self.directory);
        if written != self.written {
            self.written = written;
            match acceptor(&self.tls, &self.directory) {
                Ok(acceptor) => self.acceptor = acceptor,
                Err(why) => tracing::warn!("certificates were changed and cannot be used, those before are: {why}"),
            }
        }
        self.acceptor.clone()
    }
}

fn acceptor(tls: &ServerTls, directory: &Path) -> Result<TlsAcceptor, String> {
    let mut config = rustls::ServerConfig::clone(&*tls.config(directory)?);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// What the connections of a port share.
#[derive(Clone)]
struct Serving {
    app: Router,
    tls: Option<Arc<Mutex<Renewed>>>,
    /// Changes when the port closes.
    closed: watch::Receiver<()>,
    connections: u32,
}

impl Serving {
    /// Accepts connections until the port closes, and then waits for the requests under way.
    async fn serve(mut self, listener: TcpListener) {
        let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
        let permits = Arc::new(Semaphore::new(self.connections as usize));
        loop {
            let permit = tokio::select! {
                // The sender is gone.
                _ = self.closed.changed() => break,
                permit = Arc::clone(&permits).acquire_owned() => permit,
            };
            let Ok(permit) = permit else { return };
            let accepted = tokio::select! {
                _ = self.closed.changed() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => drop(tokio::spawn(self.clone().greet(stream, permit))),
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
        drop(listener);
        // One that does not come to an end is cut.
        let _ = tokio::time::timeout(CLOSE_WITHIN, permits.acquire_many(self.connections)).await;
    }

    /// Agrees on TLS with a peer, if it is asked for, and answers its requests.
    async fn greet(self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Answers are short and whole.
        let _ = stream.set_nodelay(true);
        let tls = self.tls.as_ref().map(|tls| tls.lock().unwrap_or_else(PoisonError::into_inner).acceptor());
        match tls {
            None => self.talk(stream).await,
            Some(tls) => {
                let mut closed = self.closed.clone();
                let agreed = tokio::select! {
                    _ = closed.changed() => None,
                    agreed = tokio::time::timeout(HEAD_WITHIN, tls.accept(stream)) => agreed.ok(),
                };
                // Who shows nothing, or the wrong thing, is told by TLS itself.
                if let Some(Ok(stream)) = agreed {
                    self.talk(stream).await;
                }
            }
        }
        drop(permit);
    }

    /// Answers the requests of one connection.
    async fn talk(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.app));
        tokio::pin!(connection);
        tokio::select! {
            // What a peer does wrong with its connection concerns nobody else.
            _ = connection.as_mut() => {}
            _ = self.closed.changed() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
}

async fn answer(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    let path = request.uri().path();
    if let Some(endpoint) = routes.get(path) {
        return endpoint.answer(request).await;
    }
    let expected = EXPECTED.lock().unwrap_or_else(PoisonError::into_inner);
    if expected.iter().any(|(address, known)| *address == routes.address && known == path) {
        let why = "the pipeline begins or ends at this moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], why).into_response();
    }
    (StatusCode::NOT_FOUND, "nothing is received at this path\n").into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    struct Fine;

    impl Endpoint for Fine {
        fn answer(self: Arc<Self>, _: Request) -> BoxFuture<'static, Response> {
            Box::pin(std::future::ready(StatusCode::OK.into_response()))
        }
    }

    fn free_address() -> String {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
    }

    fn mount(address: &Address, directory: &Path, path: &str) -> Result<Mounted, String> {
        Mounted::new(address, directory, path, Arc::new(Fine))
    }

    fn status(listen: &str, path: &str) -> Option<u16> {
        let mut stream = std::net::TcpStream::connect(listen).ok()?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.split(' ').nth(1)?.parse().ok()
    }

    #[test]
    fn of_two_who_share_an_address_one_may_go() {
        let listen = free_address();
        let address = Address { listen: listen.clone(), connections: 8, tls: None };
        let here = Path::new(".");
        let one = mount(&address, here, "/one").unwrap();
        let other = mount(&address, here, "/other").unwrap();
        assert!(mount(&address, here, "/one").err().unwrap().contains("belongs to another source already"));
        let fewer = Address { connections: 7, ..address.clone() };
        assert!(mount(&fewer, here, "/third").err().unwrap().contains("need the same `connections`"));
        assert_eq!((status(&listen, "/one"), status(&listen, "/other")), (Some(200), Some(200)));
        drop(one);
        assert_eq!((status(&listen, "/one"), status(&listen, "/other")), (Some(404), Some(200)));
        let expected = Expected::new(address_of(&listen).unwrap(), "/one");
        assert_eq!(status(&listen, "/one"), Some(503), "somebody comes for it");
        drop(expected);
        let again = mount(&address, here, "/one").unwrap();
        drop(other);
        assert_eq!((status(&listen, "/one"), status(&listen, "/other")), (Some(200), Some(404)));
        drop(again);
        assert_eq!(status(&listen, "/one"), None, "nobody listens");
        // Who comes then may want it otherwise.
        drop(mount(&fewer, here, "/one").unwrap());
    }

    #[test]
    fn tls_is_the_same_if_its_files_are() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
            let shown = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
            std::fs::write(dir.path().join(name).join("cert.pem"), shown.pem()).unwrap();
            std::fs::write(dir.path().join(name).join("key.pem"), key.serialize_pem()).unwrap();
        }
        let tls = |within: &str| {
            let at = |name: &str| format!("{within}{name}");
            Some(ServerTls { certificate: at("cert.pem"), key: at("key.pem"), client_ca: None })
        };
        let address =
            |within: &str, listen: &str| Address { listen: listen.to_owned(), connections: 8, tls: tls(within) };
        let (listen, a, b) = (free_address(), dir.path().join("a"), dir.path().join("b"));
        let _one = mount(&address("", &listen), &a, "/one").unwrap();
        // The same text, and other files.
        assert!(mount(&address("", &listen), &b, "/two").err().unwrap().contains("need the same `tls`"));
        // The same files, by another text.
        mount(&address("../a/", &listen), &b, "/two").unwrap();
    }
}
