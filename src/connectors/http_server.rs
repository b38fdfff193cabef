//! Source `http_server`: takes events that others send by HTTP, and answers when they are durable.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration as StdDuration, Instant};

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_ENCODING,
    CONTENT_LENGTH, CONTENT_TYPE, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::answered::{Before, Keyed};
use super::http_auth::Auth;
use super::http_body::{Packed, Records, records_of, unpack};
use super::http_port::{Address, Endpoint, Expected, Mounted, address_of};
use super::http_reply::{later, refuse, repeated, reply, told};
use super::http_said::{self, Said};
use super::journalled::{Brought, NotTaken, Producer, Taken, journalled_with_keys};
use super::tls::ServerTls;
use super::written::{Duration, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Replay;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::{
    BoxFuture, CheckContext, Link, Metadata, OpenContext, Opened, Partition, Reach, SourceConnector, SourceError,
};
use crate::store::journal::Journal;

/// The largest body that may be allowed.
const MOST_BODY: u64 = 256 << 20;

/// Bytes of a key that a caller gives a request.
const KEY_BYTES: usize = 255;

/// The source `http_server`.
pub struct HttpServerSource;

/// Takes events that others send by HTTP: `curl -d '{"device":"a"}' http://localhost:8080/events`. A body is one JSON
/// object, a list of them, one a line, or a form; it may be packed (gzip, deflate, zstd). With another `format` every line of
/// a body is an event. The answer is `202 Accepted` with `{"accepted":1,"rejected":0}`, and comes when the events are on the
/// disk: whoever has it need not send again, whatever happens to this machine's processes or power. Whoever has it not sends
/// again; with a key of its own in the header `Idempotency-Key` no event comes twice by that.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Address and port to listen on: `0.0.0.0:8080`, or `127.0.0.1:8080` for this machine alone. Sources may share one.
    #[schemars(length(min = 1), example = "127.0.0.1:8080")]
    pub listen: String,
    /// The path that events are sent to.
    #[serde(default = "default_path")]
    pub path: String,
    /// The methods by which they may be sent.
    #[serde(default = "default_methods")]
    pub methods: Vec<Verb>,
    /// Who may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Bytes of a body, also when it is unpacked; larger ones are answered with `413`.
    #[serde(default = "default_body")]
    pub max_body: Size,
    /// How often may be sent; requests beyond it are answered with `429` and when to come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// How long a request waits while the pipeline cannot take more; then it is answered with `503` and when to come again.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// When it is answered.
    #[serde(default)]
    pub ack: Ack,
    /// How a request that is sent again is known.
    #[serde(default)]
    pub idempotency: Idempotency,
    /// Encryption, and clients that have to show a certificate. Files that are changed are read again. Sources that share an
    /// address have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ServerTls>,
    /// Connections at a time; more wait. Sources that share an address have the same.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub connections: u32,
    /// Headers of the request that events can read: `[X-Request-Id]` as `meta.headers.x_request_id`. Those that may hold what
    /// lets somebody in cannot be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meta_headers: Vec<String>,
    /// Origins whose pages may send: `[https://example.org]`, or `["*"]` for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cors: Vec<String>,
}

/// How a request that is sent again is known: by a key that its sender made for it, and has in a header. It is answered like
/// the first one, also after the pipeline was killed, and its events are not taken again; with another body it is answered
/// with `422`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Idempotency {
    /// The header that has the key; at most 255 bytes.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1))]
    pub header: String,
    /// How long a key is known: as long as its sender may try again. Of one source the last 100,000 are, and they are in the
    /// journal with the events: the older ones go when that holds more than 256 MiB.
    #[serde(default = "default_keep")]
    pub keep: Duration,
}

impl Default for Idempotency {
    fn default() -> Self {
        Idempotency { header: default_key(), keep: default_keep() }
    }
}

/// A method of HTTP.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// `POST`.
    Post,
    /// `PUT`.
    Put,
    /// `PATCH`.
    Patch,
}

/// How often may be sent, over all senders.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Requests in each `per`, and at once.
    #[schemars(range(min = 1))]
    pub limit: u32,
    /// Over how long.
    #[serde(default = "default_per")]
    pub per: Duration,
}

/// When a request is answered.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// When its events are in the journal: milliseconds.
    #[default]
    Journal,
    /// When a checkpoint holds what became of its events: `200 OK`. Takes as long as checkpoints are apart
    /// (`checkpoint: { every: 5s }`); after `timeout` the answer is `202 Accepted`.
    Processed,
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_methods() -> Vec<Verb> {
    vec![Verb::Post, Verb::Put]
}

fn default_body() -> Size {
    Size(4 << 20)
}

fn default_timeout() -> Duration {
    Duration(TimeSpan::seconds(10))
}

fn default_key() -> String {
    "Idempotency-Key".to_owned()
}

fn default_keep() -> Duration {
    Duration(TimeSpan::seconds(3_600))
}

fn default_connections() -> u32 {
    4_096
}

fn default_per() -> Duration {
    Duration(TimeSpan::seconds(1))
}

impl SourceConnector for HttpServerSource {
    const NAME: &'static str = "http_server";
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach { listens: vec![options.listen.clone()], ..Reach::default() }
            .with_paths(options.tls.iter().flat_map(ServerTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-http", message, place).help(help));
        };
        let (host, port) = options.listen.rsplit_once(':').unwrap_or((&options.listen, ""));
        if host.is_empty() || port.parse::<u16>().is_err() {
            let message = format!("`{}` is no address to listen on", options.listen);
            wrong("listen", message, "write the address and the port: `0.0.0.0:8080`");
        }
        if !options.path.starts_with('/') || options.path.contains(['?', '#', ' ']) {
            let message = format!("`{}` is no path", options.path);
            wrong("path", message, "write what follows the host in the address: `/events`");
        }
        if options.methods.is_empty() {
            wrong("methods", "no method is allowed".to_owned(), "leave `methods` out to allow POST and PUT");
        }
        if options.max_body.0 == 0 || options.max_body.0 > MOST_BODY {
            wrong("max_body", "a body has between 1 byte and 256 MiB".to_owned(), "write for example `max_body: 4MB`");
        }
        if options.timeout.0 <= TimeSpan::ZERO {
            wrong("timeout", "`timeout` has to be longer than nothing".to_owned(), "write for example `timeout: 10s`");
        }
        if options.rate.is_some_and(|rate| rate.limit == 0 || rate.per.0 <= TimeSpan::ZERO) {
            wrong("rate", "this rate lets nothing in".to_owned(), "write for example `rate: { limit: 100, per: 1s }`");
        }
        if HeaderName::from_bytes(options.idempotency.header.as_bytes()).is_err() {
            let message = format!("`{}` is no header", options.idempotency.header);
            wrong("idempotency", message, "leave `header` out for `Idempotency-Key`");
        }
        if options.idempotency.keep.0 <= TimeSpan::ZERO {
            wrong("idempotency", "keys are kept for no time".to_owned(), "write for example `keep: 1h`");
        }
        if options.connections == 0 || options.connections > 1_000_000 {
            let message = "there are between 1 and 1,000,000 connections".to_owned();
            wrong("connections", message, "the default is `4096`");
        }
        if let Some(auth) = &options.auth {
            auth.check(node.get("auth").unwrap_or(node), found);
        }
        http_said::check(&options.meta_headers, node, found);
    }

    fn bounded(_: &Options) -> bool {
        false
    }

    fn replay(_: &Options) -> Replay {
        Replay::Journal
    }

    fn open(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
        let failed = |message: String| SourceError { message };
        let (listen, path) = (options.listen.clone(), options.path.clone());
        // Until it is mounted, and from then on until this source is gone.
        let expected = Expected::new(address_of(&listen).map_err(failed)?, &path);
        let address = Address { listen, connections: options.connections, tls: options.tls.clone() };
        let journal = Journal::shared(&context.journal).map_err(|e| failed(e.message().to_owned()))?;
        let (producer, mut partition) = journalled_with_keys(&journal, &context.name, "", options.idempotency.keep.0)?;
        let (directory, owner) = (context.directory, context.journal);
        let said = Said::of(&options.meta_headers, &context.meta);
        let receiver = Arc::new(Receiver::new(options, producer, context.json, said));
        // Nobody is answered before the partition is read, and after it is dropped.
        let mut mounted = None;
        let open = move |place: &_| {
            let _ = &expected;
            let source = (partition.open)(place)?;
            if mounted.is_none() {
                let endpoint = Arc::clone(&receiver) as Arc<dyn Endpoint>;
                mounted = Some(Mounted::new(&address, (&directory, &owner), &path, endpoint).map_err(failed)?);
            }
            Ok(source)
        };
        Ok(Opened::from(vec![Partition {
            name: String::new(),
            start: partition.start.clone(),
            open: Box::new(open),
            link: Link::default(),
        }]))
    }
}

/// Takes the requests of one source.
struct Receiver {
    options: Options,
    producer: Producer,
    json: bool,
    /// What is said of events, if anything is read.
    said: Option<Said>,
    allowance: Option<Mutex<Allowance>>,
}

/// How many requests may come now: a bucket that fills as time passes.
struct Allowance {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Allowance {
    /// Takes one; otherwise how long until there is one.
    fn take(&mut self, now: Instant) -> Result<(), StdDuration> {
        let (limit, per) = (f64::from(self.rate.limit), self.rate.per.0.to_std().as_secs_f64());
        self.left = (self.left + now.saturating_duration_since(self.at).as_secs_f64() / per * limit).min(limit);
        self.at = now;
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        Err(StdDuration::from_secs_f64((1.0 - self.left) * per / limit))
    }
}

impl Endpoint for Receiver {
    fn answer(self: Arc<Self>, request: Request) -> BoxFuture<'static, Response> {
        Box::pin(async move {
            let origin = self.origin(request.headers());
            let mut response = if request.method() == Method::OPTIONS && origin.is_some() {
                self.preflight()
            } else {
                self.receive(request).await.unwrap_or_else(|refused| refused)
            };
            if let Some(origin) = origin {
                response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
            }
            response
        })
    }
}

impl Receiver {
    fn new(options: Options, producer: Producer, json: bool, said: Option<Said>) -> Self {
        let full = |rate: Rate| Mutex::new(Allowance { rate, left: f64::from(rate.limit), at: Instant::now() });
        Receiver { allowance: options.rate.map(full), options, producer, json, said }
    }

    /// Takes a request's events; either way the answer.
    async fn receive(&self, request: Request) -> Result<Response, Response> {
        if let Some(refused) = self.refusal(&request) {
            return Err(refused);
        }
        let (head, body) = request.into_parts();
        let within = self.options.timeout.0.to_std();
        let body = tokio::time::timeout(within, self.read(body)).await;
        let body = body.map_err(|_| refuse(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"))??;
        if let Some(auth) = &self.options.auth
            && !auth.admits_body(&head.headers, &body, jiff::Timestamp::now().as_second())
        {
            return Err(refuse(StatusCode::UNAUTHORIZED, "the signature is not that of this body"));
        }
        let text = |name| head.headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
        let body = unpack(body, text(CONTENT_ENCODING), self.most()).map_err(|why| match why {
            Packed::TooLarge => self.too_large(),
            Packed::Unknown => {
                refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a body is packed with gzip, deflate or zstd, or not at all")
            }
            Packed::Damaged => refuse(StatusCode::BAD_REQUEST, "the packed body is damaged"),
        })?;
        let key = head.headers.get(&self.options.idempotency.header).map(|key| (key.as_bytes(), xxh3_64(&body)));
        if key.is_some_and(|(key, _)| key.is_empty() || key.len() > KEY_BYTES) {
            let header = &self.options.idempotency.header;
            let why = format!("`{header}` has between 1 and {KEY_BYTES} bytes");
            return Err(refuse(StatusCode::BAD_REQUEST, &why));
        }
        let records = records_of(&body, text(CONTENT_TYPE), self.json);
        let meta = match &self.said {
            None => None,
            Some(said) => {
                let meta = repeated(said.of_headers(&head.headers).line(), records.ends.len());
                let why = "there are more events in one body than its headers (`meta_headers`) can be kept with";
                Some(meta.ok_or_else(|| refuse(StatusCode::PAYLOAD_TOO_LARGE, why))?)
            }
        };
        self.take(records, meta, key).await
    }

    /// Why a request is not taken, if that can be said before its body is read.
    fn refusal(&self, request: &Request) -> Option<Response> {
        let allowed = |verb: &Verb| verb.name() == request.method().as_str();
        if !self.options.methods.iter().any(allowed) {
            let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "events are not sent by this method");
            response.headers_mut().insert(ALLOW, self.methods());
            return Some(response);
        }
        if let Some(auth) = &self.options.auth
            && !auth.admits_head(request.headers())
        {
            let mut response = refuse(StatusCode::UNAUTHORIZED, "who sends it is not known here");
            if let Some(challenge) = auth.challenge() {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            return Some(response);
        }
        let length = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > self.options.max_body.0) {
            return Some(self.too_large());
        }
        let taken = self
            .allowance
            .as_ref()
            .map_or(Ok(()), |allowance| allowance.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()));
        taken.err().map(|wait| later(StatusCode::TOO_MANY_REQUESTS, "more requests than are allowed", wait))
    }

    async fn read(&self, mut body: axum::body::Body) -> Result<Vec<u8>, Response> {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| refuse(StatusCode::BAD_REQUEST, "the body broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.most() {
                return Err(self.too_large());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    /// Makes records durable and says so; those that came before under the same key are so already.
    async fn take(
        &self,
        records: Records,
        meta: Option<Metadata>,
        key: Option<(&[u8], u64)>,
    ) -> Result<Response, Response> {
        let told = told(&records);
        let Records { bytes, ends, rejected, .. } = records;
        if ends.is_empty() && rejected > 0 {
            return Err(reply(StatusCode::BAD_REQUEST, &told));
        }
        let within = self.options.timeout.0.to_std();
        let brought = Brought { bytes, ends, meta, ..Brought::default() };
        let offer = async {
            match key {
                None => self.producer.bring(brought).await.map(Taken::Now),
                Some((key, body)) => {
                    let keyed = Keyed { key: key.to_vec(), body, answer: told.as_str().into() };
                    self.producer.bring_once(brought, keyed).await
                }
            }
        };
        let busy = |why: &str| later(StatusCode::SERVICE_UNAVAILABLE, why, StdDuration::from_secs(1));
        let (end, told) = match tokio::time::timeout(within, offer).await {
            Ok(Ok(Taken::Now(end))) => (end, Arc::from(told)),
            Ok(Ok(Taken::Before(Before { body, .. }))) if key.is_some_and(|(_, sent)| sent != body) => {
                let why = "this key came with another body before; a request of its own has a key of its own";
                return Err(refuse(StatusCode::UNPROCESSABLE_ENTITY, why));
            }
            Ok(Ok(Taken::Before(Before { answer, end, .. }))) => (end, answer),
            Ok(Err(NotTaken::Refused(why))) => return Err(busy(&why)),
            Ok(Err(NotTaken::Unknown)) => return Err(busy("the pipeline stopped while the events were taken")),
            // Given up while it was appended, perhaps: without a key it may come twice when it is sent again.
            Err(_) => return Err(busy("the pipeline cannot take more at the moment")),
        };
        if self.options.ack == Ack::Processed
            && tokio::time::timeout(within, self.producer.committed(end)).await.is_ok_and(|done| done)
        {
            return Ok(reply(StatusCode::OK, &told));
        }
        Ok(reply(StatusCode::ACCEPTED, &told))
    }

    fn most(&self) -> usize {
        usize::try_from(self.options.max_body.0).unwrap_or(usize::MAX)
    }

    fn too_large(&self) -> Response {
        let why = format!("a body has at most {} bytes here", self.options.max_body.0);
        refuse(StatusCode::PAYLOAD_TOO_LARGE, &why)
    }

    fn methods(&self) -> HeaderValue {
        let names: Vec<&str> = self.options.methods.iter().map(|verb| verb.name()).collect();
        HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static("POST"))
    }

    /// What the answer says of the origin of a page that sends, if it may.
    fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.options.cors.iter().any(|allowed| allowed == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        self.options.cors.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }

    fn preflight(&self) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods());
        let known = format!("authorization, content-type, content-encoding, {}", self.options.idempotency.header);
        let headers = HeaderValue::from_str(&known).unwrap_or(HeaderValue::from_static("authorization, content-type"));
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, headers);
        response
    }
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
        }
    }
}
