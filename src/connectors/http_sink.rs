//! Sink `http`: sends rows to an address by HTTP, one or several a request, until each is taken.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::http_answer::Statuses;
use super::http_auth::Signature;
use super::http_login::{Caller, Login};
use super::http_post::{self, Way};
use super::http_reach::same_place;
use super::sent::texts::{Text, Texts};
use super::sent::{
    Batch, Delivery, Latency, NotSent, Retry, Sender, Sending, Sent, default_buffer, promise as sent_promise,
};
use super::tls::ClientTls;
use super::written::{Duration, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Promise;
use crate::base::tree::Node;
use crate::connector::{BoxFuture, CheckContext, OpenContext, Reach, Sink, SinkConnector, SinkError};

/// The sink `http`.
pub struct HttpSink;

/// Sends rows by HTTP: `http: { url: "https://example.org/readings" }` sends each row as the JSON object that it is. A row
/// is sent until it is taken (a status of 200 to 299), again and again if need be, under the same `Idempotency-Key`, also
/// after a crash; what waits is part of every checkpoint. Rows that are refused go to the sink's `.errors`, with what was
/// answered; where nobody reads that they become dead letters.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Where rows are sent. What stands behind the host may depend on the row:
    /// `https://example.org/devices/{{ device_id | urlencode }}`. Written in plain text, a host may be anywhere; a name of
    /// the public kind that leads to a private address is refused, unless `private: true`.
    #[schemars(length(min = 1), example = "https://example.org/readings")]
    pub url: String,
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// Headers; their values may depend on the row: `{ X-Device: "{{ device_id }}" }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body, if it is not the row in the sink's `format`: `{"text": "{{ device_id }} is hot"}`. Then a request has one row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How rows are put together. Left out, a request has one row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
    /// How several rows of JSON make a body.
    #[serde(default)]
    pub framing: Framing,
    /// Requests under way at once. Left out: one, so that rows come in order; with a `key` 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: Option<u16>,
    /// Rows for which this is the same come in order, one request after the other: `"{{ device_id }}"`. Others may overtake
    /// them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who sends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Login>,
    /// Signs bodies, as those who receive webhooks of these kinds check them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<Signature>,
    /// How bodies are packed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Packing>,
    /// The longest wait for an answer.
    #[serde(default = "http_post::default_timeout")]
    pub timeout: Duration,
    /// What statuses mean, where it is not what they usually do.
    #[serde(default)]
    pub statuses: Statuses,
    /// How often it is tried again.
    #[serde(default)]
    pub retry: Retry,
    /// Bytes of rows that wait before what feeds the sink is held back.
    #[serde(default = "default_buffer")]
    pub buffer: Size,
    /// Bytes of rows that wait on the disk, beside the state, when `buffer` is full; only then what feeds the sink is held
    /// back. Left out: none do.
    #[serde(default)]
    pub buffer_on_disk: Option<Size>,
    /// When rows are sent.
    #[serde(default)]
    pub latency: Latency,
    /// The header that tells requests apart; empty for none. The same row of the same pipeline has the same key, also in a
    /// new run over the same input.
    #[serde(default = "default_idempotency")]
    pub idempotency_header: String,
    /// Whether a name of the public kind may lead to a private address.
    #[serde(default)]
    pub private: bool,
    /// A proxy on the way: `http://proxy:3128`, `socks5h://proxy:1080`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// How the other side is known, and shown who we are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
}

/// A method of HTTP.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// `POST`.
    #[default]
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
    /// `DELETE`.
    Delete,
    /// `GET`, without a body.
    Get,
}

/// How several rows make a body.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Framing {
    /// One row a line.
    #[default]
    Lines,
    /// A list of rows.
    Array,
}

/// How bodies are packed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

fn default_idempotency() -> String {
    "Idempotency-Key".to_owned()
}

/// The texts of the options that may depend on the row.
struct Taken {
    url: Text,
    headers: Vec<Text>,
    body: Option<Text>,
    key: Option<Text>,
    templates: Vec<String>,
}

impl Options {
    fn taken(&self) -> Taken {
        let mut texts = Texts::default();
        let url = texts.add(&self.url);
        let headers = self.headers.values().map(|value| texts.add(value)).collect();
        let body = self.body.as_ref().map(|body| texts.add(body));
        let key = self.key.as_ref().map(|key| texts.add(key));
        Taken { url, headers, body, key, templates: texts.templates }
    }

    fn way(&self) -> Way<'_> {
        Way { tls: self.tls.as_ref(), proxy: self.proxy.as_deref(), private: self.private, timeout: self.timeout }
    }

    fn sending(&self) -> Sending {
        let taken = self.taken();
        Sending {
            batch: self.batch.unwrap_or_default(),
            retry: self.retry,
            latency: self.latency,
            buffer: self.buffer,
            buffer_on_disk: self.buffer_on_disk,
            concurrency: self.concurrency.map_or(if self.key.is_some() { 16 } else { 1 }, usize::from),
            key: taken.key.map(|key| key.templates()),
            templates: taken.templates.len(),
        }
    }
}

impl SinkConnector for HttpSink {
    const NAME: &'static str = "http";
    const SENDS: bool = true;
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, options.proxy.as_deref())
            .with_urls(options.auth.iter().filter_map(Login::token_url))
            .with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-http", message, place).help(help));
        };
        if let Err(why) = plain_place(&options.url) {
            wrong("url", why, "write the scheme and the host in plain text: `https://example.org/readings`");
        }
        for name in options.headers.keys() {
            if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
                wrong("headers", format!("`{name}` is no name of a header"), "a name has letters, digits and `-`");
            }
        }
        if !options.idempotency_header.is_empty()
            && reqwest::header::HeaderName::from_bytes(options.idempotency_header.as_bytes()).is_err()
        {
            let message = format!("`{}` is no name of a header", options.idempotency_header);
            wrong("idempotency_header", message, "write for example `idempotency_header: Idempotency-Key`");
        }
        if options.body.is_some() && options.batch.is_some_and(|batch| batch.count > 1) {
            let message = "with a `body` a request has one row".to_owned();
            wrong("batch", message, "leave `batch` out, or `body`");
        }
        options.way().check(node, found);
        if let Some(auth) = &options.auth {
            auth.check(node.get("auth").unwrap_or(node), found);
        }
        options.statuses.check(node.get("statuses").unwrap_or(node), found);
        options.sending().check(node, found);
    }

    fn promise(options: &Options) -> Promise {
        let named = match options.idempotency_header.as_str() {
            "" => "sends each row until it is taken; after a crash some are sent again".to_owned(),
            name => format!(
                "sends each row until it is taken, always under the same `{name}`: who goes by it sees each once"
            ),
        };
        sent_promise(named, options.latency)
    }

    fn templates(options: &Options) -> Vec<String> {
        options.taken().templates
    }

    fn open(options: Options, context: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        let sending = options.sending();
        let poster = Poster::open(options, &context).map_err(SinkError::Fatal)?;
        Ok(Box::new(Sent::open(sending, Arc::new(poster), &context)?))
    }
}

/// The scheme and host that an address begins with in plain text. The error is a sentence.
fn plain_place(text: &str) -> Result<Url, String> {
    let plain = text.find("{{").or_else(|| text.find("{%")).map_or(text, |at| text.get(..at).unwrap_or(text));
    let behind = plain.split_once("://").map_or("", |(_, behind)| behind);
    let whole = plain.len() == text.len() || behind.contains(['/', '?', '#']);
    let url = Url::parse(plain).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url {
        Some(url) if whole => Ok(url),
        _ if !whole && plain.starts_with("http") => Err("the host of an address may not depend on the row".to_owned()),
        _ => Err("this is no address to send to".to_owned()),
    }
}

/// Posts deliveries.
struct Poster {
    client: reqwest::Client,
    caller: Caller,
    options: Options,
    taken: Taken,
    /// The place that every address stays at.
    place: Url,
    names: Vec<reqwest::header::HeaderName>,
    json: bool,
    batched: bool,
    content_type: &'static str,
}

impl Poster {
    fn open(options: Options, context: &OpenContext) -> Result<Poster, String> {
        let place = plain_place(&options.url)?;
        let client = options.way().client(&place, &context.directory)?;
        let caller = Caller::new(options.auth.clone(), client.clone());
        let name = |name: &String| reqwest::header::HeaderName::from_bytes(name.as_bytes());
        let names: Result<Vec<_>, _> = options.headers.keys().map(name).collect();
        let names = names.map_err(|_| "a header has a name that cannot be sent".to_owned())?;
        let batched = options.batch.is_some_and(|batch| batch.count > 1);
        let content_type = match (context.json, batched && options.framing == Framing::Lines) {
            _ if options.body.as_ref().is_some_and(|body| !body.trim_start().starts_with(['{', '['])) => {
                "text/plain; charset=utf-8"
            }
            (true, true) => "application/x-ndjson",
            (true, false) => "application/json",
            (false, _) => "text/plain; charset=utf-8",
        };
        Ok(Poster {
            client,
            caller,
            place,
            names,
            json: context.json,
            batched,
            content_type,
            taken: options.taken(),
            options,
        })
    }

    fn body(&self, delivery: &Delivery) -> Vec<u8> {
        if let Some(body) = &self.taken.body {
            return body.of(delivery).as_bytes().to_vec();
        }
        let trimmed = |text: &[u8]| text.strip_suffix(b"\n").unwrap_or(text).to_vec();
        match delivery.rows.as_slice() {
            [only] if self.json && !self.batched => trimmed(&only.text),
            rows if self.json && self.batched && self.options.framing == Framing::Array => {
                let mut body = vec![b'['];
                for (at, row) in rows.iter().enumerate() {
                    if at > 0 {
                        body.push(b',');
                    }
                    body.extend(trimmed(&row.text));
                }
                body.push(b']');
                body
            }
            rows => rows.iter().flat_map(|row| row.text.iter().copied()).collect(),
        }
    }

    /// The request; the error is why it never can be sent.
    fn request(&self, delivery: &Delivery) -> Result<reqwest::RequestBuilder, String> {
        let url = match self.taken.url.is_plain() {
            true => self.place.clone(),
            false => same_place(&self.place, &self.taken.url.of(delivery))?,
        };
        let method = match self.options.method {
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Patch => reqwest::Method::PATCH,
            Method::Delete => reqwest::Method::DELETE,
            Method::Get => reqwest::Method::GET,
        };
        let mut request = self.client.request(method, url);
        let mut typed = false;
        for (name, text) in self.names.iter().zip(&self.taken.headers) {
            typed |= *name == reqwest::header::CONTENT_TYPE;
            let value = reqwest::header::HeaderValue::from_str(&text.of(delivery))
                .map_err(|_| format!("what the row makes of the header `{name}` cannot be sent"))?;
            request = request.header(name, value);
        }
        if !self.options.idempotency_header.is_empty() {
            request = request.header(&self.options.idempotency_header, delivery.id());
        }
        if self.options.method == Method::Get {
            return Ok(request);
        }
        let body = self.body(delivery);
        if !typed {
            request = request.header(reqwest::header::CONTENT_TYPE, self.content_type);
        }
        let (encoding, body) = self.pack(body)?;
        if let Some(sign) = &self.options.sign {
            for (name, value) in sign.headers(&body, jiff::Timestamp::now().as_second()) {
                request = request.header(name, value);
            }
        }
        if let Some(encoding) = encoding {
            request = request.header(reqwest::header::CONTENT_ENCODING, encoding);
        }
        Ok(request.body(body))
    }

    fn pack(&self, body: Vec<u8>) -> Result<(Option<&'static str>, Vec<u8>), String> {
        let failed = |e: std::io::Error| format!("the body cannot be packed: {e}");
        match self.options.compression {
            None => Ok((None, body)),
            Some(Packing::Gzip) => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                packer.write_all(&body).map_err(failed)?;
                Ok((Some("gzip"), packer.finish().map_err(failed)?))
            }
            Some(Packing::Zstd) => Ok((Some("zstd"), zstd::encode_all(body.as_slice(), 0).map_err(failed)?)),
        }
    }
}

impl Sender for Poster {
    fn send<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<(), NotSent>> {
        Box::pin(http_post::send(&self.caller, &self.options.statuses, || self.request(delivery)))
    }
}
