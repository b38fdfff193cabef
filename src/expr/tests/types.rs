//! What is said of types holds: whatever is called impossible is, and no value is of a kind that its type rules out.

use proptest::prelude::*;

use super::agree::{event, expression, refused, statement};
use super::harness::{analysed, json, scripts, spelled, values};
use crate::base::diag::Severity;
use crate::data::layout::Layout;
use crate::data::value::Value;
use crate::expr::functions::functions;
use crate::expr::types::{At, Condition, Given, Kinds, Type, Typed, implied, read};
use crate::expr::{Kind, Scope};

fn typed(text: &str, kind: Kind, row: &Type) -> Typed {
    let expr = analysed(text, kind, &Scope::default(), &mut Layout::default());
    read(&expr, &Given { row, vars: &[], computed: &[] })
}

/// The narrowest type of some events.
fn row_of(events: &[Value]) -> Type {
    events.iter().map(Type::constant).reduce(|a, b| a.or(&b)).unwrap_or_else(Type::any)
}

/// The value that a result of the harness shows; `None` for an error.
fn result(shown: &str) -> Option<Value> {
    match shown {
        "missing" => Some(Value::Null),
        error if error.starts_with("error: ") => None,
        text => Some(json(text)),
    }
}

/// What is found in an expression, each message with whether it is an error.
fn said(text: &str, kind: Kind, row: &Type) -> Vec<String> {
    let mark = |s: Severity| if s == Severity::Error { "" } else { "warning: " };
    typed(text, kind, row).found.iter().map(|d| format!("{}{}", mark(d.severity), d.message)).collect()
}

/// A row of fields of every kind.
fn row() -> Type {
    let site = Type::map([("floor".into(), Type::of(Kinds::NUMBER)), ("name".into(), Type::of(Kinds::TEXT))]);
    Type::map([
        ("n".into(), Type::of(Kinds::NUMBER)),
        ("t".into(), Type::of(Kinds::TEXT)),
        ("maybe".into(), Type::of(Kinds::TEXT).or_missing()),
        ("b".into(), Type::of(Kinds::BOOL)),
        ("l".into(), Type::of(Kinds::LIST)),
        ("site".into(), site),
        ("x".into(), Type::any()),
    ])
}

#[test]
fn what_cannot_be_is_found() {
    let of = |text: &str| said(text, Kind::Expression, &row());
    assert_eq!(of("t > 5"), ["`t > 5` never has a value: `t` is text and `5` is a number"]);
    assert_eq!(of("5 != maybe"), ["`5 != maybe` is always true: `5` is a number and `maybe` is text"]);
    assert_eq!(of("l > l"), ["`l > l` never has a value: a list has no order"]);
    assert_eq!(of("maybe > 5"), ["`maybe > 5` is never true: `maybe` is text and `5` is a number"]);
    assert_eq!(of("n > ()"), ["`n > ()` is always false: `n` is a number and `()` is null"]);
    assert_eq!(of("t in [1, 2]"), ["`t in [1, 2]` is always false: `t` is text and the list holds a number"]);
    assert_eq!(of("n == ()"), ["warning: `n == ()` is always false: `n` is never missing or null"]);
    assert_eq!(of("maybe * 2"), ["`maybe * 2` never has a value: `maybe` is text"]);
    assert_eq!(of("b + 1"), ["`b + 1` never has a value: `b` is a bool"]);
    assert_eq!(of("-t"), ["`-t` never has a value: `t` is text"]);
    assert_eq!(of("t && n > 1"), ["`t` is text, where a bool is needed"]);
    assert_eq!(of("!n"), ["`n` is a number, where a bool is needed"]);
    assert_eq!(of("upper(n)"), ["`upper(n)` never has a value: `n` is a number"]);
    assert_eq!(of("n.upper() == \"A\""), ["`n.upper(…)` never has a value: `n` is a number"]);
    assert_eq!(of("upper(t) > 5"), ["`upper(t) > 5` never has a value: `upper(t)` is text and `5` is a number"]);
    assert_eq!(of("sight.floor"), ["there is no field `sight` here"]);
    assert_eq!(of("site.flor == 1"), ["`site` has no member `flor`"]);
    assert_eq!(of("t.floor == 1"), ["`t` is text and has no member `floor`"]);
    assert_eq!(of("event[\"tt\"] == 1"), ["there is no field `tt` here"]);
    assert_eq!(of("if t == 1 { 2 } else { 3 }"), ["`t == 1` is always false: `t` is text and `1` is a number"]);
}

#[test]
fn what_may_be_is_left_alone() {
    let of = |text: &str| said(text, Kind::Expression, &row());
    let may = [
        "x > 5",
        "x.y.z == \"a\"",
        "maybe == ()",
        "maybe ?? \"a\" == \"a\"",
        "t + 1",
        "1 + t == \"1a\"",
        "b == true",
        "n in [1, \"a\"]",
        "len(l) > 1",
        "len(t) > 1",
        "t in l",
        "\"a\" in t",
        "l[0] == 1",
        "meta.path == 5",
        "l.filter(|v| v > 2).len() > n",
        "is_text(n)",
        "event.n > 1",
        "site[\"floor\"] > 1",
        "t.len() == 5",
        "round(n, 1) > 2",
    ];
    for text in may {
        assert_eq!(of(text), [""; 0], "{text}");
    }
    assert_eq!(said("n == 1", Kind::Expression, &Type::any()), [""; 0]);
}

#[test]
fn scripts_leave_rows_of_known_types() {
    let after = |text: &str| typed(text, Kind::Script, &row()).row;
    let kinds = |row: &Type, path: &[&str]| match row.at(path) {
        At::Value(of) => Some(of.kinds),
        At::Never(_) => None,
    };
    let row = after(
        "f = n * 2; site.level = \"a\" + n; if b { g = 1; } let y = 3; y += 1; h = y; x = (); t += \"x\"; l.push(1);",
    );
    assert_eq!(kinds(&row, &["f"]), Some(Kinds::NUMBER));
    assert_eq!(kinds(&row, &["site", "level"]), Some(Kinds::TEXT));
    assert_eq!(kinds(&row, &["site", "floor"]), Some(Kinds::NUMBER));
    assert_eq!(kinds(&row, &["g"]), Some(Kinds::NUMBER | Kinds::MISSING));
    assert_eq!(kinds(&row, &["h"]), Some(Kinds::ANY));
    assert_eq!(kinds(&row, &["x"]), Some(Kinds::MISSING));
    assert_eq!(kinds(&row, &["y"]), None);
    assert_eq!([kinds(&row, &["t"]), kinds(&row, &["l"])], [Some(Kinds::ANY), Some(Kinds::ANY)]);
    assert_eq!(kinds(&after("event.remove(\"n\");"), &["whatever"]), Some(Kinds::ANY));
    let of = |text: &str| said(text, Kind::Script, &self::row());
    assert_eq!(of("z = zz;"), ["there is no field `zz` here"]);
    assert_eq!(of("z = 1; if z > \"a\" { y = z; }"), [""; 0]);
    assert_eq!(of("let q = t; if q > 5 { drop(); }"), ["`q > 5` never has a value: `q` is text and `5` is a number"]);
    assert_eq!(of("let q = t; q = 7; if q > 5 { drop(); }"), [""; 0]);
    assert_eq!(of("for item in l { if item > nn { z = 1; } }"), ["there is no field `nn` here"]);
}

#[test]
fn conditions_cover_each_other() {
    let condition = |text: &str| {
        let expr = analysed(text, Kind::Expression, &Scope::default(), &mut Layout::default());
        Condition::of(&expr).unwrap()
    };
    let covers = |later: &str, earlier: &str| implied(&condition(later), &condition(earlier));
    for (later, earlier) in [
        ("a == 1", "a  ==  1"),
        ("a > 30", "a > 20"),
        ("a > 20", "a >= 20"),
        ("30 < a", "a > 20"),
        ("a == 5", "a >= 5"),
        ("a < 1 && b == \"x\"", "a < 2"),
        ("b && a < 1", "a < 1 && b"),
        ("a.b <= 1", "a.b < 2"),
    ] {
        assert!(covers(later, earlier), "{later} within {earlier}");
    }
    for (later, earlier) in [
        ("a > 20", "a > 30"),
        ("a >= 20", "a > 20"),
        ("a > 30", "b > 20"),
        ("a > 30", "a > 20 && b"),
        ("a == 1", "a == 2"),
        ("a < 1", "a > 0"),
        ("a != 1", "a > 0"),
    ] {
        assert!(!covers(later, earlier), "{later} within {earlier}");
    }
}

/// Holds a message about a piece of an expression against what the piece gives.
fn holds(message: &str, events: &[Value]) -> Result<(), TestCaseError> {
    let Some((piece, claim)) = message.strip_prefix('`').and_then(|m| m.split_once("` ")) else { return Ok(()) };
    if piece.contains('…') || refused(piece, Kind::Expression) {
        return Ok(());
    }
    let (_, shown) = values(piece, events, &[]);
    for value in shown.iter().map(|s| result(s)) {
        match (claim, value) {
            (c, Some(value)) if c.starts_with("is always true") => {
                prop_assert!(matches!(value, Value::Bool(true)), "{}", message)
            }
            (c, Some(value)) if c.starts_with("is always false") => {
                prop_assert!(matches!(value, Value::Bool(false)), "{}", message);
            }
            (c, value) if c.starts_with("is never true") => {
                prop_assert!(!matches!(value, Some(Value::Bool(true))), "{}", message);
            }
            (c, value) if c.starts_with("never has a value") => prop_assert!(value.is_none(), "{}", message),
            (c, value) if c.ends_with("where a bool is needed") => {
                prop_assert!(!matches!(value, Some(Value::Bool(_))), "{}", message);
            }
            _ => {}
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_global_rejects: 1_000_000, ..ProptestConfig::default() })]

    #[test]
    fn no_false_alarms(text in expression(), events in proptest::collection::vec(event(), 1..3)) {
        prop_assume!(!refused(&text, Kind::Expression));
        let events: Vec<_> = events.iter().map(|e| json(e)).collect();
        let typed = typed(&text, Kind::Expression, &row_of(&events));
        for diagnostic in &typed.found {
            holds(&diagnostic.message, &events)?;
        }
        let (_, shown) = values(&text, &events, &[]);
        for value in shown.iter().filter_map(|s| result(s)) {
            prop_assert_eq!(typed.value.refuses(&value), None, "{} gives {} and not {}", text, spelled(&value), typed.value.kinds);
            if let (Some(truth), Value::Bool(value)) = (typed.truth, &value) {
                prop_assert_eq!(truth, *value, "{}", text);
            }
        }
    }

    #[test]
    fn rows_after_a_script_are_of_its_type(
        statements in proptest::collection::vec(statement(), 1..4),
        events in proptest::collection::vec(event(), 1..3),
    ) {
        let text = statements.join("\n");
        prop_assume!(!refused(&text, Kind::Script));
        let events: Vec<_> = events.iter().map(|e| json(e)).collect();
        let typed = typed(&text, Kind::Script, &row_of(&events));
        // What is said of a local cannot be tried without its script, and only the local has this letter for a name.
        for diagnostic in typed.found.iter().filter(|_| !text.contains("let l")) {
            holds(&diagnostic.message, &events)?;
        }
        let (_, outcomes) = scripts(&text, &events);
        for row in outcomes.iter().filter(|o| o.starts_with('{')) {
            prop_assert_eq!(typed.row.refuses(&json(row)), None, "{} leaves {}", text, row);
        }
    }
}

#[test]
fn functions_give_what_is_said() {
    for function in functions() {
        let expression = function.example.0;
        if refused(expression, Kind::Expression) {
            continue;
        }
        let typed = typed(expression, Kind::Expression, &Type::any());
        let messages: Vec<&String> = typed.found.iter().map(|d| &d.message).collect();
        assert!(messages.is_empty(), "{expression}: {messages:?}");
        if let Some(value) = result(&values(expression, &[json("{}")], &[]).1[0]) {
            assert_eq!(typed.value.refuses(&value), None, "{expression}");
        }
    }
}

#[test]
fn what_was_once_said_wrongly() {
    let expressions = ["-(7).floor", "-(7).abs() == 7", "!(b).x"];
    let statements = ["return; a = 1;", "if b { return; } a = \"x\";", "site.floor = event.b;", "a = -(7).floor;"];
    let cases = expressions.map(|text| (text, Kind::Expression)).into_iter();
    for (text, kind) in cases.chain(statements.map(|text| (text, Kind::Script))) {
        if refused(text, kind) {
            continue;
        }
        for event in ["{\"b\":true,\"site\":5}", "{\"b\":false,\"site\":{\"floor\":1}}", "{\"a\":1}"].map(json) {
            let events = [event];
            let typed = typed(text, kind, &row_of(&events));
            for diagnostic in &typed.found {
                holds(&diagnostic.message, &events).unwrap();
            }
            if kind == Kind::Expression {
                let (_, shown) = values(text, &events, &[]);
                let wrong = shown.iter().filter_map(|s| result(s)).find_map(|value| typed.value.refuses(&value));
                assert_eq!(wrong, None, "{text}");
                continue;
            }
            let (_, outcomes) = scripts(text, &events);
            for row in outcomes.iter().filter(|o| o.starts_with('{')) {
                assert_eq!(typed.row.refuses(&json(row)), None, "{text} leaves {row}");
            }
        }
    }
}
