//! What is known of the rows on every edge of the graph, and what cannot be because of it.
//!
//! It begins with the `schema` of a source; whatever cannot be known is unknown from there on and never reported. Errors
//! are what fails or is false whatever the event: a field that no event has, a comparison of kinds that never are
//! equal, arithmetic with text. Warnings are what has no effect: taking out a field that is not there, a branch that no
//! row reaches.

use crate::base::diag::{Diagnostic, Span};
use crate::data::format::Format;
use crate::data::layout::{FieldId, FieldPath, Layout, Root};
use crate::data::value::Value;
use crate::expr::Expr;
use crate::expr::types::{At, Condition, Given, Kinds, Type, Typed, implied, read, unknown_field};

use super::aggregate::{Function, Output};
use super::alert::Alert;
use super::join::Join;
use super::pace::{Dedupe, Throttle};
use super::parse::Parse;
use super::schema::records;
use super::window::Window;
use super::{KeyPart, Operator, Port, Source};

/// What an entry's rows are, by port.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Of the main output.
    pub main: Type,
    /// Of rows that came late.
    pub late: Type,
    /// Of the ports that the author named.
    pub named: Type,
}

impl Rows {
    /// Nothing is known.
    pub fn unknown() -> Rows {
        Rows::all(Type::any())
    }

    fn all(rows: Type) -> Rows {
        Rows { main: rows.clone(), late: rows.clone(), named: rows }
    }

    /// The rows of a port. Those that failed are made anew and are not told of.
    pub fn of(&self, port: &Port) -> Type {
        match port {
            Port::Main => self.main.clone(),
            Port::Errors => Type::any(),
            Port::Late => self.late.clone(),
            Port::Named(_) => self.named.clone(),
        }
    }
}

/// What an entry is checked with.
#[derive(Debug)]
pub struct Check<'a> {
    /// Every field of the pipeline.
    pub layout: &'a Layout,
    /// Its constants.
    pub vars: &'a [(String, Value)],
    /// Where the entry names fields, in the order written.
    pub named: &'a [(FieldId, Span)],
    /// What was found.
    pub found: Vec<Diagnostic>,
}

impl Check<'_> {
    /// The rows of a source.
    pub fn source(&mut self, source: &Source) -> Rows {
        let rows = match &source.schema {
            Some(schema) => schema.events(&source.format),
            None => records(&source.format),
        };
        if let Some(field) = source.time.as_ref().and_then(|time| time.field.as_ref()) {
            let typed = self.expr(field, &rows, &[]);
            let kinds = typed.value.kinds;
            if typed.found.is_empty() && kinds != Kinds::NONE && !kinds.meet(Kinds::TEXT | Kinds::NUMBER) {
                let words = format!("`{}` is {kinds}, and a time is text or a number", field.text.trim());
                self.found.push(Diagnostic::error("impossible-types", words, Some(field.origin.span.clone())));
            }
        }
        Rows::all(rows)
    }

    /// The rows of a step that reads these: the rows of each input, and of all together.
    pub fn step(&mut self, operator: &Operator, inputs: &[Type], input: &Type) -> Rows {
        match operator {
            Operator::Filter { condition } => {
                let typed = self.condition(condition, input);
                if typed.found.is_empty() && typed.truth == Some(false) && !is_constant(condition) {
                    let words = format!("`{}` is never true, so nothing passes", condition.text.trim());
                    self.warn("always-false", words, &condition.origin.span);
                }
                Rows::all(input.clone())
            }
            Operator::Script { script, by, .. } => {
                by.iter().for_each(|part| drop(self.expr(&part.expr, input, &[])));
                self.script(script, input)
            }
            Operator::Set { fields } => {
                let mut row = input.clone();
                for (field, expr) in fields {
                    let value = self.expr(expr, &row, &[]).value;
                    if let Some(path) = self.path(*field) {
                        row.set(&path.names, value);
                    }
                }
                Rows::all(row)
            }
            Operator::Keep { fields } => Rows::all(self.keep(fields, input)),
            Operator::Drop { fields } => {
                let mut row = input.clone();
                for path in self.paths(fields) {
                    self.there(&path, &row, 0);
                    row.remove(&path.names);
                }
                Rows::all(row)
            }
            Operator::Rename { fields } => Rows::all(self.rename(fields, input)),
            Operator::Route { branches } => {
                self.route(branches, input);
                Rows::all(input.clone())
            }
            Operator::Parse(parse) => Rows::all(self.parse(parse, input)),
            Operator::Explode(explode) => {
                let mut row = input.clone();
                for path in self.paths(&[explode.field, explode.to]) {
                    row.set(&path.names, Type::any());
                }
                Rows::all(row)
            }
            Operator::Validate(_) => Rows::all(input.clone()),
            Operator::Lookup(lookup) => {
                lookup.on.iter().for_each(|(_, expr)| drop(self.expr(expr, input, &[])));
                // A table's values may be anything.
                let mut row = input.clone();
                for (field, _) in &lookup.fields {
                    if let Some(path) = self.path(*field) {
                        row.set(&path.names, Type::any());
                    }
                }
                Rows::all(row)
            }
            Operator::Dedupe(Dedupe { by, .. }) | Operator::Throttle(Throttle { by, .. }) => self.passed(by, input),
            Operator::Sample(sample) => self.passed(&sample.by, input),
            Operator::Join(join) => Rows { main: self.join(join, inputs), late: input.clone(), named: Type::any() },
            Operator::Tag(_) => Rows::all(input.clone()),
            Operator::Alert(alert) => self.alert(alert, input),
            Operator::Notify(_) => Rows::all(Type::any()),
            Operator::Window(window) => {
                Rows { main: self.window(window, input), late: input.clone(), named: Type::any() }
            }
        }
    }

    /// What a sink reads beside whole rows: the fields of its templates, the columns that it writes.
    pub fn sink(&mut self, format: &Format, input: &Type) {
        let so = if matches!(format, Format::Csv(_)) { ", so its column stays empty" } else { "" };
        let named: Vec<(FieldPath, Span)> =
            self.named.iter().filter_map(|(field, span)| Some((self.path(*field)?, span.clone()))).collect();
        for (path, span) in named {
            if let Some((words, help)) = missing(&path, input) {
                let warning = Diagnostic::warning("unknown-field", format!("{words}{so}"), Some(span));
                self.found.push(Diagnostic { help, ..warning });
            }
        }
    }

    /// The rows that a script passes on and those that it makes.
    fn script(&mut self, script: &Expr, input: &Type) -> Rows {
        let Typed { row, emitted, .. } = self.expr(script, input, &[]);
        let main = match (emitted.main, emitted.only) {
            (Some(emitted), true) => emitted,
            (Some(emitted), false) => row.or(&emitted),
            (None, _) => row,
        };
        Rows { main, late: Type::any(), named: emitted.named.unwrap_or_else(Type::any) }
    }

    fn path(&self, field: FieldId) -> Option<FieldPath> {
        self.layout.path(field).filter(|path| path.root == Root::Event).cloned()
    }

    fn paths(&self, fields: &[FieldId]) -> Vec<FieldPath> {
        fields.iter().filter_map(|field| self.path(*field)).collect()
    }

    fn expr(&mut self, expr: &Expr, row: &Type, computed: &[(FieldId, Type)]) -> Typed {
        let typed = read(expr, &Given { row, vars: self.vars, computed });
        self.found.extend(typed.found.iter().cloned());
        typed
    }

    fn condition(&mut self, condition: &Expr, row: &Type) -> Typed {
        let mut typed = self.expr(condition, row, &[]);
        let kinds = typed.value.kinds;
        if typed.found.is_empty() && kinds != Kinds::NONE && !kinds.meet(Kinds::BOOL) {
            let words = format!("`{}` is {kinds}, where a bool is needed", condition.text.trim());
            let error = Diagnostic::error("impossible-types", words, Some(condition.origin.span.clone()));
            typed.found.push(error.clone());
            self.found.push(error);
        }
        typed
    }

    fn warn(&mut self, code: &'static str, words: String, span: &Span) {
        self.found.push(Diagnostic::warning(code, words, Some(span.clone())));
    }

    /// Warns of a field named where it cannot be there; `nth` of its mentions counts, for a field may be named twice.
    fn there(&mut self, path: &FieldPath, row: &Type, nth: usize) {
        let Some((words, help)) = missing(path, row) else { return };
        let field = self.layout.find(path);
        let mut places = self.named.iter().filter(|(named, _)| Some(*named) == field).map(|(_, span)| span.clone());
        let first = places.next();
        let span = if nth == 0 { first } else { places.nth(nth - 1).or(first) };
        self.found.push(Diagnostic { help, ..Diagnostic::warning("unknown-field", words, span) });
    }

    fn keep(&mut self, fields: &[FieldId], input: &Type) -> Type {
        let mut row = Type::map([]);
        for path in self.paths(fields) {
            self.there(&path, input, 0);
            if let At::Value(of) = input.at(&path.names) {
                row.set(&path.names, of);
                // The maps around it stay only where they were.
                for depth in 1..path.names.len() {
                    let around = path.names.get(..depth).unwrap_or_default();
                    if let At::Value(of) = row.at(around) {
                        row.set(around, of.or_missing());
                    }
                }
            }
        }
        row
    }

    fn rename(&mut self, fields: &[(FieldId, FieldId)], input: &Type) -> Type {
        let mut row = input.clone();
        for (from, to) in fields {
            let (Some(from), Some(to)) = (self.path(*from), self.path(*to)) else { return Type::any() };
            self.there(&from, &row, 0);
            let before = match row.at(&to.names) {
                At::Value(of) => of,
                At::Never(_) => Type::of(Kinds::MISSING),
            };
            let At::Value(of) = row.at(&from.names) else { continue };
            // Where there is nothing to rename, what has the name already may stay.
            let renamed = if of.kinds.meet(Kinds::MISSING) { of.or(&before) } else { of };
            row.remove(&from.names);
            row.set(&to.names, renamed);
        }
        row
    }

    fn route(&mut self, branches: &[(String, Expr)], input: &Type) {
        let mut before: Vec<(&str, Option<Condition>)> = Vec::new();
        let mut always: Option<&str> = None;
        for (name, condition) in branches {
            let typed = self.condition(condition, input);
            let parts = Condition::of(condition);
            let covered = |other: &Option<Condition>| {
                parts.as_ref().zip(other.as_ref()).is_some_and(|(later, earlier)| implied(later, earlier))
            };
            let taken = before.iter().find(|(_, other)| covered(other)).map(|(name, _)| *name);
            let why = match (always, taken) {
                (Some(first), _) => Some(format!("`{first}`, written above it, takes every row")),
                (_, Some(first)) => Some(format!(
                    "wherever `{}` is true, `{first}`, written above it, takes the row",
                    condition.text.trim()
                )),
                (None, None) if typed.truth == Some(false) && typed.found.is_empty() => {
                    Some(format!("`{}` is never true", condition.text.trim()))
                }
                (None, None) => None,
            };
            if let Some(why) = why {
                let words = format!("no row reaches the branch `{name}`: {why}");
                let mut warning = Diagnostic::warning("unreachable-branch", words, Some(condition.origin.span.clone()));
                if always.is_some() || taken.is_some() {
                    warning = warning
                        .help("a row goes to the first branch whose condition is true: put the narrower one first");
                }
                self.found.push(warning);
            }
            if typed.truth == Some(true) && typed.found.is_empty() {
                always.get_or_insert(name);
            }
            before.push((name, parts));
        }
    }

    fn parse(&mut self, parse: &Parse, input: &Type) -> Type {
        let mut row = input.clone();
        if let Some(path) = self.path(parse.field) {
            self.there(&path, &row, 0);
            if !parse.keep {
                row.remove(&path.names);
            }
        }
        let found = records(&parse.format);
        match parse.into {
            Some(into) => match self.path(into) {
                Some(into) => row.set(&into.names, found),
                None => return Type::any(),
            },
            // What is found joins the event's fields.
            None => match joined(row, &found) {
                Some(joined) => return joined,
                None => return Type::any(),
            },
        }
        row
    }

    /// Transitions say much of their own.
    fn alert(&mut self, alert: &Alert, input: &Type) -> Rows {
        for level in &alert.levels {
            let typed = self.condition(&level.when, input);
            if typed.found.is_empty() && typed.truth == Some(false) && !is_constant(&level.when) {
                let words = format!("`{}` is never true, so the alert never fires", level.when.text.trim());
                self.warn("always-false", words, &level.when.origin.span);
            }
            level.clear.iter().for_each(|clear| drop(self.condition(clear, input)));
        }
        for (path, place) in alert.says.templates().flat_map(|template| &template.reads) {
            if path == "meta" || path.starts_with("meta.") {
                let words = format!("`{path}` is nothing that an alert knows: its texts are made of a row's fields");
                let error = Diagnostic::error("no-metadata", words, Some(place.clone()));
                self.found.push(error.help("write it to a field in a step `set` before the alert"));
            } else if let Some((words, help)) = missing(&FieldPath::dotted(path), input) {
                let error = Diagnostic::error("unknown-field", words, Some(place.clone()));
                self.found.push(Diagnostic { help, ..error });
            }
        }
        self.passed(&alert.by, input);
        Rows::all(Type::any())
    }

    /// Rows go on as they are.
    fn passed(&mut self, by: &[KeyPart], input: &Type) -> Rows {
        by.iter().for_each(|part| drop(self.expr(&part.expr, input, &[])));
        Rows::all(input.clone())
    }

    fn join(&mut self, join: &Join, inputs: &[Type]) -> Type {
        let mut row = Type::map([]);
        // A side is there unless the other leaves without a match.
        let [left_alone, right_alone] = join.outer();
        for (at, (side, perhaps)) in [(&join.left, right_alone), (&join.right, left_alone)].into_iter().enumerate() {
            let input = inputs.get(at).cloned().unwrap_or_else(Type::any);
            side.on.iter().for_each(|on| drop(self.expr(on, &input, &[])));
            row.set(&[&side.name], if perhaps { input.or_missing() } else { input });
        }
        if join.select.is_empty() {
            return row;
        }
        let mut selected = Type::map([]);
        for (field, expr) in &join.select {
            let value = self.expr(expr, &row, &[]).value;
            if let Some(path) = self.path(*field) {
                selected.set(&path.names, value);
            }
        }
        selected
    }

    fn window(&mut self, window: &Window, input: &Type) -> Type {
        let mut row = Type::map([]);
        for part in &window.by {
            let key = self.expr(&part.expr, input, &[]).value;
            if let Some(path) = self.path(part.field) {
                row.set(&path.names, key);
            }
        }
        let bounds = [
            (window.bounds.start, Type::of(Kinds::TEXT)),
            (window.bounds.end, Type::of(Kinds::TEXT)),
            (window.bounds.early, Type::of(Kinds::BOOL).or_missing()),
            (window.bounds.revision, Type::of(Kinds::NUMBER).or_missing()),
            (window.bounds.replaces, Type::of(Kinds::LIST).or_missing()),
        ];
        let mut calls: Vec<(FieldId, Type)> = Vec::with_capacity(window.calls.len());
        for call in &window.calls {
            let argument = call.argument.as_ref().map(|argument| (argument, self.expr(argument, input, &[])));
            if let Some((argument, typed)) = &argument {
                self.aggregated(&call.function, argument, typed);
            }
            calls.push((call.result, given(&call.function, argument.map(|(_, typed)| typed.value))));
        }
        let outputs: Vec<(FieldId, Type)> = window
            .outputs
            .iter()
            .map(|(field, output)| {
                let of = match output {
                    Output::Call(index) => calls.get(*index).map_or_else(Type::any, |(_, of)| of.clone()),
                    Output::Expr(expr) => self.expr(expr, &Type::any(), &calls).value,
                };
                (*field, of)
            })
            .collect();
        for (field, of) in bounds.into_iter().chain(outputs) {
            if let Some(path) = self.path(field) {
                row.set(&path.names, of);
            }
        }
        row
    }

    /// Reports an aggregate of numbers over what never is one, and a condition that never is a bool.
    fn aggregated(&mut self, function: &Function, argument: &Expr, typed: &Typed) {
        let kinds = typed.value.kinds;
        if !typed.found.is_empty() || kinds == Kinds::NONE {
            return;
        }
        let text = argument.text.trim();
        let words = if function.takes_numbers() && !kinds.meet(Kinds::NUMBER) {
            format!("`{}` has nothing to work on: `{text}` is {kinds}, and numbers are needed", function.call(text))
        } else if function.takes_condition() && !kinds.meet(Kinds::BOOL) {
            format!("`{text}` is {kinds}, where a bool is needed")
        } else {
            return;
        };
        self.found.push(Diagnostic::error("impossible-types", words, Some(argument.origin.span.clone())));
    }
}

/// A row that what was found in a text has joined; `None` if it is not known what that may be.
fn joined(mut row: Type, found: &Type) -> Option<Type> {
    let names: Vec<String> = found.names()?.map(str::to_owned).collect();
    for name in &names {
        let path = [name.as_str()];
        let At::Value(of) = found.at(&path) else { continue };
        let before = match row.at(&path) {
            At::Value(before) => before,
            At::Never(_) => Type::of(Kinds::MISSING),
        };
        // Maps may become one.
        let of = if of.kinds.meet(Kinds::MAP) && before.kinds.meet(Kinds::MAP) { Type::any() } else { of };
        row.set(&path, if of.kinds.meet(Kinds::MISSING) { of.or(&before) } else { of });
    }
    Some(row)
}

/// What an aggregate gives.
fn given(function: &Function, argument: Option<Type>) -> Type {
    use Function as F;
    match function {
        F::Count | F::CountIf | F::Distinct | F::ApproxDistinct => Type::of(Kinds::NUMBER),
        F::Any | F::All => Type::of(Kinds::BOOL).or_missing(),
        F::Min | F::Max | F::First | F::Last => argument.map_or_else(Type::any, Type::or_missing),
        F::Fold(_) => Type::any(),
        F::Top(_) | F::Collect(_) => Type::of(Kinds::LIST).or_missing(),
        F::Sum | F::Avg | F::Stddev | F::StddevPop | F::Variance | F::VariancePop | F::Quantile(_) => {
            Type::of(Kinds::NUMBER).or_missing()
        }
    }
}

/// Whether the text is `true` or `false` and so meant to be.
fn is_constant(expr: &Expr) -> bool {
    matches!(expr.text.trim(), "true" | "false")
}

fn missing(path: &FieldPath, row: &Type) -> Option<(String, Option<String>)> {
    let names: Vec<&str> = path.names.iter().map(|name| name.as_str()).collect();
    match row.at(&names) {
        At::Never(never) => Some(unknown_field(row, &names, never)),
        At::Value(_) => None,
    }
}
