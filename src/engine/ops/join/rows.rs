//! Makes the output rows of a join: texts that are read again, and the fields of `select`.

use std::sync::Arc;

use crate::base::time::Timestamp;
use crate::data::batch::{Batch, Edit, RowError};
use crate::data::column::{Cell, Column, ColumnBuilder, as_u32};
use crate::data::framing::Block;
use crate::data::json;
use crate::data::layout::{Demand, Layout};
use crate::data::value::{Val, Value};
use crate::engine::action::{Tools, in_order, too_deep, without};
use crate::engine::flow::Failed;
use crate::engine::ops::TickOutput;
use crate::engine::ops::window::keys::Key;
use crate::plan::Port;
use crate::store::rows::Origin;

use super::{JoinSpec, Select};

/// Collects the rows of a tick.
pub(super) struct JoinedRows {
    /// `{"left":` and `,"right":`.
    before: [String; 2],
    select: Option<Select>,
    layout: Arc<Layout>,
    /// Reads rows as they are put together.
    tools: Tools,
    /// Reads rows again that `select` made.
    again: Tools,
    text: Vec<u8>,
    ends: Vec<u32>,
    places: Vec<u32>,
    times: Vec<Timestamp>,
    /// Which sides each has.
    sides: Vec<[bool; 2]>,
    /// The keys of rows that leave without a match, a column a part.
    keys: Vec<ColumnBuilder>,
}

impl JoinedRows {
    /// No rows; `needed` is what is read of them.
    pub fn new(spec: &JoinSpec, layout: &Arc<Layout>, needed: &Demand) -> Self {
        let before = [('{', &spec.names[0]), (',', &spec.names[1])].map(|(sign, name)| {
            let mut text = vec![sign as u8];
            json::write_text(name, &mut text);
            text.push(b':');
            String::from_utf8(text).unwrap_or_default()
        });
        let first = spec.select.as_ref().map_or(needed, |select| &select.needed);
        JoinedRows {
            before,
            tools: Tools::new(layout, first),
            again: Tools::new(layout, needed),
            select: spec.select.clone(),
            layout: Arc::clone(layout),
            text: Vec::new(),
            ends: Vec::new(),
            places: Vec::new(),
            times: Vec::new(),
            sides: Vec::new(),
            keys: spec.key.iter().map(|_| ColumnBuilder::default()).collect(),
        }
    }

    /// Adds a row of this time that stands at this place of the ranks.
    pub fn add(&mut self, sides: [Option<&str>; 2], time: i64, place: u32) {
        for (before, side) in self.before.iter().zip(sides) {
            self.text.extend_from_slice(before.as_bytes());
            self.text.extend_from_slice(side.unwrap_or("null").as_bytes());
        }
        self.text.push(b'}');
        self.ends.push(as_u32(self.text.len()));
        self.places.push(place);
        self.times.push(Timestamp(time));
        self.sides.push(sides.map(|side| side.is_some()));
    }

    /// Notes a key that ranks rows; its row among the ranks' keys.
    pub fn key(&mut self, key: Option<&Key>) -> u32 {
        let parts = key.map_or(&[][..], Key::parts);
        let row = self.keys.first().map_or(0, ColumnBuilder::len);
        for (part, builder) in self.keys.iter_mut().enumerate() {
            builder.push(parts.get(part).map_or(Val::Unit, Value::as_val));
        }
        as_u32(row)
    }

    /// Hands over what was collected.
    pub fn finish(&mut self, out: &mut TickOutput) {
        out.ranks.keys = self.keys.iter_mut().map(|builder| Arc::new(std::mem::take(builder).finish())).collect();
        if self.ends.is_empty() {
            return;
        }
        out.made = self.ends.len() as u64;
        let places = std::mem::take(&mut self.places);
        let times = std::mem::take(&mut self.times);
        let at = |row: u32| places.get(row as usize).copied().unwrap_or(0);
        let time = |row: u32| times.get(row as usize).copied().unwrap_or(Timestamp::MIN);
        let block = Block::from_records(std::mem::take(&mut self.text), std::mem::take(&mut self.ends));
        let decoded = self.tools.decoder.decode(block);
        let refused = decoded.refused.into_iter().map(|r| Failed {
            ordinal: at(r.ordinal),
            time: time(r.ordinal),
            // Each of them was JSON.
            reason: format!("the two rows together: {}", r.reason.trim_start_matches("this is not JSON: ")),
            place: r.place,
            origin: Origin::Made,
            header: None,
            original: r.original,
        });
        out.failed.extend(refused);
        let mut batch = decoded.batch;
        self.look(&batch);
        self.sides.clear();
        batch.times = batch.ordinals.iter().map(|row| time(*row)).collect();
        batch.ordinals = batch.ordinals.iter().map(|row| at(*row)).collect();
        if let Some(select) = &self.select {
            let mut errors = Vec::new();
            let made = selected(select, &batch, &self.layout, &mut self.tools, &mut errors);
            // None is refused: rows that nest too deep are gone.
            let made = if select.refresh { self.again.reread(&made).0 } else { made };
            out.failed.extend(errors.into_iter().map(|e| self.fail(&batch, e)));
            batch = made;
        }
        out.failed.sort_by_key(|failed| failed.ordinal);
        out.ports.push((Port::Main, batch));
    }

    /// Looks for the fields of each side in the rows that have the side; ordinals are still places in the text.
    fn look(&self, batch: &Batch) {
        for (side, watch) in self.select.iter().flat_map(|select| select.watches.iter().enumerate()) {
            if watch.is_done() {
                continue;
            }
            let has = |row: &u32| {
                let ordinal = batch.ordinals.get(*row as usize).copied().unwrap_or_default();
                self.sides.get(ordinal as usize).and_then(|sides| sides.get(side)).copied().unwrap_or_default()
            };
            let rows: Vec<u32> = (0..as_u32(batch.rows)).filter(has).collect();
            watch.look(&self.layout, &batch.select(&rows));
        }
    }

    fn fail(&self, batch: &Batch, error: RowError) -> Failed {
        let row = error.row as usize;
        Failed {
            ordinal: batch.ordinals.get(row).copied().unwrap_or(0),
            time: batch.times.get(row).copied().unwrap_or(Timestamp::MIN),
            reason: error.reason,
            place: error.place,
            origin: Origin::Made,
            header: None,
            original: batch.raw.as_ref().map(|raw| raw.row(row).as_bytes().to_vec()).unwrap_or_default(),
        }
    }
}

/// Rows of the fields of `select` and nothing else; those that fail are left out.
fn selected(select: &Select, joined: &Batch, layout: &Layout, tools: &mut Tools, errors: &mut Vec<RowError>) -> Batch {
    let mut made =
        Batch { rows: joined.rows, ordinals: joined.ordinals.clone(), times: joined.times.clone(), ..Batch::default() };
    for (field, program) in &select.fields {
        let mut builder = ColumnBuilder::with_capacity(joined.rows);
        program.evaluate(joined, &mut tools.scratch, &mut builder, errors);
        let mut column = builder.finish();
        // What has no value is null; the field is there all the same.
        column.cells.iter_mut().filter(|c| **c == Cell::Missing).for_each(|c| *c = Cell::Null);
        let column: Arc<Column> = Arc::new(column);
        made.put(*field, Arc::clone(&column));
        made.edits.push(Edit::Set { field: *field, column, touched: None });
    }
    errors.append(&mut too_deep(layout, &made));
    in_order(errors);
    if errors.is_empty() { made } else { made.select(&without(made.rows, errors)) }
}
