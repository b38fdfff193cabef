//! Expressions over aggregate calls: `max(temperature) - min(temperature)`. Each call becomes a computed column, and
//! what stands around the calls an expression over those columns.

use rhai::{AST, ASTNode, Expr as Tree, FnCallExpr, Position, Stmt};

use super::analyse::{analyse_bound, parsed, read, single};
use super::source::Source;
use super::syntax::place;
use super::walk::bound_path;
use super::{Expr, Kind, Scope, analyse, known};
use crate::base::diag::{Diagnostic, Diagnostics, Severity, Span};
use crate::base::suggest::nearest;
use crate::base::tree::Origin;
use crate::data::layout::{FieldId, Layout, Root};

/// An aggregate field of a window's rows.
#[derive(Clone, PartialEq, Debug)]
pub struct Aggregate {
    /// The calls, in the order written.
    pub calls: Vec<AggregateCall>,
    /// What is made of them.
    pub output: AggregateOutput,
}

/// A call of an aggregate function.
#[derive(Clone, PartialEq, Debug)]
pub struct AggregateCall {
    /// Its name, one of those that were given.
    pub function: String,
    /// What is aggregated; `None` for `count()`.
    pub argument: Option<Expr>,
    /// Further arguments: the `0.9` of `quantile(x, 0.9)`.
    pub extra: Vec<Expr>,
    /// The computed column in which the output finds the result. Calls with the same text have the same.
    pub result: FieldId,
    /// Where it is written.
    pub span: Span,
}

/// What an aggregate field is made of.
#[derive(Clone, PartialEq, Debug)]
pub enum AggregateOutput {
    /// A call's result as it is: an index into [`Aggregate::calls`].
    Call(usize),
    /// An expression over the calls' results.
    Expr(Expr),
}

/// A call as it stands in the text.
struct Found {
    name: String,
    range: std::ops::Range<usize>,
    at: (usize, usize),
}

/// Reads an aggregate field's expression. `functions` are the names of the aggregate functions there are; one of them
/// called with at most one argument is an aggregate call even where a plain function has the same name.
pub fn analyse_aggregate(
    text: &str,
    origin: &Origin,
    scope: &Scope<'_>,
    functions: &[&str],
    layout: &mut Layout,
    found: &mut Diagnostics,
) -> Option<Aggregate> {
    let source = Source::new(text);
    let ast = parsed(&source, origin, found)?;
    if let Err(problem) = single(&ast, origin) {
        found.push(problem);
        return None;
    }
    let before = found.list.len();
    let located = locate(&ast, &source, origin, functions, found);
    if has_errors(found, before) {
        return None;
    }
    let mut calls = Vec::with_capacity(located.len());
    let mut bindings: Vec<(String, FieldId)> = Vec::new();
    for call in &located {
        let name = text.get(call.range.clone()).unwrap_or_default();
        let Some(result) = layout.intern(bound_path(name)) else {
            let words = format!("the pipeline names more than {} fields", crate::base::limit::FIELDS);
            found.push(Diagnostic::error("too-many-fields", words, Some(origin.span.clone())));
            return None;
        };
        bindings.push((name.to_string(), result));
        let mut arguments = arguments(&source, call, origin, scope, layout, found).into_iter();
        calls.push(AggregateCall {
            function: call.name.clone(),
            argument: arguments.next(),
            extra: arguments.collect(),
            result,
            span: origin.at(call.at.0, call.at.1, call.range.len()),
        });
    }
    if has_errors(found, before) {
        return None;
    }
    if let [call] = located.as_slice()
        && text.get(call.range.clone()).is_some_and(|t| t == text.trim())
    {
        return Some(Aggregate { calls, output: AggregateOutput::Call(0) });
    }
    bare_fields(&source, origin, &ast, scope, &bindings, found)?;
    let expr = analyse_bound(text, origin, Kind::Expression, scope, &bindings, layout, found)?;
    if calls.is_empty() {
        let words = "a window's field is made of aggregate calls, and here is none";
        let help = format!("call one of {}", functions.join(", "));
        found.push(Diagnostic::error("no-aggregate", words, Some(origin.span.clone())).help(help));
        return None;
    }
    Some(Aggregate { calls, output: AggregateOutput::Expr(expr) })
}

/// Whether an error was found since there were `before` diagnostics.
fn has_errors(found: &Diagnostics, before: usize) -> bool {
    found.list.iter().skip(before).any(|d| d.severity == Severity::Error)
}

/// Whether a call is one of an aggregate function.
fn is_call(call: &FnCallExpr, functions: &[&str]) -> bool {
    let name = call.name.as_str();
    let plain = known::arguments(name).is_some_and(|counts| counts.contains(&call.args.len()));
    !call.is_operator_call() && functions.contains(&name) && (call.args.len() <= 1 || !plain)
}

/// Every aggregate call in the order written, and what is wrong with calls.
fn locate(ast: &AST, source: &Source<'_>, origin: &Origin, functions: &[&str], found: &mut Diagnostics) -> Vec<Found> {
    let mut located: Vec<Found> = Vec::new();
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        let Some((node, above)) = path.split_last() else { return true };
        let Some((call, at)) = call_of(node) else { return true };
        let name = call.name.as_str();
        let (line, column) = place(at);
        let span = || Some(origin.at(line, column, name.len()));
        if !is_call(call, functions) {
            unknown(call, span(), functions, found);
            return true;
        }
        if above.iter().filter_map(call_of).any(|(outer, _)| is_call(outer, functions)) {
            let words = format!("`{name}` stands inside another aggregate call, and calls do not nest");
            found.push(
                Diagnostic::error("nested-aggregate", words, span()).help("use a second window step for the outer one"),
            );
        } else if let Some(range) = source.offset(line, column).and_then(|start| source.call(start))
            && !located.iter().any(|other| other.range == range)
        {
            located.push(Found { name: name.into(), range, at: (line, column) });
        }
        true
    });
    located.sort_by_key(|call| call.range.start);
    located
}

fn call_of<'a>(node: &ASTNode<'a>) -> Option<(&'a FnCallExpr, Position)> {
    match node {
        ASTNode::Expr(Tree::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at)) => Some((call, *at)),
        _ => None,
    }
}

/// What aggregates are called elsewhere, with what to write here.
const ELSEWHERE: [(&str, &str); 30] = [
    ("mean", "avg(x)"),
    ("average", "avg(x)"),
    ("percentile", "quantile(x, 0.95)"),
    ("percentile_cont", "quantile(x, 0.95)"),
    ("approx_percentile", "quantile(x, 0.95)"),
    ("stdev", "stddev(x)"),
    ("std", "stddev(x)"),
    ("stddev_samp", "stddev(x)"),
    ("stdevp", "stddev_pop(x)"),
    ("var_samp", "variance(x)"),
    ("var_pop", "variance_pop(x)"),
    ("total", "sum(x)"),
    ("cnt", "count()"),
    ("size", "count()"),
    ("uniq", "distinct(x)"),
    ("unique", "distinct(x)"),
    ("nunique", "distinct(x)"),
    ("count_distinct", "distinct(x)"),
    ("distinct_count", "distinct(x)"),
    ("approx_count_distinct", "approx_distinct(x)"),
    ("countif", "count_if(x > 20)"),
    ("count_where", "count_if(x > 20)"),
    ("mode", "top(x, 1)"),
    ("array_agg", "collect(x, 100)"),
    ("to_list", "collect(x, 100)"),
    ("list", "collect(x, 100)"),
    ("earliest", "first(x)"),
    ("latest", "last(x)"),
    ("every", "all(x > 20)"),
    ("some", "any(x > 20)"),
];

/// How to write an aggregate that has this name elsewhere: `avg(x)` for `mean`, `quantile(x, 0.99)` for `p99`.
fn elsewhere(name: &str) -> Option<String> {
    let folded = name.to_lowercase();
    if let Some(digits) = folded.strip_prefix('p').filter(|digits| !digits.is_empty() && digits.len() < 6) {
        let share = digits.trim_end_matches('0');
        let is_share = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') && digits.len() > 1;
        return is_share.then(|| format!("quantile(x, 0.{share})")).filter(|_| digits != "100");
    }
    ELSEWHERE.iter().find(|(other, _)| *other == folded).map(|(_, here)| (*here).to_owned())
}

/// Reports a call of no function at all; the suggestion knows aggregates and plain functions.
fn unknown(call: &FnCallExpr, span: Option<Span>, functions: &[&str], found: &mut Diagnostics) {
    let name = call.name.as_str();
    if call.is_operator_call() || known::arguments(name).is_some() || name == "curry" {
        return;
    }
    let candidates = functions.iter().copied().chain(known::names().map(|n| -> &str { n }));
    let (words, help) = if known::is_aggregate(name) && !functions.contains(&name) {
        (format!("the aggregate `{name}` is not in this version"), format!("there are {}", functions.join(", ")))
    } else {
        let help = match (elsewhere(name), nearest(name, candidates)) {
            (Some(here), _) => format!("write `{here}`"),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => format!("the aggregates are {}", functions.join(", ")),
        };
        (format!("there is no function `{name}`"), help)
    };
    found.push(Diagnostic::error("unknown-function", words, span).help(help));
}

/// A call's arguments, each with its own place in the file.
fn arguments(
    source: &Source<'_>,
    call: &Found,
    origin: &Origin,
    scope: &Scope<'_>,
    layout: &mut Layout,
    found: &mut Diagnostics,
) -> Vec<Expr> {
    let mut arguments = Vec::new();
    for range in source.arguments(&call.range) {
        let text = source.text.get(range.clone()).unwrap_or_default();
        let (line, column) = source.place(range.start);
        let span = origin.at(line, column, text.len());
        let lines = std::iter::once(span.range.start).chain(origin.lines.iter().skip(line).copied());
        let inner = Origin { lines: std::sync::Arc::new(lines.collect()), span };
        arguments.extend(analyse(text, &inner, Kind::Expression, scope, layout, found));
    }
    arguments
}

/// Reports fields that stand outside every call: a window has many events, so which one's value is meant?
fn bare_fields(
    source: &Source<'_>,
    origin: &Origin,
    ast: &AST,
    scope: &Scope<'_>,
    bindings: &[(String, FieldId)],
    found: &mut Diagnostics,
) -> Option<()> {
    let (facts, _) = read(source, origin, Kind::Expression, ast, scope, bindings);
    let mut clean = Some(());
    for access in facts.accesses.iter().filter(|a| a.path.root != Root::Computed) {
        let path = access.path.to_string();
        let span = origin.at(access.at.0, access.at.1, path.len());
        let words = format!("`{path}` stands outside an aggregate call, and a window has many values of it");
        let help = format!("write `first({path})` or `last({path})`, or add it to `by`");
        found.push(Diagnostic::error("bare-field", words, Some(span)).help(help));
        clean = None;
    }
    if let Some(at) = facts.whole {
        let words = "`event` stands outside an aggregate call, and a window has many events";
        found.push(Diagnostic::error("bare-field", words, Some(origin.at(at.0, at.1, 5))));
        clean = None;
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::elsewhere;

    #[test]
    fn aggregates_are_known_by_their_names_elsewhere() {
        let here = |name| elsewhere(name).unwrap_or_default();
        assert_eq!(["mean", "AVERAGE", "nunique"].map(here), ["avg(x)", "avg(x)", "distinct(x)"]);
        assert_eq!(
            ["p50", "p95", "p99", "p999"].map(here),
            [0.5, 0.95, 0.99, 0.999].map(|q| format!("quantile(x, {q})"))
        );
        assert_eq!(["p", "p5", "p05", "p100", "path", "averag"].map(here), [""; 6]);
    }
}
