//! What the reference says of each aggregate: how it is called, what it is, what it keeps of its window and how exact it is.

/// An aggregate as the reference shows it.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name.
    pub name: &'static str,
    /// How it is called: `quantile(x, q)`.
    pub signature: &'static str,
    /// What it gives, one sentence or two.
    pub summary: &'static str,
    /// What is kept for each key and window while it is open.
    pub state: &'static str,
    /// How far from the true value the result may be.
    pub error: &'static str,
}

const FLOAT: &str = "the rounding of floating-point numbers";

/// Every aggregate, in the order in which they are best read.
pub const AGGREGATES: &[About] = &[
    about(
        "count",
        "count(x?)",
        "How many rows there are; with an argument, how many where it is not null.",
        "a number",
        "none",
    ),
    about(
        "count_if",
        "count_if(condition)",
        "How many rows there are for which the condition is true.",
        "a number",
        "none",
    ),
    about(
        "sum",
        "sum(x)",
        "The sum of numbers.",
        "a number",
        "none for integers, which have 128 bits inside; else the rounding of floating-point numbers",
    ),
    about("avg", "avg(x)", "The arithmetic mean of numbers, a float.", "two numbers", FLOAT),
    about(
        "min",
        "min(x)",
        "The least value, in the order null, false, true, numbers, text, lists, objects.",
        "a value",
        "none",
    ),
    about("max", "max(x)", "The greatest value, in the same order as `min`.", "a value", "none"),
    about(
        "first",
        "first(x)",
        "The value of the row with the least event time, of several the one that came first.",
        "a value and its time",
        "none",
    ),
    about(
        "last",
        "last(x)",
        "The value of the row with the greatest event time, of several the one that came last.",
        "a value and its time",
        "none",
    ),
    about(
        "stddev",
        "stddev(x)",
        "The standard deviation of a sample; null with fewer than two numbers.",
        "three numbers",
        FLOAT,
    ),
    about("stddev_pop", "stddev_pop(x)", "The standard deviation of a whole population.", "three numbers", FLOAT),
    about(
        "variance",
        "variance(x)",
        "The variance of a sample; null with fewer than two numbers.",
        "three numbers",
        FLOAT,
    ),
    about("variance_pop", "variance_pop(x)", "The variance of a whole population.", "three numbers", FLOAT),
    about(
        "median",
        "median(x)",
        "The number in the middle, a float; between two numbers, halfway.",
        "up to 64 numbers, then a sketch",
        "none up to 64 numbers, then 1 % of the number",
    ),
    about(
        "quantile",
        "quantile(x, q)",
        "The number below which the part `q` of the numbers lies, a float: 0 is the least, 0.5 the median, 1 the greatest.",
        "up to 64 numbers, then a sketch",
        "none up to 64 numbers, then 1 % of the number",
    ),
    about("any", "any(condition)", "Whether the condition is true for some row.", "a bool", "none"),
    about("all", "all(condition)", "Whether the condition is true for every row.", "a bool", "none"),
    about(
        "distinct",
        "distinct(x)",
        "How many different values there are.",
        "every value, up to 100,000; more is an error of the window",
        "none",
    ),
    about(
        "approx_distinct",
        "approx_distinct(x)",
        "About how many different values there are.",
        "up to 256 hashes, then a sketch of some kilobytes",
        "none up to 256 values, then a standard error of 1.6 %",
    ),
    about(
        "top",
        "top(x, n)",
        "The `n` most frequent values as `[{value, count}]`; ties in the order of values.",
        "up to 2,048 values with their counts",
        "none up to 2,048 different values, then counts too small by at most a 1,024th of all",
    ),
    about("collect", "collect(x, limit)", "The first values by event time, at most `limit`.", "the values", "none"),
    about(
        "fold",
        "fold: { init, each, merge }",
        "What expressions of your own make of the events, in order of arrival: `init` is the value before the first, `each` the \
         value after an event, made of its fields and of `acc`, the value before it; `merge` puts the values `a` and `b` of two \
         parts of a window together, which sliding windows and sessions need. An event for which `each` fails goes to \
         `.errors` and belongs to no window.",
        "what the expressions make",
        "none",
    ),
];

const fn about(
    name: &'static str,
    signature: &'static str,
    summary: &'static str,
    state: &'static str,
    error: &'static str,
) -> About {
    About { name, signature, summary, state, error }
}

/// What is said of an aggregate.
pub fn of(name: &str) -> Option<&'static About> {
    AGGREGATES.iter().find(|about| about.name == name)
}

#[cfg(test)]
mod tests {
    use crate::plan::aggregate::Function;

    #[test]
    fn every_aggregate_is_described() {
        let silent: Vec<_> = Function::NAMES.iter().filter(|name| super::of(name).is_none()).collect();
        assert!(silent.is_empty(), "add these to `AGGREGATES` in src/plan/about.rs: {silent:?}");
    }
}
