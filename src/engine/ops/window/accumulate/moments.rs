//! Variance and standard deviation.

use serde::{Deserialize, Serialize};

use crate::data::column::ColumnBuilder;
use crate::data::value::Val;
use crate::plan::aggregate::Function;

use super::Stored;
use super::running::{Running, push_float};

/// Count, mean and squared distance from the mean. B. P. Welford, Technometrics 4(3), 1962; merged after Chan, Golub
/// and LeVeque, 1979.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn variance(&self, population: bool) -> Option<f64> {
        let divisor = if population { self.count } else { self.count.checked_sub(1)? };
        (divisor > 0).then(|| self.squares / divisor as f64)
    }
}

impl Running for Moments {
    type Constant = ();

    fn empty((): ()) -> Self {
        Moments::default()
    }

    #[inline]
    fn add(&mut self, value: Val<'_>, _: i64) {
        let x = match value {
            Val::Int(i) => i as f64,
            Val::Float(f) => f,
            _ => return,
        };
        self.count += 1;
        let delta = x - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (x - self.mean);
    }

    fn merge(&mut self, other: &Moments) {
        if other.count == 0 {
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.count += other.count;
        self.mean += delta * b / (a + b);
        self.squares += other.squares + delta * delta * a * b / (a + b);
    }

    fn result(&self, function: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        let population = matches!(function, Function::StddevPop | Function::VariancePop);
        let variance = self.variance(population);
        let root = matches!(function, Function::Stddev | Function::StddevPop);
        push_float(out, if root { variance.map(f64::sqrt) } else { variance });
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Moments(*self)
    }

    fn load(stored: &Stored, (): ()) -> Option<Self> {
        if let Stored::Moments(moments) = stored { Some(*moments) } else { None }
    }
}
