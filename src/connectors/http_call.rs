//! Calls to HTTP servers: the client that makes them, what their failures are called, and when a server asks to be tried
//! again.

use std::path::Path;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Proxy, Response, StatusCode, Url};

use super::tls::ClientTls;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::Node;

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How often a connection on which nothing comes is tried, and how often in vain before it counts as dead.
const ALIVE: (Duration, u32) = (Duration::from_secs(20), 3);
/// How often a server may send on from one address to another.
const REDIRECTS: usize = 5;
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Why a call gave nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// What happened, to go behind `cannot call …: `. No secret is in it.
    pub reason: String,
    /// Whether it may be different later without anybody doing anything about it.
    pub passes: bool,
    /// How long the server asks to be left alone.
    pub after: Option<Duration>,
}

impl CallError {
    /// What no waiting mends.
    pub fn lasting(reason: impl Into<String>) -> Self {
        CallError { reason: reason.into(), passes: false, after: None }
    }

    /// What the library says went wrong, without the address: it may hold a secret.
    pub fn of(error: &reqwest::Error) -> Self {
        let passes = !error.is_builder();
        if error.is_timeout() {
            return CallError { reason: "no answer in time".to_owned(), passes, after: None };
        }
        // The innermost reason is the system's or the protocol's, the others say what was done meanwhile.
        let mut innermost: &dyn std::error::Error = error;
        while let Some(inner) = innermost.source() {
            innermost = inner;
        }
        let reason = match std::ptr::eq(innermost, error as &dyn std::error::Error) {
            true if error.is_redirect() => "it sends from one address to another without end".to_owned(),
            true => "the request cannot be made".to_owned(),
            false => innermost.to_string(),
        };
        let reason = reason.split(" (os error").next().unwrap_or_default().to_owned();
        CallError { reason, passes, after: None }
    }

    /// What a status that is no success says.
    pub fn status(status: StatusCode, headers: &HeaderMap) -> Self {
        let soon = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        let passes = status.is_server_error() || soon.contains(&status);
        let reason = match status.is_redirection() {
            true => format!("it answers {status}, and to other hosts nothing is sent"),
            false => format!("it answers {status}"),
        };
        CallError { reason, passes, after: retry_after(headers, jiff::Timestamp::now()) }
    }
}

/// A client that goes on for months: certificates as `tls` says, through `proxy` if there is one and through none of the
/// environment's otherwise. It follows a server to other addresses on the same host alone.
pub fn client(tls: Option<&ClientTls>, proxy: Option<&str>, directory: &Path) -> Result<Client, String> {
    build(builder(tls, proxy, directory)?)
}

/// The client that was built. The error is a sentence.
pub fn build(builder: ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(|e| format!("no HTTP client can be made: {}", CallError::of(&e).reason))
}

/// What [`client`] builds, for those who want something else in it.
pub fn builder(tls: Option<&ClientTls>, proxy: Option<&str>, directory: &Path) -> Result<ClientBuilder, String> {
    let config = tls.unwrap_or(&ClientTls::default()).config(directory)?;
    let mut config = rustls::ClientConfig::clone(&config);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut builder = Client::builder()
        .tls_backend_preconfigured(config)
        .no_proxy()
        .user_agent(concat!("millstream/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::custom(stay))
        .connect_timeout(CONNECT_WITHIN)
        .tcp_keepalive(ALIVE.0)
        .tcp_keepalive_interval(ALIVE.0)
        .tcp_keepalive_retries(ALIVE.1)
        .http2_keep_alive_interval(ALIVE.0);
    if let Some(proxy) = proxy {
        let all = Proxy::all(proxy).map_err(|_| format!("`{}` is no proxy", without_secrets(proxy)))?;
        builder = builder.proxy(all);
    }
    Ok(builder)
}

/// Goes where a server sends, if that is itself; from `http` to `https` it may.
fn stay(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let origin = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
    let Some(first) = attempt.previous().first() else { return attempt.follow() };
    let same = origin(first) == origin(attempt.url())
        || (first.scheme() == "http" && attempt.url().scheme() == "https" && first.host() == attempt.url().host());
    match same {
        true if attempt.previous().len() > REDIRECTS => attempt.error("too many"),
        true => attempt.follow(),
        false => attempt.stop(),
    }
}

/// An address as it is written, or why it is none.
pub fn url_of(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("`{}` is no address: {e}", without_secrets(text)))?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err(format!("`{}` is no address of HTTP", without_secrets(text))),
    }
}

/// Pure: what is wrong with an address and a proxy, which stand under `url` and `proxy` of `node`.
pub fn check(url: &str, proxy: Option<&str>, node: &Node, found: &mut Diagnostics) {
    let mut wrong = |key: &str, message: String, help: &str| {
        let place = Some(node.get(key).unwrap_or(node).span.clone());
        found.push(Diagnostic::error("bad-http", message, place).help(help));
    };
    if let Err(why) = url_of(url) {
        wrong("url", why, "write all of it: `https://example.org/orders`");
    }
    let Some(proxy) = proxy else { return };
    let known = ["http", "https", "socks5", "socks5h"];
    if !Url::parse(proxy).is_ok_and(|url| known.contains(&url.scheme()) && url.has_host()) {
        let message = format!("`{}` is no proxy", without_secrets(proxy));
        wrong("proxy", message, "write `http://host:3128` or `socks5h://host:1080`");
    }
}

/// An address as messages have it: who logs in and what is asked for stays out.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// The same of a text that may be no address.
fn without_secrets(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match text.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, rest)| rest)),
        None => text.rsplit_once('@').map_or(text, |(_, rest)| rest).to_owned(),
    }
}

/// The body of an answer, of at most so many bytes unpacked.
pub async fn body_of(mut response: Response, most: usize) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| CallError::of(&e))? {
        if body.len() + piece.len() > most {
            return Err(CallError::lasting(format!("its answer has more than {most} bytes (`max_body`)")));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// How long `Retry-After` asks to wait: seconds, or a date. At most an hour is granted.
pub fn retry_after(headers: &HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        for (text, wanted) in [
            ("120", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
            ("99999999", Some(3_600)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), wanted.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn secrets_are_in_no_message() {
        for (text, wanted) in [
            ("ftp://ann:pw@h/x?key=1", "`ftp://h/x` is no address of HTTP"),
            ("http://ann:pw@:1", "`http://:1` is no address: empty host"),
            ("h/x?key=1", "`h/x` is no address: relative URL without a base"),
        ] {
            assert_eq!(url_of(text).unwrap_err(), wanted);
        }
        assert_eq!(shown(&url_of("https://ann:pw@h:8/x?key=1#f").unwrap()), "https://h:8/x");
    }
}
