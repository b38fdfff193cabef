//! `millstream reference`: every connector, step, window, aggregate, function, format and key, out of the same doc comments
//! and tables that editors and `check` know them from.

mod collect;
mod entry;
mod markdown;
mod options;
mod owners;
mod terminal;

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::base::suggest::nearest;
use crate::base::system::reason;
use crate::config::Registry;

use super::exit;
use super::load::{print, say};
use entry::{Entry, Family};
use owners::Owned;

/// Options of `reference`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to show: a name (`window`, `avg`), an option (`out_of_order`), or a family (`steps`, `functions`). Without it
    /// everything is listed.
    #[arg(value_name = "NAME", conflicts_with = "output")]
    name: Option<String>,
    /// Write all of it to this directory, a Markdown file for each family.
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Shows or writes the reference.
pub fn run(args: &Args, registry: &Registry<'_>) -> u8 {
    let all = collect::collect(registry);
    if let Some(directory) = &args.output {
        return match write(directory, &all) {
            Ok(()) => exit::OK,
            Err(why) => {
                say(&format!("error: {why}"));
                exit::FAILED
            }
        };
    }
    let Some(name) = &args.name else {
        let everything: Vec<&Entry> = all.iter().collect();
        let more = "\n`millstream reference NAME` shows one of these, or a family: `steps`, `functions`.\n";
        return print(&(terminal::list(&everything, width()) + more));
    };
    match find(&all, name) {
        Found::One(entries) => print(&terminal::entries(&entries, width())),
        Found::Options(options) => print(&terminal::options(&options, width())),
        Found::Several(entries) => print(&terminal::list(&entries, width())),
        Found::Nothing(near) => {
            say(&format!("error: the reference knows no `{name}`"));
            say(&match near {
                Some(near) => format!("  help: did you mean `{near}`?"),
                None => "  help: `millstream reference` lists everything".to_owned(),
            });
            exit::USAGE
        }
    }
}

/// What a name means.
enum Found<'a> {
    /// These, in full: things of different families may have one name.
    One(Vec<&'a Entry>),
    /// A family or a part of one.
    Several(Vec<&'a Entry>),
    /// Options of this name, with what they are of.
    Options(Vec<Owned<'a>>),
    /// Nothing; a name that may be meant.
    Nothing(Option<&'a str>),
}

fn find<'a>(all: &'a [Entry], name: &str) -> Found<'a> {
    let by = |is: &dyn Fn(&Entry) -> bool| all.iter().filter(|entry| is(entry)).collect::<Vec<_>>();
    // `avg()` is `avg`.
    let name = name.split('(').next().unwrap_or_default().trim();
    let named = by(&|entry| entry.name == name);
    if !named.is_empty() && name != "sources" && name != "steps" && name != "sinks" {
        return Found::One(named);
    }
    let several = by(&|entry| entry.family.page() == name || entry.group == name);
    if !several.is_empty() {
        return Found::Several(several);
    }
    let options = owners::of(all, name);
    if !options.is_empty() {
        return Found::Options(options);
    }
    let pages = Family::ALL.iter().map(|family| family.page());
    let names: BTreeSet<&str> =
        all.iter().map(|entry| entry.name.as_str()).chain(pages).chain(owners::names(all)).collect();
    Found::Nothing(nearest(name, names))
}

/// How wide the terminal is, if it is one.
fn width() -> terminal::Width {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    // Longer lines are hard to read.
    Some(width.min(100))
}

fn write(directory: &Path, all: &[Entry]) -> Result<(), String> {
    let wrong = |path: &Path, e: std::io::Error| format!("`{}` cannot be written: {}", path.display(), reason(&e));
    std::fs::create_dir_all(directory).map_err(|e| wrong(directory, e))?;
    for (name, text) in markdown::pages(all) {
        let path = directory.join(name);
        std::fs::write(&path, text).map_err(|e| wrong(&path, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::open::REGISTRY;
    use entry::Choice;

    /// Whether an option, or one inside it, is not described.
    fn undescribed(choice: &Choice) -> bool {
        choice.about.is_empty() || choice.inner.iter().any(undescribed)
    }

    #[test]
    fn everything_says_what_it_is() {
        let all = collect::collect(&REGISTRY);
        let mut silent: Vec<String> = Vec::new();
        for entry in &all {
            let options = entry.sections.iter().flat_map(|(_, options)| options);
            let own = options.filter(|option| undescribed(option)).map(|option| option.name.clone());
            silent.extend(own.map(|option| format!("{} {}: {option}", entry.family.noun(), entry.name)));
            if entry.about.is_empty() {
                silent.push(format!("{} {}", entry.family.noun(), entry.name));
            }
        }
        assert!(
            silent.is_empty(),
            "say in their doc comments (or `PLAIN` of collect.rs, for a format) what these are: {silent:#?}"
        );
    }

    #[test]
    fn every_family_has_entries() {
        let all = collect::collect(&REGISTRY);
        for family in Family::ALL {
            assert!(all.iter().any(|entry| entry.family == family), "{family:?}");
        }
    }

    #[test]
    fn kinds_that_have_entries_of_their_own_are_only_named() {
        let all = collect::collect(&REGISTRY);
        let Found::One(alert) = find(&all, "alert") else { panic!("it is known") };
        let text = terminal::entries(&alert, None);
        assert!(text.contains("`pagerduty`") && text.contains("`millstream reference KIND` shows them"), "{text}");
        assert!(!text.contains("idempotency_header") && text.lines().count() < 150, "{text}");
    }

    #[test]
    fn names_are_found_or_the_nearest_is_suggested() {
        let all = collect::collect(&REGISTRY);
        let families = |name: &str| match find(&all, name) {
            Found::One(entries) => entries.iter().map(|entry| entry.family).collect(),
            _ => Vec::new(),
        };
        assert_eq!(families("file"), [Family::Source, Family::Sink]);
        assert_eq!(families("avg()"), [Family::Aggregate]);
        assert_eq!(families("drop"), [Family::Step, Family::Function]);
        assert_eq!(families("130"), [Family::Exit]);
        assert!(matches!(find(&all, "steps"), Found::Several(entries) if entries.len() > 5));
        assert!(matches!(find(&all, "text"), Found::Several(_) | Found::One(_)));
        let owners = |name: &str| match find(&all, name) {
            Found::Options(options) => options.iter().map(Owned::sentence).collect(),
            _ => Vec::new(),
        };
        assert_eq!(owners("idle_after"), ["`idle_after` is an option of `time`, which sources have"]);
        assert_eq!(owners("notify_max_age"), ["`notify_max_age` is an option of the sink `alert`"]);
        assert_eq!(
            owners("for"),
            ["`for` is an option of the sink `alert`", "`for` is an option of `levels` in the sink `alert`"]
        );
        assert!(matches!(find(&all, "idle_aftr"), Found::Nothing(Some("idle_after"))));
        assert!(matches!(find(&all, "windw"), Found::Nothing(Some("window"))));
        assert!(matches!(find(&all, "qqqqqq"), Found::Nothing(None)));
    }
}
