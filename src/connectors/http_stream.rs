//! Takes the events of an HTTP answer that does not end, and asks again when it breaks off.

use std::borrow::Cow;
use std::time::Duration;

use memchr::memchr2;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use super::http_call::{CallError, shown};
use super::http_client::Stream;
use super::http_poll::{Events, Poller};
use super::http_standing::Standing;

/// How long is waited before a stream that ended is asked for again, unless it says itself (`retry:`).
const AGAIN: Duration = Duration::from_secs(1);
/// The longest time that it may say.
const LONGEST: Duration = Duration::from_secs(3_600);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl Poller {
    /// Takes what comes, until the server says that there will be no more.
    pub(super) async fn follow(&mut self, stream: Stream) -> Result<(), String> {
        let mut again = AGAIN;
        loop {
            let mut came = false;
            let broken = self.connected(stream, &mut again, &mut came).await;
            if came {
                self.wait.reset();
            }
            match broken {
                // An end is no failure: servers and those in between limit how long an answer takes.
                Ok(Ended::ForNow) => tokio::time::sleep(again).await,
                Ok(Ended::ForGood) => {
                    let (source, at) = (&self.polling.name, shown(self.polling.ask.url()));
                    tracing::warn!(source, "{at} answers 204 No Content: the stream has ended for good");
                    return Ok(());
                }
                Err(why) => {
                    self.health.failed(&why.reason);
                    tokio::time::sleep(self.wait.wait(why.after).max(again)).await;
                }
            }
        }
    }

    /// One answer, to its end. `came` says whether anything did.
    async fn connected(&mut self, stream: Stream, again: &mut Duration, came: &mut bool) -> Result<Ended, CallError> {
        let mut response = self.send(Some(&self.headers(stream))).await?.0;
        // As the standard of server-sent events has it.
        if stream == Stream::Sse && response.status() == StatusCode::NO_CONTENT {
            self.health.well();
            return Ok(Ended::ForGood);
        }
        if !response.status().is_success() || response.status() == StatusCode::NO_CONTENT {
            return Err(CallError::status(response.status(), response.headers()));
        }
        self.health.well();
        let most = usize::try_from(self.polling.options.max_body.0).unwrap_or(usize::MAX);
        let silence = self.polling.options.silence.map_or(Duration::MAX, |silence| silence.0.to_std());
        let mut lines = Lines::new(stream, most);
        let mut message = Message::new(most);
        let said = self.said.as_ref().map(|said| said.of_headers(response.headers()));
        loop {
            let piece = match tokio::time::timeout(silence, response.chunk()).await {
                Ok(piece) => piece.map_err(|e| CallError::of(&e))?,
                Err(_) => return Err(passing("it is silent")),
            };
            let ended = piece.is_none();
            *came |= !ended;
            lines.push(piece.as_deref().unwrap_or_default());
            let (mut events, mut next) = (Events::default(), self.standing.clone());
            let mut last = next.event.clone();
            while let Some(line) = lines.next(ended) {
                let (event, beyond) = match stream {
                    Stream::Ndjson => (Cow::Borrowed(line.bytes.trim_ascii()), line.beyond),
                    Stream::Sse => {
                        let Said::Over(event) = message.line(&line, again) else { continue };
                        last.clone_from(&next.event);
                        if event.id.is_some() {
                            next.event.clone_from(&event.id);
                        }
                        events.said = said.as_ref().map(|said| said.with_event(&event.kind, event.id.as_deref()));
                        (Cow::Owned(event.data), event.beyond)
                    }
                };
                if stream == Stream::Ndjson {
                    events.said.clone_from(&said);
                }
                match beyond {
                    None => self.taken(&event, &mut events, &mut next)?,
                    // It goes alone, and behind those that came before it.
                    Some(bytes) => {
                        let before = Standing { event: last.take(), ..next.clone() };
                        self.give(std::mem::take(&mut events), before).await?;
                        let why = format!("the event has {bytes} bytes, more than the {most} of `max_body`");
                        self.give(Events::refused(&event, why), next.clone()).await?;
                    }
                }
            }
            // What comes next is asked for from here on.
            next.settle();
            self.give(events, next).await?;
            if ended {
                return Ok(Ended::ForNow);
            }
        }
    }

    fn headers(&self, stream: Stream) -> HeaderMap {
        let kind = match stream {
            Stream::Sse => "text/event-stream",
            Stream::Ndjson => "application/x-ndjson",
        };
        let mut headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static(kind)),
            (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ]);
        let event = self.standing.event.as_ref().filter(|event| !event.is_empty());
        if let Some(event) = event.and_then(|event| HeaderValue::from_bytes(event.as_bytes()).ok()) {
            headers.insert(LAST_EVENT_ID, event);
        }
        headers
    }

    /// Takes one event, unless it is empty or the cursor says that it was taken.
    fn taken(&self, event: &[u8], events: &mut Events, next: &mut Standing) -> Result<(), CallError> {
        if event.is_empty() {
            return Ok(());
        }
        match serde_json::from_slice::<&RawValue>(event) {
            Ok(value) if self.polling.json => self.take(value, events, next),
            // The engine says what is wrong with it.
            _ => {
                events.take(event);
                Ok(())
            }
        }
    }
}

fn passing(reason: &str) -> CallError {
    CallError { reason: reason.to_owned(), passes: true, after: None }
}

/// How a stream ends.
enum Ended {
    /// It is asked for again.
    ForNow,
    /// It is not.
    ForGood,
}

/// How much of an event that is too large is kept to show what it was.
const KEPT: usize = 1 << 10;

/// A line, or the beginning of one that is too long.
struct Line<'a> {
    bytes: &'a [u8],
    /// Then, how many bytes it had.
    beyond: Option<u64>,
}

/// Lines of a stream, which may end within a piece of it.
struct Lines {
    stream: Stream,
    /// Bytes that a line may have.
    most: usize,
    bytes: Vec<u8>,
    /// Those before it were handed out.
    at: usize,
    /// The last line ended with the first half of a line end, perhaps.
    half: bool,
    /// Nothing came yet: what marks the order of bytes is no part of the first line.
    first: bool,
    /// Bytes of the line under way that were let go of, because it is too long.
    gone: u64,
}

impl Lines {
    fn new(stream: Stream, most: usize) -> Self {
        Lines { stream, most, bytes: Vec::new(), at: 0, half: false, first: true, gone: 0 }
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// Bytes of the line that is not whole.
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next whole line. At the end of a stream the last of NDJSON is whole without a line end; one of server-sent events
    /// never is.
    fn next(&mut self, ended: bool) -> Option<Line<'_>> {
        if self.half && self.bytes.get(self.at) == Some(&b'\n') {
            self.at += 1;
        }
        if self.left() > 0 {
            self.half = false;
        }
        if self.first && self.left() >= 3 {
            self.first = false;
            if self.bytes.get(self.at..self.at + 3) == Some(b"\xef\xbb\xbf") {
                self.at += 3;
            }
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = match self.stream {
            Stream::Sse => memchr2(b'\n', b'\r', rest),
            Stream::Ndjson => memchr::memchr(b'\n', rest),
        };
        let start = self.at;
        let length = match end {
            Some(end) => {
                self.half = rest.get(end) == Some(&b'\r');
                self.at += end + 1;
                end
            }
            None if ended && self.stream == Stream::Ndjson && !rest.is_empty() => {
                self.at = self.bytes.len();
                rest.len()
            }
            None => {
                self.let_go();
                return None;
            }
        };
        let size = std::mem::take(&mut self.gone) + length as u64;
        let beyond = (size > self.most as u64).then_some(size);
        let shown = if beyond.is_some() { length.min(KEPT) } else { length };
        Some(Line { bytes: self.bytes.get(start..start + shown)?, beyond })
    }

    /// Lets go of what is not kept of a line that is too long already.
    fn let_go(&mut self) {
        let (left, kept) = (self.left(), self.at + KEPT.min(self.most));
        if self.gone + left as u64 > self.most as u64 && self.bytes.len() > kept {
            self.gone += (self.bytes.len() - kept) as u64;
            self.bytes.truncate(kept);
        }
    }
}

/// A server-sent event in the making.
#[derive(Default)]
struct Message {
    data: Vec<u8>,
    /// Bytes that the data may have, and those that it would have.
    most: usize,
    size: u64,
    /// What kind of event it is, if it says so.
    kind: String,
    /// The last id that came, also with an event before.
    id: Option<String>,
}

/// A server-sent event.
struct Event {
    /// Its data, or the beginning of data that is too large.
    data: Vec<u8>,
    /// Then, how many bytes it had.
    beyond: Option<u64>,
    kind: String,
    id: Option<String>,
}

/// What a line of a stream of events means.
enum Said {
    /// More of the event follows.
    Nothing,
    /// The event is whole.
    Over(Event),
}

impl Message {
    fn new(most: usize) -> Message {
        Message { most, ..Message::default() }
    }

    fn line(&mut self, line: &Line<'_>, again: &mut Duration) -> Said {
        if line.bytes.is_empty() {
            return Said::Over(self.over());
        }
        let (name, value) = match memchr::memchr(b':', line.bytes) {
            Some(colon) => (&line.bytes[..colon], line.bytes.get(colon + 1..).unwrap_or_default()),
            None => (line.bytes, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                let before = (line.bytes.len() - value.len()) as u64;
                self.size += line.beyond.map_or(value.len() as u64, |size| size - before) + 1;
                let room = if self.size > self.most as u64 + 1 { KEPT } else { usize::MAX };
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
                self.data.truncate(room);
            }
            // The beginning of a name is another name.
            _ if line.beyond.is_some() => {}
            b"event" => self.kind = String::from_utf8_lossy(value).into_owned(),
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"retry" => {
                let milliseconds = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
                *again = milliseconds.map_or(*again, |ms| Duration::from_millis(ms).min(LONGEST));
            }
            // Comments.
            _ => {}
        }
        Said::Nothing
    }

    fn over(&mut self) -> Event {
        let mut data = std::mem::take(&mut self.data);
        if data.last() == Some(&b'\n') {
            data.pop();
        }
        let size = std::mem::take(&mut self.size).saturating_sub(1);
        let beyond = (size > self.most as u64).then_some(size);
        Event { data, beyond, kind: std::mem::take(&mut self.kind), id: self.id.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of the events in a text that comes in pieces, with the last id and the time until it is asked for again.
    fn events(text: &[u8], piece: usize) -> (Vec<String>, Option<String>, u128) {
        let (mut lines, mut message) = (Lines::new(Stream::Sse, 1 << 20), Message::new(1 << 20));
        let (mut found, mut again) = (Vec::new(), AGAIN);
        for piece in text.chunks(piece) {
            lines.push(piece);
            while let Some(line) = lines.next(false) {
                if let Said::Over(event) = message.line(&line, &mut again) {
                    found.push(String::from_utf8(event.data).unwrap());
                }
            }
        }
        found.retain(|data| !data.is_empty());
        (found, message.id, again.as_millis())
    }

    #[test]
    fn events_are_cut_as_the_standard_has_it() {
        let text = b"\xef\xbb\xbf: hello\r\ndata: a\r\ndata:b\r\nid: 1\r\n\r\nevent: x\rdata:  c\r\rretry: 20\n\nid\ndata\n\n: \nretry: x\ndata: unfinished\n";
        for piece in 1..text.len() {
            let (found, id, again) = events(text, piece);
            assert_eq!(found, ["a\nb", " c"], "{piece}");
            assert_eq!((id.as_deref(), again), (Some(""), 20), "{piece}");
        }
    }

    #[test]
    fn lines_come_whole() {
        for piece in 1..8 {
            let mut lines = Lines::new(Stream::Ndjson, 3);
            let mut found = Vec::new();
            for piece in b"{1}\r\n\n{2}\n{3}".chunks(piece) {
                lines.push(piece);
                while let Some(line) = lines.next(false) {
                    found.push(String::from_utf8(line.bytes.trim_ascii().to_vec()).unwrap());
                }
            }
            lines.push(b"");
            found.extend(lines.next(true).map(|line| String::from_utf8(line.bytes.to_vec()).unwrap()));
            assert_eq!((found.join("|").as_str(), lines.next(true).is_none()), ("{1}||{2}|{3}", true), "{piece}");
        }
    }

    #[test]
    fn of_what_is_too_large_the_beginning_is_kept_and_the_rest_is_counted() {
        let large = "x".repeat(5_000);
        let text = format!("id: 1\ndata: a\n\nid: 2\nevent: e\ndata: {large}\n\n: {large}\ndata: b\n\n")
            + &"data: yyyyyyyyy\n".repeat(300)
            + "\nid: 3\ndata: c\n\n";
        for piece in [1, 10, 999, 5_000, 100_000] {
            let (mut lines, mut message) = (Lines::new(Stream::Sse, 2_000), Message::new(2_000));
            let (mut found, mut again) = (Vec::new(), AGAIN);
            for piece in text.as_bytes().chunks(piece) {
                lines.push(piece);
                while let Some(line) = lines.next(false) {
                    if let Said::Over(event) = message.line(&line, &mut again) {
                        assert!(event.data.len() <= 2_000, "{}", event.data.len());
                        found.push((event.data.first().copied(), event.beyond.is_some(), event.kind, event.id));
                    }
                }
                assert!(lines.left() <= 2_000 && message.data.len() <= 2_000, "no more is held");
            }
            let of = |first, beyond, kind: &str, id: &str| (Some(first), beyond, kind.to_owned(), Some(id.to_owned()));
            let wanted = [
                of(b'a', false, "", "1"),
                of(b'x', true, "e", "2"),
                of(b'b', false, "", "2"),
                of(b'y', true, "", "2"),
                of(b'c', false, "", "3"),
            ];
            assert_eq!(found, wanted, "in pieces of {piece}");
        }
    }
}
