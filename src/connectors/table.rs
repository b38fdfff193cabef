//! Rows as a table for people: columns found in the first rows, numbers to the right, long values cut.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde_json::value::RawValue;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Rows that a new header looks at to find its columns and their widths.
const SAMPLED: usize = 100;
/// Columns a value may take before it is cut.
const WIDEST: usize = 40;
/// Columns that a cut value keeps when the terminal is narrow.
const NARROWEST: usize = 6;
/// Between columns.
const GAP: &str = "  ";
/// Digits of a fraction that are shown.
const FRACTION: usize = 4;

/// Lays out rows as they come.
pub struct Table {
    /// Of the terminal, if there is one.
    width: Option<usize>,
    columns: IndexMap<String, Column>,
}

#[derive(Clone, Copy, Default)]
struct Column {
    width: usize,
    numbers: bool,
}

/// What a cell shows.
struct Cell {
    text: String,
    number: bool,
}

type Row<'a> = IndexMap<String, &'a RawValue>;

impl Table {
    /// A table for a terminal so many columns wide; `None` is any width.
    pub fn new(width: Option<usize>) -> Table {
        Table { width, columns: IndexMap::new() }
    }

    /// The lines for rows of JSON text, `ends` as in [`crate::connector::Encoded`]. A header comes first and again
    /// whenever a row has a field that the last one does not name. What is no object is shown as it is.
    pub fn rows(&mut self, text: &[u8], ends: &[u32]) -> String {
        let mut start = 0;
        let mut parsed = Vec::with_capacity(ends.len());
        for end in ends {
            let line = text.get(start..*end as usize).unwrap_or_default();
            start = *end as usize;
            parsed.push((line, serde_json::from_slice::<Row<'_>>(line).ok()));
        }
        let mut out = String::new();
        for (i, (line, row)) in parsed.iter().enumerate() {
            let Some(row) = row else {
                out.push_str(&visible(String::from_utf8_lossy(line).trim_end()));
                out.push('\n');
                continue;
            };
            if self.columns.is_empty() || row.keys().any(|field| !self.columns.contains_key(field)) {
                if !self.columns.is_empty() {
                    out.push('\n');
                }
                self.begin(row, parsed.iter().skip(i).take(SAMPLED).filter_map(|(_, row)| row.as_ref()));
                self.header(&mut out);
            }
            self.line(row, &mut out);
        }
        out
    }

    /// Finds columns: the first row's fields, then those that the rows after it add.
    fn begin<'a>(&mut self, first: &Row<'a>, rows: impl Iterator<Item = &'a Row<'a>>) {
        self.columns.clear();
        // An empty object still needs a line of its own; a column without a name gives it one.
        if first.is_empty() {
            self.columns.insert(String::new(), Column::default());
        }
        for row in rows {
            for (field, value) in row {
                let cell = cell(value);
                let name_width = field.width();
                let column = self.columns.entry(field.clone()).or_insert(Column { width: name_width, numbers: true });
                column.width = column.width.max(cell.text.width().min(WIDEST));
                column.numbers &= cell.number || cell.text.is_empty();
            }
        }
        let Some(limit) = self.width else { return };
        // The widest columns give way first.
        loop {
            let gaps = GAP.len() * self.columns.len().saturating_sub(1);
            let total: usize = self.columns.values().map(|c| c.width).sum::<usize>() + gaps;
            let widest = self.columns.values_mut().max_by_key(|c| c.width);
            match widest {
                Some(column) if total > limit && column.width > NARROWEST => column.width -= 1,
                _ => return,
            }
        }
    }

    fn header(&self, out: &mut String) {
        let names =
            self.columns.iter().map(|(name, column)| (Cell { text: visible(name), number: column.numbers }, *column));
        put_line(names, out);
        let rules = self.columns.values().map(|c| (Cell { text: "─".repeat(c.width), number: false }, *c));
        put_line(rules, out);
    }

    fn line(&self, row: &Row<'_>, out: &mut String) {
        let empty = || Cell { text: String::new(), number: false };
        let cells = self.columns.iter().map(|(name, column)| (row.get(name).map_or_else(empty, |v| cell(v)), *column));
        put_line(cells, out);
    }
}

/// Writes cells side by side, without blanks at the end.
fn put_line(cells: impl Iterator<Item = (Cell, Column)>, out: &mut String) {
    let start = out.len();
    for (i, (cell, column)) in cells.enumerate() {
        if i > 0 {
            out.push_str(GAP);
        }
        // A number is shown whole or not at all: a cut one would be another number.
        let text = if cell.number { cell.text } else { cut(cell.text, column.width) };
        let blanks = column.width.saturating_sub(text.width());
        let (before, after) = if cell.number { (blanks, 0) } else { (0, blanks) };
        let _ = write!(out, "{:before$}{text}{:after$}", "", "");
    }
    let end = out.trim_end_matches(' ').len();
    out.truncate(end.max(start));
    out.push('\n');
}

fn cell(value: &RawValue) -> Cell {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') => {
            let text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
            Cell { text: visible(&text), number: false }
        }
        Some(b'n') => Cell { text: String::new(), number: false },
        Some(b'-' | b'0'..=b'9') => Cell { text: shorten(raw), number: true },
        _ => Cell { text: visible(raw), number: false },
    }
}

/// A number with at most [`FRACTION`] digits after its point.
fn shorten(number: &str) -> String {
    let digits = number.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    match number.parse::<f64>() {
        Ok(value) if digits > FRACTION && !number.contains(['e', 'E']) && value.abs() >= 0.001 => {
            let rounded = format!("{value:.FRACTION$}");
            rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        _ => number.to_owned(),
    }
}

/// Text that cannot steer the terminal.
fn visible(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

fn cut(text: String, width: usize) -> String {
    if text.width() <= width {
        return text;
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used >= width {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::conformance::encoded;

    fn show(table: &mut Table, rows: &[&str]) -> String {
        let rows = encoded(rows);
        table.rows(&rows.text, &rows.ends)
    }

    #[test]
    fn columns_align_and_new_fields_bring_a_new_header() {
        let mut table = Table::new(None);
        let first = show(
            &mut table,
            &[
                r#"{"device":"a-1","avg":21.566666666666666,"n":3}"#,
                r#"{"device":"kitchen","avg":7.5,"n":12,"site":{"floor":2}}"#,
                r#"{"device":"b\u001b[31m","avg":null}"#,
            ],
        );
        assert_eq!(
            first,
            "device           avg   n  site\n\
             ───────────  ───────  ──  ───────────\n\
             a-1          21.5667   3\n\
             kitchen          7.5  12  {\"floor\":2}\n\
             b\\u{1b}[31m\n"
        );
        assert_eq!(show(&mut table, &[r#"{"n":1}"#]), "                       1\n");
        assert_eq!(show(&mut table, &[r#"{"x":true}"#]), "\nx\n────\ntrue\n");
    }

    #[test]
    fn long_values_are_cut_to_the_terminal_and_numbers_are_not() {
        let mut table = Table::new(Some(20));
        let rows = show(&mut table, &[r#"{"text":"abcdefghijklmnopqrstuvwxyz","n":123456789}"#]);
        assert_eq!(rows, "text               n\n─────────  ─────────\nabcdefgh…  123456789\n");
        assert_eq!(show(&mut table, &["[1,2]", "x"]), "[1,2]\nx\n");
        assert_eq!(shorten("0.00001234"), "0.00001234");
        assert_eq!(shorten("1e400"), "1e400");
    }
}
