//! What steps keep, by key: read, checked and forgotten.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, channel};

use super::endpoint::Endpoint;
use super::{Answer, Asked, Of, Problem, Shared, beside, give};
use crate::config::Pipeline;
use crate::service::access::Role;
use crate::service::open::{Opened, open_to_write};
use crate::service::states::{self, Checked, StepKept, line};
use crate::service::why::NoAnswer;
use crate::store::state::{Holder, StateReader};

/// How many keys are given as a list if nobody says, and at most.
const ROWS: usize = 100;
const ROWS_MOST: usize = 10_000;
/// How many bytes are sent at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Whoever takes nothing for so long gets no more: the state is read as it was meanwhile, and what it lets go is kept.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
const NDJSON: &str = "application/x-ndjson";

/// The endpoints.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/pipelines/{id}/state", "The steps that keep something.", steps)
            .query::<Counted>()
            .gives::<Vec<StepKept>>(),
        Endpoint::get("/api/v1/pipelines/{id}/state/{step}", "What a step keeps, by key.", keys)
            .query::<Keys>()
            .gives::<Vec<Value>>(),
        Endpoint::get(
            "/api/v1/pipelines/{id}/state/{step}/rows",
            "All that a step keeps, a JSON object a line, from one checkpoint however much it is.",
            all,
        )
        .query::<OfKey>()
        .gives_text(NDJSON),
        Endpoint::delete("/api/v1/pipelines/{id}/state/{step}", "Forgets a key of a step.", forget)
            .query::<Key>()
            .gives::<Forgotten>(),
        Endpoint::get(
            "/api/v1/pipelines/{id}/state-check",
            "Reads everything that is kept, and says whether it is what was written.",
            check,
        )
        .role(Role::Operate)
        .gives::<Checked>(),
    ]
}

/// What is told of steps.
#[derive(Deserialize, JsonSchema)]
struct Counted {
    /// Count keys, too, for which all are read.
    #[serde(default)]
    count: bool,
}

/// Which keys.
#[derive(Deserialize, JsonSchema)]
struct Keys {
    /// Only this key: a text, or a JSON list of its parts.
    key: Option<String>,
    /// How many.
    limit: Option<usize>,
}

/// Which key, if only one.
#[derive(Deserialize, JsonSchema)]
struct OfKey {
    /// Only this key: a text, or a JSON list of its parts.
    key: Option<String>,
}

/// A key.
#[derive(Deserialize, JsonSchema)]
struct Key {
    /// The key: a text, or a JSON list of its parts.
    key: String,
}

/// Whether a key was forgotten.
#[derive(Serialize, JsonSchema)]
struct Forgotten {
    /// Nothing was kept for it otherwise.
    forgotten: bool,
}

/// A pipeline with its state, to read; `None` if it never ran.
fn opened(service: &Shared, id: &str) -> Result<Option<(Arc<Pipeline>, StateReader)>, Problem> {
    let of = service.pipeline(id)?;
    let pipeline = of.seen().pipeline.ok_or_else(|| Problem::conflict(format!("`{id}` has mistakes")))?;
    let Some(state) = of.state().filter(|state| state.exists()) else { return Ok(None) };
    let reader = StateReader::open(&state).map_err(|e| Problem::failed(e.message))?;
    Ok(Some((pipeline, reader)))
}

/// The same of a step that keeps something.
fn of_step(service: &Shared, id: &str, step: &str) -> Result<StateReader, Problem> {
    let none = || Problem::missing(format!("`{id}` has not come to a checkpoint yet: `{step}` keeps nothing"));
    let (pipeline, reader) = opened(service, id)?.ok_or_else(none)?;
    states::has(&reader, &pipeline.plan, step).map_err(|why| match why {
        NoAnswer::Asked(why) | NoAnswer::State(why) => Problem::missing(why),
    })?;
    Ok(reader)
}

async fn steps(
    State(service): State<Shared>,
    Of(id): Of<String>,
    Asked(asked): Asked<Counted>,
) -> Answer<Vec<StepKept>> {
    let steps = beside(move || {
        let Some((_, reader)) = opened(&service, &id)? else { return Ok(Vec::new()) };
        states::steps(&reader, asked.count).map_err(Problem::failed)
    });
    give(steps.await?)
}

async fn keys(
    State(service): State<Shared>,
    Of((id, step)): Of<(String, String)>,
    Asked(asked): Asked<Keys>,
) -> Answer<Vec<Box<RawValue>>> {
    let most = asked.limit.unwrap_or(ROWS).clamp(1, ROWS_MOST);
    let rows = beside(move || {
        let reader = of_step(&service, &id, &step)?;
        let mut rows = Vec::new();
        let read = states::rows(&reader, &step, asked.key.as_deref(), &mut |key, value| {
            if rows.len() < most {
                rows.push(RawValue::from_string(line(key, value)).map_err(|e| e.to_string())?);
            }
            Ok(())
        });
        read.map_err(Problem::failed)?;
        Ok(rows)
    });
    give(rows.await?)
}

/// Sends what there is. Whoever asked has gone, or takes nothing, is an error.
fn hand(to: &Sender<Result<String, std::io::Error>>, text: Result<String, std::io::Error>) -> Result<(), String> {
    let taken = Handle::current().block_on(tokio::time::timeout(TAKEN_WITHIN, to.send(text)));
    match taken {
        Ok(Ok(())) => Ok(()),
        _ => Err("nobody takes it any more".to_owned()),
    }
}

async fn all(
    State(service): State<Shared>,
    Of((id, step)): Of<(String, String)>,
    Asked(asked): Asked<OfKey>,
) -> Result<Response, Problem> {
    let named = step.clone();
    let reader = beside(move || of_step(&service, &id, &named)).await?;
    let (to, from) = channel(1);
    tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let read = states::rows(&reader, &step, asked.key.as_deref(), &mut |key, value| {
            text.push_str(&line(key, value));
            text.push('\n');
            if text.len() >= CHUNK_BYTES { hand(&to, Ok(std::mem::take(&mut text))) } else { Ok(()) }
        });
        // Where it breaks off, the answer is broken off, and not at its end.
        let _ = match read {
            Ok(()) => hand(&to, Ok(text)),
            Err(why) => hand(&to, Err(std::io::Error::other(why))),
        };
    });
    let chunks = unfold(from, async |mut from| Some((from.recv().await?, from)));
    Ok(([(CONTENT_TYPE, NDJSON)], Body::from_stream(chunks)).into_response())
}

async fn forget(
    State(service): State<Shared>,
    Of((id, step)): Of<(String, String)>,
    Asked(asked): Asked<Key>,
) -> Answer<Forgotten> {
    let forgotten = beside(move || {
        of_step(&service, &id, &step)?;
        let of = service.pipeline(&id)?;
        let never = || Problem::conflict(format!("`{id}` has not come to a checkpoint yet"));
        let state = of.state().filter(|state| state.exists()).ok_or_else(never)?;
        let holder = Holder { pipeline: of.file.display().to_string(), command: "state --delete".to_owned() };
        let Opened { pause: _pause, mut file } =
            open_to_write(&state, &holder).map_err(|e| Problem::conflict(e.message))?;
        let forgotten = states::forget(&mut file, &step, &asked.key).map_err(Problem::failed)?;
        Ok(Forgotten { forgotten })
    });
    give(forgotten.await?)
}

async fn check(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Checked> {
    let checked = beside(move || {
        let none = || Problem::conflict(format!("`{id}` has not come to a checkpoint yet"));
        let (_, reader) = opened(&service, &id)?.ok_or_else(none)?;
        states::check(&reader).map_err(Problem::failed)
    });
    give(checked.await?)
}
