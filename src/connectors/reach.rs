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

/// Whom a connector with these checked options talks to, each once.
pub fn contacts(options: &Value) -> Vec<Contact> {
    let mut found = Vec::new();
    if let Some(address) = options.get("listen").and_then(Value::as_str).and_then(|listen| address_of(listen).ok()) {
        found.push(Contact::Listens(address));
    }
    let tls = || options.get("tls").and_then(|tls| serde_json::from_value(tls.clone()).ok()).unwrap_or_default();
    // Who is asked through a proxy is reached by that alone.
    let through = options.get("proxy").and_then(Value::as_str);
    let urls = match (through, options.get("url")) {
        (Some(proxy), _) => vec![proxy],
        (None, Some(Value::Array(urls))) => urls.iter().filter_map(Value::as_str).collect(),
        (None, url) => url.and_then(Value::as_str).into_iter().collect(),
    };
    let token = options.get("auth").and_then(find_token_url).filter(|_| through.is_none());
    for url in urls.into_iter().chain(token) {
        found.extend(peer_of(url, tls()).map(Contact::Peer));
    }
    found.extend(mail_server(options).map(Contact::Peer));
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

fn find_token_url(auth: &Value) -> Option<&str> {
    let Value::Object(members) = auth else { return None };
    let own = members.get("token_url").and_then(Value::as_str);
    own.or_else(|| members.values().find_map(find_token_url))
}

fn mail_server(options: &Value) -> Option<Peer> {
    let host = options.get("server")?.as_str()?.to_owned();
    let implicit = options.get("tls").and_then(Value::as_str) == Some("implicit");
    let usual = match options.get("tls").and_then(Value::as_str) {
        Some("implicit") => 465,
        Some("none") => 25,
        _ => 587,
    };
    let port = options.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let ca = options.get("ca").and_then(Value::as_str).map(str::to_owned);
    let verify = options.get("verify").and_then(Value::as_bool).unwrap_or(true);
    let tls = ClientTls { ca, verify, ..ClientTls::default() };
    Some(Peer { host, port: port.unwrap_or(usual), tls: implicit.then_some(tls) })
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
    use super::*;
    use serde_json::json;

    fn found(options: Value) -> Vec<String> {
        let shown = |contact: &Contact| match contact {
            Contact::Peer(peer) => {
                format!("{}:{}{}", peer.host, peer.port, if peer.tls.is_some() { " tls" } else { "" })
            }
            Contact::Listens(address) => format!("listens {address}"),
        };
        contacts(&options).iter().map(shown).collect()
    }

    #[test]
    fn whom_options_name() {
        let secret = "https://me:secret@hooks.example.org/services/x?token=y";
        assert_eq!(found(json!({ "url": secret })), ["hooks.example.org:443 tls"]);
        assert_eq!(found(json!({ "url": ["http://a:9093", "http://b:9093/x"] })), ["a:9093", "b:9093"]);
        assert_eq!(found(json!({ "url": "mqtts://[::1]" })), ["::1:8883 tls"]);
        assert_eq!(found(json!({ "url": "https://x.org/{{ a }}" })), ["x.org:443 tls"]);
        assert_eq!(found(json!({ "url": "https://x.org", "proxy": "http://p:3128" })), ["p:3128"]);
        assert_eq!(found(json!({ "server": "mail", "tls": "implicit" })), ["mail:465 tls"]);
        assert_eq!(found(json!({ "server": "mail", "port": 2525 })), ["mail:2525"]);
        assert_eq!(found(json!({ "listen": "127.0.0.1:8080", "path": "/in" })), ["listens 127.0.0.1:8080"]);
        let login = json!({ "oauth2": { "token_url": "https://login.example.org/t" } });
        assert_eq!(found(json!({ "url": "http://a/", "auth": login })), ["a:80", "login.example.org:443 tls"]);
        assert_eq!(found(json!({ "path": "in.ndjson" })), Vec::<String>::new());
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
