//! The step `window`.

mod shape;

use crate::base::diag::Span;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::data::layout::FieldPath;
use crate::plan::KeyPart;
use crate::plan::window::{Bounds, Late, Window};

use super::aggregates::{self, Aggregates, Made};
use super::context::Context;
use super::read::{Duration, Read, keys, words};
use super::step::{By, key_parts};
use shape::{CalendarKeys, EmitOption, Events, Session, Sliding};

keys! {
    /// Groups events by key and time. A window closes when the watermark reaches its end and then emits one row for each
    /// key: the `by` fields, `window_start`, `window_end` and the aggregates.
    #[schemars(extend("oneOf" = [
        { "required": ["tumbling"] },
        { "required": ["sliding"] },
        { "required": ["session"] },
        { "required": ["count"] },
        { "required": ["calendar"] },
    ]))]
    pub struct WindowOptions as "window" {
        /// Windows of this length, one after the other.
        tumbling: Option<Duration>,
        /// Windows of length `size`, a new one `every` so often.
        sliding: Option<Sliding>,
        /// Runs of events at most `gap` apart.
        session: Option<Session>,
        /// So many events of a key, in order of arrival; what is left comes at the end of the input. `window_start` and
        /// `window_end` are the least and the greatest event time among them. No event is late.
        count: Option<Events>,
        /// Hours, days, weeks or months of a time zone.
        calendar: Option<CalendarKeys>,
        /// The key: a field, a list of fields, or a map of names to expressions. Without it all events are one group.
        by: Option<By>,
        /// How long after its end a window still takes events, each making it emit again with a higher `window_revision`.
        /// Default `0s`.
        allow_late: Option<Duration>,
        /// What becomes of a late event when nobody reads the step's `.late`. Default `dead_letter`.
        late: Option<LateWord>,
        /// Moves the windows, which are aligned to the Unix epoch.
        offset: Option<Duration>,
        /// When rows leave. `final`: when a window closes. `{ every: 10s }`: also before that, at each point of a grid of event
        /// time inside the window if it changed since its last row; such a row has `window_early: true`, and a sliding window's
        /// event makes one for each of its windows. `once`: a single row when the window takes no more late events. Default
        /// `final`.
        emit: Option<EmitOption>,
        /// The fields of a row and what they are made of: `average: avg(temperature)`. `{}` for none.
        aggregate: Aggregates,
    }
    later []
}

words! {
    /// What becomes of a late event when nobody reads the step's `.late`.
    pub enum LateWord("value") {
        /// It is counted and shown as a dead letter. The default.
        DeadLetter = "dead_letter",
        /// It is counted and gone.
        Drop = "drop",
    }
}

/// The keys of a window.
pub const KEYS: [&str; 11] =
    ["tumbling", "sliding", "session", "count", "calendar", "by", "allow_late", "late", "offset", "emit", "aggregate"];

/// Reads a window.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Window> {
    let options = WindowOptions::read(node, key, context)?;
    let shape = shape::shape(&options, node, key, context);
    let emit = shape::emit(options.emit.as_ref(), shape.as_ref(), context);
    let by = key_parts(options.by, true, context);
    let allow_late = match &options.allow_late {
        Some(late) => late.not_negative("`allow_late`", context),
        None => Some(TimeSpan::ZERO),
    };
    let late = late(options.late);
    let mut bound = |name: &str| context.intern(FieldPath::event([name]), key);
    let bounds = Bounds {
        start: bound("window_start")?,
        end: bound("window_end")?,
        early: bound("window_early")?,
        revision: bound("window_revision")?,
        replaces: bound("window_replaces")?,
    };
    let apart = by.as_deref().is_none_or(|by| keys_apart(by, bounds, context));
    let keys = by.as_deref().unwrap_or_default();
    let aggregates = aggregates::read(options.aggregate, keys, bounds, shape.as_ref(), context);
    let Made { calls, outputs } = aggregates?;
    let by = by.filter(|_| apart);
    let (shape, by, allow_late, emit) = (shape?, by?, allow_late?, emit?);
    Some(Window { shape, by, allow_late, emit, late, calls, outputs, bounds })
}

/// What becomes of late rows that nobody reads.
pub fn late(word: Option<LateWord>) -> Late {
    match word {
        Some(LateWord::Drop) => Late::Drop,
        Some(LateWord::DeadLetter) | None => Late::DeadLetter,
    }
}

/// Whether the fields of the key are apart from each other and from those that every window writes; reports it if not.
fn keys_apart(by: &[KeyPart], bounds: Bounds, context: &mut Context<'_>) -> bool {
    let bounds = bounds.all();
    let mut apart = true;
    for (at, part) in by.iter().enumerate() {
        let Some(path) = context.layout.path(part.field).cloned() else { continue };
        let inside = |other: &KeyPart| context.layout.path(other.field).is_some_and(|other| other.overlaps(&path));
        let message = if bounds.contains(&part.field) {
            format!("`{path}` is a field that every window writes")
        } else if by.iter().take(at).any(inside) {
            format!("`{path}` and another field of the key lie inside each other")
        } else {
            continue;
        };
        let help = format!("give it a name of its own: `by: {{ name: {path} }}`");
        context.error("duplicate-field", message, &part.expr.origin.span).help(help);
        apart = false;
    }
    apart
}
