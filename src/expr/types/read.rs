//! Walks an expression with what is known of the rows it reads: what its value is, what it makes of the rows, and what
//! in it is impossible.

use std::collections::BTreeSet;

use rhai::{AST, ASTNode, Expr as Tree, FnCallExpr, Position, Stmt};

use super::known::Known;
use super::script::Write;
use super::unknown::unknown_field;
use super::{At, Kinds, Type, functions};
use crate::base::diag::Diagnostic;
use crate::base::tree::Origin;
use crate::data::layout::{FieldId, Root};
use crate::data::value::Value;
use crate::expr::analyse::{parse, scope_of};
use crate::expr::built_in;
use crate::expr::facts::Facts;
use crate::expr::source::Source;
use crate::expr::syntax::{Segment, bodies, chain, place, start};
use crate::expr::{Expr, Kind, known};

/// What is known around an expression.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The rows that it reads.
    pub row: &'a Type,
    /// The pipeline's constants.
    pub vars: &'a [(String, Value)],
    /// Computed columns.
    pub computed: &'a [(FieldId, Type)],
}

/// What is known of an expression.
#[derive(Clone, Debug)]
pub struct Typed {
    /// Its value.
    pub value: Type,
    /// What it is if it is a bool at all: known where it cannot be the other.
    pub truth: Option<bool>,
    /// The rows after it; a script writes fields.
    pub row: Type,
    /// The rows that it makes.
    pub emitted: Emitted,
    /// What can never be as it is written.
    pub found: Vec<Diagnostic>,
}

/// What is known of the rows that a script makes.
#[derive(Clone, Debug, Default)]
pub struct Emitted {
    /// Those of the main output, if it may make any.
    pub main: Option<Type>,
    /// Those of its ports, of all together.
    pub named: Option<Type>,
    /// Whether its own row surely goes nowhere.
    pub only: bool,
}

impl Emitted {
    fn add(&mut self, port: bool, of: Type) {
        let place = if port { &mut self.named } else { &mut self.main };
        *place = Some(place.take().map_or(of.clone(), |before| before.or(&of)));
    }
}

/// Reads an expression that was found right by itself.
pub fn read(expr: &Expr, given: &Given<'_>) -> Typed {
    let any = || Emitted { main: Some(Type::any()), named: Some(Type::any()), only: false };
    let nothing = || Typed { value: Type::any(), truth: None, row: Type::any(), emitted: any(), found: Vec::new() };
    let Ok(ast) = parse(&expr.text) else { return nothing() };
    let source = Source::new(&expr.text);
    let (facts, _) =
        crate::expr::analyse::read(&source, &expr.origin, expr.kind, &ast, &scope_of(given.vars), &expr.bindings);
    let mut reader = Reader {
        source: &source,
        origin: &expr.origin,
        ast: &ast,
        given: *given,
        bindings: &expr.bindings,
        changed: changed(&ast),
        assigned: assigned(&ast),
        facts,
        scopes: vec![Vec::new()],
        writes: Vec::new(),
        perhaps: 0,
        unknown: Vec::new(),
        emitted: Emitted::default(),
        closures: Vec::new(),
        found: Vec::new(),
    };
    let value = reader.statements(ast.statements());
    let row = if expr.kind == Kind::Script { reader.row_after() } else { given.row.clone() };
    // The bodies of functions are not walked.
    let within = reader.ast.iter_functions().any(|f| !f.name.starts_with("anon$"));
    let met = &reader.emitted;
    let unmet = (expr.emits_main && met.main.is_none()) || (!expr.emits.is_empty() && met.named.is_none());
    let emitted = match unmet || (within && (expr.emits_main || !expr.emits.is_empty())) {
        true => any(),
        false => Emitted { only: reader.drops_surely(), ..reader.emitted },
    };
    Typed { value: value.of, truth: value.truth, row, emitted, found: reader.found }
}

/// A walk.
pub(super) struct Reader<'a> {
    pub source: &'a Source<'a>,
    origin: &'a Origin,
    pub ast: &'a AST,
    pub given: Given<'a>,
    bindings: &'a [(String, FieldId)],
    /// Names that are given another value, or whose value is changed by a method.
    changed: BTreeSet<String>,
    /// Of those the ones that may be of another kind then: what a method of a list or map changes stays one.
    assigned: BTreeSet<String>,
    pub facts: Facts,
    pub scopes: Vec<Vec<(String, Type)>>,
    pub writes: Vec<Write>,
    /// How many statements around this one may not run, or not once.
    pub perhaps: usize,
    /// Paths that were reported.
    unknown: Vec<String>,
    emitted: Emitted,
    /// The closures around.
    closures: Vec<String>,
    pub found: Vec<Diagnostic>,
}

impl Reader<'_> {
    /// Reports an error at a place of the text.
    pub(super) fn error(
        &mut self,
        code: &'static str,
        at: (usize, usize),
        len: usize,
        words: String,
        help: Option<String>,
    ) {
        let span = self.origin.at(at.0, at.1, len);
        self.found.push(Diagnostic { help, ..Diagnostic::error(code, words, Some(span)) });
    }

    /// Reports a warning at a place of the text.
    pub(super) fn warning(
        &mut self,
        code: &'static str,
        at: (usize, usize),
        len: usize,
        words: String,
        help: Option<String>,
    ) {
        let span = self.origin.at(at.0, at.1, len);
        self.found.push(Diagnostic { help, ..Diagnostic::warning(code, words, Some(span)) });
    }

    /// What a local is, from here on to the end of its block.
    pub(super) fn declare(&mut self, name: &str, of: Type) {
        let of = match self.changed.contains(name) {
            true if self.assigned.contains(name) => Type::any(),
            true => Type::of(of.kinds),
            false => of,
        };
        if let Some(scope) = self.scopes.last_mut() {
            scope.push((name.to_owned(), of));
        }
    }

    /// An expression.
    pub(super) fn expr(&mut self, expr: &Tree) -> Known {
        match expr {
            Tree::Unit(_) => Kinds::MISSING.into(),
            Tree::BoolConstant(b, _) => Known::truth(Some(*b)),
            Tree::IntegerConstant(..) | Tree::FloatConstant(..) => Kinds::NUMBER.into(),
            Tree::StringConstant(..) | Tree::CharConstant(..) => Kinds::TEXT.into(),
            Tree::InterpolatedString(parts, _) => {
                parts.iter().for_each(|part| drop(self.expr(part)));
                Kinds::TEXT.into()
            }
            Tree::Array(items, _) => {
                items.iter().for_each(|item| drop(self.expr(item)));
                Kinds::LIST.into()
            }
            Tree::Map(members, _) => {
                let typed = members.0.iter().map(|(name, value)| (name.as_str().into(), self.expr(value).of));
                Type::map(typed.collect::<Vec<_>>()).into()
            }
            Tree::And(items, _) => self.all(items, false),
            Tree::Or(items, _) => self.all(items, true),
            Tree::Coalesce(items, _) => self.first_there(items),
            Tree::Stmt(block) => self.block(block.statements()),
            Tree::FnCall(call, at) => self.call(call, *at),
            Tree::Variable(..) | Tree::Dot(..) | Tree::Index(..) => self.chain(expr),
            Tree::DynamicConstant(value, _) => {
                if let Some(pointer) = value.read_lock::<rhai::FnPtr>() {
                    self.closure(pointer.fn_name(), 0);
                }
                Known::nothing()
            }
            _ => Known::nothing(),
        }
    }

    /// `&&` and `||`: a side of one value decides, and else all sides have to be of the other.
    fn all(&mut self, items: &[Tree], decides: bool) -> Known {
        let mut truths = Vec::with_capacity(items.len());
        for item in items {
            let before = self.found.len();
            let known = self.expr(item);
            if self.found.len() == before {
                self.bool_needed(item, &known);
            }
            truths.push(known.truth);
        }
        let decided = truths.contains(&Some(decides));
        let others = truths.iter().all(|truth| *truth == Some(!decides));
        Known::truth(if decided { Some(decides) } else { others.then_some(!decides) })
    }

    fn first_there(&mut self, items: &[Tree]) -> Known {
        let mut sum: Option<Type> = None;
        for (at, item) in items.iter().enumerate() {
            let of = self.expr(item).of;
            let of = if at + 1 < items.len() { of.if_there() } else { of };
            sum = Some(sum.map_or(of.clone(), |sum| sum.or(&of)));
        }
        sum.unwrap_or_else(Type::any).into()
    }

    /// The body of a closure, whose first parameters are what it captures.
    fn closure(&mut self, name: &str, captured: usize) {
        // Closures are named by a hash of what they do: should two share a name, this must not go round for ever.
        if self.closures.iter().any(|around| around == name) {
            return;
        }
        self.closures.push(name.to_owned());
        self.perhaps += 1;
        for (parameters, body) in bodies(self.ast, name) {
            let own = parameters.into_iter().skip(captured).map(|name| (name, Type::any()));
            self.scopes.push(own.collect());
            self.statements(&body);
            self.scopes.pop();
        }
        self.perhaps -= 1;
        self.closures.pop();
    }

    /// A call that is no method.
    pub(super) fn call(&mut self, call: &FnCallExpr, at: Position) -> Known {
        let name = call.name.as_str();
        if name == "curry"
            && let [Tree::DynamicConstant(value, _), captured @ ..] = call.args.as_slice()
            && let Some(pointer) = value.read_lock::<rhai::FnPtr>()
        {
            self.closure(pointer.fn_name(), captured.len());
            return Known::nothing();
        }
        if let Some(bound) = self.binding(at) {
            return bound.into();
        }
        if call.is_operator_call() || name == "contains" {
            return self.operator(call, at);
        }
        let before = self.found.len();
        let arguments: Vec<Known> = call.args.iter().map(|argument| self.expr(argument)).collect();
        let told = self.found.len() > before;
        self.function(call, at, None, &arguments, told)
    }

    /// The computed column that the call at a place stands for.
    fn binding(&self, at: Position) -> Option<Type> {
        let (line, column) = place(at);
        let range = self.source.offset(line, column).and_then(|start| self.source.call(start))?;
        let text = self.source.text.get(range)?;
        let (_, field) = self.bindings.iter().find(|(name, _)| name == text)?;
        Some(self.given.computed.iter().find(|(f, _)| f == field).map_or_else(Type::any, |(_, of)| of.clone()))
    }

    /// A call of a function; `target` is the value that a method is called on, with how it is spelled, and then the
    /// first of the arguments.
    fn function(
        &mut self,
        call: &FnCallExpr,
        at: Position,
        target: Option<&Tree>,
        arguments: &[Known],
        told: bool,
    ) -> Known {
        let name = call.name.as_str();
        if name == "null" && arguments.is_empty() {
            return Kinds::MISSING.into();
        }
        if let ("emit", Some(value)) = (name, arguments.last()) {
            self.emitted.add(arguments.len() > 1, value.of.clone());
            return Known::nothing();
        }
        if self.ast.iter_functions().any(|f| f.name == name) {
            return Known::nothing();
        }
        let kinds: Vec<Kinds> = arguments.iter().map(|known| known.of.kinds).collect();
        if let (false, Some(wrong)) = (told, functions::impossible(name, &kinds)) {
            let operand = match (target, wrong) {
                (Some(target), 0) => target,
                (target, at) => match call.args.get(at - usize::from(target.is_some())) {
                    Some(argument) => argument,
                    None => return Known::nothing(),
                },
            };
            self.not_taken(call, at, target, operand, kinds.get(wrong).copied().unwrap_or(Kinds::NONE));
            return Known::nothing();
        }
        functions::result(name, &kinds)
    }

    fn not_taken(&mut self, call: &FnCallExpr, at: Position, target: Option<&Tree>, operand: &Tree, kinds: Kinds) {
        let function = crate::expr::functions::find(call.name.as_str());
        let help = match function {
            Some(function) => Some(format!("it is called as `{}`: {}", function.signature, function.summary)),
            None => built_in::find(&call.name).map(|f| format!("it is for {}: `{}`", f.on(), f.call)),
        };
        let words = |whole: &str, operand: &str| format!("`{whole}` never has a value: `{operand}` is {kinds}");
        match target {
            // The chain up to the method is what it is called on.
            Some(target) if std::ptr::eq(target, operand) => {
                let on = crate::expr::sites::before(target, at).text;
                let begin = start(target);
                let whole = format!("{on}.{}(…)", call.name);
                self.error("impossible-types", begin, on.len(), words(&whole, &on), help);
            }
            _ => {
                let operand_text = crate::expr::spell::spell(operand);
                let whole = match target {
                    Some(_) => format!("{}(…)", call.name),
                    None => crate::expr::spell::spell(&Tree::FnCall(Box::new(call.clone()), at)),
                };
                let text = words(&whole, &operand_text);
                self.error("impossible-types", start(operand), operand_text.len(), text, help);
            }
        }
    }

    /// A variable, or a chain that begins with one or with any other value.
    fn chain(&mut self, expr: &Tree) -> Known {
        let taken = chain(expr);
        let names = taken.names();
        let before = self.found.len();
        let mut here: Known = match taken.root {
            Tree::Variable(v, _, at) if v.2.is_empty() => self.name(&v.1, &names, *at).into(),
            Tree::Variable(..) => Known::nothing(),
            other => inside(&self.expr(other).of, &names).into(),
        };
        for segment in taken.segments.iter().skip(names.len()) {
            here = match segment {
                Segment::Member(name) => inside(&here.of, &[name]).into(),
                Segment::Index(index) => {
                    self.expr(index);
                    Known::nothing()
                }
                Segment::Method(call, at) => {
                    let mut arguments = vec![here];
                    for argument in &call.args {
                        let known = self.expr(argument);
                        arguments.push(known);
                    }
                    let told = self.found.len() > before;
                    self.function(call, *at, Some(expr), &arguments, told)
                }
            };
        }
        here
    }

    /// What a name stands for, with the constant members behind it.
    fn name(&mut self, name: &str, members: &[&str], at: Position) -> Type {
        let local = self.scopes.iter().rev().flat_map(|scope| scope.iter().rev()).find(|(n, _)| n == name);
        if let Some((_, of)) = local {
            return inside(of, members);
        }
        match name {
            "meta" | "state" => Type::any(),
            "vars" => match members.split_first() {
                Some((first, rest)) => {
                    let var = self.given.vars.iter().find(|(n, _)| n == first);
                    var.map_or_else(Type::any, |(_, value)| inside(&Type::constant(value), rest))
                }
                None => Type::any(),
            },
            _ if members.is_empty() && self.ast.iter_functions().any(|f| f.name == name) => Type::any(),
            "event" => self.field(members, at, members.is_empty()),
            _ => {
                let path: Vec<&str> = std::iter::once(name).chain(members.iter().copied()).collect();
                self.field(&path, at, false)
            }
        }
    }

    /// A field. One that the script itself writes somewhere may be anything by then.
    fn field(&mut self, path: &[&str], at: Position, whole: bool) -> Type {
        let written = |access: &crate::expr::facts::Access| {
            access.write
                && access.path.root == Root::Event
                && access.path.names.first().map(|n| n.as_str()) == path.first().copied()
        };
        let own = self.facts.accesses.iter().any(written);
        if self.facts.whole_written || (whole && self.facts.accesses.iter().any(|a| a.write)) {
            return Type::any();
        }
        if own {
            let by_name = |name: &&str| self.assigned.contains(*name);
            let assigned = self.assigned.contains("event") || path.first().is_some_and(by_name);
            return match self.given.row.at(path) {
                At::Value(of) if !assigned && path.len() == 1 => Type::of(of.kinds),
                _ => Type::any(),
            };
        }
        let never = match self.given.row.at(path) {
            At::Value(of) => return of,
            At::Never(never) => never,
        };
        let spelled = path.join(".");
        if !self.unknown.contains(&spelled) {
            let (words, help) = unknown_field(self.given.row, path, never);
            self.error("unknown-field", place(at), spelled.len(), words, help);
            self.unknown.push(spelled);
        }
        // Nothing follows from a field that was spelled wrong.
        Type::any()
    }
}

/// What is at a path inside a value that is no row: unknown where it may be anything or nothing.
fn inside(of: &Type, path: &[&str]) -> Type {
    match of.at(path) {
        At::Value(of) => of,
        At::Never(_) => Type::any(),
    }
}

/// Names of variables that are assigned, or a member of which is, or on which a function is called that may do so.
fn assigned(ast: &AST) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut root = |expr: &Tree| {
        if let Tree::Variable(v, ..) = chain(expr).root {
            names.insert(v.1.to_string());
        }
    };
    let known = |name: &str| {
        crate::expr::functions::find(name).is_some() || built_in::find(name).is_some_and(|f| f.name != "call")
    };
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Assignment(assignment))) => root(&assignment.1.lhs),
            Some(ASTNode::Expr(expr @ (Tree::Dot(..) | Tree::Index(..)))) => {
                let own = |segment: &Segment<'_>| matches!(segment, Segment::Method(call, _) if !known(&call.name));
                if chain(expr).segments.iter().any(own) {
                    root(expr);
                }
            }
            _ => {}
        }
        true
    });
    names
}

/// Names of variables that are assigned, or changed by a method.
fn changed(ast: &AST) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut root = |expr: &Tree| {
        if let Tree::Variable(v, ..) = chain(expr).root {
            names.insert(v.1.to_string());
        }
    };
    ast.walk(&mut |path: &[ASTNode<'_>]| {
        match path.last() {
            Some(ASTNode::Stmt(Stmt::Assignment(assignment))) => root(&assignment.1.lhs),
            Some(ASTNode::Expr(expr @ (Tree::Dot(..) | Tree::Index(..)))) => {
                let harmless = |call: &FnCallExpr| {
                    crate::expr::functions::find(&call.name).is_some() && !known::changes(&call.name)
                };
                let method = |segment: &Segment<'_>| matches!(segment, Segment::Method(call, _) if !harmless(call));
                if chain(expr).segments.iter().any(method) {
                    root(expr);
                }
            }
            Some(ASTNode::Expr(Tree::FnCall(call, _)) | ASTNode::Stmt(Stmt::FnCall(call, _))) => {
                if let (true, Some(first)) = (known::changes(&call.name), call.args.first()) {
                    root(first);
                }
            }
            _ => {}
        }
        true
    });
    names
}
