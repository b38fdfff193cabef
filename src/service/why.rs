//! Why something is as it is: what the windows of a key hold, who holds them open, and when they will close. The answer is
//! that of the last checkpoint; of a pipeline that runs here, who holds the watermark back is as it is now.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::base::suggest::nearest;
use crate::base::time::{TimeSpan, Timestamp, parse_rfc3339};
use crate::config::Pipeline;
use crate::data::json::write_value;
use crate::data::value::{Map, Value};
use crate::engine::kept::{Fate, fates};
use crate::engine::lower::{Lowering, lower};
use crate::engine::observed::{HeldBackBy, StepStanding};
use crate::engine::peek::{Upstream, Windows, upstream, windows};
use crate::plan::window::{Shape, Window};
use crate::plan::{NodeKind, Operator, Plan, Source};
use crate::store::rows::{PartitionRow, StateRow};
use crate::store::state::{Kept, StateReader};

use super::spell::Wanted;

/// Windows of a key that are shown.
const SHOWN: usize = 100;

/// Why there is no answer; each has one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// It is asked of something that is not there.
    Asked(String),
    /// The state cannot answer it.
    State(String),
}

impl NoAnswer {
    /// The sentence.
    pub fn message(&self) -> &str {
        match self {
            NoAnswer::Asked(why) | NoAnswer::State(why) => why,
        }
    }
}

/// What the windows of a key hold, and what they wait for.
#[derive(Debug, Serialize, Deserialize)]
pub struct WindowAnswer {
    /// The step.
    pub step: String,
    /// The key, as it was asked for.
    pub key: String,
    /// When the checkpoint was made that says so, by the wall clock.
    pub checkpoint: String,
    /// Whether something is kept for the key: without an open window, for late events.
    pub kept: bool,
    /// Windows that are open, in the order in which they close.
    pub windows: Vec<OpenWindow>,
    /// Whether there are more.
    pub more: bool,
    /// Why a window would emit no row, if one would not.
    pub refused: Vec<String>,
    /// Events that are part of what is kept for the key.
    pub events: u64,
    /// The watermark that the step goes by; absent before the first event and after the end of the input.
    pub watermark: Option<String>,
    /// All input was taken: nothing is open any more.
    pub ended: bool,
    /// Who holds the watermark back. Absent where nobody does: then it goes on at the pace of the clock, if the pipeline runs.
    pub held_back_by: Option<HeldBackBy>,
    /// Of windows of so many events: how many the open one lacks.
    pub events_missing: Option<u64>,
}

/// An open window.
#[derive(Debug, Serialize, Deserialize)]
pub struct OpenWindow {
    /// Where it begins.
    pub start: String,
    /// Where it ends, as far as is known: a session's end moves with its events.
    pub end: String,
    /// The row that it would emit now.
    pub row: Box<RawValue>,
    /// The watermark at which it closes; absent if it is not time that closes it.
    pub closes_at: Option<String>,
    /// The event time that has to be seen where the watermark is held back, so that it closes.
    pub event_needed: Option<String>,
}

/// Says what the windows of a step hold of a key, from the last checkpoint; `live` is the step in a run that goes on.
pub fn window(
    pipeline: &Pipeline,
    reader: &StateReader,
    (step, key): (&str, &str),
    live: Option<&StepStanding>,
) -> Result<WindowAnswer, NoAnswer> {
    let plan = &pipeline.plan;
    let window = window_of(plan, step)?;
    let kept = reader.kept().filter(|kept| kept.epoch > 0);
    let kept =
        kept.ok_or_else(|| NoAnswer::State("no run has made a checkpoint yet; ask again when one has".into()))?;
    if let Some(Fate::Changed(lines)) = fates(plan, kept).into_iter().find(|f| f.step == step).map(|f| f.fate) {
        let lines = lines.join("; ");
        return Err(NoAnswer::State(format!("`{step}` keeps something else now ({lines}); see `millstream plan`")));
    }
    let graph = lower(plan, Lowering { shares: 1, track: false }).map_err(NoAnswer::State)?;
    let Some(upstream) = upstream(&graph, step) else {
        return Err(NoAnswer::State(format!("`{step}` keeps no state")));
    };
    let stored = kept.steps.iter().find(|row| row.name == step).map_or(Timestamp::MIN, |row| Timestamp(row.watermark));
    let watermark = stored.minus(upstream.behind);
    let row = find(reader, step, &Wanted::of(key))?;
    let found = match &row {
        Some(row) => windows(&graph, step, (row.item(), watermark), SHOWN).map_err(NoAnswer::State)?,
        None => Windows::default(),
    };
    let (held_back_by, out_of_order) = holder(plan, kept, (&upstream, stored), live);
    let waits = Waits { window, upstream: &upstream, out_of_order };
    let size = match window.shape {
        Shape::Count { events } => Some(events),
        _ => None,
    };
    Ok(WindowAnswer {
        step: step.to_owned(),
        key: key.to_owned(),
        checkpoint: Timestamp(kept.committed).to_string(),
        kept: row.is_some(),
        windows: found.rows.iter().filter_map(|row| waits.open(row)).collect(),
        more: found.more,
        refused: found.refused,
        events: found.events,
        watermark: text(watermark.minus(window.holds_back())),
        ended: stored == Timestamp::MAX,
        held_back_by,
        events_missing: size.map(|size| size.saturating_sub(found.events)),
    })
}

fn text(at: Timestamp) -> Option<String> {
    at.is_event_time().then(|| at.to_string())
}

/// The window step of this name.
fn window_of<'a>(plan: &'a Plan, step: &str) -> Result<&'a Window, NoAnswer> {
    let named = |name: &str| plan.nodes.iter().find(|node| node.name == name);
    match named(step).map(|node| &node.kind) {
        Some(NodeKind::Step(Operator::Window(window))) => return Ok(window),
        Some(_) => return Err(NoAnswer::Asked(format!("`{step}` is no window step"))),
        None => {}
    }
    let is_window = |kind: &NodeKind| matches!(kind, NodeKind::Step(Operator::Window(_)));
    let steps: Vec<&str> = plan.nodes.iter().filter(|n| is_window(&n.kind)).map(|n| n.name.as_str()).collect();
    let help = match nearest(step, steps.iter().copied()) {
        Some(near) => format!("is it `{near}`?"),
        None if steps.is_empty() => "the pipeline has no window step".to_owned(),
        None => format!("the window steps are {}", steps.join(", ")),
    };
    Err(NoAnswer::Asked(format!("there is no step `{step}`; {help}")))
}

/// What is kept for a key.
pub(super) fn find(reader: &StateReader, step: &str, wanted: &Wanted) -> Result<Option<StateRow>, NoAnswer> {
    let mut found = None;
    for group in wanted.groups() {
        let read = reader.rows(step, group..group + 1, &mut |row| {
            if row.value.is_some() && wanted.is(row.key) {
                found = Some(row.to_row());
            }
            Ok(())
        });
        read.map_err(|e| NoAnswer::State(e.message))?;
    }
    Ok(found)
}

/// Who holds the watermark of a step back, and how much out of order the events of that source may be. A partition that the
/// watermark has passed is idle: nobody waits for it.
pub(super) fn holder(
    plan: &Plan,
    kept: &Kept,
    (upstream, stored): (&Upstream, Timestamp),
    live: Option<&StepStanding>,
) -> (Option<HeldBackBy>, TimeSpan) {
    let sources: Vec<(&str, &Source)> = plan
        .nodes
        .iter()
        .filter_map(|node| match &node.kind {
            NodeKind::Source(source) => Some((node.name.as_str(), source)),
            _ => None,
        })
        .collect();
    let out_of_order = |source: &Source| source.time.as_ref().map_or(TimeSpan::ZERO, |time| time.out_of_order);
    if let Some(live) = live {
        let by = live.held_back_by.clone();
        let source = by.as_ref().and_then(|by| sources.iter().find(|(name, _)| *name == by.source));
        let span = source.map_or(TimeSpan::ZERO, |(_, source)| out_of_order(source));
        return (by, span);
    }
    let feeding = || upstream.sources.iter().filter_map(|index| sources.get(*index));
    let mut least: Option<(Timestamp, &PartitionRow, TimeSpan)> = None;
    for row in kept.partitions.iter().filter(|row| !row.ended) {
        let Some((_, source)) = feeding().find(|(name, _)| *name == row.source) else { continue };
        let span = out_of_order(source);
        let at = Timestamp(row.greatest).minus(span);
        if at >= stored && least.as_ref().is_none_or(|(other, ..)| at < *other) {
            least = Some((at, row, span));
        }
    }
    let Some((at, row, span)) = least else { return (None, TimeSpan::ZERO) };
    let watermark = Some(at).filter(|at| at.is_event_time());
    (Some(HeldBackBy { source: row.source.clone(), partition: row.name.clone(), watermark }), span)
}

/// What the windows of a step wait for.
struct Waits<'a> {
    window: &'a Window,
    upstream: &'a Upstream,
    out_of_order: TimeSpan,
}

impl Waits<'_> {
    /// A window, by the row that it would emit.
    fn open(&self, row: &Value) -> Option<OpenWindow> {
        let Value::Map(members) = row else { return None };
        let (start, end) = (bound(members, "window_start"), bound(members, "window_end"));
        let ends = parse_rfc3339(end.as_bytes()).filter(|_| !matches!(self.window.shape, Shape::Count { .. }));
        let needed =
            |at: Timestamp| at.plus(self.window.holds_back()).plus(self.upstream.behind).plus(self.out_of_order);
        let mut json = Vec::new();
        write_value(row, &mut json);
        Some(OpenWindow {
            row: RawValue::from_string(String::from_utf8(json).ok()?).ok()?,
            closes_at: ends.and_then(text),
            event_needed: ends.map(needed).and_then(text),
            start,
            end,
        })
    }
}

fn bound(row: &Map, name: &str) -> String {
    match row.get(name) {
        Some(Value::Text(text)) => text.to_string(),
        _ => String::new(),
    }
}
