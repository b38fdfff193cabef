//! One value among all: the least, the greatest, the first, the last.

use std::cmp::Ordering;

use crate::data::column::ColumnBuilder;
use crate::data::value::{Val, Value, compare};
use crate::plan::aggregate::Function;

use super::Stored;
use super::running::Running;

/// The least value, or with `GREATEST` the greatest; null is none.
#[derive(Clone, Debug)]
pub(super) struct Extreme<const GREATEST: bool>(Value);

impl<const GREATEST: bool> Running for Extreme<GREATEST> {
    type Constant = ();

    fn empty((): ()) -> Self {
        Extreme(Value::Null)
    }

    #[inline]
    fn add(&mut self, value: Val<'_>, _: i64) {
        let side = if GREATEST { Ordering::Greater } else { Ordering::Less };
        match (&mut self.0, value) {
            (_, Val::Unit) => {}
            (Value::Null, new) => self.0 = new.to_value(),
            (Value::Float(old), Val::Float(new)) => {
                if new.partial_cmp(old) == Some(side) {
                    *old = new;
                }
            }
            (old, new) => {
                if compare(new, old.as_val()) == side {
                    self.0 = new.to_value();
                }
            }
        }
    }

    fn merge(&mut self, later: &Self) {
        self.add(later.0.as_val(), 0);
    }

    fn result(&self, _: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        out.push(self.0.as_val());
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Extreme(self.0.clone())
    }

    fn load(stored: &Stored, (): ()) -> Option<Self> {
        if let Stored::Extreme(value) = stored { Some(Extreme(value.clone())) } else { None }
    }
}

/// The first value by event time with that time, or with `LAST` the last; null is none. Of equal times the one that
/// arrived first, or last.
#[derive(Clone, Debug)]
pub(super) struct Timed<const LAST: bool>(i64, Value);

impl<const LAST: bool> Timed<LAST> {
    #[inline]
    fn replaced_by(&self, time: i64) -> bool {
        matches!(self.1, Value::Null) || if LAST { time >= self.0 } else { time < self.0 }
    }
}

impl<const LAST: bool> Running for Timed<LAST> {
    const TIMED: bool = true;
    type Constant = ();

    fn empty((): ()) -> Self {
        Timed(0, Value::Null)
    }

    #[inline]
    fn add(&mut self, value: Val<'_>, time: i64) {
        if !matches!(value, Val::Unit) && self.replaced_by(time) {
            *self = Timed(time, value.to_value());
        }
    }

    fn merge(&mut self, later: &Self) {
        if !matches!(later.1, Value::Null) && self.replaced_by(later.0) {
            *self = later.clone();
        }
    }

    fn result(&self, _: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        out.push(self.1.as_val());
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Timed(self.0, self.1.clone())
    }

    fn load(stored: &Stored, (): ()) -> Option<Self> {
        if let Stored::Timed(time, value) = stored { Some(Timed(*time, value.clone())) } else { None }
    }
}
