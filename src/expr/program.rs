//! A prepared expression, run over batches.

use std::sync::Arc;

use bumpalo::Bump;

use super::analyse::{parse, read, scope_of};
use super::fault::{Failure, Fault, Role, Site, Sites, Stop};
use super::node::{Bound, Context, Mark, Node, Slot};
use super::numbers::{Number, compute};
use super::overlap::Overlaps;
use super::scripted::Scripted;
use super::select::select;
use super::source::Source;
use super::walk::bound_path;
use super::{Expr, Mode, ops, sites, subset};
use crate::base::diag::Diagnostic;
use crate::base::tree::Origin;
use crate::data::batch::{Batch, RowError};
use crate::data::column::{Cell, ColumnBuilder};
use crate::data::layout::{FieldId, Layout, Root};
use crate::data::value::{Val, Value};

/// Bytes of made text after which a thread's arena is emptied between groups of rows.
const ARENA_BYTES: usize = 256 << 10;

/// An expression or script ready to run. Cheap to clone and shared by threads; each gives its own [`Scratch`].
#[derive(Clone, Debug)]
pub struct Program {
    pub(super) inner: Arc<Inner>,
    /// Whether its values must be bools.
    condition: bool,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub origin: Origin,
    pub sites: Sites,
    /// The whole text as a condition.
    pub root: usize,
    pub way: Way,
    path: Option<FieldId>,
    /// For each written field, those that change with it.
    pub overlaps: Vec<Overlaps>,
    /// Fields that a script which uses `event` as a whole may set one by one: top-level name and number.
    pub tops: Vec<(compact_str::CompactString, FieldId, Overlaps)>,
    /// The number of the event as a whole, if such a script writes.
    pub whole: Option<FieldId>,
}

/// How a program runs.
#[derive(Debug)]
pub(super) enum Way {
    Compiled(Compiled),
    Scripted(Scripted),
}

/// A compiled tree with its fields' numbers.
#[derive(Debug)]
pub(super) struct Compiled {
    pub root: Node,
    pub columns: Vec<FieldId>,
    pub vectors: Vec<Node>,
    pub written: Vec<CompiledWrite>,
    pub slots: usize,
    /// If the script is nothing but assignments of arithmetic over the batch: for each the field and the arithmetic.
    pub straight: Option<Vec<(usize, usize)>>,
}

/// A field that a compiled script writes.
#[derive(Debug)]
pub(super) struct CompiledWrite {
    pub field: FieldId,
    pub slot: usize,
    pub read: bool,
}

/// Gives the whole event of a row: its text read as a value, with the changes made since.
pub type EventOf = Arc<dyn Fn(&Batch, usize) -> Value + Send + Sync>;

/// What a thread needs to run programs; reused from batch to batch.
#[derive(Default)]
pub struct Scratch {
    pub(super) arena: Bump,
    pub(super) scope: rhai::Scope<'static>,
    /// Results of arithmetic over the batch at hand.
    pub(super) numbers: Vec<Vec<Number>>,
    /// Needed by scripts and expressions that use `event` as a whole ([`Expr::whole_event`]).
    pub event_of: Option<EventOf>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch")
    }
}

impl Scratch {
    /// Empties the arena at the start of a batch and when it has grown.
    pub(super) fn empty_arena(&mut self, row: usize) {
        if row == 0 || self.arena.allocated_bytes() > ARENA_BYTES {
            self.arena.reset();
        }
    }
}

/// The rows of a batch in groups that share slots and made text.
pub(super) fn row_groups(rows: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    const GROUP: usize = 32;
    (0..rows).step_by(GROUP).map(move |start| start..(start + GROUP).min(rows))
}

impl Program {
    /// Prepares an expression. `layout` is the plan's, `vars` its constants.
    pub fn compile(expr: &Expr, layout: &Layout, vars: &[(String, Value)]) -> Result<Program, Diagnostic> {
        Self::prepare(expr, layout, vars, matches!(expr.mode, Mode::Compiled))
    }

    /// Prepares an expression to run in Rhai even where the compiled path could: the reference of the tests.
    #[cfg(test)]
    pub(super) fn compile_for_rhai(
        expr: &Expr,
        layout: &Layout,
        vars: &[(String, Value)],
    ) -> Result<Program, Diagnostic> {
        Self::prepare(expr, layout, vars, false)
    }

    fn prepare(expr: &Expr, layout: &Layout, vars: &[(String, Value)], compiled: bool) -> Result<Program, Diagnostic> {
        let wrong = |words: String| Diagnostic::error("expression", words, Some(expr.origin.span.clone()));
        let ast = parse(&expr.text).map_err(|e| wrong(e.to_string()))?;
        let source = Source::new(&expr.text);
        let (mut facts, _) = read(&source, &expr.origin, expr.kind, &ast, &scope_of(vars), &expr.bindings);
        let root = match ast.statements() {
            [rhai::Stmt::Expr(whole)] => sites::truth(&mut facts.sites, whole),
            _ => facts.sites.add(Role::Truth, (0, 0), Site { line: 1, column: 1, ..whole_text(&expr.text) }),
        };
        let way = if compiled {
            let lowered = subset::lower(ast.statements(), expr.kind, &facts, vars, &source);
            let lowered = lowered.map_err(|outside| wrong(format!("{} cannot be compiled", outside.reason)))?;
            Way::Compiled(number(lowered, expr, layout).ok_or_else(|| wrong("a field has no number".into()))?)
        } else {
            Way::Scripted(Scripted::new(&source, &facts, &expr.bindings, vars, layout).map_err(wrong)?)
        };
        let written: Vec<FieldId> = match &way {
            Way::Compiled(compiled) => compiled.written.iter().map(|w| w.field).collect(),
            Way::Scripted(scripted) => scripted.written.iter().map(|w| w.field).collect(),
        };
        let overlaps = written.iter().map(|field| Overlaps::of(*field, layout)).collect();
        let (tops, whole) = if expr.whole_event { tops(expr, layout) } else { (Vec::new(), None) };
        let inner = Inner {
            origin: expr.origin.clone(),
            sites: facts.sites,
            root,
            way,
            path: expr.as_path(),
            overlaps,
            tops,
            whole,
        };
        Ok(Program { inner: Arc::new(inner), condition: false })
    }

    /// The same as a condition: a value that is neither a bool nor null is an error of its row.
    #[must_use]
    pub fn as_condition(self) -> Program {
        Program { condition: true, ..self }
    }

    /// The field, if the expression is nothing but one: its column can be shared instead of computed.
    pub fn column_of(&self) -> Option<FieldId> {
        self.inner.path.filter(|_| !self.condition)
    }

    /// Adds one cell a row: the value, [`Cell::Missing`] where it is `()` or has no value because of an error.
    pub fn evaluate(&self, batch: &Batch, scratch: &mut Scratch, out: &mut ColumnBuilder, errors: &mut Vec<RowError>) {
        if let Way::Compiled(compiled) = &self.inner.way
            && let Node::Vector(0) = compiled.root
            && !self.condition
        {
            self.evaluate_numbers(compiled, batch, scratch, out, errors);
            return;
        }
        let inner = &*self.inner;
        self.each(batch, scratch, |row, result| {
            let fits = result.and_then(|value| match value {
                Val::Unit | Val::Bool(_) => Ok(value),
                _ if self.condition => Err(Stop::fault(&inner.sites, inner.root, &Fault::NotBool(value.kind()))),
                _ => Ok(value),
            });
            match fits {
                Ok(Val::Unit) => out.push_cell(Cell::Missing),
                Ok(value) => out.push(value),
                Err(stop) => {
                    out.push_cell(Cell::Missing);
                    self.report(row, stop, errors);
                }
            }
        });
    }

    /// The same for arithmetic that was computed for the whole batch.
    fn evaluate_numbers(
        &self,
        compiled: &Compiled,
        batch: &Batch,
        scratch: &mut Scratch,
        out: &mut ColumnBuilder,
        errors: &mut Vec<RowError>,
    ) {
        let columns = compiled.bind(batch, &mut scratch.numbers);
        for row in 0..batch.rows {
            let number = scratch.numbers.first().and_then(|n| n.get(row)).copied().unwrap_or(Number::Slow);
            match number {
                Number::Int(i) => out.push_cell(Cell::Int(i)),
                Number::Float(f) => out.push_cell(Cell::Float(f)),
                Number::Slow => {
                    let cx = compiled.context(&columns, row, &scratch.arena, &scratch.numbers, &self.inner.sites);
                    match compiled.root.eval(&cx, &mut []) {
                        Ok(value) => out.push(value),
                        Err(stop) => {
                            out.push_cell(Cell::Missing);
                            self.report(row, stop, errors);
                        }
                    }
                    scratch.empty_arena(row);
                }
            }
        }
    }

    /// Adds to `keep` the rows for which the condition is true. A value that is no bool is an error of its row.
    pub fn test(&self, batch: &Batch, scratch: &mut Scratch, keep: &mut Vec<u32>, errors: &mut Vec<RowError>) {
        let inner = &*self.inner;
        if let Way::Compiled(compiled) = &inner.way
            && compiled.slots == 0
        {
            scratch.arena.reset();
            let columns = compiled.bind(batch, &mut scratch.numbers);
            let mut cx = compiled.context(&columns, 0, &scratch.arena, &scratch.numbers, &inner.sites);
            let from = errors.len();
            select(&compiled.root, inner.root, &mut cx, batch.rows, keep, |row, stop| self.report(row, stop, errors));
            if let Some(new) = errors.get_mut(from..) {
                new.sort_by_key(|e| e.row);
            }
            return;
        }
        self.each(batch, scratch, |row, result| {
            let test = result
                .and_then(|value| ops::truth(value).map_err(|fault| Stop::fault(&inner.sites, inner.root, &fault)));
            match test {
                Ok(true) => keep.push(as_row(row)),
                Ok(false) => {}
                Err(stop) => self.report(row, stop, errors),
            }
        });
    }

    /// Evaluates every row and hands on what comes of it.
    fn each(&self, batch: &Batch, scratch: &mut Scratch, mut take: impl FnMut(usize, Result<Val<'_>, Stop>)) {
        let inner = &*self.inner;
        match &inner.way {
            Way::Compiled(compiled) => {
                let columns = compiled.bind(batch, &mut scratch.numbers);
                for rows in row_groups(batch.rows) {
                    scratch.empty_arena(rows.start);
                    // An expression sets each local before it reads it, so that rows can share their slots.
                    let slots = compiled.frame(&scratch.arena);
                    for row in rows {
                        let cx = compiled.context(&columns, row, &scratch.arena, &scratch.numbers, &inner.sites);
                        take(row, compiled.root.eval(&cx, slots));
                    }
                }
            }
            Way::Scripted(scripted) => {
                for row in 0..batch.rows {
                    let event = self.event(scripted, batch, row, scratch);
                    let (result, _) = scripted.run(batch, row, &mut scratch.scope, event.as_ref(), None, &inner.sites);
                    let value = result.and_then(|value| {
                        scripted.value(&value, batch, row).map_err(|kind| {
                            Stop::fault(&inner.sites, inner.root, &Fault::Other(format!("the result is {kind}")))
                        })
                    });
                    match value {
                        Ok(value) => take(row, Ok(value.as_val())),
                        Err(stop) => take(row, Err(stop)),
                    }
                }
            }
        }
    }

    /// The whole event of a row, where it is used.
    pub(super) fn event(&self, scripted: &Scripted, batch: &Batch, row: usize, scratch: &Scratch) -> Option<Value> {
        if !scripted.event {
            return None;
        }
        Some(scratch.event_of.as_ref().map_or(Value::Null, |event_of| event_of(batch, row)))
    }

    /// Adds an error for a row that stopped.
    pub(super) fn report(&self, row: usize, stop: Stop, errors: &mut Vec<RowError>) {
        let failure = match stop {
            Stop::Fault(failure) => *failure,
            Stop::Drop | Stop::Done => {
                Failure { reason: "the expression ended without a value".into(), line: 0, column: 0 }
            }
        };
        let origin = &self.inner.origin;
        let span = if failure.line == 0 { origin.span.clone() } else { origin.at(failure.line, failure.column, 1) };
        errors.push(RowError { row: as_row(row), reason: failure.reason, place: span.place() });
    }
}

/// A row's number as lists of rows hold it.
pub(super) fn as_row(row: usize) -> u32 {
    crate::data::column::as_u32(row)
}

fn whole_text(text: &str) -> Site {
    let text = super::spell::cut(text.trim().to_string());
    Site { operands: vec![super::fault::Operand { text: text.clone(), field: false }], text, line: 1, column: 1 }
}

/// Gives the fields of a compiled tree their numbers.
fn number(lowered: subset::Compiled, expr: &Expr, layout: &Layout) -> Option<Compiled> {
    let id = |path: &crate::data::layout::FieldPath| match path.root {
        Root::Computed => {
            let bound = expr.bindings.iter().find(|(name, _)| bound_path(name) == *path).map(|(_, field)| *field);
            bound.or_else(|| layout.find(path))
        }
        _ => layout.find(path),
    };
    let columns = lowered.columns.iter().map(id).collect::<Option<Vec<_>>>()?;
    let written = lowered
        .written
        .iter()
        .map(|(path, slot, read)| Some(CompiledWrite { field: id(path)?, slot: *slot, read: *read }))
        .collect::<Option<Vec<_>>>()?;
    let straight = straight(&lowered.root, written.len());
    Some(Compiled { straight, root: lowered.root, columns, vectors: lowered.vectors, written, slots: lowered.slots })
}

/// The assignments of a script that has nothing else, each field assigned once, by numbers of field and arithmetic.
fn straight(root: &Node, written: usize) -> Option<Vec<(usize, usize)>> {
    let one = |node: &Node| match node {
        Node::Set { slot, value } if *slot < written => match **value {
            Node::Vector(index) => Some((*slot, index)),
            _ => None,
        },
        _ => None,
    };
    let all: Vec<(usize, usize)> = match root {
        Node::Block(statements) => statements.iter().map(one).collect::<Option<_>>()?,
        single => vec![one(single)?],
    };
    let once = |slot: usize| all.iter().filter(|(s, _)| *s == slot).count() == 1;
    (0..written).all(once).then_some(all)
}

type Tops = (Vec<(compact_str::CompactString, FieldId, Overlaps)>, Option<FieldId>);

/// Every top-level field that has a number, and the event as a whole.
fn tops(expr: &Expr, layout: &Layout) -> Tops {
    let whole = layout.find(&crate::data::layout::FieldPath { root: Root::Event, names: Vec::new() });
    let fields = layout.iter().filter_map(|(id, path)| match path.names.as_slice() {
        [name] if path.root == Root::Event => Some((name.clone(), id, Overlaps::of(id, layout))),
        _ => None,
    });
    (fields.collect(), whole.filter(|id| expr.writes.contains(id)))
}

impl Compiled {
    /// The batch's columns by the tree's numbers; its arithmetic is computed into `numbers`.
    pub(super) fn bind<'b>(&self, batch: &'b Batch, numbers: &mut Vec<Vec<Number>>) -> Vec<Bound<'b>> {
        let columns: Vec<Bound<'b>> = self.columns.iter().map(|field| Bound::new(batch.column(*field))).collect();
        if numbers.len() < self.vectors.len() {
            numbers.resize_with(self.vectors.len(), Vec::new);
        }
        for (node, out) in self.vectors.iter().zip(numbers) {
            compute(node, &columns, batch.rows, out);
        }
        columns
    }

    /// What a row is evaluated against.
    #[inline]
    pub(super) fn context<'r>(
        &'r self,
        columns: &'r [Bound<'r>],
        row: usize,
        arena: &'r Bump,
        numbers: &'r [Vec<Number>],
        sites: &'r Sites,
    ) -> Context<'r> {
        Context { columns, vectors: &self.vectors, numbers, row, arena, sites }
    }

    /// Slots for a row.
    #[inline]
    pub(super) fn frame<'r>(&self, arena: &'r Bump) -> &'r mut [Slot<'r>] {
        if self.slots == 0 {
            return &mut [];
        }
        arena.alloc_slice_fill_copy(self.slots, Slot { value: Val::Unit, mark: Mark::Untouched })
    }
}
