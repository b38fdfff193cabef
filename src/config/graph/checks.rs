//! What a graph must not be: a circle, an entry that nobody reads, a count of rows that come twice.

use crate::config::context::Context;
use crate::plan::{NodeKind, Operator, Port};

use super::{Draft, Family, Graph};

/// Reports every circle with the names along it. Whether there is one.
pub fn cycles(graph: &Graph, context: &mut Context<'_>) -> bool {
    let mut state = vec![State::New; graph.drafts.len()];
    let mut found = false;
    for start in 0..graph.drafts.len() {
        found |= visit(start, graph, &mut state, &mut Vec::new(), context);
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// On the path that is being walked.
    Open,
    Done,
}

/// Walks against the rows' direction. Depth is bounded by the limit on entries.
fn visit(at: usize, graph: &Graph, state: &mut [State], path: &mut Vec<usize>, context: &mut Context<'_>) -> bool {
    match state.get(at) {
        Some(State::New) => {}
        Some(State::Open) => {
            report(at, graph, path, context);
            return true;
        }
        Some(State::Done) | None => return false,
    }
    if let Some(state) = state.get_mut(at) {
        *state = State::Open;
    }
    path.push(at);
    let mut found = false;
    for input in graph.inputs.get(at).into_iter().flatten() {
        found |= visit(input.node.index(), graph, state, path, context);
    }
    path.pop();
    if let Some(state) = state.get_mut(at) {
        *state = State::Done;
    }
    found
}

fn report(at: usize, graph: &Graph, path: &[usize], context: &mut Context<'_>) {
    let Some(draft) = graph.drafts.get(at) else { return };
    let from = path.iter().position(|p| *p == at).unwrap_or(0);
    let circle = path.get(from..).unwrap_or_default().iter().rev();
    let names: Vec<&str> = circle.filter_map(|i| graph.drafts.get(*i)).map(|d| d.name.as_str()).collect();
    let message = match names.as_slice() {
        [only] => format!("the {} `{only}` reads itself", draft.family.noun()),
        _ => format!("entries read each other in a circle: {} → {}", draft.name, names.join(" → ")),
    };
    context.error("cycle", message, &draft.span).help("change the `from` of one of them");
}

/// Reports sources and steps that nothing reads: what they do would be lost without a word.
pub fn unread(graph: &Graph, context: &mut Context<'_>) {
    for (at, draft) in graph.drafts.iter().enumerate().filter(|(_, d)| d.family != Family::Sink) {
        let reads = graph.inputs.iter().flatten().filter(|input| input.node.index() == at);
        let mut ports: Vec<&Port> = reads.map(|input| &input.port).collect();
        ports.sort();
        ports.dedup();
        let noun = draft.family.noun();
        if ports.is_empty() {
            let message = format!("nothing reads the {noun} `{}`", draft.name);
            let help = "read it with `from`, or take it out";
            context.error("unread", message, &draft.span).help(help);
        } else if !ports.contains(&&Port::Main) && !splits(draft) {
            let names: Vec<String> = ports.iter().map(|port| format!("`{}{port}`", draft.name)).collect();
            let message =
                format!("nothing reads what the {noun} `{}` passes on, only {}", draft.name, names.join(", "));
            context.error("unread", message, &draft.span).help(format!("add a reader with `from: {}`", draft.name));
        }
    }
}

/// Whether the rows of an entry may all leave by ports that its author named.
fn splits(draft: &Draft) -> bool {
    let held_back = matches!(draft.kind, Some(NodeKind::Step(Operator::Throttle(_))));
    !held_back && draft.ports.named.as_ref().is_none_or(|named| !named.is_empty())
}

/// Warns of steps with state that read rows which a window may emit again.
pub fn repeated(graph: &Graph, context: &mut Context<'_>) {
    for (at, draft) in graph.drafts.iter().enumerate() {
        let stateful = match &draft.kind {
            // A row that comes again with another revision is what this step is asked about.
            Some(NodeKind::Step(Operator::Dedupe(_))) => false,
            // An alert judges a revision in the place of the row before, and its transitions do not come twice.
            Some(NodeKind::Step(Operator::Alert(_) | Operator::Notify(_))) => false,
            Some(NodeKind::Step(operator)) => operator.has_state(),
            _ => false,
        };
        let repeats = |draft: &Draft| match &draft.kind {
            Some(NodeKind::Step(Operator::Window(window))) => window.repeats(),
            _ => None,
        };
        let asked = |draft: &Draft, port: &Port| *port == Port::Main && repeats(draft).is_some();
        if let (true, Some(window)) = (stateful, upstream(at, graph, &asked)) {
            let (how, help) = match repeats(window) {
                Some("emit") => ("emits early rows of a window (`emit`)", ", or filter on `window_early`"),
                _ => (
                    "emits a window again when an event comes late (`allow_late`)",
                    ", have it `emit: once`, or filter on `window_revision`",
                ),
            };
            let message = format!("`{}` may count rows twice: `{}` {how}", draft.name, window.name);
            let option = repeats(window).unwrap_or_default();
            let help = format!("leave `{option}` out of `{}`{help}", window.name);
            context.warning("rows-can-come-twice", message, &draft.span).help(help);
        }
    }
}

/// Warns of joins within a window whose sides are windows of different lengths.
pub fn windows_that_never_meet(graph: &Graph, context: &mut Context<'_>) {
    for (at, draft) in graph.drafts.iter().enumerate() {
        let Some(NodeKind::Step(Operator::Join(join))) = &draft.kind else { continue };
        let Some([left, right]) = graph.inputs.get(at).map(Vec::as_slice).filter(|_| join.windows) else { continue };
        let sizes = [left, right].map(|input| {
            let draft = graph.drafts.get(input.node.index()).filter(|_| input.port == Port::Main)?;
            match &draft.kind {
                Some(NodeKind::Step(Operator::Window(window))) => Some((&draft.name, window.shape.size()?)),
                _ => None,
            }
        });
        if let [Some((left, long)), Some((right, other))] = sizes
            && long != other
        {
            let message = format!(
                "`{}` joins nothing: the windows of `{left}` are {long} long, those of `{right}` {other}",
                draft.name
            );
            let help = "with `within: window` rows match whose windows begin and end together; give both steps the same window";
            context.warning("windows-never-meet", message, &draft.span).help(help);
        }
    }
}

/// Reports windows, and other steps that judge event times, over rows that could not be processed: such a row may have
/// no event time.
pub fn errors_in_windows(graph: &Graph, context: &mut Context<'_>) {
    for (at, draft) in graph.drafts.iter().enumerate() {
        let Some(NodeKind::Step(operator)) = draft.kind.as_ref().filter(|k| judges_times(k)) else { continue };
        if let Some(of) = upstream(at, graph, &|_, port| *port == Port::Errors) {
            let kind = crate::plan::graph::operator_word(operator);
            let message =
                format!("the {kind} `{}` reads `{}.errors`, whose rows may have no event time", draft.name, of.name);
            context
                .error("window-over-errors", message, &draft.span)
                .help("write the errors to a sink and count them there");
        }
    }
}

fn judges_times(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Step(operator) if operator.late().is_some() || matches!(operator, Operator::Window(_)))
}

/// The first entry above a node, not beyond another window, one of whose outputs that reach the node is as asked.
pub(super) fn upstream<'g>(at: usize, graph: &'g Graph, asked: &dyn Fn(&Draft, &Port) -> bool) -> Option<&'g Draft> {
    let mut seen = vec![false; graph.drafts.len()];
    let mut next = vec![at];
    while let Some(at) = next.pop() {
        for input in graph.inputs.get(at).into_iter().flatten() {
            let Some(draft) = graph.drafts.get(input.node.index()) else { continue };
            if asked(draft, &input.port) {
                return Some(draft);
            }
            let window = matches!(&draft.kind, Some(NodeKind::Step(Operator::Window(_))));
            if let (Some(seen @ false), false) = (seen.get_mut(input.node.index()), window && input.port == Port::Main)
            {
                *seen = true;
                next.push(input.node.index());
            }
        }
    }
    None
}
