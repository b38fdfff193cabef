//! Expressions and scripts: the only place that knows Rhai.
//!
//! [`analyse`] turns text into an [`Expr`], pure data that a plan holds: what it reads and writes and whether it falls
//! into the portable subset. [`Program::compile`] makes of that something that runs over batches: compiled to work on
//! columns where the subset allows, otherwise Rhai with only the fields it reads in scope. Both give the same answers.
//!
//! From text to result: `analyse` (with `walk`, `checks`, `known`, `sites` over Rhai's tree, seen through `syntax`) finds
//! the `facts`; `subset` lowers what it can to a `node` tree, which `program` runs with `numbers` and `select` doing whole
//! batches at a time; `scripted` rewrites the `source` of the rest so that fields are variables of the `host`'s Rhai, with
//! `dynamic` converting values; `run` turns what a script wrote into edits. `ops` and `functions` say what operators and
//! functions mean (`built_in` what Rhai's own are called on, `sorted` how lists are put in order), `fault` and `spell` how a failure reads; both ways of running
//! use them.
//!
//! Where the language leaves a choice: a field that a script reads and that ends with the value it had is not touched, so
//! it keeps its spelling; new fields come in the order in which the text first writes them; writing a member of what is no
//! map makes it a map; `drop()` ends the script at once and keeps what was emitted and put in `state` before; a script
//! that fails leaves nothing; Rhai keeps maps by name, so a map that a script builds has its members in that order.

mod aggregate;
mod analyse;
mod built_in;
mod checks;
mod constant;
mod dynamic;
mod effects;
mod facts;
mod fault;
mod functions;
mod host;
mod known;
mod node;
mod numbers;
mod ops;
mod overlap;
mod program;
mod refusal;
mod run;
mod scripted;
mod select;
mod sites;
mod sorted;
mod source;
mod spell;
mod subset;
mod syntax;
#[cfg(test)]
mod tests;
pub mod types;
mod walk;

pub use aggregate::{Aggregate, AggregateCall, AggregateOutput, analyse_aggregate};
pub use analyse::{analyse, analyse_named, is_reserved_word, named_members};
pub use constant::{Unconstant, constant};
pub use effects::{EFFECTS, Effect, of_rhai as functions_of_rhai};
pub use functions::{Function, functions};
pub use overlap::Overlaps;
pub use program::{EventOf, Program, Scratch};
pub use run::{Emitted, KeyedState, ScriptOutput};

use crate::base::tree::Origin;
use crate::data::layout::FieldId;

/// What a piece of text is allowed to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One expression with a value: `filter`, `by`, `when`, `set`, an aggregate's argument.
    Expression,
    /// Statements that write fields, emit and drop.
    Script,
}

/// How an expression runs.
#[derive(Clone, PartialEq, Debug)]
pub enum Mode {
    /// Over columns, without Rhai.
    Compiled,
    /// In Rhai, because of what `reason` names, a construct at `line` and `column` of the text.
    Rhai {
        /// The construct outside the portable subset: "a loop", "a closure", "the function `split`".
        reason: String,
        /// From 1.
        line: usize,
        /// From 1, characters.
        column: usize,
    },
}

/// An expression or script as a plan holds it: text and what is known of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Expr {
    /// As written.
    pub text: String,
    /// Where it is written.
    pub origin: Origin,
    /// Expression or script.
    pub kind: Kind,
    /// Fields (and metadata, and computed columns) whose values it reads, ascending.
    pub reads: Vec<FieldId>,
    /// Fields that it may write or remove, ascending.
    pub writes: Vec<FieldId>,
    /// Whether it uses `event` in a way that needs the whole event, for reading or writing.
    pub whole_event: bool,
    /// Whether it reads or writes `state`.
    pub uses_state: bool,
    /// Whether it calls `drop()`.
    pub drops: bool,
    /// Whether it calls `emit(value)`; with a port, the port's name is in `emits`.
    pub emits_main: bool,
    /// Ports that it names in `emit("port", value)`.
    pub emits: Vec<String>,
    /// How it runs.
    pub mode: Mode,
    /// What stands for computed columns in this text: aggregate calls for their results, names of ours for their values.
    pub bindings: Vec<(String, FieldId)>,
}

/// What an expression may refer to besides fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Constants, `vars.name`.
    pub vars: &'a [(String, crate::data::value::Value)],
    /// Whether `state` may be used: a script with `by`.
    pub state: bool,
    /// Ports that `emit` may name.
    pub ports: &'a [String],
}
