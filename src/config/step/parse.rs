//! The step `parse`.

use crate::base::diag::Span;
use crate::base::tree::{Data, Node};
use crate::config::context::Context;
use crate::config::format::FormatIn;
use crate::config::read::{Read, Text, keys};
use crate::data::format::Format;
use crate::data::layout::FieldPath;
use crate::plan::parse::Parse;

keys! {
    /// Reads the text in a field by any format that a source has, and puts what it finds into the event. An event whose
    /// text cannot be read, or that has none, goes to `.errors` with the place in the text.
    pub struct ParseOptions as "parse" {
        /// The field that holds the text. Default `message`.
        field: Option<Text>,
        /// How the text is read: `json`, `logfmt`, `{ grok: … }` and the others; of CSV its `columns` have to be named.
        format: FormatIn,
        /// The field that takes what was read. Without it the fields found join those of the event: one that was there
        /// already gets the new value where it stands, new ones come last.
        into: Option<Text>,
        /// Whether the text stays beside what was read of it. Default `false`: it goes, unless a field of its name was
        /// found.
        keep: Option<bool>,
    }
    later []
}

/// Reads the options.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Parse> {
    if let Data::Text(written) = &node.data {
        context
            .error("wrong-type", "`parse` needs to be told what to read and how", &node.span)
            .help(format!("write `parse: {{ field: message, format: {written} }}`"));
        return None;
    }
    let place = node.get("format").map_or(key, |format| &format.span).clone();
    let ParseOptions { field, format, into, keep } = ParseOptions::read(node, key, context)?;
    if matches!(&format.0, Format::Csv(csv) if csv.columns.is_none()) {
        context
            .error("missing-key", "a text has no header, so the fields of `csv` need names", &place)
            .help("name them: `format: { csv: { columns: [time, device_id, value] } }`");
        return None;
    }
    if format.0 == Format::MessagePack {
        context
            .error("format-of-text", "MessagePack is bytes, and what `parse` reads is text", &place)
            .help("read it where it comes in: `format: msgpack` on the source");
        return None;
    }
    let field = match field {
        Some(field) => super::field(&field, context),
        None => context.intern(FieldPath::event(["message"]), key),
    };
    let into = match into {
        Some(into) => super::field(&into, context).map(Some),
        None => Some(None),
    };
    Some(Parse { field: field?, format: format.0, into: into?, keep: keep.unwrap_or(false) })
}
