//! A `lookup` in words.

use super::{Mode, mode, names, one_line};
use crate::plan::Plan;
use crate::plan::lookup::{Ask, Lookup, Missing, Table};

/// What a lookup does, and what its answers depend on.
pub(super) fn of_lookup(lookup: &Lookup, plan: &Plan, lines: &mut Vec<String>) {
    let named = &lookup.named;
    let what = match &lookup.table {
        Table::Csv { .. } => format!("the row of {named}, held in memory,"),
        Table::Sqlite { ask: Ask::Table(table), .. } => format!("the row of `{table}` in {named}"),
        Table::Sqlite { ask: Ask::Query(_), .. } => format!("the first row that its query of {named} gives"),
    };
    let part = |(column, expr): &(String, crate::expr::Expr)| match one_line(&expr.text) {
        text if text == *column => format!("`{column}`"),
        text => format!("`{column}` = `{text}`"),
    };
    let key: Vec<String> = lookup.on.iter().map(part).collect();
    lines.push(format!("finds {what} by {}", key.join(" and ")));
    let fields: Vec<_> = lookup.fields.iter().map(|(field, _)| *field).collect();
    lines.push(format!("writes {}", names(&plan.layout, &fields)));
    lines.push(match lookup.missing {
        Missing::Keep => "a row that the table has no row for goes on as it is".into(),
        Missing::Null => "in a row that the table has no row for they are null".into(),
        Missing::Drop => "a row that the table has no row for is dropped".into(),
        Missing::Error => "a row that the table has no row for fails".into(),
    });
    let in_rhai = lookup.on.iter().map(|(_, expr)| expr).filter(|expr| expr.mode != Mode::Compiled);
    lines.extend(in_rhai.map(|expr| format!("`{}` runs {}", one_line(&expr.text), mode(expr))));
    lines.push(match (lookup.refreshed(plan), &lookup.table) {
        (None, Table::Csv { .. }) => "the table is read once, when the run begins".into(),
        (None, Table::Sqlite { .. }) => "an answer that was had is kept as long as there is room".into(),
        (Some(span), _) => {
            format!("the table is looked at every {span}: rows that come after it has changed meet the new one")
        }
    });
}

/// What holds of a plan's lookups: what their answers depend on beside the input.
pub(super) fn holds(plan: &Plan) -> Option<String> {
    let lookups = super::numbered(plan).filter_map(|(_, node)| match &node.kind {
        super::NodeKind::Step(super::Operator::Lookup(lookup)) => Some((node.name.as_str(), lookup)),
        _ => None,
    });
    let (names, lookups): (Vec<&str>, Vec<&Lookup>) = lookups.unzip();
    if names.is_empty() {
        return None;
    }
    let once = lookups.iter().all(|l| l.refreshed(plan).is_none() && matches!(l.table, Table::Csv { .. }));
    let names = names.join(", ");
    Some(if once {
        format!("The tables of {names} are input too: the output is the same while they are.")
    } else {
        format!("Answers of {names} are those of the tables at that moment: read again later, a row may get another.")
    })
}
