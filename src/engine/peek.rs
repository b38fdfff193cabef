//! What the windows of one key hold: what was kept of it is given to a step of its own, whose watermark then goes to the end,
//! so that each window says what it would emit.

use crate::base::time::{TimeSpan, Timestamp};
use crate::data::batch::Batch;
use crate::data::json;
use crate::data::value::Value;
use crate::plan::Port;

use super::clock::Watermarks;
use super::lower::{Graph, Reader, ReaderKind};
use super::ops::{TickInput, TickOutput};
use super::stage::Stage;
use super::state::Item;

/// What the windows of a key hold.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// The row that each open window would emit, in the order in which they close; early rows are none of them.
    pub rows: Vec<Value>,
    /// Whether there are more.
    pub more: bool,
    /// Why a window would emit none.
    pub refused: Vec<String>,
    /// Events that are part of what is kept.
    pub events: u64,
}

/// A step with state as its watermark stands to its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The sources that its watermark depends on, by index.
    pub sources: Vec<usize>,
    /// How far the watermark that it is given is behind theirs.
    pub behind: TimeSpan,
}

fn reader_of<'a>(graph: &'a Graph, step: &str) -> Option<&'a Reader> {
    let named = |reader: &&Reader| graph.context.entries.get(reader.node.index()).is_some_and(|e| e.name == step);
    graph.readers.iter().find(named)
}

/// What the watermark of a step with state depends on.
pub fn upstream(graph: &Graph, step: &str) -> Option<Upstream> {
    let reader = reader_of(graph, step)?;
    let ReaderKind::Stage(_, set) = &reader.kind else { return None };
    Some(Upstream { sources: graph.sets.get(*set).cloned().unwrap_or_default(), behind: reader.behind })
}

/// What the windows of a step hold of a key whose row was kept when the step's watermark was here; so many of them at most.
pub fn windows(
    graph: &Graph,
    step: &str,
    (row, watermark): (Item<'_>, Timestamp),
    most: usize,
) -> Result<Windows, String> {
    let Some(ReaderKind::Stage(spec, _)) = reader_of(graph, step).map(|reader| &reader.kind) else {
        return Err(format!("`{step}` keeps no state"));
    };
    let mut operator = Stage::new(spec, &graph.context)?.operator;
    let mut decoder = operator.state().decoder()();
    let restored = decoder.row(row).and_then(|()| operator.state().restore(decoder.finish()));
    restored.map_err(|e| format!("step `{step}`: {}", e.message))?;
    let mut found = Windows { events: operator.held(), ..Windows::default() };
    let (batch, watermarks) = (Batch::default(), Watermarks { start: watermark, steps: vec![(0, Timestamp::MAX)] });
    let input = TickInput {
        batch: &batch,
        rows: &[],
        hashes: &[],
        watermarks: &watermarks,
        now: Timestamp::MIN,
        said: None,
        before: 0,
    };
    let mut unfinished = true;
    while unfinished && !found.more {
        let mut out = TickOutput::default();
        operator.tick(&input, &mut out);
        unfinished = out.unfinished;
        found.refused.extend(out.failed.into_iter().map(|failed| failed.reason));
        let rows = out.ports.iter().filter(|(port, _)| *port == Port::Main);
        for (batch, row) in rows.flat_map(|(_, batch)| (0..batch.rows).map(move |row| (batch, row))) {
            let event = json::event_of(&graph.context.layout, batch, row);
            if is_early(&event) {
                continue;
            }
            found.more |= found.rows.len() == most;
            if !found.more {
                found.rows.push(event);
            }
        }
    }
    Ok(found)
}

fn is_early(row: &Value) -> bool {
    let early = |members: &crate::data::value::Map| matches!(members.get("window_early"), Some(Value::Bool(true)));
    matches!(row, Value::Map(members) if early(members))
}
