//! What is reported before anything runs, and where.

use super::harness::problems;
use crate::base::diag::{Diagnostics, SourceFile, Span};
use crate::base::tree::Origin;
use crate::data::layout::Layout;
use crate::data::value::Value;
use crate::expr::{AggregateOutput, Kind, Scope, analyse, analyse_aggregate};
use std::sync::Arc;

fn expression(text: &str) -> Vec<String> {
    let vars = [("limit".to_string(), Value::Int(3))];
    let scope = Scope { vars: &vars, ..Scope::default() };
    let list = problems(text, Kind::Expression, &scope);
    list.into_iter().map(|(code, words, place, help)| format!("{place} {code}: {words} | {help}")).collect()
}

fn script(text: &str) -> Vec<String> {
    let ports = ["alarms".to_string()];
    let list = problems(text, Kind::Script, &Scope { ports: &ports, ..Scope::default() });
    list.into_iter().map(|(code, words, place, help)| format!("{place} {code}: {words} | {help}")).collect()
}

#[test]
fn mistakes_in_expressions() {
    let cases = [
        ("a +", "1:4 syntax: the text ends before it is complete | "),
        (
            "match == 1",
            "1:1 syntax: `match` is a word of the language and cannot be a name here | for a field of that name write `event[\"match\"]`",
        ),
        ("a ? 1 : 2", "1:3 syntax: there is no `a ? b : c` | write `if a { b } else { c }`"),
        (
            "a and b",
            "1:3 syntax: this does not continue what stands before it | statements end with `;`; conditions are joined with `&&` and `||`, and negated with `!`",
        ),
        ("a = 5", "1:3 not-an-expression: an expression only computes a value and cannot assign | compare with `==`"),
        ("a === 5", "1:3 syntax: there is no operator `===` | use `==` and `!=`"),
        (
            "",
            "1:1 not-an-expression: the expression is empty | write a condition or a value, such as `status == \"ok\"`",
        ),
        (
            "let a = 1; a > 2",
            "1:12 not-an-expression: an expression is a single value; this begins a second one | use a `script`",
        ),
        ("uper(a)", "1:1 unknown-function: there is no function `uper` | did you mean `upper`?"),
        ("a.uper()", "1:3 unknown-function: there is no function `uper` | did you mean `upper`?"),
        (
            "round()",
            "1:1 argument-count: `round` takes 1 or 2 arguments and is given 0 | it is called as `round(x, digits?)`: The nearest integer, or the nearest number with so many decimals; halves away from zero.",
        ),
        (
            "avg(a) > 3",
            "1:1 aggregate-outside: `avg` is an aggregate function: it works in a window's `aggregate`, not here | ",
        ),
        ("1 && true", "1:1 impossible-types: a bool is needed here, and this is a number | "),
        ("a > 1 && b * 1", "1:10 impossible-types: `b * 1` is a number, where a bool is needed | "),
        ("\"a\" * 2", "1:1 impossible-types: `\"a\" * 2` never has a value: `\"a\"` is text | "),
        ("vars.limt > 2", "1:1 unknown-var: there is no constant `limt` in `vars` | did you mean `vars.limit`?"),
        (
            "state.n > 2",
            "1:1 state-without-by: `state` is kept for each key, and this step has no key | add `by:` to the script, or read a field of that name as `event[\"state\"]`",
        ),
        (
            "meta",
            "1:1 meta-member: `meta` is read by member | name what you need: `meta.source`, `meta.path`, `meta.topic`",
        ),
        ("a == null", "1:6 null: `null` is written `()` where it is compared, and `null()` where it is assigned | "),
        ("drop()", "1:1 script-only: `drop` works in a script, and this is an expression | "),
        (
            "timestamp()",
            "1:1 unknown-function: there is no function `timestamp` | scripts reach no clock, no screen and no other code; event time is in the event's own fields",
        ),
        (
            "eval(\"1\")",
            "1:1 syntax: `eval` is not in this language: scripts reach no other code | for a field of that name write `event[\"eval\"]`",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(expression(text), [expected], "{text}");
    }
    assert!(expression("a > vars.limit && event[\"match\"] == 1").is_empty());
    assert!(expression("debug == 1 && print == 2 && as == 3").is_empty());
}

#[test]
fn mistakes_in_scripts() {
    let cases = [
        ("emit(\"alarm\", event)", "1:6 unknown-port: this step has no port `alarm` | did you mean `alarms`?"),
        (
            "emit(a, event)",
            "1:6 unknown-port: the port of `emit` must be written as text, so that it is known where events go | write `emit(\"port\", value)`",
        ),
        (
            "b = 1;\nlet b = 2;",
            "2:5 shadowed-field: the local `b` hides the field `b` | give it another name, or leave out `let` to write the field; the field is also `event[\"b\"]`",
        ),
        (
            "fn f(x) { x + limit }\na = f(1);",
            "1:15 unknown-name: the function `f` does not see `limit`: functions see only their arguments | give it as an argument: `f(…, limit)`",
        ),
        ("meta.path = 1;", "1:1 meta-is-read: `meta` says where an event comes from and cannot be written | "),
        (
            "import \"x\" as y;",
            "1:1 syntax: `import` is a word of the language and cannot be a name here | for a field of that name write `event[\"import\"]`",
        ),
        ("if a = 1 { }", "1:6 syntax: `=` assigns; it cannot stand in a condition | compare with `==`"),
        (
            "a = 'warm';",
            "1:5 syntax: text stands in double quotes; single quotes are for one character | write \"warm\"",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(script(text), [expected], "{text}");
    }
    assert!(script("let s = 0; for x in list { s += x; } total = s; emit(\"alarms\", #{n: s});").is_empty());
}

/// A block scalar of a file: every line is indented, and places are those of the file.
#[test]
fn places_in_a_block_scalar() {
    let text = "steps:\n  s:\n    script: |\n      a = 1;\n      é = \"x\" * 2;\n";
    let file = Arc::new(SourceFile { name: "p.yaml".into(), text: text.into() });
    let lines = text.match_indices("      ").map(|(at, _)| at + 6).collect();
    let origin = Origin { span: Span { file, range: 26..text.len() }, lines: Arc::new(lines) };
    let mut found = Diagnostics::default();
    let script = "a = 1;\né = b * c;\nd = uper(a);\n";
    analyse("a = 1;\nb = uper(a);", &origin, Kind::Script, &Scope::default(), &mut Layout::default(), &mut found);
    let places: Vec<String> = found.list.iter().map(|d| d.span.as_ref().unwrap().place()).collect();
    assert_eq!(places, ["p.yaml:5:11"], "{script}");
}

#[test]
fn aggregates() {
    let functions = ["count", "sum", "avg", "min", "max", "first", "last"];
    let read = |text: &str| {
        let (mut layout, mut found) = (Layout::default(), Diagnostics::default());
        let origin = Origin::detached("test", text);
        let result = analyse_aggregate(text, &origin, &Scope::default(), &functions, &mut layout, &mut found);
        let problems: Vec<String> = found
            .list
            .iter()
            .map(|d| {
                format!("{} {} | {}", d.span.as_ref().unwrap().place(), d.message, d.help.clone().unwrap_or_default())
            })
            .collect();
        (result, problems, layout)
    };
    let (result, problems, _) = read("max(temperature) - min(temperature)");
    let spread = result.unwrap_or_else(|| panic!("{problems:?}"));
    assert_eq!(spread.calls.iter().map(|c| c.function.as_str()).collect::<Vec<_>>(), ["max", "min"]);
    let AggregateOutput::Expr(expr) = &spread.output else { panic!() };
    assert_eq!(expr.reads, spread.calls.iter().map(|c| c.result).collect::<Vec<_>>());
    assert_eq!(spread.calls[1].argument.as_ref().unwrap().origin.span.place(), "test:1:24");

    assert_eq!(read(" count() ").0.unwrap().output, AggregateOutput::Call(0));
    let (result, _, layout) = read("round(avg(a * 2) + min(max(a), sum(b)), 1)");
    let calls: Vec<String> = result.unwrap().calls.iter().map(|c| layout.path(c.result).unwrap().to_string()).collect();
    assert_eq!(calls, ["computed.avg(a * 2)", "computed.max(a)", "computed.sum(b)"]);

    let wrong = [
        (
            "avg(max(a))",
            "test:1:5 `max` stands inside another aggregate call, and calls do not nest | use a second window step for the outer one",
        ),
        (
            "avg(a) + b",
            "test:1:10 `b` stands outside an aggregate call, and a window has many values of it | write `first(b)` or `last(b)`, or add it to `by`",
        ),
        ("agv(a)", "test:1:1 there is no function `agv` | did you mean `avg`?"),
        (
            "median(a)",
            "test:1:1 the aggregate `median` is not in this version | there are count, sum, avg, min, max, first, last",
        ),
        ("avg(a +)", "test:1:8 unexpected `)` | "),
        (
            "1 + 2",
            "test:1:1 a window's field is made of aggregate calls, and here is none | call one of count, sum, avg, min, max, first, last",
        ),
    ];
    for (text, expected) in wrong {
        let (result, problems, _) = read(text);
        assert!(result.is_none(), "{text}");
        assert_eq!(problems, [expected], "{text}");
    }
}
