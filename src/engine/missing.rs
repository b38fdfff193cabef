//! Fields that an expression reads and that no event has: mostly a name that is spelled otherwise in the data.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::base::diag::{Diagnostic, Span};
use crate::base::suggest::nearest;
use crate::data::batch::Batch;
use crate::data::json;
use crate::data::layout::{Demand, FieldId, FieldPath, Layout, Root};
use crate::data::value::{Map, Value};
use crate::expr::Expr;
use crate::plan::{NodeKind, Operator, Plan};

use super::job::lock;

/// How many events are looked at.
const EVENTS: u64 = 1_000;
/// A run that goes on is told of what so many events had not, once they have come for so long: few and rare events need not
/// make a thousand before somebody hears that a name is misspelt.
const SOME: u64 = 5;
const FOR_A_WHILE: Duration = Duration::from_secs(30);
/// How many events the names for suggestions are taken from.
const NAMED: u64 = 20;

/// A field that an expression reads.
#[derive(Clone, Debug)]
pub struct ReadField {
    /// Which.
    pub field: FieldId,
    /// As it is written.
    pub path: String,
    /// The entry whose expression reads it.
    pub entry: String,
    /// The expression.
    pub span: Span,
}

impl ReadField {
    /// The fields of events among what an entry's expression reads.
    pub fn of(entry: &str, expr: &Expr, layout: &Layout) -> Vec<ReadField> {
        let field = |field: &FieldId| {
            let path = layout.path(*field).filter(|path| path.root == Root::Event)?.to_string();
            Some(ReadField { field: *field, path, entry: entry.to_owned(), span: expr.origin.span.clone() })
        };
        expr.reads.iter().filter_map(field).collect()
    }
}

/// The expressions that read a source's own fields, with each field. Those of a table are seldom the source's, too, and
/// those that another step writes for some rows may be there for no other reason.
pub fn fields_read(plan: &Plan, layout: &Layout, needed: &Demand) -> Vec<ReadField> {
    let of_table = |field: &FieldId| {
        plan.nodes.iter().any(|node| match &node.kind {
            NodeKind::Step(Operator::Lookup(lookup)) => lookup.fields.iter().any(|(written, _)| written == field),
            _ => false,
        })
    };
    let mut fields = Vec::new();
    for (index, node) in plan.nodes.iter().enumerate() {
        for expr in node.kind.expressions() {
            let read = ReadField::of(&node.name, expr, layout);
            let is_own = |r: &ReadField| {
                needed.values.contains(&r.field)
                    && !of_table(&r.field)
                    && layout.path(r.field).is_some_and(|path| !is_written(plan, layout, index, path))
            };
            fields.extend(read.into_iter().filter(is_own));
        }
    }
    fields
}

/// Whether a step other than this one may write a field, or something around or inside it.
fn is_written(plan: &Plan, layout: &Layout, besides: usize, path: &FieldPath) -> bool {
    let others = plan.nodes.iter().enumerate().filter(|(index, _)| *index != besides);
    let mut writes = others.flat_map(|(_, node)| node.kind.expressions()).flat_map(|expr| &expr.writes);
    writes.any(|field| layout.path(*field).is_some_and(|written| written == path || written.overlaps(path)))
}

/// Watches the first events of a source, or the first rows of one side that a join put together.
#[derive(Debug)]
pub struct Watch {
    fields: Vec<ReadField>,
    /// What is watched, in a word.
    noun: &'static str,
    looked: Mutex<Looked>,
    done: AtomicBool,
    told: AtomicBool,
}

#[derive(Debug, Default)]
struct Looked {
    /// When the first came.
    began: Option<Instant>,
    events: u64,
    /// By field: whether some event had it.
    seen: Vec<bool>,
    names: BTreeSet<String>,
}

impl Watch {
    /// Watches these fields of an `event` or a `row`.
    pub fn new(noun: &'static str, fields: Vec<ReadField>) -> Self {
        let looked = Looked { seen: vec![false; fields.len()], ..Looked::default() };
        let (done, told) = (AtomicBool::new(fields.is_empty()), AtomicBool::new(false));
        Watch { done, told, looked: Mutex::new(looked), noun, fields }
    }

    /// Whether it has seen enough.
    pub fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// Looks at a batch as it was decoded.
    pub fn look(&self, layout: &Layout, batch: &Batch) {
        if batch.rows == 0 || self.is_done() {
            return;
        }
        let mut looked = lock(&self.looked);
        looked.began.get_or_insert_with(Instant::now);
        for (field, seen) in self.fields.iter().zip(&mut looked.seen) {
            let column = batch.column(field.field);
            *seen |= column.is_some_and(|c| (0..batch.rows).any(|row| !c.is_missing(row)));
        }
        for row in (0..batch.rows).take(usize::try_from(NAMED.saturating_sub(looked.events)).unwrap_or(0)) {
            if let Value::Map(map) = json::event_of(layout, batch, row) {
                name(&map, "", &mut looked.names);
            }
        }
        looked.events += batch.rows as u64;
        let all = looked.seen.iter().all(|seen| *seen);
        if all || looked.events >= EVENTS {
            self.done.store(true, Ordering::Relaxed);
        }
    }

    /// Adds what another run of the same plan saw of the same source.
    pub fn add(&self, other: &Watch) {
        let (mut looked, also) = (lock(&self.looked), lock(&other.looked));
        looked.events += also.events;
        looked.names.extend(also.names.iter().cloned());
        for (seen, other) in looked.seen.iter_mut().zip(&also.seen) {
            *seen |= other;
        }
    }

    /// [`Watch::warnings`] while more may come, if it has seen enough to say so.
    pub fn so_far(&self) -> Vec<Diagnostic> {
        let enough = {
            let looked = lock(&self.looked);
            let a_while = looked.began.is_some_and(|began| began.elapsed() >= FOR_A_WHILE);
            looked.events >= EVENTS || (looked.events >= SOME && a_while)
        };
        if enough { self.warnings() } else { Vec::new() }
    }

    /// The same, once.
    pub fn take_so_far(&self) -> Vec<Diagnostic> {
        if self.told.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let found = self.so_far();
        self.told.store(!found.is_empty(), Ordering::Relaxed);
        found
    }

    /// Whether somebody was told while it went on.
    pub fn was_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// A warning for each expression that reads a field which none of the events had.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        let looked = lock(&self.looked);
        if looked.events == 0 {
            return Vec::new();
        }
        let missing = self.fields.iter().zip(&looked.seen).filter(|(_, seen)| !**seen).map(|(field, _)| field);
        let warning = |field: &ReadField| {
            let noun = self.noun;
            let events = match looked.events {
                1 => format!("the only {noun}"),
                n if n < EVENTS => format!("all {n} {noun}s"),
                _ => format!("all of the first 1,000 {noun}s"),
            };
            let message = format!("`{}` reads `{}`, which was missing in {events}", field.entry, field.path);
            let warning = Diagnostic::warning("missing-field", message, Some(field.span.clone()));
            match nearest(&field.path, looked.names.iter().map(String::as_str)) {
                Some(near) => warning.help(format!("did you mean `{near}`?")),
                None => warning,
            }
        };
        missing.map(warning).collect()
    }
}

/// The paths of an event's fields.
fn name(map: &Map, before: &str, names: &mut BTreeSet<String>) {
    for (member, value) in &map.0 {
        let path = format!("{before}{member}");
        if let Value::Map(inner) = value {
            name(inner, &format!("{path}."), names);
        }
        names.insert(path);
    }
}
