//! Steps that let only some of the rows go on, in words.

use super::{exchange, expression_modes, key};
use crate::plan::pace::{Dedupe, THROTTLED, Throttle};
use crate::plan::sample::{Sample, Share};

/// What there is to say of a `dedupe`.
pub(super) fn dedupe(dedupe: &Dedupe, lines: &mut Vec<String>) {
    let what = if dedupe.by.is_empty() {
        "rows with the same fields are the same".to_owned()
    } else {
        format!("rows with one {} are the same", key(&dedupe.by))
    };
    lines.push(what);
    let within = dedupe.within;
    lines.push(format!("a row less than {within} before or after one that went on is a duplicate and goes no further"));
    expression_modes(dedupe.by.iter().map(|part| &part.expr), lines);
    lines.push(format!("a row that is {within} or more behind the watermark is late"));
    lines.push(match dedupe.by.is_empty() {
        true => "rows are exchanged here: those that are the same meet on one worker".into(),
        false => exchange(&dedupe.by),
    });
}

/// What there is to say of a `throttle`.
pub(super) fn throttle(throttle: &Throttle, lines: &mut Vec<String>) {
    let Throttle { by, limit, per, .. } = throttle;
    let whose = if by.is_empty() { String::new() } else { format!(" of each {}", key(by)) };
    let rows = if *limit == 1 { "row" } else { "rows" };
    lines.push(format!("lets at most {limit} {rows}{whose} go on in any {per} of event time"));
    lines.push(format!("what it holds back is counted and gone, or goes to whoever reads .{THROTTLED}"));
    expression_modes(by.iter().map(|part| &part.expr), lines);
    lines.push(format!("a row that is {per} or more behind the watermark is late"));
    if !by.is_empty() {
        lines.push(exchange(by));
    }
}

/// What there is to say of a `sample`.
pub(super) fn sample(sample: &Sample, lines: &mut Vec<String>) {
    let share = match sample.share {
        Share::Rate(rate) => format!("{rate} of"),
        Share::OneIn(n) => format!("one in {n} of"),
    };
    lines.push(match sample.by.is_empty() {
        true => format!("lets {share} the rows go on, chosen by where they come from"),
        false => format!("lets {share} the {} go on, each with all its rows", key(&sample.by)),
    });
    lines.push("the choice is the same in every run".into());
    expression_modes(sample.by.iter().map(|part| &part.expr), lines);
}
