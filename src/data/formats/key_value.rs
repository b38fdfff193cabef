//! Pairs with separators of the author's choice: `a: 1; b: "x; y"`.
//!
//! White space around names and values is nobody's. Names and values may stand in quotes, in which a backslash keeps the
//! quote from closing; what stands in quotes is always text. Pieces of nothing between two separators are passed over.

use std::borrow::Cow;

use memchr::memmem;

use super::object::Object;
use super::quoted;
use super::{Malformed, shown};
use crate::data::format::KeyValue;

/// Reads a record.
pub(super) fn read(text: &str, options: &KeyValue, object: &mut Object<'_>) -> Result<(), Malformed> {
    let mut reading = Reading { text, options, at: 0 };
    loop {
        reading.skip_separators();
        if reading.at >= text.len() {
            break;
        }
        let start = reading.at;
        let (name, _) = reading.piece(true)?;
        let separator = options.value_separator.as_str();
        if !reading.rest().starts_with(separator) {
            let message = format!("there is no `{separator}` after `{}`", shown(&name));
            return Err(Malformed::new(reading.at, message));
        }
        if name.is_empty() {
            return Err(Malformed::new(start, format!("there is no name before `{separator}`")));
        }
        reading.at += separator.len();
        reading.skip_space();
        let (value, quoted) = reading.piece(false)?;
        match quoted {
            true => object.text(&name, &value),
            false => object.bare(&name, &value, options.infer),
        }
    }
    if object.is_empty() {
        return Err(Malformed::new(0, "there is no pair in this record"));
    }
    Ok(())
}

struct Reading<'a> {
    text: &'a str,
    options: &'a KeyValue,
    at: usize,
}

impl<'a> Reading<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// White space parts pairs by any amount of it.
    fn by_space(&self) -> bool {
        self.options.pair_separator.trim_ascii().is_empty()
    }

    fn skip_separators(&mut self) {
        self.skip_blank();
        while !self.by_space() && self.rest().starts_with(&self.options.pair_separator) {
            self.at += self.options.pair_separator.len();
            self.skip_blank();
        }
    }

    fn skip_blank(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
    }

    /// White space inside a pair; where it parts pairs there is none.
    fn skip_space(&mut self) {
        if !self.by_space() {
            self.skip_blank();
        }
    }

    /// The name or the value that begins here, and whether it stood in quotes.
    fn piece(&mut self, is_name: bool) -> Result<(Cow<'a, str>, bool), Malformed> {
        let start = self.at;
        if self.rest().as_bytes().first() == Some(&self.options.quote) {
            let quoted = quoted::read(self.text, start, self.options.quote)
                .ok_or_else(|| Malformed::new(start, "a quote is opened and never closed"))?;
            self.at = quoted.end;
            self.skip_space();
            if !is_name && self.pair_end(self.at) != self.at {
                return Err(Malformed::new(self.at, "a separator should follow the closing quote"));
            }
            return Ok((quoted.text, true));
        }
        let mut end = self.pair_end(start);
        if is_name {
            let pair = self.text.as_bytes().get(start..end).unwrap_or_default();
            end = start + memmem::find(pair, self.options.value_separator.as_bytes()).unwrap_or(pair.len());
        }
        self.at = end;
        Ok((Cow::Borrowed(self.text.get(start..end).unwrap_or_default().trim_ascii()), false))
    }

    /// Where the pair that `from` lies in ends, if no quote is in the way.
    fn pair_end(&self, from: usize) -> usize {
        let rest = self.text.as_bytes().get(from..).unwrap_or_default();
        let len = match self.by_space() {
            true => rest.iter().position(u8::is_ascii_whitespace),
            false => memmem::find(rest, self.options.pair_separator.as_bytes()),
        };
        from + len.unwrap_or(rest.len())
    }
}
