//! Whether the process lives, and whether its pipelines are well: for whoever starts it again, and whoever sends to it.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::json;

use super::Shared;
use crate::service::seen::Phase;

/// They need no token: they say nothing but how many pipelines are not well.
pub fn routes() -> Router<Shared> {
    Router::new().route("/healthz", get(live)).route("/readyz", get(ready))
}

async fn live() -> &'static str {
    "alive\n"
}

/// Every pipeline that is to run does, and reaches what it reads.
async fn ready(State(service): State<Shared>) -> Response {
    let mut waiting = 0;
    let mut disconnected = 0;
    let all = service.pipelines.all();
    for pipeline in &all {
        let seen = pipeline.seen();
        match seen.phase {
            Phase::Broken | Phase::Waiting | Phase::Starting => waiting += 1,
            Phase::Running if seen.connections.iter().any(|link| !link.up) => disconnected += 1,
            Phase::Running | Phase::Stopping | Phase::Stopped | Phase::Complete => {}
        }
    }
    let status = if waiting + disconnected == 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let told = json!({ "pipelines": all.len(), "not_running": waiting, "disconnected": disconnected });
    (status, Json(told)).into_response()
}
