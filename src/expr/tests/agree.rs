//! Random expressions and scripts over random events: the compiled way and Rhai agree, errors and their places included.

use proptest::prelude::*;

use super::harness::{conditions, json, scripts, values};
use crate::data::value::Value;

/// The events that random expressions run over: every kind of value in every field that the generator names.
pub(super) fn event() -> impl Strategy<Value = String> {
    let value = proptest::sample::select(vec![
        "7",
        "7",
        "-3",
        "0",
        "9223372036854775807",
        "1.5",
        "0.0",
        "-0.0",
        "1e300",
        "\"warm\"",
        "\"warm\"",
        "\"\"",
        "\"7\"",
        "\"é\"",
        "true",
        "false",
        "null",
        "123456789012345678901234567890",
        "[1, \"x\"]",
        "{\"floor\": 3}",
        "{\"z\": [1, {\"y\": 2, \"b\": null}], \"floor\": 3}",
        "",
        "",
    ]);
    let member = prop_oneof![Just("3"), Just("null"), Just("\"x\""), Just("")];
    (proptest::collection::vec(value, 4), proptest::option::of(member)).prop_map(|(values, floor)| {
        let mut members: Vec<String> = ["a", "b", "c", "d"]
            .iter()
            .zip(values)
            .filter(|(_, v)| !v.is_empty())
            .map(|(name, v)| format!("\"{name}\": {v}"))
            .collect();
        match floor {
            Some("") => members.push("\"site\": 5".into()),
            Some(floor) => members.push(format!("\"site\": {{\"floor\": {floor}}}")),
            None => {}
        }
        format!("{{{}}}", members.join(", "))
    })
}

fn leaf() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => prop_oneof![Just("a"), Just("b"), Just("c"), Just("d"), Just("site.floor"), Just("event[\"a\"]"), Just("event.b")],
        4 => prop_oneof![
            Just("7"), Just("0"), Just("2"), Just("1.5"), Just("\"warm\""), Just("\"7\""), Just("true"), Just("()"), Just("'x'"),
            Just("9223372036854775807"), Just("\"(\\\\w)(x)?\""), Just("\"10.0.0.1\""), Just("\"1h\""), Just("\"day\""),
            Just("\"2026-03-29T01:30:00.5Z\""), Just("\"Europe/Berlin\""), Just("\"a b=c\""),
        ],
    ]
    .prop_map(str::to_string)
}

pub(super) fn expression() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 24, 3, |inner| {
        let operator = prop_oneof![
            Just("+"), Just("-"), Just("*"), Just("/"), Just("%"), Just("**"), Just("=="), Just("!="), Just("<"), Just("<="),
            Just(">"), Just(">="), Just("&&"), Just("||"), Just("??"), Just("in"),
        ];
        let function = prop_oneof![
            Just("upper"), Just("len"), Just("abs"), Just("floor"), Just("round"), Just("is_null"), Just("is_text"), Just("trim"),
            Just("to_text"), Just("parse_int"), Just("sqrt"), Just("int"), Just("to_json"), Just("sign"), Just("is_number"),
            Just("is_empty"), Just("ln"), Just("year"), Just("title_case"), Just("snake_case"), Just("capitalize"),
            Just("md5"), Just("crc32"), Just("base64_decode"), Just("hex_encode"), Just("url_decode"), Just("parse_bool"),
            Just("parse_number"), Just("bit_not"), Just("float_of_bits"), Just("is_ip"), Just("ip_version"), Just("url_host"),
            Just("url_port"), Just("from_unix"), Just("unix_ns"), Just("is_weekend"), Just("date"), Just("format_duration"),
            Just("is_json"), Just("int_to_ip"),
        ];
        let function2 = prop_oneof![
            Just("contains"), Just("min"), Just("max"), Just("div"), Just("starts_with"), Just("round"), Just("pow"), Just("repeat"),
            Just("index_of"), Just("substring"), Just("join"), Just("modulo"), Just("floor_to"), Just("round_to"), Just("log"),
            Just("hypot"), Just("signed"), Just("shift_left"), Just("has_bit"), Just("to_base"), Just("format_number"),
            Just("regex_match"), Just("regex_extract"), Just("before"),
            Just("after_last"), Just("occurrences"), Just("shorten"), Just("levenshtein"), Just("bucket"),
            Just("hmac_sha256"), Just("uuid_v5"), Just("in_cidr"), Just("is_subdomain"), Just("url_param"), Just("geohash"),
            Just("get_path"), Just("add_time"), Just("floor_time"), Just("start_of"), Just("time_between"),
            Just("days_between"), Just("in_zone"), Just("format_time"),
        ];
        let function3 = prop_oneof![
            Just("regex_replace"), Just("between"), Just("clamp"), Just("in_polygon"), Just("get_path"),
            Just("add_calendar"), Just("replace"), Just("part"), Just("ip_network"), Just("format_number"),
        ];
        prop_oneof![
            6 => (inner.clone(), operator, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => inner.clone().prop_map(|a| format!("(!{a})")),
            1 => inner.clone().prop_map(|a| format!("(-{a})")),
            2 => (function.clone(), inner.clone()).prop_map(|(f, a)| format!("{f}({a})")),
            1 => (function, inner.clone()).prop_map(|(f, a)| format!("({a}).{f}()")),
            2 => (function2, inner.clone(), inner.clone()).prop_map(|(f, a, b)| format!("{f}({a}, {b})")),
            1 => (function3, inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(f, a, b, c)| format!("{f}({a}, {b}, {c})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(c, a, b)| format!("if {c} {{ {a} }} else {{ {b} }}")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("`x${{{a}}}-${{{b}}}`")),
            1 => inner.clone().prop_map(|a| format!("({a} in [7, \"warm\", 1.5, ()])")),
            1 => inner.prop_map(|a| format!("({a}).floor")),
        ]
    })
}

/// Comparisons of values of every kind, written in every way that is computed in one of its own: a field against a
/// constant or a constant of the pipeline, the other way round, fields, members, arithmetic, what functions give.
fn comparisons() -> impl Strategy<Value = String> {
    let operator = || {
        proptest::sample::select(vec!["<", "<=", ">", ">=", "<", "<=", ">", ">=", "==", "!="]).prop_map(str::to_string)
    };
    let field = || proptest::sample::select(vec!["a", "b", "c", "d", "site.floor", "event[\"a\"]", "b.floor", "gone"]);
    let constant = || {
        proptest::sample::select(vec![
            "7",
            "-3",
            "1.5",
            "\"warm\"",
            "\"7\"",
            "'x'",
            "true",
            "()",
            "vars.limit",
            "vars.word",
            "vars.big",
            "vars.list",
        ])
    };
    let made = || {
        proptest::sample::select(vec![
            "(a + 1)",
            "(b * c)",
            "(\"x\" + a)",
            "upper(b)",
            "len(c)",
            "(a ?? 7)",
            "-a",
            "(if b == 7 { a } else { c })",
            "(a == 7)",
            "`${a}`",
        ])
    };
    let side = move || prop_oneof![4 => field(), 2 => constant(), 2 => made()].prop_map(str::to_string);
    let one = prop_oneof![
        3 => (field(), operator(), constant()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        2 => (constant(), operator(), field()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        3 => (side(), operator(), side()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
    ];
    let joined = proptest::sample::select(vec![" && ", " && ", " || "]);
    let several = (proptest::collection::vec((one, 0..6u8), 1..4), joined).prop_map(|(parts, joined)| {
        let part = |(part, negated): (String, u8)| if negated == 0 { format!("!({part})") } else { part };
        parts.into_iter().map(part).collect::<Vec<_>>().join(joined)
    });
    (several, 0..6u8).prop_map(|(text, list)| match list {
        // What Rhai alone can run.
        0 => format!("[a, b, c].filter(|v| v > 5).len() > 1 || {text}"),
        _ => text,
    })
}

fn condition() -> impl Strategy<Value = String> {
    let operator = prop_oneof![Just("=="), Just("!="), Just("<"), Just(">=")];
    prop_oneof![
        3 => (expression(), operator, leaf()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        1 => expression(),
    ]
}

pub(super) fn statement() -> impl Strategy<Value = String> {
    let target = prop_oneof![
        Just("a"),
        Just("b"),
        Just("e"),
        Just("site.floor"),
        Just("event[\"odd one\"]"),
        Just("event.c"),
        Just("fresh.x.y")
    ];
    let plain = (target.clone(), expression()).prop_map(|(t, e)| format!("{t} = {e};"));
    let simple = prop_oneof![
        5 => plain,
        2 => (target.clone(), prop_oneof![Just("+="), Just("-="), Just("*="), Just("/="), Just("%=")], expression())
            .prop_map(|(t, op, e)| format!("{t} {op} {e};")),
        1 => target.clone().prop_map(|t| format!("{t} = ();")),
        1 => target.clone().prop_map(|t| format!("{t} = null();")),
        1 => target.prop_map(|t| format!("e = {t} ?? 5;")),
        2 => expression().prop_map(|e| format!("let l = {e}; e = l;")),
        1 => Just("drop();".to_string()),
        1 => Just("return;".to_string()),
    ];
    simple.prop_recursive(2, 8, 3, |inner| {
        let block = proptest::collection::vec(inner, 1..3).prop_map(|list| list.join(" "));
        (condition(), block.clone(), proptest::option::of(block)).prop_map(|(c, a, b)| match b {
            Some(b) => format!("if {c} {{ {a} }} else {{ {b} }}"),
            None => format!("if {c} {{ {a} }}"),
        })
    })
}

/// Whether text is refused before it runs: constants that can have no value.
pub(super) fn refused(text: &str, kind: crate::expr::Kind) -> bool {
    refused_with(text, kind, &[])
}

fn refused_with(text: &str, kind: crate::expr::Kind, vars: &[(String, Value)]) -> bool {
    !super::harness::problems(text, kind, &crate::expr::Scope { vars, ..crate::expr::Scope::default() })
        .iter()
        .all(|(code, ..)| code == "shadowed-field")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_global_rejects: 1_000_000, ..ProptestConfig::default() })]

    #[test]
    fn expressions_agree(text in expression(), events in proptest::collection::vec(event(), 3)) {
        prop_assume!(!refused(&text, crate::expr::Kind::Expression));
        let events: Vec<_> = events.iter().map(|e| json(e)).collect();
        let (compiled, rhai) = values(&text, &events, &[]);
        prop_assert_eq!(compiled.as_ref(), Some(&rhai), "{}", text);
    }

    #[test]
    fn conditions_agree(text in comparisons(), events in proptest::collection::vec(event(), 1..6)) {
        let vars = [("limit", "6"), ("word", "\"warm\""), ("big", "123456789012345678901234567891"), ("list", "[1]")];
        let vars = vars.map(|(name, value)| (name.to_string(), json(value)));
        prop_assume!(!refused_with(&text, crate::expr::Kind::Expression, &vars));
        let events: Vec<_> = events.iter().map(|e| json(e)).collect();
        let (by_batch, rhai) = conditions(&text, &events, &vars);
        if let Some(by_batch) = by_batch {
            prop_assert_eq!(by_batch, rhai, "{}", text);
        }
        let (compiled, rhai) = values(&text, &events, &vars);
        if let Some(compiled) = compiled {
            prop_assert_eq!(compiled, rhai, "{}", text);
        }
    }

    #[test]
    fn scripts_agree(statements in proptest::collection::vec(statement(), 1..4), events in proptest::collection::vec(event(), 3)) {
        let text = statements.join("\n");
        prop_assume!(!refused(&text, crate::expr::Kind::Script));
        let events: Vec<_> = events.iter().map(|e| json(e)).collect();
        // A field that is written whole and in part goes to Rhai alone.
        if let (Some(compiled), rhai) = scripts(&text, &events) {
            prop_assert_eq!(compiled, rhai, "{}", text);
        }
    }
}
