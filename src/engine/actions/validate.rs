//! The step `validate`: events that fit a JSON Schema pass untouched, others fail.

use std::sync::Arc;

use crate::data::batch::{Batch, RowError};
use crate::data::column::as_u32;
use crate::data::validate::Schema;
use crate::engine::action::{Outcome, Tools};
use crate::plan::Port;

use super::texts::Texts;

/// The schema, shared by all workers.
pub struct ValidateAction {
    /// Compiled.
    pub schema: Arc<Schema>,
}

impl ValidateAction {
    /// Looks at every row.
    pub fn run(&self, batch: Batch, tools: &mut Tools) -> Outcome {
        let mut out = Outcome::default();
        let mut kept = Vec::with_capacity(batch.rows);
        let texts = Texts::of(tools, &batch);
        for row in 0..batch.rows {
            match self.schema.check(texts.row(row)) {
                Ok(()) => kept.push(as_u32(row)),
                Err(found) => {
                    out.errors.push(RowError { row: as_u32(row), reason: found.reason, place: found.pointer });
                }
            }
        }
        drop(texts);
        let batch = if kept.len() == batch.rows { batch } else { batch.select(&kept) };
        out.ports.push((Port::Main, batch));
        out
    }
}
