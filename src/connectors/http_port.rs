//! Addresses that HTTP sources listen on. One is open while somebody has a path on it; sources and pipelines of one process
//! share it by their paths. Where a pipeline lets its paths go and is to have them again in a moment (it pauses, or goes on as
//! its file says now) its ports stay open, and whoever sends is told to come again.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse as _, Response};

pub use super::http_listen::{Address, address_of};

use super::http_listen::Listening;
use crate::connector::BoxFuture;

/// What answers requests to a path.
pub trait Endpoint: Send + Sync {
    /// The answer.
    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<'static, Response>;
}

/// Ports that are open, by address. One that is closing is still there, and cannot be upgraded.
static PORTS: Mutex<BTreeMap<SocketAddr, Weak<Port>>> = Mutex::new(BTreeMap::new());
/// Paths of addresses that a source will answer soon, or did until now.
static EXPECTED: Mutex<Vec<(SocketAddr, String)>> = Mutex::new(Vec::new());
/// Pipelines that let paths go and will have them again, and what they let go.
static GOING_ON: Mutex<GoingOn> = Mutex::new(GoingOn { owners: Vec::new(), left: Vec::new() });
/// Wakes when a port has closed.
static CLOSED: Condvar = Condvar::new();

/// An address that is listened on, until it is dropped.
struct Port {
    address: SocketAddr,
    /// As whoever opened it wanted it.
    wanted: Address,
    routes: Arc<Routes>,
    /// Closed when the port is.
    listening: Option<Listening>,
}

struct Routes {
    address: SocketAddr,
    paths: RwLock<HashMap<String, Arc<dyn Endpoint>>>,
}

#[derive(Default)]
struct GoingOn {
    /// Each as often as there is a [`GoesOn`] of it.
    owners: Vec<PathBuf>,
    left: Vec<Left>,
}

/// A path that nobody answers for now.
struct Left {
    owner: PathBuf,
    port: Arc<Port>,
    path: String,
}

fn going_on() -> MutexGuard<'static, GoingOn> {
    GOING_ON.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out what was left and is so: it is for the caller to let it go, without the list's lock, for ports close then.
fn take_left(is: impl Fn(&GoingOn, &Left) -> bool) -> Vec<Left> {
    let mut all = going_on();
    let left = std::mem::take(&mut all.left);
    let (taken, kept) = left.into_iter().partition(|left| is(&all, left));
    all.left = kept;
    taken
}

/// While it is there, ports stay open that the sources of a pipeline let go.
pub struct GoesOn(PathBuf);

impl GoesOn {
    /// Of the pipeline with this journal.
    pub fn new(journal: &Path) -> GoesOn {
        going_on().owners.push(journal.to_owned());
        GoesOn(journal.to_owned())
    }
}

impl Drop for GoesOn {
    fn drop(&mut self) {
        let mut all = going_on();
        let own = all.owners.iter().position(|owner| *owner == self.0);
        own.map(|own| all.owners.swap_remove(own));
        drop(all);
        drop(take_left(|all, left| !all.owners.contains(&left.owner)));
    }
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
    owner: PathBuf,
}

impl Mounted {
    /// Answers requests to a path of an address; listens on the address if nobody in this process does. Files of TLS are
    /// relative to `directory`; `owner` is the journal of its pipeline. The error is a sentence.
    pub fn new(
        address: &Address,
        (directory, owner): (&Path, &Path),
        path: &str,
        endpoint: Arc<dyn Endpoint>,
    ) -> Result<Mounted, String> {
        // Which files are meant is told by where they are: the same text may mean others in another directory.
        let tls = address.tls.as_ref().map(|tls| tls.at(directory));
        let port = Port::at(&Address { tls, ..address.clone() }, directory, (path, endpoint))?;
        // Its own paths are answered again.
        drop(take_left(|_, left| Arc::ptr_eq(&left.port, &port) && left.path == path));
        Ok(Mounted { port, path: path.to_owned(), owner: owner.to_owned() })
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
        let mut all = going_on();
        if all.owners.contains(&self.owner) {
            let (owner, port, path) = (self.owner.clone(), Arc::clone(&self.port), self.path.clone());
            all.left.push(Left { owner, port, path });
        }
        drop(all);
        self.port.routes.paths.write().unwrap_or_else(PoisonError::into_inner).remove(&self.path);
    }
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
                // It is only kept open for who wants it otherwise now.
                Some(port) if port.is_left() => {
                    drop(ports);
                    drop(take_left(|_, left| Arc::ptr_eq(&left.port, &port)));
                    drop(port);
                    ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn is_left(&self) -> bool {
        self.routes.paths.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn listen(
        address: SocketAddr,
        wanted: &Address,
        directory: &Path,
        route: (&str, Arc<dyn Endpoint>),
    ) -> Result<Port, String> {
        let routes = Arc::new(Routes { address, paths: RwLock::default() });
        let _ = routes.add(route);
        let app = Router::new().fallback(answer).with_state(Arc::clone(&routes));
        let listening = Some(Listening::new(address, wanted, directory, app)?);
        Ok(Port { address, wanted: wanted.clone(), routes, listening })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // Nobody finds it any more: whoever opens the address next waits until it is free, and then listens anew.
        self.listening = None;
        PORTS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.address);
        CLOSED.notify_all();
    }
}

async fn answer(State(routes): State<Arc<Routes>>, request: Request) -> Response {
    let path = request.uri().path();
    if let Some(endpoint) = routes.get(path) {
        return endpoint.answer(request).await;
    }
    let expected = EXPECTED.lock().unwrap_or_else(PoisonError::into_inner);
    let expected = expected.iter().any(|(address, known)| *address == routes.address && known == path);
    if expected || going_on().left.iter().any(|left| left.port.address == routes.address && left.path == path) {
        let why = "the pipeline begins, pauses or ends at this moment\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], why).into_response();
    }
    (StatusCode::NOT_FOUND, "nothing is received at this path\n").into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::super::tls::ServerTls;
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
        Mounted::new(address, (directory, Path::new("j")), path, Arc::new(Fine))
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
    fn a_port_stays_open_for_who_goes_on() {
        let listen = free_address();
        let address = Address { listen: listen.clone(), connections: 8, tls: None };
        let one = mount(&address, Path::new("."), "/one").unwrap();
        let (goes_on, other) = (GoesOn::new(Path::new("j")), GoesOn::new(Path::new("other")));
        drop(one);
        assert_eq!((status(&listen, "/one"), status(&listen, "/two")), (Some(503), Some(404)));
        let one = mount(&address, Path::new("."), "/one").unwrap();
        assert_eq!(status(&listen, "/one"), Some(200));
        drop(one);
        // It may come again otherwise.
        let fewer = Address { connections: 7, ..address.clone() };
        let two = mount(&fewer, Path::new("."), "/two").unwrap();
        assert_eq!((status(&listen, "/one"), status(&listen, "/two")), (Some(404), Some(200)));
        drop(goes_on);
        drop(two);
        assert_eq!(status(&listen, "/two"), None, "nobody listens, though others go on");
        let one = mount(&address, Path::new("."), "/one").unwrap();
        let goes_on = GoesOn::new(Path::new("j"));
        drop(one);
        assert_eq!(status(&listen, "/one"), Some(503));
        drop(goes_on);
        assert_eq!(status(&listen, "/one"), None);
        drop(other);
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
