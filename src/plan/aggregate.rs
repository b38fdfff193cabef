//! Aggregates as pure data.

use super::window::Window;
use crate::data::layout::FieldId;
use crate::data::value::Value;
use crate::expr::Expr;

/// One aggregate call.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    /// What is computed.
    pub function: Function,
    /// Of what; `None` for `count()`.
    pub argument: Option<Expr>,
    /// The computed column in which output expressions find the result.
    pub result: FieldId,
}

/// An aggregate function with its constants. Null and missing are passed over; with no value left the result is null, a
/// count 0.
#[derive(Clone, PartialEq, Debug)]
pub enum Function {
    /// Rows, or rows whose argument is not null.
    Count,
    /// Rows for which the condition is true.
    CountIf,
    /// Whether the condition is true for some row.
    Any,
    /// Whether the condition is true for every row.
    All,
    /// Exact for integers (128 bits inside).
    Sum,
    /// Arithmetic mean, a float.
    Avg,
    /// Least, in the order of values.
    Min,
    /// Greatest, in the order of values.
    Max,
    /// By event time, ties by arrival.
    First,
    /// By event time, ties by arrival.
    Last,
    /// Sample standard deviation.
    Stddev,
    /// Population standard deviation.
    StddevPop,
    /// Sample variance.
    Variance,
    /// Population variance.
    VariancePop,
    /// The number below which this part of the numbers lies, a float: 0 is the least, 0.5 the median, 1 the greatest.
    /// Between two numbers it is on the line from one to the other. Exact for few numbers
    /// ([`crate::base::limit::QUANTILE_EXACT`]); beyond, each of the two is within 1 % of its own size, and 0 and 1 stay
    /// exact.
    Quantile(f64),
    /// How many different values, exactly; an error of the window beyond [`crate::base::limit::DISTINCT_VALUES`].
    Distinct,
    /// How many different values: exact for few ([`crate::base::limit::APPROX_DISTINCT_EXACT`]), beyond with a standard
    /// error of 1.6 %.
    ApproxDistinct,
    /// The most frequent values, so many, as `[{value, count}]`; ties in the order of values. Exact up to
    /// [`crate::base::limit::TOP_COUNTERS`] different values.
    Top(u32),
    /// The first values by event time, ties by arrival, at most so many.
    Collect(u32),
    /// What the author computes from event to event. Every event counts, null or not.
    Fold(Box<Fold>),
}

/// A value carried from event to event of a window, in order of arrival.
#[derive(Clone, PartialEq, Debug)]
pub struct Fold {
    /// Before the first event.
    pub init: Value,
    /// The value after an event, from the event's fields and the value before it, [`Fold::ACCUMULATOR`].
    pub each: Expr,
    /// The value of two parts of a window, [`Fold::EARLIER`] and [`Fold::LATER`]; needed where windows are made of parts.
    pub merge: Option<Expr>,
}

impl Fold {
    /// What `each` calls the value so far.
    pub const ACCUMULATOR: &'static str = "acc";
    /// What `merge` calls the value of what came before.
    pub const EARLIER: &'static str = "a";
    /// What `merge` calls the value of what came after.
    pub const LATER: &'static str = "b";
}

impl Function {
    /// Functions that are given by their name alone.
    pub const PLAIN: [(&'static str, Function); 17] = [
        ("count", Function::Count),
        ("count_if", Function::CountIf),
        ("any", Function::Any),
        ("all", Function::All),
        ("sum", Function::Sum),
        ("avg", Function::Avg),
        ("min", Function::Min),
        ("max", Function::Max),
        ("first", Function::First),
        ("last", Function::Last),
        ("stddev", Function::Stddev),
        ("stddev_pop", Function::StddevPop),
        ("variance", Function::Variance),
        ("variance_pop", Function::VariancePop),
        ("median", Function::Quantile(0.5)),
        ("distinct", Function::Distinct),
        ("approx_distinct", Function::ApproxDistinct),
    ];

    /// Every name that an author may call.
    pub const NAMES: [&'static str; 20] = [
        "count",
        "count_if",
        "any",
        "all",
        "sum",
        "avg",
        "min",
        "max",
        "first",
        "last",
        "stddev",
        "stddev_pop",
        "variance",
        "variance_pop",
        "median",
        "quantile",
        "distinct",
        "approx_distinct",
        "top",
        "collect",
    ];

    /// The call as an author writes it.
    pub fn call(&self, argument: &str) -> String {
        match self {
            Function::Top(n) => format!("top({argument}, {n})"),
            Function::Collect(limit) => format!("collect({argument}, {limit})"),
            Function::Quantile(q) if *q != 0.5 => format!("quantile({argument}, {q})"),
            Function::Fold(fold) => format!("fold({})", fold.each.text.trim()),
            plain => {
                let name = Self::PLAIN.iter().find(|(_, f)| f == plain).map_or("", |(name, _)| name);
                format!("{name}({argument})")
            }
        }
    }

    /// Whether it works on numbers: null is passed over, and a row with anything else fails.
    pub fn takes_numbers(&self) -> bool {
        use Function as F;
        matches!(self, F::Sum | F::Avg | F::Stddev | F::StddevPop | F::Variance | F::VariancePop | F::Quantile(_))
    }

    /// Whether its argument is a condition: a bool, or the row fails.
    pub fn takes_condition(&self) -> bool {
        matches!(self, Function::CountIf | Function::Any | Function::All)
    }
}

/// What an aggregate field of the output is made of.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// A call's result as it is: an index into [`Window::calls`].
    Call(usize),
    /// An expression over computed columns.
    Expr(Expr),
}

impl Window {
    /// Every expression that is evaluated for each row: the key and what is aggregated.
    pub fn row_expressions<'a>(&'a self) -> impl Iterator<Item = &'a Expr> {
        let folded = |call: &'a Call| match &call.function {
            Function::Fold(fold) => Some(&fold.each),
            _ => call.argument.as_ref(),
        };
        self.by.iter().map(|part| &part.expr).chain(self.calls.iter().filter_map(folded))
    }
}
