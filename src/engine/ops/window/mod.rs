//! The window step: groups rows by key and time and emits a row per window and key when the watermark passes its end.
//!
//! [`panes`] holds tumbling and sliding windows (sliding ones share panes instead of touching size/every windows per
//! event: Li et al., "No pane, no gain", SIGMOD Record 34(1), 2005), [`session`] holds sessions.

pub mod accumulate;
mod emit;
pub mod keys;
mod panes;
mod session;

use std::sync::Arc;

use crate::base::time::TimeSpan;
use crate::data::layout::{FieldId, Layout};
use crate::expr::Program;
use crate::plan::window::{Bounds, Shape};

use super::{Operator, TickInput, TickOutput};
use crate::engine::state::{State, StateError, StateRow};
use accumulate::{Accumulators, Aggregate};
use emit::Emitter;
use panes::Panes;
use session::Sessions;

/// A window step as the engine runs it: every expression has a column.
#[derive(Clone)]
pub struct WindowSpec {
    /// Tumbling, sliding or session.
    pub shape: Shape,
    /// How long after its end a window takes events.
    pub allow_late: TimeSpan,
    /// The columns of the key's parts in the input.
    pub key: Vec<FieldId>,
    /// The fields they are written back as.
    pub by: Vec<FieldId>,
    /// The aggregates with the columns of their arguments, and where their results go.
    pub calls: Vec<(Aggregate, FieldId)>,
    /// The rows' aggregate fields in order.
    pub outputs: Vec<(FieldId, OutputField)>,
    /// The fields of the windows' bounds.
    pub bounds: Bounds,
    /// Whether changes are noted for snapshots.
    pub track: bool,
    /// Whether rows are read again because later readers name paths inside or around the fields.
    pub refresh: bool,
}

/// What an aggregate field is made of.
#[derive(Clone)]
pub enum OutputField {
    /// The result of a call, by its column.
    Call(FieldId),
    /// An expression over results.
    Program(Program),
}

/// The operator of a window step.
pub struct WindowStep {
    groups: Groups,
    emitter: Emitter,
}

enum Groups {
    Panes(Panes),
    Sessions(Sessions),
}

impl WindowStep {
    /// With no state.
    pub fn new(spec: &WindowSpec, layout: &Arc<Layout>) -> Self {
        let accumulators = Accumulators::new(spec.calls.iter().map(|(aggregate, _)| aggregate.clone()), layout);
        let groups = match spec.shape {
            Shape::Tumbling { size, offset } => Groups::Panes(Panes::new(spec, size, size, offset, accumulators)),
            Shape::Sliding { size, every, offset } => {
                Groups::Panes(Panes::new(spec, size, every, offset, accumulators))
            }
            Shape::Session { gap } => Groups::Sessions(Sessions::new(spec, gap, accumulators)),
        };
        WindowStep { groups, emitter: Emitter::new(spec, layout) }
    }
}

impl Operator for WindowStep {
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput) {
        match &mut self.groups {
            Groups::Panes(panes) => panes.tick(input, &mut self.emitter),
            Groups::Sessions(sessions) => sessions.tick(input, &mut self.emitter),
        }
        self.emitter.finish(out);
    }

    fn state(&mut self) -> &mut dyn State {
        self
    }
}

impl State for WindowStep {
    fn changes(&mut self) -> Result<Vec<StateRow>, StateError> {
        match &mut self.groups {
            Groups::Panes(panes) => panes.changes(),
            Groups::Sessions(sessions) => sessions.changes(),
        }
    }

    fn restore(&mut self, row: &StateRow) -> Result<(), StateError> {
        match &mut self.groups {
            Groups::Panes(panes) => panes.restore(row),
            Groups::Sessions(sessions) => sessions.restore(row),
        }
    }
}
