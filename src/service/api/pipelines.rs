//! Pipelines: what there is and how it goes, and what they are told to do.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::problem::Problem;
use super::{Answer, Asked, Body, Of, Shared, Text, beside, give};
use crate::base::diag::Diagnostics;
use crate::base::render::{Style, render};
use crate::base::time::Timestamp;
use crate::config::Loaded;
use crate::engine::ledger::Entry;
use crate::engine::observed::Observed;
use crate::engine::run::wall_clock;
use crate::plan::graph::kind_word;
use crate::plan::{NodeKind, Operator, Plan};
use crate::service::links::Told;
use crate::service::plan::{Comparison, compare};
use crate::service::seen::{Phase, Reload, Reloaded, Seen};
use crate::service::supervised::{Supervised, Wanted};

/// The endpoints.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/pipelines", "All pipelines, and how they go.", list).gives::<Vec<Brief>>(),
        Endpoint::get("/api/v1/pipelines/{id}", "A pipeline: its entries, where its rows are, its connections.", show)
            .gives::<Full>(),
        Endpoint::get("/api/v1/pipelines/{id}/file", "The text of its file.", file).gives_text("application/yaml"),
        Endpoint::put("/api/v1/pipelines/{id}", "Writes its file, if nothing is wrong with it, and runs it.", put)
            .query::<Forget>()
            .takes_text("application/yaml")
            .gives::<Reload>(),
        Endpoint::delete("/api/v1/pipelines/{id}", "Stops it and removes its file; its state stays.", delete)
            .gives::<Done>(),
        Endpoint::post("/api/v1/check", "Says what is wrong with the text of a pipeline.", check)
            .role(crate::service::access::Role::Read)
            .takes_text("application/yaml")
            .gives::<Checked>(),
        Endpoint::post(
            "/api/v1/pipelines/{id}/plan",
            "Says what a run of a pipeline would go on from, and what it would have to forget: of the text that is sent, or of its file if none is. Nothing changes.",
            plan,
        )
        .role(crate::service::access::Role::Read)
        .takes_text("application/yaml")
        .gives::<Comparison>(),
        Endpoint::post("/api/v1/pipelines/{id}/reload", "Reads its file again.", reload)
            .takes::<Forget>()
            .gives::<Reload>(),
        Endpoint::post("/api/v1/pipelines/{id}/start", "Runs it, also one that waits or is complete.", start)
            .gives::<Done>(),
        Endpoint::post("/api/v1/pipelines/{id}/stop", "Stops it at a checkpoint, until it is started.", stop)
            .gives::<Done>(),
        Endpoint::post("/api/v1/pipelines/{id}/pause", "Reads nothing for now; everything else goes on.", pause)
            .gives::<Done>(),
        Endpoint::post("/api/v1/pipelines/{id}/resume", "Reads on.", resume).gives::<Done>(),
        Endpoint::post(
            "/api/v1/pipelines/{id}/drain",
            "Reads no more, closes all windows, delivers everything: then it is complete. A start begins anew, and reads sources that never end on from where they stood.",
            drain,
        )
        .gives::<Done>(),
    ]
}

/// A pipeline, briefly.
#[derive(Serialize, JsonSchema)]
struct Brief {
    /// What it is called here: its file without `.yaml`.
    id: String,
    /// What its file calls it.
    name: Option<String>,
    /// What its author says of it.
    description: Option<String>,
    /// What it does.
    phase: Phase,
    /// Since when, RFC 3339.
    since: String,
    /// Why, where that needs saying; of one that runs, what is wrong with its file or with how it reads.
    why: Option<String>,
    /// Starts after failures, since this process began.
    restarts: u64,
    /// Rows that its sources have taken.
    taken: u64,
    /// Rows a second that its sources take now.
    rate: f64,
    /// Rows that came too late.
    late: u64,
    /// Rows that nobody could take.
    dead: u64,
    /// The least watermark of its steps, RFC 3339.
    watermark: Option<String>,
    /// How far that is behind the clock, of a pipeline with live sources, in seconds.
    lag: Option<f64>,
    /// Connections that are down.
    disconnected: usize,
    /// Alerts that its file has.
    alerts: usize,
}

/// A pipeline, with its entries.
#[derive(Serialize, JsonSchema)]
struct Full {
    #[serde(flatten)]
    brief: Brief,
    /// Its file.
    file: String,
    /// Sources, steps and sinks, in the order of its file.
    entries: Vec<EntryView>,
    /// How its connections are.
    connections: Vec<Told>,
    /// What came of changes to its file, the newest last.
    reloads: Vec<Reload>,
    /// Where its rows are, what holds watermarks back, what waits, and how checkpoints go, while it runs.
    running: Option<Observed>,
}

/// A source, step or sink.
#[derive(Serialize, JsonSchema)]
struct EntryView {
    /// What it is called.
    name: String,
    /// What it is: `file`, `window`, `alert`.
    kind: String,
    /// Whether it is a source, a step or a sink.
    part: &'static str,
    /// What it reads: an entry, or `entry.port`.
    from: Vec<String>,
    /// What became of its rows.
    rows: Rows,
}

/// What became of rows.
#[derive(Serialize, JsonSchema, Default)]
struct Rows {
    /// That came in.
    taken: u64,
    /// That it made.
    made: u64,
    /// That went on.
    passed: u64,
    /// For which a condition was false.
    filtered: u64,
    /// That a script dropped.
    dropped: u64,
    /// That repeat one before.
    duplicate: u64,
    /// That it could not process.
    failed: u64,
    /// That came too late.
    late: u64,
    /// That nobody reads: dead letters.
    dead: u64,
    /// That it took into what it keeps, and that are gone from there.
    absorbed: u64,
}

/// What may be forgotten.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
pub struct Forget {
    /// Steps and sources whose state may be forgotten, with commas between.
    #[serde(default)]
    reset: String,
}

impl Forget {
    fn names(&self) -> Vec<String> {
        self.reset.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }
}

/// It is done, or will be at once.
#[derive(Serialize, JsonSchema)]
struct Done {
    /// The pipeline.
    id: String,
    /// What it does now.
    phase: Option<Phase>,
}

/// What is wrong with a pipeline's text.
#[derive(Serialize, JsonSchema)]
struct Checked {
    /// Whether it could run.
    valid: bool,
    /// What was found, as `check --format json` says it.
    diagnostics: Value,
    /// The same for people.
    text: String,
}

fn node_part(kind: &NodeKind) -> &'static str {
    match kind {
        NodeKind::Source(_) => "source",
        NodeKind::Step(_) => "step",
        NodeKind::Sink(_) => "sink",
    }
}

fn is_live(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| matches!(&node.kind, NodeKind::Source(source) if !source.bounded))
}

fn alerts(plan: &Plan) -> usize {
    plan.nodes.iter().filter(|node| matches!(&node.kind, NodeKind::Step(Operator::Alert(_)))).count()
}

/// Rows that sources have taken.
fn taken(plan: &Plan, entries: &[Entry]) -> u64 {
    let sources = plan.nodes.iter().zip(entries).filter(|(node, _)| matches!(node.kind, NodeKind::Source(_)));
    sources.map(|(_, entry)| entry.tally.taken).sum()
}

fn brief(service: &Shared, of: &Supervised, seen: &Seen, entries: &[Entry]) -> Brief {
    let plan = seen.pipeline.as_ref().map(|pipeline| &pipeline.plan);
    let watermark = seen.handle.as_ref().map(|h| h.watermark()).filter(|w: &Timestamp| w.is_event_time());
    let behind = |watermark: Timestamp| (wall_clock().0 - watermark.0) as f64 / 1e6;
    Brief {
        id: of.id.clone(),
        name: plan.map(|plan| plan.name.clone()),
        description: plan.and_then(|plan| plan.description.clone()),
        phase: seen.phase,
        since: seen.since.to_string(),
        why: seen.remark(),
        restarts: seen.restarts,
        taken: plan.map_or(0, |plan| taken(plan, entries)),
        rate: service.rates.of(&of.id),
        late: entries.iter().map(|entry| entry.tally.late).sum(),
        dead: entries.iter().map(|entry| entry.tally.dead).sum(),
        watermark: watermark.map(|at| at.to_string()),
        lag: watermark.filter(|_| plan.is_some_and(is_live)).map(behind),
        disconnected: seen.connections.iter().filter(|link| !link.up).count(),
        alerts: plan.map_or(0, alerts),
    }
}

async fn list(State(service): State<Shared>) -> Answer<Vec<Brief>> {
    let of = |of: &std::sync::Arc<Supervised>| {
        let seen = of.seen();
        brief(&service, of, &seen, &seen.entries())
    };
    give(service.pipelines.all().iter().map(of).collect())
}

fn rows(entry: &Entry) -> Rows {
    let t = &entry.tally;
    Rows {
        taken: t.taken,
        made: t.made,
        passed: t.passed,
        filtered: t.filtered,
        dropped: t.dropped,
        duplicate: t.duplicate,
        failed: t.failed,
        late: t.late,
        dead: t.dead,
        absorbed: t.absorbed,
    }
}

fn views(plan: &Plan, entries: &[Entry]) -> Vec<EntryView> {
    let name = |input: &crate::plan::Input| {
        let of = plan.node(input.node).map_or("", |node| node.name.as_str());
        format!("{of}{}", input.port)
    };
    let view = |(at, node): (usize, &crate::plan::Node)| EntryView {
        name: node.name.clone(),
        kind: kind_word(&node.kind).to_owned(),
        part: node_part(&node.kind),
        from: node.inputs.iter().map(name).collect(),
        rows: entries.get(at).map(rows).unwrap_or_default(),
    };
    plan.nodes.iter().enumerate().map(view).collect()
}

async fn show(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Full> {
    let of = service.pipeline(&id)?;
    let seen = of.seen();
    let entries = seen.entries();
    give(Full {
        brief: brief(&service, &of, &seen, &entries),
        file: of.file.display().to_string(),
        entries: seen.pipeline.as_ref().map(|p| views(&p.plan, &entries)).unwrap_or_default(),
        running: seen.handle.as_ref().map(|handle| handle.observe()),
        connections: seen.connections,
        reloads: seen.reloads,
    })
}

async fn file(State(service): State<Shared>, Of(id): Of<String>) -> Result<Response, Problem> {
    let of = service.pipeline(&id)?;
    let cannot = |e: std::io::Error| Problem::failed(format!("`{}` cannot be read: {e}", of.file.display()));
    let text = std::fs::read(&of.file).map_err(cannot)?;
    Ok(([(CONTENT_TYPE, "application/yaml; charset=utf-8")], text).into_response())
}

/// A name that can be that of a file, and of nothing else.
fn named(id: &str) -> Result<(), Problem> {
    let plain = id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if plain && !id.is_empty() && id.len() <= 100 && !id.starts_with('.') {
        return Ok(());
    }
    Err(Problem::bad(
        "a pipeline's name has letters, digits, `_`, `-` and `.`, begins with none of the last, and has at most 100",
    ))
}

fn diagnostics(found: &Diagnostics) -> Value {
    serde_json::from_str(&render(found, Style::Json)).unwrap_or_default()
}

/// What a text is answered with that no pipeline can be made of.
fn mistaken(found: &Diagnostics) -> Problem {
    let why = "the pipeline has mistakes, and nothing was changed";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why).with(diagnostics(found))
}

async fn check(State(service): State<Shared>, Text(text): Text) -> Answer<Checked> {
    beside(move || {
        let Loaded { pipeline, found, .. } = service.pipelines.check("pipeline", &text);
        let valid = pipeline.is_some();
        let text = render(&found, Style::Human { colour: false });
        Ok(Json(Checked { valid, diagnostics: diagnostics(&found), text }))
    })
    .await
}

async fn plan(State(service): State<Shared>, Of(id): Of<String>, Text(text): Text) -> Answer<Comparison> {
    named(&id)?;
    beside(move || {
        let loaded = match text.is_empty() {
            true => service.pipelines.load(&id, &service.pipeline(&id)?.file),
            false => service.pipelines.check(&id, &text),
        };
        let Loaded { pipeline, found, .. } = loaded;
        let Some(pipeline) = pipeline else { return Err(mistaken(&found)) };
        let compared = compare(&pipeline.plan, &service.pipelines.state_of(&pipeline));
        Ok(Json(compared.map_err(Problem::failed)?))
    })
    .await
}

/// The result of a reload; one that could not be used is a conflict.
fn reloaded(reload: Reload) -> Answer<Reload> {
    match (reload.result, &reload.why) {
        (Reloaded::Kept | Reloaded::Broken, Some(why)) => Err(Problem::conflict(why.clone())),
        _ => give(reload),
    }
}

async fn put(
    State(service): State<Shared>,
    Of(id): Of<String>,
    Asked(forget): Asked<Forget>,
    Text(text): Text,
) -> Answer<Reload> {
    named(&id)?;
    beside(move || {
        let Loaded { pipeline, found, .. } = service.pipelines.check(&id, &text);
        if pipeline.is_none() {
            return Err(mistaken(&found));
        }
        let reload = service.pipelines.put(&id, &text, forget.names()).map_err(Problem::failed)?;
        reloaded(reload)
    })
    .await
}

async fn delete(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Done> {
    service.pipeline(&id)?;
    beside(move || {
        service.pipelines.delete(&id).map_err(Problem::failed)?;
        Ok(Json(Done { id, phase: None }))
    })
    .await
}

async fn reload(State(service): State<Shared>, Of(id): Of<String>, Body(forget): Body<Forget>) -> Answer<Reload> {
    beside(move || {
        let none = || Problem::missing(format!("there is no pipeline `{id}`"));
        reloaded(service.pipelines.reload(&id, forget.names()).ok_or_else(none)?)
    })
    .await
}

fn want(service: &Shared, id: String, wanted: Wanted) -> Answer<Done> {
    let of = service.pipeline(&id)?;
    service.pipelines.want(&id, wanted).map_err(Problem::failed)?;
    give(Done { phase: Some(of.seen().phase), id })
}

async fn start(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Done> {
    want(&service, id, Wanted::Run)
}

async fn stop(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Done> {
    want(&service, id, Wanted::Stop)
}

async fn drain(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Done> {
    let of = service.pipeline(&id)?;
    if !of.drain() {
        return Err(Problem::conflict(format!("`{id}` does not run")));
    }
    give(Done { phase: Some(of.seen().phase), id })
}

fn paused(service: &Shared, id: String, paused: bool) -> Answer<Done> {
    let of = service.pipeline(&id)?;
    if !of.pause(paused) {
        return Err(Problem::conflict(format!("`{id}` does not run")));
    }
    give(Done { phase: Some(of.seen().phase), id })
}

async fn pause(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Done> {
    paused(&service, id, true)
}

async fn resume(State(service): State<Shared>, Of(id): Of<String>) -> Answer<Done> {
    paused(&service, id, false)
}
