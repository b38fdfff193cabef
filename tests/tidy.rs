//! The rules of the house that a compiler does not hold: which layer may know which, which library lives where, how long
//! a file and a function may be, and what every module begins with.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each layer with those that it may know. No import runs upward.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("data", &["base"]),
    ("alert", &["data", "base"]),
    ("expr", &["data", "base"]),
    ("plan", &["expr", "alert", "data", "base"]),
    ("store", &["data", "base"]),
    ("connector", &["data", "base"]),
    ("connectors", &["store", "connector", "data", "base"]),
    ("config", &["store", "connector", "plan", "expr", "alert", "data", "base"]),
    ("engine", &["store", "connector", "plan", "expr", "alert", "data", "base"]),
    ("inspect", &["plan", "expr", "data", "base"]),
    (
        "service",
        &["inspect", "engine", "config", "connectors", "store", "connector", "plan", "expr", "alert", "data", "base"],
    ),
    (
        "cli",
        &[
            "service",
            "inspect",
            "engine",
            "config",
            "connectors",
            "store",
            "connector",
            "plan",
            "expr",
            "alert",
            "data",
            "base",
        ],
    ),
];

/// Each library that has an owner: swapping it is editing one directory.
const OWNERS: &[(&str, &[&str])] = &[
    ("saphyr_parser", &["config"]),
    ("serde_yaml", &["config"]),
    ("rhai", &["expr"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("csv_core", &["data"]),
    ("jsonschema", &["data"]),
    ("minijinja", &["connector"]),
    ("lettre", &["connectors"]),
    ("globset", &["connectors"]),
    ("walkdir", &["connectors", "cli"]),
    ("terminal_size", &["connectors", "cli"]),
    ("schemars", &["connector", "connectors", "config", "engine", "service", "cli"]),
    ("tracing_subscriber", &["cli", "main"]),
    ("annotate_snippets", &["base"]),
    ("mimalloc", &["main"]),
    ("rusqlite", &["store"]),
    ("axum", &["connectors", "service"]),
    ("hyper", &["connectors"]),
    ("hyper_util", &["connectors"]),
    ("reqwest", &["connectors", "service"]),
    ("rumqttc", &["connectors"]),
    ("rumqttc_v4", &["connectors"]),
    ("tokio_tungstenite", &["connectors"]),
    ("tokio_rustls", &["connectors"]),
    ("rustls", &["connectors"]),
    ("rustls_native_certs", &["connectors"]),
    ("webpki_roots", &["connectors"]),
    ("croner", &["connectors"]),
];

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// A Rust file under `src`.
struct Source {
    path: PathBuf,
    /// The directory or file directly under `src` that it belongs to.
    layer: String,
    /// The whole text.
    text: String,
    /// What stands before its tests; nothing for a module that is tests only.
    code: String,
}

impl Source {
    /// The lines before the tests, without comments.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = self.code.lines().enumerate().map(|(i, line)| (i + 1, line));
        code.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn rust_files(directory: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Files that are declared `#[cfg(test)] mod name;`, and what lies in a directory of that name.
fn test_modules(files: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in files {
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2) {
            let declared = pair[1].trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            let Some(name) = declared.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) else { continue };
            if pair[0].trim() == "#[cfg(test)]" {
                let stem = path.file_stem().unwrap();
                let inside = path.parent().unwrap();
                let home =
                    if stem == "mod" || stem == "lib" || stem == "main" { inside.into() } else { inside.join(stem) };
                found.push(home.join(name));
            }
        }
    }
    found
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let tests = test_modules(&files);
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let inside = path.strip_prefix(&root).unwrap().with_extension("");
        let layer = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let only_tests = tests.iter().any(|t| path.with_extension("").starts_with(t));
        let code = if only_tests { String::new() } else { before_tests(&text).to_owned() };
        Source { path: path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().into(), layer, text, code }
    };
    files.into_iter().map(read).collect()
}

fn before_tests(text: &str) -> &str {
    let mut from = 0;
    while let Some(at) = text[from..].find("#[cfg(test)]\nmod ").map(|at| from + at) {
        let line = text[at..].lines().nth(1).unwrap_or_default();
        if line.ends_with('{') {
            return &text[..at];
        }
        from = at + 1;
    }
    text
}

/// Holds each rule at once, so that one run shows everything.
fn none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}\n", broken.join("\n  "));
}

/// Top-level modules of this crate that code names: `crate::plan::…`, `use crate::{base::…, data};`.
fn named_layers(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for prefix in ["crate::", "millstream::"] {
        for (at, _) in code.match_indices(prefix) {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let rest = &code[at + prefix.len()..];
            match rest.strip_prefix('{') {
                None => named.extend(identifier(rest)),
                Some(list) => named.extend(first_names(list)),
            }
        }
    }
    named
}

fn identifier(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first name of each item of a `{…}` list, whose opening brace is behind us.
fn first_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (1, true);
    for (i, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => start = true,
            c if start && depth == 1 && !c.is_whitespace() => {
                names.extend(identifier(&list[i..]));
                start = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

#[test]
fn no_import_runs_upward() {
    let mut broken = Vec::new();
    for source in sources().iter().filter(|s| s.layer != "lib" && s.layer != "main") {
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == source.layer) else {
            broken.push(format!("{}: `{}` has no place among the layers", source.path.display(), source.layer));
            continue;
        };
        let code: String = source.lines().flat_map(|(_, line)| [line, "\n"]).collect();
        for named in named_layers(&code) {
            let is_layer = LAYERS.iter().any(|(layer, _)| *layer == named);
            if is_layer && named != source.layer && !allowed.contains(&named.as_str()) {
                broken.push(format!("{}: `{}` must not know `{named}`", source.path.display(), source.layer));
            }
        }
    }
    none("no import runs upward", broken);
}

#[test]
fn libraries_stay_with_their_owners() {
    let mut broken = Vec::new();
    for source in sources() {
        for (library, owners) in OWNERS.iter().filter(|(_, owners)| !owners.contains(&source.layer.as_str())) {
            let call = format!("{library}::");
            let uses = |line: &str| {
                line.match_indices(&call).any(|(at, _)| {
                    let before = line[..at].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '`')
                })
            };
            for (number, _) in source.lines().filter(|(_, line)| uses(line)) {
                let place = format!("{}:{number}", source.path.display());
                broken.push(format!("{place}: `{library}` belongs to {}", owners.join(" and ")));
            }
        }
    }
    none("libraries stay with their owners", broken);
}

#[test]
fn files_are_short_enough_to_read() {
    let mut broken = Vec::new();
    for source in sources() {
        let count = source.code.lines().count();
        if count > FILE_LINES {
            broken.push(format!("{}: {count} lines before its tests", source.path.display()));
        }
    }
    none(&format!("a file has at most {FILE_LINES} lines before its tests"), broken);
}

/// Where each function begins and how many lines it has. Reads the layout that rustfmt makes: a function ends with the
/// brace that stands as far in as it began.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let words: Vec<&str> = trimmed.split_whitespace().take(5).collect();
        let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "fn"];
        let is_function = words.contains(&"fn") && words.first().is_some_and(|w| qualifiers.contains(w));
        if !is_function || trimmed.ends_with('}') || trimmed.ends_with(';') {
            continue;
        }
        let indent = &line[..line.len() - trimmed.len()];
        let end = lines.iter().skip(i + 1).position(|l| l.strip_prefix(indent) == Some("}"));
        // A signature over several lines without a body ends at its semicolon.
        let declared = lines
            .iter()
            .skip(i + 1)
            .position(|l| l.strip_prefix(indent).is_some_and(|r| r.starts_with(')') && r.ends_with(';')));
        match (end, declared) {
            (Some(end), declared) if declared.is_none_or(|d| end < d) => found.push((i + 1, end + 2)),
            _ => {}
        }
    }
    found
}

#[test]
fn functions_are_short_enough_to_read() {
    let mut broken = Vec::new();
    for source in sources() {
        for (line, count) in functions(&source.code).into_iter().filter(|(_, count)| *count > FUNCTION_LINES) {
            broken.push(format!("{}:{line}: {count} lines", source.path.display()));
        }
    }
    none(&format!("a function has at most {FUNCTION_LINES} lines"), broken);
}

#[test]
fn every_module_says_what_it_is() {
    let silent = sources().into_iter().filter(|s| !s.text.starts_with("//! "));
    none("every module begins with `//!`", silent.map(|s| s.path.display().to_string()).collect());
}

#[test]
fn nothing_panics_on_purpose() {
    let mut broken = Vec::new();
    for source in sources() {
        for (number, line) in source.lines() {
            for macro_name in ["panic!(", "todo!(", "unimplemented!(", "unreachable!(", "dbg!("] {
                let quoted = line.contains(&format!("\"{macro_name}"));
                if line.contains(macro_name) && !quoted {
                    broken.push(format!("{}:{number}: {}", source.path.display(), line.trim()));
                }
            }
        }
    }
    none("outside of tests nothing panics", broken);
}

#[test]
fn the_rules_themselves_see_what_they_should() {
    let code =
        "use crate::{base::{time, diag}, data, expr::Expr};\nlet x = crate::plan::Plan;\nlet y = my_crate::config::z;";
    let named: Vec<String> = named_layers(code).into_iter().collect();
    assert_eq!(named, ["base", "data", "expr", "plan"]);
    let code = "fn a() {\n    b();\n}\n\nimpl X {\n    pub fn c(\n        d: E,\n    ) -> F {\n        if g {\n        }\n    }\n    fn h(\n        i: J,\n    );\n    fn k() {}\n}\n";
    assert_eq!(functions(code), [(1, 3), (6, 6)]);
    assert_eq!(
        before_tests("a\n#[cfg(test)]\nmod x;\nb\n#[cfg(test)]\nmod tests {\n}"),
        "a\n#[cfg(test)]\nmod x;\nb\n"
    );
}
