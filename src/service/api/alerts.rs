//! Alerts: what fires and did, why and why not, silences and acknowledgements.

use axum::Extension;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::guard::Who;
use super::{Answer, Asked, Body, Of, Problem, Shared, beside, give};
use crate::alert::policy::{Command, Matcher, Policy};
use crate::base::time::{TimeSpan, Timestamp, parse_rfc3339};
use crate::engine::run::wall_clock;
use crate::service::access::Role;
use crate::service::alerts;
use crate::store::state::{Holder, StateReader};

/// How much of what happened is shown if nobody says.
const HISTORY: usize = 100;

/// The endpoints.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/pipelines/{id}/alerts", "What fires, as the last checkpoint has it.", active)
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
        Endpoint::get("/api/v1/pipelines/{id}/silences", "The silences that hold.", silences).gives::<Vec<Value>>(),
        Endpoint::post("/api/v1/pipelines/{id}/silences", "Keeps what has these labels from being told.", silence)
            .takes::<Silence>()
            .gives::<Value>(),
        Endpoint::delete("/api/v1/pipelines/{id}/silences/{silence}", "Ends a silence.", expire)
            .role(Role::Operate)
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

/// The policy of a pipeline as its last checkpoint has it; `None` if it never ran.
fn policy(service: &Shared, id: &str) -> Result<Option<Policy>, Problem> {
    let of = service.pipeline(id)?;
    let seen = of.seen();
    let pipeline = seen.pipeline.ok_or_else(|| Problem::conflict(format!("`{id}` has mistakes")))?;
    let settings = alerts::settings(&pipeline.plan).ok_or_else(|| Problem::missing(format!("`{id}` has no alert")))?;
    let Some(state) = of.state().filter(|state| state.exists()) else { return Ok(None) };
    let reader = StateReader::open(&state).map_err(|e| Problem::failed(e.message))?;
    alerts::read(settings, &reader).map(Some).map_err(Problem::failed)
}

async fn read(
    service: Shared,
    id: String,
    rows: impl FnOnce(&Policy) -> Vec<Value> + Send + 'static,
) -> Answer<Vec<Value>> {
    let rows = beside(move || Ok(policy(&service, &id)?.as_ref().map(rows).unwrap_or_default())).await?;
    give(rows)
}

fn of_alert(rows: Vec<Value>, alert: Option<&String>) -> Vec<Value> {
    let is = |row: &Value| alert.is_none_or(|alert| row.get("alert").and_then(Value::as_str) == Some(alert));
    rows.into_iter().filter(is).collect()
}

async fn active(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<Named>) -> Answer<Vec<Value>> {
    read(service, id, move |policy| of_alert(policy.active(wall_clock()), asked.alert.as_ref())).await
}

async fn history(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<Past>) -> Answer<Vec<Value>> {
    read(service, id, move |policy| {
        let mut rows = of_alert(policy.history(), asked.alert.as_ref());
        rows.drain(..rows.len().saturating_sub(asked.limit.unwrap_or(HISTORY)));
        rows
    })
    .await
}

/// A key as people write it.
fn key_of(text: Option<&String>) -> Value {
    let text = text.map_or("{}", String::as_str);
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

async fn why(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<Which>) -> Answer<Vec<Value>> {
    read(service, id, move |policy| policy.explain(&asked.alert, &key_of(asked.key.as_ref()))).await
}

async fn why_not(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<Which>) -> Answer<Vec<Value>> {
    read(service, id, move |policy| policy.why_not(&asked.alert, &key_of(asked.key.as_ref()), wall_clock())).await
}

async fn silences(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Vec<Value>> {
    read(service, id, |policy| policy.silences(wall_clock())).await
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
    let command = Command::Silence { matchers: matchers.map_err(Problem::bad)?, until, comment: asked.comment, by };
    change(service, id, "silence add", command).await
}

fn time(text: &str) -> Result<Timestamp, Problem> {
    parse_rfc3339(text.as_bytes()).ok_or_else(|| Problem::bad("`until`: write a time as 2026-01-31T12:00:00Z"))
}

async fn expire(
    State(service): State<Shared>,
    Extension(who): Extension<Who>,
    Of((id, silence)): Of<(String, String)>,
) -> Answer<Value> {
    change(service, id, "silence expire", Command::Expire { id: silence, by: who.name }).await
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
    change(service, id, "ack", Command::Acknowledge { alert, key, matchers: Vec::new(), by, comment, until }).await
}
