//! Why a window is open, and what is in it.

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::{Asked, Of, Problem, Shared, beside};
use crate::service::why::{NoAnswer, WindowAnswer, window};
use crate::store::state::StateReader;

/// The endpoint.
pub fn endpoints() -> Vec<Endpoint> {
    let about = "Whether a window is open for a key, what is in it, who holds the watermark back, when it will close.";
    vec![Endpoint::get("/api/v1/pipelines/{id}/why/window", about, why).query::<OfKey>().gives::<Value>()]
}

/// A key of a window step.
#[derive(Deserialize, JsonSchema)]
struct OfKey {
    /// The step.
    step: String,
    /// The key: a text or JSON; `["a", 3]` if it has several parts. Left out: the step has none.
    #[serde(default = "none")]
    key: String,
}

fn none() -> String {
    "[]".to_owned()
}

async fn why(
    State(service): State<Shared>,
    Of(id): Of<String>,
    Asked(asked): Asked<OfKey>,
) -> Result<axum::Json<WindowAnswer>, Problem> {
    let answer = beside(move || {
        let of = service.pipeline(&id)?;
        let seen = of.seen();
        let pipeline = seen.pipeline.ok_or_else(|| Problem::conflict(format!("`{id}` has mistakes")))?;
        let never = || Problem::conflict(format!("`{id}` has not come to a checkpoint yet"));
        let state = of.state().filter(|state| state.exists()).ok_or_else(never)?;
        let reader = StateReader::open(&state).map_err(|e| Problem::failed(e.message))?;
        let live = seen.handle.map(|handle| handle.observe().steps).unwrap_or_default();
        let live = live.iter().find(|step| step.step == asked.step);
        window(&pipeline, &reader, (&asked.step, &asked.key), live).map_err(|why| match why {
            NoAnswer::Asked(why) => Problem::missing(why),
            NoAnswer::State(why) => Problem::conflict(why),
        })
    });
    answer.await.map(axum::Json)
}
