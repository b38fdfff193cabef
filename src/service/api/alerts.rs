//! Alerts: what fires and did, why and why not, silences and acknowledgements.

use std::sync::Arc;

use axum::extract::State;
use axum::response::AppendHeaders;
use axum::{Extension, Json};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::endpoint::Endpoint;
use super::guard::Who;
use super::{Answer, Asked, Body, Of, Problem, Shared, beside, give};
use crate::alert::policy::{Command, Matcher};
use crate::base::time::{TimeSpan, Timestamp, parse_rfc3339};
use crate::config::Pipeline;
use crate::engine::run::wall_clock;
use crate::plan::Plan;
use crate::service::access::Role;
use crate::service::alerts;
use crate::service::alerts::known::{Known, Way, has, key_of, way};
use crate::store::control::settle;
use crate::store::state::{Holder, StateReader};

/// How much of what happened is shown if nobody says.
const HISTORY: usize = 100;

/// Says when the checkpoint was made that an answer is of, RFC 3339; absent before the first one.
const AS_OF: &str = crate::service::client::AS_OF;

/// The endpoints.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(
            "/api/v1/pipelines/{id}/alerts",
            "What fires, as the last checkpoint has it; the header `Millstream-Checkpoint` says of when that is.",
            active,
        )
        .query::<Named>()
        .gives::<Vec<Value>>(),
        Endpoint::get("/api/v1/pipelines/{id}/alerts/history", "What alerts did, the newest last.", history)
            .query::<Past>()
            .gives::<Vec<Value>>(),
        Endpoint::get("/api/v1/pipelines/{id}/alerts/why", "What led to an alert.", why)
            .query::<Which>()
            .gives::<Vec<Value>>(),
        Endpoint::get("/api/v1/pipelines/{id}/alerts/why-not", "Why nobody was told of an alert.", why_not)
            .query::<Which>()
            .gives::<Vec<Value>>(),
        Endpoint::get(
            "/api/v1/pipelines/{id}/alerts/way",
            "How an alert comes about: its conditions, and the entries that lead to it.",
            how,
        )
        .query::<OfAlert>()
        .gives::<Way>(),
        Endpoint::get("/api/v1/pipelines/{id}/silences", "The silences that hold.", silences).gives::<Vec<Value>>(),
        Endpoint::post("/api/v1/pipelines/{id}/silences", "Keeps what has these labels from being told.", silence)
            .takes::<Silence>()
            .gives::<Value>(),
        Endpoint::delete("/api/v1/pipelines/{id}/silences/{silence}", "Ends a silence.", expire)
            .role(Role::Operate)
            .query::<By>()
            .gives::<Value>(),
        Endpoint::post("/api/v1/pipelines/{id}/acknowledgements", "Says that somebody knows of an alert.", acknowledge)
            .takes::<Acknowledge>()
            .gives::<Value>(),
    ]
}

/// Of which alert.
#[derive(Deserialize, JsonSchema)]
struct Named {
    /// Only of this alert.
    alert: Option<String>,
}

/// Of which alert, and how much.
#[derive(Deserialize, JsonSchema)]
struct Past {
    /// Only of this alert.
    alert: Option<String>,
    /// How much is shown.
    limit: Option<usize>,
}

/// An alert.
#[derive(Deserialize, JsonSchema)]
struct OfAlert {
    /// The alert.
    alert: String,
}

/// Who says it.
#[derive(Deserialize, JsonSchema)]
struct By {
    /// Who says so; otherwise whose token it is.
    by: Option<String>,
}

/// An alert and a key.
#[derive(Deserialize, JsonSchema)]
struct Which {
    /// The alert.
    alert: String,
    /// The key: a text, or JSON: `{"device_id": "a"}`. Left out: the alert has none.
    key: Option<String>,
}

/// What is silenced, and for how long.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Silence {
    /// What labels must be: `alertname=overheating`, `device_id=~"a.*"`.
    matchers: Vec<String>,
    /// For how long: `2h`. This or `until`.
    #[serde(rename = "for")]
    span: Option<String>,
    /// Until when, RFC 3339.
    until: Option<String>,
    /// Why.
    #[serde(default)]
    comment: String,
    /// Who says so; otherwise whose token it is.
    by: Option<String>,
}

/// What is known, and who knows it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Acknowledge {
    /// The alert.
    alert: String,
    /// The key: a text or an object; all of them without.
    key: Option<Value>,
    /// Tell it again after so long nevertheless: `4h`.
    #[serde(rename = "for")]
    span: Option<String>,
    /// Why, or what is done about it.
    #[serde(default)]
    comment: String,
    /// Who says so; otherwise whose token it is.
    by: Option<String>,
}

/// The plan of a pipeline that has alerts, and what is known of them; `None` if it never came to a checkpoint.
fn known(service: &Shared, id: &str) -> Result<(Arc<Pipeline>, Option<Known>), Problem> {
    let of = service.pipeline(id)?;
    let pipeline = of.seen().pipeline.ok_or_else(|| Problem::conflict(format!("`{id}` has mistakes")))?;
    let settings = alerts::settings(&pipeline.plan).ok_or_else(|| Problem::missing(format!("`{id}` has no alert")))?;
    let Some(state) = of.state().filter(|state| state.exists()) else { return Ok((pipeline, None)) };
    settle(&state);
    let reader = StateReader::open(&state).map_err(|e| Problem::failed(e.message))?;
    let known = Known::open(settings, reader).map_err(Problem::failed)?;
    Ok((pipeline, Some(known)))
}

/// Rows, and of when they are.
type Rows = Result<(AppendHeaders<Option<(&'static str, String)>>, Json<Vec<Value>>), Problem>;

fn of_when(known: Option<&Known>, rows: Vec<Value>) -> Rows {
    let as_of = known.and_then(|known| known.as_of).map(|at| (AS_OF, at.to_string()));
    Ok((AppendHeaders(as_of), Json(rows)))
}

/// Gives what is known; nothing is of a pipeline that never came to a checkpoint.
async fn read(service: Shared, id: String, rows: impl FnOnce(&Known) -> Vec<Value> + Send + 'static) -> Rows {
    beside(move || {
        let (_, known) = known(&service, &id)?;
        let rows = known.as_ref().map(rows).unwrap_or_default();
        of_when(known.as_ref(), rows)
    })
    .await
}

/// The same of one key of an alert, which must be there, as must a checkpoint.
async fn of_key(
    service: Shared,
    id: String,
    asked: Which,
    rows: impl FnOnce(&Known, &Plan, &str, &Value) -> Vec<Value> + Send + 'static,
) -> Rows {
    beside(move || {
        let (pipeline, known) = known(&service, &id)?;
        has(&pipeline.plan, &asked.alert).map_err(Problem::missing)?;
        let never = || Problem::conflict(format!("`{id}` has not come to a checkpoint yet"));
        let known = known.ok_or_else(never)?;
        let rows = rows(&known, &pipeline.plan, &asked.alert, &key_of(asked.key.as_deref()));
        of_when(Some(&known), rows)
    })
    .await
}

async fn active(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<Named>) -> Rows {
    read(service, id, move |known| known.active(asked.alert.as_deref())).await
}

async fn history(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<Past>) -> Rows {
    read(service, id, move |known| known.history(asked.alert.as_deref(), asked.limit.unwrap_or(HISTORY))).await
}

async fn why(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<Which>) -> Rows {
    of_key(service, id, asked, |known, _, alert, key| known.why(alert, key)).await
}

async fn why_not(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<Which>) -> Rows {
    of_key(service, id, asked, Known::why_not).await
}

async fn silences(State(service): State<Shared>, Of(id): Of<String>) -> Rows {
    read(service, id, Known::silences).await
}

async fn how(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<OfAlert>) -> Answer<Way> {
    let of = service.pipeline(&id)?;
    let pipeline = of.seen().pipeline.ok_or_else(|| Problem::conflict(format!("`{id}` has mistakes")))?;
    has(&pipeline.plan, &asked.alert).map_err(Problem::missing)?;
    give(way(&pipeline.plan, &asked.alert))
}

/// What was done, with more that is known of it.
fn with(answer: Answer<Value>, more: [(&str, Option<String>); 2]) -> Answer<Value> {
    let Json(mut answer) = answer?;
    if let Some(members) = answer.as_object_mut() {
        let known = more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
        members.extend(known);
    }
    give(answer)
}

/// Does what a person asks for, in the state.
async fn change(service: Shared, id: String, verb: &'static str, command: Command) -> Answer<Value> {
    let answer = beside(move || {
        let of = service.pipeline(&id)?;
        let pipeline = of.seen().pipeline.ok_or_else(|| Problem::conflict(format!("`{id}` has mistakes")))?;
        let none = || Problem::missing(format!("`{id}` has no alert"));
        let settings = alerts::settings(&pipeline.plan).ok_or_else(none)?;
        let never = || Problem::conflict(format!("`{id}` has not come to a checkpoint yet"));
        let state = of.state().filter(|state| state.exists()).ok_or_else(never)?;
        let holder = Holder { pipeline: of.file.display().to_string(), command: verb.to_owned() };
        alerts::change(settings, &state, &holder, command).map_err(Problem::conflict)
    });
    give(answer.await?)
}

fn span(text: &str) -> Result<TimeSpan, Problem> {
    TimeSpan::parse(text).map_err(|why| Problem::bad(format!("`for`: {why}")))
}

async fn silence(
    State(service): State<Shared>,
    Extension(who): Extension<Who>,
    Of(id): Of<String>,
    Body(asked): Body<Silence>,
) -> Answer<Value> {
    if asked.matchers.is_empty() {
        return Err(Problem::bad("without matchers everything would be silenced; `alertname=~\".*\"` says so"));
    }
    let matchers = asked.matchers.iter().map(|text| Matcher::parse(text)).collect::<Result<Vec<_>, _>>();
    let until = match (&asked.span, &asked.until) {
        (Some(text), None) => wall_clock().plus(span(text)?),
        (None, Some(text)) => time(text)?,
        _ => return Err(Problem::bad("say `for` how long, or `until` when")),
    };
    let by = asked.by.unwrap_or(who.name);
    let more = [("until", Some(until.to_string())), ("by", Some(by.clone()))];
    let command = Command::Silence { matchers: matchers.map_err(Problem::bad)?, until, comment: asked.comment, by };
    with(change(service, id, "silence add", command).await, more)
}

fn time(text: &str) -> Result<Timestamp, Problem> {
    parse_rfc3339(text.as_bytes()).ok_or_else(|| Problem::bad("`until`: write a time as 2026-01-31T12:00:00Z"))
}

async fn expire(
    State(service): State<Shared>,
    Extension(who): Extension<Who>,
    Of((id, silence)): Of<(String, String)>,
    Asked(asked): Asked<By>,
) -> Answer<Value> {
    let by = asked.by.unwrap_or(who.name);
    change(service, id, "silence expire", Command::Expire { id: silence, by }).await
}

async fn acknowledge(
    State(service): State<Shared>,
    Extension(who): Extension<Who>,
    Of(id): Of<String>,
    Body(asked): Body<Acknowledge>,
) -> Answer<Value> {
    let until = asked.span.as_deref().map(span).transpose()?.map(|span| wall_clock().plus(span));
    let (alert, key, comment) = (asked.alert, asked.key, asked.comment);
    let by = asked.by.unwrap_or(who.name);
    let more = [("until", until.map(|until| until.to_string())), ("by", Some(by.clone()))];
    let command = Command::Acknowledge { alert, key, matchers: Vec::new(), by, comment, until };
    with(change(service, id, "ack", command).await, more)
}
