//! Dead letters: read, sent again, taken away.

use axum::extract::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::endpoint::Endpoint;
use super::{Answer, Asked, Body, Of, Problem, Shared, beside, give};
use crate::base::time::parse_rfc3339;
use crate::service::access::Role;
use crate::service::letters::{Sent, as_json, send};
use crate::service::open::{Opened, open_to_write};
use crate::store::rows::Cause;
use crate::store::state::{Filter, Holder, StateReader};

/// How many rows are given if nobody says, and at most.
const ROWS: usize = 100;
const ROWS_MOST: usize = 10_000;
/// How many bytes of dead letters are given at once: no more follow when they have so many.
const PAGE_BYTES: usize = 8 << 20;

/// The endpoints.
pub fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get("/api/v1/pipelines/{id}/dead-letters", "Rows that nobody could take, the oldest first.", list)
            .query::<List>()
            .gives::<Letters>(),
        Endpoint::post("/api/v1/pipelines/{id}/dead-letters/retry", "Sends them again where they were refused.", retry)
            .takes::<Retry>()
            .gives::<Sent>(),
        Endpoint::post("/api/v1/pipelines/{id}/dead-letters/purge", "Takes them away.", purge)
            .role(Role::Admin)
            .takes::<Purge>()
            .gives::<Purged>(),
    ]
}

/// Which dead letters, and how many.
#[derive(Deserialize, JsonSchema)]
struct List {
    /// Only the one of this number.
    id: Option<u64>,
    /// Only those that came to this entry.
    entry: Option<String>,
    /// Only those of this cause: `error` or `late`.
    cause: Option<String>,
    /// Only those whose reason has this text in it.
    reason: Option<String>,
    /// Only those kept at this time or later, RFC 3339.
    since: Option<String>,
    /// Only those kept before this time, RFC 3339.
    before: Option<String>,
    /// Go on after the one of this number.
    #[serde(default)]
    after: u64,
    /// How many.
    limit: Option<usize>,
}

/// Which dead letters. All that are said must hold; without any it is all of them.
#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields)]
struct Which {
    /// Only the ones of these numbers.
    ids: Option<Vec<u64>>,
    /// Only those that came to this entry.
    entry: Option<String>,
    /// Only those of this cause: `error` or `late`.
    cause: Option<String>,
    /// Only those whose reason has this text in it.
    reason: Option<String>,
    /// Only those kept at this time or later, RFC 3339.
    since: Option<String>,
    /// Only those kept before this time, RFC 3339.
    before: Option<String>,
}

/// What is sent again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Retry {
    /// Which.
    #[serde(default)]
    letters: Which,
    /// Only say what would come of it.
    #[serde(default)]
    dry_run: bool,
}

/// What is taken away.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Purge {
    /// Which.
    letters: Which,
    /// Only say how many there are to take away.
    #[serde(default)]
    dry_run: bool,
}

/// Dead letters.
#[derive(Serialize, JsonSchema)]
struct Letters {
    /// As `dead-letters list --format ndjson` has them.
    letters: Vec<Value>,
    /// How many there are in all.
    total: u64,
    /// How many went because there were too many, or they were too old.
    let_go: u64,
    /// There are more: `after` this one.
    next: Option<u64>,
}

/// What was taken away.
#[derive(Serialize, JsonSchema)]
struct Purged {
    /// How many.
    purged: u64,
}

fn instant(text: Option<String>) -> Result<Option<i64>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let at = parse_rfc3339(text.as_bytes());
    at.map(|at| Some(at.0)).ok_or_else(|| Problem::bad(format!("`{text}` is no time; write 2026-01-31T12:00:00Z")))
}

fn cause(word: Option<String>) -> Result<Option<Cause>, Problem> {
    let Some(word) = word else { return Ok(None) };
    Cause::of_word(&word).map(Some).ok_or_else(|| Problem::bad(format!("`{word}` is no cause: `error` or `late`")))
}

impl Which {
    fn filter(self) -> Result<Filter, Problem> {
        Ok(Filter {
            ids: self.ids,
            entry: self.entry,
            cause: cause(self.cause)?,
            reason: self.reason,
            since: instant(self.since)?,
            before: instant(self.before)?,
        })
    }
}

/// The state of a pipeline, to read; `None` if it never ran.
fn reader(service: &Shared, id: &str) -> Result<Option<StateReader>, Problem> {
    let of = service.pipeline(id)?;
    let Some(state) = of.state().filter(|state| state.exists()) else { return Ok(None) };
    StateReader::open(&state).map(Some).map_err(|e| Problem::failed(e.message))
}

async fn list(State(service): State<Shared>, Of(id): Of<String>, Asked(asked): Asked<List>) -> Answer<Letters> {
    let most = asked.limit.unwrap_or(ROWS).clamp(1, ROWS_MOST);
    let List { id: only, entry, cause, reason, since, before, after, .. } = asked;
    let filter = Which { ids: only.map(|id| vec![id]), entry, cause, reason, since, before }.filter()?;
    let letters = beside(move || {
        let Some(reader) = reader(&service, &id)? else {
            return Ok(Letters { letters: Vec::new(), total: 0, let_go: 0, next: None });
        };
        let (mut letters, mut last, mut bytes, mut more) = (Vec::new(), None, 0, false);
        // One more than is given says whether there are more.
        let read = reader.each_letter(&filter, after, most + 1, &mut |letter| {
            more |= letters.len() == most || bytes >= PAGE_BYTES;
            if !more {
                (last, bytes) = (Some(letter.id), bytes + letter.letter.original.len());
                letters.push(as_json(&letter));
            }
            Ok(())
        });
        read.map_err(|e| Problem::failed(e.message))?;
        let next = last.filter(|_| more);
        let totals = reader.letters();
        Ok(Letters { letters, total: totals.letters, let_go: totals.let_go, next })
    });
    give(letters.await?)
}

/// Opens the state of a pipeline to change it, for which its run pauses.
fn opened(service: &Shared, id: &str, verb: &str) -> Result<(Opened, std::path::PathBuf), Problem> {
    let of = service.pipeline(id)?;
    let never = || Problem::conflict(format!("`{id}` has not come to a checkpoint yet"));
    let state = of.state().filter(|state| state.exists()).ok_or_else(never)?;
    let holder = Holder { pipeline: of.file.display().to_string(), command: verb.to_owned() };
    let opened = open_to_write(&state, &holder).map_err(|e| Problem::conflict(e.message))?;
    Ok((opened, state))
}

async fn retry(State(service): State<Shared>, Of(id): Of<String>, Body(asked): Body<Retry>) -> Answer<Sent> {
    let filter = asked.letters.filter()?;
    let retried = beside(move || {
        let pipeline = service.pipeline(&id)?.seen().pipeline;
        let pipeline = pipeline.ok_or_else(|| Problem::conflict(format!("`{id}` has mistakes")))?;
        let (Opened { file, pause: _pause }, state) = opened(&service, &id, "dead-letters retry")?;
        send(&pipeline, (file, &state), &filter, asked.dry_run).map_err(Problem::conflict)
    });
    give(retried.await?)
}

async fn purge(State(service): State<Shared>, Of(id): Of<String>, Body(asked): Body<Purge>) -> Answer<Purged> {
    let filter = asked.letters.filter()?;
    let purged = beside(move || {
        if asked.dry_run {
            let reader = reader(&service, &id)?;
            let found = reader.map_or(Ok(0), |reader| reader.count_letters(&filter));
            return Ok(Purged { purged: found.map_err(|e| Problem::failed(e.message))? });
        }
        let (Opened { mut file, pause: _pause }, _) = opened(&service, &id, "dead-letters purge")?;
        let purged = file.purge(&filter).map_err(|e| Problem::failed(e.message))?;
        Ok(Purged { purged })
    });
    give(purged.await?)
}
