//! The values by which a row of a table is found, as one run of bytes.

use crate::data::json;
use crate::data::value::{Val, Value};

/// A part of a key, so that values which are one key are spelled alike: numbers by value, whole ones without a fraction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part<'a> {
    /// Null or missing: no row has it.
    Null,
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text, and a number beyond 64 bits as it is spelled.
    Text(&'a str),
    /// `true` or `false`.
    Bool(bool),
}

impl<'a> Part<'a> {
    /// The part that a value is; the error is the kind of one that is none.
    pub(super) fn of(value: Val<'a>) -> Result<Part<'a>, &'static str> {
        Ok(match value {
            Val::Unit => Part::Null,
            Val::Bool(b) => Part::Bool(b),
            Val::Int(n) => Part::Int(n),
            Val::Float(f) => Part::of_float(f),
            Val::Text(text) => Part::Text(text),
            Val::Big(Value::Number(text) | Value::Text(text)) => Part::Text(text),
            Val::Big(_) => return Err(value.kind()),
        })
    }

    fn of_float(f: f64) -> Part<'a> {
        // The integers that a double holds exactly.
        if f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0 { Part::Int(f as i64) } else { Part::Float(f) }
    }

    /// A text that spells a number or a bool as that, which is how a file without types is read.
    fn untyped(self) -> Part<'a> {
        let Part::Text(text) = self else { return self };
        match text {
            "true" => return Part::Bool(true),
            "false" => return Part::Bool(false),
            _ if !json::is_number(text) => return self,
            _ => {}
        }
        match (text.parse::<i64>(), text.parse::<f64>()) {
            (Ok(int), _) => Part::Int(int),
            (_, Ok(float)) if float.is_finite() && text.bytes().any(|b| b".eE".contains(&b)) => Part::of_float(float),
            _ => self,
        }
    }
}

/// A key being put together; its room is used again.
#[derive(Debug, Default)]
pub struct Key {
    bytes: Vec<u8>,
    null: bool,
}

impl Key {
    /// Begins anew.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.null = false;
    }

    /// Adds a value as a file without types has it: `17`, `17.0` and `"17"` are one. The error is the kind of a value that
    /// is no part of a key.
    pub fn push_untyped(&mut self, value: Val<'_>) -> Result<(), &'static str> {
        self.push(Part::of(value)?.untyped());
        Ok(())
    }

    /// Adds a part: its kind, and a text with its length, so that `a` and `bc` are not `ab` and `c`.
    pub(super) fn push(&mut self, part: Part<'_>) {
        let mut add = |kind: u8, value: [u8; 8]| {
            self.bytes.push(kind);
            self.bytes.extend_from_slice(&value);
        };
        match part {
            Part::Null => self.null = true,
            Part::Bool(b) => add(b'b', u64::from(b).to_le_bytes()),
            Part::Int(n) => add(b'i', n.to_le_bytes()),
            Part::Float(f) => add(b'f', f.to_le_bytes()),
            Part::Text(text) => {
                add(b't', (text.len() as u64).to_le_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// The key as bytes; `None` if a part is null, which nothing has.
    pub fn found_by(&self) -> Option<&[u8]> {
        (!self.null).then_some(self.bytes.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[Val<'_>]) -> Option<Vec<u8>> {
        let mut key = Key::default();
        parts.iter().for_each(|part| key.push_untyped(*part).unwrap());
        key.found_by().map(<[u8]>::to_vec)
    }

    #[test]
    fn numbers_are_one_key_however_they_are_spelled() {
        let seventeen = key(&[Val::Int(17)]);
        for same in [Val::Float(17.0), Val::Text("17"), Val::Text("17.0"), Val::Text("1.7e1")] {
            assert_eq!(key(&[same]), seventeen, "{same:?}");
        }
        for other in [Val::Text("017"), Val::Text("+17"), Val::Text(" 17"), Val::Float(17.5), Val::Int(170)] {
            assert_ne!(key(&[other]), seventeen, "{other:?}");
        }
        assert_eq!(key(&[Val::Text("true")]), key(&[Val::Bool(true)]));
        assert_eq!(key(&[Val::Text("a"), Val::Unit]), None);
        assert_ne!(key(&[Val::Text("a"), Val::Text("bc")]), key(&[Val::Text("ab"), Val::Text("c")]));
        assert_ne!(key(&[Val::Int(1), Val::Int(2)]), key(&[Val::Int(12)]));
        assert!(Part::of(Val::Big(&Value::List(Default::default()))).is_err());
    }
}
