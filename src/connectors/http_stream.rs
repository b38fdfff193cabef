//! Takes the events of an HTTP answer that does not end, and asks again when it breaks off.

use std::time::Duration;

use memchr::memchr2;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;

use super::http_call::CallError;
use super::http_client::Stream;
use super::http_poll::{Events, Poller};
use super::http_standing::Standing;

/// How long is waited before a stream that ended is asked for again, unless it says itself (`retry:`).
const AGAIN: Duration = Duration::from_secs(1);
/// The longest time that it may say.
const LONGEST: Duration = Duration::from_secs(3_600);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl Poller {
    /// Takes what comes, for ever.
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
                Ok(()) => tokio::time::sleep(again).await,
                Err(why) => {
                    self.health.failed(&why.reason);
                    tokio::time::sleep(self.wait.wait(why.after).max(again)).await;
                }
            }
        }
    }

    /// One answer, to its end. `came` says whether anything did.
    async fn connected(&mut self, stream: Stream, again: &mut Duration, came: &mut bool) -> Result<(), CallError> {
        let mut response = self.send(Some(&self.headers(stream))).await?.0;
        if !response.status().is_success() || response.status() == StatusCode::NO_CONTENT {
            return Err(CallError::status(response.status(), response.headers()));
        }
        self.health.well();
        let most = usize::try_from(self.polling.options.max_body.0).unwrap_or(usize::MAX);
        let silence = self.polling.options.silence.map_or(Duration::MAX, |silence| silence.0.to_std());
        let mut lines = Lines::new(stream);
        let mut message = Message::default();
        loop {
            let piece = match tokio::time::timeout(silence, response.chunk()).await {
                Ok(piece) => piece.map_err(|e| CallError::of(&e))?,
                Err(_) => return Err(passing("it is silent")),
            };
            let ended = piece.is_none();
            *came |= !ended;
            lines.push(piece.as_deref().unwrap_or_default());
            let (mut events, mut next) = (Events::default(), self.standing.clone());
            while let Some(line) = lines.next(ended) {
                if stream == Stream::Ndjson {
                    self.taken(line.trim_ascii(), &mut events, &mut next)?;
                    continue;
                }
                match message.line(line, again) {
                    Said::Nothing => {}
                    Said::Over => {
                        if message.id.is_some() {
                            next.event = message.id.clone();
                        }
                        let data = std::mem::take(&mut message.data);
                        self.taken(data.strip_suffix(b"\n").unwrap_or(&data), &mut events, &mut next)?;
                    }
                }
                if message.data.len() > most {
                    return Err(self.too_long(most));
                }
            }
            if lines.left() > most {
                return Err(self.too_long(most));
            }
            // What comes next is asked for from here on.
            next.settle();
            self.give(events, next).await?;
            if ended {
                return Ok(());
            }
        }
    }

    fn too_long(&self, most: usize) -> CallError {
        CallError::lasting(format!("an event has more than {most} bytes (`max_body`)"))
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

/// Lines of a stream, which may end within a piece of it.
struct Lines {
    stream: Stream,
    bytes: Vec<u8>,
    /// Those before it were handed out.
    at: usize,
    /// The last line ended with the first half of a line end, perhaps.
    half: bool,
    /// Nothing came yet: what marks the order of bytes is no part of the first line.
    first: bool,
}

impl Lines {
    fn new(stream: Stream) -> Self {
        Lines { stream, bytes: Vec::new(), at: 0, half: false, first: true }
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
    fn next(&mut self, ended: bool) -> Option<&[u8]> {
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
        match end {
            Some(end) => {
                self.half = rest.get(end) == Some(&b'\r');
                self.at += end + 1;
                self.bytes.get(start..start + end)
            }
            None if ended && self.stream == Stream::Ndjson && !rest.is_empty() => {
                self.at = self.bytes.len();
                self.bytes.get(start..)
            }
            None => None,
        }
    }
}

/// A server-sent event in the making.
#[derive(Default)]
struct Message {
    data: Vec<u8>,
    /// The last id that came, also with an event before.
    id: Option<String>,
}

/// What a line of a stream of events means.
enum Said {
    /// More of the event follows.
    Nothing,
    /// The event is whole.
    Over,
}

impl Message {
    fn line(&mut self, line: &[u8], again: &mut Duration) -> Said {
        if line.is_empty() {
            return Said::Over;
        }
        let (name, value) = match memchr::memchr(b':', line) {
            Some(colon) => (&line[..colon], line.get(colon + 1..).unwrap_or_default()),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"retry" => {
                let milliseconds = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok());
                *again = milliseconds.map_or(*again, |ms| Duration::from_millis(ms).min(LONGEST));
            }
            // Comments, and the kinds of events.
            _ => {}
        }
        Said::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data of the events in a text that comes in pieces, with the last id and the time until it is asked for again.
    fn events(text: &[u8], piece: usize) -> (Vec<String>, Option<String>, u128) {
        let (mut lines, mut message) = (Lines::new(Stream::Sse), Message::default());
        let (mut found, mut again) = (Vec::new(), AGAIN);
        for piece in text.chunks(piece) {
            lines.push(piece);
            while let Some(line) = lines.next(false) {
                if matches!(message.line(line, &mut again), Said::Over) {
                    found.push(String::from_utf8(std::mem::take(&mut message.data)).unwrap());
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
            assert_eq!(found, ["a\nb\n", " c\n", "\n"], "{piece}");
            assert_eq!((id.as_deref(), again), (Some(""), 20), "{piece}");
        }
    }

    #[test]
    fn lines_come_whole() {
        for piece in 1..8 {
            let mut lines = Lines::new(Stream::Ndjson);
            let mut found = Vec::new();
            for piece in b"{1}\r\n\n{2}\n{3}".chunks(piece) {
                lines.push(piece);
                while let Some(line) = lines.next(false) {
                    found.push(String::from_utf8(line.trim_ascii().to_vec()).unwrap());
                }
            }
            lines.push(b"");
            found.extend(lines.next(true).map(|line| String::from_utf8(line.to_vec()).unwrap()));
            assert_eq!((found.join("|").as_str(), lines.next(true)), ("{1}||{2}|{3}", None), "{piece}");
        }
    }
}
