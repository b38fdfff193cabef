//! From text to [`Expr`]: reads it, reports what is wrong at its place, and finds what it touches.

use rhai::{AST, LexError, ParseError, ParseErrorType, Stmt};

use super::facts::Facts;
use super::host::ENGINE;
use super::source::Source;
use super::syntax::{chain, place, start};
use super::walk::Walk;
use super::{Expr, Kind, Mode, Scope, known, subset};
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::tree::Origin;
use crate::data::layout::{FieldId, FieldPath, Layout, Root};
use crate::data::value::Value;

/// Reads an expression or script. What is wrong goes to `found`, at its place; `None` if that makes it unusable.
pub fn analyse(
    text: &str,
    origin: &Origin,
    kind: Kind,
    scope: &Scope<'_>,
    layout: &mut Layout,
    found: &mut Diagnostics,
) -> Option<Expr> {
    analyse_bound(text, origin, kind, scope, &[], layout, found)
}

/// The same with names of ours that stand for values, as `acc` in a fold: each hides a field of that name. What is read of
/// them has a computed column, [`named_members`].
pub fn analyse_named(
    text: &str,
    origin: &Origin,
    names: &[&str],
    scope: &Scope<'_>,
    layout: &mut Layout,
    found: &mut Diagnostics,
) -> Option<Expr> {
    let mut bindings = Vec::with_capacity(names.len());
    for name in names {
        bindings.push(((*name).to_owned(), layout.intern(super::walk::named_path(name, &[]))?));
    }
    analyse_bound(text, origin, Kind::Expression, scope, &bindings, layout, found)
}

/// What an expression reads of a name of ours: the column, and the members from the value to what is read.
pub fn named_members<'a>(
    expr: &'a Expr,
    name: &'a str,
    layout: &'a Layout,
) -> impl Iterator<Item = (FieldId, &'a [compact_str::CompactString])> {
    let first = super::walk::named_path(name, &[]);
    expr.reads.iter().filter_map(move |field| {
        let path = layout.path(*field).filter(|p| p.root == Root::Computed)?;
        let (head, members) = path.names.split_first()?;
        (Some(head) == first.names.first()).then_some((*field, members))
    })
}

/// The same with names for computed columns: the texts of calls that stand for them, or names of values.
pub(super) fn analyse_bound(
    text: &str,
    origin: &Origin,
    kind: Kind,
    scope: &Scope<'_>,
    bindings: &[(String, FieldId)],
    layout: &mut Layout,
    found: &mut Diagnostics,
) -> Option<Expr> {
    let source = Source::new(text);
    let ast = parsed(&source, origin, found)?;
    if kind == Kind::Expression
        && let Err(problem) = single(&ast, origin)
    {
        found.push(problem);
        return None;
    }
    let (facts, problems) = read(&source, origin, kind, &ast, scope, bindings);
    let broken = problems.iter().any(|d| d.severity == crate::base::diag::Severity::Error);
    found.list.extend(problems);
    if broken {
        return None;
    }
    shadowing(&facts, origin, layout, found);
    let mode = match subset::lower(ast.statements(), kind, &facts, scope.vars, &source) {
        Ok(_) => Mode::Compiled,
        Err(outside) => Mode::Rhai { reason: outside.reason, line: outside.at.0, column: outside.at.1 },
    };
    let Some((reads, writes)) = intern(&facts, bindings, layout) else {
        let words = format!("the pipeline names more than {} fields", crate::base::limit::FIELDS);
        found.push(Diagnostic::error("too-many-fields", words, Some(origin.span.clone())));
        return None;
    };
    Some(Expr {
        text: text.to_string(),
        origin: origin.clone(),
        kind,
        reads,
        writes,
        whole_event: facts.whole.is_some(),
        uses_state: facts.state,
        drops: facts.drops,
        emits_main: facts.emits_main,
        emits: facts.emits,
        mode,
        bindings: bindings.to_vec(),
    })
}

/// Bytes of one expression or script: far more than one person reads.
const TEXT_BYTES: usize = 64 << 10;

/// The syntax tree, or what is wrong with the text.
pub(super) fn parsed(source: &Source<'_>, origin: &Origin, found: &mut Diagnostics) -> Option<AST> {
    if source.text.len() > TEXT_BYTES {
        let words = format!("a script is at most {} KiB long", TEXT_BYTES >> 10);
        found.push(Diagnostic::error("too-long", words, Some(origin.span.clone())));
        return None;
    }
    parse(source.text).map_err(|error| found.push(syntax_error(&error, origin))).ok()
}

/// Parses text as it is; nothing is optimised, so that what is written is what runs.
pub(super) fn parse(text: &str) -> Result<AST, ParseError> {
    ENGINE.compile(text)
}

/// Walks the tree.
pub(super) fn read(
    source: &Source<'_>,
    origin: &Origin,
    kind: Kind,
    ast: &AST,
    scope: &Scope<'_>,
    bindings: &[(String, FieldId)],
) -> (Facts, Vec<Diagnostic>) {
    let mut walk = Walk {
        source,
        origin,
        kind,
        ast,
        state: scope.state,
        ports: scope.ports,
        vars: scope.vars,
        bindings,
        scopes: Vec::new(),
        function: None,
        closures: Vec::new(),
        facts: Facts::default(),
        found: Vec::new(),
    };
    walk.all();
    (walk.facts, walk.found)
}

/// An expression is one value.
pub(super) fn single(ast: &AST, origin: &Origin) -> Result<(), Diagnostic> {
    let error = |words: &str, at: (usize, usize), help: &str| {
        let span = if at.0 == 0 { origin.span.clone() } else { origin.at(at.0, at.1, 1) };
        Err(Diagnostic::error("not-an-expression", words, Some(span)).help(help))
    };
    match ast.statements() {
        [] => error("the expression is empty", (0, 0), "write a condition or a value, such as `status == \"ok\"`"),
        [Stmt::Assignment(assignment)] => error(
            "an expression only computes a value and cannot assign",
            place(assignment.0.position()),
            "compare with `==`",
        ),
        [Stmt::Expr(_) | Stmt::FnCall(..) | Stmt::If(..) | Stmt::Switch(..) | Stmt::Block(_)] => Ok(()),
        [one] => {
            error("this is a statement, and an expression is a single value", place(one.position()), "use a `script`")
        }
        [_, second, ..] => {
            let at = if let Stmt::Expr(expr) = second { start(expr) } else { place(second.position()) };
            error("an expression is a single value; this begins a second one", at, "use a `script`")
        }
    }
}

/// Warns of locals that hide a field.
fn shadowing(facts: &Facts, origin: &Origin, layout: &Layout, found: &mut Diagnostics) {
    for (name, at) in &facts.locals {
        let used = facts
            .accesses
            .iter()
            .any(|a| a.path.root == Root::Event && a.path.names.first().is_some_and(|n| n == name));
        if used || layout.find(&FieldPath::event([name])).is_some() {
            let words = format!("the local `{name}` hides the field `{name}`");
            let help = format!(
                "give it another name, or leave out `let` to write the field; the field is also `event[\"{name}\"]`"
            );
            found
                .push(Diagnostic::warning("shadowed-field", words, Some(origin.at(at.0, at.1, name.len()))).help(help));
        }
    }
}

/// Gives every field its number: those read, those written.
fn intern(facts: &Facts, bindings: &[(String, FieldId)], layout: &mut Layout) -> Option<(Vec<FieldId>, Vec<FieldId>)> {
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    let whole = facts.whole.is_some();
    for (path, read, write) in facts.fields() {
        if path.root == Root::Computed {
            match bindings.iter().find(|(name, _)| super::walk::bound_path(name) == path) {
                Some((_, field)) => reads.push(*field),
                // A value of ours with a name, or a member of it.
                None => reads.push(layout.intern(path)?),
            }
        } else if whole && path.root == Root::Event {
            // The event as a whole has it; what is written is written as a top-level field.
            let top = layout.intern(FieldPath::event(path.names.first()))?;
            if write {
                writes.push(top);
            }
        } else {
            let field = layout.intern(path)?;
            if read {
                reads.push(field);
            }
            if write {
                writes.push(field);
            }
        }
    }
    if whole && (facts.whole_written || !writes.is_empty()) {
        writes.push(layout.intern(FieldPath { root: Root::Event, names: Vec::new() })?);
    }
    for list in [&mut reads, &mut writes] {
        list.sort_unstable();
        list.dedup();
    }
    Some((reads, writes))
}

impl Expr {
    /// The field, if the text is exactly one field's path.
    pub fn as_path(&self) -> Option<FieldId> {
        let ([field], true) = (self.reads.as_slice(), self.kind == Kind::Expression) else { return None };
        let ast = parse(&self.text).ok()?;
        let [Stmt::Expr(expr)] = ast.statements() else {
            // A call that stands for a computed column.
            let [Stmt::FnCall(..)] = ast.statements() else { return None };
            return self.bindings.iter().any(|(call, _)| *call == self.text.trim()).then_some(*field);
        };
        if let rhai::Expr::FnCall(..) = &**expr {
            return self.bindings.iter().any(|(call, _)| *call == self.text.trim()).then_some(*field);
        }
        let taken = chain(expr);
        let plain = matches!(taken.root, rhai::Expr::Variable(..)) && taken.names().len() == taken.segments.len();
        (plain && !self.whole_event).then_some(*field)
    }
}

/// What is wrong with the text, in plain words.
fn syntax_error(error: &ParseError, origin: &Origin) -> Diagnostic {
    use ParseErrorType as E;
    let at = place(error.position());
    let span = if at.0 == 0 { origin.span.clone() } else { origin.at(at.0, at.1.max(1), 1) };
    let (words, help) = match error.err_type() {
        E::UnexpectedEOF => ("the text ends before it is complete".to_string(), None),
        E::Reserved(word) if word.chars().all(|c| c.is_alphabetic() || c == '_') => (
            format!("`{word}` is a word of the language and cannot be a name here"),
            Some(format!("for a field of that name write `event[\"{word}\"]`")),
        ),
        E::Reserved(word) => (format!("`{word}` means nothing here"), None),
        E::UnknownOperator(symbol) if symbol == "?" => {
            ("there is no `a ? b : c`".into(), Some("write `if a { b } else { c }`".into()))
        }
        E::UnknownOperator(symbol) => (format!("there is no operator `{symbol}`"), None),
        E::BadInput(LexError::UnterminatedString) => ("this text has no closing quote".into(), None),
        E::BadInput(LexError::MalformedChar(text)) => (
            "text stands in double quotes; single quotes are for one character".into(),
            Some(format!("write \"{text}\"")),
        ),
        E::BadInput(LexError::ImproperSymbol(symbol, _)) if symbol == "=" => {
            ("`=` assigns; it cannot stand in a condition".into(), Some("compare with `==`".into()))
        }
        E::BadInput(LexError::ImproperSymbol(symbol, _)) if symbol.starts_with("==") || symbol.starts_with("!=") => {
            (format!("there is no operator `{symbol}`"), Some("use `==` and `!=`".into()))
        }
        E::BadInput(LexError::ImproperSymbol(word, _)) if ["eval", "import", "export"].contains(&word.as_str()) => (
            format!("`{word}` is not in this language: scripts reach no other code"),
            Some(format!("for a field of that name write `event[\"{word}\"]`")),
        ),
        E::BadInput(other) => (lower_first(&other.to_string()), None),
        E::MissingToken(token, _) if token == ";" => {
            ("this does not continue what stands before it".into(), Some(missing_semicolon().into()))
        }
        E::MissingToken(token, why) => (format!("`{token}` is missing {why}"), None),
        E::AssignmentToConstant(name) => (format!("`{name}` is a constant and cannot be written"), None),
        E::AssignmentToInvalidLHS(_) => {
            ("this cannot be assigned to".into(), Some("assign to a field or a local".into()))
        }
        E::ExprTooDeep => (
            format!("this nests deeper than {} levels", super::host::DEPTH),
            Some("compute a part of it first: `let part = …;`".into()),
        ),
        E::PropertyExpected => ("the name of a member is missing after `.`".into(), None),
        E::VariableExpected => ("a name is missing here".into(), None),
        E::MismatchedType(wanted, actual) => {
            let wanted = if wanted.contains("bool") { "a bool" } else { wanted };
            let words = format!("{wanted} is needed here, and this is {actual}");
            return Diagnostic::error("impossible-types", words, Some(span));
        }
        other => (lower_first(&other.to_string()), None),
    };
    Diagnostic { help, ..Diagnostic::error("syntax", words, Some(span)) }
}

fn missing_semicolon() -> &'static str {
    "statements end with `;`; conditions are joined with `&&` and `||`, and negated with `!`"
}

/// Rhai's sentences begin with a capital, ours do not.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_lowercase().to_string()).unwrap_or_default();
    format!("{first}{}", letters.as_str()).replace('\'', "`")
}

/// The constants that an expression needs again when it is prepared to run.
pub(super) fn scope_of(vars: &[(String, Value)]) -> Scope<'_> {
    Scope { vars, state: true, ports: &[] }
}

/// Whether a word needs `event["…"]` to be read as a field.
pub fn is_reserved_word(word: &str) -> bool {
    known::is_reserved(word) || ["event", "meta", "state", "vars"].contains(&word)
}
