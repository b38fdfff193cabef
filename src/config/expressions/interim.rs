//! Paths and calls over paths alone, until `expr` analyses expressions.

use crate::base::diag::{Diagnostics, Span};
use crate::base::tree::Origin;
use crate::data::layout::{FieldId, FieldPath, Layout, Root};
use crate::expr::{Expr, Kind, Scope};

#[derive(Clone, Debug)]
pub struct Aggregate {
    pub calls: Vec<AggregateCall>,
    pub output: AggregateOutput,
}
#[derive(Clone, Debug)]
pub struct AggregateCall {
    pub function: String,
    pub argument: Option<Expr>,
    pub extra: Vec<Expr>,
    pub result: FieldId,
    pub span: Span,
}
#[derive(Clone, Debug)]
pub enum AggregateOutput {
    Call(usize),
    Expr(Expr),
}

pub fn analyse_aggregate(
    text: &str,
    origin: &Origin,
    scope: &Scope<'_>,
    _: &[&str],
    layout: &mut Layout,
    found: &mut Diagnostics,
) -> Option<Aggregate> {
    let (function, rest) = text.trim().split_once('(')?;
    let argument = rest.strip_suffix(')')?;
    let argument = if argument.is_empty() {
        None
    } else {
        Some(crate::expr::analyse(argument, origin, Kind::Expression, scope, layout, found)?)
    };
    let result = layout.intern(FieldPath { root: Root::Computed, names: vec![text.trim().into()] })?;
    let call = AggregateCall { function: function.into(), argument, extra: vec![], result, span: origin.span.clone() };
    Some(Aggregate { calls: vec![call], output: AggregateOutput::Call(0) })
}
