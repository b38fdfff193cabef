//! The file's top level and its entries: which keys an entry has, which of them is its kind.

use std::path::Path;

use crate::base::diag::Span;
use crate::base::suggest::nearest;
use crate::base::tree::{Data, Entry, Node};
use crate::plan::{OnError, Plan};

use super::checkpoint::CheckpointOptions;
use super::context::{Context, Unknown, listed};
use super::graph::{self, Draft, Family};
use super::read::{Keys, Named, Read, Text, words, wrong_type};
use super::{Pipeline, alert, cases, checkpoint, sink, source, step, values};

/// The keys of a file.
pub const KEYS: [&str; 10] =
    ["name", "description", "checkpoint", "state", "vars", "sources", "steps", "sinks", "receivers", "tests"];
/// Keys of later versions.
const LATER: [&str; 2] = ["delivery", "latency"];

words! {
    /// What becomes of an event that cannot be processed, or that a sink is refused, when nobody reads the entry's `.errors`.
    pub enum OnErrorWord("value") {
        /// It is counted and shown as a dead letter. The default.
        DeadLetter = "dead_letter",
        /// It is counted and gone.
        Drop = "drop",
        /// The run fails.
        Fail = "fail",
    }
}

impl From<OnErrorWord> for OnError {
    fn from(word: OnErrorWord) -> Self {
        match word {
            OnErrorWord::DeadLetter => OnError::DeadLetter,
            OnErrorWord::Drop => OnError::Drop,
            OnErrorWord::Fail => OnError::Fail,
        }
    }
}

/// A pipeline from a file's tree. Everything that is wrong has been reported when this returns; what it returns counts
/// only if nothing was.
pub fn resolve(tree: &Node, context: &mut Context<'_>) -> Option<Pipeline> {
    let start = Span { file: tree.span.file.clone(), range: tree.span.range.start..tree.span.range.start };
    if !matches!(tree.data, Data::Map(_)) {
        let message = format!("a pipeline is a map with `sources`, `steps` and `sinks`, this is {}", tree.kind());
        context.error("not-a-map", message, &tree.span);
        return None;
    }
    let mut keys = Keys::open(tree, "", &start, context)?;
    let name = keys.take::<Option<Text>>("name", context).flatten();
    let description = keys.take::<Option<Text>>("description", context).flatten();
    let checkpoint = keys.take::<Option<CheckpointOptions>>("checkpoint", context).flatten();
    let checkpoint_every = checkpoint::resolve(checkpoint, context);
    let state = keys.take::<Option<Text>>("state", context).flatten();
    if let Some(state) = state.as_ref().filter(|state| state.text.is_empty() || state.text.ends_with('/')) {
        context
            .error("bad-path", "`state` names no file", &state.span)
            .help("name a file, for example `state/orders.db`");
    }
    if let Some(state) = &state {
        context.may_read(&state.text, &state.span);
    }
    if let Some(vars) = keys.take::<Option<Vars>>("vars", context).flatten() {
        context.vars = vars.0;
    }
    let mut drafts = Vec::new();
    for family in [Family::Source, Family::Step, Family::Sink] {
        let Some(section) = keys.entry(family.section()) else { continue };
        read_section(section, family, &mut drafts, context);
    }
    for (section, what) in [("sources", "reads nothing"), ("sinks", "writes nothing")] {
        if tree.get(section).is_none() {
            context.error("missing-key", format!("without `{section}` the pipeline {what}"), &start);
        }
    }
    let tests = keys.entry("tests");
    let receivers = receivers(keys.entry("receivers"), context);
    keys.close(&KEYS, &LATER, context);
    let name = pipeline_name(name, &tree.span.file.name, context);
    let alerts = std::mem::take(&mut context.alerts);
    let shared = shared_receivers(context);
    alert::expand(name.as_deref().unwrap_or_default(), (&receivers, &shared), alerts, &mut drafts, context);
    let nodes = graph::connect(drafts, context);
    let tests = tests.map_or_else(Vec::new, |tests| cases::read(tests, nodes.as_deref(), context));
    let plan = Plan {
        name: name?,
        file: tree.span.file.name.clone(),
        description: description.map(|d| d.text),
        checkpoint_every: checkpoint_every?,
        state: state.map(|state| state.text),
        layout: std::mem::take(&mut context.layout),
        vars: std::mem::take(&mut context.vars),
        nodes: nodes?,
    };
    Some(Pipeline { plan, tests, directory: context.directory.to_path_buf() })
}

/// The entries of `receivers`.
fn receivers(section: Option<&Entry>, context: &mut Context<'_>) -> Vec<Entry> {
    let Some(section) = section else { return Vec::new() };
    let Data::Map(entries) = &section.value.data else {
        wrong_type(&section.value, "a map of named receivers", context);
        return Vec::new();
    };
    for entry in entries {
        check_name(&entry.key, &entry.key_span, "receiver", context);
    }
    entries.clone()
}

/// The receivers of the file that pipelines share.
fn shared_receivers(context: &mut Context<'_>) -> Vec<Entry> {
    let Some(tree) = context.shared.take() else { return Vec::new() };
    let start = Span { file: tree.span.file.clone(), range: tree.span.range.start..tree.span.range.start };
    let Some(mut keys) = Keys::open(&tree, "", &start, context) else { return Vec::new() };
    let shared = receivers(keys.entry("receivers"), context);
    keys.close(&["receivers"], &[], context);
    shared
}

/// `vars`: constants of any kind under names that are identifiers.
struct Vars(Vec<(String, crate::data::value::Value)>);

impl Read for Vars {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let named = Named::<values::Filled>::read(node, key, context)?;
        let mut vars = Vec::with_capacity(named.0.len());
        for (name, value) in named.0 {
            check_name(&name.text, &name.span, "variable", context);
            vars.push((name.text, value.0));
        }
        Some(Vars(vars))
    }
}

/// The pipeline's name: what is written, else the file's name without its ending.
fn pipeline_name(name: Option<Text>, file: &str, context: &mut Context<'_>) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    match name {
        Some(name) if name.text.starts_with(|c: char| c.is_ascii_lowercase()) && name.text.chars().all(allowed) => {
            Some(name.text)
        }
        Some(name) => {
            let message = format!("`{}` cannot be a pipeline's name", name.text);
            context
                .error("bad-name", message, &name.span)
                .help("a name begins with a small letter and goes on with small letters, digits, `_` and `-`");
            None
        }
        None => {
            let stem = Path::new(file).file_stem().and_then(|s| s.to_str()).unwrap_or("pipeline").to_lowercase();
            Some(stem.chars().map(|c| if allowed(c) { c } else { '_' }).collect())
        }
    }
}

/// Whether a name follows the rule for names; reports it if not.
pub fn check_name(name: &str, span: &Span, what: &str, context: &mut Context<'_>) -> bool {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_lowercase());
    let right = first && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !right {
        let message = format!("`{name}` cannot be the name of a {what}");
        context.error("bad-name", message, span).help(match suggestion(name) {
            Some(better) => format!("write it with small letters, digits and `_`: `{better}`"),
            None => "a name begins with a small letter and goes on with small letters, digits and `_`".to_owned(),
        });
    }
    right
}

/// A name as the rule wants it.
fn suggestion(name: &str) -> Option<String> {
    let lower = name.trim().to_lowercase();
    let better: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let first = better.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    (first && better.chars().any(|c| c != '_')).then_some(better)
}

fn read_section(section: &Entry, family: Family, drafts: &mut Vec<Draft>, context: &mut Context<'_>) {
    let entries = match &section.value.data {
        Data::Map(entries) if !entries.is_empty() => entries,
        // `steps:` with nothing under it is a pipeline that changes nothing.
        Data::Map(_) | Data::Null if family == Family::Step => return,
        Data::Map(_) | Data::Null => {
            let message = format!("`{}` is empty", family.section());
            context
                .error("missing-value", message, &section.key_span)
                .help(format!("name at least one {}", family.noun()));
            return;
        }
        Data::List(_) => {
            let message = format!("`{}` is a map of names, this is a list", family.section());
            context.error("wrong-type", message, &section.value.span).help(format!(
                "give each {} a name: `{}:` and its keys indented below",
                family.noun(),
                if family == Family::Step { "cleaned" } else { "readings" }
            ));
            return;
        }
        _ => {
            wrong_type(&section.value, &format!("a map of named {}", family.section()), context);
            return;
        }
    };
    for entry in entries {
        check_name(&entry.key, &entry.key_span, family.noun(), context);
        if let Some(first) = drafts.iter().find(|d: &&Draft| d.name == entry.key) {
            let (line, _) = first.span.line_column();
            let message = format!("the name `{}` is taken by a {}", entry.key, first.family.noun());
            let label = format!("the {} is at line {line}", first.family.noun());
            context
                .error("duplicate-name", message, &entry.key_span)
                .label(label)
                .help("names are unique over sources, steps and sinks: give one of them another");
            continue;
        }
        context.named.clear();
        let draft = match family {
            Family::Source => source::read(entry, context),
            Family::Step => step::read(entry, context),
            Family::Sink => sink::read(entry, context),
        };
        drafts.push(Draft { named: std::mem::take(&mut context.named), ..draft });
    }
}

/// Takes the shared keys of an entry.
pub fn shared(keys: &mut Keys<'_>, context: &mut Context<'_>) -> (Option<String>, OnError) {
    let description = keys.take::<Option<Text>>("description", context).flatten();
    let on_error = keys.take::<Option<OnErrorWord>>("on_error", context).flatten();
    (description.map(|d| d.text), on_error.map_or(OnError::default(), OnError::from))
}

/// The kinds and keys of a family.
pub struct Kinds<'a> {
    /// Kinds of this version.
    pub kinds: &'a [&'a str],
    /// Kinds of later versions.
    pub later: &'a [&'a str],
    /// Keys beside the kind.
    pub shared: &'a [&'a str],
    /// What kinds are called elsewhere, each with the kinds here that do it.
    pub elsewhere: &'a [(&'a str, &'a [&'a str])],
}

/// Opens an entry and finds its one kind key. Reports an entry without a kind, with two, or with an unknown one; its keys
/// are then not read further.
pub fn open<'n>(
    entry: &'n Entry,
    family: Family,
    kinds: &Kinds<'_>,
    context: &mut Context<'_>,
) -> Option<(Keys<'n>, &'n Entry)> {
    if !matches!(entry.value.data, Data::Map(_) | Data::Null) {
        let message = format!("a {} is a map with its kind as a key, this is {}", family.noun(), entry.value.kind());
        let help = entry.value.as_text().and_then(|text| nearest_or_same(text, kinds.kinds));
        let report = context.error("wrong-type", message, &entry.value.span);
        if let Some(kind) = help {
            report.help(format!("write `{kind}:` on a line of its own below `{}:`", entry.key));
        }
        return None;
    }
    let mut keys = Keys::open(&entry.value, &entry.key, &entry.key_span, context)?;
    let mut named = keys.entries().iter().filter(|e| kinds.kinds.contains(&e.key.as_str()));
    let (first, second) = (named.next(), named.next());
    if let (Some(first), Some(second)) = (first, second) {
        let message = format!("`{}` has two kinds, `{}` and `{}`", entry.key, first.key, second.key);
        context
            .error("two-kinds", message, &second.key_span)
            .label("the second kind")
            .help(format!("make two {} of it, one below the other", family.section()));
        return None;
    }
    if let Some(kind) = first {
        keys.skip(&kind.key);
        return Some((keys, kind));
    }
    no_kind(entry, &keys, family, kinds, context);
    None
}

/// Reports an entry that has no kind of this version: the key that was meant as one, if there is such a key.
fn no_kind(entry: &Entry, keys: &Keys<'_>, family: Family, kinds: &Kinds<'_>, context: &mut Context<'_>) {
    let noun = format!("{} kind", family.noun());
    let what =
        Unknown { code: "unknown-kind", noun: &noun, place: "", listing: &format!("a {} is one of", family.noun()) };
    let strange: Vec<&Entry> = keys.entries().iter().filter(|e| !kinds.shared.contains(&e.key.as_str())).collect();
    let elsewhere =
        |e: &Entry| kinds.elsewhere.iter().find(|(name, _)| *name == e.key.to_lowercase()).map(|(_, here)| here);
    let meant = |e: &&&Entry| {
        let known = kinds.later.contains(&e.key.as_str()) || elsewhere(e).is_some();
        known || nearest(&e.key, kinds.kinds.iter().copied()).is_some()
    };
    let kind = strange.iter().find(meant).or_else(|| strange.first());
    match kind {
        Some(kind) => match elsewhere(kind) {
            Some(here) => {
                let names: Vec<String> = here.iter().map(|name| format!("`{name}`")).collect();
                let message = format!("unknown {noun} `{}`", kind.key);
                let help = format!("did you mean {}?", names.join(" or "));
                context.error("unknown-kind", message, &kind.key_span).help(help);
            }
            None => context.unknown(&what, &kind.key, &kind.key_span, kinds.kinds, kinds.later),
        },
        None => {
            let message = format!("the {} `{}` has no kind", family.noun(), entry.key);
            context.error("no-kind", message, &entry.key_span).help(listed("it needs one of", kinds.kinds));
        }
    }
}

fn nearest_or_same<'a>(text: &str, kinds: &[&'a str]) -> Option<&'a str> {
    kinds.iter().copied().find(|k| *k == text).or_else(|| nearest(text, kinds.iter().copied()))
}
