//! Where configuration meets expressions: the only file here that calls [`crate::expr`].

use crate::base::diag::{Diagnostics, Severity};
use crate::data::value::Value;
use crate::expr::{self, Expr, Kind, Scope, Unconstant};
use crate::plan::aggregate::Function;

use super::context::Context;
use super::eaten;
use super::read::Code;

/// One expression with a value. `None` after a mistake, which has been reported.
pub fn expression(code: &Code, context: &mut Context<'_>) -> Option<Expr> {
    let vars = std::mem::take(&mut context.vars);
    let scope = Scope { vars: &vars, state: false, ports: &[] };
    let expr = analyse(code, Kind::Expression, &scope, context);
    context.vars = vars;
    expr
}

/// A script.
pub fn script(code: &Code, state: bool, ports: &[String], context: &mut Context<'_>) -> Option<Expr> {
    let vars = std::mem::take(&mut context.vars);
    let scope = Scope { vars: &vars, state, ports };
    let expr = analyse(code, Kind::Script, &scope, context);
    context.vars = vars;
    expr
}

fn analyse(code: &Code, kind: Kind, scope: &Scope<'_>, context: &mut Context<'_>) -> Option<Expr> {
    if cut(code, context) {
        return None;
    }
    let mut found = Diagnostics::default();
    let expr = expr::analyse(&code.text, &code.origin, kind, scope, &mut context.layout, &mut found);
    hand_on(code, found, context);
    expr
}

/// An expression over aggregate calls; every call is one of this version, with the arguments it takes.
pub fn aggregate(code: &Code, context: &mut Context<'_>) -> Option<expr::Aggregate> {
    if cut(code, context) {
        return None;
    }
    let functions = Function::NAMES;
    let vars = std::mem::take(&mut context.vars);
    let scope = Scope { vars: &vars, state: false, ports: &[] };
    let mut found = Diagnostics::default();
    let (text, layout) = (&code.text, &mut context.layout);
    let aggregate = expr::analyse_aggregate(text, &code.origin, &scope, &functions, layout, &mut found);
    context.vars = vars;
    hand_on(code, found, context);
    aggregate
}

/// An expression in which some names stand for values that it is given.
pub fn named(code: &Code, names: &[&str], context: &mut Context<'_>) -> Option<Expr> {
    if cut(code, context) {
        return None;
    }
    let vars = std::mem::take(&mut context.vars);
    let scope = Scope { vars: &vars, state: false, ports: &[] };
    let mut found = Diagnostics::default();
    let expr = expr::analyse_named(&code.text, &code.origin, names, &scope, &mut context.layout, &mut found);
    context.vars = vars;
    hand_on(code, found, context);
    expr
}

/// The value of an argument that must be the same for every event; `what` is the function that takes it.
pub fn constant(expr: &Expr, what: &str, context: &mut Context<'_>) -> Option<Value> {
    match expr::constant(expr, &context.layout, &context.vars) {
        Ok(value) => Some(value),
        Err(Unconstant::Reads(field)) => {
            let message = format!("`{what}` takes a constant here, and `{field}` is read from each event");
            let help = "write a plain value, or a constant of the pipeline: `vars.name`";
            context.error("not-constant", message, &expr.origin.span).help(help);
            None
        }
        Err(Unconstant::Fails(diagnostic)) => {
            context.found.push(*diagnostic);
            None
        }
    }
}

/// Whether YAML took the end of the text for a comment, which is then reported instead of what became of the rest.
fn cut(code: &Code, context: &mut Context<'_>) -> bool {
    let cut = eaten::cut_by_comment(&code.origin.span);
    let was_cut = cut.is_some();
    context.found.list.extend(cut);
    was_cut
}

/// Reports what was found in an expression; where a comment follows an expression with errors, that may be the reason.
fn hand_on(code: &Code, found: Diagnostics, context: &mut Context<'_>) {
    let comment = eaten::comment_after(&code.origin.span);
    for mut diagnostic in found.list {
        if let (Severity::Error, Some(comment)) = (diagnostic.severity, &comment) {
            let span = &code.origin.span;
            let meant = span.file.text.get(span.range.start..comment.end).unwrap_or_default();
            let hint = format!("if ` #` belongs to the expression, put it in quotes: {}", eaten::quoted(meant));
            diagnostic.help = Some(match diagnostic.help {
                Some(help) => format!("{help}; {hint}"),
                None => hint,
            });
        }
        context.found.push(diagnostic);
    }
}
