//! What those who send by HTTP are answered.

use std::time::Duration as StdDuration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::http_body::Records;
use crate::connector::Metadata;

/// Bytes of what is said of the events of one body.
const META_BYTES: usize = 16 << 20;

/// What is said of each of so many events; nothing if it is too much.
pub fn repeated(line: &[u8], events: usize) -> Option<Metadata> {
    if line.len().saturating_mul(events) > META_BYTES {
        return None;
    }
    let mut meta = Metadata::default();
    (0..events).for_each(|_| meta.push(line));
    Some(meta)
}

/// What the answer says became of records.
pub fn told(records: &Records) -> String {
    let errors = records.reasons.iter().map(|(at, why)| json!({ "record": at, "reason": why }));
    let errors: Vec<_> = errors.collect();
    let mut answer = json!({ "accepted": records.ends.len(), "rejected": records.rejected });
    if let Some(answer) = answer.as_object_mut().filter(|_| !errors.is_empty()) {
        answer.insert("errors".to_owned(), errors.into());
    }
    answer.to_string()
}

/// An answer in JSON.
pub fn reply(status: StatusCode, body: &str) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

/// Nothing was taken, and why.
pub fn refuse(status: StatusCode, why: &str) -> Response {
    reply(status, &json!({ "accepted": 0, "error": why }).to_string())
}

/// Refuses for now: whole seconds, as the header has them, and at least one.
pub fn later(status: StatusCode, why: &str, wait: StdDuration) -> Response {
    let mut response = refuse(status, why);
    let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}
