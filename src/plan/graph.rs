//! A plan as a drawing: for a terminal, for Mermaid and for Graphviz.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{NodeId, NodeKind, Operator, Plan, Port};

/// What a drawing is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// A tree of lines, to be read where it is printed.
    Terminal,
    /// Mermaid's flowchart, as Markdown pages show it.
    Mermaid,
    /// Graphviz' language.
    Dot,
}

/// Draws a plan.
pub fn graph(plan: &Plan, style: Style) -> String {
    match style {
        Style::Terminal => terminal(plan),
        Style::Mermaid => mermaid(plan),
        Style::Dot => dot(plan),
    }
}

/// What a node is, in a word: its connector or its kind of step.
pub fn kind_word(kind: &NodeKind) -> &str {
    match kind {
        NodeKind::Source(source) => &source.connector,
        NodeKind::Sink(sink) => &sink.connector,
        NodeKind::Step(operator) => match operator {
            Operator::Filter { .. } => "filter",
            Operator::Script { .. } => "script",
            Operator::Set { .. } => "set",
            Operator::Keep { .. } => "keep",
            Operator::Drop { .. } => "drop",
            Operator::Rename { .. } => "rename",
            Operator::Route { .. } => "route",
            Operator::Window(_) => "window",
        },
    }
}

/// Every node with its number.
pub fn numbered(plan: &Plan) -> impl Iterator<Item = (NodeId, &super::Node)> {
    (0u16..).map(NodeId).zip(&plan.nodes)
}

/// Who reads a node, by port, in the order written.
pub fn readers(plan: &Plan, of: NodeId) -> Vec<(&Port, NodeId)> {
    let mut found: Vec<(&Port, NodeId)> = Vec::new();
    for (id, node) in numbered(plan) {
        found.extend(node.inputs.iter().filter(|input| input.node == of).map(|input| (&input.port, id)));
    }
    found.sort_by(|a, b| a.0.cmp(b.0).then(a.1.cmp(&b.1)));
    found
}

fn terminal(plan: &Plan) -> String {
    let mut out = String::new();
    let mut drawn = BTreeSet::new();
    for (id, node) in numbered(plan) {
        if matches!(node.kind, NodeKind::Source(_)) {
            branch(plan, id, "", "", &mut drawn, &mut out);
        }
    }
    out
}

/// Draws a node and what reads it. A node with several inputs is drawn in full below the first; below the others only its name.
fn branch(plan: &Plan, id: NodeId, arrow: &str, below: &str, drawn: &mut BTreeSet<NodeId>, out: &mut String) {
    let Some(node) = plan.nodes.get(id.index()) else { return };
    if !drawn.insert(id) {
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{arrow}{} ↑", node.name);
        return;
    }
    let _ = writeln!(out, "{arrow}{}  {}", node.name, kind_word(&node.kind));
    let readers = readers(plan, id);
    for (i, (port, reader)) in readers.iter().enumerate() {
        let (corner, rail) = if i + 1 == readers.len() { ("└", "    ") } else { ("├", "│   ") };
        let arrow = format!("{below}{corner}─{port}▶ ");
        branch(plan, *reader, &arrow, &format!("{below}{rail}"), drawn, out);
    }
}

fn port_name(port: &Port) -> Option<String> {
    match port {
        Port::Main => None,
        other => Some(other.to_string().trim_start_matches('.').to_owned()),
    }
}

fn mermaid(plan: &Plan) -> String {
    let mut out = String::from("flowchart LR\n");
    for (id, node) in numbered(plan) {
        let (open, close) = match node.kind {
            NodeKind::Source(_) => ("([", "])"),
            NodeKind::Step(_) => ("[", "]"),
            NodeKind::Sink(_) => ("[/", "/]"),
        };
        let _ = writeln!(out, "  n{}{open}\"{}<br/><i>{}</i>\"{close}", id.0, node.name, kind_word(&node.kind));
    }
    for (id, node) in numbered(plan) {
        for input in &node.inputs {
            let label = port_name(&input.port).map(|name| format!("|{name}|")).unwrap_or_default();
            let line = if input.port == Port::Errors || input.port == Port::Late { "-.->" } else { "-->" };
            let _ = writeln!(out, "  n{} {line}{label} n{}", input.node.0, id.0);
        }
    }
    out
}

fn dot(plan: &Plan) -> String {
    let mut out = String::from("digraph pipeline {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
    for (id, node) in numbered(plan) {
        let shape = match node.kind {
            NodeKind::Source(_) => "cds",
            NodeKind::Step(_) => "box",
            NodeKind::Sink(_) => "note",
        };
        let _ = writeln!(out, "  n{} [shape={shape}, label=\"{}\\n{}\"];", id.0, node.name, kind_word(&node.kind));
    }
    for (id, node) in numbered(plan) {
        for input in &node.inputs {
            let label =
                port_name(&input.port).map(|name| format!(" [label=\"{name}\", style=dashed]")).unwrap_or_default();
            let _ = writeln!(out, "  n{} -> n{}{label};", input.node.0, id.0);
        }
    }
    out.push_str("}\n");
    out
}
