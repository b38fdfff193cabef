//! What the process tells of its pipelines to a pipeline of its own: rows for the source `millstream`.

use std::sync::{Arc, Weak};

use serde_json::json;

use super::api::Service;
use super::seen::{Phase, Seen};
use super::supervised::Supervised;
use crate::connector::board;
use crate::engine::run::wall_clock;

/// Tells from now on, until this is dropped.
pub struct Telling;

impl Telling {
    /// Tells of the pipelines of a service.
    pub fn begin(service: &Arc<Service>) -> Telling {
        let service: Weak<Service> = Arc::downgrade(service);
        board::set(Some(Arc::new(move || {
            let Some(service) = service.upgrade() else { return Vec::new() };
            service.pipelines.all().iter().map(|of| row(&service, of)).collect()
        })));
        Telling
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        board::set(None);
    }
}

fn row(service: &Service, of: &Supervised) -> Vec<u8> {
    let seen: Seen = of.seen();
    let observed = seen.handle.as_ref().map(|handle| handle.observe()).unwrap_or_default();
    let seconds = |micros: i64| (wall_clock().0 - micros) as f64 / 1e6;
    let tally = |count: fn(&crate::engine::ledger::Tally) -> u64| -> u64 {
        observed.entries.iter().map(|entry| count(&entry.tally)).sum()
    };
    let down: Vec<&str> = seen.connections.iter().filter(|link| !link.up).map(|link| link.entry.as_str()).collect();
    let row = json!({
        "pipeline": of.id,
        "phase": seen.phase,
        "well": !matches!(seen.phase, Phase::Broken | Phase::Waiting),
        "why": seen.why,
        "restarts": seen.restarts,
        "refused": seen.refused,
        "rate": service.rates.of(&of.id),
        "taken": service.rates.last(&of.id),
        "late": tally(|t| t.late),
        "failed": tally(|t| t.failed),
        "dead": tally(|t| t.dead),
        "lag": observed.watermark.map(|at| seconds(at.0)),
        "checkpoint_age": observed.checkpoints.last.map(|at| seconds(at.0)),
        "disconnected": down,
        "waiting": observed.sinks.iter().map(|sink| sink.rows_waiting.max(sink.held)).sum::<u64>(),
    });
    row.to_string().into_bytes()
}
