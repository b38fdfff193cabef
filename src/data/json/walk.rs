//! The general scanner: walks one row of any form, writes the wanted values into columns and notes the row's shape.

use super::columns::{Columns, NONE, Names, UNWANTED};
use super::scalar::{WRONG, scalar_len, wanted};
use super::scan::{self, Fault, Member, Members, Scan, byte, enter, skip_space};
use super::shape::Recorder;
use super::value;
use crate::data::column::Place;

/// A walk over rows of one text.
pub(super) struct Walker<'a> {
    /// The text, up to where the row must have ended.
    pub text: &'a str,
    pub names: &'a Names,
    pub columns: &'a mut Columns,
    /// Notes the shape, unless nobody wants to know or it cannot be repeated.
    pub recorder: Option<&'a mut Recorder>,
}

impl Walker<'_> {
    /// The row's value, with nothing but white space around it: where it begins and one past where it ends.
    pub fn row(&mut self, start: usize) -> Scan<(usize, usize)> {
        let bytes = self.text.as_bytes();
        let from = skip_space(bytes, start);
        let end = self.value(from, 0, 0, None)?;
        let rest = skip_space(bytes, end);
        if rest < bytes.len() {
            return Err(Fault::new(rest, scan::TRAILING));
        }
        Ok((from, end))
    }

    /// The value at `at`, inside `depth` containers, of a wanted name or [`UNWANTED`]: one past its end.
    pub fn value(&mut self, at: usize, depth: usize, node: u16, member: Option<&Member>) -> Scan<usize> {
        let bytes = self.text.as_bytes();
        if node == UNWANTED && self.recorder.is_none() {
            return match byte(bytes, at) {
                b'{' | b'[' => scan::value(bytes, at, depth),
                _ => self.scalar(at, NONE),
            };
        }
        let name = self.names.get(node);
        let (column, place) = name.map_or((NONE, NONE), |n| (n.column, n.place));
        let kind = byte(bytes, at);
        if kind == b'{' && !name.is_some_and(|n| n.whole()) {
            return self.object(at, depth, node);
        }
        // From here on the value is one slot of the shape, whatever is inside.
        let mut recorder = self.recorder.take();
        let end = match kind {
            b'{' => self.object(at, depth, node),
            b'[' => scan::value(bytes, at, depth),
            _ => self.scalar(at, column),
        };
        let end = end?;
        let container = matches!(kind, b'{' | b'[');
        if column != NONE && container {
            let spelled = self.text.get(at..end).unwrap_or_default();
            self.columns.set_big(column, value::scanned(spelled, depth));
        }
        if let (true, Some(m)) = (place != NONE, member) {
            let place =
                Place { start: m.key as u32, key_end: m.key_end as u32, value_start: at as u32, value_end: end as u32 };
            self.columns.set_place(name.map_or(NONE, |n| n.place), place);
        }
        if let Some(recorder) = &mut recorder {
            let key = member.filter(|_| place != NONE);
            recorder.slot(at, end, container.then_some((node, depth)), column, key.map(|m| (place, m)));
        }
        self.recorder = recorder;
        Ok(end)
    }

    /// The scalar at `at`, written into its column if it has one.
    #[inline]
    fn scalar(&mut self, at: usize, column: u16) -> Scan<usize> {
        let bytes = self.text.as_bytes();
        let rest = bytes.get(at..).unwrap_or_default();
        let len = if column == NONE { scalar_len(rest) } else { wanted(self.text, rest, column, self.columns) };
        if len != WRONG {
            return Ok(at + len);
        }
        // Near the end of the text, or wrong.
        let end = scan::scalar(bytes, at)?;
        if column != NONE {
            self.columns.set_scalar(column, self.text.get(at..end).unwrap_or_default(), at);
        }
        Ok(end)
    }

    fn object(&mut self, at: usize, depth: usize, node: u16) -> Scan<usize> {
        let depth = enter(at, depth)?;
        let mut members = Members::new(self.text.as_bytes(), at);
        while let Some(member) = members.next()? {
            let child = if node == UNWANTED { UNWANTED } else { self.child(node, &member) };
            let repeated = child != UNWANTED && self.forget(child);
            let end = self.value(member.value, depth, child, Some(&member))?;
            if repeated {
                self.mark_repeated(child);
            }
            members.value_ends(end);
        }
        Ok(members.end())
    }

    fn child(&self, node: u16, member: &Member) -> u16 {
        let child = if member.escaped {
            self.names.child(node, &value::inner(self.text, member.key, member.key_end, true))
        } else {
            self.text.get(member.key + 1..member.key_end - 1).and_then(|name| self.names.child(node, name))
        };
        child.unwrap_or(UNWANTED)
    }

    /// A wanted member begins: what an earlier one of the same name brought does not count. Whether there was one whose
    /// place is known.
    fn forget(&mut self, node: u16) -> bool {
        let Some(name) = self.names.get(node) else { return false };
        let mut again = name.place != NONE && self.columns.has_place(name.place);
        let columns = &mut *self.columns;
        self.names.below(node, &mut |n| again |= columns.forget(n.column));
        if let Some(recorder) = &mut self.recorder {
            recorder.meet(node);
        }
        again
    }

    fn mark_repeated(&mut self, node: u16) {
        if let Some(name) = self.names.get(node).filter(|n| n.place != NONE) {
            self.columns.set_place(name.place, Place::REPEATED);
        }
    }
}
