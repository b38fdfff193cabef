//! Joins in words.

use crate::base::time::TimeSpan;
use crate::data::layout::Layout;
use crate::plan::join::{Join, Kind};

use super::{expression_modes, mode, names, one_line};

/// What there is to say of a `join`.
pub(super) fn join(join: &Join, layout: &Layout, lines: &mut Vec<String>) {
    let (left, right) = (&join.left.name, &join.right.name);
    let mut pairs: Vec<String> = Vec::new();
    let parts = join.left.on.len().saturating_sub(if join.windows { 2 } else { 0 });
    for (a, b) in join.left.on.iter().zip(&join.right.on).take(parts) {
        pairs.push(format!("`{left}.{}` equals `{right}.{}`", one_line(&a.text), one_line(&b.text)));
    }
    if join.windows {
        pairs.push("their windows are the same".into());
    }
    lines.push(format!("puts `{left}` and `{right}` together where {}", pairs.join(" and ")));
    if !join.windows {
        lines.push(distance(join));
    }
    let on = join.left.on.iter().zip(&join.right.on).take(parts);
    expression_modes(on.flat_map(|(a, b)| [a, b]), lines);
    for (field, expr) in &join.select {
        lines.push(format!("{} is `{}`, {}", names(layout, &[*field]), one_line(&expr.text), mode(expr)));
    }
    let whose = match join.kind {
        Kind::Inner => None,
        Kind::Left => Some(format!("a row of `{left}`")),
        Kind::Full => Some("a row".to_owned()),
    };
    lines.push(match &whose {
        None => "rows without a match go no further".into(),
        Some(whose) => format!("{whose} without a match leaves when the watermark rules one out"),
    });
    if join.behind() > TimeSpan::ZERO {
        lines.push(format!("behind it the watermark is {} behind, so that such rows are not late", join.behind()));
    }
    lines.push("rows are exchanged here: those of one key meet on one worker".into());
}

/// How far apart rows may be.
fn distance(join: &Join) -> String {
    let (left, right) = (&join.left.name, &join.right.name);
    match (join.before, join.after) {
        (before, after) if before == after => format!("and they are at most {after} apart"),
        (before, after) => {
            format!("and `{right}` is at most {before} before and at most {after} after `{left}`")
        }
    }
}
