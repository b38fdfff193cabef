//! A connection by WebSocket, as the source and the sink make it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration as StdDuration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use url::Url;

use super::io_reason;
use super::tls::ClientTls;
use super::written::Duration;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::time::TimeSpan;
use crate::base::tree::Node;

/// How long a connection may take to be made.
const CONNECT_WITHIN: StdDuration = StdDuration::from_secs(10);

pub(super) fn default_keep_alive() -> Duration {
    Duration(TimeSpan::seconds(30))
}

/// The options of a connector of WebSocket: what source and sink have in common, and behind it its own.
macro_rules! websocket_options {
    ($(#[$about:meta])* { $($own:tt)* }) => {
        $(#[$about])*
        #[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct Options {
            /// Where the server is: `wss://example.org/stream`, or `ws://` without TLS.
            #[schemars(length(min = 1), example = "wss://example.org/stream")]
            pub url: String,
            /// Messages that are sent whenever a connection stands, to say what is wanted: `['{"subscribe": "readings"}']`.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub send: Vec<String>,
            /// Headers of the request that begins a connection: `{ Authorization: "Bearer ${TOKEN}" }`.
            #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
            pub headers: std::collections::BTreeMap<String, String>,
            /// Whom `wss://` believes, and what is shown.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub tls: Option<super::tls::ClientTls>,
            /// How long it is silent before the other side is asked whether it is still there; after as long again it is not.
            #[serde(default = "super::websocket_link::default_keep_alive")]
            pub keep_alive: Duration,
            $($own)*
        }

        impl Options {
            /// Pure: what the types do not hold.
            fn check_link(&self, node: &Node, found: &mut Diagnostics) {
                super::websocket_link::check((&self.url, self.keep_alive), self.tls.as_ref(), node, found);
            }

            /// I/O: where it goes.
            fn target(&self, directory: &std::path::Path, most: usize) -> Result<Target, String> {
                Target::of(&self.url, &self.headers, self.tls.as_ref(), directory, most)
            }
        }
    };
}

pub(super) use websocket_options;

/// Pure: what is wrong with options that source and sink have in common.
pub(super) fn check(
    (url, keep_alive): (&str, Duration),
    tls: Option<&ClientTls>,
    node: &Node,
    found: &mut Diagnostics,
) {
    let mut wrong = |key: &str, message: String, help: &str| {
        let place = Some(node.get(key).unwrap_or(node).span.clone());
        found.push(Diagnostic::error("bad-websocket", message, place).help(help));
    };
    if let Some(why) = bad_url(url, tls.is_some()) {
        wrong("url", why, "write it like `wss://example.org/stream`");
    }
    if keep_alive.0 < TimeSpan::seconds(1) {
        wrong("keep_alive", "`keep_alive` is at least 1s".to_owned(), "write for example `keep_alive: 30s`");
    }
    if let Some(tls) = tls {
        tls.check(node.get("tls").unwrap_or(node), found);
    }
}

/// What a connection runs over.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection that stands.
pub(super) type Connection = WebSocketStream<Box<dyn Duplex>>;

/// Where it goes, and how.
pub(super) struct Target {
    /// For people: without what is secret.
    pub shown: String,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    request: Request,
    most: usize,
}

/// What is wrong with an address, if anything is.
fn bad_url(url: &str, tls: bool) -> Option<String> {
    match address_of(url) {
        Err(why) => Some(why),
        Ok((_, _, secure)) => {
            (tls && !secure).then(|| "this `url` is spoken to without TLS; write `wss://`".to_owned())
        }
    }
}

/// Host, port and whether it is with TLS.
fn address_of(url: &str) -> Result<(String, u16, bool), String> {
    let parsed = Url::parse(url).map_err(|e| format!("this is no address: {e}"))?;
    let (port, secure) = match parsed.scheme() {
        "ws" => (80, false),
        "wss" => (443, true),
        other => return Err(format!("`{other}://` is no WebSocket; write `ws://` or `wss://`")),
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("who we are does not belong into the address; write it into `headers`".to_owned());
    }
    let Some(host) = parsed.host_str().filter(|host| !host.is_empty()) else {
        return Err("the address has no host".to_owned());
    };
    Ok((host.to_owned(), parsed.port().unwrap_or(port), secure))
}

impl Target {
    /// I/O: reads what TLS needs.
    pub(super) fn of(
        url: &str,
        headers: &BTreeMap<String, String>,
        tls: Option<&ClientTls>,
        directory: &Path,
        most: usize,
    ) -> Result<Target, String> {
        let (host, port, secure) = address_of(url)?;
        let tls = match (secure, tls) {
            (false, _) => None,
            (true, Some(tls)) => Some(tls.config(directory)?),
            (true, None) => Some(ClientTls::default().config(directory)?),
        };
        let mut request = url.into_client_request().map_err(|e| format!("this is no address: {e}"))?;
        for (name, value) in headers {
            let header =
                HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
            // What it is may be a secret.
            let value = HeaderValue::from_str(value).map_err(|_| format!("the header `{name}` cannot be sent"))?;
            request.headers_mut().insert(header, value);
        }
        Ok(Target { shown: format!("{host}:{port}"), host, port, tls, request, most })
    }

    /// Makes a connection. The error is for people.
    pub async fn connect(&self) -> Result<Connection, String> {
        let made = tokio::time::timeout(CONNECT_WITHIN, self.try_connect()).await;
        made.unwrap_or_else(|_| Err("nobody answers".to_owned()))
    }

    async fn try_connect(&self) -> Result<Connection, String> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.port)).await.map_err(|e| io_reason(&e))?;
        // Messages are small and are waited for.
        let _ = stream.set_nodelay(true);
        let stream: Box<dyn Duplex> = match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from(host.to_owned()).map_err(|e| format!("`{host}` is no name: {e}"))?;
                let connector = TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name, stream).await.map_err(|e| e.to_string())?)
            }
        };
        let config = WebSocketConfig::default().max_message_size(Some(self.most)).max_frame_size(Some(self.most));
        let made = client_async_with_config(self.request.clone(), stream, Some(config)).await;
        made.map(|(connection, _)| connection).map_err(|e| said(&e))
    }
}

/// What happened to a connection, for people.
pub(super) fn said(error: &WsError) -> String {
    match error {
        WsError::Io(e) => io_reason(e),
        WsError::ConnectionClosed | WsError::AlreadyClosed => "the other side has closed the connection".to_owned(),
        WsError::Http(response) => format!("the other side answers {} and not with a WebSocket", response.status()),
        WsError::Capacity(_) => "a message is larger than `max_message`".to_owned(),
        other => other.to_string(),
    }
}
