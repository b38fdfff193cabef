//! Before a join: each side's rows are marked, and their key is computed by their own side's expressions.

use std::sync::Arc;

use crate::data::batch::{Batch, RowError};
use crate::data::column::{Column, as_u32};
use crate::data::hash;
use crate::data::layout::FieldId;
use crate::data::value::{Val, Value};
use crate::data::weave::{self, Pick};
use crate::engine::action::{Outcome, Tools, column_of, in_order, without};
use crate::expr::Program;
use crate::plan::Port;
use crate::store::rows::Origin;

/// What a join needs of each row.
pub struct PrepareJoin {
    /// The column that says whose row it is: true for the right side.
    pub side: FieldId,
    /// By side: columns to compute.
    pub compute: [Vec<(Program, FieldId)>; 2],
    /// The columns of the key, the same on both sides.
    pub key: Vec<FieldId>,
}

/// Marks the rows of one side.
pub fn tag(field: FieldId, right: bool, mut batch: Batch) -> Outcome {
    let column = Column::constant(&Value::Bool(right), batch.rows);
    batch.put(field, Arc::new(column));
    Outcome { ports: vec![(Port::Main, batch)], ..Outcome::default() }
}

/// Whether a row is the right side's.
pub fn is_right(batch: &Batch, side: FieldId, row: usize) -> bool {
    matches!(batch.get(side, row), Val::Bool(true))
}

/// What a row is when it is refused; `side` is the column that says whose it is, of a join's.
pub fn origin_of(batch: &Batch, side: Option<FieldId>, row: usize) -> Origin {
    match side {
        None => Origin::Row,
        Some(side) if is_right(batch, side, row) => Origin::Right,
        Some(_) => Origin::Left,
    }
}

impl PrepareJoin {
    /// Computes the key of every row, and its hash.
    pub fn run(&self, batch: Batch, tools: &mut Tools) -> Outcome {
        let mut out = Outcome::default();
        let mut sides = [Vec::new(), Vec::new()];
        let [left, right] = &mut sides;
        for row in 0..batch.rows {
            if is_right(&batch, self.side, row) { &mut *right } else { &mut *left }.push(as_u32(row));
        }
        let batch = if self.compute.iter().all(Vec::is_empty) {
            batch
        } else {
            self.columns(batch, &sides, tools, &mut out.errors)
        };
        let empty = Column::default();
        let columns: Vec<&Column> = self.key.iter().map(|f| batch.column(*f).unwrap_or(&empty)).collect();
        hash::hash_columns(&columns, batch.rows, &mut out.hashes);
        in_order(&mut out.errors);
        out.ports.push((Port::Main, batch));
        out
    }

    /// The rows with their computed columns; those that fail are left out.
    fn columns(&self, batch: Batch, sides: &[Vec<u32>; 2], tools: &mut Tools, errors: &mut Vec<RowError>) -> Batch {
        let mut parts = Vec::with_capacity(2);
        let mut order: Vec<(u32, Pick)> = Vec::with_capacity(batch.rows);
        for (rows, compute) in sides.iter().zip(&self.compute).filter(|(rows, _)| !rows.is_empty()) {
            let mut part = if rows.len() == batch.rows { batch.clone() } else { batch.select(rows) };
            let mut failed = Vec::new();
            for (program, field) in compute {
                let column = column_of(program, &part, tools, &mut failed);
                part.put(*field, column);
            }
            in_order(&mut failed);
            let kept = without(part.rows, &failed);
            if !failed.is_empty() {
                part = part.select(&kept);
            }
            let original = |row: u32| rows.get(row as usize).copied().unwrap_or(row);
            errors.extend(failed.into_iter().map(|e| RowError { row: original(e.row), ..e }));
            let number = as_u32(parts.len());
            order.extend((0u32..).zip(&kept).map(|(at, row)| (original(*row), Pick { part: number, row: at })));
            parts.push(part);
        }
        if parts.len() == 1 {
            return parts.pop().unwrap_or_default();
        }
        order.sort_by_key(|(row, _)| *row);
        let order: Vec<Pick> = order.into_iter().map(|(_, pick)| pick).collect();
        weave::weave(&parts, &order)
    }
}
