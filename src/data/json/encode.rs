//! Batches to records: rows that nobody changed leave as the bytes that came, changes are spliced into the others.

use super::made::Template;
use super::splice::Splice;
use super::tree;
use super::value::write_val;
use crate::data::batch::{Batch, Raw};
use crate::data::column::{Cell, Column, as_u32};
use crate::data::layout::{FieldId, Layout, Root};

/// Writes batches of one pipeline as JSON, one row a line.
#[derive(Debug)]
pub struct Encoder {
    layout: Layout,
    /// By [`FieldId`]: the last name of its path as `"name":`.
    keys: Vec<Vec<u8>>,
}

/// A whole batch that can be written as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untouched<'a> {
    /// The rows one after the other, each with its line end.
    pub text: &'a str,
    /// Where that begins in the batch's text; a row's `end + 1 - start` is one past its end.
    pub start: usize,
}

impl Encoder {
    /// An encoder for batches whose fields are those of `layout`.
    pub fn new(layout: &Layout) -> Self {
        let key = |path: &crate::data::layout::FieldPath| {
            let mut key = Vec::new();
            super::text::write_text(path.names.last().map_or("", |n| n), &mut key);
            key.push(b':');
            key
        };
        Encoder { keys: layout.iter().map(|(_, path)| key(path)).collect(), layout: layout.clone() }
    }

    /// Adds every row with its line end to `text`, and one past each to `ends`.
    pub fn encode(&mut self, batch: &Batch, text: &mut Vec<u8>, ends: &mut Vec<u32>) {
        ends.reserve(batch.rows);
        match &batch.raw {
            None => match Template::new(self, batch) {
                Some(template) => each_row(batch, text, ends, |row, out| template.write(row, out)),
                None => self.by_tree(batch, text, ends),
            },
            Some(raw) if batch.edits.is_empty() => copy(raw, text, ends),
            Some(raw) => match Splice::new(self, batch, raw) {
                Some(mut splice) => each_row(batch, text, ends, |row, out| {
                    let before = out.len();
                    if !splice.write(row, out) {
                        out.truncate(before);
                        tree::write_row(&self.layout, batch, row, out);
                    }
                }),
                None => self.by_tree(batch, text, ends),
            },
        }
    }

    /// The batch as one piece of text, if no row was changed and they stand one after the other, each followed by a line end.
    pub fn untouched<'a>(&self, batch: &'a Batch) -> Option<Untouched<'a>> {
        let raw = batch.raw.as_ref().filter(|_| batch.edits.is_empty())?;
        let mut rest = raw.rows.as_slice();
        let first = rest.first()?;
        let run = run(raw, rest);
        rest = rest.get(run.rows..)?;
        if !rest.is_empty() || !run.ended {
            return None;
        }
        let start = first.start as usize;
        Some(Untouched { text: raw.text.get(start..run.end)?, start })
    }

    fn by_tree(&self, batch: &Batch, text: &mut Vec<u8>, ends: &mut Vec<u32>) {
        each_row(batch, text, ends, |row, out| tree::write_row(&self.layout, batch, row, out));
    }

    /// The `"name":` of a field of the event that is a member of the event itself.
    pub(super) fn top_key(&self, field: FieldId) -> Option<&[u8]> {
        let path = self.layout.path(field)?;
        (path.root == Root::Event && path.names.len() == 1).then_some(self.keys.get(field.index())?.as_slice())
    }

    /// Every field of the pipeline.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }
}

fn each_row(batch: &Batch, text: &mut Vec<u8>, ends: &mut Vec<u32>, mut write: impl FnMut(usize, &mut Vec<u8>)) {
    for row in 0..batch.rows {
        write(row, text);
        text.push(b'\n');
        ends.push(as_u32(text.len()));
    }
}

/// Rows that stand one after the other with nothing but a line end between them.
struct Run {
    rows: usize,
    /// One past the last row, with its line end if it has one.
    end: usize,
    /// Whether the last row has a line end.
    ended: bool,
}

/// The longest run at the front of `rows`, which is not empty.
fn run(raw: &Raw, rows: &[crate::data::batch::Range32]) -> Run {
    let bytes = raw.text.as_bytes();
    let line_end = |at: u32| bytes.get(at as usize) == Some(&b'\n');
    let breaks = rows.windows(2).position(|pair| match pair {
        [a, b] => a.end + 1 != b.start || !line_end(a.end),
        _ => true,
    });
    let rows_in_run = breaks.map_or(rows.len(), |at| at + 1);
    let end = rows.get(rows_in_run.saturating_sub(1)).map_or(0, |r| r.end);
    let ended = line_end(end);
    Run { rows: rows_in_run, end: end as usize + usize::from(ended), ended }
}

/// Copies rows as they were read, neighbours in one piece.
fn copy(raw: &Raw, text: &mut Vec<u8>, ends: &mut Vec<u32>) {
    let mut rest = raw.rows.as_slice();
    while let Some(first) = rest.first() {
        let run = run(raw, rest);
        let (rows, after) = rest.split_at(run.rows.min(rest.len()));
        let base = text.len();
        text.extend_from_slice(raw.text.as_bytes().get(first.start as usize..run.end).unwrap_or_default());
        if !run.ended {
            text.push(b'\n');
        }
        ends.extend(rows.iter().map(|r| as_u32(base + (r.end - first.start) as usize + 1)));
        rest = after;
    }
}

/// Writes a cell; a missing one, which callers leave out, as null.
#[inline]
pub(super) fn write_cell(column: &Column, cell: Cell, out: &mut Vec<u8>) {
    match cell {
        Cell::Missing | Cell::Null => out.extend_from_slice(b"null"),
        cell => write_val(column.val(cell), out),
    }
}
