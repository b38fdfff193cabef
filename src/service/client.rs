//! Speaking to a `serve` that runs.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::Value;

use crate::base::system::reason;
use crate::base::time::{Timestamp, parse_rfc3339};

/// How long an answer may take. One that streams has no end.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);
/// The most that an answer may have.
const ANSWER_BYTES: usize = 64 << 20;

/// The header that says when the checkpoint was made that an answer is of, RFC 3339.
pub const AS_OF: &str = "millstream-checkpoint";

/// Why a request was not answered as asked, a sentence.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Somebody who asks.
pub struct Client {
    url: String,
    token: Option<String>,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// For the interface at a URL. The error is a sentence.
    pub fn new(url: &str, token: Option<&str>, ca: Option<&Path>) -> Result<Client, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|e| format!("no runtime for requests: {e}"))?;
        let mut http = reqwest::Client::builder().no_proxy();
        if let Some(ca) = ca {
            let wrong = |why: String| format!("`{}` cannot be used: {why}", ca.display());
            let pem = std::fs::read(ca).map_err(|e| wrong(reason(&e)))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| wrong(e.to_string()))?;
            http = roots.into_iter().fold(http, reqwest::ClientBuilder::add_root_certificate);
        }
        let http = http.build().map_err(|e| format!("requests cannot be made: {e}"))?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Client { url, token: token.map(str::to_owned), http, runtime })
    }

    /// Whether it says by a token who asks.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Asks, and reads what comes.
    pub fn text(&self, method: &str, path: &str, body: Option<&str>) -> Result<String, Failure> {
        self.runtime.block_on(async { read(self.answer(method, path, body).await?).await })
    }

    /// What answers, as soon as it begins to.
    async fn answer(&self, method: &str, path: &str, body: Option<&str>) -> Result<reqwest::Response, Failure> {
        let answer = self.send(method, path, body);
        let late = |_| Failure(format!("{} did not answer within {} s", self.url, ANSWER_WITHIN.as_secs()));
        tokio::time::timeout(ANSWER_WITHIN, answer).await.map_err(late)?
    }

    /// Reads JSON of a checkpoint, and when that was made; before the first one it is of none.
    pub fn of_checkpoint(&self, path: &str) -> Result<(Value, Option<Timestamp>), Failure> {
        let (text, as_of) = self.runtime.block_on(async {
            let answer = self.answer("GET", path, None).await?;
            let as_of = answer.headers().get(AS_OF).and_then(|at| parse_rfc3339(at.as_bytes()));
            Ok((read(answer).await?, as_of))
        })?;
        Ok((self.parsed(path, &text)?, as_of))
    }

    fn parsed(&self, path: &str, text: &str) -> Result<Value, Failure> {
        serde_json::from_str(text).map_err(|_| Failure(format!("{}{path} did not answer with JSON", self.url)))
    }

    /// The same with JSON.
    pub fn json(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let text = self.text(method, path, body.map(Value::to_string).as_deref())?;
        self.parsed(path, &text)
    }

    /// Reads lines as they come. An error may be one of `each`, after which no more are read.
    pub fn lines(&self, path: &str, each: &mut dyn FnMut(&str) -> Result<(), String>) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let mut chunks = self.answer("GET", path, None).await?.bytes_stream();
            let mut text = Vec::new();
            while let Some(chunk) = chunks.next().await {
                text.extend_from_slice(&chunk.map_err(|e| Failure(format!("the answer breaks off: {}", said(&e))))?);
                let mut begin = 0;
                while let Some(end) = text.get(begin..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
                    let line = String::from_utf8_lossy(text.get(begin..begin + end).unwrap_or_default());
                    each(line.trim_end()).map_err(Failure)?;
                    begin += end + 1;
                }
                text.drain(..begin);
            }
            Ok(())
        })
    }

    /// Reads server-sent events until there are no more, or `each` has seen enough.
    pub fn events(&self, path: &str, each: &mut dyn FnMut(&str, &str) -> bool) -> Result<(), Failure> {
        let (mut event, mut enough) = (String::new(), false);
        let read = self.lines(path, &mut |line| {
            if let Some(name) = line.strip_prefix("event: ") {
                name.clone_into(&mut event);
            } else if let Some(data) = line.strip_prefix("data: ") {
                enough = !each(&event, data);
            }
            if enough { Err(String::new()) } else { Ok(()) }
        });
        if enough { Ok(()) } else { read }
    }

    async fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<reqwest::Response, Failure> {
        let wrong = |what: &str| Failure(format!("`{what}` is no method"));
        let kind = reqwest::Method::from_bytes(method.as_bytes()).map_err(|_| wrong(method))?;
        let mut request = self.http.request(kind, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        let answer = request.send().await;
        let answer = answer.map_err(|e| Failure(format!("{} cannot be asked: {}", self.url, said(&e))))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = read(answer).await?;
        let problem: Value = serde_json::from_str(&text).unwrap_or_default();
        let detail = problem.get("detail").and_then(Value::as_str).unwrap_or(text.trim());
        let found = problem.get("diagnostics").map(|found| format!("\n{}", pretty(found))).unwrap_or_default();
        Err(Failure(format!("{detail}{found} ({status})")))
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

async fn read(answer: reqwest::Response) -> Result<String, Failure> {
    let (mut chunks, mut text) = (answer.bytes_stream(), Vec::new());
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk.map_err(|e| Failure(said(&e)))?);
        if text.len() > ANSWER_BYTES {
            return Err(Failure(format!("the answer has more than {} MiB", ANSWER_BYTES >> 20)));
        }
    }
    String::from_utf8(text).map_err(|_| Failure("the answer is not UTF-8 text".to_owned()))
}

/// What went wrong, down to its cause.
fn said(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
