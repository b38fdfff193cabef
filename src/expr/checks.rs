//! What is wrong with calls and operators, told before anything runs.

use rhai::{Expr, FnCallExpr, Position};

use super::known::{self, Surely, surely};
use super::spell::spell;
use super::syntax::{place, start};
use super::walk::Walk;
use crate::base::suggest::nearest;

impl Walk<'_> {
    /// Whether the function exists and takes so many arguments.
    pub(super) fn check_call(&mut self, call: &FnCallExpr, at: Position, method: bool) {
        let name = call.name.as_str();
        let given = call.args.len() + usize::from(method);
        let own: Vec<usize> = self.ast.iter_functions().filter(|f| f.name == name).map(|f| f.params.len()).collect();
        // A variable that holds a function is called by its name, and so is a map's member that is one.
        let held = self.scopes.iter().flatten().any(|n| n == name);
        if held || (method && self.source.text.contains("#{")) || own.contains(&given) || own.contains(&call.args.len())
        {
            return;
        }
        let Some(mut counts) = known::arguments(name) else {
            self.unknown(name, at);
            return;
        };
        counts.extend(&own);
        if counts.contains(&given) {
            self.check_constants(call, method);
            return;
        }
        counts.sort_unstable();
        counts.dedup();
        let listed: Vec<String> = counts.iter().map(ToString::to_string).collect();
        let plural = if listed.last().is_some_and(|n| n == "1") { "argument" } else { "arguments" };
        let words = format!("`{name}` takes {} {plural} and is given {given}", listed.join(" or "));
        let help = super::functions::find(name).map(|f| format!("it is called as `{}`: {}", f.signature, f.summary));
        self.error("argument-count", place(at), name.len(), words, help);
    }

    /// Whether arguments that are written as text will do: patterns, zones, durations.
    fn check_constants(&mut self, call: &FnCallExpr, method: bool) {
        let Some(function) = super::functions::find(call.name.as_str()) else { return };
        for (number, check) in &function.checks {
            let argument = number.checked_sub(usize::from(method)).and_then(|i| call.args.get(i));
            let Some(argument @ Expr::StringConstant(text, _)) = argument else { continue };
            if let Err(why) = check(text) {
                let spelled = spell(argument);
                // A field's value is told beside its name; a constant is its own.
                let why = why.strip_prefix(&format!("is {text:?}, which ")).unwrap_or(&why);
                let words = format!("`{spelled}` {why}");
                let help = Some(format!("it is called as `{}`: {}", function.signature, function.summary));
                self.error("bad-argument", start(argument), spelled.len(), words, help);
            }
        }
    }

    /// Whether what is emitted goes to a port that there is.
    pub(super) fn emit(&mut self, call: &FnCallExpr, at: Position) {
        self.script_only("emit", at);
        match call.args.as_slice() {
            [_] => self.facts.emits_main = true,
            [Expr::StringConstant(port, port_at), _] => {
                if !self.ports.iter().any(|p| p == port.as_str()) {
                    let help = match nearest(port, self.ports.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("declare it beside the script: `ports: [{port}]`"),
                    };
                    let words = format!("this step has no port `{port}`");
                    self.error("unknown-port", place(*port_at), port.len() + 2, words, Some(help));
                }
                if !self.facts.emits.iter().any(|p| p == port.as_str()) {
                    self.facts.emits.push(port.to_string());
                }
            }
            [other, _] => {
                let words = "the port of `emit` must be written as text, so that it is known where events go";
                self.error("unknown-port", start(other), 1, words, Some("write `emit(\"port\", value)`".into()));
            }
            _ => self.check_call(call, at, false),
        }
    }

    fn unknown(&mut self, name: &str, at: Position) {
        if known::is_aggregate(name) {
            let words = format!("`{name}` is an aggregate function: it works in a window's `aggregate`, not here");
            self.error("aggregate-outside", place(at), name.len(), words, None);
            return;
        }
        let own: Vec<String> = self.ast.iter_functions().map(|f| f.name.to_string()).collect();
        let candidates = known::names().map(|n| -> &str { n }).chain(own.iter().map(String::as_str));
        let near = nearest(name, candidates).map(str::to_string);
        let elsewhere = match name {
            "sleep" | "timestamp" | "now" | "print" | "debug" | "eval" => Some(
                "scripts reach no clock, no screen and no other code; event time is in the event's own fields"
                    .to_string(),
            ),
            "to_upper" => Some("use `upper(x)`".into()),
            "to_lower" => Some("use `lower(x)`".into()),
            "to_string" => Some("use `to_text(x)`".into()),
            "sub_string" => Some("use `substring(x, start, length)`".into()),
            "to_int" => Some("use `int(x)`, or `parse_int(text)`".into()),
            "to_float" => Some("use `float(x)`, or `parse_float(text)`".into()),
            _ => near.map(|n| format!("did you mean `{n}`?")),
        };
        self.error("unknown-function", place(at), name.len(), format!("there is no function `{name}`"), elsewhere);
    }

    /// Whether an operator can have a value at all.
    pub(super) fn check_operator(&mut self, call: &FnCallExpr, at: Position) {
        let name = call.name.as_str();
        let unfit = |operand: &Expr| {
            surely(operand).filter(|kind| match name {
                "-" | "*" | "/" | "%" | "**" => *kind != Surely::Number,
                "+" => !(matches!(kind, Surely::Number | Surely::Text) || *kind == Surely::Bool && joins(call)),
                "!" => *kind != Surely::Bool,
                _ => false,
            })
        };
        let Some((operand, kind)) = call.args.iter().find_map(|e| Some((e, unfit(e)?))) else { return };
        let whole = spell(&Expr::FnCall(Box::new(call.clone()), at));
        let words = format!("`{whole}` never has a value: `{}` is {}", spell(operand), kind.name());
        let begin = start(operand);
        let len = spell(operand).len();
        self.error("impossible-types", begin, len, words, None);
    }
}

/// Whether a bool beside this `+` may be joined to text.
fn joins(call: &FnCallExpr) -> bool {
    call.args.iter().any(|e| matches!(surely(e), Some(Surely::Text) | None))
}
