//! What goes wrong with a request: `application/problem+json` (RFC 9457).

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request was not done as asked.
#[derive(Debug)]
pub struct Problem(Box<Content>);

/// Why a request was not done as asked.
#[derive(Debug, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Problem")]
pub struct Content {
    /// `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: String,
    /// The status.
    status: u16,
    /// What is wrong and how to mend it.
    detail: String,
    /// What is wrong with a pipeline's text, as `check --format json` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<serde_json::Value>,
    #[serde(skip)]
    header: Option<(HeaderName, &'static str)>,
}

impl Problem {
    /// A status with a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let (status, detail) = (status.as_u16(), detail.into());
        Problem(Box::new(Content { kind: "about:blank", title, status, detail, diagnostics: None, header: None }))
    }

    /// The request is not one that can be done.
    pub fn bad(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, detail)
    }

    /// There is nothing of this name.
    pub fn missing(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, detail)
    }

    /// It cannot be done as things are.
    pub fn conflict(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::CONFLICT, detail)
    }

    /// It could not be done, and that is not the sender's fault.
    pub fn failed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    }

    /// With what is wrong with a pipeline's text.
    pub fn with(mut self, diagnostics: serde_json::Value) -> Problem {
        self.0.diagnostics = Some(diagnostics);
        self
    }

    /// With a header.
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Problem {
        self.0.header = Some((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        // Texts alone: this cannot fail.
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let header = self.0.header.map(|header| [header]);
        let answer = (status, [(CONTENT_TYPE, "application/problem+json")], body);
        match header {
            Some(header) => (header, answer).into_response(),
            None => answer.into_response(),
        }
    }
}
