//! Fields that lie inside one another: writing `site.floor` changes `site`, and the other way round. The columns of the
//! fields around a written one are brought up to date with it.

use std::sync::Arc;

use compact_str::CompactString;

use crate::data::batch::Batch;
use crate::data::column::{Cell, Column, ColumnBuilder};
use crate::data::layout::{FieldId, Layout};
use crate::data::value::{Map, Val, Value};

/// The fields of a layout that change when one is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overlaps {
    others: Vec<Other>,
}

#[derive(Clone, Debug, PartialEq)]
struct Other {
    field: FieldId,
    /// Whether the other lies inside the written one.
    inside: bool,
    /// The way from the outer to the inner.
    names: Vec<CompactString>,
}

impl Overlaps {
    /// The fields that change with this one.
    pub fn of(field: FieldId, layout: &Layout) -> Overlaps {
        let Some(path) = layout.path(field) else { return Overlaps::default() };
        let others = layout.iter().filter(|(_, other)| other.overlaps(path) && !other.names.is_empty());
        let others = others.map(|(id, other)| {
            let inside = other.names.len() > path.names.len();
            let names = if inside { other.names.get(path.names.len()..) } else { path.names.get(other.names.len()..) };
            Other { field: id, inside, names: names.unwrap_or_default().to_vec() }
        });
        Overlaps { others: others.collect() }
    }

    /// Whether no other field changes.
    pub fn is_empty(&self) -> bool {
        self.others.is_empty()
    }

    /// Brings the columns of the others up to date after `column` was written in the rows that `touched` says.
    pub fn refresh(&self, batch: &mut Batch, column: &Column, touched: Option<&[bool]>) {
        for other in &self.others {
            let Some(old) = batch.column(other.field) else { continue };
            let mut builder = ColumnBuilder::with_capacity(batch.rows);
            for row in 0..batch.rows {
                let is_touched = touched.is_none_or(|t| t.get(row).copied().unwrap_or(true));
                match (is_touched, other.inside) {
                    (false, _) => keep(&mut builder, old, row),
                    (true, true) => push(&mut builder, inner(column.get(row), &other.names)),
                    (true, false) => {
                        let written = (!column.is_missing(row)).then(|| column.get(row).to_value());
                        match outer(&old.get(row).to_value(), &other.names, written) {
                            Some(value) => builder.push(value.as_val()),
                            None => keep(&mut builder, old, row),
                        }
                    }
                }
            }
            let fresh = Column { places: old.places.clone(), ..builder.finish() };
            batch.put(other.field, Arc::new(fresh));
        }
    }
}

fn push(builder: &mut ColumnBuilder, value: Option<&Value>) {
    match value {
        Some(value) => builder.push(value.as_val()),
        None => builder.push_cell(Cell::Missing),
    }
}

/// Copies a cell from one column to another.
pub(super) fn keep(builder: &mut ColumnBuilder, from: &Column, row: usize) {
    match from.cells.get(row) {
        None | Some(Cell::Missing) => builder.push_cell(Cell::Missing),
        Some(cell) => builder.push(from.val(*cell)),
    }
}

fn inner<'v>(value: Val<'v>, names: &[CompactString]) -> Option<&'v Value> {
    match value {
        Val::Big(value) => value.at(names),
        _ => None,
    }
}

/// The outer value with its inner one replaced, or taken out; `None` if it stays as it was.
fn outer(old: &Value, names: &[CompactString], written: Option<Value>) -> Option<Value> {
    let (first, rest) = names.split_first()?;
    let mut map = match old {
        Value::Map(map) => Map::clone(map),
        _ if written.is_none() => return None,
        _ => Map::default(),
    };
    if rest.is_empty() {
        match written {
            Some(value) => map.insert(first, value),
            None => drop(map.remove(first)),
        }
    } else {
        let below = map.get(first).cloned().unwrap_or(Value::Null);
        map.insert(first, outer(&below, rest, written)?);
    }
    Some(Value::Map(Arc::new(map)))
}
