//! What HTTP sources say of their events: headers that an author chose, and of server-sent events the kind and the id.

use reqwest::header::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::Node;

/// Headers that may be chosen.
const MOST: usize = 16;
/// Bytes of a value that are said.
const VALUE_BYTES: usize = 1 << 10;
/// What names of headers have in them whose values let somebody in, or tell that he may.
const SECRETS: [&str; 9] =
    ["authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "signature", "credential"];

/// Pure: whether headers can be said, which are written at `meta_headers` of `node`.
pub fn check(headers: &[String], node: &Node, found: &mut Diagnostics) {
    let mut wrong = |message: String, help: &str| {
        let place = Some(node.get("meta_headers").unwrap_or(node).span.clone());
        found.push(Diagnostic::error("bad-http", message, place).help(help));
    };
    if headers.len() > MOST {
        wrong(format!("there are {} headers, more than {MOST}", headers.len()), "choose those that are read");
    }
    for (at, header) in headers.iter().enumerate() {
        let name = header.to_ascii_lowercase();
        if HeaderName::from_bytes(name.as_bytes()).is_err() {
            wrong(format!("`{header}` is no header"), "write for example `meta_headers: [X-Request-Id]`");
        } else if SECRETS.iter().any(|secret| name.contains(secret)) {
            wrong(format!("`{header}` may hold what lets somebody in"), "leave it out: events say no secrets");
        } else if headers.iter().take(at).any(|before| key_of(before) == key_of(header)) {
            wrong(format!("`{header}` is there twice"), "write it once");
        }
    }
}

/// What a header is called in `meta.headers`: `X-Request-Id` is `x_request_id`.
fn key_of(header: &str) -> String {
    header.to_ascii_lowercase().replace('-', "_")
}

/// What is read of what can be said.
#[derive(Debug)]
pub struct Said {
    headers: Vec<(HeaderName, String)>,
    event: bool,
    event_id: bool,
}

impl Said {
    /// Of these headers, if the pipeline reads the metadata of these names; nothing if it reads none of it.
    pub fn of(headers: &[String], wanted: &[String]) -> Option<Said> {
        let reads = |name: &str| wanted.iter().any(|wanted| wanted == name);
        let chosen = headers.iter().filter(|_| reads("headers"));
        let chosen = chosen.filter_map(|name| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, key_of(name))));
        let said = Said { headers: chosen.collect(), event: reads("event"), event_id: reads("event_id") };
        (reads("headers") || said.event || said.event_id).then_some(said)
    }

    /// What is said of the events that came with these.
    pub fn of_headers(&self, headers: &HeaderMap) -> SaidOf {
        let value = |name: &HeaderName| {
            let text = headers.get(name)?.to_str().ok()?;
            let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= VALUE_BYTES).unwrap_or(text.len());
            text.get(..end).map(Value::from)
        };
        let said = self.headers.iter().filter_map(|(name, key)| Some((key.clone(), value(name)?)));
        let headers: Map<String, Value> = said.collect();
        let mut object = Map::new();
        if !self.headers.is_empty() {
            object.insert("headers".to_owned(), headers.into());
        }
        SaidOf { event: self.event, event_id: self.event_id, line: line_of(&object), object }
    }
}

/// What is said of events that came together.
#[derive(Debug, Clone)]
pub struct SaidOf {
    object: Map<String, Value>,
    line: Vec<u8>,
    event: bool,
    event_id: bool,
}

impl SaidOf {
    /// A JSON object on a line, as metadata has it.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The same of a server-sent event.
    pub fn with_event(&self, kind: &str, id: Option<&str>) -> SaidOf {
        let mut object = self.object.clone();
        let kind = if kind.is_empty() { "message" } else { kind };
        let said = [("event", self.event.then_some(kind)), ("event_id", id.filter(|_| self.event_id))];
        for (name, text) in said.into_iter().filter_map(|(name, text)| Some((name, text?))) {
            // One that is longer than anybody's is nobody's.
            if text.len() <= VALUE_BYTES {
                object.insert(name.to_owned(), text.into());
            }
        }
        SaidOf { line: line_of(&object), object, ..*self }
    }
}

fn line_of(object: &Map<String, Value>) -> Vec<u8> {
    let mut line = serde_json::to_vec(object).unwrap_or_else(|_| b"{}".to_vec());
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_chosen_and_read_is_said() {
        let text = |texts: &[&str]| texts.iter().map(|text| text.to_string()).collect::<Vec<_>>();
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("x-request-id"), "a\"b".parse().unwrap()),
            (HeaderName::from_static("x-long"), "y".repeat(5_000).parse().unwrap()),
            (HeaderName::from_static("authorization"), "Bearer x".parse().unwrap()),
        ]);
        let chosen = text(&["X-Request-Id", "X-Missing"]);
        assert!(Said::of(&chosen, &text(&["path"])).is_none());
        let said = Said::of(&chosen, &text(&["headers", "event_id"])).unwrap().of_headers(&headers);
        assert_eq!(said.line(), b"{\"headers\":{\"x_request_id\":\"a\\\"b\"}}\n");
        let event = said.with_event("e", Some("7"));
        assert_eq!(event.line(), b"{\"headers\":{\"x_request_id\":\"a\\\"b\"},\"event_id\":\"7\"}\n");
        let long = Said::of(&text(&["X-Long"]), &text(&["headers"])).unwrap().of_headers(&headers);
        assert!(long.line().len() < 1_100);
    }
}
