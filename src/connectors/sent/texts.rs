//! Texts among a sink's options that depend on the row. Only what the row makes of them goes with it, into checkpoints too:
//! the plain rest of an address or a header, which may be a secret, stays where it was written.

use std::borrow::Cow;
use std::ops::Range;

use super::{Delivery, Row};

/// A text, plain but for what rows make of its pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Plain(String),
    /// A template, by its number among the sink's.
    Template(usize),
}

/// The templates of a sink, as its texts are taken apart one after the other.
#[derive(Debug, Default)]
pub struct Texts {
    /// The templates, in the order in which the engine has to know them.
    pub templates: Vec<String>,
}

impl Texts {
    /// Takes a text apart. One with statements in it (`{% if … %}`) is a template as a whole.
    pub fn add(&mut self, text: &str) -> Text {
        if text.contains("{%") || text.contains("{#") {
            return Text { pieces: vec![self.template(text)] };
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((plain, after)) = rest.split_once("{{") {
            // One that does not end is left for whoever reads templates to complain of.
            let end = after.find("}}").map_or(after.len(), |end| end + 2);
            if !plain.is_empty() {
                pieces.push(Piece::Plain(plain.to_owned()));
            }
            let (inside, behind) = after.split_at(end);
            pieces.push(self.template(&format!("{{{{{inside}")));
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Plain(rest.to_owned()));
        }
        Text { pieces }
    }

    fn template(&mut self, text: &str) -> Piece {
        self.templates.push(text.to_owned());
        Piece::Template(self.templates.len() - 1)
    }
}

impl Text {
    /// What the rows of a delivery make of it.
    pub fn of<'a>(&'a self, delivery: &'a Delivery) -> Cow<'a, str> {
        let of_piece = |piece: &'a Piece| match piece {
            Piece::Plain(text) => text.as_str(),
            Piece::Template(number) => delivery.rendered(*number),
        };
        match self.pieces.as_slice() {
            [] => Cow::Borrowed(""),
            [only] => Cow::Borrowed(of_piece(only)),
            several => Cow::Owned(several.iter().map(of_piece).collect()),
        }
    }

    /// Whether it is the same for every row.
    pub fn is_plain(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Plain(_)))
    }

    /// The numbers of its templates.
    pub fn templates(&self) -> Range<usize> {
        let mut numbers = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Template(number) => Some(*number),
            Piece::Plain(_) => None,
        });
        let first = numbers.clone().next().unwrap_or(0);
        first..numbers.next_back().map_or(first, |last| last + 1)
    }
}

/// What a row makes of templates, to tell keys apart.
pub(super) fn key_of(row: &Row, templates: &Range<usize>) -> Vec<u8> {
    let mut key = Vec::new();
    for text in row.rendered.get(templates.clone()).unwrap_or_default() {
        key.extend_from_slice(text.as_bytes());
        key.push(0);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Timestamp;
    use std::sync::Arc;

    #[test]
    fn texts_are_taken_apart_and_put_together() {
        let mut texts = Texts::default();
        let given = ["plain", "a/{{ x }}/b?t=secret", "{{ y | upper }}{{ z }}", "{% if x %}s{{ x }}{% endif %}", ""];
        let made: Vec<Text> = given.iter().map(|text| texts.add(text)).collect();
        assert_eq!(texts.templates, ["{{ x }}", "{{ y | upper }}", "{{ z }}", "{% if x %}s{{ x }}{% endif %}"]);
        let rendered = ["1", "2", "3", "4"].map(Arc::from).to_vec();
        let row = Row { text: Vec::new(), rendered, time: Timestamp::MIN, id: 0 };
        assert_eq!(key_of(&row, &made[2].templates()), b"2\x003\0");
        let delivery = Delivery { rows: vec![Arc::new(row)] };
        let of: Vec<_> = made.iter().map(|text| text.of(&delivery)).collect();
        assert_eq!(of, ["plain", "a/1/b?t=secret", "23", "4", ""]);
        assert_eq!(made.iter().map(Text::is_plain).collect::<Vec<_>>(), [true, false, false, false, true]);
        assert_eq!(made[0].templates(), 0..0);
        assert_eq!(texts.add("{{ x").templates(), 4..5);
    }
}
