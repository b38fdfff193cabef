//! Rows as they pass an entry, live: server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::unfold;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::endpoint::Endpoint;
use super::{Asked, Of, Problem, Shared};
use crate::engine::tap::Tap;
use crate::service::tap::Sight;

/// How often a reader is told how many rows have passed, also while none is shown.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The endpoint.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/api/v1/pipelines/{id}/tap/{entry}",
            "Rows as they pass an entry: events `row`, and each second `count`.",
            tap,
        )
        .query::<Look>()
        .gives_text("text/event-stream"),
    ]
}

/// Which rows are shown, and how.
#[derive(Deserialize, JsonSchema)]
struct Look {
    /// Only rows for which this holds: `temperature > 30`.
    #[serde(rename = "where")]
    condition: Option<String>,
    /// One row in so many.
    #[serde(default = "one")]
    every: u64,
    /// Fields whose values are not shown, with commas between: `user.email,card`.
    #[serde(default)]
    redact: String,
    /// Ends after so many rows.
    limit: Option<u64>,
}

fn one() -> u64 {
    1
}

struct Looking {
    tap: Tap,
    sight: Sight,
    left: Option<u64>,
    tick: tokio::time::Interval,
    over: bool,
}

impl Looking {
    fn count(&self) -> Event {
        let told = json!({ "passed": self.tap.passed(), "let_go": self.tap.let_go() });
        Event::default().event("count").data(told.to_string())
    }

    /// The next event; `None` when the run is over, or enough was shown.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Looking)> {
        loop {
            if self.over || self.left == Some(0) {
                return None;
            }
            let row = tokio::select! {
                row = self.tap.next() => row,
                _ = self.tick.tick() => return Some((Ok(self.count()), self)),
            };
            let Some(row) = row else {
                self.over = true;
                return Some((Ok(self.count()), self));
            };
            let Some(text) = self.sight.of(row.row) else { continue };
            self.left = self.left.map(|left| left - 1);
            let time = row.time.map(|at| at.to_string());
            // A row that is no JSON is shown as the text that it is.
            let shown = serde_json::value::RawValue::from_string(text.clone());
            let data = match shown {
                Ok(row_json) => format!("{{\"port\":{},\"time\":{},\"row\":{row_json}}}", json!(row.port), json!(time)),
                Err(_) => json!({ "port": row.port, "time": time, "row": text }).to_string(),
            };
            return Some((Ok(Event::default().event("row").data(data)), self));
        }
    }
}

async fn tap(
    State(service): State<Shared>,
    Of((id, entry)): Of<(String, String)>,
    Asked(look): Asked<Look>,
) -> Result<Response, Problem> {
    let handle = service.pipeline(&id)?.seen().handle;
    let handle = handle.ok_or_else(|| Problem::conflict(format!("`{id}` does not run")))?;
    let asked = look.redact.split(',').map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned);
    let hidden: Vec<String> = service.redact.iter().cloned().chain(asked).collect();
    let sight = Sight::new(look.condition.as_deref(), &hidden).map_err(Problem::bad)?;
    let tap = handle.tap(&entry, look.every).map_err(Problem::missing)?;
    let looking = Looking { tap, sight, left: look.limit, tick: tokio::time::interval(TELL_EVERY), over: false };
    Ok(Sse::new(unfold(looking, Looking::next)).keep_alive(KeepAlive::default()).into_response())
}
