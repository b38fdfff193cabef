//! Which fields each edge must carry: worked out once, from the sinks back to the sources.

use std::collections::BTreeMap;

use super::alert::Alert;
use super::lookup::{Lookup, Missing};
use super::pace::{Dedupe, Throttle};
use super::{NodeId, NodeKind, Operator, Plan, Port};
use crate::data::format::Format;
use crate::data::layout::{Demand, FieldId, FieldPath, Layout, Root};
use crate::expr::Expr;

/// What the readers of each output need of its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demands {
    outputs: BTreeMap<(NodeId, Port), Demand>,
}

impl Demands {
    /// What the readers of an output need; nothing where nobody reads.
    pub fn of(&self, node: NodeId, port: &Port) -> Demand {
        self.outputs.get(&(node, port.clone())).cloned().unwrap_or_default()
    }

    /// What the readers of any output of a node need, together.
    pub fn of_all(&self, node: NodeId) -> Demand {
        let mut all = Demand::default();
        for ((_, port), demand) in self.outputs.range((node, Port::Main)..).take_while(|((n, _), _)| *n == node) {
            // Rows of `.errors` are made anew; only their text comes from the input.
            if *port == Port::Errors {
                all.body = true;
            } else {
                all.union(demand);
            }
        }
        all
    }
}

/// Works out the demand on every output. Computed columns and metadata are part of it like fields.
pub fn demand(plan: &Plan) -> Demands {
    let mut demands = Demands::default();
    for id in plan.upstream_order() {
        let Some(node) = plan.nodes.get(id.index()) else { continue };
        if let NodeKind::Step(Operator::Join(join)) = &node.kind {
            // Each side is asked for its own key.
            for (input, side) in node.inputs.iter().zip([&join.left, &join.right]) {
                let mut needed = demands.of(id, &Port::Late);
                side.on.iter().for_each(|expr| read(expr, &mut needed));
                needed.values.retain(|f| plan.layout.path(*f).is_some_and(|p| p.root != Root::Computed));
                needed.body = true;
                demands.outputs.entry((input.node, input.port.clone())).or_default().union(&needed);
            }
            continue;
        }
        let mut needed = match &node.kind {
            NodeKind::Source(_) => continue,
            // Rows that come late leave as they are; the windows' own rows are made anew.
            NodeKind::Step(operator @ Operator::Window(_)) => {
                operator_input(operator, &demands.of(id, &Port::Late), &plan.layout)
            }
            NodeKind::Step(operator) => operator_input(operator, &demands.of_all(id), &plan.layout),
            NodeKind::Sink(sink) => {
                let mut needed = Demand { body: true, ..Demand::default() };
                if let Format::Csv(dialect) = &sink.format {
                    let names = dialect.columns.iter().flatten();
                    names.filter_map(|n| plan.layout.find(&FieldPath::event([n]))).for_each(|f| needed.value(f));
                }
                sink.templates.iter().chain(&sink.line).flat_map(|t| &t.fields).for_each(|f| needed.value(*f));
                sink.identity.iter().flatten().chain(&sink.told_apart).for_each(|f| needed.value(*f));
                needed
            }
        };
        // Whatever fails is shown with its text.
        needed.body = true;
        for input in &node.inputs {
            demands.outputs.entry((input.node, input.port.clone())).or_default().union(&needed);
        }
    }
    for (index, node) in plan.nodes.iter().enumerate() {
        if let NodeKind::Source(source) = &node.kind
            && let Some(field) = source.time.as_ref().and_then(|t| t.field.as_ref())
            && let Ok(index) = u16::try_from(index)
        {
            let output = demands.outputs.entry((NodeId(index), Port::Main)).or_default();
            read(field, output);
        }
    }
    demands
}

/// The top-level field that a path lies in, where the layout knows it.
fn top_level(layout: &Layout, field: FieldId) -> Option<FieldId> {
    let path = layout.path(field)?;
    match path.names.as_slice() {
        [_] if path.root == Root::Event => Some(field),
        _ => None,
    }
}

fn read(expr: &Expr, into: &mut Demand) {
    expr.reads.iter().for_each(|field| into.value(*field));
    into.body |= expr.whole_event;
}

/// Notes that a step changes fields: their places are needed to write the row, their values by whoever reads them later.
fn write(layout: &Layout, fields: impl IntoIterator<Item = FieldId>, into: &mut Demand) {
    for field in fields {
        if let Some(top) = top_level(layout, field) {
            into.place(top);
        }
    }
}

fn operator_input(operator: &Operator, output: &Demand, layout: &Layout) -> Demand {
    let mut needed = output.clone();
    match operator {
        Operator::Filter { condition } => read(condition, &mut needed),
        Operator::Script { script, by, .. } => {
            read(script, &mut needed);
            by.iter().for_each(|part| read(&part.expr, &mut needed));
            // A script may leave a field as it is, so what it writes is also what it may pass on.
            write(layout, script.writes.iter().copied(), &mut needed);
        }
        Operator::Set { fields } => {
            for (field, expr) in fields.iter().rev() {
                needed.values.retain(|f| f != field);
                read(expr, &mut needed);
            }
            write(layout, fields.iter().map(|(field, _)| *field), &mut needed);
        }
        Operator::Keep { fields } => {
            let kept = |f: &FieldId| {
                let path = layout.path(*f);
                fields.contains(f)
                    || fields.iter().any(|k| path.zip(layout.path(*k)).is_some_and(|(a, b)| a.overlaps(b)))
            };
            let stays = |f: &FieldId| kept(f) || layout.path(*f).is_some_and(|p| p.root != Root::Event);
            needed.values.retain(stays);
            write(layout, fields.iter().copied(), &mut needed);
        }
        Operator::Drop { fields } => {
            needed.values.retain(|f| !fields.contains(f));
            write(layout, fields.iter().copied(), &mut needed);
        }
        Operator::Rename { fields } => {
            for (from, to) in fields.iter().rev() {
                if needed.values.contains(to) {
                    needed.values.retain(|f| f != to);
                    needed.value(*from);
                }
            }
            write(layout, fields.iter().flat_map(|(from, to)| [*from, *to]), &mut needed);
        }
        Operator::Lookup(lookup) => looked_up(lookup, layout, &mut needed),
        // These rows are written and read again, so what is read of them later need not be known before.
        Operator::Parse(parse) => {
            anew(layout, &mut needed);
            needed.value(parse.field);
        }
        Operator::Explode(_) => anew(layout, &mut needed),
        Operator::Validate(_) => needed.body = true,
        Operator::Route { branches } => branches.iter().for_each(|(_, condition)| read(condition, &mut needed)),
        // A join asks each of its inputs for something else; a tag is read by nobody but it.
        Operator::Join(_) | Operator::Tag(_) => {}
        Operator::Dedupe(Dedupe { by, .. }) | Operator::Throttle(Throttle { by, .. }) => {
            by.iter().for_each(|part| read(&part.expr, &mut needed));
        }
        Operator::Sample(sample) => {
            sample.by.iter().for_each(|part| read(&part.expr, &mut needed));
            if sample.by.is_empty() {
                sample.identity.into_iter().for_each(|field| needed.value(field));
            }
        }
        // Their rows are made anew.
        Operator::Alert(alert) => return judged(alert),
        Operator::Notify(_) => return Demand { body: true, ..Demand::default() },
        Operator::Window(window) => {
            window.row_expressions().for_each(|expr| read(expr, &mut needed));
            needed.values.retain(|f| layout.path(*f).is_some_and(|p| p.root != Root::Computed));
        }
    }
    needed
}

/// What an alert needs of the rows that it judges.
fn judged(alert: &Alert) -> Demand {
    let mut needed = Demand { body: true, ..Demand::default() };
    alert.by.iter().for_each(|part| read(&part.expr, &mut needed));
    for level in &alert.levels {
        std::iter::once(&level.when).chain(&level.clear).for_each(|expr| read(expr, &mut needed));
    }
    let window = alert.window;
    [window.start, window.end, window.revision, window.early].into_iter().for_each(|field| needed.value(field));
    needed
}

fn looked_up(lookup: &Lookup, layout: &Layout, needed: &mut Demand) {
    // Only where every row that goes on is written, what it had does not matter.
    if lookup.missing != Missing::Keep {
        needed.values.retain(|f| !lookup.fields.iter().any(|(written, _)| written == f));
    }
    lookup.on.iter().for_each(|(_, expr)| read(expr, needed));
    write(layout, lookup.fields.iter().map(|(field, _)| *field), needed);
}

/// What is needed of rows that a step writes anew: their text, and what is no part of the event.
fn anew(layout: &Layout, needed: &mut Demand) {
    needed.values.retain(|f| layout.path(*f).is_some_and(|p| p.root != Root::Event));
    needed.places.clear();
    needed.body = true;
}

/// Whether a step that writes `written` leaves columns stale that later readers need: paths inside or around what it
/// wrote. Then the rows are read again after it.
pub fn stale_after(layout: &Layout, written: &[FieldId], needed: &Demand) -> bool {
    let path = |f: &FieldId| layout.path(*f);
    let overlap = |a: &FieldPath| written.iter().filter_map(path).any(|b| a.overlaps(b));
    needed.values.iter().filter_map(path).any(overlap)
}
