//! YAML trees against serde_yaml, and the limits.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

fn read_text(text: &str) -> (Option<Node>, Diagnostics) {
    let file = Arc::new(SourceFile { name: "t.yaml".into(), text: text.into() });
    let mut found = Diagnostics::default();
    (read(&file, &mut found), found)
}

fn tree(text: &str) -> Node {
    let (node, found) = read_text(text);
    assert!(found.list.is_empty(), "{:?}", found.list);
    node.unwrap()
}

fn code(text: &str) -> &'static str {
    read_text(text).1.list.first().map_or("", |d| d.code)
}

/// What stands in the file where a node's lines begin.
fn line_starts(node: &Node) -> Vec<&str> {
    let text = &node.span.file.text;
    node.lines.iter().map(|at| text[*at..].split('\n').next().unwrap()).collect()
}

#[test]
fn lines_of_scripts_are_where_they_are_written() {
    let text = "a: |\n\n  x = 1;\n    y = \"é\";\n\n  z\nb: >-\n  one\n  two\n\n  three\nc: 'q'\nd: \"r\"\ne: !!str s t\nf: &x u\n";
    let node = tree(text);
    let lines = |key: &str| line_starts(node.get(key).unwrap());
    assert_eq!(lines("a"), ["", "x = 1;", "  y = \"é\";", "", "z", "b: >-"]);
    assert_eq!(node.get("a").unwrap().as_text().unwrap().lines().count(), 5);
    assert_eq!(lines("b"), ["one", "three"]);
    assert_eq!(lines("c"), ["q'"]);
    assert_eq!(lines("d"), ["r\""]);
    assert_eq!(lines("e"), ["s t"]);
    assert_eq!(lines("f"), ["u"]);
    let span = node.get("a").unwrap().origin().at(3, 9, 1);
    assert_eq!((span.line_column(), &text[span.range.clone()]), ((4, 11), "\""));
}

#[test]
fn windows_line_ends_change_no_place() {
    let node = tree("a: |\r\n  x = 1;\r\n  y = 2;\r\nb: c\r\n");
    assert_eq!(node.get("a").unwrap().as_text(), Some("x = 1;\ny = 2;\n"));
    assert_eq!(line_starts(node.get("a").unwrap())[1], "y = 2;\r");
    assert_eq!(node.get("b").unwrap().span.place(), "t.yaml:4:4");
}

#[test]
fn what_a_map_says_goes_before_what_it_merges() {
    let node = tree("a: &a { x: 1, y: 2 }\nb: &b { <<: *a, y: 3 }\nc: { <<: [*b, *a], z: 4 }\n");
    let c = node.get("c").unwrap();
    let number = |key: &str| c.get(key).map(|n| n.data.clone());
    assert_eq!((number("x"), number("y"), number("z")), (Some(Data::Int(1)), Some(Data::Int(3)), Some(Data::Int(4))));
    assert_eq!(c.get("x").unwrap().span.place(), "t.yaml:1:12");
}

#[test]
fn limits_hold() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let below = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb += &format!("a{level}: &a{level} [{below}]\n");
    }
    assert_eq!(code(&bomb), "too-many-values");
    assert_eq!(code(&format!("a: {}{}", "[".repeat(200), "]".repeat(200))), "too-deep");
    let mut deep = String::new();
    for level in 0..200 {
        deep += &format!("{}a:\n", " ".repeat(level));
    }
    assert_eq!(code(&deep), "too-deep");
    assert_eq!(code("a: &a [*a]\n"), "alias-in-itself");
}

#[test]
fn text_that_is_no_expression_is_left_alone() {
    for whole in ["a: [5\", 3\"]", "a: [don't, won't]", "a: [x (one, two) y]", "a: { b: (x, c: y) }"] {
        assert_eq!(code(whole), "", "{whole}");
    }
    assert_eq!(code("a: [f(x, y)]"), "expression-cut-at-comma");
    assert_eq!(code("a: [x == \"a, b\"]"), "expression-cut-at-comma");
}

#[test]
fn a_place_is_in_bytes_though_the_parser_counts_characters() {
    let text = format!("a: {}\nb: €€ß\nc: d\n", "ü".repeat(300));
    let node = tree(&text);
    let b = node.get("b").unwrap();
    assert_eq!(&text[b.span.range.clone()], "€€ß");
    assert_eq!(node.get("c").unwrap().span.place(), "t.yaml:3:4");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn plain_scalars_mean_what_serde_yaml_says(text in r"[-+]?(0[xob]?)?[0-9a-fA-F_.]{0,6}(e[-+]?[0-9]{1,3})?|[-+]?\.(inf|nan|Inf|NaN)|true|False|NULL|~|no|on|[0-9]{17,21}") {
        let Ok(value) = serde_yaml::from_str::<serde_yaml::Value>(&text) else { return Ok(()) };
        prop_assume!(!value.is_mapping() && !value.is_sequence());
        let file = Arc::new(SourceFile { name: "t".into(), text: String::new() });
        let span = Span { file, range: 0..0 };
        match resolve(&text) {
            Some(data) => {
                let node = Node { span, data, lines: Arc::new(vec![0]) };
                prop_assert!(difference(&node, &value).is_none(), "{text}: {:?} and {value:?}", node.data);
            }
            None => prop_assert!(value.as_i64().is_none() && value.is_number(), "{text}: {value:?}"),
        }
    }

    #[test]
    fn no_text_is_too_strange(text in "[-a\\[\\]{}:,#&*!|>'\"%@` \t\n0-9é?~<]{0,60}") {
        let (node, found) = read_text(&text);
        prop_assert!(node.is_some() || found.has_errors());
        for diagnostic in &found.list {
            let span = diagnostic.span.as_ref().unwrap();
            prop_assert!(span.file.text.get(span.range.clone()).is_some(), "{diagnostic:?}");
        }
        crate::base::render::render(&found, crate::base::render::Style::Human { colour: false });
    }

    #[test]
    fn whole_files_mean_what_serde_yaml_says(
        keys in proptest::collection::vec("[a-z]{1,3}", 1..5),
        values in proptest::collection::vec("[a-z0-9 .\"'\\[\\]{},:-]{0,12}", 1..5),
    ) {
        let text: String = keys.iter().zip(&values).map(|(k, v)| format!("{k}: {v}\n")).collect();
        let (node, found) = read_text(&text);
        if let (Some(node), true) = (node, found.list.is_empty()) {
            let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
            prop_assert!(difference(&node, &value).is_none());
        }
    }
}
