//! The interface for programs and for the page: HTTP with JSON. Each endpoint is a line of [`endpoints`]; what it takes and
//! gives are types, from which the OpenAPI description is made.

mod alerts;
mod endpoint;
mod guard;
mod health;
mod letters;
mod page;
mod pipelines;
mod problem;
mod states;
mod tap;
mod why;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::guard::Door;
pub use self::problem::Problem;

use self::endpoint::{BASE, Endpoint, openapi};
use super::access::Tokens;
use super::audit::Audit;
use super::levels::Levels;
use super::pipelines::Pipelines;
use super::rates::Rates;
use super::supervised::Supervised;

/// The largest body of a request: a pipeline file may not be larger.
const BODY_BYTES: usize = 1 << 20;
/// How long a request may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What answers requests.
pub struct Service {
    /// The pipelines of this process.
    pub pipelines: Arc<Pipelines>,
    /// How fast rows come.
    pub rates: Rates,
    /// Who may do what.
    pub tokens: Tokens,
    /// Who did what.
    pub audit: Audit,
    /// How the interface is reached.
    pub door: Door,
    /// Fields whose values no tap shows.
    pub redact: Vec<String>,
    /// What the log tells.
    pub levels: Arc<dyn Levels>,
}

/// What every request is answered with.
pub type Shared = Arc<Service>;

impl Service {
    /// A pipeline by its name.
    fn pipeline(&self, id: &str) -> Result<Arc<Supervised>, Problem> {
        self.pipelines.get(id).ok_or_else(|| Problem::missing(format!("there is no pipeline `{id}`")))
    }
}

/// Does work that waits for disks beside the thread that answers.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Problem> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(_) => Err(Problem::failed("it panicked; please report it")),
    }
}

/// The parameters of a request.
struct Asked<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let asked = Query::<T>::from_request_parts(parts, state).await;
        asked.map(|Query(asked)| Asked(asked)).map_err(|e: QueryRejection| Problem::bad(e.body_text()))
    }
}

/// The parts of a path that are chosen.
struct Of<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Of<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(of)| Of(of)).map_err(|e| Problem::bad(e.body_text()))
    }
}

/// The text of a request's body.
struct Text(String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|e: BytesRejection| Problem::new(e.status(), e.body_text()))?;
        String::from_utf8(body.into()).map(Text).map_err(|_| Problem::bad("the body is not UTF-8 text"))
    }
}

/// The JSON of a request's body; none is an empty object.
struct Body<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let Text(text) = Text::from_request(request, state).await?;
        let text = if text.trim().is_empty() { "{}" } else { &text };
        serde_json::from_str(text).map(Body).map_err(|e| Problem::bad(format!("the body is not as it should be: {e}")))
    }
}

/// What an endpoint answers with.
type Answer<T> = Result<Json<T>, Problem>;

fn give<T: Serialize>(given: T) -> Answer<T> {
    Ok(Json(given))
}

/// Everything that can be asked for.
fn endpoints() -> Vec<Endpoint> {
    let mut all =
        vec![Endpoint::get("/api/v1/openapi.json", "This description.", describe).gives_text("application/json")];
    all.extend(pipelines::endpoints());
    all.extend(alerts::endpoints());
    all.extend(letters::endpoints());
    all.extend(states::endpoints());
    all.extend(tap::endpoints());
    all.extend(why::endpoints());
    all.extend(health::endpoints());
    all
}

async fn describe() -> Response {
    Json(openapi(&endpoints())).into_response()
}

/// The routes, and what stands before them.
pub fn router(service: &Shared) -> Router {
    let mut router: Router<Shared> = Router::new();
    for endpoint in endpoints() {
        let guarded = from_fn_with_state((Arc::clone(service), endpoint.role), guard::check);
        router = router.route(endpoint.path, endpoint.handler().layer(guarded));
    }
    router
        .merge(health::routes())
        .merge(page::routes())
        .fallback(async || Problem::missing(format!("there is nothing here; `{BASE}/openapi.json` says what there is")))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, format!("not so; `{BASE}/openapi.json` says how"))
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn(guard::headers))
        .layer(from_fn(within))
        .with_state(Arc::clone(service))
}

/// An answer that takes too long is given up. A stream begins its answer at once.
async fn within(request: Request, next: axum::middleware::Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => Problem::new(StatusCode::GATEWAY_TIMEOUT, "it takes too long; ask again later").into_response(),
    }
}
