//! What an alert waits for that is pending, or whose rows the watermark has not reached: as the last checkpoint has it.

use serde_json::Value;

use crate::alert::machine::{Hold, Standing, State};
use crate::base::time::{TimeSpan, Timestamp};
use crate::engine::lower::{Lowering, lower};
use crate::engine::observed::HeldBackBy;
use crate::engine::ops::alert::{KeptKey, kept_key};
use crate::engine::peek::upstream;
use crate::inspect::spelling::counted;
use crate::plan::alert::Alert;
use crate::plan::{NodeKind, Operator, Plan};
use crate::service::spell::Wanted;
use crate::service::why::{find, holder};
use crate::store::state::StateReader;

/// Where the watermark of an alert is, and who holds it there.
struct Clock {
    /// What the alert goes by; absent before the first event and after the end of the input.
    watermark: Option<Timestamp>,
    ended: bool,
    held_back_by: Option<HeldBackBy>,
    /// How far an event has to be beyond an instant, so that the watermark reaches it.
    ahead: TimeSpan,
}

/// What it waits for, a sentence; `None` if it waits for nothing, or the state does not know.
pub(super) fn of_key(plan: &Plan, reader: &StateReader, name: &str, key: &Value) -> Option<String> {
    let node = plan.nodes.iter().find(|node| node.name == name)?;
    let NodeKind::Step(Operator::Alert(alert)) = &node.kind else { return None };
    let row = find(reader, name, &Wanted::of(&written(plan, alert, key)?)).ok()??;
    let kept = kept_key(row.item().value?, &alert.rules).ok()?;
    let clock = clock(plan, reader, name)?;
    let rows = rows(&kept.waiting, &clock);
    match kept.standing.state {
        State::Pending => Some(pending(alert, &kept, &clock, rows)),
        _ => rows,
    }
}

/// A key as state rows are looked for.
fn written(plan: &Plan, alert: &Alert, key: &Value) -> Option<String> {
    let Value::Object(members) = key else {
        return Some(key.as_str().map_or_else(|| key.to_string(), str::to_owned));
    };
    let part = |part: &crate::plan::KeyPart| {
        let path = plan.layout.path(part.field)?;
        let name: Vec<&str> = path.names.iter().map(AsRef::as_ref).collect();
        members.get(&name.join(".")).cloned()
    };
    let parts: Option<Vec<Value>> = alert.by.iter().map(part).collect();
    Some(Value::Array(parts?).to_string())
}

fn clock(plan: &Plan, reader: &StateReader, name: &str) -> Option<Clock> {
    let kept = reader.kept().filter(|kept| kept.epoch > 0)?;
    let graph = lower(plan, Lowering { shares: 1, track: false }).ok()?;
    let upstream = upstream(&graph, name)?;
    let stored = kept.steps.iter().find(|row| row.name == name).map(|row| Timestamp(row.watermark))?;
    let (held_back_by, out_of_order) = holder(plan, kept, (&upstream, stored), None);
    let watermark = Some(stored.minus(upstream.behind)).filter(|at| stored.is_event_time() && at.is_event_time());
    let ahead = TimeSpan(upstream.behind.0.saturating_add(out_of_order.0));
    Some(Clock { watermark, ended: stored == Timestamp::MAX, held_back_by, ahead })
}

impl Clock {
    /// Where it is.
    fn at(&self) -> String {
        self.watermark.map_or_else(|| "not set yet".to_owned(), |at| format!("at {at}"))
    }

    /// What brings it to an instant.
    fn reaches(&self, at: Timestamp) -> String {
        match &self.held_back_by {
            Some(by) => format!(
                "the watermark reaches {at}: with an event of `{}` of {} or later, when it falls idle, or ends",
                by.source,
                at.plus(self.ahead)
            ),
            None => format!("the watermark reaches {at}"),
        }
    }
}

/// Rows that have come and are not judged.
fn rows(waiting: &[Timestamp], clock: &Clock) -> Option<String> {
    let first = waiting.first()?;
    let (rows, which) = (counted(waiting.len() as u64, "row"), if waiting.len() > 1 { "the first" } else { "it" });
    let have = if waiting.len() > 1 { "have come and wait" } else { "has come and waits" };
    Some(format!(
        "{rows} of it {have} for the watermark, which is {}; {which} is judged when {}",
        clock.at(),
        clock.reaches(*first)
    ))
}

fn pending(alert: &Alert, kept: &KeptKey, clock: &Clock, rows: Option<String>) -> String {
    let Standing { since, waits, .. } = kept.standing;
    let since = since.map_or_else(String::new, |since| format!(" since {since}"));
    let more = rows.map_or_else(String::new, |rows| format!("; {rows}"));
    let what = match (waits, kept.standing.since) {
        (Some((Hold::Lasting(span), _)), Some(begin)) => {
            lasting(alert.rules.sustain, (span, begin.plus(span)), kept, clock)
        }
        (Some((hold, held)), _) => format!("`for` asks for `{hold}`, and it held in {held} so far"),
        (None, _) => "`when` holds, but not for as long as `for` asks".to_owned(),
    };
    let ended = if clock.ended { "; all input has ended, which completes nothing" } else { "" };
    format!("it is pending{since}: {what}{more}{ended}")
}

/// What completes a span.
fn lasting(sustain: bool, (span, needed): (TimeSpan, Timestamp), kept: &KeptKey, clock: &Clock) -> String {
    let asks = format!("`for` asks for {span}, which is until {needed}");
    let comes = kept.waiting.iter().any(|at| *at >= needed);
    match (sustain, kept.standing.last) {
        _ if clock.ended || comes => asks,
        (true, _) => format!("{asks}; the watermark is {}, and it fires when {}", clock.at(), clock.reaches(needed)),
        (false, Some(last)) => format!(
            "{asks}; it fires with a row of {needed} or later in which `when` holds, and the last one that was judged is of \
             {last} (`sustain: true` lets time alone complete it)"
        ),
        (false, None) => asks,
    }
}
