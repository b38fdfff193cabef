//! An expression that runs in Rhai: its text with every field made a variable, and what goes into scope and comes back.

use compact_str::CompactString;
use rhai::{AST, Dynamic, EvalAltResult, Position, Scope};

use super::dynamic::{self, Null, Untouched};
use super::facts::Facts;
use super::fault::{Failure, Fault, Role, Sites, Stop};
use super::host::{self, Dropped, ENGINE, Effects};
use super::known;
use super::refusal;
use super::source::{Places, Rewriting, Source};
use super::walk::bound_path;
use crate::data::batch::Batch;
use crate::data::column::Cell;
use crate::data::layout::{FieldId, FieldPath, Layout, Root};
use crate::data::value::{Val, Value};

/// An expression ready to run in Rhai.
#[derive(Debug)]
pub(super) struct Scripted {
    ast: AST,
    places: Places,
    variables: Vec<(CompactString, Tree)>,
    vars: Option<Dynamic>,
    /// Fields that it writes, unless it uses `event` as a whole.
    pub written: Vec<Written>,
    /// Whether `event` as a whole is in scope.
    pub event: bool,
    /// Whether `state` is.
    pub state: bool,
}

/// A field that a script writes.
#[derive(Debug)]
pub(super) struct Written {
    pub field: FieldId,
    pub read: bool,
    variable: CompactString,
    members: Vec<CompactString>,
    of: FieldPath,
}

impl Written {
    /// The field as messages call it.
    pub(super) fn path(&self) -> String {
        self.of.to_string()
    }
}

/// What a variable is made of.
#[derive(Debug)]
enum Tree {
    /// A field's value.
    Field { field: FieldId, written: bool },
    /// A field that is only written: nothing, until it is.
    Untouched,
    /// A map of those members that the expression names.
    Map(Vec<(CompactString, Tree)>),
}

impl Tree {
    /// Puts a leaf in at a path.
    fn put(&mut self, names: &[CompactString], leaf: Tree) {
        let Some((first, rest)) = names.split_first() else {
            *self = leaf;
            return;
        };
        if !matches!(self, Tree::Map(_)) {
            // A shorter path that is read whole has all that a longer one has.
            if matches!(self, Tree::Field { .. }) {
                return;
            }
            *self = Tree::Map(Vec::new());
        }
        let Tree::Map(members) = self else { return };
        if let Some((_, member)) = members.iter_mut().find(|(n, _)| n == first) {
            member.put(rest, leaf);
        } else {
            let mut member = Tree::Map(Vec::new());
            member.put(rest, leaf);
            members.push((first.clone(), member));
        }
    }

    /// The variable's value in a row; `None` for a member that is missing.
    fn value(&self, batch: &Batch, row: usize) -> Option<Dynamic> {
        match self {
            Tree::Untouched => None,
            Tree::Field { field, written } => {
                let column = batch.column(*field)?;
                match column.cells.get(row)? {
                    Cell::Missing => None,
                    Cell::Null if *written => Some(Dynamic::from(Null)),
                    cell => Some(dynamic::from_val(column.val(*cell))),
                }
            }
            Tree::Map(members) => {
                let present = members.iter().filter_map(|(name, tree)| Some((name.clone(), tree.value(batch, row)?)));
                Some(Dynamic::from_map(present.collect()))
            }
        }
    }
}

impl Tree {
    /// The value of a field of this variable that is the same, its members in the order they came in.
    fn original(&self, batch: &Batch, row: usize, value: &Value) -> Option<Value> {
        match self {
            Tree::Untouched => None,
            Tree::Field { field, .. } => match batch.get(*field, row) {
                Val::Big(old) if dynamic::same(Val::Big(old), value) => Some(old.clone()),
                _ => None,
            },
            Tree::Map(members) => members.iter().find_map(|(_, tree)| tree.original(batch, row, value)),
        }
    }
}

/// What a written field came to.
pub(super) enum Outcome {
    /// Not written, or written as it was.
    Untouched,
    /// Removed.
    Removed,
    /// Has this value.
    Value(Value),
}

impl Scripted {
    /// Prepares an expression that was analysed.
    pub(super) fn new(
        source: &Source<'_>,
        facts: &Facts,
        bindings: &[(String, FieldId)],
        vars: &[(String, Value)],
        layout: &Layout,
    ) -> Result<Scripted, String> {
        let names = Names::new(source, facts, bindings);
        let (text, places) = names.rewriting(source, facts).apply(source);
        let ast = ENGINE.compile(&text).map_err(|e| format!("it cannot be prepared to run: {e}"))?;
        let event = facts.whole.is_some();
        let mut fields = facts.fields();
        // A path that is read whole comes before those inside it.
        fields.sort_by_key(|(path, ..)| path.names.len());
        let (mut variables, mut written): (Vec<(CompactString, Tree)>, Vec<Written>) = Default::default();
        for (path, read, write) in fields {
            if event && path.root == Root::Event {
                continue;
            }
            let field = match path.root {
                Root::Computed => {
                    let bound = bindings.iter().find(|(name, _)| bound_path(name) == path).map(|(_, field)| *field);
                    bound.or_else(|| layout.find(&path))
                }
                _ => layout.find(&path),
            };
            let Some(field) = field else { continue };
            let (variable, members) = names.variable(&path);
            let leaf = if read { Tree::Field { field, written: write } } else { Tree::Untouched };
            let at = variables.iter().position(|(n, _)| *n == variable).unwrap_or_else(|| {
                variables.push((variable.clone(), Tree::Map(Vec::new())));
                variables.len() - 1
            });
            if let Some((_, tree)) = variables.get_mut(at) {
                tree.put(&members, leaf);
            }
            if write {
                written.push(Written { field, read, variable, members, of: path });
            }
        }
        written.sort_by_key(|w: &Written| facts.first_write(&w.of));
        let vars = facts.vars.then(|| {
            Dynamic::from_map(vars.iter().map(|(name, v)| (name.into(), dynamic::from_value(v))).collect())
                .into_read_only()
        });
        Ok(Scripted { ast, places, variables, vars, written, event, state: facts.state })
    }

    /// Runs it for one row. The scope is left as the script left it, for [`Scripted::outcome`].
    pub(super) fn run(
        &self,
        batch: &Batch,
        row: usize,
        scope: &mut Scope<'static>,
        event: Option<&Value>,
        state: Option<&Value>,
        sites: &Sites,
    ) -> (Result<Dynamic, Stop>, Effects) {
        scope.clear();
        for (name, tree) in &self.variables {
            let value = match tree {
                Tree::Untouched => Dynamic::from(Untouched),
                tree => tree.value(batch, row).unwrap_or(Dynamic::UNIT),
            };
            scope.push_dynamic(name.clone(), value);
        }
        if let Some(vars) = &self.vars {
            scope.push_dynamic("vars", vars.clone());
        }
        if let Some(event) = event {
            scope.push_dynamic("event", dynamic::from_value(event));
        }
        if let Some(state) = state {
            scope.push_dynamic("state", dynamic::from_value(state));
        }
        // Rhai panics where its tree is one it did not expect; that must stay an error of this event.
        let eval = std::panic::AssertUnwindSafe(|| ENGINE.eval_ast_with_scope::<Dynamic>(scope, &self.ast));
        let result = std::panic::catch_unwind(eval).unwrap_or_else(|_| {
            Err(host::raise(Fault::Other("the script broke the engine that runs it; please report it as a bug".into())))
        });
        let mut effects = host::take_effects();
        if let Some((fault, at)) = effects.pending.take() {
            return (Err(self.stop(sites, &fault, at)), effects);
        }
        (result.map_err(|error| self.translate(sites, *error)), effects)
    }

    /// What a written field came to; the error says what cannot be in an event.
    pub(super) fn outcome(
        &self,
        written: &Written,
        batch: &Batch,
        row: usize,
        scope: &Scope<'_>,
    ) -> Result<Outcome, &'static str> {
        let Some(root) = scope.get(&written.variable) else { return Ok(Outcome::Untouched) };
        let root = root.flatten_clone();
        let Some(value) = at_path(root, &written.members) else {
            // Absent: never there, or taken out of its map.
            let had = written.read && batch.column(written.field).is_some_and(|c| !c.is_missing(row));
            return Ok(if had { Outcome::Removed } else { Outcome::Untouched });
        };
        if value.is::<Untouched>() {
            return Ok(Outcome::Untouched);
        }
        let column = batch.column(written.field);
        let before = if written.read { column.and_then(|c| c.cells.get(row)).copied() } else { None };
        if value.is_unit() {
            let missing = written.read && before.is_none_or(|c| c == Cell::Missing);
            return Ok(if missing { Outcome::Untouched } else { Outcome::Removed });
        }
        let after = self.value(&value, batch, row)?;
        match (before, column) {
            (Some(Cell::Null), _) if value.is::<Null>() => Ok(Outcome::Untouched),
            (Some(cell), Some(column)) if !matches!(cell, Cell::Missing | Cell::Null) => {
                let old = column.val(cell);
                if dynamic::same(old, &after) {
                    return Ok(Outcome::Untouched);
                }
                Ok(Outcome::Value(match old {
                    Val::Big(old) => dynamic::in_old_order(old, after),
                    _ => after,
                }))
            }
            _ => Ok(Outcome::Value(after)),
        }
    }

    /// A result as a value of ours. Rhai keeps members by name; a list or map that a field has as well, untouched, is
    /// the field's. The error says what cannot be in an event.
    pub(super) fn value(&self, value: &Dynamic, batch: &Batch, row: usize) -> Result<Value, &'static str> {
        let value = dynamic::to_value(value)?;
        if !matches!(value, Value::List(_) | Value::Map(_)) {
            return Ok(value);
        }
        let original = self.variables.iter().find_map(|(_, tree)| tree.original(batch, row, &value));
        Ok(original.unwrap_or(value))
    }

    /// The place in the original text.
    fn place(&self, at: Position) -> (usize, usize) {
        match (at.line(), at.position()) {
            (Some(line), column) => self.places.original(line, column.unwrap_or(1)),
            _ => (0, 0),
        }
    }

    fn stop(&self, sites: &Sites, fault: &Fault, at: Position) -> Stop {
        let (line, column) = self.place(at);
        let role = if matches!(fault, Fault::NotBool(_)) { Role::Truth } else { Role::Operation };
        let found = sites.find(role, line, column).or_else(|| sites.find(Role::Operation, line, column));
        match found {
            Some(site) => Stop::fault(sites, site, fault),
            None => {
                let reason = super::fault::Site::default().words(fault);
                Stop::Fault(Box::new(Failure { reason, line, column }))
            }
        }
    }

    /// Rhai's error in our words.
    fn translate(&self, sites: &Sites, error: EvalAltResult) -> Stop {
        let at = error.position();
        match error {
            EvalAltResult::ErrorTerminated(token, _) if token.is::<Dropped>() => Stop::Drop,
            EvalAltResult::Exit(..) => Stop::Done,
            EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => self.translate(sites, *inner),
            EvalAltResult::ErrorRuntime(token, at) if token.is::<std::sync::Arc<Fault>>() => {
                let fault = token.cast::<std::sync::Arc<Fault>>();
                self.stop(sites, &fault, at)
            }
            other => self.stop(sites, &refusal::fault(&other), at),
        }
    }
}

/// The member at a path; `None` if there is none.
fn at_path(value: Dynamic, names: &[CompactString]) -> Option<Dynamic> {
    names.iter().try_fold(value, |value, name| {
        let map = value.as_map_ref().ok()?;
        map.get(name).map(Dynamic::flatten_clone)
    })
}

/// Under which name each top-level field is in scope.
struct Names<'a> {
    mangled: Vec<(&'a str, CompactString)>,
    bound: Vec<(String, CompactString)>,
    whole: bool,
}

impl<'a> Names<'a> {
    fn new(source: &Source<'_>, facts: &'a Facts, bindings: &[(String, FieldId)]) -> Self {
        let mut mangled: Vec<(&str, CompactString)> = Vec::new();
        let fresh = |stem: &str, n: usize| {
            let mut name = format!("{stem}{n}_");
            while source.text.contains(&name) {
                name.push('_');
            }
            CompactString::from(name)
        };
        for root in facts.roots.iter().filter(|r| r.through_event) {
            let Some(field) = root.field.as_deref() else { continue };
            let plain = !field.is_empty()
                && field.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
                && !field.as_bytes().first().is_some_and(u8::is_ascii_digit)
                && !known::is_reserved(field)
                && !["event", "meta", "state", "vars"].contains(&field)
                && !facts.named.iter().any(|named| named == field)
                && !facts.locals.iter().any(|(local, _)| local == field);
            if !plain && !mangled.iter().any(|(n, _)| *n == field) {
                mangled.push((field, fresh("field_", mangled.len())));
            }
        }
        let bound = bindings.iter().enumerate().map(|(i, (text, _))| (text.clone(), fresh("result_", i))).collect();
        Names { mangled, bound, whole: facts.whole.is_some() }
    }

    fn of(&self, field: &str) -> CompactString {
        self.mangled.iter().find(|(n, _)| *n == field).map_or_else(|| field.into(), |(_, name)| name.clone())
    }

    /// The variable that a path begins at, and the members from there.
    fn variable(&self, path: &FieldPath) -> (CompactString, Vec<CompactString>) {
        match (path.root, path.names.split_first()) {
            (Root::Meta, _) => ("meta".into(), path.names.clone()),
            (Root::Computed, Some((first, rest))) if first.starts_with(' ') => {
                (first.trim_start().into(), rest.to_vec())
            }
            (Root::Computed, Some((text, _))) => {
                let name = self.bound.iter().find(|(n, _)| n == text.as_str()).map(|(_, name)| name.clone());
                (name.unwrap_or_default(), Vec::new())
            }
            (_, Some((first, rest))) => (self.of(first), rest.to_vec()),
            (_, None) => ("event".into(), Vec::new()),
        }
    }

    fn rewriting(&self, source: &Source<'_>, facts: &Facts) -> Rewriting {
        let mut rewriting = Rewriting::default();
        let mut done = std::collections::BTreeSet::new();
        for root in &facts.roots {
            let Some(start) = source.offset(root.at.0, root.at.1) else { continue };
            // A name that a closure captures is met once for each time it is walked.
            let (Some(field), true) = (root.field.as_deref(), done.insert(start)) else { continue };
            match (self.whole, root.through_event) {
                (true, true) => {}
                (true, false) => rewriting.replace(start..start + field.len(), format!("event.{field}")),
                (false, true) => {
                    if let Some(end) = source.first_member(start) {
                        rewriting.replace(start..end, self.of(field));
                    }
                }
                (false, false) => {
                    let name = self.of(field);
                    if name != field {
                        rewriting.replace(start..start + field.len(), name);
                    }
                }
            }
        }
        for (range, index) in &facts.bound {
            if let Some((_, name)) = self.bound.get(*index) {
                rewriting.replace(range.clone(), name.clone());
            }
        }
        // The value is computed before its place is looked for, and so are the maps made: `a.b.c = () ?? value`.
        for deep in &facts.deepened {
            let (on, first) = match &deep.field {
                None => (deep.local.clone(), None),
                Some(field) if self.whole => ("event".to_string(), Some(field)),
                Some(field) => (self.of(field).to_string(), None),
            };
            let members: Vec<&str> = first.into_iter().chain(&deep.members).map(String::as_str).collect();
            let quoted = members.join("\u{1f}").replace('\\', "\\\\").replace('"', "\\\"").replace('\u{1f}', "\\x1f");
            rewriting.replace(deep.after..deep.after, format!(" {on}.deepen_(\"{quoted}\") ?? "));
        }
        for (at, name) in &facts.caught {
            rewriting.replace(*at..*at, format!(" {name} = caught_({name});"));
        }
        // A field alone is null as such only where the script writes it.
        let written = |name: &String| facts.first_write(&FieldPath::event([name])) != usize::MAX || self.whole;
        let copied =
            facts.copied.iter().filter(|(_, field)| field.as_ref().is_none_or(written)).map(|(range, _)| range);
        let ranges: std::collections::BTreeSet<_> =
            facts.coalesced.iter().chain(copied).map(|range| (range.start, range.end)).collect();
        for (start, end) in ranges {
            rewriting.replace(start..start, "un_null_(");
            rewriting.replace(end..end, ")");
        }
        rewriting
    }
}
