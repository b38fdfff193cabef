//! The text of an expression: finding places in it, and rewriting it for Rhai while places stay true.

use std::ops::Range;

/// Text with the places of its lines.
pub(super) struct Source<'a> {
    /// The text.
    pub text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Source<'a> {
    /// Finds the lines.
    pub(super) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Source { text, starts }
    }

    /// The byte at a line and column, both from 1, the column in characters.
    pub(super) fn offset(&self, line: usize, column: usize) -> Option<usize> {
        let start = *self.starts.get(line.checked_sub(1)?)?;
        let rest = self.text.get(start..)?;
        let into = rest.char_indices().nth(column.checked_sub(1)?).map_or(rest.len(), |(i, _)| i);
        Some(start + into)
    }

    /// Line and column of a byte.
    pub(super) fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|s| *s <= offset).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The text of a call from its name's first byte to one past its closing parenthesis.
    pub(super) fn call(&self, start: usize) -> Option<Range<usize>> {
        let open = start + self.text.get(start..)?.find('(')?;
        Some(start..self.closing(open)? + 1)
    }

    /// The arguments of a call, without the space around them; the range is that of [`Source::call`].
    pub(super) fn arguments(&self, call: &Range<usize>) -> Vec<Range<usize>> {
        let text = self.text.get(call.clone()).unwrap_or_default();
        let Some(open) = text.find('(').map(|at| call.start + at) else { return Vec::new() };
        let close = call.end - 1;
        let mut cuts = vec![open];
        let mut at = open + 1;
        while at < close {
            match self.text.as_bytes().get(at) {
                Some(b',') => cuts.push(at),
                Some(b'(' | b'[' | b'{') => at = self.closing(at).unwrap_or(close),
                Some(b'"' | b'`' | b'\'') => at = self.quoted(at).unwrap_or(close),
                _ => {}
            }
            at += 1;
        }
        cuts.push(close);
        let pieces = cuts.iter().zip(cuts.iter().skip(1)).map(|(from, to)| {
            let piece = self.text.get(from + 1..*to).unwrap_or_default();
            let start = from + 1 + piece.len() - piece.trim_start().len();
            start..start + piece.trim().len()
        });
        pieces.filter(|piece| !piece.is_empty()).collect()
    }

    /// The bracket that closes the one at `open`. Skips text, characters and comments.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0usize;
        let mut at = open;
        while let Some(byte) = self.text.as_bytes().get(at) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => {
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(at);
                    }
                }
                b'"' | b'`' | b'\'' => at = self.quoted(at)?,
                b'/' if self.text.get(at..)?.starts_with("//") => {
                    at += self.text.get(at..)?.find('\n').unwrap_or(self.text.len() - at);
                }
                b'/' if self.text.get(at..)?.starts_with("/*") => at += self.text.get(at..)?.find("*/")? + 1,
                _ => {}
            }
            at += 1;
        }
        None
    }

    /// The last byte of the text literal that begins at `open`.
    fn quoted(&self, open: usize) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let quote = *bytes.get(open)?;
        let mut at = open + 1;
        loop {
            match *bytes.get(at)? {
                b if b == quote => return Some(at),
                b'\\' if quote != b'`' => at += 1,
                b'$' if quote == b'`' && bytes.get(at + 1) == Some(&b'{') => at = self.closing(at + 1)?,
                _ => {}
            }
            at += 1;
        }
    }

    /// One past the end of a chain (`a.b["c"].d()`), given where its first name begins.
    pub(super) fn chain_end(&self, start: usize) -> usize {
        let mut end = self.word_end(start);
        while let Some(next) = self.step_end(end) {
            end = next;
        }
        end
    }

    fn word_end(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
    }

    fn skip_space(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        at + rest.len() - rest.trim_start().len()
    }

    /// One past the end of `.name`, `.name()` or `[…]` that follows.
    fn step_end(&self, after: usize) -> Option<usize> {
        let end = self.member_end(after)?;
        let called = self.text.as_bytes().get(end) == Some(&b'(');
        if called { self.closing(end).map(|close| close + 1) } else { Some(end) }
    }

    /// One past the end of `.name` or `[…]` that follows.
    fn member_end(&self, after: usize) -> Option<usize> {
        let at = self.skip_space(after);
        let rest = self.text.get(at..)?;
        let plain = match rest.strip_prefix('?') {
            Some(plain) if plain.starts_with(['.', '[']) => plain,
            _ => rest,
        };
        let at = at + rest.len() - plain.len();
        match plain.as_bytes().first()? {
            // `..` is a range.
            b'.' if !plain.starts_with("..") => {
                let name = self.skip_space(at + 1);
                Some(self.word_end(name)).filter(|end| *end > name)
            }
            b'[' => self.closing(at).map(|close| close + 1),
            _ => None,
        }
    }

    /// One past the end of `event.name` or `event["name"]`, given where `event` begins.
    pub(super) fn first_member(&self, start: usize) -> Option<usize> {
        self.member_end(self.word_end(start))
    }
}

/// Text rewritten in places, with the way back to the places of the original.
#[derive(Clone, Debug, Default)]
pub(super) struct Rewriting {
    edits: Vec<(Range<usize>, String)>,
}

impl Rewriting {
    /// Replaces a range of the original; an empty range is an insertion. Edits must not overlap.
    pub(super) fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        self.edits.push((range, with.into()));
    }

    /// The new text and the way back.
    pub(super) fn apply(mut self, source: &Source<'_>) -> (String, Places) {
        // Stable: what is inserted at one point stays in the order it was asked for.
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        let mut text = String::with_capacity(source.text.len() + 64);
        let mut done = 0;
        let mut spans = Vec::new();
        for (range, with) in &self.edits {
            if range.start < done {
                continue;
            }
            spans.push((text.len(), done));
            text.push_str(source.text.get(done..range.start).unwrap_or_default());
            // Every byte of what is put in stands for the start of what it replaces.
            spans.push((text.len(), range.start));
            text.push_str(with);
            spans.push((text.len(), range.end));
            done = range.end;
        }
        spans.push((text.len(), done));
        text.push_str(source.text.get(done..).unwrap_or_default());
        let edited = !self.edits.is_empty();
        (text.clone(), Places { map: edited.then(|| Way { new: text, old: source.text.to_string(), pieces: spans }) })
    }
}

/// The way back from rewritten text.
#[derive(Clone, Debug)]
struct Way {
    new: String,
    old: String,
    /// Where pieces begin in both.
    pieces: Vec<(usize, usize)>,
}

/// Finds the original place of a place in rewritten text.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// `None` when nothing was rewritten.
    map: Option<Way>,
}

impl Places {
    /// Line and column in the original.
    pub(super) fn original(&self, line: usize, column: usize) -> (usize, usize) {
        let Some(Way { new, old, pieces: spans }) = &self.map else { return (line, column) };
        let Some(at) = Source::new(new).offset(line, column) else { return (line, column) };
        let piece = spans.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        let Some((start, from)) = spans.get(piece) else { return (line, column) };
        let end = spans.get(piece + 1).map_or(old.len(), |(_, from)| *from);
        Source::new(old).place((from + (at - start)).min(end.max(*from)))
    }
}
