//! What the answer to a request means: taken, to be tried again, or never.

use reqwest::{Response, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http_call::{CallError, retry_after};
use super::sent::NotSent;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::Node;

/// Bytes of an answer that are read; so a connection can be used again after it.
const READ_BYTES: usize = 64 << 10;
/// Characters of an answer that are shown.
const SHOWN: usize = 500;

/// What statuses mean where it is not what they usually do. Usually 200 to 299 is taken; 408, 409, 423, 425, 401, 403, 404,
/// 405, 407 and all from 500 on are tried again, 429, 502, 503 and 504 for as long as it takes; others are refused.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Statuses {
    /// These, too, mean that the rows are taken: `[409]` where what is there already is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<u16>,
    /// These are tried again until `give_up_after`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry: Vec<u16>,
    /// These mean that the rows never will be taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refuse: Vec<u16>,
}

impl Statuses {
    /// Pure: each is a status, and means one thing.
    pub fn check(&self, node: &Node, found: &mut Diagnostics) {
        let all: Vec<u16> = self.accept.iter().chain(&self.retry).chain(&self.refuse).copied().collect();
        for (at, status) in all.iter().enumerate() {
            let why = if !(100..600).contains(status) {
                format!("`{status}` is no status of HTTP")
            } else if all.iter().take(at).any(|other| other == status) {
                format!("`{status}` is written twice")
            } else {
                continue;
            };
            found.push(Diagnostic::error("bad-http", why, Some(node.span.clone())));
        }
    }
}

/// What an answer means.
pub enum Answer {
    /// The rows are taken.
    Taken,
    /// They are not.
    Not(NotSent),
}

/// What came of a request.
pub async fn answer_of(came: Result<Response, reqwest::Error>, statuses: &Statuses) -> Answer {
    let response = match came {
        Ok(response) => response,
        Err(e) => return Answer::Not(no_answer(&e)),
    };
    let status = response.status();
    let after = retry_after(response.headers(), jiff::Timestamp::now());
    let said = said(response).await;
    let code = status.as_u16();
    if statuses.accept.contains(&code)
        || (status.is_success() && !statuses.refuse.contains(&code) && !statuses.retry.contains(&code))
    {
        return Answer::Taken;
    }
    let why =
        if said.is_empty() { format!("the answer was {status}") } else { format!("the answer was {status}: {said}") };
    Answer::Not(if statuses.refuse.contains(&code) {
        NotSent::Refused { why }
    } else if statuses.retry.contains(&code) {
        NotSent::Failed { why, after }
    } else {
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => NotSent::Unreachable { why, after },
            // Who may send, and where to, is for a person to put right: the rows can do nothing for it.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::LOCKED
            | StatusCode::TOO_EARLY => NotSent::Failed { why, after },
            status if status.is_server_error() => NotSent::Failed { why, after },
            _ => NotSent::Refused { why },
        }
    })
}

/// Nobody answered: it says nothing of the rows.
fn no_answer(error: &reqwest::Error) -> NotSent {
    let CallError { reason, passes, after } = CallError::of(error);
    if passes { NotSent::Unreachable { why: reason, after } } else { NotSent::Refused { why: reason } }
}

/// The beginning of what was answered, on one line.
async fn said(mut response: Response) -> String {
    let mut bytes = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > READ_BYTES {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(at);
        line.push('…');
    }
    line
}
