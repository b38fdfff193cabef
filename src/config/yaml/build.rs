//! From the YAML parser's events to a tree: aliases copied in, merge keys resolved, limits held, expressions that YAML
//! took apart put together again.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as Mark, Tag};

use super::places::Places;
use super::{scalar, syntax};
use crate::base::diag::{Diagnostic, Diagnostics, SourceFile};
use crate::base::limit;
use crate::base::tree::{Data, Entry, Node};
use crate::config::eaten;

/// The tree of a file's one document.
pub fn tree(file: &Arc<SourceFile>, found: &mut Diagnostics) -> Option<Node> {
    let mut builder = Builder {
        file,
        places: Places::new(file),
        found,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    let mut parser = Parser::new_from_str(&file.text);
    while let Some(next) = parser.next_event() {
        match next {
            Ok((event, mark)) => builder.event(event, &mark).ok()?,
            Err(error) => {
                let at = builder.places.byte(error.marker().index());
                let error = syntax::explain(file, at, error.info());
                // The explanation covers what was noticed earlier at the same place.
                let start = |d: &Diagnostic| d.span.as_ref().map(|s| s.range.start);
                builder.found.list.retain(|d| start(d) != start(&error));
                builder.found.push(error);
                return None;
            }
        }
    }
    let root = builder.root;
    if root.is_none() {
        found.push(empty(file));
    }
    root
}

/// What is said of a file that holds nothing.
fn empty(file: &Arc<SourceFile>) -> Diagnostic {
    let span = crate::base::diag::Span { file: Arc::clone(file), range: 0..0 };
    Diagnostic::error("empty-file", "the pipeline is empty", Some(span))
        .help("a pipeline has `sources:`, usually `steps:`, and `sinks:`")
}

/// Reading cannot go on; the reason has been reported.
struct Stop;

/// A collection that is being read.
struct Open {
    /// Its place so far: where it begins.
    start: usize,
    flow: bool,
    anchor: usize,
    /// Nodes in the whole file when it began, to know how many it holds.
    nodes_before: usize,
    body: Body,
}

enum Body {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The key whose value comes next.
        key: Option<Key>,
    },
}

enum Key {
    Text(String, Range<usize>),
    /// A list or a map; already reported.
    Unusable,
}

/// What an anchor names, with its number of nodes and its depth.
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

struct Builder<'a> {
    file: &'a Arc<SourceFile>,
    places: Places,
    found: &'a mut Diagnostics,
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, mark: &Mark) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => self.document(mark),
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, mark)?;
                let node = self.scalar(&text, style, tag.as_deref(), mark);
                self.remember(anchor, &node, 1);
                self.add(node, mark)
            }
            Event::Alias(anchor) => self.alias(anchor, mark),
            Event::SequenceStart(anchor, tag) => self.start(Body::List(Vec::new()), anchor, tag.as_deref(), mark),
            Event::MappingStart(anchor, tag) => {
                self.start(Body::Map { entries: Vec::new(), key: None }, anchor, tag.as_deref(), mark)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(mark),
        }
    }

    fn document(&mut self, mark: &Mark) -> Result<(), Stop> {
        if self.root.is_none() {
            return Ok(());
        }
        let span = self.places.span(self.places.range(mark));
        let what = Diagnostic::error("several-documents", "a second YAML document begins here", Some(span));
        self.found.push(what.help("one file is one pipeline: put the other into a file of its own"));
        Err(Stop)
    }

    /// Counts nodes, those that an alias copies included.
    fn count(&mut self, more: usize, mark: &Mark) -> Result<(), Stop> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes <= limit::YAML_NODES {
            return Ok(());
        }
        let span = self.places.span(self.places.range(mark));
        let what = format!("with its aliases written out the file has more than {} values", limit::YAML_NODES);
        let what = Diagnostic::error("too-many-values", what, Some(span)).label("here the limit is passed");
        self.found.push(what.help("aliases of aliases multiply: write the values out, or use fewer of them"));
        Err(Stop)
    }

    fn depth(&mut self, depth: usize, mark: &Mark) -> Result<(), Stop> {
        if depth <= limit::YAML_DEPTH {
            return Ok(());
        }
        let span = self.places.span(self.places.range(mark));
        let what = format!("values are nested more than {} deep", limit::YAML_DEPTH);
        self.found.push(Diagnostic::error("too-deep", what, Some(span)).label("here the limit is passed"));
        Err(Stop)
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, mark: &Mark) -> Node {
        let mut range = self.places.range(mark);
        if text.is_empty() && style == ScalarStyle::Plain && tag.is_none() {
            // Nothing was written; the parser marks what comes next.
            let before = self.file.text.get(..range.start).unwrap_or_default().trim_end().len();
            range = before..before;
        }
        let lines = Arc::new(self.places.lines(text, style, mark, &range));
        let span = self.places.span(range);
        let data = match tag {
            Some(tag) if tag.is_yaml_core_schema() => self.tagged(text, tag, &span),
            Some(_) => {
                let written = span.file.text.get(span.range.clone()).unwrap_or_default().to_owned();
                self.found.push(eaten::tag(&span, &written));
                Data::Text(written)
            }
            None if style == ScalarStyle::Plain => scalar::resolve(text).unwrap_or_else(|| {
                let what = "this integer does not fit into 64 bits";
                let what = Diagnostic::error("integer-too-large", what, Some(span.clone()));
                self.found.push(what.help(format!("as text it is written \"{text}\"")));
                Data::Int(0)
            }),
            None => Data::Text(text.to_owned()),
        };
        Node { span, data, lines }
    }

    /// `!!str 5` and its like; other tags of YAML's own have no use here.
    fn tagged(&mut self, text: &str, tag: &Tag, span: &crate::base::diag::Span) -> Data {
        let resolved = scalar::resolve(text);
        match (tag.suffix.as_str(), resolved) {
            ("str", _) => Data::Text(text.to_owned()),
            ("int", Some(data @ Data::Int(_)))
            | ("bool", Some(data @ Data::Bool(_)))
            | ("null", Some(data @ Data::Null))
            | ("float", Some(data @ Data::Float(_))) => data,
            ("float", Some(Data::Int(i))) => Data::Float(i as f64),
            _ => {
                let what = format!("the value is not what its tag `!!{}` says", tag.suffix);
                self.found.push(
                    Diagnostic::error("yaml-tag", what, Some(span.clone()))
                        .help("leave the tag out; text that looks like something else is put in quotes"),
                );
                Data::Text(text.to_owned())
            }
        }
    }

    fn start(&mut self, body: Body, anchor: usize, tag: Option<&Tag>, mark: &Mark) -> Result<(), Stop> {
        self.count(1, mark)?;
        self.depth(self.open.len() + 1, mark)?;
        let range = self.places.range(mark);
        if tag.is_some() {
            let written = self.file.text.get(range.start..).unwrap_or_default();
            let end = written.find(char::is_whitespace).unwrap_or(written.len());
            let span = self.places.span(range.start..range.start + end);
            let what = Diagnostic::error("yaml-tag", "a tag has no meaning on a list or a map", Some(span));
            self.found.push(what.help("leave the tag out; an expression that begins with `!` is put in quotes"));
        }
        let written = self.file.text.get(range.clone()).unwrap_or_default();
        let flow = written.ends_with(['{', '[']);
        // An anchor or a tag belongs to the value, but an excerpt is clearer from the bracket on.
        let start = if flow { range.end - 1 } else { range.start };
        self.open.push(Open { start, flow, anchor, nodes_before: self.nodes - 1, body });
        Ok(())
    }

    fn end(&mut self, mark: &Mark) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let end = self.places.range(mark).end;
        let (data, last) = match open.body {
            Body::List(mut items) => {
                if open.flow {
                    eaten::join_items(&mut items, self.found);
                }
                let last = items.last().map(|n| n.span.range.end);
                (Data::List(items), last)
            }
            Body::Map { mut entries, .. } => {
                if open.flow {
                    eaten::join_entries(&mut entries, self.found);
                }
                self.merge(&mut entries);
                let last = entries.iter().map(|e| e.value.span.range.end.max(e.key_span.range.end)).max();
                (Data::Map(entries), last)
            }
        };
        let end = if open.flow { end } else { last.unwrap_or(open.start) };
        let span = self.places.span(open.start..end.max(open.start));
        let mut node = Node { lines: Arc::new(vec![open.start]), span, data };
        if open.flow
            && let Some(template) = eaten::braces(&node, self.found)
        {
            node.data = Data::Text(template);
        }
        self.remember(open.anchor, &node, self.nodes - open.nodes_before);
        self.add(node, mark)
    }

    fn remember(&mut self, anchor: usize, node: &Node, nodes: usize) {
        if anchor != 0 {
            let depth = depth_of(node);
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, depth });
        }
    }

    fn alias(&mut self, anchor: usize, mark: &Mark) -> Result<(), Stop> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            let span = self.places.span(self.places.range(mark));
            let what = Diagnostic::error("alias-in-itself", "this alias stands inside what it names", Some(span));
            self.found.push(what.help("write the value out"));
            return Err(Stop);
        };
        let (nodes, depth) = (anchored.nodes, anchored.depth);
        self.count(nodes, mark)?;
        self.depth(self.open.len() + depth, mark)?;
        let Some(node) = self.anchors.get(&anchor).map(|a| a.node.clone()) else { return Ok(()) };
        self.add(node, mark)
    }

    /// Puts a finished node where it belongs: the root, a list, a key or a key's value.
    fn add(&mut self, node: Node, mark: &Mark) -> Result<(), Stop> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let (flow, start) = (open.flow, open.start);
        match &mut open.body {
            Body::List(items) => items.push(node),
            Body::Map { key: key @ None, .. } => {
                // `{{ x }}` is a map whose key is a map: reported once, when the outer map ends.
                let braces = flow && self.file.text.get(start..).is_some_and(|t| t.starts_with("{{"));
                let taken = key_of(node);
                if matches!(taken, Key::Unusable) && !braces {
                    let span = self.places.span(self.places.range(mark));
                    let what = Diagnostic::error("key-not-text", "a key has to be a name", Some(span));
                    self.found.push(what.help("an expression that begins with a bracket is put in quotes"));
                }
                *key = Some(taken);
            }
            Body::Map { entries, key } => {
                if let Some(Key::Text(key, range)) = key.take() {
                    let key_span = self.places.span(range);
                    match entries.iter().find(|e| e.key == key) {
                        Some(first) => self.found.push(duplicate(&key, &first.key_span, key_span)),
                        None => entries.push(Entry { key, key_span, value: node }),
                    }
                }
            }
        }
        Ok(())
    }

    /// Resolves `<<`: what the map itself says goes first.
    fn merge(&mut self, entries: &mut Vec<Entry>) {
        let Some(at) = entries.iter().position(|e| e.key == "<<") else { return };
        let merged = entries.remove(at);
        let sources = match merged.value.data {
            Data::List(items) => items,
            _ => vec![merged.value],
        };
        for source in sources {
            let Data::Map(defaults) = source.data else {
                let what = format!("`<<` takes a map or a list of maps, this is {}", source.kind());
                self.found.push(Diagnostic::error("bad-merge", what, Some(source.span)));
                continue;
            };
            for default in defaults {
                if !entries.iter().any(|e| e.key == default.key) {
                    entries.push(default);
                }
            }
        }
    }
}

/// A node as a key: what is written, whatever it would mean as a value.
fn key_of(node: Node) -> Key {
    let range = node.span.range.clone();
    match node.data {
        Data::Text(text) => Key::Text(text, range),
        Data::Null | Data::Bool(_) | Data::Int(_) | Data::Float(_) => {
            let written = node.span.file.text.get(range.clone()).unwrap_or_default();
            Key::Text(written.to_owned(), range)
        }
        Data::List(_) | Data::Map(_) => Key::Unusable,
    }
}

fn duplicate(key: &str, first: &crate::base::diag::Span, second: crate::base::diag::Span) -> Diagnostic {
    let (line, column) = first.line_column();
    Diagnostic::error("duplicate-key", format!("the key `{key}` stands twice in one map"), Some(second))
        .label(format!("first at line {line}, column {column}"))
        .help("keep one of the two")
}

fn depth_of(node: &Node) -> usize {
    match &node.data {
        Data::List(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        Data::Map(entries) => 1 + entries.iter().map(|e| depth_of(&e.value)).max().unwrap_or(0),
        _ => 0,
    }
}
