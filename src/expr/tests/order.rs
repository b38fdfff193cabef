//! Values of different kinds have no order: what is said of it, in every way that it can be asked for.

use super::harness::{conditions, json, script, value, values};

const EVENT: &str = r#"{"bar": "ERR", "n": 7, "f": 1.5, "yes": true, "tags": ["a"], "site": {"floor": 3}, "void_": null, "big": 123456789012345678901234567890}"#;

#[test]
fn what_has_no_order_is_said() {
    let cases = [
        ("bar > 6", "`bar` is the text \"ERR\": it has no order with the number 6 at test:1:5"),
        ("6 < bar", "`bar` is the text \"ERR\": it has no order with the number 6 at test:1:3"),
        ("bar <= n", "`bar` is the text \"ERR\": it has no order with `n`, the number 7 at test:1:5"),
        ("n + 1 >= bar", "`n + 1` is the number 8: it has no order with `bar`, the text \"ERR\" at test:1:7"),
        ("n > \"7\"", "`n` is the number 7: it has no order with the text \"7\" at test:1:3"),
        ("yes > 0", "`yes` is the bool true: it has no order with the number 0 at test:1:5"),
        ("f < false", "`f` is the number 1.5: it has no order with the bool false at test:1:3"),
        (
            "big > bar",
            "`big` is the number 123456789012345678901234567890: it has no order with `bar`, the text \"ERR\" at test:1:5",
        ),
        ("tags > 6", "`tags` is a list, which has no order, so `tags > 6` has no value at test:1:6"),
        ("n < tags", "`tags` is a list, which has no order, so `n < tags` has no value at test:1:3"),
        ("tags <= tags", "`tags` is a list, which has no order, so `tags <= tags` has no value at test:1:6"),
        ("site > 2", "`site` is a map, which has no order, so `site > 2` has no value at test:1:6"),
        ("site.floor > \"2\"", "`site.floor` is the number 3: it has no order with the text \"2\" at test:1:12"),
        ("[4, \"x\"].filter(|v| v > 3).len()", "`v` is the text \"x\": it has no order with the number 3 at test:1:23"),
        ("(|x| x) < 5", "`…` is a function, which has no order, so `… < 5` has no value at test:1:9"),
        (
            "bar.chars() < 5",
            "`bar.chars()` is a value that no event holds, which has no order, so `bar.chars() < 5` has no value at test:1:13",
        ),
        (
            "range(1, 3) < 5",
            "`range(1, 3)` is a range, which has no order, so `range(1, 3) < 5` has no value at test:1:13",
        ),
    ];
    for (text, words) in cases {
        assert_eq!(value(text, EVENT), format!("error: {words}"), "{text}");
    }
    let long = format!(r#"{{"bar": "{}"}}"#, "é".repeat(1000));
    let words =
        format!("error: `bar` is the text \"{}…\": it has no order with the number 6 at test:1:5", "é".repeat(40));
    assert_eq!(value("bar > 6", &long), words);
}

#[test]
fn what_is_missing_is_not_more_or_less_than_anything() {
    for text in ["gone > 6", "gone < bar", "void_ >= tags", "tags < gone", "gone <= void_", "site > void_"] {
        assert_eq!(value(text, EVENT), "false", "{text}");
    }
    for (text, holds) in [("bar == 6", "false"), ("bar != 6", "true"), ("tags != n", "true"), ("yes == 1", "false")] {
        assert_eq!(value(text, EVENT), holds, "{text}");
    }
    // Whoever expects such values asks first.
    for (text, holds) in [("is_number(bar) && bar > 6", "false"), ("bar == \"ERR\" || bar > 6", "true")] {
        assert_eq!(value(text, EVENT), holds, "{text}");
    }
}

#[test]
fn a_batch_keeps_its_other_rows() {
    let events =
        [r#"{"a": 7}"#, r#"{"a": "ERR"}"#, r#"{"a": 5}"#, r#"{}"#, r#"{"a": true}"#, r#"{"a": 8, "b": "x"}"#].map(json);
    let (compiled, rhai) = conditions("a > 6 && b != \"y\" && b > 1", &events, &[]);
    let said = |what: &str, other: &str, column: usize| {
        format!("error: {what}: it has no order with {other} at test:1:{column}")
    };
    let expected = [
        format!("1 {}", said("`a` is the text \"ERR\"", "the number 6", 3)),
        format!("4 {}", said("`a` is the bool true", "the number 6", 3)),
        format!("5 {}", said("`b` is the text \"x\"", "the number 1", 24)),
    ];
    assert_eq!(compiled.unwrap(), expected);
    assert_eq!(rhai, expected);
}

#[test]
fn lists_are_put_in_order_or_say_why_not() {
    let cases = [
        ("[3, 1.5, 2].order()", "[1.5,2,3]"),
        ("[3, \"a\", (), true, [1], 2].order()", "[null,true,2,3,\"a\",[1]]"),
        ("[3, 1, 2].order_desc()", "[3,2,1]"),
        ("[3, 1, 2].order_by(|a, b| b - a)", "[3,2,1]"),
        ("[3, 1.5, 2].order(|a, b| a - b)", "[1.5,2,3]"),
        ("[3, 1, 2, 1].order(|a, b| a < b)", "[1,1,2,3]"),
        ("[3, 1, 2, 1].order(|a, b| a <= b)", "[1,1,2,3]"),
        ("[1, 2, 2, 3].dedup(|a, b| a >= b)", "missing"),
        (
            "[3, \"x\", 1].order(|a, b| a < b)",
            "error: `a` is the number 3: it has no order with `b`, the text \"x\" at test:1:28",
        ),
        (
            "[3, 1].order(|a, b| `x`)",
            "error: the closure of `order` gave text, where a number or a bool is needed at test:1:8",
        ),
        (
            "[3, 1].order(|a, b| a.b.c)",
            "error: the closure of `order` gave null, where a number or a bool is needed at test:1:8",
        ),
        ("[3, |x| x].order()", "error: a list that holds a function cannot be sorted at test:1:12"),
        ("[].order(|a, b| a < b)", "[]"),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text, "{}"), expected, "{text}");
    }
    let cases = [
        ("list.sort();", r#"{"list":[1,2,3]}"#),
        ("list.sort_desc();", r#"{"list":[3,2,1]}"#),
        ("list.sort(|a, b| b - a);", r#"{"list":[3,2,1]}"#),
        ("list.sort_by(|a, b| a < b);", r#"{"list":[1,2,3]}"#),
        ("list.dedup(|a, b| a > b);", r#"{"list":[3]}"#),
        ("try { list.sort(|a, b| a < \"x\") } catch { }", r#"{"list":[3,1,2]}"#),
        (
            "list.sort(|a, b| a < \"x\");",
            "error: `a` is the number 3: it has no order with the text \"x\" at test:1:20",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(script(text, r#"{"list": [3, 1, 2]}"#), expected, "{text}");
    }
    let (_, ordered) = values("vars.list.order_by(|a, b| a - b)", &[json("{}")], &[("list".into(), json("[2, 1]"))]);
    assert_eq!(ordered, ["[1,2]"]);
}

#[test]
fn scripts_fail_and_can_catch_it() {
    let words = "error: `bar` is the text \"ERR\": it has no order with the number 6 at test:1:8";
    assert_eq!(script("if bar > 6 { n = 1 }", r#"{"bar": "ERR"}"#), words);
    let caught = script("try { if bar > 6 { n = 1 } } catch (e) { n = e }", r#"{"bar": "ERR"}"#);
    assert_eq!(caught, r#"{"bar":"ERR","n":"the text \"ERR\" has no order with the number 6"}"#);
    let caught = script("try { if bar > [6] { n = 1 } } catch (e) { n = e }", r#"{"bar": "ERR"}"#);
    assert_eq!(caught, r#"{"bar":"ERR","n":"a list has no order"}"#);
}
