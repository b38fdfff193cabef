//! Expressions that have one value whatever the event.

use super::program::{Program, Scratch};
use super::{Expr, Kind};
use crate::base::diag::Diagnostic;
use crate::data::batch::Batch;
use crate::data::column::ColumnBuilder;
use crate::data::layout::Layout;
use crate::data::value::{Val, Value};

/// Why an expression is no constant.
#[derive(Debug)]
pub enum Unconstant {
    /// It reads this of each event.
    Reads(String),
    /// It has no value.
    Fails(Box<Diagnostic>),
}

/// The value of an expression that reads nothing but constants.
pub fn constant(expr: &Expr, layout: &Layout, vars: &[(String, Value)]) -> Result<Value, Unconstant> {
    let read = expr.reads.iter().find_map(|field| layout.path(*field)).map(ToString::to_string);
    if let Some(field) = read.or_else(|| expr.whole_event.then(|| "event".to_owned())) {
        return Err(Unconstant::Reads(field));
    }
    debug_assert_eq!(expr.kind, Kind::Expression);
    let program = Program::compile(expr, layout, vars).map_err(|d| Unconstant::Fails(Box::new(d)))?;
    let batch = Batch { rows: 1, ordinals: vec![0], ..Batch::default() };
    let (mut out, mut errors) = (ColumnBuilder::default(), Vec::new());
    program.evaluate(&batch, &mut Scratch::default(), &mut out, &mut errors);
    match errors.into_iter().next() {
        Some(error) => {
            let diagnostic = Diagnostic::error("expression", error.reason, Some(expr.origin.span.clone()));
            Err(Unconstant::Fails(Box::new(diagnostic)))
        }
        None => Ok(match out.finish().get(0) {
            Val::Unit => Value::Null,
            value => value.to_value(),
        }),
    }
}
