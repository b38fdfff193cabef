//! Entries of `sources`.

pub mod schema;

use crate::base::tree::{Data, Entry};
use crate::data::format::Format;
use crate::plan::{NodeKind, Source};

use super::context::Context;
use super::document::{self, Kinds};
use super::format::FormatIn;
use super::graph::{Draft, Family, Ports};
use super::interpolate::interpolate_all;
use super::read::Read;
use super::time::{self, TimeOptions};

/// Keys beside the kind of a source.
pub const SHARED: [&str; 5] = ["time", "format", "schema", "description", "on_error"];
/// Kinds of later versions.
pub const LATER: [&str; 6] = ["http", "udp", "sse", "kafka", "nats", "redis"];

/// Reads an entry.
pub fn read(entry: &Entry, context: &mut Context<'_>) -> Draft {
    let mut draft = Draft::new(entry, Family::Source, Ports { errors: true, late: false, named: Some(Vec::new()) });
    let names: Vec<&str> = context.registry.sources.iter().map(|kind| kind.name).collect();
    let later: Vec<&str> = LATER.into_iter().filter(|name| !names.contains(name)).collect();
    let kinds = Kinds { kinds: &names, later: &later, shared: &SHARED, elsewhere: &[] };
    let Some((mut keys, kind)) = document::open(entry, Family::Source, &kinds, context) else { return draft };
    (draft.description, draft.on_error) = document::shared(&mut keys, context);
    let checked = context.registry.sources.iter().find(|s| s.name == kind.key).and_then(|connector| {
        let options = interpolate_all(&kind.value, context)?;
        let checks = context.checks(&kind.value.span);
        (connector.check)(&options, &checks, context.found)
    });
    let format = keys.take::<Option<FormatIn>>("format", context);
    if let (Some(Some(FormatIn(Format::MessagePack))), Some(start)) = (&format, kind.value.get("start"))
        && matches!(&start.data, Data::Text(at) if at == "end")
    {
        context
            .error(
                "start-needs-lines",
                "`start: end` looks for the last line end, and MessagePack has no lines",
                &start.span,
            )
            .help("leave `start` out: files are read from their beginning");
        return draft;
    }
    if let (Some(checked), Some(written)) = (&checked, keys.entries().iter().find(|e| e.key == "format"))
        && checked.json
    {
        let span = written.key_span.clone();
        let message = format!("the rows of a `{}` source are events as they are and have no `format`", kind.key);
        context.error("no-format", message, &span).help("leave `format` out");
        return draft;
    }
    let time = match keys.entry("time") {
        None => Some(None),
        Some(written) => TimeOptions::read(&written.value, &written.key_span, context).and_then(|options| {
            let bounded = checked.as_ref().is_none_or(|c| c.bounded);
            time::resolve(options, &written.key_span, bounded, context)
        }),
    };
    let written = keys.entries().iter().find(|e| e.key == "schema");
    let schema = keys.take::<Option<schema::SchemaIn>>("schema", context);
    if let (Some(Some(schema)), Some(written), Some(Some(FormatIn(Format::Csv(csv))))) = (&schema, written, &format) {
        schema::fits(&schema.0, csv, &written.value, context);
    }
    let known: Vec<&str> = SHARED.iter().copied().chain([kind.key.as_str()]).collect();
    keys.close(&known, &[], context);
    draft.kind = (|| {
        let (checked, format, time, schema) = (checked?, format?, time?, schema?);
        let format = format.map_or(Format::Json, |f| f.0);
        let connector = kind.key.clone();
        let (options, bounded, rows, replay) = (checked.options, checked.bounded, checked.json, checked.replay);
        let schema = schema.map(|s| s.0);
        Some(NodeKind::Source(Source { connector, options, bounded, format, rows, time, schema, replay }))
    })();
    draft
}
