//! Statements over types: what a script leaves of the rows.

use rhai::{Expr as Tree, Stmt};

use super::known::Known;
use super::read::Reader;
use super::{Kinds, Type};
use crate::data::layout::{FieldPath, Root};
use crate::expr::built_in;
use crate::expr::syntax::{Segment, chain};

/// A field that is assigned.
pub(super) struct Write {
    path: FieldPath,
    of: Type,
    /// Whether it is, whatever the event.
    surely: bool,
}

impl Reader<'_> {
    /// Statements in a row; the last one's value.
    pub(super) fn statements(&mut self, list: &[Stmt]) -> Known {
        let mut last: Known = Kinds::MISSING.into();
        let (outer, many) = (self.perhaps, list.len() > 1);
        for statement in list {
            last = self.statement(statement);
            // What stands after a statement that may end the script may not run; it may do so anywhere inside.
            if self.source.text.contains("return") {
                self.perhaps += 1;
            }
        }
        self.perhaps = outer;
        // A semicolon at the end may make it null.
        if many { Known { of: last.of.or_missing(), ..last } } else { last }
    }

    /// A block with locals of its own.
    pub(super) fn block(&mut self, list: &[Stmt]) -> Known {
        self.scopes.push(Vec::new());
        let value = self.statements(list);
        self.scopes.pop();
        Known { of: value.of.or_missing(), ..value }
    }

    fn perhaps(&mut self, list: &[Stmt]) -> Known {
        self.perhaps += 1;
        let value = self.block(list);
        self.perhaps -= 1;
        value
    }

    fn statement(&mut self, statement: &Stmt) -> Known {
        match statement {
            Stmt::Expr(expr) => return self.expr(expr),
            Stmt::FnCall(call, at) => return self.call(call, *at),
            Stmt::Block(block) => return self.block(block.statements()),
            Stmt::If(flow, _) => {
                self.condition(&flow.expr);
                let taken = self.perhaps(flow.body.statements());
                let other = self.perhaps(flow.branch.statements());
                return taken.or(&other);
            }
            Stmt::Var(definition, ..) => {
                self.value_needed(&definition.1);
                let of = self.expr(&definition.1).of;
                self.declare(definition.0.as_str(), of);
            }
            Stmt::Assignment(assignment) => {
                let (operator, sides) = &**assignment;
                self.value_needed(&sides.rhs);
                let value = self.expr(&sides.rhs).of;
                self.assign(&sides.lhs, if operator.is_op_assignment() { Type::any() } else { value });
            }
            Stmt::While(flow, _) | Stmt::Do(flow, ..) => {
                if !matches!(flow.expr, Tree::Unit(_) | Tree::BoolConstant(..)) {
                    self.condition(&flow.expr);
                }
                self.perhaps(flow.body.statements());
            }
            Stmt::For(parts, _) => {
                let (item, counter, flow) = &**parts;
                self.expr(&flow.expr);
                self.scopes.push(Vec::new());
                self.declare(item.as_str(), Type::any());
                if let Some(counter) = counter {
                    self.declare(counter.as_str(), Type::of(Kinds::NUMBER));
                }
                self.perhaps(flow.body.statements());
                self.scopes.pop();
            }
            Stmt::Switch(parts, _) => {
                self.expr(&parts.0);
                self.perhaps += 1;
                for case in &parts.1.expressions {
                    self.expr(&case.lhs);
                    self.expr(&case.rhs);
                }
                self.perhaps -= 1;
            }
            Stmt::TryCatch(flow, _) => {
                self.perhaps(flow.body.statements());
                self.scopes.push(Vec::new());
                if let Tree::Variable(v, ..) = &flow.expr {
                    self.declare(&v.1, Type::any());
                }
                self.perhaps(flow.branch.statements());
                self.scopes.pop();
            }
            Stmt::BreakLoop(Some(value), ..) | Stmt::Return(Some(value), ..) => {
                self.expr(value);
            }
            _ => {}
        }
        Known::nothing()
    }

    /// Warns of a method that changes a list or map and gives nothing, where a value is taken of it.
    fn value_needed(&mut self, expr: &Tree) {
        let taken = chain(expr);
        let (call, at) = match (taken.root, taken.segments.last()) {
            (Tree::FnCall(call, at), None) => (&**call, *at),
            (_, Some(Segment::Method(call, at))) => (*call, *at),
            _ => return,
        };
        let name = call.name.as_str();
        let own = crate::expr::functions::find(name).is_some() || self.ast.iter_functions().any(|f| f.name == name);
        if !own && built_in::find(name).is_some_and(|b| !b.gives) {
            let words =
                format!("`{name}` changes what it is called on and gives nothing, so there is nothing to assign");
            let help = format!("call it as a statement of its own, `items.{name}(…);`, and use `items` after it");
            self.warning("no-value", crate::expr::syntax::place(at), name.len(), words, Some(help));
        }
    }

    fn condition(&mut self, expr: &Tree) {
        let before = self.found.len();
        let known = self.expr(expr);
        if self.found.len() == before {
            self.bool_needed(expr, &known);
        }
    }

    /// Notes what a field is given. What stands in the target's brackets is read.
    fn assign(&mut self, target: &Tree, of: Type) {
        let taken = chain(target);
        for segment in &taken.segments {
            if let Segment::Index(index) = segment {
                self.expr(index);
            }
        }
        let Tree::Variable(v, ..) = taken.root else { return };
        let name = v.1.as_str();
        let names = taken.names();
        let local = self.scopes.iter().flatten().any(|(n, _)| n == name);
        // What goes on beyond constant names is told by `facts` as a change.
        if local || matches!(name, "state" | "meta" | "vars") || names.len() != taken.segments.len() {
            return;
        }
        let path = match name {
            "event" => FieldPath::event(names),
            _ => FieldPath::event(std::iter::once(name).chain(names)),
        };
        self.writes.push(Write { path, of, surely: self.perhaps == 0 });
    }

    /// Whether the script's own row is discarded whatever it is.
    pub(super) fn drops_surely(&self) -> bool {
        let drops = |statement: &Stmt| match statement {
            Stmt::FnCall(call, _) => call.name == "drop",
            Stmt::Expr(expr) => matches!(&**expr, Tree::FnCall(call, _) if call.name == "drop"),
            _ => false,
        };
        !self.source.text.contains("return") && self.ast.statements().iter().any(drops)
    }

    /// The rows after the script.
    pub(super) fn row_after(&self) -> Type {
        if self.facts.whole_written {
            return Type::any();
        }
        let mut row = self.given.row.clone();
        for (path, _, write) in self.facts.fields() {
            if !write || path.root != Root::Event {
                continue;
            }
            let mine = |p: &FieldPath| *p == path || p.overlaps(&path);
            let accesses = self.facts.accesses.iter().filter(|a| a.write && mine(&a.path));
            let writes: Vec<&Write> = self.writes.iter().filter(|w| mine(&w.path)).collect();
            // Every change is an assignment of the whole field that was seen.
            let seen = accesses.count() == writes.len() && writes.iter().all(|w| w.path == path);
            let of = match writes.split_first() {
                Some((first, rest)) if seen => rest.iter().fold(first.of.clone(), |of, w| of.or(&w.of)),
                _ => Type::any(),
            };
            // Taking out a member of what is no map leaves that as it was.
            let stays = path.names.len() > 1 && of.kinds.meet(Kinds::MISSING);
            let mut after = row.clone();
            after.set(&path.names, of);
            let surely = seen && !stays && writes.iter().any(|w| w.surely);
            row = if surely { after } else { row.or(&after) };
        }
        row
    }
}
