//! The step `explode`: an event for each element of a list.

use compact_str::CompactString;

use crate::base::limit::{EXPLODED_BYTES, EXPLODED_ITEMS};
use crate::data::batch::{Batch, RowError};
use crate::data::column::as_u32;
use crate::data::json::{self, Holed};
use crate::data::layout::Layout;
use crate::engine::action::{Outcome, Tools, in_order};
use crate::plan::Port;

use super::texts::{Texts, Written};

/// Which list, and where an element goes.
pub struct ExplodeAction {
    /// The path of the list.
    pub field: Vec<CompactString>,
    /// The path that takes an element.
    pub to: Vec<CompactString>,
    /// Whether a row without elements goes on, without the list, instead of being dropped.
    pub keep_empty: bool,
}

impl ExplodeAction {
    /// Makes the events. A row whose field is no list fails, and so does one that would make too many.
    pub fn run(&self, batch: &Batch, layout: &Layout, tools: &mut Tools) -> Outcome {
        let mut out = Outcome::default();
        let texts = Texts::of(tools, batch);
        let mut written = Written::default();
        for row in 0..batch.rows {
            let number = as_u32(row);
            match self.row(texts.row(row), number, &mut written) {
                Ok(0) if self.keep_empty => {
                    json::write_without(texts.row(row), &self.field, &mut written.text);
                    written.text.push(b'\n');
                    written.rows.push(number);
                }
                Ok(0) => out.dropped += 1,
                Ok(_) => {}
                Err(reason) => out.errors.push(RowError { row: number, reason, place: String::new() }),
            }
        }
        let (made, mut errors) = written.into_batch(layout, tools, batch);
        out.errors.append(&mut errors);
        in_order(&mut out.errors);
        // Of each row taken one goes on; the others are made.
        let taken = batch.rows as u64 - out.dropped - out.errors.len() as u64;
        out.made = made.rows as u64 - taken;
        out.ports.push((Port::Main, made));
        out
    }

    /// Writes the events of a row: how many.
    fn row(&self, text: &str, row: u32, written: &mut Written) -> Result<usize, String> {
        let name = || self.field.join(".");
        let list = match json::text_at(text, &self.field) {
            None | Some("null") => return Ok(0),
            Some(list) if list.starts_with('[') => list,
            Some(other) => return Err(format!("`{}` is {}, not a list", name(), super::kind(other))),
        };
        let items = json::elements(list, EXPLODED_ITEMS + 1);
        if items.is_empty() {
            return Ok(0);
        }
        if items.len() > EXPLODED_ITEMS {
            return Err(format!(
                "`{}` has more than {EXPLODED_ITEMS} elements, the most that one event may become",
                name()
            ));
        }
        let event = Holed::new(text, &self.field, &self.to);
        let bytes = event.len() * items.len() + list.len();
        if bytes > EXPLODED_BYTES {
            return Err(format!(
                "{} events of {} bytes each are more than the {EXPLODED_BYTES} bytes that one event may become: drop large fields first",
                items.len(),
                bytes / items.len()
            ));
        }
        for item in &items {
            event.fill(item, &mut written.text);
            written.text.push(b'\n');
            written.rows.push(row);
        }
        Ok(items.len())
    }
}
