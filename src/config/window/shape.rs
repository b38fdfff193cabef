//! The shapes of windows and when their rows leave: `tumbling`, `sliding`, `session`, `count`, `calendar`; `emit`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::diag::Span;
use crate::base::limit;
use crate::base::time::TimeSpan;
use crate::base::tree::{Data, Node};
use crate::config::context::{Context, listed};
use crate::config::interpolate::interpolate;
use crate::config::read::{Duration, Read, Text, keys, words, wrong_type};
use crate::config::time::known_zone;
use crate::data::calendar::Unit;
use crate::plan::window::{Emit, Shape};

use super::WindowOptions;

keys! {
    /// Overlapping windows.
    pub struct Sliding as "sliding" {
        /// How long a window is.
        size: Duration,
        /// From one window's start to the next one's; at most `size`.
        every: Duration,
    }
    later []
}

keys! {
    /// Runs of events.
    pub struct Session as "session" {
        /// Two events of a session are at most this far apart; at exactly this they still join.
        gap: Duration,
        /// The longest that a session may be, from `window_start` to `window_end`. An event that would stretch one beyond it
        /// does not join it: of two neighbours it joins the earlier if that fits, else the later, else it begins a session of
        /// its own.
        max: Option<Duration>,
    }
    later []
}

keys! {
    /// Windows as clocks and calendars show them.
    pub struct CalendarKeys as "calendar" {
        /// How long a window is: from one full hour to the next, from midnight to midnight, from Monday to Monday, from the
        /// first of a month to the first of the next.
        every: UnitWord,
        /// The time zone, such as `Europe/Berlin`: a day on which its clocks change has 23 or 25 hours. Default `UTC`.
        zone: Option<ZoneName>,
    }
    later []
}

/// The name of a time zone that exists.
#[derive(Clone, Debug)]
pub struct ZoneName(String);

impl Read for ZoneName {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        let name = Text::read(node, key, context)?;
        known_zone(&name, context).map(ZoneName)
    }
}

impl JsonSchema for ZoneName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Zone".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Text::json_schema(generator)
    }
}

words! {
    /// A unit of the calendar.
    pub enum UnitWord("unit") {
        /// From one full hour to the next.
        Hour = "hour",
        /// A date.
        Day = "day",
        /// From Monday to Monday.
        Week = "week",
        /// From the first of a month to the first of the next.
        Month = "month",
    }
}

keys! {
    /// Early rows.
    pub struct EmitEvery as "emit" {
        /// From one point of event time to the next at which rows may leave, aligned like the windows.
        every: Duration,
    }
    later []
}

words! {
    /// When rows leave.
    pub enum EmitWord("value") {
        /// When the watermark reaches a window's end; with `allow_late`, a late event makes a revised row. The default.
        Final = "final",
        /// A single row for each window, when it takes no more events: at its end and `allow_late`. What reads the step sees a
        /// watermark that is `allow_late` behind.
        Once = "once",
    }
}

/// `emit`: a word, or a map with `every`.
#[derive(Clone, Debug)]
pub enum EmitOption {
    Word(EmitWord),
    Every(EmitEvery),
}

impl Read for EmitOption {
    fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Self> {
        match &node.data {
            Data::Map(_) => EmitEvery::read(node, key, context).map(EmitOption::Every),
            Data::Text(_) => {
                let word = Text::read(node, key, context)?;
                let every = match word.text.as_str() {
                    "final" => return Some(EmitOption::Word(EmitWord::Final)),
                    "once" => return Some(EmitOption::Word(EmitWord::Once)),
                    other => TimeSpan::parse(other).map_or_else(|_| "10s".to_owned(), |every| every.to_string()),
                };
                let help = format!("it is `final`, `once` or, for early rows, `{{ every: {every} }}`");
                context.error("unknown-value", format!("unknown value `{}`", word.text), &word.span).help(help);
                None
            }
            _ => {
                wrong_type(node, "`final`, `once` or `{ every: 10s }`", context);
                None
            }
        }
    }
}

impl JsonSchema for EmitOption {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Emit".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (word, every) = (generator.subschema_for::<EmitWord>(), generator.subschema_for::<EmitEvery>());
        json_schema!({ "anyOf": [word, every] })
    }
}

/// A number of events, at least one.
#[derive(Clone, Debug)]
pub struct Events(u64);

impl Read for Events {
    fn read(node: &Node, _: &Span, context: &mut Context<'_>) -> Option<Self> {
        let node = interpolate(node, context)?;
        match node.data {
            Data::Int(events) => match u64::try_from(events) {
                Ok(events) if events > 0 => Some(Events(events)),
                _ => {
                    context.error("not-positive", "a window has at least one event", &node.span);
                    None
                }
            },
            _ => {
                wrong_type(&node, "a number of events", context);
                None
            }
        }
    }
}

impl JsonSchema for Events {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Events".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

/// The keys that are shapes.
const SHAPES: [&str; 5] = ["tumbling", "sliding", "session", "count", "calendar"];

/// The shape of a window. Reports what is wrong with it, and keys that have no meaning for it.
pub(super) fn shape(options: &WindowOptions, node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Shape> {
    let given: Vec<&str> = SHAPES.into_iter().filter(|name| node.get(name).is_some()).collect();
    let [given] = given.as_slice() else {
        let message = match given.as_slice() {
            [first, second, ..] => format!("a window has one shape, this has `{first}` and `{second}`"),
            _ => "the window has no shape".to_owned(),
        };
        context.error("one-shape", message, key).help(listed("write one of", &SHAPES));
        return None;
    };
    meaningless(given, node, context);
    let offset = options.offset.as_ref().map_or(TimeSpan::ZERO, |o| o.length);
    if let Some(size) = &options.tumbling {
        return Some(Shape::Tumbling { size: size.positive("a window", context)?, offset });
    }
    if let Some(sliding) = &options.sliding {
        return self::sliding(sliding, offset, context);
    }
    if let Some(session) = &options.session {
        return self::session(session, context);
    }
    if let Some(calendar) = &options.calendar {
        let every = match calendar.every {
            UnitWord::Hour => Unit::Hour,
            UnitWord::Day => Unit::Day,
            UnitWord::Week => Unit::Week,
            UnitWord::Month => Unit::Month,
        };
        let zone = calendar.zone.as_ref().map_or_else(|| "UTC".to_owned(), |zone| zone.0.clone());
        return Some(Shape::Calendar { every, zone });
    }
    options.count.as_ref().map(|events| Shape::Count { events: events.0 })
}

/// Reports the keys of a window that say nothing for its shape.
fn meaningless(shape: &str, node: &Node, context: &mut Context<'_>) {
    let (keys, why): (&[&str], &str) = match shape {
        "session" => (&["offset"], "sessions: they begin at an event"),
        "calendar" => (&["offset"], "the calendar: its windows begin where its units do"),
        "count" => (
            &["allow_late", "late", "offset", "emit"],
            "`count`: its windows go by the order of arrival, so no event is late, and close with their last event",
        ),
        _ => return,
    };
    let Data::Map(entries) = &node.data else { return };
    for entry in entries.iter().filter(|e| keys.contains(&e.key.as_str())) {
        let message = format!("`{}` has no meaning for {why}", entry.key);
        context.error("unused-key", message, &entry.key_span).help("take it out");
    }
}

fn sliding(sliding: &Sliding, offset: TimeSpan, context: &mut Context<'_>) -> Option<Shape> {
    let size = sliding.size.positive("`size`", context);
    let every = sliding.every.positive("`every`", context);
    let (size, every) = (size?, every?);
    if every > size {
        let message =
            format!("`every` ({every}) is larger than `size` ({size}): events in between would be in no window");
        context
            .error("every-larger-than-size", message, &sliding.every.span)
            .help(format!("make `every` at most {size}, or `size` at least {every}"));
        return None;
    }
    let windows = (size.0 - 1) / every.0 + 1;
    if windows > limit::WINDOWS_PER_EVENT {
        let message = format!("every event would be in {windows} windows, the limit is {}", limit::WINDOWS_PER_EVENT);
        context.error("too-many-windows", message, &sliding.every.span).help("make `every` larger");
        return None;
    }
    Some(Shape::Sliding { size, every, offset })
}

fn session(session: &Session, context: &mut Context<'_>) -> Option<Shape> {
    let gap = session.gap.positive("`gap`", context);
    let max = match &session.max {
        Some(max) => max.positive("`max`", context).map(Some),
        None => Some(None),
    };
    let (gap, max) = (gap?, max?);
    if let (Some(max), Some(written)) = (max.filter(|max| *max < gap), &session.max) {
        let message = format!("`max` ({max}) is shorter than `gap` ({gap}), which every session lasts");
        context.error("max-shorter-than-gap", message, &written.span).help(format!("make `max` at least {gap}"));
        return None;
    }
    Some(Shape::Session { gap, max })
}

/// When the rows of a window leave.
pub(super) fn emit(option: Option<&EmitOption>, shape: Option<&Shape>, context: &mut Context<'_>) -> Option<Emit> {
    let every = match option {
        None | Some(EmitOption::Word(EmitWord::Final)) => return Some(Emit::Final),
        Some(EmitOption::Word(EmitWord::Once)) => return Some(Emit::Once),
        Some(EmitOption::Every(options)) => &options.every,
    };
    let length = every.positive("`every`", context)?;
    let longest = match shape {
        Some(Shape::Tumbling { size, .. } | Shape::Sliding { size, .. }) => Some(*size),
        Some(Shape::Calendar { every, .. }) => Some(every.length()),
        Some(Shape::Session { max, .. }) => *max,
        Some(Shape::Count { .. }) | None => None,
    };
    if let Some(longest) = longest.filter(|longest| length >= *longest) {
        let message = format!("no row would come early: `every` ({length}) is not shorter than a window ({longest})");
        context.error("emit-every-too-long", message, &every.span).help("make `every` shorter, or leave `emit` out");
        return None;
    }
    Some(Emit::Every(length))
}
