//! The sink `alert`: a state machine a key, and what is told of it to whom.

mod policy;
mod receivers;
mod values;

use crate::alert::machine::{Flapping, Grid, Hold, Level, Rules};
use crate::base::diag::Span;
use crate::base::limit::ALERT_KEYS;
use crate::base::tree::Node;
use crate::data::layout::FieldPath;
use crate::plan::alert::{Alert, Conditions, DEFAULT_SEVERITY, Says, WindowFields};
use crate::plan::{KeyPart, Template};

use super::context::Context;
use super::expressions;
use super::number::Count;
use super::read::{Code, Duration, Named, OneOrMany, Read, Text, keys, words};
use super::sink::template;
use super::step::{By, key_parts};

pub use policy::{Inhibition, Mute, RateOptions};
pub use receivers::{Receivers, Waiting, expand};
pub use values::{HoldText, Labels, MaxKeys, TemplateText};

keys! {
    /// Calls out when a condition holds: a state machine for each key, `inactive → pending → firing → resolved`, over event
    /// time. Each transition is told once, also after a crash; what is told, when and to whom is up to the policy
    /// (`group_by` and below) and to `notify`. `from: NAME` reads the transitions.
    pub struct AlertOptions as "alert" {
        /// The key: a field, a list of fields, or a map of names to expressions. Without it all rows are one.
        by: Option<By>,
        /// When it is so: `temperature > 30`. A row in which a field that it reads is null or missing leaves the state as it
        /// is, unless the condition asks for that itself (`temperature == ()`). So does a row for which it cannot be computed,
        /// the text of a broken sensor for one: that goes to `.errors`.
        when: Option<Code>,
        /// How long it has to be so: `2m` (fires at the first row that is at least so long after the first row of an unbroken
        /// run), `2 windows` (adjacent ones), `3 events`, `2 of 3 windows`, `2 of 5 events`. Default: at once.
        hold as "for": Option<HoldText>,
        /// When it is over. Default: when `when` is false. Where both hold, `when` wins; where neither does, it stays.
        clear_when: Option<Code>,
        /// How long it has to be over, in the forms of `for`. Default: at once.
        clear_for: Option<HoldText>,
        /// Whether `for` and `clear_for` may also be completed by time that passes without a row: a door that was left open.
        /// Default `false`.
        sustain: Option<bool>,
        /// How bad it is: a word of your own. Default `warning`.
        severity: Option<Text>,
        /// Several severities, from the least to the worst: `{ warning: { when: temperature > 25 }, critical: { when: temperature > 30 } }`.
        /// The alert has the worst that fires; a change is a transition.
        levels: Option<Named<LevelOptions>>,
        /// Fires when a key that there was brings no row for so long (`reason: no_data`), and resolves when it does again. It
        /// goes by the watermark. Its severity is that of the alert; of `levels` the least.
        no_data_after: Option<Duration>,
        /// A key that changes too often is told to be flapping, once, and nothing more until it has been calm for `within`.
        flapping: Option<FlappingOptions>,
        /// In which order rows are judged: `event_time` (each when the watermark has reached it), or `arrival` for least
        /// latency. A row older than the last one judged for its key is counted and not judged. Default `event_time`.
        order: Option<OrderWord>,
        /// Keys at most; rows of further ones are errors. Or `{ keys: 10000, beyond: forget_quiet }`: the key that is well and
        /// has brought no row for longest makes room. Default 1,000,000.
        max_keys: Option<MaxKeys>,
        /// One line about it: `"{{ device_id }} is at {{ temperature | round(1) }} °C"`, over the fields of the row that was
        /// judged. Default: the alert's name and the key.
        title: Option<TemplateText>,
        /// More about it, in the same way.
        body: Option<TemplateText>,
        /// Labels beside `alertname`, `severity` and the key, by which notifications are grouped, silenced and routed.
        labels: Option<Named<TemplateText>>,
        /// Where to look: `{ runbook: "https://wiki/overheating", device: "https://devices/{{ device_id }}" }`.
        links: Option<Named<TemplateText>>,
        /// Labels whose values put alerts into one notification; `[]` puts all of this alert together. Without it each key is
        /// told alone.
        group_by: Option<Labels>,
        /// How long the first notification of a group waits for others. Default `30s` with `group_by`, else `0s`.
        group_wait: Option<Duration>,
        /// The least time between two notifications of a group. Default `5m` with `group_by`, else `0s`.
        group_interval: Option<Duration>,
        /// Tells again what still fires, so often. Without it nothing is told twice.
        repeat_every: Option<Duration>,
        /// Not told while one of these fires.
        inhibited_by: Option<OneOrMany<Inhibition>>,
        /// Not told in these times; what still fires when one ends is told then.
        mute: Option<OneOrMany<Mute>>,
        /// At most so many notifications; what is beyond that comes together in one when there is room.
        rate: Option<RateOptions>,
        /// For so long after the start what fires is gathered into one summary a receiver. Default `0s`.
        startup_grace: Option<Duration>,
        /// Transitions older than this are recorded and not told: a replay does not call anybody. Their age when they come is
        /// how far event time, by the watermark and by transitions, is behind the clock; rows of a source without `time` have
        /// that of their arrival, which is not old. What still fires when event time has come so close is told then, and that
        /// something is over is told at any age. Default `1h`.
        notify_max_age: Option<Duration>,
        /// When notifications leave: `exact` when a checkpoint holds them, `immediate` at once under the same id. It is the
        /// `latency` of receivers that are written here and have none of their own. Default `exact`.
        latency: Option<LatencyWord>,
        /// Who is told: names from `receivers`, and receivers in place (`webhook: { url: "${ALERT_URL}" }`); any kind of sink
        /// is one. Beside the kind, `severities: [critical]` tells it of these alone, and `resolved: false` of no resolves.
        notify: Option<Receivers>,
    }
    later []
}

keys! {
    /// A severity with conditions of its own.
    pub struct LevelOptions as "levels" {
        /// When it is so.
        when: Code,
        /// How long it has to be so, as in `for` of the alert, which is the default.
        hold as "for": Option<HoldText>,
        /// When it is over. Default: when `when` is false.
        clear_when: Option<Code>,
        /// How long it has to be over; default that of the alert.
        clear_for: Option<HoldText>,
    }
    later []
}

keys! {
    /// How often is too often.
    pub struct FlappingOptions as "flapping" {
        /// More changes between firing and resolved than this are too many.
        changes: Count,
        /// In how long.
        within: Duration,
    }
    later []
}

words! {
    /// In which order rows are judged.
    pub enum OrderWord("value") {
        /// By event time, up to the watermark.
        EventTime = "event_time",
        /// As they come.
        Arrival = "arrival",
    }
}

words! {
    /// When notifications leave.
    pub enum LatencyWord("value") {
        /// When a checkpoint holds them.
        Exact = "exact",
        /// At once; after a crash again under the same id.
        Immediate = "immediate",
    }
}

/// An alert and what is left to be made of its options.
pub struct Made {
    /// The state machines; `None` after a mistake in what they are made of.
    pub alert: Option<Alert>,
    /// The rest.
    pub options: AlertOptions,
}

/// Fields of transitions, which a key cannot be called by.
const RESERVED: [&str; 20] = [
    "alert",
    "key",
    "state",
    "was",
    "severity",
    "reason",
    "at",
    "since",
    "fired_at",
    "title",
    "body",
    "labels",
    "links",
    "condition",
    "window_start",
    "window_end",
    "values",
    "number",
    "quiet",
    "alertname",
];

/// Reports parts of a key that are called like something that a transition says.
fn reserved(by: &[KeyPart], key: &Span, context: &mut Context<'_>) {
    for part in by {
        let name = context.layout.path(part.field).and_then(|path| path.names.first()).map(ToString::to_string);
        if let Some(name) = name.filter(|name| RESERVED.contains(&name.as_str())) {
            let message = format!("a transition of an alert has a `{name}` of its own, so the key cannot have one");
            let report = context.error("reserved-name", message, key);
            report.help(format!("give it another name: `by: {{ of_{name}: {name} }}`"));
        }
    }
}

/// Reads an `alert`.
pub fn read(node: &Node, key: &Span, context: &mut Context<'_>) -> Option<Made> {
    let options = AlertOptions::read(node, key, context)?;
    let alert = machines(&options, key, context);
    Some(Made { alert, options })
}

fn machines(options: &AlertOptions, key: &Span, context: &mut Context<'_>) -> Option<Alert> {
    let by = key_parts(options.by.clone(), true, context);
    let levels = levels(options, key, context);
    let says = says(options, context);
    let no_data_after = match &options.no_data_after {
        Some(after) => after.positive("`no_data_after`", context).map(Some),
        None => Some(None),
    };
    let flapping = match &options.flapping {
        Some(flapping) => flapping.within.positive("`within`", context).map(|within| {
            Some(Flapping { changes: u32::try_from(flapping.changes.number).unwrap_or(u32::MAX), within })
        }),
        None => Some(None),
    };
    let window = window_fields(key, context);
    let (levels, conditions) = levels?.into_iter().unzip();
    let rules = Rules {
        levels,
        sustain: options.sustain.unwrap_or(false),
        no_data_after: no_data_after?,
        flapping: flapping?,
        // Known when it is known what is read.
        grid: Grid::default(),
    };
    let by: Vec<KeyPart> = by?;
    reserved(&by, key, context);
    let (max_keys, forgets_quiet) = options.max_keys.as_ref().map_or((ALERT_KEYS, false), |m| (m.keys, m.forgets));
    if forgets_quiet && rules.no_data_after.is_some() {
        let message = "with `no_data_after` a quiet key is one that is watched, and must not be forgotten";
        let report = context.error("quiet-keys-are-watched", message, key);
        report.help("write `max_keys` as a number, or an alert for silence beside this one");
        return None;
    }
    let by_arrival = matches!(options.order, Some(OrderWord::Arrival));
    let says = says?;
    Some(Alert { by, levels: conditions, rules, by_arrival, max_keys, forgets_quiet, says, window: window? })
}

fn window_fields(key: &Span, context: &mut Context<'_>) -> Option<WindowFields> {
    // They are named by nobody: what reads them does not warn where they are not there.
    let named = context.named.len();
    let mut field = |name: &str| context.intern(FieldPath::event([name]), key);
    let fields = (field("window_start"), field("window_end"), field("window_revision"), field("window_early"));
    context.named.truncate(named);
    Some(WindowFields { start: fields.0?, end: fields.1?, revision: fields.2?, early: fields.3? })
}

/// The levels from the least to the worst, with their conditions.
fn levels(options: &AlertOptions, key: &Span, context: &mut Context<'_>) -> Option<Vec<(Level, Conditions)>> {
    let hold = |hold: &Option<HoldText>| hold.as_ref().map_or(Hold::None, |text| text.hold);
    let Some(levels) = &options.levels else {
        let name = options.severity.as_ref().map_or(DEFAULT_SEVERITY, |text| &text.text).to_owned();
        let level = Level { name, hold: hold(&options.hold), clear_hold: hold(&options.clear_for) };
        let Some(when) = &options.when else {
            if options.no_data_after.is_some() && options.clear_when.is_none() && options.hold.is_none() {
                return Some(Vec::from([(level, never(key, context)?)]));
            }
            let report = context.error("missing-key", "`alert` needs `when`", key);
            report.help("write for example `when: temperature > 30`; or `levels`, or `no_data_after` alone");
            return None;
        };
        return conditions(when, options.clear_when.as_ref(), context).map(|conditions| vec![(level, conditions)]);
    };
    for (given, name) in [
        (options.when.is_some(), "when"),
        (options.clear_when.is_some(), "clear_when"),
        (options.severity.is_some(), "severity"),
    ] {
        if given {
            let message = format!("with `levels` the alert has no `{name}` of its own");
            context.error("levels-and-when", message, key).help(format!("leave `{name}` out, or `levels`"));
        }
    }
    if levels.0.is_empty() {
        context.error("missing-value", "`levels` names no severity", key).help("write `warning: { when: … }`");
        return None;
    }
    let mut made = Vec::with_capacity(levels.0.len());
    for (name, level) in &levels.0 {
        let conditions = conditions(&level.when, level.clear_when.as_ref(), context)?;
        let hold = level.hold.as_ref().or(options.hold.as_ref()).map_or(Hold::None, |text| text.hold);
        let clear_hold = level.clear_for.as_ref().or(options.clear_for.as_ref()).map_or(Hold::None, |t| t.hold);
        made.push((Level { name: name.text.clone(), hold, clear_hold }, conditions));
    }
    Some(made)
}

fn conditions(when: &Code, clear: Option<&Code>, context: &mut Context<'_>) -> Option<Conditions> {
    let when = expressions::expression(when, context);
    let clear = match clear {
        Some(clear) => expressions::expression(clear, context).map(Some),
        None => Some(None),
    };
    Some(Conditions { when: when?, clear: clear? })
}

/// The condition of an alert that fires of silence alone.
fn never(key: &Span, context: &mut Context<'_>) -> Option<Conditions> {
    let origin = crate::base::tree::Origin { span: key.clone(), lines: std::sync::Arc::new(vec![key.range.start]) };
    conditions(&Code { text: "false".to_owned(), origin }, None, context)
}

fn says(options: &AlertOptions, context: &mut Context<'_>) -> Option<Says> {
    let one = |text: &Option<TemplateText>, context: &mut Context<'_>| match text {
        Some(TemplateText(text)) => template(&text.text, &text.span, context).map(Some),
        None => Some(None),
    };
    let title = one(&options.title, context);
    let body = one(&options.body, context);
    let mut named = |texts: &Option<Named<TemplateText>>| -> Option<Vec<(String, Template)>> {
        let mut made = Vec::new();
        for (name, TemplateText(text)) in texts.iter().flat_map(|named| &named.0) {
            made.push((name.text.clone(), template(&text.text, &text.span, context)?));
        }
        Some(made)
    };
    let (labels, links) = (named(&options.labels), named(&options.links));
    Some(Says { title: title?, body: body?, labels: labels?, links: links? })
}
