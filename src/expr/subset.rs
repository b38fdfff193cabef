//! From Rhai's syntax tree to [`Node`]: the part of the language that needs no Rhai. What lies outside is named, with
//! its place.

use rhai::{Expr, FnCallExpr, Position, Stmt};

use super::Kind;
use super::facts::Facts;
use super::fault::Role;
use super::node::{Literal, Node};
use super::ops::Op;
use super::source::Source;
use super::syntax::{Segment, chain, place};
use super::walk::{bound_path, named_path};
use super::{functions, numbers};
use crate::data::layout::{FieldPath, Root};
use crate::data::value::Value;

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Compiled {
    /// What is evaluated.
    pub root: Node,
    /// Fields that it reads as columns, in the order of their numbers.
    pub columns: Vec<FieldPath>,
    /// Arithmetic of fields and constants alone, in the order of its numbers.
    pub vectors: Vec<Node>,
    /// Fields that it writes, each with its slot, and whether it is also read.
    pub written: Vec<(FieldPath, usize, bool)>,
    /// How many slots a row needs.
    pub slots: usize,
}

/// The first construct outside the subset.
#[derive(Debug)]
pub(super) struct Outside {
    /// "a loop".
    pub reason: String,
    /// Line and column.
    pub at: (usize, usize),
}

type Lowered = Result<Node, Outside>;

fn outside<T>(reason: impl Into<String>, at: Position) -> Result<T, Outside> {
    Err(Outside { reason: reason.into(), at: place(at) })
}

/// Turns statements into a node, with what is known of them.
pub(super) fn lower(
    statements: &[Stmt],
    kind: Kind,
    facts: &Facts,
    vars: &[(String, Value)],
    source: &Source<'_>,
) -> Result<Compiled, Outside> {
    let from = |reason: &str, at| Err(Outside { reason: reason.into(), at });
    if let Some(at) = facts.whole {
        return from("`event` as a whole", at);
    }
    if facts.state {
        return from("`state`", (1, 1));
    }
    let mut fields = facts.fields();
    fields.sort_by_key(|(path, ..)| facts.first_write(path));
    if facts.mixes_parts() {
        return from("a field written both whole and in part", (1, 1));
    }
    let mut written = Vec::new();
    for (path, read, write) in fields {
        if write {
            written.push((path, written.len(), read));
        }
    }
    let slots = written.len();
    let mut lower = Lower {
        facts,
        vars,
        source,
        kind,
        columns: Vec::new(),
        vectors: Vec::new(),
        written,
        assigned: vec![false; slots],
        target: false,
        slots,
        scopes: vec![Vec::new()],
    };
    let root = lower.statements(statements)?;
    Ok(Compiled { root, columns: lower.columns, vectors: lower.vectors, written: lower.written, slots: lower.slots })
}

struct Lower<'a> {
    facts: &'a Facts,
    vars: &'a [(String, Value)],
    source: &'a Source<'a>,
    kind: Kind,
    columns: Vec<FieldPath>,
    vectors: Vec<Node>,
    written: Vec<(FieldPath, usize, bool)>,
    /// For each written field whether an assignment stands before what is being lowered.
    assigned: Vec<bool>,
    /// Whether the target of an assignment is being lowered.
    target: bool,
    slots: usize,
    scopes: Vec<Vec<(String, usize)>>,
}

impl Lower<'_> {
    fn statements(&mut self, list: &[Stmt]) -> Lowered {
        match list {
            [one] => self.statement(one),
            many => many.iter().map(|s| self.statement(s)).collect::<Result<_, _>>().map(Node::Block),
        }
    }

    fn block(&mut self, list: &[Stmt]) -> Lowered {
        self.scopes.push(Vec::new());
        let node = self.statements(list);
        self.scopes.pop();
        node
    }

    fn statement(&mut self, statement: &Stmt) -> Lowered {
        match statement {
            Stmt::Noop(_) => Ok(Node::Literal(Literal::Unit)),
            Stmt::Expr(expr) => self.expr(expr),
            Stmt::FnCall(call, at) => self.call(call, *at),
            Stmt::Block(block) => self.block(block.statements()),
            Stmt::Var(definition, ..) => {
                let value = Box::new(self.expr(&definition.1)?);
                let slot = self.slots;
                self.slots += 1;
                if let Some(scope) = self.scopes.last_mut() {
                    scope.push((definition.0.as_str().to_string(), slot));
                }
                Ok(Node::Set { slot, value })
            }
            Stmt::If(flow, _) => {
                let site = self.site(Role::Truth, flow.expr.position());
                let condition = Box::new(self.expr(&flow.expr)?);
                let branches = (self.block(flow.body.statements())?, self.block(flow.branch.statements())?);
                Ok(Node::If { condition, site, branches: Box::new(branches) })
            }
            Stmt::Assignment(assignment) => {
                let (operator, sides) = &**assignment;
                self.assignment(operator, &sides.lhs, &sides.rhs)
            }
            Stmt::Return(None, flags, at) if !flags.contains(rhai::ASTFlags::BREAK) => {
                if self.kind == Kind::Script {
                    Ok(Node::Return)
                } else {
                    outside("`return`", *at)
                }
            }
            Stmt::While(_, at) | Stmt::Do(_, _, at) | Stmt::For(_, at) => outside("a loop", *at),
            Stmt::Switch(_, at) => outside("`switch`", *at),
            Stmt::TryCatch(_, at) => outside("`try`", *at),
            Stmt::Return(_, _, at) => outside("`return` with a value or `throw`", *at),
            other => outside("this statement", other.position()),
        }
    }

    fn assignment(&mut self, operator: &rhai::OpAssignment, target: &Expr, value: &Expr) -> Lowered {
        let at = operator.position();
        self.target = true;
        let slot = self.expr(target);
        self.target = false;
        let Node::Slot(slot) = slot? else { return outside("an assignment inside a value", at) };
        let node = match operator.get_op_assignment_info() {
            None if is_null(value) && slot < self.written.len() => Node::SetNull { slot },
            None if is_null(value) => return outside("`null()` in a local", at),
            None => Node::Set { slot, value: Box::new(self.expr(value)?) },
            Some((_, _, _, symbol, _, base)) => {
                let Some(op) = Op::from_symbol(base) else { return outside(format!("`{symbol}`"), at) };
                let site = self.site(Role::Operation, at);
                let value = self.operator(op, target, value, site)?;
                Node::Set { slot, value: Box::new(self.apart(value)) }
            }
        };
        if let Some(assigned) = self.assigned.get_mut(slot) {
            *assigned = true;
        }
        Ok(node)
    }

    fn site(&self, role: Role, at: Position) -> usize {
        let (line, column) = place(at);
        self.facts.sites.find(role, line, column).unwrap_or(usize::MAX)
    }

    fn truths(&mut self, items: &[Expr]) -> Result<Vec<(Node, usize)>, Outside> {
        items.iter().map(|e| Ok((self.expr(e)?, self.site(Role::Truth, e.position())))).collect()
    }

    /// An expression; what can be computed for the whole batch is set apart, the largest pieces of it.
    fn expr(&mut self, expr: &Expr) -> Lowered {
        let node = self.piece(expr)?;
        Ok(self.apart(node))
    }

    fn apart(&mut self, node: Node) -> Node {
        if !numbers::is_plain(&node) {
            return node;
        }
        self.vectors.push(node);
        Node::Vector(self.vectors.len() - 1)
    }

    /// An expression as part of a larger one.
    fn piece(&mut self, expr: &Expr) -> Lowered {
        if let Some(literal) = literal(expr) {
            return Ok(Node::Literal(literal));
        }
        match expr {
            Expr::Variable(..) | Expr::Dot(..) | Expr::Index(..) => self.chain(expr),
            Expr::FnCall(call, at) => self.call(call, *at),
            Expr::And(items, _) => Ok(Node::And(self.truths(items)?)),
            Expr::Or(items, _) => Ok(Node::Or(self.truths(items)?)),
            Expr::Coalesce(items, _) => {
                items.iter().map(|e| self.expr(e)).collect::<Result<_, _>>().map(Node::Coalesce)
            }
            Expr::Stmt(block) => self.block(block.statements()),
            Expr::InterpolatedString(parts, _) => {
                let pieces = parts.iter().map(|e| Ok((self.expr(e)?, self.site(Role::Operation, e.position()))));
                pieces.collect::<Result<_, _>>().map(Node::Join)
            }
            Expr::Array(_, at) => outside("a list", *at),
            Expr::Map(_, at) => outside("a map", *at),
            Expr::DynamicConstant(_, at) => outside("a closure", *at),
            other => outside("this expression", other.start_position()),
        }
    }

    fn column(&mut self, path: FieldPath) -> Node {
        // Before anything assigns it, a field that is written has its column's value: there are no loops here.
        if let Some((_, slot, _)) = self.written.iter().find(|(p, ..)| *p == path)
            && (self.target || self.assigned.get(*slot).copied().unwrap_or(false))
        {
            return Node::Slot(*slot);
        }
        let known = self.columns.iter().position(|p| *p == path);
        Node::Column(known.unwrap_or_else(|| {
            self.columns.push(path);
            self.columns.len() - 1
        }))
    }

    fn chain(&mut self, expr: &Expr) -> Lowered {
        let taken = chain(expr);
        let names = taken.names();
        let (mut node, used) = match taken.root {
            Expr::Variable(v, _, at) if v.2.is_empty() => self.name(&v.1, &names, *at)?,
            Expr::Variable(_, _, at) => return outside("a name with `::`", *at),
            other => (self.expr(other)?, 0),
        };
        for segment in taken.segments.iter().skip(used) {
            node = match segment {
                Segment::Member(name) => Node::Member(Box::new(node), (*name).into()),
                Segment::Index(index) => return outside("an index", index.start_position()),
                Segment::Method(call, at) => self.function(call, *at, Some(node))?,
            };
        }
        Ok(node)
    }

    /// What a name stands for, and how many of the members after it are used up.
    fn name(&mut self, name: &str, members: &[&str], at: Position) -> Result<(Node, usize), Outside> {
        let local = self.scopes.iter().rev().flat_map(|s| s.iter().rev()).find(|(n, _)| n == name);
        if let Some((_, slot)) = local {
            return Ok((Node::Slot(*slot), 0));
        }
        let rest = |names: &[&str]| names.iter().map(|n| compact_str::CompactString::from(*n)).collect();
        match name {
            "event" => Ok((self.column(FieldPath::event(members)), members.len())),
            "meta" => Ok((self.column(FieldPath { root: Root::Meta, names: rest(members) }), members.len())),
            "vars" => {
                let Some(first) = members.first() else { return outside("`vars` as a whole", at) };
                let value = self.vars.iter().find(|(n, _)| n == first).map_or(&Value::Null, |(_, v)| v);
                Ok((Node::Literal(constant(value)), 1))
            }
            "this" => outside("`this`", at),
            _ if self.facts.named.iter().any(|named| named == name) => {
                Ok((self.column(named_path(name, members)), members.len()))
            }
            _ => {
                let names = std::iter::once(name).chain(members.iter().copied());
                Ok((self.column(FieldPath::event(names)), members.len()))
            }
        }
    }

    fn call(&mut self, call: &FnCallExpr, at: Position) -> Lowered {
        let (line, column) = place(at);
        if let Some(start) = self.source.offset(line, column)
            && let Some((range, _)) = self.facts.bound.iter().find(|(range, _)| range.start == start)
        {
            let text = self.source.text.get(range.clone()).unwrap_or_default();
            return Ok(self.column(bound_path(text)));
        }
        let name = call.name.as_str();
        if let ("contains", [Expr::Array(items, _), value]) = (name, call.args.as_slice())
            && items.iter().all(|e| literal(e).is_some())
        {
            let list = items.iter().filter_map(literal).collect();
            return Ok(Node::In { value: Box::new(self.expr(value)?), list });
        }
        if !call.is_operator_call() || name == "contains" {
            return self.function(call, at, None);
        }
        let site = self.site(Role::Operation, at);
        match (name, call.args.as_slice()) {
            ("-", [value]) => Ok(Node::Negate(Box::new(self.expr(value)?), site)),
            ("+", [value]) => Ok(Node::Affirm(Box::new(self.expr(value)?), site)),
            ("!", [value]) => Ok(Node::Not(Box::new(self.expr(value)?), site)),
            (_, [left, right]) => match Op::from_symbol(name) {
                Some(op) => self.operator(op, left, right, site),
                None => outside(format!("`{name}`"), at),
            },
            _ => outside(format!("`{name}`"), at),
        }
    }

    fn operator(&mut self, op: Op, left: &Expr, right: &Expr, site: usize) -> Lowered {
        let (mut left, mut right) = (self.piece(left)?, self.piece(right)?);
        let over_batch = matches!(op, Op::Add | Op::Subtract | Op::Multiply | Op::Divide);
        if !(over_batch && plain(&left) && plain(&right)) {
            (left, right) = (self.apart(left), self.apart(right));
        }
        Ok(match (op.is_comparison(), left, right) {
            (true, Node::Column(column), Node::Literal(with)) => {
                Node::CompareColumn { op, column, with, mirrored: false, site }
            }
            (true, Node::Literal(with), Node::Column(column)) => {
                Node::CompareColumn { op: op.mirrored(), column, with, mirrored: true, site }
            }
            (true, left, right) => Node::Compare { op, sides: Box::new((left, right)), site },
            (false, left, right) => Node::Arithmetic { op, sides: Box::new((left, right)), site },
        })
    }

    /// A call of a function of the table; `target` is what a method is called on.
    fn function(&mut self, call: &FnCallExpr, at: Position, target: Option<Node>) -> Lowered {
        let name = call.name.as_str();
        if name == "drop" && call.args.is_empty() && target.is_none() {
            return Ok(Node::Drop);
        }
        let site = self.site(Role::Operation, at);
        let mut arguments: Vec<Node> = target.into_iter().collect();
        for argument in &call.args {
            arguments.push(self.expr(argument)?);
        }
        // A function that the script itself defines is not in the table, or hides what is.
        let own = call.namespace.is_empty() && !self.source.text.contains(&format!("fn {name}"));
        match functions::find(name) {
            Some(function) if own && !function.makes_containers && function.arguments.contains(&arguments.len()) => {
                Ok(Node::Call { function, arguments, site })
            }
            _ if name == "curry" => outside("a closure", at),
            _ => outside(format!("the function `{name}`"), at),
        }
    }
}

/// Whether a node may be part of arithmetic over a whole batch.
fn plain(node: &Node) -> bool {
    matches!(node, Node::Column(_) | Node::Literal(Literal::Int(_) | Literal::Float(_))) || numbers::is_plain(node)
}

fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::FnCall(call, _) if call.name == "null" && call.args.is_empty())
}

fn literal(expr: &Expr) -> Option<Literal> {
    Some(match expr {
        Expr::Unit(_) => Literal::Unit,
        Expr::BoolConstant(b, _) => Literal::Bool(*b),
        Expr::IntegerConstant(i, _) => Literal::Int(*i),
        Expr::FloatConstant(f, _) => Literal::Float(**f),
        Expr::CharConstant(c, _) => Literal::Text(c.to_string().into()),
        Expr::StringConstant(s, _) => Literal::Text(s.as_str().into()),
        _ => return None,
    })
}

fn constant(value: &Value) -> Literal {
    match value {
        Value::Null => Literal::Unit,
        Value::Bool(b) => Literal::Bool(*b),
        Value::Int(i) => Literal::Int(*i),
        Value::Float(f) => Literal::Float(*f),
        Value::Text(text) => Literal::Text(text.as_str().into()),
        other => Literal::Big(other.clone()),
    }
}
