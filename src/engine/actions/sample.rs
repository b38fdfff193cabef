//! `sample`: rows go on or not by a hash of their key, or of what they are.

use std::sync::Arc;

use crate::data::batch::Batch;
use crate::data::column::Column;
use crate::data::hash;
use crate::data::json;
use crate::data::layout::FieldId;
use crate::data::value::Val;
use crate::engine::action::{Outcome, Tools, column_of, in_order, without};
use crate::expr::Program;
use crate::plan::Port;

/// A `sample` step, its expressions compiled.
pub struct Sampler {
    /// The parts of the key; none decides for each row by itself.
    pub by: Vec<Program>,
    /// Source, partition and position.
    pub identity: [FieldId; 3],
    /// The greatest spread hash that goes on.
    pub greatest: u64,
}

impl Sampler {
    /// Lets the share go on.
    pub fn run(&self, mut batch: Batch, tools: &mut Tools) -> Outcome {
        let mut out = Outcome::default();
        let mut columns: Vec<Arc<Column>> = Vec::with_capacity(self.by.len());
        for program in &self.by {
            columns.push(column_of(program, &batch, tools, &mut out.errors));
        }
        in_order(&mut out.errors);
        let sound = without(batch.rows, &out.errors);
        let mut hashes = Vec::new();
        if self.by.is_empty() {
            hashes.extend((0..batch.rows).map(|row| self.identity_of(&batch, row, tools)));
        } else {
            let columns: Vec<&Column> = columns.iter().map(AsRef::as_ref).collect();
            hash::hash_columns(&columns, batch.rows, &mut hashes);
        }
        let goes_on = |row: &u32| hashes.get(*row as usize).is_some_and(|h| hash::spread(*h) <= self.greatest);
        let kept: Vec<u32> = sound.iter().copied().filter(goes_on).collect();
        out.dropped = (sound.len() - kept.len()) as u64;
        if kept.len() != batch.rows {
            batch = batch.select(&kept);
        }
        out.ports.push((Port::Main, batch));
        out
    }

    /// A hash of where a row comes from; of one that a step made, of all that it holds.
    fn identity_of(&self, batch: &Batch, row: usize, tools: &Tools) -> u64 {
        let parts = self.identity.map(|field| batch.get(field, row));
        match parts {
            [.., Val::Unit] => hash::hash_key(&[json::event_of(tools.encoder.layout(), batch, row).as_val()]),
            _ => hash::hash_key(&parts),
        }
    }
}
