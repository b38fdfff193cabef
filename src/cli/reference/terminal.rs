//! The reference as it is read where it is printed.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::entry::{Choice, Entry, Family, code};
use super::owners::Owned;

/// Bold, and back.
const STRONG: (&str, &str) = ("\x1b[1m", "\x1b[0m");
/// The narrowest text that is worth wrapping.
const NARROW: usize = 30;

/// How wide lines may be; `None` where nobody looks at them as they come.
pub type Width = Option<usize>;

/// A line for each entry; where there are several families, functions by their names alone.
pub fn list(entries: &[&Entry], width: Width) -> String {
    let mut out = String::new();
    for family in Family::ALL {
        let own: Vec<&&Entry> = entries.iter().filter(|entry| entry.family == family).collect();
        if own.is_empty() {
            continue;
        }
        let gap = if out.is_empty() { "" } else { "\n" };
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{gap}{}{}{}", STRONG.0, family.title(), STRONG.1);
        let mut groups: Vec<&str> = own.iter().map(|entry| entry.group.as_str()).collect();
        groups.dedup();
        for group in groups {
            let own: Vec<&&&Entry> = own.iter().filter(|entry| entry.group == group).collect();
            let of = if family == Family::Key { "of " } else { "" };
            let heading = if group.is_empty() { String::new() } else { format!("{of}{group}: ") };
            let many = family == Family::Function && group != "event, in scripts";
            if group == "Rhai" || many && entries.iter().any(|entry| entry.family != family) {
                let names: Vec<&str> = own.iter().map(|entry| entry.name.as_str()).collect();
                paragraph(&mut out, &format!("{heading}{}", names.join(", ")), 2, 4, width);
                continue;
            }
            if !heading.is_empty() {
                let _ = writeln!(out, "  {}", heading.trim_end());
            }
            let indent = if heading.is_empty() { 2 } else { 4 };
            let column = own.iter().map(|entry| entry.name.width()).max().unwrap_or_default();
            for entry in own {
                let gap = " ".repeat(column.saturating_sub(entry.name.width()));
                let line = format!("{}{gap}  {}", entry.name, entry.summary());
                paragraph(&mut out, &line, indent, indent + column + 2, width);
            }
        }
    }
    out
}

/// Entries in full, one after the other.
pub fn entries(entries: &[&Entry], width: Width) -> String {
    entries.iter().map(|entry| one(entry, width)).collect::<Vec<_>>().join("\n")
}

fn one(entry: &Entry, width: Width) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} {}{}{}", entry.family.noun(), STRONG.0, entry.usage(), STRONG.1);
    paragraph(&mut out, &entry.about, 2, 2, width);
    for (what, fact) in &entry.facts {
        paragraph(&mut out, &format!("{what}: {fact}"), 2, 4, width);
    }
    for (heading, options) in &entry.sections {
        let _ = writeln!(out, "\n  {heading}");
        options.iter().for_each(|option| choice(&mut out, option, 4, width));
    }
    out
}

/// Options, each below a sentence that says of what it is one.
pub fn options(options: &[Owned<'_>], width: Width) -> String {
    let one = |owned: &Owned<'_>| {
        let mut out = String::new();
        paragraph(&mut out, &format!("{}:", owned.sentence()), 0, 2, width);
        choice(&mut out, owned.choice, 2, width);
        out
    };
    options.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// An option with what is inside it.
fn choice(out: &mut String, option: &Choice, indent: usize, width: Width) {
    let room = " ".repeat(indent);
    let kind = if option.kind.is_empty() { String::new() } else { format!("  {}", option.kind) };
    if kind.is_empty() {
        let line = format!("{}{}{}  {}", STRONG.0, option.name, STRONG.1, option.about);
        paragraph(out, line.trim_end(), indent, indent + 4, width);
        return;
    }
    let needed = if option.needed { ", needed" } else { "" };
    let _ = writeln!(out, "{room}{}{}{}{kind}{needed}", STRONG.0, option.name, STRONG.1);
    let mut about = option.about.clone();
    for (what, value) in [("Default", &option.default), ("For example", &option.example)] {
        if let Some(value) = value.as_ref().filter(|value| !about.contains(value.as_str())) {
            let _ = write!(about, " {what}: {}.", code(value));
        }
    }
    paragraph(out, about.trim(), indent + 4, indent + 4, width);
    option.inner.iter().for_each(|inner| choice(out, inner, indent + 4, width));
}

/// Writes a text, its first line so far in and the others so far.
fn paragraph(out: &mut String, text: &str, first: usize, others: usize, width: Width) {
    if text.is_empty() {
        return;
    }
    let Some(width) = width.map(|width| width.max(others + NARROW)) else {
        let _ = writeln!(out, "{}{text}", " ".repeat(first));
        return;
    };
    let mut line = " ".repeat(first);
    let mut begun = false;
    // Leading gaps, which line columns up, belong to the words.
    for word in text.split_inclusive(' ') {
        if begun && line.width() + word.trim_end().width() > width {
            let _ = writeln!(out, "{}", line.trim_end());
            line = " ".repeat(others);
        }
        line.push_str(word);
        begun = true;
    }
    let _ = writeln!(out, "{}", line.trim_end());
}
