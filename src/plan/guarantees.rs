//! What holds on every way through a pipeline when a run is interrupted: how often an event has its effect, why, and what
//! would make it hold better.

use std::fmt::Write as _;

use super::{Node, NodeId, NodeKind, Operator, Plan};
use crate::base::promise::{Effect, Promise, Replay};

/// Ways that are shown one by one; a pipeline with more has the same few kinds of them.
const WAYS: usize = 100;

/// What holds on one way from a source to a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Each event has its effect once.
    ExactlyOnce,
    /// No event is lost, and one may have its effect again.
    AtLeastOnce,
    /// No event has its effect twice, and one may be lost.
    AtMostOnce,
    /// An event may be lost, and another may have its effect again.
    Neither,
}

impl Holds {
    /// On a way from a source that does this to a sink that promises that.
    pub fn of(replay: Replay, effect: Effect) -> Holds {
        let lost = matches!(replay, Replay::None | Replay::Taken);
        match (lost, effect) {
            (false, Effect::Once) => Holds::ExactlyOnce,
            (false, Effect::Repeats) => Holds::AtLeastOnce,
            (true, Effect::Once) => Holds::AtMostOnce,
            (true, Effect::Repeats) => Holds::Neither,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Holds::ExactlyOnce => "exactly once",
            Holds::AtLeastOnce => "at least once",
            Holds::AtMostOnce => "at most once",
            Holds::Neither => "neither at least nor at most once",
        }
    }
}

/// What holds on every way, for a person.
pub fn guarantees(plan: &Plan) -> String {
    let mut text = format!("What holds when `{}` is interrupted, killed or the power fails\n", plan.name);
    let ways = ways(plan);
    for way in ways.iter().take(WAYS) {
        let ends = (way.first().and_then(|id| node(plan, *id)), way.last().and_then(|id| node(plan, *id)));
        let (Some(first), Some(last)) = ends else { continue };
        let (NodeKind::Source(source), NodeKind::Sink(sink)) = (&first.kind, &last.kind) else { continue };
        let names: Vec<&str> = way.iter().filter_map(|id| node(plan, *id)).map(|n| n.name.as_str()).collect();
        let holds = Holds::of(source.replay, sink.promise.effect);
        let _ = writeln!(text, "\n{}: {}", names.join(" → "), holds.words());
        let width = first.name.len().max(last.name.len());
        let _ = writeln!(text, "  {:width$}  {}", first.name, replayed(source.replay));
        let _ = writeln!(text, "  {:width$}  {}", last.name, sink.promise.why);
        for line in more(plan, way, source.replay, &sink.promise) {
            let _ = writeln!(text, "  {line}");
        }
    }
    if ways.len() > WAYS {
        let _ = writeln!(text, "\nand {} more ways", ways.len() - WAYS);
    }
    text
}

fn node(plan: &Plan, id: NodeId) -> Option<&Node> {
    plan.nodes.get(id.index())
}

fn replayed(replay: Replay) -> &'static str {
    match replay {
        Replay::Seek => "can be read again: what a crash undid comes again",
        Replay::Journal => {
            "is journalled: whoever sends is answered when an event is on the disk, and it is read again from there"
        }
        Replay::Taken => "is journalled as it comes: what was not on the disk yet when it crashed is lost",
        Replay::None => "cannot be read again: what a crash undid is lost",
    }
}

/// What else there is to say of a way, and what would make it better.
fn more(plan: &Plan, way: &[NodeId], replay: Replay, promise: &Promise) -> Vec<String> {
    let mut lines = Vec::new();
    let made_by = way.iter().filter_map(|id| node(plan, *id)).find(|n| match &n.kind {
        NodeKind::Step(operator) => operator.has_state() && !matches!(operator, Operator::Dedupe(_)),
        _ => false,
    });
    if let Some(step) = made_by {
        lines.push(format!(
            "`{}` counts each event once: its state and the position of the source are one transaction",
            step.name
        ));
    }
    let refused = way.iter().rev().skip(1).filter_map(|id| node(plan, *id));
    for sink in refused.filter(|n| matches!(&n.kind, NodeKind::Sink(sink) if sink.identity.is_some())) {
        lines.push(format!(
            "what `{0}` is refused leaves it and comes out of `{0}.errors` in one transaction: it is here once, as it was answered last",
            sink.name
        ));
    }
    let live = plan.nodes.iter().any(|n| matches!(&n.kind, NodeKind::Source(s) if !s.bounded));
    if promise.early && live && made_by.is_some() {
        lines.push(
            "how live events met, and time that went on without them, is on the disk before a row leaves: after a crash it says the same"
                .to_owned(),
        );
    }
    if matches!(replay, Replay::None | Replay::Taken) {
        lines.push(
            "stronger: a source that asks for an answer (`mqtt` with `qos: 1`, `http_server`), or a file".to_owned(),
        );
    }
    lines.extend(promise.stronger.iter().map(|stronger| format!("stronger: {stronger}")));
    lines
}

/// Every way from a source to a sink, sinks in the order written.
fn ways(plan: &Plan) -> Vec<Vec<NodeId>> {
    let mut found = Vec::new();
    for (index, sink) in plan.nodes.iter().enumerate() {
        if let (NodeKind::Sink(_), Ok(index)) = (&sink.kind, u16::try_from(index)) {
            back(plan, vec![NodeId(index)], &mut found);
        }
    }
    found
}

fn back(plan: &Plan, way: Vec<NodeId>, found: &mut Vec<Vec<NodeId>>) {
    // Branches that meet again and again have more ways than anybody reads.
    if found.len() > 10 * WAYS {
        return;
    }
    let Some(first) = way.first().and_then(|id| node(plan, *id)) else { return };
    if matches!(first.kind, NodeKind::Source(_)) {
        return found.push(way);
    }
    let mut before: Vec<NodeId> = Vec::new();
    for input in &first.inputs {
        if !before.contains(&input.node) {
            before.push(input.node);
        }
    }
    for id in before {
        let mut longer = vec![id];
        longer.extend_from_slice(&way);
        back(plan, longer, found);
    }
}
