//! What a drawing is made of: a row for each step of the way from the sources, and between two of them a row with what
//! the ports carry. Lines that go past a row have a place of their own in it.

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthStr as _;

use super::place::{Piece, Rows};
use super::{NAME, SMALL, wide};
use crate::data::layout::FieldId;
use crate::plan::explain::{Carried, carried_fields, entry, one_line};
use crate::plan::graph::{kind_word, numbered, readers};
use crate::plan::{Node, NodeId, NodeKind, Operator, Plan, Port};

/// From a line to the text beside it.
pub const BESIDE: f64 = 9.0;
/// The most letters in a line of a label, and the most lines of fields in it.
const LABEL_LETTERS: usize = 30;
const LABEL_LINES: usize = 2;
/// The most letters of an expression in an entry.
const DETAIL_LETTERS: usize = 34;

const NOTHING: Piece = Piece { left: 0.0, right: 0.0, passed: false };

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It brings rows in.
    Source,
    /// It changes them.
    Step,
    /// It takes them out.
    Sink,
}

/// One part of a row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Part {
    /// An entry, by its index.
    Node(usize),
    /// What a port carries, by the index of its output.
    Label(usize),
    /// The line of an output on its way further down.
    Through(usize),
}

/// An entry as it is shown.
pub struct Shown {
    /// How wide it is.
    pub width: f64,
    /// Its kind, in a word.
    pub kind: String,
    /// What it does, where that is short.
    pub detail: Option<String>,
    /// What is said of it when it is pointed at.
    pub title: String,
}

/// A port that somebody reads.
pub struct Output {
    /// Its name; `None` for the main output.
    pub port: Option<String>,
    /// Whether it is beside the way of what goes well: late or failed rows.
    pub aside: bool,
    /// What it carries, in lines.
    pub lines: Vec<String>,
    /// Whether these are names of fields.
    pub named: bool,
    /// What is said of it when it is pointed at.
    pub title: String,
}

/// Everything that is drawn, in rows.
pub struct Drawing {
    /// By row, what is in it.
    pub parts: Vec<Vec<Part>>,
    /// The same as [`super::place`] takes it.
    pub rows: Rows,
    /// How high each row is.
    pub heights: Vec<f64>,
    /// By node.
    pub nodes: Vec<Shown>,
    /// Every port that somebody reads.
    pub outputs: Vec<Output>,
}

impl Drawing {
    /// Lays a plan out in rows.
    pub fn new(plan: &Plan, carried: Carried<'_>) -> Self {
        let levels = levels(plan);
        let deepest = levels.iter().max().copied().unwrap_or_default();
        let mut drawing = Drawing {
            parts: vec![Vec::new(); if plan.nodes.is_empty() { 0 } else { 2 * deepest + 1 }],
            rows: Rows::default(),
            heights: Vec::new(),
            nodes: numbered(plan).map(|(id, node)| shown(plan, id, node, carried)).collect(),
            outputs: Vec::new(),
        };
        let mut places: BTreeMap<Part, (usize, usize)> = BTreeMap::new();
        for (index, level) in levels.iter().enumerate() {
            let at = drawing.add(2 * level, Part::Node(index));
            places.insert(Part::Node(index), (2 * level, at));
        }
        drawing.rows.lines = vec![Vec::new(); drawing.parts.len().saturating_sub(1)];
        for (id, _) in numbered(plan) {
            let mut ports: Vec<(&Port, Vec<NodeId>)> = Vec::new();
            for (port, reader) in readers(plan, id) {
                match ports.last_mut() {
                    Some((last, list)) if *last == port => list.push(reader),
                    _ => ports.push((port, vec![reader])),
                }
            }
            for (port, readers) in ports {
                let fields = carried_fields(plan, &carried(id, port));
                drawing.outputs.push(output(plan.node(id), port, &fields));
                let place = |node: NodeId| places.get(&Part::Node(node.index())).copied().unwrap_or_default();
                let readers: Vec<(usize, usize)> = readers.into_iter().map(place).collect();
                drawing.lead(place(id), &readers);
            }
        }
        drawing.measure();
        drawing
    }

    /// Leads the last output from its entry to its readers.
    fn lead(&mut self, (start, from): (usize, usize), readers: &[(usize, usize)]) {
        let output = self.outputs.len() - 1;
        let last = readers.iter().map(|(row, _)| *row).max().unwrap_or_default();
        let mut above = from;
        for row in start + 1..last {
            let part = if row == start + 1 { Part::Label(output) } else { Part::Through(output) };
            let at = self.add(row, part);
            self.join(row - 1, above, at);
            above = at;
            for (_, reader) in readers.iter().filter(|(r, _)| *r == row + 1) {
                self.join(row, at, *reader);
            }
        }
    }

    fn add(&mut self, row: usize, part: Part) -> usize {
        let Some(parts) = self.parts.get_mut(row) else { return 0 };
        parts.push(part);
        parts.len() - 1
    }

    fn join(&mut self, row: usize, upper: usize, lower: usize) {
        self.rows.lines.get_mut(row).into_iter().for_each(|lines| lines.push((upper, lower)));
    }

    /// How much room each part takes and how high each row is.
    fn measure(&mut self) {
        for parts in &self.parts {
            let mut height: f64 = 20.0;
            let mut pieces = Vec::with_capacity(parts.len());
            for part in parts {
                let (piece, high) = match *part {
                    Part::Node(node) => self.nodes.get(node).map_or((NOTHING, 0.0), |node| {
                        let half = node.width / 2.0;
                        (
                            Piece { left: half, right: half, passed: false },
                            if node.detail.is_some() { 64.0 } else { 48.0 },
                        )
                    }),
                    Part::Label(output) => self.outputs.get(output).map_or((NOTHING, 0.0), |o| {
                        let widest = o.lines.iter().chain(&o.port).map(|l| wide(l, SMALL)).fold(0.0, f64::max);
                        let lines = o.lines.len() + usize::from(o.port.is_some());
                        (Piece { left: 6.0, right: BESIDE + widest + 4.0, passed: true }, lines as f64 * 15.0 + 4.0)
                    }),
                    Part::Through(_) => (Piece { left: 4.0, right: 4.0, passed: true }, 0.0),
                };
                pieces.push(piece);
                height = height.max(high);
            }
            self.rows.pieces.push(pieces);
            self.heights.push(height);
        }
    }

    /// A part of a row.
    pub fn part(&self, row: usize, at: usize) -> Option<Part> {
        self.parts.get(row)?.get(at).copied()
    }

    /// The output whose line a part is.
    pub fn output(&self, row: usize, at: usize) -> Option<&Output> {
        match self.part(row, at)? {
            Part::Node(_) => None,
            Part::Label(output) | Part::Through(output) => self.outputs.get(output),
        }
    }
}

/// How many entries lie between a node and the sources that are furthest away; a source stands just above its first reader.
fn levels(plan: &Plan) -> Vec<usize> {
    let mut levels = vec![0usize; plan.nodes.len()];
    let mut order = plan.upstream_order();
    order.reverse();
    for id in order {
        let Some(node) = plan.node(id) else { continue };
        let above = node.inputs.iter().filter_map(|input| levels.get(input.node.index())).max();
        let level = above.map_or(0, |level| level + 1);
        levels.get_mut(id.index()).into_iter().for_each(|own| *own = level);
    }
    for (id, node) in numbered(plan).filter(|(_, node)| matches!(node.kind, NodeKind::Source(_))) {
        let _ = node;
        let first = readers(plan, id).into_iter().filter_map(|(_, reader)| levels.get(reader.index()).copied()).min();
        let level = first.map_or(0, |level| level.saturating_sub(1));
        levels.get_mut(id.index()).into_iter().for_each(|own| *own = level);
    }
    levels
}

/// What a node shows.
fn shown(plan: &Plan, id: NodeId, node: &Node, carried: Carried<'_>) -> Shown {
    let kind = kind_word(&node.kind).to_owned();
    let names = |fields: &mut dyn Iterator<Item = &FieldId>| -> String {
        fields.filter_map(|field| plan.layout.path(*field)).map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    let whole = match &node.kind {
        NodeKind::Step(Operator::Filter { condition }) => Some(condition.text.trim().to_owned()),
        NodeKind::Step(Operator::Script { script, .. }) => Some(script.text.trim().to_owned()),
        NodeKind::Step(Operator::Set { fields }) => Some(names(&mut fields.iter().map(|(field, _)| field))),
        NodeKind::Step(Operator::Keep { fields } | Operator::Drop { fields }) => Some(names(&mut fields.iter())),
        NodeKind::Step(Operator::Rename { fields }) => {
            Some(names(&mut fields.iter().map(|(from, _)| from)) + " → " + &names(&mut fields.iter().map(|(_, to)| to)))
        }
        NodeKind::Step(operator) if !operator.by().is_empty() => {
            let by: Vec<&str> = operator.by().iter().map(|part| part.expr.text.trim()).collect();
            Some(format!("by {}", by.join(", ")))
        }
        _ => None,
    };
    let detail = whole.as_deref().map(|text| cut(&one_line(text), DETAIL_LETTERS));
    let widest = [Some(wide(&node.name, NAME)), Some(wide(&kind, SMALL)), detail.as_ref().map(|d| wide(d, SMALL))];
    let room = if matches!(node.kind, NodeKind::Step(_)) { 32.0 } else { 48.0 };
    let width = widest.into_iter().flatten().fold(0.0, f64::max) + room;
    // Pointing at an entry says what `explain` says of it.
    let title: Vec<String> =
        std::iter::once(format!("{}: {kind}", node.name)).chain(entry(plan, id, node, carried)).collect();
    Shown { width: width.max(96.0), title: title.join("\n"), kind, detail }
}

/// What a port shows.
fn output(node: Option<&Node>, port: &Port, fields: &[String]) -> Output {
    let name = node.map_or("", |n| n.name.as_str());
    let aside = matches!(port, Port::Errors | Port::Late);
    let (lines, carries) = match (port, fields) {
        (Port::Errors, _) => {
            (Vec::new(), "rows that failed, with the reason, the place and the original text".to_owned())
        }
        (_, []) => (vec!["whole row".to_owned()], "whole rows; none of their fields is read on the way".to_owned()),
        (_, fields) => (listed(fields), format!("read on the way: {}", fields.join(", "))),
    };
    let port = (*port != Port::Main).then(|| port.to_string());
    let title = format!("{name}{}: {carries}", port.as_deref().unwrap_or_default());
    Output { port, aside, lines, named: !fields.is_empty(), title }
}

/// Names in a few lines; what does not fit is counted.
fn listed(names: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let name = cut(name, LABEL_LETTERS);
        let comma = if at + 1 < names.len() { "," } else { "" };
        let full = lines.len() == LABEL_LINES;
        match lines.last_mut() {
            Some(line) if line.width() + name.width() + 2 <= LABEL_LETTERS => {
                line.push_str(&format!(" {name}{comma}"));
            }
            Some(line) if full => {
                line.push_str(&format!(" +{}", names.len() - at));
                return lines;
            }
            _ => lines.push(format!("{name}{comma}")),
        }
    }
    lines
}

/// At most so many letters of a text.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}
