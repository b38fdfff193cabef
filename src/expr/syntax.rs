//! Small views on Rhai's syntax tree.

use rhai::{AST, ASTFlags, ASTNode, Expr, FnCallExpr, Position, Stmt};

/// One step of a chain such as `a.b["c"].d()`.
pub(super) enum Segment<'a> {
    /// `.name` or `["name"]`.
    Member(&'a str),
    /// `[expression]`.
    Index(&'a Expr),
    /// `.method(arguments)`.
    Method(&'a FnCallExpr, Position),
}

/// A chain taken apart. Rhai nests chains to the right.
pub(super) struct Chain<'a> {
    /// What it begins with.
    pub root: &'a Expr,
    /// The steps from there.
    pub segments: Vec<Segment<'a>>,
}

/// Takes a chain apart; any other expression is a root without steps.
pub(super) fn chain(expr: &Expr) -> Chain<'_> {
    let (Expr::Dot(binary, flags, _) | Expr::Index(binary, flags, _)) = expr else {
        return Chain { root: expr, segments: Vec::new() };
    };
    let mut dot = matches!(expr, Expr::Dot(..));
    let mut ends = flags.contains(ASTFlags::BREAK);
    let mut rest = &binary.rhs;
    let mut segments = Vec::new();
    loop {
        match rest {
            // An index in parentheses is itself a chain; the flag tells it from the rest of this one.
            Expr::Dot(next, flags, _) | Expr::Index(next, flags, _) if !ends => {
                segments.push(segment(&next.lhs, dot));
                dot = matches!(rest, Expr::Dot(..));
                ends = flags.contains(ASTFlags::BREAK);
                rest = &next.rhs;
            }
            last => {
                segments.push(segment(last, dot));
                return Chain { root: &binary.lhs, segments };
            }
        }
    }
}

fn segment(expr: &Expr, dot: bool) -> Segment<'_> {
    match expr {
        Expr::Property(p, _) if dot => Segment::Member(p.2.as_str()),
        Expr::MethodCall(call, at) if dot => Segment::Method(call, *at),
        Expr::StringConstant(s, _) if !dot => Segment::Member(s.as_str()),
        other => Segment::Index(other),
    }
}

impl<'a> Chain<'a> {
    /// The constant member names that the chain begins with.
    pub(super) fn names(&self) -> Vec<&'a str> {
        let names = self.segments.iter().map_while(|s| match s {
            Segment::Member(name) => Some(*name),
            _ => None,
        });
        names.collect()
    }
}

/// Line and column, both from 1; zeros where Rhai knows none.
pub(super) fn place(at: Position) -> (usize, usize) {
    (at.line().unwrap_or(0), at.position().unwrap_or(0))
}

/// The parameters of every function and closure of a name, what closures capture first, with its statements. Rhai shows
/// bodies only to those who walk the whole tree, so a tree of that function alone is walked.
pub(super) fn bodies(ast: &AST, name: &str) -> Vec<(Vec<String>, Vec<Stmt>)> {
    let named = ast.iter_functions().filter(|f| f.name == name);
    let parameters: Vec<Vec<String>> = named.map(|f| f.params.iter().map(ToString::to_string).collect()).collect();
    let with_body = |parameters: Vec<String>| {
        // To clone with a filter gives every function, whatever the filter says.
        let mut alone = ast.clone_functions_only();
        alone.retain_functions(|_, _, n, count| n == name && count == parameters.len());
        let mut body = Vec::new();
        alone.walk(&mut |path| {
            if let [ASTNode::Stmt(statement)] = path {
                body.push((*statement).clone());
            }
            true
        });
        (parameters, body)
    };
    parameters.into_iter().map(with_body).collect()
}

/// Whether a call of `contains` is written `value in list`: then the second argument stands before the call.
pub(super) fn is_in(call: &FnCallExpr, at: Position) -> bool {
    match call.args.as_slice() {
        [_, value] if call.name == "contains" => (1, 1) <= start(value) && start(value) < place(at),
        _ => false,
    }
}

/// Where an expression's first word stands; Rhai gives operators their own place.
pub(super) fn start(expr: &Expr) -> (usize, usize) {
    match expr {
        Expr::FnCall(call, at) if is_in(call, *at) => call.args.get(1).map_or(place(*at), start),
        Expr::FnCall(call, at) if call.is_operator_call() => match call.args.as_slice() {
            [left, _] => start(left),
            _ => place(*at),
        },
        Expr::And(items, _) | Expr::Or(items, _) | Expr::Coalesce(items, _) => items.first().map_or((0, 0), start),
        Expr::Dot(sides, ..) | Expr::Index(sides, ..) => start(&sides.lhs),
        other => place(other.start_position()),
    }
}
