//! Counts: of rows, of values, of conditions that hold.

use serde::{Deserialize, Serialize};

use crate::data::column::{Cell, ColumnBuilder};
use crate::data::value::Val;
use crate::plan::aggregate::Function;

use super::Stored;
use super::running::{Running, push_count};

/// Rows, or with `VALUES` rows whose argument is not null.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count<const VALUES: bool>(u64);

impl<const VALUES: bool> Running for Count<VALUES> {
    const READS: bool = VALUES;
    type Constant = ();

    fn empty((): ()) -> Self {
        Count(0)
    }

    #[inline]
    fn add(&mut self, value: Val<'_>, _: i64) {
        self.0 += u64::from(!VALUES || !matches!(value, Val::Unit));
    }

    fn merge(&mut self, later: &Self) {
        self.0 += later.0;
    }

    fn result(&self, _: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        push_count(out, self.0);
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Count(self.0)
    }

    fn load(stored: &Stored, (): ()) -> Option<Self> {
        if let Stored::Count(count) = stored { Some(Count(*count)) } else { None }
    }
}

/// How often a condition held and how often it did not: `count_if`, `any` and `all` of one condition are one. Where it
/// was null it did neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    yes: u64,
    no: u64,
}

impl Running for Verdicts {
    type Constant = ();

    fn empty((): ()) -> Self {
        Verdicts::default()
    }

    #[inline]
    fn add(&mut self, value: Val<'_>, _: i64) {
        if let Val::Bool(holds) = value {
            self.yes += u64::from(holds);
            self.no += u64::from(!holds);
        }
    }

    fn merge(&mut self, later: &Self) {
        self.yes += later.yes;
        self.no += later.no;
    }

    fn result(&self, function: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        match function {
            Function::CountIf => push_count(out, self.yes),
            _ if self.yes + self.no == 0 => out.push_cell(Cell::Null),
            Function::All => out.push_cell(Cell::Bool(self.no == 0)),
            _ => out.push_cell(Cell::Bool(self.yes > 0)),
        }
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Verdicts(*self)
    }

    fn load(stored: &Stored, (): ()) -> Option<Self> {
        if let Stored::Verdicts(verdicts) = stored { Some(*verdicts) } else { None }
    }
}
