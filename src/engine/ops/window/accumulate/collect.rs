//! The first values by event time.

use std::sync::Arc;

use crate::base::limit::COLLECT_BYTES;
use crate::data::column::{Cell, ColumnBuilder};
use crate::data::value::{Val, Value};
use crate::plan::aggregate::Function;

use super::Stored;
use super::running::Running;

/// Values with their times, ascending; of equal times in order of arrival. Beyond [`COLLECT_BYTES`] nothing is kept and
/// the window has no answer.
#[derive(Clone, Debug)]
pub(super) struct Collected {
    limit: usize,
    values: Vec<(i64, Value)>,
    /// What the values take.
    bytes: usize,
    beyond: bool,
}

impl Collected {
    fn insert(&mut self, time: i64, value: impl FnOnce() -> Value) {
        let full = self.values.len() >= self.limit;
        if self.beyond || full && self.values.last().is_none_or(|(last, _)| *last <= time) {
            return;
        }
        if full && let Some((_, last)) = self.values.pop() {
            self.bytes -= weight(&last);
        }
        // Mostly it is the last.
        let at = match self.values.last() {
            Some((last, _)) if *last > time => self.values.partition_point(|(t, _)| *t <= time),
            _ => self.values.len(),
        };
        let value = value();
        self.bytes += weight(&value);
        self.values.insert(at, (time, value));
        if self.bytes > COLLECT_BYTES {
            *self = Collected { beyond: true, ..Collected::empty(self.limit as u32) };
        }
    }
}

/// About what a value takes in memory.
fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::Text(text) => text.len(),
        Value::Number(spelled) => spelled.len(),
        Value::List(items) => items.iter().map(weight).sum(),
        Value::Map(map) => map.0.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        _ => 0,
    };
    inside + size_of::<Value>()
}

impl Running for Collected {
    const TIMED: bool = true;
    type Constant = u32;

    fn empty(limit: u32) -> Self {
        Collected { limit: limit as usize, values: Vec::new(), bytes: 0, beyond: false }
    }

    fn add(&mut self, value: Val<'_>, time: i64) {
        if !matches!(value, Val::Unit) {
            self.insert(time, || value.to_value());
        }
    }

    fn merge(&mut self, later: &Self) {
        if later.beyond {
            *self = later.clone();
        }
        later.values.iter().for_each(|(time, value)| self.insert(*time, || value.clone()));
    }

    fn result(&self, _: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        if self.beyond {
            return Err(format!(
                "`collect` keeps up to {COLLECT_BYTES} bytes of values of one window, and here are more; collect fewer, \
                 or a smaller part of each event"
            ));
        }
        if self.values.is_empty() {
            out.push_cell(Cell::Null);
        } else {
            let values = self.values.iter().map(|(_, value)| value.clone()).collect();
            out.push(Val::Big(&Value::List(Arc::new(values))));
        }
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Collected((!self.beyond).then(|| self.values.clone()))
    }

    fn load(stored: &Stored, limit: u32) -> Option<Self> {
        let Stored::Collected(values) = stored else { return None };
        let Some(values) = values else { return Some(Collected { beyond: true, ..Collected::empty(limit) }) };
        let bytes = values.iter().map(|(_, value)| weight(value)).sum();
        Some(Collected { limit: limit as usize, values: values.clone(), bytes, beyond: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_the_bound_are_an_error_and_stay_one() {
        let text = "x".repeat(1 << 20);
        let filled = |count: i64| {
            let mut all = Collected::empty(100);
            (0..count).for_each(|at| all.add(Val::Text(&text), at));
            all
        };
        let mut out = ColumnBuilder::default();
        let mut all = filled(15);
        assert!(all.result(&Function::Collect(100), &mut out).is_ok());
        all.merge(&filled(1));
        let error = all.result(&Function::Collect(100), &mut out).unwrap_err();
        assert!(error.contains("16777216 bytes"), "{error}");
        let mut other = filled(1);
        other.merge(&Collected::load(&all.stored(), 100).unwrap());
        assert!(other.result(&Function::Collect(100), &mut out).is_err());
        // What makes room for earlier values no longer counts.
        let mut few = Collected::empty(2);
        (0..40).rev().for_each(|at| few.add(Val::Text(&text), at));
        assert!(few.result(&Function::Collect(2), &mut out).is_ok());
    }
}
