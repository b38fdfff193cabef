//! Names that expressions may call, and what can be told of a value before it is computed.

use rhai::Expr;

use super::built_in::{self, BUILT_IN};
use super::functions;

/// Functions of our own that are not in the table because they act on the event.
const EFFECTS: &[(&str, &[usize])] = &[("drop", &[0]), ("emit", &[1, 2]), ("null", &[0])];

/// Names of the language's aggregate functions that are no functions of expressions.
const AGGREGATES: &[&str] = &[
    "count",
    "count_if",
    "sum",
    "avg",
    "first",
    "last",
    "stddev",
    "variance",
    "stddev_pop",
    "variance_pop",
    "median",
    "quantile",
    "distinct",
    "approx_distinct",
    "top",
    "collect",
    "any",
    "fold",
];

/// The numbers of arguments a function takes; `None` if there is no such function.
pub(super) fn arguments(name: &str) -> Option<Vec<usize>> {
    let own = functions::find(name).map(|f| f.arguments.clone());
    match (own, built_in::find(name).map(|b| b.arguments.to_vec())) {
        (Some(mut own), Some(more)) => {
            own.extend(more);
            Some(own)
        }
        (own, more) => {
            own.or(more).or_else(|| EFFECTS.iter().find(|(n, _)| *n == name).map(|(_, counts)| counts.to_vec()))
        }
    }
}

/// The names of our own functions that act on the event.
#[cfg(test)]
pub(super) fn effects() -> impl Iterator<Item = &'static str> {
    EFFECTS.iter().map(|(name, _)| *name)
}

/// Every name that may be called.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let own = functions::functions().iter().map(|f| f.name);
    own.chain(BUILT_IN.iter().map(|b| b.name)).chain(EFFECTS.iter().map(|(name, _)| *name))
}

/// Whether a method changes what it is called on.
pub(super) fn changes(method: &str) -> bool {
    built_in::find(method).is_some_and(|b| b.changes)
}

/// Whether a name is an aggregate function and nothing else.
pub(super) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name)
}

/// What kind of value an expression surely has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Surely {
    Unit,
    Bool,
    Number,
    Text,
    List,
    Map,
}

impl Surely {
    /// As messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Surely::Unit => "null",
            Surely::Bool => "a bool",
            Surely::Number => "a number",
            Surely::Text => "text",
            Surely::List => "a list",
            Surely::Map => "a map",
        }
    }
}

/// The kind that an expression has whatever the event, if that is plain to see.
pub(super) fn surely(expr: &Expr) -> Option<Surely> {
    Some(match expr {
        Expr::Unit(_) => Surely::Unit,
        Expr::BoolConstant(..) | Expr::And(..) | Expr::Or(..) => Surely::Bool,
        Expr::IntegerConstant(..) | Expr::FloatConstant(..) => Surely::Number,
        Expr::StringConstant(..) | Expr::CharConstant(..) | Expr::InterpolatedString(..) => Surely::Text,
        Expr::Array(..) => Surely::List,
        Expr::Map(..) => Surely::Map,
        Expr::FnCall(call, _) if call.is_operator_call() => match (call.name.as_str(), call.args.as_slice()) {
            ("==" | "!=" | "<" | "<=" | ">" | ">=" | "!" | "contains", _) => Surely::Bool,
            ("-" | "*" | "/" | "%" | "**", _) => Surely::Number,
            ("+", [left, right]) => match (surely(left), surely(right)) {
                (Some(Surely::Text), _) | (_, Some(Surely::Text)) => Surely::Text,
                (Some(Surely::Number), Some(Surely::Number)) => Surely::Number,
                _ => return None,
            },
            _ => return None,
        },
        Expr::FnCall(call, _) if matches!(call.name.as_str(), "contains" | "starts_with" | "ends_with") => Surely::Bool,
        _ => return None,
    })
}

/// Words that Rhai reserves, so that a field of such a name is read as `event["…"]`.
pub(super) fn is_reserved(word: &str) -> bool {
    const WORDS: &[&str] = &[
        "async",
        "await",
        "case",
        "default",
        "go",
        "goto",
        "is",
        "match",
        "module",
        "new",
        "null",
        "package",
        "public",
        "shared",
        "spawn",
        "static",
        "super",
        "sync",
        "thread",
        "use",
        "var",
        "void",
        "with",
        "yield",
        "do",
        "until",
        "let",
        "const",
        "if",
        "else",
        "switch",
        "while",
        "loop",
        "for",
        "in",
        "continue",
        "break",
        "return",
        "throw",
        "try",
        "catch",
        "fn",
        "private",
        "import",
        "export",
        "as",
        "global",
        "true",
        "false",
        "this",
        "eval",
        "print",
        "debug",
        "Fn",
        "call",
        "curry",
        "is_shared",
        "is_def_var",
        "is_def_fn",
        "type_of",
    ];
    WORDS.contains(&word)
}
