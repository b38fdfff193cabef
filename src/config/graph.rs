//! The graph: who reads whom. Names become node numbers; what is written wrong in names, ports and connections is
//! reported here.

use crate::base::diag::Span;
use crate::base::limit;
use crate::base::tree::{Data, Entry};
use crate::data::layout::FieldId;
use crate::plan::{Input, Node, NodeId, NodeKind, OnError, Port};

use super::context::{Context, Unknown, listed};
use super::read::{OneOrMany, Read, Text};

mod alerts;
mod checks;
mod types;

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Brings rows in.
    Source,
    /// Changes them.
    Step,
    /// Takes them out.
    Sink,
}

impl Family {
    /// What one is called.
    pub fn noun(self) -> &'static str {
        match self {
            Family::Source => "source",
            Family::Step => "step",
            Family::Sink => "sink",
        }
    }

    /// The key that its entries stand under.
    pub fn section(self) -> &'static str {
        match self {
            Family::Source => "sources",
            Family::Step => "steps",
            Family::Sink => "sinks",
        }
    }
}

/// What can be read of an entry beside its main output.
#[derive(Clone, Debug)]
pub struct Ports {
    /// `.errors`.
    pub errors: bool,
    /// `.late`.
    pub late: bool,
    /// Branches and declared ports; `None` where a mistake keeps them from being known.
    pub named: Option<Vec<String>>,
}

/// One name in a `from`.
#[derive(Clone, Debug)]
pub struct Reference {
    name: String,
    port: Option<String>,
    span: Span,
}

impl Reference {
    /// As it is written: `name` or `name.port`.
    pub fn new(text: Text) -> Self {
        let (name, port) = match text.text.split_once('.') {
            Some((name, port)) => (name.to_owned(), Some(port.to_owned())),
            None => (text.text, None),
        };
        Reference { name, port, span: text.span }
    }

    /// What it is called in short: the port, or else the name.
    pub fn label(&self) -> &str {
        self.port.as_deref().unwrap_or(&self.name)
    }
}

/// What an entry says of its inputs.
#[derive(Clone, Debug)]
pub enum From {
    /// Nothing.
    Default,
    /// These.
    Written(Vec<Reference>),
    /// The two sides of a join, which may be the same.
    Sides(Vec<Reference>),
    /// Something that cannot be read, which has been reported.
    Broken,
}

/// An entry on its way to a node.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its name.
    pub name: String,
    /// The name's place.
    pub span: Span,
    /// What it is.
    pub family: Family,
    /// What its author says of it.
    pub description: Option<String>,
    /// What becomes of rows it cannot process.
    pub on_error: OnError,
    /// What it reads.
    pub from: From,
    /// What can be read of it.
    pub ports: Ports,
    /// What it does; `None` after a mistake.
    pub kind: Option<NodeKind>,
    /// Where it names fields outside of expressions, in the order written.
    pub named: Vec<(FieldId, Span)>,
}

impl Draft {
    /// A draft of which nothing but the name is known.
    pub fn new(entry: &Entry, family: Family, ports: Ports) -> Self {
        Draft {
            name: entry.key.clone(),
            span: entry.key_span.clone(),
            family,
            description: None,
            on_error: OnError::default(),
            from: From::Default,
            ports,
            kind: None,
            named: Vec::new(),
        }
    }
}

/// Reads an entry's `from`.
pub fn from(entry: &Entry, context: &mut Context<'_>) -> From {
    let Data::Map(entries) = &entry.value.data else { return From::Default };
    let Some(written) = entries.iter().find(|e| e.key == "from") else { return From::Default };
    if written.value.data == Data::Null {
        let report = context.error("missing-value", "`from` has no value", &written.key_span);
        report.help("name what is read, or leave `from` out");
        return From::Broken;
    }
    let Some(names) = OneOrMany::<Text>::read(&written.value, &written.key_span, context) else { return From::Broken };
    if names.0.is_empty() {
        context.error("missing-value", "`from` names nothing", &written.value.span).help("name at least one entry");
        return From::Broken;
    }
    From::Written(names.0.into_iter().map(Reference::new).collect())
}

/// Drafts with their inputs found.
struct Graph {
    drafts: Vec<Draft>,
    inputs: Vec<Vec<Input>>,
    /// Whether some input could not be found: what else seems unread is then no news.
    broken: bool,
}

/// Connects the entries and makes nodes of them. `None` after a mistake anywhere in the file.
pub fn connect(drafts: Vec<Draft>, context: &mut Context<'_>) -> Option<Vec<Node>> {
    if drafts.len() > limit::GRAPH_NODES {
        let message = format!("a pipeline has at most {} entries", limit::GRAPH_NODES);
        if let Some(last) = drafts.last() {
            context.error("too-many-entries", message, &last.span);
        }
        return None;
    }
    let inputs = vec![Vec::new(); drafts.len()];
    // Without a single sink, which is reported, nothing is read.
    let broken = !drafts.iter().any(|d| d.family == Family::Sink);
    let mut graph = Graph { drafts, inputs, broken };
    graph.steps(context);
    graph.sinks(context);
    let cyclic = checks::cycles(&graph, context);
    if !graph.broken && !cyclic {
        checks::unread(&graph, context);
        checks::repeated(&graph, context);
        checks::errors_in_windows(&graph, context);
        checks::windows_that_never_meet(&graph, context);
        alerts::check(&graph, context);
        types::check(&graph, context);
    }
    let nodes = graph.drafts.into_iter().zip(graph.inputs).map(|(draft, inputs)| {
        Some(Node {
            place: draft.span.place(),
            name: draft.name,
            description: draft.description,
            inputs,
            on_error: draft.on_error,
            kind: draft.kind?,
        })
    });
    nodes.collect()
}

fn id(index: usize) -> NodeId {
    NodeId(u16::try_from(index).unwrap_or(u16::MAX))
}

impl Graph {
    /// Finds the inputs of every step.
    fn steps(&mut self, context: &mut Context<'_>) {
        let mut above: Option<usize> = None;
        for at in 0..self.drafts.len() {
            let Some(draft) = self.drafts.get(at) else { continue };
            if draft.family != Family::Step {
                continue;
            }
            let inputs = match (draft.from.clone(), above) {
                (From::Written(references), _) => self.find(&references, context),
                (From::Sides(references), _) => {
                    let found: Vec<Option<Input>> = references.iter().map(|r| self.input(r, context)).collect();
                    self.broken |= found.contains(&None);
                    found.into_iter().flatten().collect()
                }
                (From::Broken, _) => {
                    self.broken = true;
                    Vec::new()
                }
                (From::Default, Some(above)) => vec![Input { node: id(above), port: Port::Main }],
                (From::Default, None) => {
                    let sources = self.drafts.iter().enumerate().filter(|(_, d)| d.family == Family::Source);
                    sources.map(|(source, _)| Input { node: id(source), port: Port::Main }).collect()
                }
            };
            if let Some(place) = self.inputs.get_mut(at) {
                *place = inputs;
            }
            above = Some(at);
        }
    }

    /// Finds the inputs of every sink, when those of the steps are known.
    fn sinks(&mut self, context: &mut Context<'_>) {
        let unread = self.unread_by_steps();
        for at in 0..self.drafts.len() {
            let Some(draft) = self.drafts.get(at) else { continue };
            if draft.family != Family::Sink {
                continue;
            }
            let inputs = match draft.from.clone() {
                From::Written(references) | From::Sides(references) => self.find(&references, context),
                From::Broken => {
                    self.broken = true;
                    Vec::new()
                }
                From::Default => self.default_of_sink(at, &unread, context),
            };
            if let Some(place) = self.inputs.get_mut(at) {
                *place = inputs;
            }
        }
    }

    /// The sources and steps whose main output no step reads.
    fn unread_by_steps(&self) -> Vec<usize> {
        let read = |node: usize| {
            self.inputs.iter().flatten().any(|input| input.node.index() == node && input.port == Port::Main)
        };
        let entries = self.drafts.iter().enumerate().filter(|(_, d)| d.family != Family::Sink);
        entries.map(|(at, _)| at).filter(|at| !read(*at)).collect()
    }

    fn default_of_sink(&mut self, at: usize, unread: &[usize], context: &mut Context<'_>) -> Vec<Input> {
        if let [only] = unread {
            return vec![Input { node: id(*only), port: Port::Main }];
        }
        // After an unknown name the list of what is unread is wrong, and in a cycle it may be empty: both are reported.
        if let (false, Some(draft), [_, _, ..]) = (self.broken, self.drafts.get(at), unread) {
            let names: Vec<&str> = unread.iter().filter_map(|i| self.drafts.get(*i)).map(|d| d.name.as_str()).collect();
            let message = format!("it is not clear what the sink `{}` reads", draft.name);
            let first = names.first().copied().unwrap_or_default();
            let help = format!("{}: say which, for example `from: {first}`", listed("no step reads", &names));
            context.error("ambiguous-input", message, &draft.span).help(help);
        }
        self.broken = true;
        Vec::new()
    }

    /// The inputs that references name.
    fn find(&mut self, references: &[Reference], context: &mut Context<'_>) -> Vec<Input> {
        let mut inputs: Vec<Input> = Vec::with_capacity(references.len());
        for reference in references {
            match self.input(reference, context) {
                Some(input) if inputs.contains(&input) => {
                    let message = format!("`{}{}` is read twice", reference.name, input.port);
                    context.error("duplicate-name", message, &reference.span).help("name it once");
                }
                Some(input) => inputs.push(input),
                None => self.broken = true,
            }
        }
        inputs
    }

    fn input(&self, reference: &Reference, context: &mut Context<'_>) -> Option<Input> {
        let Some(at) = self.drafts.iter().position(|d| d.name == reference.name) else {
            let errors = reference.port.as_deref() == Some("errors");
            let readable = self.drafts.iter().filter(|d| errors || d.family != Family::Sink);
            let names: Vec<&str> = readable.map(|d| d.name.as_str()).collect();
            let (noun, listing) = match errors {
                true => ("entry", "the entries are"),
                false => ("source or step", "the sources and steps are"),
            };
            let what = Unknown { code: "unknown-name", noun, place: "", listing };
            context.unknown(&what, &reference.name, &reference.span, &names, &[]);
            return None;
        };
        let draft = self.drafts.get(at)?;
        // Of an alert transitions are read; after a mistake it is not known what it is.
        let passes_on = !matches!(draft.kind, Some(NodeKind::Sink(_)));
        if draft.family == Family::Sink && reference.port.is_none() && !passes_on {
            let name = &draft.name;
            let message = format!("`{name}` is a sink, which passes nothing on");
            let help = format!("read what the sink reads, or `{name}.errors`, the rows that it cannot deliver");
            context.error("reads-a-sink", message, &reference.span).help(help);
            return None;
        }
        let Some(port) = &reference.port else { return Some(Input { node: id(at), port: Port::Main }) };
        let named = draft.ports.named.as_deref();
        let port = match port.as_str() {
            "errors" if draft.ports.errors => Port::Errors,
            "late" if draft.ports.late => Port::Late,
            other if named.is_some_and(|n| n.iter().any(|n| n == other)) => Port::Named(other.to_owned()),
            // What ports it has is not known after a mistake in it.
            _ if named.is_none() => return None,
            other => {
                let own = [("errors", draft.ports.errors), ("late", draft.ports.late)];
                let own = own.iter().filter(|(_, has)| *has).map(|(name, _)| *name);
                let ports: Vec<&str> = own.chain(named.unwrap_or_default().iter().map(String::as_str)).collect();
                let listing = format!("the ports of `{}` are", draft.name);
                let place = format!(" of `{}`", draft.name);
                let what = Unknown { code: "unknown-port", noun: "port", place: &place, listing: &listing };
                context.unknown(&what, other, &reference.span, &ports, &[]);
                return None;
            }
        };
        Some(Input { node: id(at), port })
    }
}
