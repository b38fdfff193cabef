//! The access log of Apache and nginx: the common format, and the combined one, which adds two fields.
//!
//! ```text
//! 192.0.2.1 - anna [10/Oct/2026:13:55:36 +0200] "GET /a?b=1 HTTP/1.1" 200 2326 "https://example.com/" "Mozilla/5.0"
//! client ident user time                         method path protocol status bytes referer       user_agent
//! ```
//! `time` becomes RFC 3339 (`2026-10-10T13:55:36+02:00`), `status` and `bytes` are integers, `-` is null. A request line
//! that is none (a probe, a broken client) is kept as `request`, with null for the three. What follows the known fields
//! is kept as `rest`.

use super::Malformed;
use super::object::Object;
use super::quoted;
use crate::data::json::write_int;

/// Every field that a record may have.
pub const FIELDS: [&str; 13] = [
    "client",
    "ident",
    "user",
    "time",
    "method",
    "path",
    "protocol",
    "request",
    "status",
    "bytes",
    "referer",
    "user_agent",
    "rest",
];

/// Reads a record.
pub(super) fn read(text: &str, object: &mut Object<'_>) -> Result<(), Malformed> {
    let mut line = Line { text, at: 0 };
    let client = line.until(" ", "a client address")?;
    object.text("client", client);
    let ident = line.until(" ", "the identity of the client")?;
    or_null(object, "ident", ident);
    let user = line.until(" [", "the user and a time in brackets")?;
    or_null(object, "user", user);
    let (time, at) = (line.until("]", "the end of the time")?, line.at);
    let written = rfc3339(time)
        .ok_or_else(|| Malformed::new(at - time.len() - 1, "this is not a time like `10/Oct/2026:13:55:36 +0200`"))?;
    object.member("time", |out| {
        out.push(b'"');
        out.extend_from_slice(&written);
        out.push(b'"');
    });
    line.space()?;
    request(&line.quoted("the request")?, object);
    line.space()?;
    number(&mut line, object, "status")?;
    line.space()?;
    number(&mut line, object, "bytes")?;
    if line.is_at_end() {
        return Ok(());
    }
    line.space()?;
    or_null(object, "referer", &line.quoted("the referer")?);
    line.space()?;
    or_null(object, "user_agent", &line.quoted("the user agent")?);
    let rest = line.rest().trim_ascii();
    if !rest.is_empty() {
        line.space()?;
        object.text("rest", rest);
    }
    Ok(())
}

fn or_null(object: &mut Object<'_>, name: &str, value: &str) {
    match value {
        "-" => object.plain(name, b"null"),
        _ => object.text(name, value),
    }
}

/// The parts of a request line.
fn request(line: &str, object: &mut Object<'_>) {
    let parts = request_parts(line);
    let (method, path, protocol) = parts.map_or((None, None, None), |(m, p, v)| (Some(m), Some(p), v));
    for (name, part) in [("method", method), ("path", path), ("protocol", protocol)] {
        match part {
            Some(part) => object.text(name, part),
            None => object.plain(name, b"null"),
        }
    }
    if parts.is_none() && line != "-" {
        object.text("request", line);
    }
}

fn request_parts(line: &str) -> Option<(&str, &str, Option<&str>)> {
    let (method, rest) = line.split_once(' ')?;
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_')) {
        return None;
    }
    match rest.rsplit_once(' ') {
        Some((path, protocol)) if protocol.starts_with("HTTP/") && !path.is_empty() => {
            Some((method, path, Some(protocol)))
        }
        None if !rest.is_empty() => Some((method, rest, None)),
        _ => None,
    }
}

/// A whole number or `-`.
fn number(line: &mut Line<'_>, object: &mut Object<'_>, name: &str) -> Result<(), Malformed> {
    let rest = line.rest();
    let word = rest.get(..rest.find(' ').unwrap_or(rest.len())).unwrap_or_default();
    let number = word.parse::<i64>().ok().filter(|_| word.bytes().all(|b| b.is_ascii_digit()));
    match (word, number) {
        ("-", _) => object.plain(name, b"null"),
        (_, Some(number)) => object.member(name, |out| write_int(number, out)),
        _ => return Err(Malformed::new(line.at, format!("`{name}` should be a whole number or `-` here"))),
    }
    line.at += word.len();
    Ok(())
}

/// The time of a log as RFC 3339.
fn rfc3339(time: &str) -> Option<Vec<u8>> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let bytes: &[u8; 26] = time.as_bytes().try_into().ok()?;
    let [
        d1,
        d2,
        b'/',
        m1,
        m2,
        m3,
        b'/',
        y1,
        y2,
        y3,
        y4,
        b':',
        h1,
        h2,
        b':',
        i1,
        i2,
        b':',
        s1,
        s2,
        b' ',
        sign,
        z1,
        z2,
        z3,
        z4,
    ] = *bytes
    else {
        return None;
    };
    let month = MONTHS.iter().position(|m| m.as_bytes() == [m1, m2, m3])? + 1;
    let digits = [d1, d2, y1, y2, y3, y4, h1, h2, i1, i2, s1, s2, z1, z2, z3, z4];
    let two = |a: u8, b: u8| (a - b'0') * 10 + (b - b'0');
    if !digits.iter().all(u8::is_ascii_digit)
        || !matches!(sign, b'+' | b'-')
        || !(1..=31).contains(&two(d1, d2))
        || two(h1, h2) > 23
        || two(i1, i2) > 59
        || two(s1, s2) > 60
    {
        return None;
    }
    let (tens, ones) = (month as u8 / 10 + b'0', month as u8 % 10 + b'0');
    let mut out = vec![y1, y2, y3, y4, b'-', tens, ones, b'-', d1, d2, b'T', h1, h2, b':', i1, i2, b':', s1, s2];
    out.extend_from_slice(&[sign, z1, z2, b':', z3, z4]);
    Some(out)
}

/// A record and how far it was read.
struct Line<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Line<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn is_at_end(&self) -> bool {
        self.rest().trim_ascii().is_empty()
    }

    /// What stands before `end`, which is passed over.
    fn until(&mut self, end: &str, what: &str) -> Result<&'a str, Malformed> {
        let rest = self.rest();
        match rest.find(end) {
            Some(len) if len > 0 => {
                self.at += len + end.len();
                Ok(rest.get(..len).unwrap_or_default())
            }
            _ => Err(Malformed::new(self.at, format!("{what} should stand here"))),
        }
    }

    fn space(&mut self) -> Result<(), Malformed> {
        if !self.rest().starts_with(' ') {
            return Err(Malformed::new(self.at, "a space should stand here"));
        }
        self.at += 1;
        Ok(())
    }

    fn quoted(&mut self, what: &str) -> Result<std::borrow::Cow<'a, str>, Malformed> {
        if !self.rest().starts_with('"') {
            return Err(Malformed::new(self.at, format!("{what} in quotes should stand here")));
        }
        let quoted = quoted::read(self.text, self.at, b'"')
            .ok_or_else(|| Malformed::new(self.at, "a quote is opened and never closed"))?;
        self.at = quoted.end;
        Ok(quoted.text)
    }
}
