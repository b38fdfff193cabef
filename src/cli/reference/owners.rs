//! Options by their names: of what they are options.

use super::entry::{Choice, Entry, Family};

/// An option with everything that has it in the same words.
pub struct Owned<'a> {
    /// The option.
    pub choice: &'a Choice,
    /// What has it, as a sentence goes on: `of the step `window``.
    owners: Vec<String>,
}

impl Owned<'_> {
    /// Of what it is an option.
    pub fn sentence(&self) -> String {
        let what = if self.choice.kind.is_empty() { "a word" } else { "an option" };
        let owners = match self.owners.split_last() {
            Some((last, others)) if !others.is_empty() => format!("{} and {last}", others.join(", ")),
            _ => self.owners.concat(),
        };
        format!("`{}` is {what} {owners}", self.choice.name)
    }
}

/// The options of this name.
pub fn of<'a>(all: &'a [Entry], name: &str) -> Vec<Owned<'a>> {
    let mut found: Vec<Owned<'a>> = Vec::new();
    walk(all, &mut |choice, owner| {
        if choice.name != name {
            return;
        }
        // What is inside stands below each of them.
        match found.iter_mut().find(|known| known.choice == choice) {
            Some(known) if known.owners.contains(&owner()) => {}
            Some(known) => known.owners.push(owner()),
            None => found.push(Owned { choice, owners: vec![owner()] }),
        }
    });
    found
}

/// The names of all options, but those of words.
pub fn names(all: &[Entry]) -> Vec<&str> {
    let mut names = Vec::new();
    walk(all, &mut |choice, _| {
        if !choice.kind.is_empty() {
            names.push(choice.name.as_str());
        }
    });
    names
}

/// What is done with an option; the second says what has it.
type Visit<'v, 'a> = dyn FnMut(&'a Choice, &dyn Fn() -> String) + 'v;

fn walk<'a>(all: &'a [Entry], visit: &mut Visit<'_, 'a>) {
    for entry in all {
        for (heading, options) in &entry.sections {
            let beside = *heading == "Beside it";
            options.iter().for_each(|choice| inside(entry, beside, &mut Vec::new(), choice, visit));
        }
    }
}

fn inside<'a>(entry: &Entry, beside: bool, within: &mut Vec<&'a str>, choice: &'a Choice, visit: &mut Visit<'_, 'a>) {
    visit(choice, &|| owner(entry, beside, within));
    within.push(&choice.name);
    choice.inner.iter().for_each(|inner| inside(entry, beside, within, inner, visit));
    within.pop();
}

/// What has an option: an entry, or an option of it.
fn owner(entry: &Entry, beside: bool, within: &[&str]) -> String {
    let top = match entry.family {
        Family::Key if entry.group == "the file" => format!("the key `{}` of the file", entry.name),
        Family::Key if within.is_empty() => format!("`{}`, which {} have", entry.name, entry.group),
        Family::Key => format!("`{}` of {}", entry.name, entry.group),
        family => format!("the {} `{}`", family.noun(), entry.name),
    };
    match within.split_last() {
        None if beside => format!("beside {top}"),
        None => format!("of {top}"),
        Some((nearest, outer)) => {
            let outer: String = outer.iter().rev().map(|name| format!(" in `{name}`")).collect();
            format!("of `{nearest}`{outer} {} {top}", if beside { "beside" } else { "in" })
        }
    }
}
