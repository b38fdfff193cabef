//! The first values by event time.

use std::sync::Arc;

use crate::data::column::{Cell, ColumnBuilder};
use crate::data::value::{Val, Value};
use crate::plan::aggregate::Function;

use super::Stored;
use super::running::Running;

/// Values with their times, ascending; of equal times in order of arrival.
#[derive(Clone, Debug)]
pub(super) struct Collected {
    limit: usize,
    values: Vec<(i64, Value)>,
}

impl Collected {
    fn insert(&mut self, time: i64, value: impl FnOnce() -> Value) {
        let full = self.values.len() >= self.limit;
        if full && self.values.last().is_none_or(|(last, _)| *last <= time) {
            return;
        }
        if full {
            self.values.pop();
        }
        // Mostly it is the last.
        let at = match self.values.last() {
            Some((last, _)) if *last > time => self.values.partition_point(|(t, _)| *t <= time),
            _ => self.values.len(),
        };
        self.values.insert(at, (time, value()));
    }
}

impl Running for Collected {
    const TIMED: bool = true;
    type Constant = u32;

    fn empty(limit: u32) -> Self {
        Collected { limit: limit as usize, values: Vec::new() }
    }

    fn add(&mut self, value: Val<'_>, time: i64) {
        if !matches!(value, Val::Unit) {
            self.insert(time, || value.to_value());
        }
    }

    fn merge(&mut self, later: &Self) {
        later.values.iter().for_each(|(time, value)| self.insert(*time, || value.clone()));
    }

    fn result(&self, _: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        if self.values.is_empty() {
            out.push_cell(Cell::Null);
        } else {
            let values = self.values.iter().map(|(_, value)| value.clone()).collect();
            out.push(Val::Big(&Value::List(Arc::new(values))));
        }
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Collected(self.values.clone())
    }

    fn load(stored: &Stored, limit: u32) -> Option<Self> {
        let Stored::Collected(values) = stored else { return None };
        Some(Collected { limit: limit as usize, values: values.clone() })
    }
}
