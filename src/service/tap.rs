//! What is shown of rows that pass an entry: those for which a condition holds, without what nobody is to see.

use std::sync::Arc;

use crate::base::diag::Diagnostics;
use crate::base::tree::Origin;
use crate::data::batch::Batch;
use crate::data::column::{Cell, ColumnBuilder};
use crate::data::json::parse_value;
use crate::data::layout::{Layout, Root};
use crate::data::value::Value;
use crate::expr::{Kind, Program, Scope, Scratch, analyse};

use super::pipelines::said;

/// What stands for a value that is not shown.
const HIDDEN: &str = "***";

/// A condition over the fields of a row.
pub struct Condition {
    program: Program,
    layout: Layout,
    scratch: Scratch,
}

impl Condition {
    /// Reads an expression as pipelines have it: `temperature > 30 && status == "ok"`. The error is what `check` would say.
    pub fn new(text: &str) -> Result<Condition, String> {
        let (mut found, mut layout) = (Diagnostics::default(), Layout::default());
        let origin = Origin::detached("where", text);
        let expr = analyse(text, &origin, Kind::Expression, &Scope::default(), &mut layout, &mut found);
        let Some(expr) = expr.filter(|_| !found.has_errors()) else { return Err(said(&found)) };
        let program = Program::compile(&expr, &layout, &[]).map_err(|d| d.message)?;
        Ok(Condition { program: program.as_condition(), layout, scratch: Scratch::default() })
    }

    /// Whether it holds for a row; where it cannot be computed it does not.
    pub fn holds(&mut self, row: &Value) -> bool {
        let mut batch = Batch { rows: 1, ordinals: vec![0], ..Batch::default() };
        batch.times = vec![crate::base::time::Timestamp(0)];
        for (field, path) in self.layout.iter() {
            let mut column = ColumnBuilder::default();
            match Some(row).filter(|_| path.root == Root::Event).and_then(|row| row.at(&path.names)) {
                Some(value) => column.push(value.as_val()),
                None => column.push_cell(Cell::Missing),
            }
            batch.put(field, Arc::new(column.finish()));
        }
        let (mut keep, mut errors) = (Vec::new(), Vec::new());
        self.program.test(&batch, &mut self.scratch, &mut keep, &mut errors);
        !keep.is_empty()
    }
}

/// What rows are shown, and how.
pub struct Sight {
    condition: Option<Condition>,
    hidden: Vec<Vec<String>>,
}

impl Sight {
    /// Rows for which the condition holds, if there is one, without the values of these paths.
    pub fn new(condition: Option<&str>, hidden: &[String]) -> Result<Sight, String> {
        let paths = hidden.iter().map(|path| path.split('.').map(str::to_owned).collect());
        Ok(Sight { condition: condition.map(Condition::new).transpose()?, hidden: paths.collect() })
    }

    /// The text of a row as it is shown; `None` if it is not.
    pub fn of(&mut self, text: String) -> Option<String> {
        if self.condition.is_none() && self.hidden.is_empty() {
            return Some(text);
        }
        if let Some(condition) = &mut self.condition {
            let row = parse_value(&text).ok()?;
            if !condition.holds(&row) {
                return None;
            }
        }
        if self.hidden.is_empty() {
            return Some(text);
        }
        let mut row: serde_json::Value = serde_json::from_str(&text).ok()?;
        for path in &self.hidden {
            hide(&mut row, path);
        }
        Some(row.to_string())
    }
}

/// Hides what a path leads to, in each element of lists on the way.
fn hide(value: &mut serde_json::Value, path: &[String]) {
    match (path.split_first(), value) {
        (None, value) => *value = HIDDEN.into(),
        (Some((first, rest)), serde_json::Value::Object(map)) => {
            if let Some(value) = map.get_mut(first) {
                hide(value, rest);
            }
        }
        (Some(_), serde_json::Value::Array(list)) => list.iter_mut().for_each(|value| hide(value, path)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_shown_by_a_condition_and_without_what_is_hidden() {
        let row = || r#"{"a":{"b":5,"secret":"x"},"list":[{"secret":1},{"c":2}],"secret":"y"}"#.to_owned();
        let mut all = Sight::new(None, &[]).unwrap();
        assert_eq!(all.of(row()), Some(row()));
        let mut some = Sight::new(Some("a.b > 4"), &["a.secret".into(), "list.secret".into()]).unwrap();
        let shown = r#"{"a":{"b":5,"secret":"***"},"list":[{"secret":"***"},{"c":2}],"secret":"y"}"#;
        assert_eq!(some.of(row()).as_deref(), Some(shown));
        let mut none = Sight::new(Some("a.b > 5"), &[]).unwrap();
        assert_eq!(none.of(row()), None);
        assert_eq!(none.of(r#"{"other":1}"#.into()), None);
        assert!(Sight::new(Some("a.b >"), &[]).err().unwrap().contains("where:1"));
    }
}
