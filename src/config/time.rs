//! `time` of a source.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::suggest::nearest;
use crate::base::time::TimeSpan;
use crate::base::tree::{Data, Node};
use crate::data::format::TimeFormat;
use crate::plan::Time;

use super::context::{Context, Unknown};
use super::expressions;
use super::interpolate::interpolate;
use super::read::{Code, Duration, Read, Text, keys};

keys! {
    /// How event time is found and how far it may be out of order. Without `time`, an event's time
    /// is when it arrived.
    pub struct TimeOptions as "time" {
        /// Where an event's time stands: a field, or an expression read after decoding: `date + " " + hour`. Default: the
        /// time of its arrival.
        field: Option<Code>,
        /// How the value is read. `auto`: RFC 3339, or a number (below 1e11 seconds, 1e14 milliseconds, 1e17 microseconds,
        /// else nanoseconds); or `rfc3339`, `unix`, `unix_ms`, `unix_us`, `unix_ns`, or a strptime pattern such as
        /// `%Y-%m-%d %H:%M:%S`. Default `auto`.
        format: Option<FormatName>,
        /// The time zone of times without an offset, such as `Europe/Berlin`. Default `UTC`.
        zone: Option<Text>,
        /// How far behind the greatest time seen an event may come and still be on time. Default `0s`.
        out_of_order: Option<Duration>,
        /// How long a live source is silent before the others no longer wait for it. Default `30s`.
        idle_after: Option<Duration>,
        /// How far ahead of the clock an event may be before it counts as an error: a duration or `off`. Default `1d` for
        /// live sources, `off` for those that end.
        max_future: Option<MaxFuture>,
    }
    later []
}

/// The name of a time format or a strptime pattern.
#[derive(Clone, Debug)]
pub struct FormatName(TimeFormat);

const FORMATS: [(&str, TimeFormat); 6] = [
    ("auto", TimeFormat::Auto),
    ("rfc3339", TimeFormat::Rfc3339),
    ("unix", TimeFormat::Unix),
    ("unix_ms", TimeFormat::UnixMs),
    ("unix_us", TimeFormat::UnixUs),
    ("unix_ns", TimeFormat::UnixNs),
];

impl Read for FormatName {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let text = Text::read(node, key, context)?;
        if let Some((_, format)) = FORMATS.iter().find(|(name, _)| *name == text.text) {
            return Some(FormatName(format.clone()));
        }
        if !text.text.contains('%') {
            let what =
                Unknown { code: "unknown-value", noun: "time format", place: "", listing: "it is a pattern or one of" };
            context.unknown(&what, &text.text, &text.span, &FORMATS.map(|(name, _)| name), &[]);
            return None;
        }
        let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
        if let Err(error) = jiff::fmt::strtime::format(&text.text, &sample) {
            let reason = error.to_string();
            let message = format!("this is not a strptime pattern: {}", reason.rsplit(": ").next().unwrap_or(&reason));
            context.error("bad-time-format", message, &text.span).help("a pattern looks like `%Y-%m-%d %H:%M:%S`");
            return None;
        }
        Some(FormatName(TimeFormat::Pattern(text.text)))
    }
}

impl JsonSchema for FormatName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TimeFormat".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names = FORMATS.map(|(name, _)| name);
        json_schema!({ "anyOf": [{ "type": "string", "enum": names }, { "type": "string", "pattern": "%|\\$\\{" }] })
    }
}

/// A duration, or `off`.
#[derive(Clone, Debug)]
pub struct MaxFuture(Option<TimeSpan>);

impl Read for MaxFuture {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let node = interpolate(node, context)?;
        if node.as_text() == Some("off") || node.data == Data::Bool(false) {
            return Some(MaxFuture(None));
        }
        let duration = Duration::read(&node, key, context)?;
        duration.not_negative("`max_future`", context).map(|length| MaxFuture(Some(length)))
    }
}

impl JsonSchema for MaxFuture {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaxFuture".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let duration = generator.subschema_for::<Duration>();
        json_schema!({ "anyOf": [{ "const": "off" }, duration] })
    }
}

/// The plan's settings; `None` inside is time of arrival, `None` outside a mistake.
pub fn resolve(options: TimeOptions, key: &Span, bounded: bool, context: &mut Context<'_>) -> Option<Option<Time>> {
    let zone = options.zone.as_ref().map_or(Some("UTC".to_owned()), |zone| known_zone(zone, context));
    let out_of_order = span(options.out_of_order.as_ref(), TimeSpan::ZERO, "`out_of_order`", context);
    let idle_after = match &options.idle_after {
        Some(idle) => idle.positive("`idle_after`", context),
        None => Some(TimeSpan::seconds(30)),
    };
    let day = TimeSpan::seconds(86_400);
    let max_future = options.max_future.as_ref().map_or((!bounded).then_some(day), |m| m.0);
    let reads = options.format.is_some() || options.zone.is_some() || options.max_future.is_some();
    if options.field.is_none() && reads {
        let message = "`format`, `zone` and `max_future` say how `field` is read, which is missing";
        context
            .error("missing-key", message, key)
            .label("`field` is missing")
            .help("name the field that holds the time; without one, an event's time is when it arrived");
        return None;
    }
    // Outside: a mistake; inside: time of arrival.
    let field = options.field.as_ref().map_or(Some(None), |field| expressions::expression(field, context).map(Some));
    Some(Some(Time {
        field: field?,
        format: options.format.map_or(TimeFormat::Auto, |f| f.0),
        zone: zone?,
        out_of_order: out_of_order?,
        idle_after: idle_after?,
        max_future,
    }))
}

fn span(given: Option<&Duration>, default: TimeSpan, what: &str, context: &mut Context<'_>) -> Option<TimeSpan> {
    given.map_or(Some(default), |given| given.not_negative(what, context))
}

pub(super) fn known_zone(zone: &Text, context: &mut Context<'_>) -> Option<String> {
    let database = jiff::tz::db();
    if zone.text == "UTC" || database.get(&zone.text).is_ok() {
        return Some(zone.text.clone());
    }
    let names: Vec<String> = database.available().map(|name| name.to_string()).collect();
    // `Berlin` for `Europe/Berlin`: the last part alone names it too.
    let by_city = names.iter().find(|n| n.rsplit('/').next().is_some_and(|c| c.eq_ignore_ascii_case(&zone.text)));
    let near = by_city.map(String::as_str).or_else(|| nearest(&zone.text, names.iter().map(String::as_str)));
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => "zones are named like `Europe/Berlin` or `UTC`".to_owned(),
    };
    context.error("unknown-zone", format!("unknown time zone `{}`", zone.text), &zone.span).help(help);
    None
}
