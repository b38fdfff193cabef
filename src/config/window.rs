//! The step `window`.

use crate::base::diag::Span;
use crate::base::limit;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::data::layout::FieldPath;
use crate::plan::KeyPart;
use crate::plan::window::{Bounds, Late, Shape, Window};

use super::aggregates::{self, Aggregates, Made};
use super::context::{Context, listed};
use super::read::{Duration, Read, keys, words};
use super::step::{By, key_parts};

keys! {
    /// Groups events by key and time. A window closes when the watermark reaches its end and then emits one row for each
    /// key: the `by` fields, `window_start`, `window_end` and the aggregates.
    #[schemars(extend("oneOf" = [
        { "required": ["tumbling"] },
        { "required": ["sliding"] },
        { "required": ["session"] },
    ]))]
    pub struct WindowOptions as "window" {
        /// Windows of this length, one after the other.
        tumbling: Option<Duration>,
        /// Windows of length `size`, a new one `every` so often.
        sliding: Option<Sliding>,
        /// Runs of events at most `gap` apart.
        session: Option<Session>,
        /// The key: a field, a list of fields, or a map of names to expressions. Without it all events are one group.
        by: Option<By>,
        /// How long after its end a window still takes events, each making it emit again with a higher `window_revision`.
        /// Default `0s`.
        allow_late: Option<Duration>,
        /// What becomes of a late event when nobody reads the step's `.late`. Default `dead_letter`.
        late: Option<LateWord>,
        /// Moves the windows, which are aligned to the Unix epoch.
        offset: Option<Duration>,
        /// The fields of a row and what they are made of: `average: avg(temperature)`. `{}` for none.
        aggregate: Aggregates,
    }
    later ["count", "calendar", "emit"]
}

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
    }
    later ["max"]
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
pub const KEYS: [&str; 8] = ["tumbling", "sliding", "session", "by", "allow_late", "late", "offset", "aggregate"];

/// Reads a window.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Window> {
    let options = WindowOptions::read(node, key, context)?;
    let shape = shape(&options, node, key, context);
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
        revision: bound("window_revision")?,
        replaces: bound("window_replaces")?,
    };
    let apart = by.as_deref().is_none_or(|by| keys_apart(by, bounds, context));
    let aggregates = aggregates::read(options.aggregate, by.as_deref().unwrap_or_default(), bounds, shape, context);
    let Made { calls, outputs } = aggregates?;
    let by = by.filter(|_| apart);
    Some(Window { shape: shape?, by: by?, allow_late: allow_late?, late, calls, outputs, bounds })
}

/// What becomes of late rows that nobody reads.
pub fn late(word: Option<LateWord>) -> Late {
    match word {
        Some(LateWord::Drop) => Late::Drop,
        Some(LateWord::DeadLetter) | None => Late::DeadLetter,
    }
}

fn shape(options: &WindowOptions, node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Shape> {
    let names = ["tumbling", "sliding", "session"];
    let given: Vec<&str> = names.into_iter().filter(|name| node.get(name).is_some()).collect();
    // A shape of a later version has been reported as such.
    let later = node.get("count").is_some() || node.get("calendar").is_some();
    if given.len() != 1 {
        let message = match given.as_slice() {
            [first, second, ..] => format!("a window has one shape, this has `{first}` and `{second}`"),
            _ if later => return None,
            _ => "the window has no shape".to_owned(),
        };
        context.error("one-shape", message, key).help(listed("write one of", &names));
        return None;
    }
    let offset = options.offset.as_ref();
    let shift = offset.map_or(TimeSpan::ZERO, |o| o.length);
    if let Some(size) = &options.tumbling {
        return Some(Shape::Tumbling { size: size.positive("a window", context)?, offset: shift });
    }
    if let Some(sliding) = &options.sliding {
        return self::sliding(sliding, shift, context);
    }
    if let Some(offset) = offset {
        context.error("unused-key", "`offset` has no meaning for sessions: they begin at an event", &offset.span);
    }
    let gap = options.session.as_ref()?.gap.positive("`gap`", context)?;
    Some(Shape::Session { gap })
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

/// Whether the fields of the key are apart from each other and from those that every window writes; reports it if not.
fn keys_apart(by: &[KeyPart], bounds: Bounds, context: &mut Context<'_>) -> bool {
    let bounds = [bounds.start, bounds.end, bounds.revision, bounds.replaces];
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
