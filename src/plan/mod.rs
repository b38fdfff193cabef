//! A checked pipeline as pure data: nodes, their inputs, operators as a closed enum, connectors as a name with checked
//! options. Knows no YAML, no threads and no connectors; whatever runs, explains or draws a pipeline reads this.

pub mod about;
pub mod aggregate;
pub mod alert;
pub mod demand;
pub mod explain;
pub mod explode;
pub mod graph;
pub mod guarantees;
pub mod join;
pub mod lookup;
pub mod meaning;
pub mod pace;
pub mod parse;
pub mod sample;
pub mod schema;
pub mod svg;
pub mod types;
pub mod validate;
pub mod window;

use crate::base::promise::{Promise, Replay};
use crate::base::time::TimeSpan;
use crate::data::format::{Format, TimeFormat};
use crate::data::layout::{FieldId, Layout};
use crate::data::value::Value;
use crate::expr::Expr;

/// A pipeline.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// The pipeline's name.
    pub name: String,
    /// The file it was written in, as the user named it.
    pub file: String,
    /// What its author says of it.
    pub description: Option<String>,
    /// Every field it names.
    pub layout: Layout,
    /// How often a checkpoint is made.
    pub checkpoint_every: TimeSpan,
    /// Where the state is kept, relative to the file, if its author says so.
    pub state: Option<String>,
    /// Constants that expressions read as `vars.name`.
    pub vars: Vec<(String, Value)>,
    /// Sources, then steps, then sinks, each in the order written. A node's inputs may stand after it; there is no cycle.
    pub nodes: Vec<Node>,
}

impl Plan {
    /// Every node, each before those that it reads: from the sinks back to the sources.
    pub fn upstream_order(&self) -> Vec<NodeId> {
        let mut readers = vec![0usize; self.nodes.len()];
        for input in self.nodes.iter().flat_map(|n| &n.inputs) {
            if let Some(count) = readers.get_mut(input.node.index()) {
                *count += 1;
            }
        }
        let ids = || (0u16..).map(NodeId).take(self.nodes.len());
        let mut ready: Vec<NodeId> = ids().filter(|id| readers.get(id.index()) == Some(&0)).collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        while let Some(id) = ready.pop() {
            order.push(id);
            for input in self.nodes.get(id.index()).map_or(&[][..], |n| &n.inputs) {
                if let Some(count) = readers.get_mut(input.node.index()) {
                    *count -= 1;
                    if *count == 0 {
                        ready.push(input.node);
                    }
                }
            }
        }
        order
    }

    /// Whether every source ends by itself.
    pub fn is_bounded(&self) -> bool {
        self.nodes.iter().all(|node| !matches!(&node.kind, NodeKind::Source(source) if !source.bounded))
    }

    /// The sinks that send and whose `.errors` somebody reads: what they are refused comes back out of them.
    pub fn returning(&self) -> Vec<NodeId> {
        let sends = |id: &NodeId| matches!(self.node(*id).map(|node| &node.kind), Some(NodeKind::Sink(sink)) if sink.identity.is_some());
        let read = |id: &NodeId| {
            let mut inputs = self.nodes.iter().flat_map(|node| &node.inputs);
            inputs.any(|input| input.node == *id && input.port == Port::Errors)
        };
        (0u16..).map(NodeId).take(self.nodes.len()).filter(|id| sends(id) && read(id)).collect()
    }

    /// The node of a number; numbers come from this plan.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())
    }
}

/// The number of a node: its index in [`Plan::nodes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct NodeId(pub u16);

impl NodeId {
    /// As an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A source, a step or a sink.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Unique in the pipeline.
    pub name: String,
    /// What its author says of it.
    pub description: Option<String>,
    /// Where it is written, `file:line:column`.
    pub place: String,
    /// What it reads, in the order written; empty for a source.
    pub inputs: Vec<Input>,
    /// What becomes of a row that it cannot process when nobody reads its `.errors`.
    pub on_error: OnError,
    /// What it does.
    pub kind: NodeKind,
}

/// One input of a node: a port of another.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
pub struct Input {
    /// Whose output.
    pub node: NodeId,
    /// Which of its outputs.
    pub port: Port,
}

/// An output of a node.
#[derive(Clone, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Port {
    /// What it is there for; read by its bare name.
    Main,
    /// Rows that it could not process: `name.errors`.
    Errors,
    /// Rows that came after their window was gone: `name.late`.
    Late,
    /// A branch of a `route`, a port that a script declares.
    Named(String),
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Port::Main => Ok(()),
            Port::Errors => f.write_str(".errors"),
            Port::Late => f.write_str(".late"),
            Port::Named(name) => write!(f, ".{name}"),
        }
    }
}

/// What becomes of a row that cannot be processed and whose `.errors` port nobody reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// It is counted and sampled as a dead letter.
    #[default]
    DeadLetter,
    /// It is counted and gone.
    Drop,
    /// The run fails.
    Fail,
}

/// What a node does.
#[derive(Clone, PartialEq, Debug)]
pub enum NodeKind {
    /// Brings rows in.
    Source(Source),
    /// Changes them.
    Step(Operator),
    /// Takes rows out.
    Sink(Sink),
}

impl NodeKind {
    /// Every expression of the node, in the order written.
    pub fn expressions(&self) -> Vec<&Expr> {
        let operator = match self {
            NodeKind::Source(source) => return source.time.iter().filter_map(|t| t.field.as_ref()).collect(),
            NodeKind::Sink(_) => return Vec::new(),
            NodeKind::Step(operator) => operator,
        };
        match operator {
            Operator::Filter { condition } => vec![condition],
            Operator::Script { script, by, .. } => by.iter().map(|part| &part.expr).chain([script]).collect(),
            Operator::Set { fields } => fields.iter().map(|(_, expr)| expr).collect(),
            Operator::Route { branches } => branches.iter().map(|(_, expr)| expr).collect(),
            Operator::Dedupe(pace::Dedupe { by, .. })
            | Operator::Throttle(pace::Throttle { by, .. })
            | Operator::Sample(sample::Sample { by, .. }) => by.iter().map(|part| &part.expr).collect(),
            Operator::Join(join) => {
                let on = join.left.on.iter().chain(&join.right.on);
                on.chain(join.select.iter().map(|(_, expr)| expr)).collect()
            }
            Operator::Tag(_) | Operator::Notify(_) => Vec::new(),
            Operator::Alert(alert) => {
                let conditions = alert.levels.iter().flat_map(|level| std::iter::once(&level.when).chain(&level.clear));
                alert.by.iter().map(|part| &part.expr).chain(conditions).collect()
            }
            Operator::Window(window) => window.row_expressions().collect(),
            Operator::Lookup(lookup) => lookup.on.iter().map(|(_, expr)| expr).collect(),
            Operator::Keep { .. } | Operator::Drop { .. } | Operator::Rename { .. } => Vec::new(),
            Operator::Parse(_) | Operator::Explode(_) | Operator::Validate(_) => Vec::new(),
        }
    }
}

/// A source's settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Source {
    /// The connector's name: `file`.
    pub connector: String,
    /// Its checked options, defaults filled in.
    pub options: serde_json::Value,
    /// Whether it comes to an end by itself.
    pub bounded: bool,
    /// How its records are read.
    pub format: Format,
    /// Whether they are rows of something, events as they are, which the connector spells in that format.
    pub rows: bool,
    /// How event time is found; `None` is time of arrival.
    pub time: Option<Time>,
    /// What its events hold, if the author says so.
    pub schema: Option<schema::Schema>,
    /// What it does about events whose effect a crash undid.
    pub replay: Replay,
}

/// How event time is found and how far it may be out of order.
#[derive(Clone, PartialEq, Debug)]
pub struct Time {
    /// A path or an expression, read after decoding; `None` is time of arrival.
    pub field: Option<Expr>,
    /// How its value is read.
    pub format: TimeFormat,
    /// The IANA zone of times without an offset.
    pub zone: String,
    /// How far behind the greatest time seen an event may come and still be on time.
    pub out_of_order: TimeSpan,
    /// How long a live partition is silent before it leaves the watermark's minimum.
    pub idle_after: TimeSpan,
    /// How far ahead of the wall clock an event may be; `None` is any distance.
    pub max_future: Option<TimeSpan>,
}

/// A step. Closed: whatever runs or explains a plan meets every kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Operator {
    /// Passes rows on for which the condition is true.
    Filter {
        /// Must be a bool.
        condition: Expr,
    },
    /// Runs a script on each row.
    Script {
        /// What runs.
        script: Expr,
        /// The key of its `state`; empty if it has none.
        by: Vec<KeyPart>,
        /// How long a key's state outlives its last event.
        state_ttl: Option<TimeSpan>,
        /// Ports that `emit` may name.
        ports: Vec<String>,
    },
    /// Writes fields, each seeing those before it.
    Set {
        /// Field and value.
        fields: Vec<(FieldId, Expr)>,
    },
    /// Lets only these fields stay.
    Keep {
        /// What stays.
        fields: Vec<FieldId>,
    },
    /// Takes fields out.
    Drop {
        /// What goes.
        fields: Vec<FieldId>,
    },
    /// Gives fields other names where they stand.
    Rename {
        /// Old and new name.
        fields: Vec<(FieldId, FieldId)>,
    },
    /// Reads a field's text in a format of its own.
    Parse(parse::Parse),
    /// Makes a row for each element of a list.
    Explode(explode::Explode),
    /// Lets rows pass that fit a JSON Schema.
    Validate(validate::Validate),
    /// Sends each row to the first branch whose condition is true; the main output is what no branch took.
    Route {
        /// Branch and condition, in order.
        branches: Vec<(String, Expr)>,
    },
    /// Holds back rows that repeat one before them.
    Dedupe(pace::Dedupe),
    /// Lets so many rows of a key go on in a span of event time.
    Throttle(pace::Throttle),
    /// Lets a part of the rows go on.
    Sample(sample::Sample),
    /// Puts rows of two inputs together.
    Join(join::Join),
    /// Marks the rows of one side of a join.
    Tag(join::Tag),
    /// Takes over columns from the row of a table that has the row's key.
    Lookup(lookup::Lookup),
    /// Groups rows by key and time.
    Window(window::Window),
    /// Runs a state machine a key; its rows are transitions.
    Alert(Box<alert::Alert>),
    /// Tells receivers of transitions; its rows are notifications, each at the port of its receiver.
    Notify(Box<alert::Notify>),
}

impl Operator {
    /// Whether it keeps something from row to row, so that it takes them in order and, with a key, shares its keys out.
    pub fn has_state(&self) -> bool {
        match self {
            Operator::Window(_) | Operator::Dedupe(_) | Operator::Throttle(_) | Operator::Join(_) => true,
            Operator::Alert(_) | Operator::Notify(_) => true,
            Operator::Script { by, .. } => !by.is_empty(),
            _ => false,
        }
    }

    /// The key that an author wrote for it as `by`; empty if there is none.
    pub fn by(&self) -> &[KeyPart] {
        match self {
            Operator::Script { by, .. }
            | Operator::Window(window::Window { by, .. })
            | Operator::Dedupe(pace::Dedupe { by, .. })
            | Operator::Throttle(pace::Throttle { by, .. })
            | Operator::Sample(sample::Sample { by, .. }) => by,
            Operator::Alert(alert) => &alert.by,
            _ => &[],
        }
    }

    /// Whether workers share its keys.
    pub fn shares_keys(&self) -> bool {
        match self {
            Operator::Window(_) | Operator::Throttle(_) => !self.by().is_empty(),
            // How many keys there are is counted over all of them.
            Operator::Alert(_) | Operator::Notify(_) => false,
            other => other.has_state(),
        }
    }

    /// What becomes of its late rows when nobody reads them; `None` of a step that judges no event times.
    pub fn late(&self) -> Option<window::Late> {
        match self {
            // Windows that go by the order of arrival take whatever arrives.
            Operator::Window(window) if matches!(window.shape, window::Shape::Count { .. }) => None,
            Operator::Window(window) => Some(window.late),
            Operator::Dedupe(dedupe) => Some(dedupe.late),
            Operator::Throttle(throttle) => Some(throttle.late),
            Operator::Join(join) => Some(join.late),
            _ => None,
        }
    }
}

/// One part of a key: an expression and the field it is written back as.
#[derive(Clone, PartialEq, Debug)]
pub struct KeyPart {
    /// The field of the output: the path itself, or the name that was given.
    pub field: FieldId,
    /// What it is made of.
    pub expr: Expr,
}

/// A sink's settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Sink {
    /// The connector's name: `file`.
    pub connector: String,
    /// Its checked options, defaults filled in.
    pub options: serde_json::Value,
    /// How rows are written.
    pub format: Format,
    /// The template of a row's line, where the format is [`Format::Line`].
    pub line: Option<Template>,
    /// Templates among its options whose result depends on the row (a path), in the connector's order.
    pub templates: Vec<Template>,
    /// Whether they are paths, which stay inside the directory that each begins with in plain text.
    pub paths: bool,
    /// Whether it needs the event time of rows.
    pub timed: bool,
    /// Of a sink that sends: source, partition and position, which tell rows apart that come straight from a source.
    pub identity: Option<[FieldId; 3]>,
    /// The field that alone tells its rows apart, if there is one.
    pub told_apart: Option<FieldId>,
    /// How often a row has an effect.
    pub promise: Promise,
}

/// A text with `{{ field }}` in it.
#[derive(Clone, PartialEq, Debug)]
pub struct Template {
    /// As written.
    pub text: String,
    /// Top-level fields that it reads.
    pub fields: Vec<FieldId>,
    /// Every path that it reads, `site.floor`, with where it is written first.
    pub reads: Vec<(String, crate::base::diag::Span)>,
}
