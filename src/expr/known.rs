//! Names that expressions may call, and what can be told of a value before it is computed.

use rhai::Expr;

use super::functions;

/// Functions and methods that Rhai's own packages have, with the numbers of arguments, the value they are called on
/// included.
const BUILT_IN: &[(&str, &[usize])] = &[
    ("type_of", &[1]),
    ("call", &[1, 2, 3, 4, 5, 6, 7, 8]),
    ("curry", &[2, 3, 4, 5, 6, 7, 8]),
    ("Fn", &[1]),
    ("is_def_fn", &[2]),
    ("range", &[2, 3]),
    ("chars", &[1, 2, 3]),
    ("start", &[1]),
    ("end", &[1]),
    ("get", &[2]),
    ("set", &[3]),
    ("push", &[2]),
    ("append", &[2]),
    ("concat", &[2]),
    ("insert", &[3]),
    ("pad", &[3]),
    ("pop", &[1]),
    ("shift", &[1]),
    ("remove", &[2]),
    ("clear", &[1]),
    ("truncate", &[2]),
    ("chop", &[2]),
    ("reverse", &[1]),
    ("splice", &[3, 4]),
    ("extract", &[2, 3]),
    ("split", &[2]),
    ("for_each", &[2]),
    ("map", &[2]),
    ("filter", &[2]),
    ("index_of", &[2, 3]),
    ("find", &[2, 3]),
    ("find_map", &[2, 3]),
    ("some", &[2]),
    ("all", &[2]),
    ("dedup", &[1, 2]),
    ("reduce", &[2, 3]),
    ("reduce_rev", &[2, 3]),
    ("zip", &[3]),
    ("sort", &[1, 2]),
    ("sort_by", &[2]),
    ("sort_desc", &[1]),
    ("order", &[1, 2]),
    ("order_by", &[2]),
    ("order_desc", &[1]),
    ("drain", &[2, 3]),
    ("retain", &[2, 3]),
    ("mixin", &[2]),
    ("fill_with", &[2]),
];

/// Functions of our own that are not in the table because they act on the event.
const EFFECTS: &[(&str, &[usize])] = &[("drop", &[0]), ("emit", &[1, 2]), ("null", &[0])];

/// Methods that change what they are called on.
const CHANGING: &[&str] = &[
    "append",
    "chop",
    "clear",
    "dedup",
    "drain",
    "fill_with",
    "insert",
    "mixin",
    "pad",
    "pop",
    "push",
    "remove",
    "retain",
    "reverse",
    "set",
    "shift",
    "sort",
    "sort_by",
    "sort_desc",
    "splice",
    "truncate",
    "for_each",
];

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
    let listed = |list: &[(&str, &[usize])]| list.iter().find(|(n, _)| *n == name).map(|(_, counts)| counts.to_vec());
    let own = functions::find(name).map(|f| f.arguments.clone());
    match (own, listed(BUILT_IN)) {
        (Some(mut own), Some(more)) => {
            own.extend(more);
            Some(own)
        }
        (own, more) => own.or(more).or_else(|| listed(EFFECTS)),
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
    own.chain(BUILT_IN.iter().chain(EFFECTS).map(|(name, _)| *name))
}

/// Whether Rhai's own packages have a function of this name.
pub(super) fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(n, _)| *n == name)
}

/// Whether a method changes what it is called on.
pub(super) fn changes(method: &str) -> bool {
    CHANGING.contains(&method)
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
