//! Paths and calls over paths alone, until `expr` analyses expressions.

use crate::base::diag::{Diagnostics, Span};
use crate::base::tree::Origin;
use crate::data::layout::{FieldId, FieldPath, Layout, Root};
use crate::expr::{Expr, Kind, Mode, Scope};

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

fn is_path(text: &str) -> bool {
    !text.is_empty()
        && text.split('.').all(|n| {
            !n.is_empty()
                && n.chars().all(|c| c.is_alphanumeric() || c == '_')
                && !n.starts_with(|c: char| c.is_numeric())
        })
}

pub fn as_path(expr: &Expr) -> Option<FieldId> {
    if is_path(expr.text.trim()) { expr.reads.first().copied() } else { None }
}

pub fn analyse(
    text: &str,
    origin: &Origin,
    kind: Kind,
    _: &Scope<'_>,
    layout: &mut Layout,
    _: &mut Diagnostics,
) -> Option<Expr> {
    let reads = if is_path(text.trim()) { vec![layout.intern(FieldPath::dotted(text.trim()))?] } else { vec![] };
    Some(Expr {
        text: text.into(),
        origin: origin.clone(),
        kind,
        reads,
        writes: vec![],
        whole_event: false,
        uses_state: false,
        drops: false,
        emits_main: false,
        emits: vec![],
        mode: Mode::Compiled,
        bindings: vec![],
    })
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
        Some(analyse(argument, origin, Kind::Expression, scope, layout, found)?)
    };
    let result = layout.intern(FieldPath { root: Root::Computed, names: vec![text.trim().into()] })?;
    let call = AggregateCall { function: function.into(), argument, extra: vec![], result, span: origin.span.clone() };
    Some(Aggregate { calls: vec![call], output: AggregateOutput::Call(0) })
}
