//! The reference as pages: a Markdown file for each family.

use std::fmt::Write as _;

use super::entry::{Choice, Entry, Family, code};

/// File names and texts.
pub fn pages(entries: &[Entry]) -> Vec<(String, String)> {
    let mut pages = vec![("README.md".to_owned(), index(entries))];
    for family in Family::ALL {
        let own: Vec<&Entry> = entries.iter().filter(|entry| entry.family == family).collect();
        pages.push((format!("{}.md", family.page()), page(family, &own)));
    }
    pages
}

const WRITTEN: &str = "<!-- Written by `millstream reference`. -->";

/// The page that leads to the others.
fn index(entries: &[Entry]) -> String {
    let mut out = format!("{WRITTEN}\n# Reference\n\n`millstream reference NAME` shows the same in a terminal.\n");
    for family in Family::ALL {
        let page = family.page();
        // Writing to a text cannot fail.
        let _ = write!(out, "\n## [{}]({page}.md)\n\n{}\n\n", family.title(), family.about());
        let own = entries.iter().filter(|entry| entry.family == family && entry.group != "Rhai");
        let mut names: Vec<String> = own.map(|entry| format!("`{}`", entry.name)).collect();
        names.dedup();
        let _ = writeln!(out, "{}", names.join(", "));
    }
    out
}

fn page(family: Family, entries: &[&Entry]) -> String {
    let mut out = format!("{WRITTEN}\n# {}\n\n{}\n", family.title(), family.about());
    let mut groups: Vec<&str> = entries.iter().map(|entry| entry.group.as_str()).collect();
    groups.dedup();
    for group in groups {
        let own: Vec<&&Entry> = entries.iter().filter(|entry| entry.group == group).collect();
        let level = if group.is_empty() { "##" } else { "###" };
        if !group.is_empty() {
            let _ = write!(out, "\n## {}\n", heading(family, group));
        }
        if group == "Rhai" {
            let names: Vec<String> = own.iter().map(|entry| format!("`{}`", entry.name)).collect();
            let _ = write!(out, "\nRhai has these of itself; The Rhai Book describes them: {}.\n", names.join(", "));
            continue;
        }
        match family {
            Family::Function => functions(&mut out, &own),
            Family::Aggregate => aggregates(&mut out, &own),
            Family::Exit => {
                out.push('\n');
                for entry in own {
                    let _ = writeln!(out, "* `{}`: {}", entry.name, entry.about);
                }
            }
            _ => own.iter().for_each(|entry| one(&mut out, entry, level)),
        }
    }
    out
}

/// What a part of a family is called.
fn heading(family: Family, group: &str) -> String {
    match (family, group) {
        (Family::Key, group) => format!("Of {group}"),
        _ => {
            let mut letters = group.chars();
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
        }
    }
}

fn functions(out: &mut String, entries: &[&&Entry]) {
    out.push_str("\n| function | what it returns | for example |\n|---|---|---|\n");
    for entry in entries {
        let example = entry.facts.first().map_or("", |(_, fact)| fact.as_str());
        let _ = writeln!(out, "| {} | {} | {} |", cell(&code(entry.usage())), cell(&entry.about), cell(example));
    }
}

fn aggregates(out: &mut String, entries: &[&&Entry]) {
    out.push_str("\n| aggregate | what it gives | keeps for each key and window | error |\n|---|---|---|---|\n");
    for entry in entries {
        let facts: Vec<String> = entry.facts.iter().map(|(_, fact)| cell(fact)).collect();
        let _ = writeln!(out, "| {} | {} | {} |", cell(&code(entry.usage())), cell(&entry.about), facts.join(" | "));
    }
}

fn one(out: &mut String, entry: &Entry, level: &str) {
    let _ = write!(out, "\n{level} `{}`\n\n{}\n", entry.name, entry.about);
    if !entry.facts.is_empty() {
        out.push('\n');
    }
    for (what, fact) in &entry.facts {
        let _ = writeln!(out, "* {what}: {fact}");
    }
    for (heading, options) in &entry.sections {
        let _ = write!(out, "\n{heading}:\n\n");
        options.iter().for_each(|option| choice(out, option, 0));
    }
}

/// An option as an item of a list, with what is inside it below.
fn choice(out: &mut String, option: &Choice, depth: usize) {
    let room = "  ".repeat(depth);
    let kind = match (option.kind.as_str(), option.needed) {
        ("", _) => String::new(),
        (kind, true) => format!(" ({kind}, needed)"),
        (kind, false) => format!(" ({kind})"),
    };
    let mut line = format!("{room}* `{}`{kind}: {}", option.name, option.about);
    for (what, value) in [("Default", &option.default), ("For example", &option.example)] {
        if let Some(value) = value.as_ref().filter(|value| !option.about.contains(value.as_str())) {
            let _ = write!(line, " {what}: {}.", code(value));
        }
    }
    let _ = writeln!(out, "{}", line.trim_end().trim_end_matches(':'));
    option.inner.iter().for_each(|inner| choice(out, inner, depth + 1));
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
