//! Who is let in. Programs on the same machine need no token where the interface is only for them; then nothing but the
//! address tells a friend from a page in somebody's browser, so requests that come from other pages, or to a name that is not
//! this machine's (DNS rebinding), are refused.

use std::net::{IpAddr, SocketAddr};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN,
    REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Shared;
use super::problem::Problem;
use crate::connectors::http_listen::Peer;
use crate::service::access::Role;

/// How the interface is reached.
#[derive(Clone, Debug)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// Names by which it may be asked for, besides its address.
    pub hosts: Vec<String>,
    /// Whether everybody needs a token, programs on this machine too.
    pub tokens: bool,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The name of the token, or `local`.
    pub name: String,
    /// What they may do.
    pub role: Role,
}

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED: [HeaderName; 2] = [HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("forwarded")];

/// What browsers are told with every answer.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Adds them.
pub async fn headers(request: Request, next: Next) -> Response {
    let mut answer = next.run(request).await;
    for (name, value) in HEADERS {
        answer.headers_mut().entry(name).or_insert(value);
    }
    answer
}

/// Lets in whoever has the role, or says why not. What changes something is written down.
pub async fn check(
    State((service, role)): State<(Shared, Role)>,
    Extension(peer): Extension<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let changes = request.method() != Method::GET && request.method() != Method::HEAD;
    let who = host(&service.door, request.headers())
        .and_then(|()| if changes { site(request.headers()) } else { Ok(()) })
        .and_then(|()| who(&service, peer, request.headers()))
        .and_then(|who| if who.role >= role { Ok(who) } else { Err(too_little(&who, role)) });
    let (path, method) = (request.uri().path().to_owned(), request.method().clone());
    let who = match who {
        Ok(who) => who,
        Err(problem) => {
            let answer = problem.into_response();
            service.audit.note(("-", peer.address), (method.as_str(), &path), answer.status().as_u16());
            return answer;
        }
    };
    request.extensions_mut().insert(who.clone());
    let answer = next.run(request).await;
    if changes {
        service.audit.note((&who.name, peer.address), (method.as_str(), &path), answer.status().as_u16());
    }
    answer
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A host without its port.
fn bare(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or(six),
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    }
}

/// The name that was asked for must be one of this machine's: a page that has made its own name mean this address is not let
/// in by it.
fn host(door: &Door, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(asked) = text(headers, HOST).map(bare) else { return Err(Problem::bad("the request has no `Host`")) };
    let of_door = door.hosts.iter().any(|host| host.eq_ignore_ascii_case(asked));
    if of_door || asked.eq_ignore_ascii_case("localhost") || asked.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let why = format!("`{asked}` is not a name of this address; start `serve` with `--host {asked}` if it is");
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, why))
}

/// What changes something must come from a program or from the page that this process shows.
fn site(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = || Problem::new(StatusCode::FORBIDDEN, "the request comes from another site's page");
    if text(headers, FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return Err(refused());
    }
    let Some(origin) = text(headers, ORIGIN) else { return Ok(()) };
    let of_origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if of_origin.is_some() && of_origin == text(headers, HOST) { Ok(()) } else { Err(refused()) }
}

/// Who asks, by their token, or because they are on this machine.
fn who(service: &super::Service, peer: Peer, headers: &HeaderMap) -> Result<Who, Problem> {
    let unknown =
        |why: &str| Problem::new(StatusCode::UNAUTHORIZED, why).header(WWW_AUTHENTICATE, "Bearer realm=\"millstream\"");
    if let Some(shown) = headers.get(AUTHORIZATION) {
        let token = shown.to_str().ok().and_then(|shown| shown.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let found = token.and_then(|token| service.tokens.whose(token));
        return found.map(|t| Who { name: t.name, role: t.role }).ok_or_else(|| unknown("the token is not known"));
    }
    // What a proxy on this machine hands on comes from anywhere.
    let handed_on = FORWARDED.iter().any(|name| headers.contains_key(name));
    let local = peer.address.ip().to_canonical().is_loopback() && !handed_on;
    if local && !service.door.tokens {
        return Ok(Who { name: "local".to_owned(), role: Role::Admin });
    }
    Err(unknown("a token is needed: `Authorization: Bearer …`; `millstream token add` makes one"))
}

fn too_little(who: &Who, role: Role) -> Problem {
    let (name, has, needs) = (&who.name, who.role.word(), role.word());
    Problem::new(StatusCode::FORBIDDEN, format!("`{name}` has the role `{has}`, and this needs `{needs}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(HeaderName, &'static str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn names_that_are_not_ours_are_refused() {
        let door = Door { address: ([127, 0, 0, 1], 1).into(), hosts: vec!["mill.example".into()], tokens: false };
        let asked = |name: &'static str| host(&door, &headers(&[(HOST, name)])).is_ok();
        for ours in ["localhost:8080", "127.0.0.1", "[::1]:80", "10.0.0.7:9", "MILL.example:1", "mill.example"] {
            assert!(asked(ours), "{ours}");
        }
        for others in ["evil.example", "localhost.evil.example:80", "127.0.0.1.nip.example", ""] {
            assert!(!asked(others), "{others}");
        }
        assert!(host(&door, &HeaderMap::new()).is_err());
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let from = |given: &[(HeaderName, &'static str)]| site(&headers(given)).is_ok();
        let here = (HOST, "localhost:8080");
        assert!(from(std::slice::from_ref(&here)), "a program");
        assert!(from(&[here.clone(), (ORIGIN, "http://localhost:8080"), (FETCH_SITE, "same-origin")]));
        assert!(!from(&[here.clone(), (ORIGIN, "http://localhost:9090")]));
        assert!(!from(&[here.clone(), (ORIGIN, "null")]));
        assert!(!from(&[here.clone(), (FETCH_SITE, "cross-site")]));
        assert!(!from(&[here, (FETCH_SITE, "same-site")]));
    }
}
