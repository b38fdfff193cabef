//! A plan as an SVG drawing, for pages: entries in rows from the sources down, told apart by shape as well as by colour,
//! and on the way out of each port the fields that whoever reads it needs. Light or dark as the reader's screen is.

mod parts;
mod place;

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::explain::Carried;
use super::{NodeKind, Plan};
use crate::base::xml::escape;
use parts::{Drawing, Kind, Part};

/// The room around the drawing.
const MARGIN: f64 = 24.0;
/// The room between two rows, in which lines bend.
const BETWEEN: f64 = 30.0;
/// The least distance between two lines at one side of an entry, and from its corners.
const LINES: f64 = 16.0;
const CORNER: f64 = 22.0;
/// The length of an arrow's head.
const HEAD: f64 = 7.0;
/// How much of a font's size the letters of a monospaced one are wide: the widest of the usual ones.
const ADVANCE: f64 = 0.61;
/// Font sizes: names, and everything else.
const NAME: f64 = 13.0;
const SMALL: f64 = 11.0;
/// The most letters in a line of a description.
const WRAP: usize = 76;

const STYLE: &str = "
  text { font-family: ui-monospace, 'SFMono-Regular', Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #1d2127; }
  .title { font-size: 16px; font-weight: 700; } .name { font-size: 13px; font-weight: 600; } .small { font-size: 11px; }
  .soft { fill: #5d6672; } .aside-text { fill: #a34a12; } .strong { font-weight: 600; } .slant { font-style: italic; }
  .page { fill: #ffffff; } .line { fill: none; stroke: #7b8593; stroke-width: 1.5; } .head { fill: #7b8593; }
  .aside { stroke: #b4561c; stroke-dasharray: 5 4; } .aside-head { fill: #b4561c; }
  .source { fill: #e7f1fb; stroke: #1f6fb5; } .step { fill: #f4f5f7; stroke: #6a7380; } .sink { fill: #e8f5ec; stroke: #25834a; }
  .source, .step, .sink { stroke-width: 1.5; stroke-linejoin: round; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e7e9ed; } .soft { fill: #9ba5b3; } .aside-text { fill: #e39a63; } .page { fill: #15181d; }
    .line { stroke: #748091; } .head { fill: #748091; } .aside { stroke: #dc8849; } .aside-head { fill: #dc8849; }
    .source { fill: #15283b; stroke: #5ba6e6; } .step { fill: #21262e; stroke: #8a94a3; } .sink { fill: #15301f; stroke: #58b67c; }
  }
";

/// Draws a plan. `carried` tells what the readers of an output need of its rows.
pub fn svg(plan: &Plan, carried: Carried<'_>) -> String {
    let drawing = Drawing::new(plan, carried);
    let (places, graph_width) = place::place(&drawing.rows);
    let description = wrapped(plan.description.as_deref().unwrap_or_default());
    let words = description.iter().map(|line| wide(line, SMALL)).fold(wide(&plan.name, 16.0), f64::max);
    let width = graph_width.max(words).max(LEGEND_WIDTH) + 2.0 * MARGIN;
    let mut page = Page { out: String::new(), left: (width - graph_width) / 2.0, drawing: &drawing, places: &places };
    let mut top = MARGIN + 12.0;
    page.text(MARGIN, top, "title", &plan.name);
    for line in &description {
        top += 17.0;
        page.text(MARGIN, top, "small soft", line);
    }
    top += MARGIN;
    let tops = page.tops(top);
    let bottom = tops.last().map_or(top, |(_, bottom)| *bottom);
    page.lines(&tops);
    page.parts(plan, &tops);
    page.legend(bottom + MARGIN);
    let height = bottom + 2.0 * MARGIN + 18.0;
    let (w, h) = (number(width), number(height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\" aria-label=\"{}\">\n<style>{STYLE}</style>\n",
        escape(&format!("Pipeline {}", plan.name))
    );
    let _ = writeln!(out, "<rect class=\"page\" width=\"{w}\" height=\"{h}\" rx=\"8\"/>");
    out.push_str(&page.out);
    out.push_str("</svg>\n");
    out
}

/// How wide a text is.
fn wide(text: &str, size: f64) -> f64 {
    text.width() as f64 * size * ADVANCE
}

/// A text in lines of at most [`WRAP`] letters.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= WRAP => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A number with one digit at most after the point.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".to_owned(),
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// The legend's shapes, names and places.
const LEGEND: [(Kind, &str, f64); 3] =
    [(Kind::Source, "source", 0.0), (Kind::Step, "step", 84.0), (Kind::Sink, "sink", 154.0)];
const LEGEND_WIDTH: f64 = 350.0;

struct Page<'a> {
    out: String,
    /// Where the graph begins.
    left: f64,
    drawing: &'a Drawing,
    places: &'a [Vec<f64>],
}

impl Page<'_> {
    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        // Writing to a text cannot fail.
        let (x, y) = (number(x), number(y));
        let _ = writeln!(self.out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escape(text));
    }

    fn centred(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let (x, y) = (number(x), number(y));
        let text = escape(text);
        let _ = writeln!(self.out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{text}</text>");
    }

    /// Where each row begins and ends.
    fn tops(&self, mut top: f64) -> Vec<(f64, f64)> {
        let mut tops = Vec::with_capacity(self.drawing.heights.len());
        for height in &self.drawing.heights {
            tops.push((top, top + height));
            top += height + BETWEEN;
        }
        tops
    }

    fn x(&self, row: usize, part: usize) -> f64 {
        self.left + self.places.get(row).and_then(|r| r.get(part)).copied().unwrap_or_default()
    }

    /// Every line: bends between the rows, straight through labels and past other rows.
    fn lines(&mut self, tops: &[(f64, f64)]) {
        for (row, lines) in self.drawing.rows.lines.iter().enumerate() {
            let (Some((_, upper)), Some((lower, _))) = (tops.get(row), tops.get(row + 1)) else { continue };
            for &(from, to) in lines {
                let (x1, x2) = self.ends(row, (from, to));
                let arrives = matches!(self.drawing.part(row + 1, to), Some(Part::Node(_)));
                let output = self.drawing.output(row, from).or_else(|| self.drawing.output(row + 1, to));
                let aside = output.is_some_and(|o| o.aside);
                let (class, head) = if aside { ("line aside", "aside-head") } else { ("line", "head") };
                let end = if arrives { lower - HEAD } else { *lower };
                let bend = (end - upper) * 0.55;
                let (a, b, c, d) = (number(x1), number(*upper), number(x2), number(end));
                let (e, f) = (number(upper + bend), number(end - bend));
                let _ = writeln!(self.out, "<path class=\"{class}\" d=\"M{a} {b}C{a} {e} {c} {f} {c} {d}\"/>");
                if arrives {
                    let (left, right) = (number(x2 - 4.5), number(x2 + 4.5));
                    let (back, tip) = (number(lower - HEAD - 1.0), number(*lower - 0.5));
                    let _ = writeln!(self.out, "<path class=\"{head}\" d=\"M{left} {back}H{right}L{c} {tip}Z\"/>");
                }
            }
        }
        for (row, &(top, bottom)) in tops.iter().enumerate() {
            for part in 0..self.drawing.parts.get(row).map_or(0, Vec::len) {
                let Some(output) = self.drawing.output(row, part) else { continue };
                let class = if output.aside { "line aside" } else { "line" };
                let (x, top, bottom) = (number(self.x(row, part)), number(top), number(bottom));
                let _ = writeln!(self.out, "<path class=\"{class}\" d=\"M{x} {top}V{bottom}\"/>");
            }
        }
    }

    /// Where a line leaves its upper end and where it reaches its lower one.
    fn ends(&self, row: usize, (from, to): (usize, usize)) -> (f64, f64) {
        let all = self.drawing.rows.lines.get(row).map_or(&[][..], Vec::as_slice);
        let below: Vec<usize> = all.iter().filter(|line| line.0 == from).map(|line| line.1).collect();
        let above: Vec<usize> = all.iter().filter(|line| line.1 == to).map(|line| line.0).collect();
        (self.end((row, from), row + 1, below, to), self.end((row + 1, to), row, above, from))
    }

    /// Where the line to `other` in the row `near` meets a part: at an entry right across from it where that can be, beside the
    /// lines of the `others`.
    fn end(&self, (row, part): (usize, usize), near: usize, mut others: Vec<usize>, other: usize) -> f64 {
        let x = self.x(row, part);
        let Some(Part::Node(node)) = self.drawing.part(row, part) else { return x };
        let half = self.drawing.nodes.get(node).map_or(0.0, |n| n.width / 2.0 - CORNER).max(0.0);
        others.sort_by(|a, b| self.x(near, *a).total_cmp(&self.x(near, *b)));
        let count = others.len().max(2) - 1;
        let apart = LINES.min(2.0 * half / count as f64);
        let wish = |(rank, o): (usize, &usize)| {
            let shift = rank as f64 * apart;
            let room = (others.len() - 1 - rank) as f64 * apart;
            (self.x(near, *o).max(x - half + shift).min(x + half - room), 1.0, shift)
        };
        let wishes: Vec<(f64, f64, f64)> = others.iter().enumerate().map(wish).collect();
        let found = others.iter().zip(place::fit(&wishes)).find(|(o, _)| **o == other);
        found.map_or(x, |(_, place)| place)
    }

    /// Entries and labels.
    fn parts(&mut self, plan: &Plan, tops: &[(f64, f64)]) {
        for (row, &(top, bottom)) in tops.iter().enumerate() {
            for at in 0..self.drawing.parts.get(row).map_or(0, Vec::len) {
                let x = self.x(row, at);
                match self.drawing.part(row, at) {
                    Some(Part::Node(node)) => self.node(plan, node, x, top, bottom - top),
                    Some(Part::Label(output)) => self.label(output, x, (top + bottom) / 2.0),
                    _ => {}
                }
            }
        }
    }

    fn node(&mut self, plan: &Plan, index: usize, x: f64, top: f64, height: f64) {
        let drawing = self.drawing;
        let (Some(node), Some(shown)) = (plan.nodes.get(index), drawing.nodes.get(index)) else { return };
        let kind = match node.kind {
            NodeKind::Source(_) => Kind::Source,
            NodeKind::Step(_) => Kind::Step,
            NodeKind::Sink(_) => Kind::Sink,
        };
        let _ = writeln!(self.out, "<g><title>{}</title>", escape(&shown.title));
        self.shape(kind, x - shown.width / 2.0, top, shown.width, height);
        let lines = 2 + usize::from(shown.detail.is_some());
        let mut y = top + height / 2.0 - (lines as f64 - 1.0) * 8.0 + 4.5;
        self.centred(x, y, "name", &node.name);
        y += 16.0;
        self.centred(x, y, "small soft", &shown.kind);
        if let Some(detail) = &shown.detail {
            self.centred(x, y + 16.0, "small", detail);
        }
        self.out.push_str("</g>\n");
    }

    /// An entry's outline: round ends bring rows in, a turned corner takes them out.
    fn shape(&mut self, kind: Kind, x: f64, y: f64, w: f64, h: f64) {
        let fold = (h / 4.0).min(13.0);
        let (left, top, wide, high) = (number(x), number(y), number(w), number(h));
        let _ = match kind {
            Kind::Source | Kind::Step => {
                let (class, round) = if kind == Kind::Source {
                    ("source", number(h / 2.0))
                } else {
                    ("step", number((h / 4.0).min(7.0)))
                };
                writeln!(
                    self.out,
                    "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{wide}\" height=\"{high}\" rx=\"{round}\"/>"
                )
            }
            Kind::Sink => {
                let (f, corner) = (number(fold), number(x + w - fold));
                let (less, lower) = (number(w - fold), number(h - fold));
                writeln!(
                    self.out,
                    "<path class=\"sink\" d=\"M{left} {top}h{less}l{f} {f}v{lower}h-{wide}Z M{corner} {top}v{f}h{f}\"/>"
                )
            }
        };
    }

    /// What stands beside the line out of a port.
    fn label(&mut self, index: usize, x: f64, middle: f64) {
        let Some(output) = self.drawing.outputs.get(index) else { return };
        let _ = writeln!(self.out, "<g><title>{}</title>", escape(&output.title));
        let count = output.lines.len() + usize::from(output.port.is_some());
        let mut y = middle - (count as f64 - 1.0) * 7.5 + 4.0;
        if let Some(port) = &output.port {
            let class = if output.aside { "small strong aside-text" } else { "small strong" };
            self.text(x + parts::BESIDE, y, class, port);
            y += 15.0;
        }
        for line in &output.lines {
            let class = if output.named { "small soft" } else { "small soft slant" };
            self.text(x + parts::BESIDE, y, class, line);
            y += 15.0;
        }
        self.out.push_str("</g>\n");
    }

    /// What the shapes and lines mean.
    fn legend(&mut self, y: f64) {
        for (kind, name, x) in LEGEND {
            self.shape(kind, MARGIN + x, y, 22.0, 13.0);
            self.text(MARGIN + x + 28.0, y + 10.5, "small soft", name);
        }
        let (from, to, line) = (number(MARGIN + 224.0), number(MARGIN + 250.0), number(y + 6.5));
        let _ = writeln!(self.out, "<path class=\"line aside\" d=\"M{from} {line}H{to}\"/>");
        self.text(MARGIN + 257.0, y + 10.5, "small soft", "late or failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::layout::{Demand, FieldPath, Layout};
    use crate::plan::{Input, Node, NodeId, OnError, Operator, Port, Sink, Source};

    fn plan() -> Plan {
        let mut layout = Layout::default();
        let names = ["a<b", "second", "a_rather_long_name", "another_long_name", "more", "most"];
        let fields: Vec<_> = names.into_iter().filter_map(|name| layout.intern(FieldPath::event([name]))).collect();
        let node = |name: &str, inputs: Vec<Input>, kind| Node {
            name: name.into(),
            description: Some(format!("{name} says \"<&>\"")),
            place: String::new(),
            inputs,
            on_error: OnError::default(),
            kind,
        };
        let reads = |node, port| Input { node: NodeId(node), port };
        let source = Source {
            connector: "file".into(),
            options: serde_json::Value::Null,
            bounded: true,
            format: crate::data::format::Format::Json,
            rows: false,
            time: None,
            schema: None,
            replay: crate::base::promise::Replay::Seek,
        };
        let sink = Sink {
            connector: "file".into(),
            options: serde_json::Value::Null,
            format: crate::data::format::Format::Json,
            line: None,
            templates: Vec::new(),
            paths: false,
            timed: false,
            identity: None,
            told_apart: None,
            promise: crate::base::promise::Promise::once("keeps nothing"),
        };
        Plan {
            name: "p & q".into(),
            file: "p.yaml".into(),
            description: Some("One <pipeline>.".into()),
            layout,
            checkpoint_every: crate::base::time::TimeSpan::seconds(5),
            state: None,
            vars: Vec::new(),
            nodes: vec![
                node("in", vec![], NodeKind::Source(source)),
                node("kept", vec![reads(0, Port::Main)], NodeKind::Step(Operator::Keep { fields })),
                node("out", vec![reads(1, Port::Main)], NodeKind::Sink(sink.clone())),
                node("wrong", vec![reads(0, Port::Errors), reads(1, Port::Errors)], NodeKind::Sink(sink)),
            ],
        }
    }

    #[test]
    fn every_text_is_escaped_and_long_lists_are_cut_with_all_in_the_title() {
        let plan = plan();
        let all = Demand { values: plan.layout.iter().map(|(id, _)| id).collect(), places: Vec::new(), body: true };
        let drawn = svg(&plan, &|_, port| if *port == Port::Main { all.clone() } else { Demand::default() });
        for part in [
            "aria-label=\"Pipeline p &amp; q\"",
            ">One &lt;pipeline&gt;.</text>",
            "kept says &quot;&lt;&amp;&gt;&quot;",
            ">a&lt;b, second,</text>",
            ">a_rather_long_name, +3</text>",
            "<title>in: read on the way: a&lt;b, second, a_rather_long_name, another_long_name, more, most</title>",
        ] {
            assert!(drawn.contains(part), "{part} is not in\n{drawn}");
        }
        assert_eq!(drawn.matches(">.errors</text>").count(), 2);
        assert_eq!(drawn.matches("class=\"aside-head\"").count(), 2);
    }
}
