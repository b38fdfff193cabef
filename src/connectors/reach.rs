//! Whether those that a pipeline talks to are there, and whether what it listens on is free: found out without saying a word
//! to anybody. And a question to a daemon.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::connector::Reach;

use super::http_call::{self, CallError, body_of};
use super::http_port::address_of;
use super::io_reason;
use super::tls::ClientTls;

/// Bytes of an answer that are read.
const ANSWER: usize = 64 << 10;
/// Ports of schemes, where an address names none; and whether TLS is spoken there.
const SCHEMES: [(&str, u16, bool); 9] = [
    ("http", 80, false),
    ("https", 443, true),
    ("ws", 80, false),
    ("wss", 443, true),
    ("mqtt", 1883, false),
    ("mqtts", 8883, true),
    ("socks5", 1080, false),
    ("socks5h", 1080, false),
    ("smtp", 25, false),
];

/// Somebody on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// A name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How TLS is spoken, if it is from the first byte.
    pub tls: Option<ClientTls>,
}

/// What a connector does with the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// It connects there.
    Peer(Peer),
    /// It listens here.
    Listens(SocketAddr),
}

/// Whom a connector talks to that reaches this with these checked options, each once.
pub fn contacts(reach: &Reach, options: &Value) -> Vec<Contact> {
    let listens = reach.listens.iter().filter_map(|listen| address_of(listen).ok());
    let mut found: Vec<Contact> = listens.map(Contact::Listens).collect();
    let tls = || options.get("tls").and_then(|tls| serde_json::from_value(tls.clone()).ok()).unwrap_or_default();
    // Who is asked through a proxy is reached by that alone.
    let through = options.get("proxy").and_then(Value::as_str);
    let directly = reach.urls.iter().map(String::as_str).filter(|_| through.is_none());
    found.extend(through.into_iter().chain(directly).filter_map(|url| peer_of(url, tls())).map(Contact::Peer));
    found.extend(reach.peers.iter().map(|(host, port)| Contact::Peer(mail_server(host, *port, options))));
    found.dedup();
    found
}

fn peer_of(url: &str, tls: ClientTls) -> Option<Peer> {
    let parsed = Url::parse(url).ok()?;
    let (_, port, encrypted) = SCHEMES.iter().find(|(scheme, ..)| *scheme == parsed.scheme())?;
    let host = parsed.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    // What an event decides cannot be tried.
    if host.contains(['{', '%']) {
        return None;
    }
    Some(Peer { host, port: parsed.port().unwrap_or(*port), tls: encrypted.then_some(tls) })
}

fn mail_server(host: &str, port: u16, options: &Value) -> Peer {
    let implicit = options.get("tls").and_then(Value::as_str) == Some("implicit");
    let ca = options.get("ca").and_then(Value::as_str).map(str::to_owned);
    let verify = options.get("verify").and_then(Value::as_bool).unwrap_or(true);
    let tls = ClientTls { ca, verify, ..ClientTls::default() };
    Peer { host: host.to_owned(), port, tls: implicit.then_some(tls) }
}

/// Whether a peer takes a connection within a time, and TLS where it is spoken. Nothing is sent beyond that. `directory` is
/// where certificates are. The error goes on after the peer's name.
pub fn reach(peer: &Peer, directory: &Path, within: Duration) -> Result<(), String> {
    let config = peer.tls.as_ref().map(|tls| tls.config(directory)).transpose()?;
    let connect = async {
        let stream = TcpStream::connect((peer.host.as_str(), peer.port)).await;
        let stream = stream.map_err(|e| format!("cannot be reached: {}", io_reason(&e)))?;
        let Some(config) = config else { return Ok(()) };
        let name = ServerName::try_from(peer.host.clone()).map_err(|_| "has no name that TLS knows".to_owned())?;
        let spoken = TlsConnector::from(Arc::clone(&config)).connect(name, stream).await;
        spoken.map(drop).map_err(|e| format!("takes a connection, but no TLS comes about: {}", io_reason(&e)))
    };
    let late = || format!("does not answer within {} s", within.as_secs());
    runtime()?.block_on(async { tokio::time::timeout(within, connect).await.unwrap_or_else(|_| Err(late())) })
}

/// Whether an address can be listened on. The error goes on after it.
pub fn is_free(address: SocketAddr) -> Result<(), String> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => Err("is in use".to_owned()),
        Err(e) => Err(format!("cannot be listened on: {}", io_reason(&e))),
    }
}

/// Asks a daemon: the status and the text of its answer. Whose certificate it shows does not matter, since nothing is told it.
/// The error is a sentence.
pub fn ask(address: SocketAddr, tls: bool, path: &str, within: Duration) -> Result<(u16, String), String> {
    let scheme = if tls { "https" } else { "http" };
    let url = http_call::url_of(&format!("{scheme}://{address}{path}"))?;
    let anybody = ClientTls { verify: false, ..ClientTls::default() };
    let client = http_call::client(Some(&anybody), None, Path::new("."))?;
    let asks = async {
        let answer = client.get(url).send().await.map_err(|e| CallError::of(&e))?;
        let status = answer.status().as_u16();
        Ok::<_, CallError>((status, String::from_utf8_lossy(&body_of(answer, ANSWER).await?).into_owned()))
    };
    let asked = runtime()?.block_on(async { tokio::time::timeout(within, asks).await });
    let late = |_| format!("{address} does not answer within {} s", within.as_secs());
    asked.map_err(late)?.map_err(|e| format!("{address} cannot be asked: {}", e.reason))
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|e| format!("the network cannot be used: {}", io_reason(&e)))
}

#[cfg(test)]
mod tests {
    use super::super::{SINKS, SOURCES};
    use super::*;
    use serde_json::json;

    fn found(kind: &str, options: Value) -> Vec<String> {
        let shown = |contact: &Contact| match contact {
            Contact::Peer(peer) => {
                format!("{}:{}{}", peer.host, peer.port, if peer.tls.is_some() { " tls" } else { "" })
            }
            Contact::Listens(address) => format!("listens {address}"),
        };
        let source = SOURCES.iter().find(|known| known.name == kind).map(|kind| (kind.reach)(&options));
        let sink = SINKS.iter().find(|known| known.name == kind).map(|kind| (kind.reach)(&options));
        // Of two kinds of one name the one that has such options.
        let reach = [source, sink].into_iter().flatten().find(|reach| *reach != Reach::nothing()).unwrap_or_default();
        contacts(&reach, &options).iter().map(shown).collect()
    }

    #[test]
    fn whom_options_name() {
        let secret = "https://me:secret@hooks.example.org/services/x?token=y";
        assert_eq!(found("http", json!({ "url": secret })), ["hooks.example.org:443 tls"]);
        let both = json!({ "url": ["http://a:9093", "http://b:9093/x"] });
        assert_eq!(found("alertmanager", both), ["a:9093", "b:9093"]);
        assert_eq!(found("mqtt", json!({ "url": "mqtts://[::1]", "topic": "t" })), ["::1:8883 tls"]);
        assert_eq!(found("http", json!({ "url": "https://x.org/{{ a }}" })), ["x.org:443 tls"]);
        assert_eq!(found("http", json!({ "url": "https://x.org", "proxy": "http://p:3128" })), ["p:3128"]);
        let mail = |more: Value| {
            let mut options = json!({ "server": "mail", "from": "a@b.c", "to": "a@b.c" });
            options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            found("email", options)
        };
        assert_eq!(mail(json!({ "tls": "implicit" })), ["mail:465 tls"]);
        assert_eq!(mail(json!({ "port": 2525 })), ["mail:2525"]);
        let listens = found("http_server", json!({ "listen": "127.0.0.1:8080", "path": "/in" }));
        assert_eq!(listens, ["listens 127.0.0.1:8080"]);
        let login =
            json!({ "oauth2": { "token_url": "https://login.example.org/t", "client_id": "i", "client_secret": "s" } });
        let client = json!({ "url": "http://a/", "every": "1s", "auth": login });
        assert_eq!(found("http_client", client), ["a:80", "login.example.org:443 tls"]);
        assert_eq!(found("file", json!({ "path": "in.ndjson" })), Vec::<String>::new());
    }

    #[test]
    fn who_is_there_and_who_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = |tls| Peer { host: "127.0.0.1".to_owned(), port: address.port(), tls };
        let within = Duration::from_secs(30);
        assert_eq!(reach(&peer(None), Path::new("."), within), Ok(()));
        assert_eq!(is_free(address), Err("is in use".to_owned()));
        // It takes connections and says nothing.
        let silent = reach(&peer(Some(ClientTls::default())), Path::new("."), Duration::from_secs(1));
        assert_eq!(silent, Err("does not answer within 1 s".to_owned()));
        drop(listener);
        assert!(reach(&peer(None), Path::new("."), within).unwrap_err().starts_with("cannot be reached: "));
        assert_eq!(is_free(address), Ok(()));
    }
}
