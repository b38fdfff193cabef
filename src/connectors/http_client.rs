//! Source `http_client`: asks an HTTP server for events, once, again and again, or in a stream that does not end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::http_ask::Ask;
use super::http_call::{self, client};
use super::http_login::{Caller, Login};
use super::http_poll::{Polling, poll};
use super::http_said;
use super::http_schedule::Schedule;
use super::http_standing::{Mark, Standing};
use super::journalled::{Producer, journalled_from, stands};
use super::json_path::JsonPath;
use super::live::Running;
use super::tls::ClientTls;
use super::written::{Duration, Size};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Replay;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::{
    BoxFuture, CheckContext, Link, OpenContext, Opened, Partition, Place, Reach, Read, Source, SourceConnector,
    SourceError,
};
use crate::store::journal::Journal;

/// The largest answer that may be allowed: it goes into the journal at once.
const MOST_BODY: u64 = 24 << 20;

/// The source `http_client`.
pub struct HttpClientSource;

/// Asks an HTTP server for events. Without `every`, `cron` and `stream` it asks once, and the run ends with the last page.
///
/// An answer is JSON: a list of events, one event, one a line; or has them somewhere inside (`records`). With another
/// `format` every line of it is an event. What was taken is in the journal, on the disk, with where that is: the next page,
/// the `cursor`, the version of the answer (`ETag`, `Last-Modified`), the last event of a stream. A run that was killed goes
/// on from there and asks for nothing that it has.
///
/// A server that is down, or answers with an error, never ends a live run: it is tried again after half a second, then twice
/// as long each time up to a minute, or after what `Retry-After` says. A run that asks once ends with an error where trying
/// again is of no use (`404`, an answer that is no JSON).
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// What is asked: `https://example.org/orders`. Behind the host it may have `{{ cursor }}` in it. The server may send on to
    /// other addresses of the same host.
    #[schemars(length(min = 1), example = &"https://api.example.org/orders")]
    pub url: String,
    /// By which method.
    #[serde(default)]
    pub method: Method,
    /// Headers of the request. `{{ cursor }}` in them stands for the cursor; one with a cursor that is not there yet is left
    /// out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Parameters behind the address, with `{{ cursor }}` as in `headers`: `{ since: "{{ cursor }}", limit: 100 }`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Scalar>,
    /// The body of the request, with `{{ cursor }}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How often it is asked: from one start to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
    /// When it is asked, as cron has it: `0 * * * *` at each full hour, with seconds before the minutes if there are six. What
    /// falls into a time in which the pipeline does not run is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"*/5 * * * *")]
    pub cron: Option<String>,
    /// Whose time `cron` means: `Europe/Berlin`. Default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The answer does not end, and its events are taken as they come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Stream>,
    /// With `stream`: how long it may be silent before it counts as broken. Without it, only a connection that is dead is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<Duration>,
    /// Where the events are in the answer, names with dots in between: `data.items`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), example = &"data.items")]
    pub records: Option<String>,
    /// How the next request asks for what is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// How an answer goes on in others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagination: Option<Pagination>,
    /// How to say who asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Login>,
    /// Through whom it is asked: `http://proxy:3128`, `socks5h://localhost:1080`. Those of the environment are not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// How the server is known, and what is shown to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ClientTls>,
    /// Headers of the answer that events can read: `[X-Request-Id]` as `meta.headers.x_request_id`. Those that may hold what
    /// lets somebody in cannot be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meta_headers: Vec<String>,
    /// How long an answer may take, all of it; of a stream, until it begins.
    #[serde(default = "default_timeout")]
    pub timeout: Duration,
    /// Bytes of an answer, unpacked; of a stream, of one event: a larger one becomes a dead letter, of which the beginning is
    /// kept. At most 24 MiB.
    #[serde(default = "default_body")]
    pub max_body: Size,
}

/// A method of HTTP that asks.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "AskMethod")]
pub enum Method {
    /// `GET`.
    #[default]
    Get,
    /// `POST`, for servers that want what is asked in a body.
    Post,
}

/// What an answer that does not end is made of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Server-sent events: the data of each is an event of the pipeline, which can read `meta.event` (its kind, `message` if
    /// it has none) and `meta.event_id`. When the connection breaks, the next request has the last one's id
    /// (`Last-Event-ID`), and the server sends what came after it. A server that answers `204` has no more, and is not asked again.
    Sse,
    /// A line is an event. What is sent while the connection is broken is lost, unless `cursor` asks for it.
    Ndjson,
}

/// How the next request asks for what is new: with the greatest value that events had in a field. Times are compared as
/// times, numbers as numbers. A server that sends what has just that value again does no harm: up to 1,000 such events are
/// known by what they hold. What comes later with a smaller value is not asked for.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The field, within the event: `updated_at`.
    #[schemars(length(min = 1), example = &"updated_at")]
    pub field: String,
    /// What the first request asks with. Without it, parameters with `{{ cursor }}` are left out of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Scalar>,
}

/// A text or a number.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(transparent)]
#[schemars(extend("type" = ["string", "number"]))]
pub struct Scalar(pub serde_json::Value);

/// How an answer goes on in others, which are asked for one after the other until there are no more, at most 10,000.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Pagination {
    /// The header `Link` has the address of the next: `<…>; rel="next"`.
    LinkHeader,
    /// The address of the next is in the answer, at this path: `links.next`.
    NextUrl(String),
    /// What the next is asked for with is in the answer.
    Token(Token),
    /// They have numbers.
    Page(Numbers),
}

/// What the next page is asked for with.
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Where it is in the answer: `meta.next_cursor`. The last page has none there, or null.
    pub path: String,
    /// The parameter behind the address that it goes into.
    pub parameter: String,
}

/// Pages with numbers. The last is one without events, or one that is not there (`404`).
#[derive(Serialize, Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PageNumbers")]
pub struct Numbers {
    /// The parameter behind the address that the number goes into.
    pub parameter: String,
    /// The number of the first.
    #[serde(default = "default_first")]
    pub start: u64,
    /// How many events a page has: one with fewer is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub size: Option<u64>,
}

fn default_first() -> u64 {
    1
}

fn default_timeout() -> Duration {
    Duration(TimeSpan::seconds(30))
}

fn default_body() -> Size {
    Size(16 << 20)
}

impl Options {
    /// When it asks; nothing if once, or in a stream.
    fn schedule(&self) -> Result<Option<Schedule>, String> {
        match (&self.every, &self.cron) {
            (Some(every), _) => Ok(Some(Schedule::Every(every.0.to_std()))),
            (None, Some(cron)) => Schedule::cron(cron, self.zone.as_deref()).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn start(&self) -> Option<Mark> {
        self.cursor.as_ref()?.start.as_ref().map(|start| Mark::start(&start.0))
    }
}

impl SourceConnector for HttpClientSource {
    const NAME: &'static str = "http_client";
    type Options = Options;

    fn reach(options: &Options) -> Reach {
        Reach::url(&options.url, options.proxy.as_deref())
            .with_urls(options.auth.iter().filter_map(Login::token_url))
            .with_paths(options.tls.iter().flat_map(ClientTls::files))
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        http_call::check(&options.url, options.proxy.as_deref(), node, found);
        http_said::check(&options.meta_headers, node, found);
        if let Some(auth) = &options.auth {
            auth.check(node.get("auth").unwrap_or(node), found);
        }
        if let Some(tls) = &options.tls {
            tls.check(node.get("tls").unwrap_or(node), found);
        }
        let mut wrong = |key: &str, message: String, help: &str| {
            let place = Some(node.get(key).unwrap_or(node).span.clone());
            found.push(Diagnostic::error("bad-http", message, place).help(help));
        };
        let times = [options.every.is_some(), options.cron.is_some(), options.stream.is_some()];
        if times.iter().filter(|written| **written).count() > 1 {
            let message = "only one of `every`, `cron` and `stream` says when it is asked".to_owned();
            wrong("every", message, "leave the others out; without any of them it is asked once");
        }
        if options.every.is_some_and(|every| every.0 < TimeSpan(1_000)) {
            wrong("every", "`every` has to be at least 1ms".to_owned(), "write for example `every: 30s`");
        }
        if options.zone.is_some() && options.cron.is_none() {
            wrong("zone", "`zone` is that of `cron`, which is not there".to_owned(), "leave `zone` out");
        }
        if let (Some(_), Err(why)) = (&options.cron, options.schedule()) {
            let help = "write minute, hour, day, month and day of the week: `0 6 * * mon-fri`";
            wrong(if why.contains("zone") { "zone" } else { "cron" }, why, help);
        }
        if options.silence.is_some() && options.stream.is_none() {
            wrong("silence", "only a `stream` can be silent".to_owned(), "leave `silence` out");
        }
        for (key, written) in [("pagination", options.pagination.is_some()), ("records", options.records.is_some())] {
            if written && options.stream.is_some() {
                wrong(key, format!("a `stream` has no `{key}`: its events come one by one"), "leave it out");
            }
        }
        for (key, zero) in [("timeout", options.timeout.0), ("silence", options.silence.map_or(TimeSpan(1), |s| s.0))] {
            if zero <= TimeSpan::ZERO {
                wrong(key, format!("`{key}` has to be longer than nothing"), "write for example `30s`");
            }
        }
        if options.max_body.0 == 0 || options.max_body.0 > MOST_BODY {
            wrong(
                "max_body",
                "an answer has between 1 byte and 24 MiB".to_owned(),
                "write for example `max_body: 4MB`",
            );
        }
        if let Err((key, why)) = Ask::of(options) {
            wrong(key, why, "see `millstream reference http_client`");
        }
    }

    fn bounded(options: &Options) -> bool {
        options.every.is_none() && options.cron.is_none() && options.stream.is_none()
    }

    fn replay(_: &Options) -> Replay {
        Replay::Journal
    }

    fn open(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
        let failed = |message: String| SourceError { message };
        if !context.json && (options.records.is_some() || options.cursor.is_some()) {
            let why = "`records` and `cursor` are looked for in JSON, and the `format` of this source is another";
            return Err(failed(why.to_owned()));
        }
        let journal = Journal::shared(&context.journal).map_err(|e| failed(e.message().to_owned()))?;
        let (producer, mut partition) = journalled_from(&journal, &context.name, "")?;
        // A run that begins asks anew, so that it has no use for what an earlier one left.
        let start = Place { position: journal.next(), ..Place::default() };
        let (name, directory, json, wanted) = (context.name, context.directory, context.json, context.meta);
        let link = Link::default();
        let of_source = link.clone();
        // Nothing is asked when it is not read any more: then the producer has to be gone, too.
        let mut parts = Some((options, producer));
        let open = move |place: &Place| {
            let inner = (partition.open)(place)?;
            let note = stands(&journal, &name, place)?;
            let (options, producer) =
                parts.take().ok_or_else(|| SourceError { message: format!("`{name}` is read already") })?;
            let (name, directory, link) = (name.clone(), directory.clone(), of_source.clone());
            let asking = Asking { options, producer, name, directory, json, wanted: wanted.clone(), link };
            Ok(Box::new(asking.begin(inner, &note)?) as Box<dyn Source>)
        };
        Ok(Opened::from(vec![Partition { name: String::new(), start, open: Box::new(open), link }]))
    }
}

/// What it takes to ask.
struct Asking {
    options: Options,
    producer: Producer,
    name: String,
    directory: PathBuf,
    json: bool,
    /// Names of metadata that are read.
    wanted: Vec<String>,
    link: Link,
}

impl Asking {
    /// Starts to ask, in a thread of its own: answers are waited for however long the engine reads elsewhere.
    fn begin(self, inner: Box<dyn Source>, note: &str) -> Result<Asked, SourceError> {
        let failed = |message: String| SourceError { message };
        let Asking { options, producer, name, directory, json, wanted, link } = self;
        let standing = match note {
            "" => Standing { cursor: options.start(), ..Standing::default() },
            note => serde_json::from_str(note)
                .map_err(|e| failed(format!("where `{name}` stands is not known: {e}; begin anew with `--fresh`")))?,
        };
        let client = client(options.tls.as_ref(), options.proxy.as_deref(), &directory).map_err(failed)?;
        let caller = Caller::new(options.auth.clone(), client.clone());
        let ask = Ask::of(&options).map_err(|(key, why)| failed(format!("`{key}`: {why}")))?;
        let schedule = options.schedule().map_err(failed)?;
        let field = options.cursor.as_ref().map(|cursor| JsonPath::parse(&cursor.field)).transpose().map_err(failed)?;
        let polling = Polling { options, ask, client, caller, producer, schedule, field, name, json, wanted, link };
        let failure = Arc::new(Mutex::new(None));
        let of_thread = Arc::clone(&failure);
        let work = |stopped| async move {
            let ended = poll(polling, standing, stopped).await;
            *of_thread.lock().unwrap_or_else(PoisonError::into_inner) = ended.err();
        };
        let running = Running::start("http_client", work).map_err(failed)?;
        Ok(Asked { inner, failure, running })
    }
}

/// What is asked for, being read.
struct Asked {
    /// What is in the journal.
    inner: Box<dyn Source>,
    /// Why nothing more is asked.
    failure: Arc<Mutex<Option<String>>>,
    running: Running,
}

impl Asked {
    async fn read(&mut self) -> Result<Read, SourceError> {
        let read = self.inner.next().await?;
        if matches!(read, Read::End) {
            // The producer is gone with the thread's work; what that said of it comes right behind.
            self.running.join();
            if let Some(message) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return Err(SourceError { message });
            }
        }
        Ok(read)
    }
}

impl Source for Asked {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        Box::pin(self.read())
    }

    fn committed(&mut self, place: &Place) -> BoxFuture<'_, Result<(), SourceError>> {
        self.inner.committed(place)
    }
}
