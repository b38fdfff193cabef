//! Entries of `sinks`.

use crate::base::diag::{Diagnostics, Span};
use crate::base::tree::{Data, Entry, Node};
use crate::connector;
use crate::data::format::Format;
use crate::data::layout::FieldPath;
use crate::plan::{NodeKind, Operator, Sink, Template};

use super::alert::{self, Waiting};
use super::context::Context;
use super::document::{self, Kinds};
use super::format::FormatOut;
use super::graph::{self, Draft, Family, Ports};
use super::interpolate::interpolate_all;
use super::read::Keys;

/// Keys beside the kind of a sink.
pub const SHARED: [&str; 4] = ["from", "format", "description", "on_error"];
/// Kinds of later versions.
pub const LATER: [&str; 6] = ["sqlite", "udp", "kafka", "nats", "redis", "postgres"];

/// Reads an entry.
pub fn read(entry: &Entry, context: &mut Context<'_>) -> Draft {
    read_as(entry, None, context)
}

/// Reads an entry; `latency` is when it sends, if it can and does not say so itself.
pub fn read_as(entry: &Entry, latency: Option<&str>, context: &mut Context<'_>) -> Draft {
    let mut draft = Draft::new(entry, Family::Sink, Ports { errors: true, late: false, named: Some(Vec::new()) });
    // An alert is a sink to its author, but not a connector.
    let alert = std::iter::once("alert").filter(|_| latency.is_none());
    let names: Vec<&str> = alert.chain(context.registry.sinks.iter().map(|kind| kind.name)).collect();
    let later: Vec<&str> = LATER.into_iter().filter(|name| !names.contains(name)).collect();
    let kinds = Kinds { kinds: &names, later: &later, shared: &SHARED, elsewhere: &[] };
    draft.from = graph::from(entry, context);
    let Some((mut keys, kind)) = document::open(entry, Family::Sink, &kinds, context) else { return draft };
    keys.skip("from");
    (draft.description, draft.on_error) = document::shared(&mut keys, context);
    if kind.key == "alert" {
        keys.close(&["from", "description", "on_error", "alert"], &[], context);
        let made = alert::read(&kind.value, &kind.key_span, context);
        draft.kind = made.and_then(|alert::Made { alert, options }| {
            let waiting = Waiting { name: entry.key.clone(), span: entry.key_span.clone(), options };
            context.alerts.push(waiting);
            Some(NodeKind::Step(Operator::Alert(Box::new(alert?))))
        });
        return draft;
    }
    let checked = context.registry.sinks.iter().find(|s| s.name == kind.key).and_then(|connector| {
        let options = interpolate_all(&kind.value, context)?;
        let checks = context.checks(&kind.value.span);
        let checked = (connector.check)(&options, &checks, context.found)?;
        match latency.filter(|_| checked.options.get("latency").is_some()) {
            Some(word) if options.get("latency").is_none() => {
                (connector.check)(&with_latency(&options, word), &checks, &mut Diagnostics::default())
            }
            _ => Some(checked),
        }
    });
    let format = keys.take::<Option<FormatOut>>("format", context);
    if checked.as_ref().is_some_and(|checked| checked.json) && has_format(&keys, &kind.key, context) {
        return draft;
    }
    let known: Vec<&str> = SHARED.iter().copied().chain([kind.key.as_str()]).collect();
    keys.close(&known, &[], context);
    draft.kind = (|| {
        let (checked, format) = (checked?, format?);
        let FormatOut { format, line } = format.unwrap_or_else(|| Format::Json.into());
        let all: Vec<Option<Template>> = checked
            .templates
            .iter()
            .map(|text| template(text, place_of(text, &kind.value).unwrap_or(&kind.key_span), context))
            .collect();
        let templates = all.into_iter().collect::<Option<Vec<Template>>>()?;
        let line = match line {
            Some(line) => Some(template(&line.text, &line.span, context)?),
            None => None,
        };
        let (paths, timed) = (checked.paths, checked.timed);
        let mut meta = |name: &str| context.intern(FieldPath::meta(name), &kind.key_span);
        let identity = if checked.sends { Some([meta("source")?, meta("path")?, meta("offset")?]) } else { None };
        Some(NodeKind::Sink(Sink {
            connector: kind.key.clone(),
            options: checked.options,
            format,
            line,
            templates,
            paths,
            timed,
            identity,
            told_apart: None,
            promise: checked.promise?,
        }))
    })();
    draft
}

/// Options with one more.
fn with_latency(options: &Node, word: &str) -> Node {
    let value = Node { data: Data::Text(word.to_owned()), ..options.clone() };
    let mut options = options.clone();
    if let Data::Map(entries) = &mut options.data {
        entries.push(Entry { key: "latency".to_owned(), key_span: value.span.clone(), value });
    }
    options
}

/// Says that rows of a kind have no format, if one is written.
fn has_format(keys: &Keys<'_>, kind: &str, context: &mut Context<'_>) -> bool {
    let Some(written) = keys.entries().iter().find(|entry| entry.key == "format") else { return false };
    let message = format!("what a `{kind}` sink sends is made of the rows as they are: they have no `format`");
    context.error("no-format", message, &written.key_span).help("leave `format` out");
    true
}

/// A template with the fields that it reads.
pub fn template(text: &str, span: &Span, context: &mut Context<'_>) -> Option<Template> {
    let names = match connector::template::Template::parse(text) {
        Ok((_, names)) => names,
        Err(reason) => {
            let reason = reason.strip_prefix(&format!("`{text}` ")).unwrap_or(&reason);
            let reason = reason.strip_prefix("cannot be used: ").unwrap_or(reason);
            let message = format!("this is not a template: {reason}");
            context.error("bad-template", message, span).help("a field is written `{{ device_id }}`");
            return None;
        }
    };
    let mut fields = Vec::with_capacity(names.len());
    for name in &names {
        let path = match name.strip_prefix("meta.") {
            Some(rest) => FieldPath::meta(rest),
            None => FieldPath::event([name]),
        };
        fields.push(context.intern(path, span)?);
    }
    let reads = connector::template::paths(text).into_iter().map(|path| (place_in_template(&path, span), path));
    Some(Template { text: text.to_owned(), fields, reads: reads.map(|(place, path)| (path, place)).collect() })
}

/// Where a template reads a path first: as it stands in the file, between braces. The whole of it, if it is spelled in
/// another way there.
fn place_in_template(path: &str, span: &Span) -> Span {
    let written = span.file.text.get(span.range.clone()).unwrap_or_default();
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    let stands = |at: usize| {
        let (before, from) = written.split_at_checked(at).unwrap_or_default();
        let after = from.get(path.len()..).unwrap_or_default();
        let last = |a: &str, b: &str| before.rfind(a).max(before.rfind(b));
        last("{{", "{%") > last("}}", "%}")
            && !before.ends_with(|c| part_of_name(c) || c == '.')
            && !after.starts_with(part_of_name)
    };
    let found = written.match_indices(path).map(|(at, _)| at).find(|at| stands(*at));
    found.map_or_else(
        || span.clone(),
        |at| {
            let start = span.range.start + at;
            Span { range: start..start + path.len(), ..span.clone() }
        },
    )
}

/// Where a text stands among options.
fn place_of<'n>(text: &str, options: &'n Node) -> Option<&'n Span> {
    match &options.data {
        Data::Text(written) if written.contains(text) => Some(&options.span),
        Data::List(items) => items.iter().find_map(|item| place_of(text, item)),
        Data::Map(entries) => entries.iter().find_map(|entry| place_of(text, &entry.value)),
        _ => None,
    }
}
