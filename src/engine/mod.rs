//! Runs a plan on this machine.
//!
//! ```text
//! blocks ─▶ map (decode + stateless flow, any worker, any order) ─▶ gate (one order, watermarks) ─▶ ticks
//!        ─▶ steps with state (a worker a share of the keys, ticks in order) + their flows ─▶ … ─▶ sinks (in order)
//! ```
//! A tick is a piece of the one order of all input. Every step and sink takes ticks in sequence and knows the exact
//! watermark at every row of it, so that neither the size of blocks nor the number of workers shows in the output. What a
//! step lets go at once may be much; then it hands the tick on in slices ([`gather`]).

pub mod action;
pub mod actions;
mod arrivals;
mod barriers;
mod budget;
mod checkpoint;
pub mod clock;
mod commits;
pub mod direct;
pub mod epoch;
mod epochs;
pub mod flow;
pub mod gate;
pub mod gather;
mod handle;
pub mod job;
pub mod keeper;
pub mod kept;
mod lay;
pub mod ledger;
pub mod lower;
pub mod map;
mod meters;
pub mod missing;
pub mod observed;
pub mod ops;
mod outgoing;
pub mod parcel;
pub mod partition;
mod passing;
pub mod peek;
mod reached;
mod refused;
pub mod rehearse;
mod restore;
pub mod retry;
mod returned;
pub mod run;
pub mod said;
mod segment;
mod shared;
mod silence;
mod sink_task;
mod source_task;
pub mod stage;
mod standing;
pub mod state;
pub mod tap;
pub mod turn_log;
pub mod turns;
mod worker;
