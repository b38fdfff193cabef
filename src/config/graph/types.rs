//! Checks every entry with what is known of the rows that it reads.

use crate::base::diag::{Diagnostic, Severity};
use crate::config::context::Context;
use crate::expr::types::Type;
use crate::plan::NodeKind;
use crate::plan::types::{Check, Rows};

use super::Graph;

/// Reports what cannot be because of the types of fields. The graph has no circle and every input was found; after a
/// mistake in an entry nothing is known of its rows. Where no source above an entry has a schema, what is known comes
/// from the steps alone (a window's rows, what `keep` leaves), and what is found is a warning.
pub fn check(graph: &Graph, context: &mut Context<'_>) {
    let mut rows: Vec<Option<Above>> = vec![None; graph.drafts.len()];
    for at in 0..graph.drafts.len() {
        visit(at, graph, &mut rows, context);
    }
}

/// What is known of an entry's rows.
#[derive(Clone)]
struct Above {
    rows: Rows,
    /// Whether a schema is among what it is known from.
    promised: bool,
}

/// Checks an entry after those that it reads. Depth is bounded by the limit on entries.
fn visit(at: usize, graph: &Graph, rows: &mut Vec<Option<Above>>, context: &mut Context<'_>) {
    let (Some(None), Some(draft)) = (rows.get(at), graph.drafts.get(at)) else { return };
    let mut inputs: Vec<Type> = Vec::new();
    let mut promised = matches!(&draft.kind, Some(NodeKind::Source(source)) if source.schema.is_some());
    for from in graph.inputs.get(at).into_iter().flatten() {
        visit(from.node.index(), graph, rows, context);
        let above = rows.get(from.node.index()).and_then(Option::as_ref);
        promised |= above.is_some_and(|above| above.promised);
        let of = above.map_or_else(Type::any, |above| above.rows.of(&from.port));
        inputs.push(of);
    }
    let input = inputs.iter().cloned().reduce(|sum, of| sum.or(&of)).unwrap_or_else(Type::any);
    let mut check = Check { layout: &context.layout, vars: &context.vars, named: &draft.named, found: Vec::new() };
    let made = match &draft.kind {
        Some(NodeKind::Source(source)) => check.source(source),
        Some(NodeKind::Step(operator)) => check.step(operator, &inputs, &input),
        Some(NodeKind::Sink(sink)) => {
            check.sink(&sink.format, &input);
            Rows::unknown()
        }
        None => Rows::unknown(),
    };
    let severity = if promised { Severity::Error } else { Severity::Warning };
    let found = check.found.into_iter().map(|d| Diagnostic { severity: d.severity.max(severity), ..d });
    context.found.list.extend(found);
    if let Some(place) = rows.get_mut(at) {
        *place = Some(Above { rows: made, promised });
    }
}
