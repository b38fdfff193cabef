//! Sums and averages.

use serde::{Deserialize, Serialize};

use crate::data::column::{Cell, ColumnBuilder};
use crate::data::value::{Val, Value};
use crate::plan::aggregate::Function;

use super::Stored;
use super::running::{Running, push_float};

/// A sum, exact for integers; doubles are added with Neumaier's compensation (A. Neumaier, "Rundungsfehleranalyse
/// einiger Verfahren zur Summation endlicher Summen", 1974), so that panes may be merged without losing digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    int: i128,
    float: f64,
    lost: f64,
    /// Values added.
    count: u64,
    /// How many of them were doubles.
    floats: u64,
}

impl Sum {
    #[inline]
    fn add_float(&mut self, f: f64) {
        let sum = self.float + f;
        self.lost += if self.float.abs() >= f.abs() { (self.float - sum) + f } else { (f - sum) + self.float };
        self.float = sum;
    }

    fn total(&self) -> f64 {
        self.float + self.lost + self.int as f64
    }
}

impl Running for Sum {
    type Constant = ();

    fn empty((): ()) -> Self {
        Sum::default()
    }

    #[inline]
    fn add(&mut self, value: Val<'_>, _: i64) {
        match value {
            Val::Int(i) => self.int += i128::from(i),
            Val::Float(f) => {
                self.add_float(f);
                self.floats += 1;
            }
            _ => return,
        }
        self.count += 1;
    }

    fn merge(&mut self, other: &Sum) {
        self.int += other.int;
        self.add_float(other.float);
        self.lost += other.lost;
        self.count += other.count;
        self.floats += other.floats;
    }

    fn result(&self, function: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        if self.count == 0 {
            out.push_cell(Cell::Null);
        } else if *function == Function::Avg {
            push_float(out, Some(self.total() / self.count as f64));
        } else if self.floats > 0 {
            push_float(out, Some(self.total()));
        } else {
            match i64::try_from(self.int) {
                Ok(int) => out.push_cell(Cell::Int(int)),
                Err(_) => out.push(Val::Big(&Value::Number(compact_str::format_compact!("{}", self.int)))),
            }
        }
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Sum(*self)
    }

    fn load(stored: &Stored, (): ()) -> Option<Self> {
        if let Stored::Sum(sum) = stored { Some(*sum) } else { None }
    }
}
