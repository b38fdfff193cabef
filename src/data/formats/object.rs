//! One JSON object, written member by member. Of members with one name the last counts, where the first stood: what reads
//! the output need not know what a name that stands twice means.

use super::Malformed;
use crate::data::json;

/// Up to so many members each is compared with each.
const FEW: usize = 16;

/// Where the members of the object being written stand; kept from record to record.
#[derive(Debug, Default)]
pub(super) struct Members {
    spans: Vec<Span>,
}

/// A member in the output.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Its name's opening quote.
    start: usize,
    /// One past its name's closing quote.
    name_end: usize,
    /// One past its value.
    end: usize,
}

/// An object being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    members: &'a mut Members,
    /// Where it begins in the output.
    start: usize,
}

impl Members {
    /// Adds an object to `out`, whose members `read` writes.
    pub fn object(
        &mut self,
        out: &mut Vec<u8>,
        read: impl FnOnce(&mut Object<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        self.spans.clear();
        let start = out.len();
        out.push(b'{');
        let mut object = Object { out, members: self, start };
        read(&mut object)?;
        object.finish();
        Ok(())
    }
}

impl Object<'_> {
    /// Whether it has no member yet.
    pub fn is_empty(&self) -> bool {
        self.members.spans.is_empty()
    }

    /// Adds a member; `value` writes what it is.
    pub fn member(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        if !self.is_empty() {
            self.out.push(b',');
        }
        let start = self.out.len();
        json::write_text(name, self.out);
        let name_end = self.out.len();
        self.out.push(b':');
        value(self.out);
        self.members.spans.push(Span { start, name_end, end: self.out.len() });
    }

    /// Adds a member that is text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.member(name, |out| json::write_text(value, out));
    }

    /// Adds a member that is spelled as JSON already: a number, `true`, `null`.
    pub fn plain(&mut self, name: &str, value: &[u8]) {
        self.member(name, |out| out.extend_from_slice(value));
    }

    /// Adds a member that stood without quotes: if `infer`, what is spelled like a JSON number, `true` or `false` is read
    /// as such and nothing at all as null; all else is text.
    pub fn bare(&mut self, name: &str, value: &str, infer: bool) {
        match value {
            "" if infer => self.plain(name, b"null"),
            "true" | "false" if infer => self.plain(name, value.as_bytes()),
            _ if infer && json::is_number(value) => self.plain(name, value.as_bytes()),
            _ => self.text(name, value),
        }
    }

    /// Ends the object.
    fn finish(self) {
        self.out.push(b'}');
        let spans = &self.members.spans;
        if let Some(kept) = unrepeated(spans, self.out) {
            let old = self.out.split_off(self.start);
            let part = |from: usize, to: usize| old.get(from - self.start..to - self.start).unwrap_or_default();
            for (i, (first, last)) in kept.into_iter().enumerate() {
                self.out.push(if i == 0 { b'{' } else { b',' });
                self.out.extend_from_slice(part(first.start, first.name_end));
                self.out.extend_from_slice(part(last.name_end, last.end));
            }
            self.out.push(b'}');
        }
    }
}

/// For each name the member that has it first and the one that has it last, in the order of the first; `None` if every
/// name stands once. Names are written in one way only, so equal names are equal bytes.
fn unrepeated(spans: &[Span], out: &[u8]) -> Option<Vec<(Span, Span)>> {
    let name = |span: &Span| out.get(span.start..span.name_end).unwrap_or_default();
    if spans.len() <= FEW {
        let repeats = |(i, span): (usize, &Span)| spans.iter().skip(i + 1).any(|other| name(other) == name(span));
        if !spans.iter().enumerate().any(repeats) {
            return None;
        }
    }
    let mut sorted: Vec<Span> = spans.to_vec();
    sorted.sort_by(|a, b| name(a).cmp(name(b)));
    let mut kept: Vec<(Span, Span)> = Vec::with_capacity(sorted.len());
    for span in sorted {
        match kept.last_mut() {
            Some((first, last)) if name(first) == name(&span) => *last = span,
            _ => kept.push((span, span)),
        }
    }
    if kept.len() == spans.len() {
        return None;
    }
    kept.sort_by_key(|(first, _)| first.start);
    Some(kept)
}
