//! The rules of the language, one by one.

use super::harness::{script, value};

#[test]
fn values_of_expressions() {
    let event = r#"{"a": 7, "b": 2, "f": 1.5, "t": "warm", "n": null, "yes": true, "site": {"floor": 3}, "big": 123456789012345678901234567890, "list": [1, "x"]}"#;
    let cases = [
        ("a", "7"),
        ("a / b", "3.5"),
        ("div(a, b)", "3"),
        ("a % b", "1"),
        ("a * 9 / 5 + 32", "44.6"),
        ("a + f", "8.5"),
        ("-a", "-7"),
        ("a ** 2", "49"),
        ("b ** -1", "0.5"),
        ("t + a", "\"warm7\""),
        ("t + f", "\"warm1.5\""),
        ("t + \" \" + yes", "\"warm true\""),
        ("`${t} at ${a}`", "\"warm at 7\""),
        ("a == 7.0", "true"),
        ("t == a", "false"),
        ("t != a", "true"),
        ("t < a", "error: `t` is the text \"warm\": it has no order with `a`, the number 7 at test:1:3"),
        ("n == ()", "true"),
        ("gone == ()", "true"),
        ("gone == n", "true"),
        ("gone > 1", "false"),
        ("gone != 1", "true"),
        ("() <= ()", "false"),
        ("t > n", "false"),
        ("list <= gone", "false"),
        ("yes < true", "false"),
        ("big > f", "true"),
        ("gone", "missing"),
        ("site.floor", "3"),
        ("site.gone", "missing"),
        ("t.floor", "missing"),
        ("event.a", "7"),
        ("event[\"a\"] + a", "14"),
        ("event[\"site\"].floor", "3"),
        ("gone ?? n ?? 5", "5"),
        ("a ?? 5", "7"),
        ("site.floor ?? 9", "3"),
        ("yes && a > 5", "true"),
        ("!yes || a > 50", "false"),
        ("a in [1, 7, \"x\"]", "true"),
        ("a in [1, \"7\"]", "false"),
        ("\"x\" in list", "true"),
        ("\"ar\" in t", "true"),
        ("if a > 5 { \"hot\" } else { \"cold\" }", "\"hot\""),
        ("if a > 50 { \"hot\" }", "missing"),
        ("big == big", "true"),
        ("big == 1", "false"),
        ("big", "123456789012345678901234567890"),
        ("9007199254740993 == 9007199254740992.0", "false"),
        ("t.upper()", "\"WARM\""),
        ("upper(t)", "\"WARM\""),
        ("round(a / b, 1)", "3.5"),
        ("parse_int(t) ?? -1", "-1"),
        ("[1, a].len()", "2"),
        ("list[1]", "\"x\""),
        ("[1, 2, 3].map(|x| x * a)", "[7,14,21]"),
        ("[\"x\", \"day\"].index_of(\"day\")", "1"),
        ("[1, 2].index_of(|x| x > 1)", "1"),
        ("#{x: a}", "{\"x\":7}"),
        ("type_of(a) + type_of(f) + type_of(t) + type_of(list)", "\"intfloattextlist\""),
        ("type_of(gone) + type_of(n) + type_of(yes) + type_of(site) + type_of(big)", "\"nullnullboolmapnumber\""),
        ("switch n { () => 1, _ => 2 }", "1"),
        ("switch t { \"warm\" => 1, _ => 2 }", "1"),
    ];
    for (text, expected) in cases {
        assert_eq!(value(text, event), expected, "{text}");
    }
}

#[test]
fn scripts_write_fields() {
    let event = r#"{"a": 7, "t": "warm", "n": null, "site": {"floor": 3, "name": "x"}, "list": [1]}"#;
    let cases = [
        ("b = a * 2;", r#"{"a":7,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1],"b":14}"#),
        ("a = ();", r#"{"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#),
        ("a = null();", r#"{"a":null,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#),
        ("n = ();", r#"{"a":7,"t":"warm","site":{"floor":3,"name":"x"},"list":[1]}"#),
        ("a += 1; let c = a; c *= 2; t = c;", r#"{"a":8,"t":16,"n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#),
        (
            "site.floor = 4; site.gone.x = 1",
            r#"{"a":7,"t":"warm","n":null,"site":{"floor":4,"name":"x","gone":{"x":1}},"list":[1]}"#,
        ),
        (
            "if a > 100 { t = 1 } else if a > 5 { t = 2 } else { t = 3 }",
            r#"{"a":7,"t":2,"n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#,
        ),
        ("if a > 100 { t = 1 }", r#"{"a":7,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#),
        ("if a > 5 { drop() }", "dropped"),
        ("if a > 5 { return; } t = 1;", r#"{"a":7,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#),
        ("list.push(a);", r#"{"a":7,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1,7]}"#),
        (
            "let s = 0; for x in list { s += x; } t = s;",
            r#"{"a":7,"t":1,"n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#,
        ),
        (
            "fn twice(x) { x * 2 } a = twice(a);",
            r#"{"a":14,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#,
        ),
        (
            "let f = |x| { a += x; }; f.call(2); f.call(3);",
            r#"{"a":12,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#,
        ),
        (
            "emit(#{x: a}); emit(\"alarms\", #{y: t});",
            r#"< {"x":7} | alarms< {"y":"warm"} | {"a":7,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#,
        ),
        (
            "let k = \"a\"; event[k] = 1; event.z = 2",
            r#"{"a":1,"t":"warm","n":null,"site":{"floor":3,"name":"x"},"list":[1],"z":2}"#,
        ),
        (
            "event.remove(\"n\"); site.floor += 1; t = event.keys().len()",
            r#"{"a":7,"t":4,"site":{"floor":4,"name":"x"},"list":[1]}"#,
        ),
        (
            "event[\"odd name\"] = a; let a = 5; t = a + event.a",
            r#"{"a":7,"t":12,"n":null,"site":{"floor":3,"name":"x"},"list":[1],"odd name":7}"#,
        ),
        (
            "push(list, 2); n = switch n { () => 1, _ => 2 };",
            r#"{"a":7,"t":"warm","n":1,"site":{"floor":3,"name":"x"},"list":[1,2]}"#,
        ),
        ("t = n; n = 5;", r#"{"a":7,"n":5,"site":{"floor":3,"name":"x"},"list":[1]}"#),
        (
            "let l = n; n = l; let k = null(); a = k;",
            r#"{"a":null,"t":"warm","site":{"floor":3,"name":"x"},"list":[1]}"#,
        ),
        ("a = null(); t = a ?? 3", r#"{"a":null,"t":3,"n":null,"site":{"floor":3,"name":"x"},"list":[1]}"#),
    ];
    for (text, expected) in cases {
        assert_eq!(script(text, event), expected, "{text}");
    }
}

#[test]
fn writing_inside_maps_makes_them() {
    let cases = [
        ("let m = #{}; m.x.y.z = 1; a = m;", r#"{}"#, r#"{"a":{"x":{"y":{"z":1}}}}"#),
        ("let m = (); m.x.y = 1 + 2 > 1; a = m;", r#"{}"#, r#"{"a":{"x":{"y":true}}}"#),
        ("event.a.b.c = 1; let k = \"d\"; event[k] = 2;", r#"{"a": 5, "z": 1}"#, r#"{"a":{"b":{"c":1}},"z":1,"d":2}"#),
        (
            "event.a.b.c = if z == 1 { 5 } else { 6 }; let k = \"d\"; event[k] = 2;",
            r#"{"z": 1}"#,
            r#"{"z":1,"a":{"b":{"c":5}},"d":2}"#,
        ),
        (
            "let k = \"n\"; site[k] = 3; site.x.y = 4;",
            r#"{"site": {"z": 1, "a": 2}}"#,
            r#"{"site":{"z":1,"a":2,"n":3,"x":{"y":4}}}"#,
        ),
        ("let f = |v| site.x.y = v; f.call(2);", r#"{"a": 1}"#, r#"{"a":1,"site":{"x":{"y":2}}}"#),
    ];
    for (text, event, expected) in cases {
        let result = script(text, event);
        assert!(result.starts_with(expected), "{text}: {result}");
    }
}
