//! The window step: groups rows by key and time and emits a row per window and key when the watermark passes its end.
//!
//! [`panes`] holds tumbling and sliding windows (sliding ones share panes instead of touching size/every windows per
//! event: Li et al., "No pane, no gain", SIGMOD Record 34(1), 2005) and those of the calendar, [`session`] holds sessions,
//! [`count`] windows of so many events. [`early`] knows which rows leave before their window closes.

pub mod accumulate;
mod blocks;
mod count;
pub mod decoded;
pub mod early;
mod emit;
pub mod frozen;
pub mod grid;
mod joining;
pub mod keys;
mod ordered;
mod panes;
mod segments;
mod session;

use std::sync::Arc;

use crate::base::time::TimeSpan;
use crate::data::calendar::Calendar;
use crate::data::layout::{Demand, FieldId, Layout};
use crate::expr::Program;
use crate::plan::window::{Bounds, Shape};

use super::{Due, Operator, TickInput, TickOutput};
use crate::engine::action::Tools;
use crate::engine::state::{Decoded, Decoder, Load, State, StateError, StateRows};
use accumulate::{Accumulators, Aggregate};
use count::Counts;
use early::Points;
use emit::Emitter;
use grid::Grid;
use panes::Panes;
use session::Sessions;

/// Where windows lie.
#[derive(Clone)]
pub enum Windows {
    /// Where time says.
    Grid(Grid),
    /// Around events at most `gap` apart.
    Sessions {
        /// At exactly this they still join.
        gap: TimeSpan,
        /// The longest session.
        max: Option<TimeSpan>,
    },
    /// Around so many events in order of arrival.
    Count(u64),
}

impl Windows {
    /// Those of a shape.
    pub fn of(shape: &Shape) -> Result<Self, String> {
        Ok(match shape {
            Shape::Tumbling { size, offset } => Windows::Grid(Grid::even(*size, *size, *offset)),
            Shape::Sliding { size, every, offset } => Windows::Grid(Grid::even(*size, *every, *offset)),
            Shape::Calendar { every, zone } => Windows::Grid(Grid::Calendar(Calendar::new(*every, zone)?)),
            Shape::Session { gap, max } => Windows::Sessions { gap: *gap, max: *max },
            Shape::Count { events } => Windows::Count(*events),
        })
    }
}

/// A window step as the engine runs it: every expression has a column.
#[derive(Clone)]
pub struct WindowSpec {
    /// Where its windows lie.
    pub windows: Windows,
    /// How long after its end a window takes events and emits again.
    pub allow_late: TimeSpan,
    /// How far it goes behind the watermark that it is given.
    pub held_back: TimeSpan,
    /// Where rows leave before their window closes.
    pub early: Option<Points>,
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
    held_back: TimeSpan,
    emitter: Emitter,
    /// Reads rows again whose readers name paths inside or around the fields that they are made of.
    again: Option<Tools>,
}

enum Groups {
    Panes(Panes),
    Sessions(Sessions),
    Counts(Counts),
}

impl WindowStep {
    /// With no state; `needed` is what is read of its rows.
    pub fn new(spec: &WindowSpec, layout: &Arc<Layout>, needed: &Demand) -> Self {
        let accumulators = Accumulators::new(spec.calls.iter().map(|(aggregate, _)| aggregate.clone()), layout);
        let groups = match &spec.windows {
            Windows::Grid(grid) => Groups::Panes(Panes::new(spec, grid.clone(), accumulators)),
            Windows::Sessions { gap, max } => Groups::Sessions(Sessions::new(spec, *gap, *max, accumulators)),
            Windows::Count(events) => Groups::Counts(Counts::new(spec, *events, accumulators)),
        };
        let again = spec.refresh.then(|| Tools::new(layout, needed));
        WindowStep { groups, held_back: spec.held_back, emitter: Emitter::new(spec, layout), again }
    }
}

impl Operator for WindowStep {
    fn tick(&mut self, input: &TickInput<'_>, out: &mut TickOutput) {
        let held;
        let watermarks = if self.held_back == TimeSpan::ZERO {
            input.watermarks
        } else {
            held = input.watermarks.behind(self.held_back);
            &held
        };
        let input = &TickInput { watermarks, ..*input };
        let whole = match &mut self.groups {
            Groups::Panes(panes) => panes.tick(input, &mut self.emitter),
            Groups::Sessions(sessions) => sessions.tick(input, &mut self.emitter),
            Groups::Counts(counts) => counts.tick(input, &mut self.emitter),
        };
        out.unfinished = !whole;
        self.emitter.finish(out);
        out.absorbed = match &mut self.groups {
            Groups::Panes(panes) => panes.accumulators().take_absorbed(),
            Groups::Sessions(sessions) => sessions.accumulators().take_absorbed(),
            Groups::Counts(counts) => counts.accumulators().take_absorbed(),
        };
        if let Some(tools) = &mut self.again {
            // None is refused: rows that nest too deep have failed already.
            out.ports.iter_mut().for_each(|(_, rows)| *rows = tools.reread(rows).0);
        }
    }

    fn state(&mut self) -> &mut dyn State {
        self
    }

    fn due(&self) -> Due {
        let due = match &self.groups {
            Groups::Panes(panes) => panes.next_event(),
            Groups::Sessions(sessions) => sessions.next_event(),
            // The end of all input alone closes what is not full.
            Groups::Counts(_) => None,
        };
        Due::at(due.map(|at| at.saturating_add(self.held_back.0)))
    }

    fn load(&self) -> Load {
        match &self.groups {
            Groups::Panes(panes) => panes.load(),
            Groups::Sessions(sessions) => sessions.load(),
            Groups::Counts(counts) => counts.load(),
        }
    }

    fn held(&self) -> u64 {
        match &self.groups {
            Groups::Panes(panes) => panes.held(),
            Groups::Sessions(sessions) => sessions.held(),
            Groups::Counts(counts) => counts.held(),
        }
    }
}

impl State for WindowStep {
    fn freeze(&mut self) {
        match &mut self.groups {
            Groups::Panes(panes) => panes.freeze(),
            Groups::Sessions(sessions) => sessions.freeze(),
            Groups::Counts(counts) => counts.freeze(),
        }
    }

    fn slice(&mut self, keys: usize) -> Result<Option<StateRows>, StateError> {
        match &mut self.groups {
            Groups::Panes(panes) => panes.slice(keys),
            Groups::Sessions(sessions) => sessions.slice(keys),
            Groups::Counts(counts) => counts.slice(keys),
        }
    }

    fn expect(&mut self, keys: usize) {
        match &mut self.groups {
            Groups::Panes(panes) => panes.expect(keys),
            Groups::Sessions(sessions) => sessions.expect(keys),
            Groups::Counts(counts) => counts.expect(keys),
        }
    }

    fn decoder(&self) -> Decoder {
        match &self.groups {
            Groups::Panes(_) => Panes::DECODER,
            Groups::Sessions(_) => Sessions::DECODER,
            Groups::Counts(_) => Counts::DECODER,
        }
    }

    fn restore(&mut self, rows: Decoded) -> Result<(), StateError> {
        match &mut self.groups {
            Groups::Panes(panes) => panes.restore(rows),
            Groups::Sessions(sessions) => sessions.restore(rows),
            Groups::Counts(counts) => counts.restore(rows),
        }
    }
}
