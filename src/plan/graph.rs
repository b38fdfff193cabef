//! A plan as a drawing: for a terminal, for Mermaid and for Graphviz.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::explain::{Carried, carried_fields};
use super::{Input, NodeId, NodeKind, Operator, Plan, Port};

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

/// Draws a plan. Where `carried` is given, what the readers of each output need of its rows stands at its lines.
pub fn graph(plan: &Plan, style: Style, carried: Option<Carried<'_>>) -> String {
    let fields = |input: &Input| match carried {
        Some(carried) if input.port != Port::Errors => {
            carried_fields(plan, &carried(input.node, &input.port)).join(", ")
        }
        _ => String::new(),
    };
    match style {
        Style::Terminal => terminal(plan, &fields),
        Style::Mermaid => mermaid(plan, &fields),
        Style::Dot => dot(plan, &fields),
    }
}

/// The fields that an input carries, as text; empty where none are to be shown.
type Fields<'a> = &'a dyn Fn(&Input) -> String;

/// What a node is, in a word: its connector or its kind of step.
pub fn kind_word(kind: &NodeKind) -> &str {
    match kind {
        NodeKind::Source(source) => &source.connector,
        NodeKind::Sink(sink) => &sink.connector,
        NodeKind::Step(operator) => operator_word(operator),
    }
}

/// What a step is, in a word.
pub fn operator_word(operator: &Operator) -> &'static str {
    match operator {
        Operator::Filter { .. } => "filter",
        Operator::Script { .. } => "script",
        Operator::Set { .. } => "set",
        Operator::Keep { .. } => "keep",
        Operator::Drop { .. } => "drop",
        Operator::Rename { .. } => "rename",
        Operator::Parse(_) => "parse",
        Operator::Explode(_) => "explode",
        Operator::Validate(_) => "validate",
        Operator::Route { .. } => "route",
        Operator::Dedupe(_) => "dedupe",
        Operator::Throttle(_) => "throttle",
        Operator::Sample(_) => "sample",
        Operator::Join(_) | Operator::Tag(_) => "join",
        Operator::Lookup(_) => "lookup",
        Operator::Window(_) => "window",
        Operator::Alert(_) => "alert",
        Operator::Notify(_) => "notify",
    }
}

/// Every node with its number.
pub fn numbered(plan: &Plan) -> impl Iterator<Item = (NodeId, &super::Node)> {
    (0u16..).map(NodeId).zip(&plan.nodes)
}

/// Who reads a node, by port, in the order written.
pub fn readers(plan: &Plan, of: NodeId) -> Vec<(&Port, NodeId)> {
    let inputs = inputs_from(plan, of).into_iter();
    inputs.filter_map(|(id, index)| Some((&plan.node(id)?.inputs.get(index)?.port, id))).collect()
}

/// Every reader of a node and which of its inputs that is, by port, in the order written.
fn inputs_from(plan: &Plan, of: NodeId) -> Vec<(NodeId, usize)> {
    let mut found: Vec<(&Port, NodeId, usize)> = Vec::new();
    for (id, node) in numbered(plan) {
        let inputs = node.inputs.iter().enumerate().filter(|(_, input)| input.node == of);
        found.extend(inputs.map(|(index, input)| (&input.port, id, index)));
    }
    found.sort();
    found.into_iter().map(|(_, id, index)| (id, index)).collect()
}

fn terminal(plan: &Plan, fields: Fields<'_>) -> String {
    let mut tree = Tree { plan, fields, drawn: BTreeSet::new(), out: String::new() };
    for (id, node) in numbered(plan) {
        if matches!(node.kind, NodeKind::Source(_)) {
            tree.branch(id, "", "", String::new());
        }
    }
    tree.out
}

/// A drawing for a terminal, as far as it has come.
struct Tree<'a> {
    plan: &'a Plan,
    fields: Fields<'a>,
    drawn: BTreeSet<NodeId>,
    out: String,
}

impl Tree<'_> {
    /// Draws a node and what reads it. A node with several inputs is drawn in full below the first; below the others only
    /// its name. `carried` is what the line to it carries.
    fn branch(&mut self, id: NodeId, arrow: &str, below: &str, carried: String) {
        let Some(node) = self.plan.nodes.get(id.index()) else { return };
        let carried = if carried.is_empty() { carried } else { format!("  ({carried})") };
        if !self.drawn.insert(id) {
            // Writing to a text cannot fail.
            let _ = writeln!(self.out, "{arrow}{} ↑{carried}", node.name);
            return;
        }
        let _ = writeln!(self.out, "{arrow}{}  {}{carried}", node.name, kind_word(&node.kind));
        let readers = inputs_from(self.plan, id);
        for (i, (reader, index)) in readers.iter().enumerate() {
            let Some(node) = self.plan.node(*reader) else { continue };
            let Some(input) = node.inputs.get(*index) else { continue };
            let (corner, rail) = if i + 1 == readers.len() { ("└", "    ") } else { ("├", "│   ") };
            let side = side(node, *index).map(|side| format!("({side})")).unwrap_or_default();
            let arrow = format!("{below}{corner}─{}{side}▶ ", input.port);
            self.branch(*reader, &arrow, &format!("{below}{rail}"), (self.fields)(input));
        }
    }
}

/// Which side of a join an input is.
fn side(node: &super::Node, index: usize) -> Option<&'static str> {
    match &node.kind {
        NodeKind::Step(Operator::Join(_)) => Some(if index == 0 { "left" } else { "right" }),
        _ => None,
    }
}

/// What an edge into a node is called: the port, and which side of a join it is.
fn label(node: &super::Node, index: usize, port: &Port) -> Option<String> {
    match (port_name(port), side(node, index)) {
        (Some(port), Some(side)) => Some(format!("{port}, {side}")),
        (port, side) => port.or(side.map(str::to_owned)),
    }
}

fn port_name(port: &Port) -> Option<String> {
    match port {
        Port::Main => None,
        other => Some(other.to_string().trim_start_matches('.').to_owned()),
    }
}

fn mermaid(plan: &Plan, fields: Fields<'_>) -> String {
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
        for (index, input) in node.inputs.iter().enumerate() {
            let port = label(node, index, &input.port).unwrap_or_default();
            let label = match (port, fields(input).replace('"', "#quot;")) {
                (port, fields) if port.is_empty() && fields.is_empty() => String::new(),
                (port, fields) if fields.is_empty() => format!("|{port}|"),
                (port, fields) if port.is_empty() => format!("|\"{fields}\"|"),
                (port, fields) => format!("|\"<b>{port}</b><br/>{fields}\"|"),
            };
            let line = if input.port == Port::Errors || input.port == Port::Late { "-.->" } else { "-->" };
            let _ = writeln!(out, "  n{} {line}{label} n{}", input.node.0, id.0);
        }
    }
    out
}

fn dot(plan: &Plan, fields: Fields<'_>) -> String {
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
        for (index, input) in node.inputs.iter().enumerate() {
            let port = label(node, index, &input.port);
            let fields = fields(input).replace('\\', "\\\\").replace('"', "\\\"");
            let mut marks = Vec::new();
            let text: Vec<String> = port.iter().cloned().chain((!fields.is_empty()).then_some(fields)).collect();
            if !text.is_empty() {
                marks.push(format!("label=\"{}\"", text.join("\\n")));
            }
            marks.extend((input.port != Port::Main).then(|| "style=dashed".to_owned()));
            let label = if marks.is_empty() { String::new() } else { format!(" [{}]", marks.join(", ")) };
            let _ = writeln!(out, "  n{} -> n{}{label};", input.node.0, id.0);
        }
    }
    out.push_str("}\n");
    out
}
