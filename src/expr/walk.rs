//! Walks Rhai's syntax tree once: what names mean, which fields are touched, and what is wrong.

use rhai::{AST, Expr, FnCallExpr, Position, Stmt, StmtBlock};

use super::Kind;
use super::facts::{Access, Deepened, Facts, Root};
use super::source::Source;
use super::syntax::{Segment, bodies, chain, place, start};
use super::{known, sites};
use crate::base::diag::Diagnostic;
use crate::base::suggest::nearest;
use crate::base::tree::Origin;
use crate::data::layout::{FieldId, FieldPath, Root as Begin};
use crate::data::value::Value;

/// How a name is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
    Change,
}

/// What a walk is given.
pub(super) struct Walk<'a> {
    pub source: &'a Source<'a>,
    pub origin: &'a Origin,
    pub kind: Kind,
    pub ast: &'a AST,
    pub state: bool,
    pub ports: &'a [String],
    pub vars: &'a [(String, Value)],
    pub bindings: &'a [(String, FieldId)],
    /// Names of locals, innermost scope last.
    pub scopes: Vec<Vec<String>>,
    /// The function whose body is being walked: it sees only its parameters.
    pub function: Option<String>,
    /// The closures around.
    pub closures: Vec<String>,
    pub facts: Facts,
    pub found: Vec<Diagnostic>,
}

impl Walk<'_> {
    /// Walks the statements and then every named function.
    pub(super) fn all(&mut self) {
        let ast = self.ast;
        self.scopes.push(Vec::new());
        self.statements(ast.statements());
        let mut names: Vec<String> = ast.iter_functions().map(|f| f.name.to_string()).collect();
        names.sort_unstable();
        names.dedup();
        // Closures are walked where they are written.
        for name in names.into_iter().filter(|n| !n.starts_with("anon$")) {
            let outer = std::mem::take(&mut self.scopes);
            self.function = Some(name.clone());
            self.closure(&name, 0);
            self.function = None;
            self.scopes = outer;
        }
    }

    /// Reports an error at a place of the text.
    pub(super) fn error(
        &mut self,
        code: &'static str,
        at: (usize, usize),
        len: usize,
        words: impl Into<String>,
        help: Option<String>,
    ) {
        let span = self.origin.at(at.0, at.1, len);
        self.found.push(Diagnostic { help, ..Diagnostic::error(code, words, Some(span)) });
    }

    fn block(&mut self, block: &StmtBlock) {
        self.scopes.push(Vec::new());
        self.statements(block.statements());
        self.scopes.pop();
    }

    fn statements(&mut self, list: &[Stmt]) {
        for statement in list {
            self.statement(statement);
        }
    }

    fn declare(&mut self, name: &str, at: Position) {
        self.facts.locals.push((name.to_string(), place(at)));
        if let Some(scope) = self.scopes.last_mut() {
            scope.push(name.to_string());
        }
    }

    fn statement(&mut self, statement: &Stmt) {
        match statement {
            Stmt::Expr(expr) => self.expr(expr),
            Stmt::FnCall(call, at) => self.call(call, *at, None),
            Stmt::Block(block) => self.block(block),
            Stmt::Assignment(assignment) => {
                let (operator, sides) = &**assignment;
                self.assignment(operator.is_op_assignment(), &sides.lhs, &sides.rhs, operator.position());
                if let Some((_, _, _, symbol, ..)) = operator.get_op_assignment_info() {
                    sites::assignment(&mut self.facts.sites, symbol, sides, operator.position());
                }
            }
            Stmt::Var(definition, _, _) => {
                self.expr(&definition.1);
                self.declare(definition.0.as_str(), definition.0.pos);
            }
            Stmt::If(flow, _) => {
                self.truth(&flow.expr);
                self.block(&flow.body);
                self.block(&flow.branch);
            }
            Stmt::While(flow, _) | Stmt::Do(flow, ..) => {
                // `loop` has no condition.
                if !matches!(flow.expr, Expr::Unit(_) | Expr::BoolConstant(..)) {
                    self.truth(&flow.expr);
                }
                self.block(&flow.body);
            }
            Stmt::For(parts, _) => {
                let (item, counter, flow) = &**parts;
                self.expr(&flow.expr);
                self.scopes.push(Vec::new());
                self.declare(item.as_str(), item.pos);
                if let Some(counter) = counter {
                    self.declare(counter.as_str(), counter.pos);
                }
                self.block(&flow.body);
                self.scopes.pop();
            }
            Stmt::Switch(parts, _) => {
                self.coalesced(&parts.0);
                self.expr(&parts.0);
                for case in &parts.1.expressions {
                    if !matches!(case.lhs, Expr::BoolConstant(..)) {
                        self.truth(&case.lhs);
                    }
                    self.expr(&case.rhs);
                }
            }
            Stmt::TryCatch(flow, _) => {
                self.block(&flow.body);
                self.scopes.push(Vec::new());
                if let Expr::Variable(v, _, at) = &flow.expr {
                    self.declare(&v.1, *at);
                    let (line, column) = place(flow.branch.position());
                    let brace = self.source.offset(line, column);
                    let brace = brace.filter(|at| self.source.text.as_bytes().get(*at) == Some(&b'{'));
                    self.facts.caught.extend(brace.map(|at| (at + 1, v.1.to_string())));
                }
                self.block(&flow.branch);
                self.scopes.pop();
            }
            Stmt::BreakLoop(Some(value), ..) | Stmt::Return(Some(value), ..) => self.expr(value),
            _ => {}
        }
    }

    fn assignment(&mut self, operates: bool, target: &Expr, value: &Expr, at: Position) {
        if self.kind == Kind::Expression {
            let words = "an expression only computes a value and cannot assign";
            self.error("assignment-in-expression", place(at), 1, words, Some("compare with `==`".into()));
        }
        self.expr(value);
        let used = if operates { Use::Change } else { Use::Write };
        self.chain(target, used);
        if !operates {
            self.deepen(target, at);
        }
    }

    /// Remembers that the maps around a written member must be there.
    fn deepen(&mut self, target: &Expr, at: Position) {
        let taken = chain(target);
        let mut path = taken.names();
        let (Expr::Variable(v, ..), (line, column)) = (taken.root, place(at)) else { return };
        if path.len() != taken.segments.len() || path.pop().is_none() {
            return;
        }
        let name = v.1.as_str();
        let local = self.scopes.iter().flatten().any(|n| n == name) || name == "state";
        let (field, path) = match (local, name) {
            (true, _) => (None, path.as_slice()),
            (false, "event") => match path.split_first() {
                Some((first, rest)) => (Some((*first).to_string()), rest),
                None => return,
            },
            (false, _) => (Some(name.to_string()), path.as_slice()),
        };
        if let (false, Some(equals)) = (path.is_empty(), self.source.offset(line, column)) {
            let members = path.iter().map(ToString::to_string).collect();
            self.facts.deepened.push(Deepened { after: equals + 1, local: name.into(), field, members });
        }
    }

    /// An expression whose value is used.
    pub(super) fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Variable(..) | Expr::Dot(..) | Expr::Index(..) => self.chain(expr, Use::Read),
            Expr::FnCall(call, at) => self.call(call, *at, None),
            Expr::InterpolatedString(parts, _) => {
                for part in parts.iter() {
                    sites::interpolated(&mut self.facts.sites, part);
                    self.expr(part);
                }
            }
            Expr::Array(items, _) => items.iter().for_each(|e| self.expr(e)),
            Expr::Map(members, _) => members.0.iter().for_each(|(_, e)| self.expr(e)),
            Expr::And(items, _) | Expr::Or(items, _) => items.iter().for_each(|e| self.truth(e)),
            Expr::Coalesce(items, _) => {
                for (i, item) in items.iter().enumerate() {
                    if i + 1 < items.len() {
                        self.coalesced(item);
                    }
                    self.expr(item);
                }
            }
            Expr::Stmt(block) => self.block(block),
            Expr::DynamicConstant(value, _) => {
                if let Some(pointer) = value.read_lock::<rhai::FnPtr>() {
                    self.closure(pointer.fn_name(), 0);
                }
            }
            _ => {}
        }
    }

    /// An expression that must be a bool.
    fn truth(&mut self, expr: &Expr) {
        sites::truth(&mut self.facts.sites, expr);
        if let Some(kind) = known::surely(expr).filter(|k| *k != known::Surely::Bool) {
            let spelled = super::spell::spell(expr);
            let words = format!("`{spelled}` is {}, where a bool is needed", kind.name());
            self.error("impossible-types", start(expr), spelled.len(), words, None);
        }
        self.expr(expr);
    }

    /// Remembers a variable or chain before `??` or in a `switch`, for Rhai knows only one empty value.
    fn coalesced(&mut self, expr: &Expr) {
        let (line, column) = start(expr);
        if let (Expr::Variable(..), Some(start)) = (chain(expr).root, self.source.offset(line, column)) {
            self.facts.coalesced.push(start..self.source.chain_end(start));
        }
    }

    /// The bodies of a function, or of a closure whose first parameters are what it captures.
    fn closure(&mut self, name: &str, captured: usize) {
        // Closures are named by a hash of what they do: should two share a name, this must not go round for ever.
        if self.closures.iter().any(|around| around == name) {
            return;
        }
        self.closures.push(name.to_owned());
        for (parameters, body) in bodies(self.ast, name) {
            self.scopes.push(parameters.into_iter().skip(captured).collect());
            self.statements(&body);
            self.scopes.pop();
        }
        self.closures.pop();
    }

    /// A call; `target` is what a method is called on, already walked.
    fn call(&mut self, call: &FnCallExpr, at: Position, target: Option<&Expr>) {
        let name = call.name.as_str();
        if name == "curry"
            && let [Expr::DynamicConstant(value, _), captured @ ..] = call.args.as_slice()
            && let Some(pointer) = value.read_lock::<rhai::FnPtr>()
        {
            // What it captures is found in its body.
            self.closure(pointer.fn_name(), captured.len());
            return;
        }
        if target.is_none() && self.binding(at) {
            return;
        }
        sites::call(&mut self.facts.sites, call, at, target);
        match call.args.as_slice() {
            // Called as a function, these too change what they are given first.
            [first @ (Expr::Variable(..) | Expr::Dot(..) | Expr::Index(..)), rest @ ..]
                if target.is_none() && known::changes(name) =>
            {
                self.chain(first, Use::Change);
                rest.iter().for_each(|e| self.expr(e));
            }
            all => all.iter().for_each(|e| self.expr(e)),
        }
        if call.is_operator_call() {
            self.check_operator(call, at);
            return;
        }
        match name {
            "drop" if call.args.is_empty() && target.is_none() => {
                self.script_only("drop", at);
                self.facts.drops = true;
            }
            "emit" if target.is_none() => self.emit(call, at),
            _ => self.check_call(call, at, target.is_some()),
        }
    }

    /// Whether the call at a place stands for a computed column; then it reads that and nothing else.
    fn binding(&mut self, at: Position) -> bool {
        let (line, column) = place(at);
        let Some(range) = self.source.offset(line, column).and_then(|start| self.source.call(start)) else {
            return false;
        };
        let text = self.source.text.get(range.clone()).unwrap_or_default();
        let Some(index) = self.bindings.iter().position(|(name, _)| name == text) else { return false };
        self.facts.bound.push((range, index));
        self.facts.accesses.push(Access { path: bound_path(text), read: true, write: false, at: (line, column) });
        true
    }

    pub(super) fn script_only(&mut self, name: &str, at: Position) {
        if self.kind == Kind::Expression {
            let words = format!("`{name}` works in a script, and this is an expression");
            self.error("script-only", place(at), name.len(), words, None);
        }
    }

    /// A variable or a chain, used in some way.
    fn chain(&mut self, expr: &Expr, used: Use) {
        let taken = chain(expr);
        let names = taken.names();
        let next = taken.segments.get(names.len());
        // A chain that goes on beyond its constant names only reads up to there, unless what follows changes it.
        let used = match (next, used) {
            (Some(Segment::Method(call, _)), _) if known::changes(&call.name) => Use::Change,
            (Some(Segment::Index(_) | Segment::Method(..)), Use::Write | Use::Change) => Use::Change,
            (Some(_), _) => Use::Read,
            (None, used) => used,
        };
        if used == Use::Read && next.is_none() && self.kind == Kind::Script {
            self.copied(expr, taken.root, names.is_empty());
        }
        match taken.root {
            Expr::Variable(v, _, at) if v.2.is_empty() => self.name(&v.1, *at, &names, used),
            Expr::Variable(..) => {}
            other => self.expr(other),
        }
        for segment in &taken.segments {
            match segment {
                Segment::Index(index) => self.expr(index),
                Segment::Method(call, at) => self.call(call, *at, Some(expr)),
                Segment::Member(..) => {}
            }
        }
    }

    /// Remembers where a value that may be null is read: what is copied from there is `()`. A local alone is not asked:
    /// it has null only where the script put it there.
    fn copied(&mut self, expr: &Expr, root: &Expr, bare: bool) {
        let Expr::Variable(v, ..) = root else { return };
        let local = self.scopes.iter().flatten().any(|n| n == v.1.as_str());
        if (bare && local) || matches!(v.1.as_str(), "meta" | "vars") || self.function.is_some() {
            return;
        }
        let (line, column) = start(expr);
        if let Some(start) = self.source.offset(line, column) {
            self.facts.copied.push((start..self.source.chain_end(start), bare.then(|| v.1.to_string())));
        }
    }

    /// A name with the constant members that follow it.
    fn name(&mut self, name: &str, at: Position, members: &[&str], used: Use) {
        if self.scopes.iter().flatten().any(|n| n == name) {
            return;
        }
        let at = place(at);
        if self.function.is_none() && self.bindings.iter().any(|(bound, _)| bound == name) {
            self.facts.named.push(name.to_owned());
            self.access(named_path(name, members), at, Use::Read);
            return;
        }
        if let Some(function) = self.function.clone() {
            if !self.ast.iter_functions().any(|f| f.name == name) {
                let words =
                    format!("the function `{function}` does not see `{name}`: functions see only their arguments");
                self.error(
                    "unknown-name",
                    at,
                    name.len(),
                    words,
                    Some(format!("give it as an argument: `{function}(…, {name})`")),
                );
            }
            return;
        }
        match name {
            "event" => self.event(at, members, used),
            "meta" => self.meta(at, members, used),
            "vars" => self.var(at, members, used),
            "state" => self.use_state(at),
            "null" => {
                self.error(
                    "null",
                    at,
                    4,
                    "`null` is written `()` where it is compared, and `null()` where it is assigned",
                    None,
                );
            }
            _ if members.is_empty() && self.ast.iter_functions().any(|f| f.name == name) => {}
            _ => {
                let names = std::iter::once(name).chain(members.iter().copied());
                self.facts.roots.push(Root { field: Some(name.into()), through_event: false, at });
                self.access(FieldPath::event(names), at, used);
            }
        }
    }

    fn access(&mut self, path: FieldPath, at: (usize, usize), used: Use) {
        self.facts.accesses.push(Access { path, read: used != Use::Write, write: used != Use::Read, at });
    }

    fn event(&mut self, at: (usize, usize), members: &[&str], used: Use) {
        let spelled = self.source.offset(at.0, at.1).and_then(|start| self.source.first_member(start));
        match (members.first(), spelled) {
            (Some(first), Some(_)) => {
                self.facts.roots.push(Root { field: Some((*first).into()), through_event: true, at });
                self.access(FieldPath::event(members), at, used);
            }
            _ => {
                self.facts.roots.push(Root { field: None, through_event: true, at });
                self.facts.whole.get_or_insert(at);
                self.facts.whole_written |= used != Use::Read;
            }
        }
    }

    fn meta(&mut self, at: (usize, usize), members: &[&str], used: Use) {
        if used != Use::Read {
            self.error("meta-is-read", at, 4, "`meta` says where an event comes from and cannot be written", None);
        }
        if members.is_empty() {
            self.error(
                "meta-member",
                at,
                4,
                "`meta` is read by member",
                Some("name what you need: `meta.source`, `meta.path`, `meta.topic`".into()),
            );
            return;
        }
        let names = members.iter().map(|n| compact_str::CompactString::from(*n)).collect();
        self.access(FieldPath { root: Begin::Meta, names }, at, Use::Read);
    }

    fn var(&mut self, at: (usize, usize), members: &[&str], used: Use) {
        self.facts.vars = true;
        if used != Use::Read {
            self.error("vars-are-read", at, 4, "`vars` are constants of the pipeline and cannot be written", None);
        }
        let vars = self.vars;
        if let Some(first) = members.first()
            && !vars.iter().any(|(name, _)| name == first)
        {
            let help = match nearest(first, vars.iter().map(|(name, _)| name.as_str())) {
                Some(near) => format!("did you mean `vars.{near}`?"),
                None => format!("define it in the pipeline: `vars: {{ {first}: … }}`"),
            };
            let words = format!("there is no constant `{first}` in `vars`");
            self.error("unknown-var", at, 5 + first.len(), words, Some(help));
        }
    }

    fn use_state(&mut self, at: (usize, usize)) {
        self.facts.state = true;
        if !self.state {
            self.error(
                "state-without-by",
                at,
                5,
                "`state` is kept for each key, and this step has no key",
                Some("add `by:` to the script, or read a field of that name as `event[\"state\"]`".into()),
            );
        }
    }
}

/// The path under which a value of ours that has a name, or a member of it, is a computed column. Neither a call nor a
/// step begins with a space.
pub(super) fn named_path(name: &str, members: &[&str]) -> FieldPath {
    let first = compact_str::format_compact!(" {name}");
    let members = members.iter().map(|member| compact_str::CompactString::from(*member));
    FieldPath { root: Begin::Computed, names: std::iter::once(first).chain(members).collect() }
}

/// The path under which a call's result is a computed column: the call's text.
pub(super) fn bound_path(call: &str) -> FieldPath {
    FieldPath { root: Begin::Computed, names: vec![call.into()] }
}
