//! Parts of URLs, in the generic syntax of RFC 3986. A part that a URL has not is `()`.

use bumpalo::Bump;

use super::encode::decoded;
use super::{Function, Return, function, made, text};
use crate::data::value::Val;
use crate::expr::fault::Fault;

/// Ports that schemes have when a URL writes none.
const PORTS: &[(&str, i64)] = &[
    ("http", 80),
    ("https", 443),
    ("ws", 80),
    ("wss", 443),
    ("ftp", 21),
    ("ssh", 22),
    ("mqtt", 1883),
    ("mqtts", 8883),
    ("amqp", 5672),
    ("redis", 6379),
    ("nats", 4222),
    ("postgres", 5432),
    ("postgresql", 5432),
];

pub(super) fn functions() -> Vec<Function> {
    vec![
        function(
            "url_scheme(url)",
            "The scheme of a URL in small letters.",
            (r#"url_scheme("https://example.com/a")"#, r#""https""#),
            |a, arena| made(&parts(a)?.scheme.to_ascii_lowercase(), arena),
        ),
        function(
            "url_host(url)",
            "The host of a URL in small letters, without brackets.",
            (r#"url_host("https://User@Example.com:8443/a")"#, r#""example.com""#),
            host,
        ),
        function(
            "url_port(url)",
            "The port of a URL, or else that of its scheme if that is well known.",
            (r#"url_port("https://example.com/a")"#, "443"),
            port,
        ),
        function(
            "url_path(url)",
            "The path of a URL as it is written, `/` if it has a host and no path.",
            (r#"url_path("https://example.com/a/b?x=1")"#, r#""/a/b""#),
            path,
        ),
        function(
            "url_query(url)",
            "The query of a URL as it is written, without `?`.",
            (r#"url_query("https://example.com/a?x=1&y=2#top")"#, r#""x=1&y=2""#),
            |a, _| Ok(parts(a)?.query.map_or(Val::Unit, Val::Text).into()),
        ),
        function(
            "url_param(url, name)",
            "The first parameter of a name in a URL's query, decoded; empty if it has no value.",
            (r#"url_param("/search?q=a+b&page=2", "q")"#, r#""a b""#),
            param,
        ),
        function(
            "url_fragment(url)",
            "What stands after `#` in a URL, as it is written.",
            (r#"url_fragment("/a#top")"#, r#""top""#),
            |a, _| Ok(parts(a)?.fragment.map_or(Val::Unit, Val::Text).into()),
        ),
    ]
}

/// A URL taken apart.
struct Parts<'a> {
    /// Empty in a URL that is relative.
    scheme: &'a str,
    /// Host and port.
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

/// The parts of the first argument; what has no scheme is a path with what follows it.
fn parts<'a>(args: &[Val<'a>]) -> Result<Parts<'a>, Fault> {
    let cut = |text: &'a str, at: char| text.split_once(at).map_or((text, None), |(left, right)| (left, Some(right)));
    let whole = text(args, 0)?.trim();
    let (rest, fragment) = cut(whole, '#');
    let (rest, query) = cut(rest, '?');
    let named = rest.split_once(':').filter(|(scheme, _)| {
        let letters = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(letters)
    });
    let (scheme, rest) = named.unwrap_or(("", rest));
    let Some(rest) = rest.strip_prefix("//") else {
        return Ok(Parts { scheme, authority: None, path: rest, query, fragment });
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Ok(Parts { scheme, authority: Some(authority), path, query, fragment })
}

/// Host and port of an authority.
fn host_and_port(authority: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    authority.rsplit_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
}

fn host<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    match parts(args)?.authority.map(|authority| host_and_port(authority).0) {
        None | Some("") => Ok(Val::Unit.into()),
        Some(host) => made(&host.to_lowercase(), arena),
    }
}

fn port<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let parts = parts(args)?;
    let Some(authority) = parts.authority else { return Ok(Val::Unit.into()) };
    let port = match host_and_port(authority).1.filter(|port| !port.is_empty()) {
        Some(port) => {
            let number = port.parse::<u16>().ok().filter(|_| !port.starts_with('+'));
            let number = number.ok_or_else(|| Fault::Unfit(0, format!("has {port:?} for a port, which is none")))?;
            Some(number.into())
        }
        None => PORTS.iter().find(|(scheme, _)| scheme.eq_ignore_ascii_case(parts.scheme)).map(|(_, port)| *port),
    };
    Ok(port.map_or(Val::Unit, Val::Int).into())
}

fn path<'a>(args: &[Val<'a>], _: &'a Bump) -> Return<'a> {
    let parts = parts(args)?;
    Ok(Val::Text(if parts.path.is_empty() && parts.authority.is_some() { "/" } else { parts.path }).into())
}

fn param<'a>(args: &[Val<'a>], arena: &'a Bump) -> Return<'a> {
    let name = text(args, 1)?;
    for pair in parts(args)?.query.unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !pair.is_empty() && decoded(key).is_ok_and(|key| key == name) {
            return made(&decoded(value).map_err(|why| Fault::Unfit(0, why))?, arena);
        }
    }
    Ok(Val::Unit.into())
}
