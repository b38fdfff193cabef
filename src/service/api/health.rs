//! Whether the process lives, and whether its pipelines are well: for whoever starts it again, and whoever sends to it.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::endpoint::Endpoint;
use super::{Answer, Body, Problem, Shared, beside, give};
use crate::engine::run::wall_clock;
use crate::service::metrics;
use crate::service::seen::Phase;

/// What is told of the process, and of its log.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/metrics", "What runs, as Prometheus reads it.", measured).gives_text(OPENMETRICS),
        Endpoint::get("/api/v1/log", "What the log tells.", log).gives::<Log>(),
        Endpoint::put("/api/v1/log", "Changes what the log tells, until the process ends.", set_log)
            .takes::<Log>()
            .gives::<Log>(),
    ]
}

const OPENMETRICS: &str = "application/openmetrics-text";

/// What the log tells.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Log {
    /// Levels, by module: `millstream=info,millstream::connectors=debug`.
    levels: String,
}

async fn measured(State(service): State<Shared>) -> Result<Response, Problem> {
    let text = beside(move || metrics::text(&service).map_err(Problem::failed)).await?;
    Ok(([(CONTENT_TYPE, format!("{OPENMETRICS}; version=1.0.0; charset=utf-8"))], text).into_response())
}

async fn log(State(service): State<Shared>) -> Answer<Log> {
    give(Log { levels: service.levels.get() })
}

async fn set_log(State(service): State<Shared>, Body(log): Body<Log>) -> Answer<Log> {
    service.levels.set(&log.levels).map_err(Problem::bad)?;
    give(Log { levels: service.levels.get() })
}

/// They need no token: they say nothing but how many pipelines are not well.
pub fn routes() -> Router<Shared> {
    Router::new().route("/healthz", get(live)).route("/readyz", get(ready))
}

async fn live() -> &'static str {
    "alive\n"
}

/// Every pipeline that is to run does, reaches what it reads, and makes its checkpoints.
async fn ready(State(service): State<Shared>) -> Response {
    let mut waiting = 0;
    let mut disconnected = 0;
    let mut stale = 0;
    let now = wall_clock();
    let all = service.pipelines.all();
    for pipeline in &all {
        let seen = pipeline.seen();
        stale += usize::from(seen.is_stale(now));
        match seen.phase {
            Phase::Broken | Phase::Waiting | Phase::Starting => waiting += 1,
            Phase::Running if seen.connections.iter().any(|link| !link.up) => disconnected += 1,
            Phase::Running | Phase::Paused | Phase::Stopping | Phase::Stopped | Phase::Complete => {}
        }
    }
    let status = if waiting + disconnected + stale == 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let told = json!({ "pipelines": all.len(), "not_running": waiting, "disconnected": disconnected, "stale": stale });
    (status, Json(told)).into_response()
}
