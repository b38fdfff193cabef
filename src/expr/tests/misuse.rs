//! Values where others belong: what is said is in the language's words, whatever Rhai would say.

use super::harness::{problems, script};
use crate::expr::built_in::BUILT_IN;
use crate::expr::{Kind, Scope};

const EVENT: &str = r#"{"name":"abc","n":1,"tags":["a"],"site":{"floor":1},"nothing":null}"#;

#[test]
fn lists_and_maps_are_asked_of_what_is_none() {
    for (text, expected) in [
        ("reverse(name);", "error: `name` is text, and `reverse` is for a list: `list.reverse()` at test:1:1"),
        ("name.push(\"x\");", "error: `name` is text, and `push` is for a list: `list.push(value)` at test:1:6"),
        (
            "missing.push(1);",
            "error: `missing` is missing or null, and `push` is for a list: `list.push(value)` at test:1:9",
        ),
        ("site.sort();", "error: `site` is a map, and `sort` is for a list: `list.sort(|a, b| …)` at test:1:6"),
        (
            "x = n.filter(|i| true);",
            "error: `n` is an integer, and `filter` is for a list or a map: `list.filter(|item| …)` at test:1:7",
        ),
        (
            "tags.insert(\"a\", 1);",
            "error: `insert` cannot be called with a list, text and an integer: it is called as `list.insert(index, value)` at test:1:6",
        ),
        (
            "for i in n { x = i; }",
            "error: `for` goes over lists, ranges and text, and this is none of them at test:1:10",
        ),
        ("throw #{ a: [1, ()] };", "error: the script threw: {\"a\":[1,null]} at test:1:1"),
    ] {
        let said = script(text, EVENT);
        if expected.is_empty() {
            eprintln!("{text}\n    {said}");
        } else {
            assert_eq!(said, expected, "{text}");
        }
    }
}

#[test]
fn closures_within_closures_are_read_to_their_end() {
    // Rhai gives some of them one name.
    for text in
        ["|| || n", "x || || || || n", "tags.map(|a| |b| a)", "tags.map(|a| tags.map(|b| tags.map(|c| a + b + c)))"]
    {
        problems(text, Kind::Expression, &Scope::default());
        script(&format!("let it = {text}; x = 1;"), EVENT);
    }
    // Each is walked once, however many are around it.
    problems(&format!("f(8, {} 16)", "||".repeat(40)), Kind::Expression, &Scope::default());
    let nested = script("x = tags.map(|a| [1, 2].map(|b| b * 2));", EVENT);
    assert!(nested.ends_with(",\"x\":[[2,4]]}"), "{nested}");
}

/// Words that only those know who know Rhai or Rust.
const FOREIGN: [&str; 14] = [
    "i64",
    "f64",
    "&str",
    "mmutable",
    "Dynamic",
    "rhai",
    "::",
    "Array",
    "FnPtr",
    "Error",
    "getter",
    "indexer",
    "data type",
    "unction not found",
];

#[test]
fn no_word_of_rhai_or_rust_is_said() {
    let values = ["name", "n", "n / 2", "tags", "site", "nothing", "0..3", "|x| x", "true", "null()"];
    let arguments = ["name", "n", "tags", "site", "|x| x", "|a, b| a"];
    for built_in in BUILT_IN.iter().filter(|b| !["type_of", "Fn", "is_def_fn"].contains(&b.name)) {
        for on in values {
            for argument in arguments {
                for count in built_in.arguments {
                    let given = vec![argument; count - 1].join(", ");
                    let text = format!("let on = {on}; x = on.{}({given});", built_in.name);
                    let said = script(&text, EVENT);
                    let failed = said.starts_with("error");
                    assert!(!failed || FOREIGN.iter().all(|word| !said.contains(word)), "{text}: {said}");
                }
            }
        }
    }
}
