//! Asks an HTTP server again and again, page by page, and hands what it answers to the journal.

use std::time::Duration;

use reqwest::header::{
    AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED,
};
use reqwest::{Client, Response, StatusCode};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::back_off::BackOff;
use super::http_ask::Ask;
use super::http_call::{CallError, body_of, shown};
use super::http_client::Options;
use super::http_login::Caller;
use super::http_said::{Said, SaidOf};
use super::http_schedule::Schedule;
use super::http_standing::{Standing, Version};
use super::journalled::{Brought, NotTaken, Producer};
use super::json_path::JsonPath;
use super::live::Stopped;
use crate::connector::{Link, Metadata};

/// How long is waited after the first failure, and after many.
const WAITS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Pages of one poll: more are a server that sends round in circles.
const PAGES: u32 = 10_000;
/// How often a page that is refused is asked for before the poll begins again.
const PAGE_TRIES: u32 = 3;

/// What polling takes.
pub struct Polling {
    /// The options.
    pub options: Options,
    /// What is sent.
    pub ask: Ask,
    /// What sends it.
    pub client: Client,
    /// Says who asks.
    pub caller: Caller,
    /// Takes what is answered.
    pub producer: Producer,
    /// When it is asked; nothing if once.
    pub schedule: Option<Schedule>,
    /// The cursor's field.
    pub field: Option<JsonPath>,
    /// The source's name.
    pub name: String,
    /// Whether events are JSON.
    pub json: bool,
    /// Names of metadata that are read.
    pub wanted: Vec<String>,
    /// Told whether the server answers.
    pub link: Link,
}

/// Asks until there is nothing more to ask for, or nobody reads it. The error is a sentence.
pub async fn poll(polling: Polling, standing: Standing, stopped: Stopped) -> Result<(), String> {
    let (name, at, link) = (polling.name.clone(), shown(polling.ask.url()), polling.link.clone());
    // Nothing is known of it before its first answer.
    link.set(false);
    let health = Health { name, at, link, failing: None };
    let said = Said::of(&polling.options.meta_headers, &polling.wanted);
    let mut poller = Poller { said, polling, standing, health, wait: BackOff::new(WAITS.0, WAITS.1), held: None };
    tokio::select! {
        _ = stopped => Ok(()),
        ended = poller.run() => ended,
    }
}

/// Asks, from where it stands.
pub(super) struct Poller {
    pub polling: Polling,
    pub standing: Standing,
    pub health: Health,
    pub wait: BackOff,
    /// What is said of events, if anything is read.
    pub said: Option<Said>,
    /// Events of the page that was answered last, of a poll that goes on. If there is nothing behind them, it says so in the
    /// journal that they were the last: an empty page leaves no trace there, and to ask for it again, perhaps much later, may
    /// bring something else.
    held: Option<Events>,
}

/// Whether the server gives what is asked for; said when it changes.
pub(super) struct Health {
    name: String,
    at: String,
    link: Link,
    failing: Option<String>,
}

impl Health {
    pub fn well(&mut self) {
        self.link.set(true);
        if self.failing.take().is_some() {
            tracing::warn!(source = self.name, "{} answers again", self.at);
        }
    }

    pub fn failed(&mut self, why: &str) {
        self.link.set(false);
        if self.failing.as_deref() != Some(why) {
            tracing::warn!(source = self.name, "cannot call {}: {why}; it is tried until it answers", self.at);
            self.failing = Some(why.to_owned());
        }
    }
}

/// Events of an answer, one after the other.
#[derive(Default)]
pub(super) struct Events {
    pub bytes: Vec<u8>,
    pub ends: Vec<u32>,
    /// What is said of those that are taken from here on, if that is read.
    pub said: Option<SaidOf>,
    pub meta: Option<Metadata>,
    /// Why the one event is not taken, if it is not.
    pub refused: Option<String>,
}

impl Events {
    pub fn take(&mut self, event: &[u8]) {
        // Line ends in a JSON text are white space; rows are written a line each.
        self.bytes.extend(event.iter().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }));
        // Answers are limited far below 4 GiB.
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        if let Some(said) = &self.said {
            self.meta.get_or_insert_default().push(said.line());
        }
    }

    /// The beginning of one that is not taken, and why.
    pub fn refused(beginning: &[u8], why: String) -> Events {
        let mut events = Events { refused: Some(why), ..Events::default() };
        events.take(beginning);
        events
    }
}

impl Poller {
    async fn run(&mut self) -> Result<(), String> {
        if let Some(stream) = self.polling.options.stream {
            return self.follow(stream).await;
        }
        let mut begun = None;
        while !self.standing.done {
            // A poll that was left unfinished goes on at once.
            if let Some(schedule) = self.polling.schedule.as_ref().filter(|_| self.standing.page.is_none()) {
                schedule.wait(begun).await?;
            }
            begun = Some(Instant::now());
            self.pages().await?;
            if self.polling.schedule.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// One poll to its last page.
    async fn pages(&mut self) -> Result<(), String> {
        let (mut pages, mut refused) = (0, 0);
        loop {
            match self.page().await {
                Ok(over) => {
                    self.health.well();
                    self.wait.reset();
                    (pages, refused) = (pages + 1, 0);
                    if over {
                        return Ok(());
                    }
                    if pages >= PAGES {
                        self.health.failed(&format!("its answer has more than {PAGES} pages"));
                        self.standing.settle();
                        return Ok(());
                    }
                }
                Err(why) => {
                    if !why.passes && self.polling.schedule.is_none() {
                        return Err(format!("cannot call {}: {}", self.health.at, why.reason));
                    }
                    refused += u32::from(!why.passes);
                    self.health.failed(&why.reason);
                    // They do not wait for a server that is down.
                    self.flush().await.map_err(|why| why.reason)?;
                    if refused >= PAGE_TRIES && self.standing.page.is_some() {
                        tracing::warn!(source = self.polling.name, "a page is refused; the poll begins again");
                        self.standing.begin_again();
                    }
                    tokio::time::sleep(self.wait.wait(why.after)).await;
                }
            }
        }
    }

    /// Asks for the next page and hands on what it has; true if it was the last.
    async fn page(&mut self) -> Result<bool, CallError> {
        let (response, request) = self.send(None).await?;
        let status = response.status();
        let mut next = self.standing.clone();
        let missing = status == StatusCode::NOT_FOUND && self.polling.ask.may_end_at(&self.standing);
        if status == StatusCode::NOT_MODIFIED || missing {
            self.last(Events::default(), next).await?;
            return Ok(true);
        }
        if !status.is_success() {
            return Err(CallError::status(status, response.headers()));
        }
        let (at, headers) = (response.url().clone(), response.headers().clone());
        let most = usize::try_from(self.polling.options.max_body.0).unwrap_or(usize::MAX);
        let body = body_of(response, most).await?;
        let value = if self.polling.json { serde_json::from_slice::<&RawValue>(&body).ok() } else { None };
        let (events, count) = self.events(&body, value, &headers, &mut next)?;
        next.page = self.polling.ask.page_after(&self.standing, (&at, &headers), value, count)?;
        if self.polling.ask.is_single() {
            let text = |name: HeaderName| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            let version = Version { request, etag: text(ETAG), modified: text(LAST_MODIFIED) };
            next.version = Some(version).filter(|v| v.etag.is_some() || v.modified.is_some());
        }
        if next.page.is_none() {
            self.last(events, next).await?;
            return Ok(true);
        }
        if !events.ends.is_empty() {
            self.flush().await?;
            self.held = Some(events);
        }
        self.standing = next;
        Ok(false)
    }

    /// The last page of a poll.
    async fn last(&mut self, mut events: Events, mut next: Standing) -> Result<(), CallError> {
        next.settle();
        next.done = self.polling.schedule.is_none();
        if events.ends.is_empty() {
            events = self.held.take().unwrap_or_default();
        }
        self.flush().await?;
        self.give(events, next).await
    }

    /// Hands on the events that are held.
    async fn flush(&mut self) -> Result<(), CallError> {
        match self.held.take() {
            Some(events) => self.give(events, self.standing.clone()).await,
            None => Ok(()),
        }
    }

    /// Sends the next request; once more with a fresh token if the server does not know the one it was shown. With a hash of
    /// what is asked for. `stream` has the headers of a request whose answer has no end.
    pub async fn send(&self, stream: Option<&HeaderMap>) -> Result<(Response, u64), CallError> {
        let authorization = self.polling.caller.authorization().await?;
        let (response, hash) = self.send_as(authorization.as_ref(), stream).await?;
        let unknown = response.status() == StatusCode::UNAUTHORIZED;
        if !unknown || !self.polling.caller.refused(authorization.as_ref()).await {
            return Ok((response, hash));
        }
        let renewed = self.polling.caller.authorization().await?;
        self.send_as(renewed.as_ref(), stream).await
    }

    async fn send_as(
        &self,
        authorization: Option<&HeaderValue>,
        stream: Option<&HeaderMap>,
    ) -> Result<(Response, u64), CallError> {
        let within = self.polling.options.timeout.0.to_std();
        let (mut request, hash) = self.polling.ask.request(&self.polling.client, &self.standing)?;
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(version) = self.standing.version.as_ref().filter(|version| version.request == hash) {
            let known = [(IF_NONE_MATCH, &version.etag), (IF_MODIFIED_SINCE, &version.modified)];
            for (name, value) in known {
                request = value.iter().fold(request, |request, value| request.header(&name, value));
            }
        }
        let sent = match stream {
            Some(headers) => tokio::time::timeout(within, request.headers(headers.clone()).send()).await,
            None => Ok(request.timeout(within).send().await),
        };
        let late = |_| CallError { reason: "no answer in time".to_owned(), passes: true, after: None };
        let response = sent.map_err(late)?.map_err(|e| CallError::of(&e))?;
        Ok((response, hash))
    }

    /// Hands events on with where they bring it.
    pub async fn give(&mut self, events: Events, next: Standing) -> Result<(), CallError> {
        if !events.ends.is_empty() {
            let note = serde_json::to_string(&next).map_err(|e| CallError::lasting(e.to_string()))?;
            let Events { bytes, ends, meta, refused, .. } = events;
            let note = Some(note.into_bytes());
            let given = self.polling.producer.bring(Brought { bytes, ends, meta, note, refused }).await;
            given.map_err(|why| match why {
                NotTaken::Refused(why) => CallError::lasting(format!("what it answers cannot be kept: {why}")),
                NotTaken::Unknown => CallError::lasting("the run has ended"),
            })?;
        }
        self.standing = next;
        Ok(())
    }

    /// The events of an answer that were not taken before, and how many it has of all.
    fn events(
        &self,
        body: &[u8],
        value: Option<&RawValue>,
        headers: &HeaderMap,
        next: &mut Standing,
    ) -> Result<(Events, usize), CallError> {
        let lines = || body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let said = self.said.as_ref().map(|said| said.of_headers(headers));
        let mut events = Events { said, ..Events::default() };
        if !self.polling.json {
            lines().for_each(|line| events.take(line));
            let count = events.ends.len();
            return Ok((events, count));
        }
        let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let by_line = kind.contains("ndjson") || kind.contains("jsonl") || kind.contains("json-lines");
        let no_json = |e: serde_json::Error| CallError::lasting(format!("its answer is no JSON: {e}"));
        match value {
            Some(value) if !by_line => {
                let list = self.list(value)?;
                for event in &list {
                    self.take(event, &mut events, next)?;
                }
                return Ok((events, list.len()));
            }
            _ if body.trim_ascii().is_empty() => return Ok((events, 0)),
            _ => {}
        }
        let first = lines().next().map(serde_json::from_slice::<&RawValue>);
        if let (false, Some(Err(e))) = (by_line, first) {
            return Err(no_json(serde_json::from_slice::<&RawValue>(body).err().unwrap_or(e)));
        }
        let mut count = 0;
        for line in lines() {
            count += 1;
            match serde_json::from_slice::<&RawValue>(line) {
                Ok(event) => self.take(event, &mut events, next)?,
                // The engine says what is wrong with it.
                Err(_) => events.take(line),
            }
        }
        Ok((events, count))
    }

    /// The events within an answer.
    fn list<'a>(&self, value: &'a RawValue) -> Result<Vec<&'a RawValue>, CallError> {
        let no_json = |e: serde_json::Error| CallError::lasting(format!("its answer is no JSON: {e}"));
        let inside = match &self.polling.options.records {
            None => value,
            Some(path) => {
                let found = JsonPath::parse(path).map_err(CallError::lasting)?.find(value).map_err(no_json)?;
                found.ok_or_else(|| CallError::lasting(format!("its answer has nothing at `{path}` (`records`)")))?
            }
        };
        match inside.get().as_bytes().first() {
            Some(b'[') => serde_json::from_str(inside.get()).map_err(no_json),
            Some(b'n') => Ok(Vec::new()),
            _ => Ok(vec![inside]),
        }
    }

    /// Takes an event, unless the cursor says that it was.
    pub fn take(&self, event: &RawValue, events: &mut Events, next: &mut Standing) -> Result<(), CallError> {
        let new = match &self.polling.field {
            None => true,
            Some(field) => {
                next.take(event, field).map_err(|e| CallError::lasting(format!("an event is no JSON: {e}")))?
            }
        };
        if new {
            events.take(event.get().as_bytes());
        }
        Ok(())
    }
}
