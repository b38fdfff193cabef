//! Listening for HTTP, with or without TLS, whatever answers: HTTP sources, and the program's own interface.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::tls::ServerTls;

/// How long a peer may take to send the head of a request, or to begin the next one.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long requests under way are waited for when a port closes.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);
/// How long is waited after the system could not accept a connection: it has no more descriptors, and may have some soon.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How often files of TLS are looked at, when somebody connects.
const LOOK: Duration = Duration::from_secs(1);

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

/// The address that is written as `host:port`.
pub fn address_of(listen: &str) -> Result<SocketAddr, String> {
    let found = listen.to_socket_addrs().map_err(|e| format!("`{listen}` is no address to listen on: {e}"))?;
    found.into_iter().next().ok_or_else(|| format!("`{listen}` has no address"))
}

/// Who sends a request: an extension of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Whether nobody in between can read it.
    pub encrypted: bool,
}

/// An address that is listened on, until it is dropped.
pub struct Listening {
    /// Where: a port that was left to the system is the one that it chose.
    pub address: SocketAddr,
    /// Closed when this is: its receivers are the thread's.
    open: Option<watch::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// Answers requests to an address with `app`, from a thread of its own. Files of TLS are relative to `directory`. The error
    /// is a sentence.
    pub fn new(address: SocketAddr, wanted: &Address, directory: &Path, app: Router) -> Result<Listening, String> {
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
        let bound = listener.local_addr().map_err(cannot)?;
        let (open, closed) = watch::channel(());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let serving = Serving { app, tls, closed, connections: wanted.connections };
        let thread = std::thread::Builder::new().name("http".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serving.serve(listener))).map_err(cannot)?;
        Ok(Listening { address: bound, open: Some(open), thread: Some(thread) })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.open = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
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
                Ok((stream, address)) => drop(tokio::spawn(self.clone().greet((stream, address), permit))),
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            }
        }
        drop(listener);
        // One that does not come to an end is cut.
        let _ = tokio::time::timeout(CLOSE_WITHIN, permits.acquire_many(self.connections)).await;
    }

    /// Agrees on TLS with a peer, if it is asked for, and answers its requests.
    async fn greet(self, (stream, address): (TcpStream, SocketAddr), permit: OwnedSemaphorePermit) {
        let peer = Peer { address, encrypted: self.tls.is_some() };
        // Answers are short and whole.
        let _ = stream.set_nodelay(true);
        let tls = self.tls.as_ref().map(|tls| tls.lock().unwrap_or_else(PoisonError::into_inner).acceptor());
        match tls {
            None => self.talk(stream, peer).await,
            Some(tls) => {
                let mut closed = self.closed.clone();
                let agreed = tokio::select! {
                    _ = closed.changed() => None,
                    agreed = tokio::time::timeout(HEAD_WITHIN, tls.accept(stream)) => agreed.ok(),
                };
                // Who shows nothing, or the wrong thing, is told by TLS itself.
                if let Some(Ok(stream)) = agreed {
                    self.talk(stream, peer).await;
                }
            }
        }
        drop(permit);
    }

    /// Answers the requests of one connection.
    async fn talk(mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send, peer: Peer) {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
        let app = self.app.layer(Extension(peer));
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
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
