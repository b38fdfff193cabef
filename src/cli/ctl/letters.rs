//! Dead letters of a pipeline of `serve`: read and changed over its API.

use serde_json::{Value, json};

use crate::base::time::Timestamp;
use crate::cli::dead_letters::{Each, Letters, Rest};
use crate::cli::output::Unread;
use crate::service::client::Client;
use crate::service::letters::{Sent, of_json};
use crate::store::state::Filter;

use super::{Id, of, query, refused, unlike};

/// The most that are asked for at once.
const PAGE: usize = 1_000;

fn instant(at: Option<i64>) -> Option<String> {
    at.map(|at| Timestamp(at).to_string())
}

/// A filter as a body has it.
fn body(filter: &Filter, dry: bool) -> Value {
    json!({
        "letters": {
            "ids": filter.ids, "entry": filter.entry, "cause": filter.cause.map(|cause| cause.word()),
            "reason": filter.reason, "since": instant(filter.since), "before": instant(filter.before),
        },
        "dry_run": dry,
    })
}

/// Where a page of those of a filter is found.
fn page(id: &Id, filter: &Filter, (after, most): (u64, usize)) -> String {
    let only = filter.ids.as_deref().and_then(<[u64]>::first).map(ToString::to_string);
    let (since, before) = (instant(filter.since), instant(filter.before));
    let asked = query(&[
        ("id", only.as_deref()),
        ("entry", filter.entry.as_deref()),
        ("cause", filter.cause.map(|cause| cause.word())),
        ("reason", filter.reason.as_deref()),
        ("since", since.as_deref()),
        ("before", before.as_deref()),
        ("after", Some(&*after.to_string())),
        ("limit", Some(&*most.to_string())),
    ]);
    of(id, &format!("/dead-letters{asked}"))
}

impl Letters<Id> for Client {
    fn each(&self, id: &Id, filter: &Filter, (after, most): (u64, usize), each: Each<'_>) -> Result<Rest, Unread> {
        let (mut after, mut left) = (after, most);
        loop {
            let path = page(id, filter, (after, left.min(PAGE)));
            let answer = self.json("GET", &path, None).map_err(|why| Unread::Why(why.0))?;
            let letters = answer.get("letters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            for letter in letters {
                each(of_json(letter).ok_or_else(|| Unread::Why(unlike(&path).0))?).map_err(Unread::Why)?;
            }
            left = left.saturating_sub(letters.len());
            let let_go = answer.get("let_go").and_then(Value::as_u64).unwrap_or(0);
            match answer.get("next").and_then(Value::as_u64) {
                Some(next) if left > 0 => after = next,
                next => return Ok(Rest { more: next.is_some(), let_go }),
            }
        }
    }

    fn purge(&self, id: &Id, filter: &Filter, dry: bool) -> Result<u64, u8> {
        let path = of(id, "/dead-letters/purge");
        let answer = self.json("POST", &path, Some(&body(filter, dry))).map_err(|why| refused(&why))?;
        answer.get("purged").and_then(Value::as_u64).ok_or_else(|| refused(&unlike(&path)))
    }

    fn retry(&self, id: &Id, filter: &Filter, dry: bool) -> Result<Sent, u8> {
        let path = of(id, "/dead-letters/retry");
        let answer = self.json("POST", &path, Some(&body(filter, dry))).map_err(|why| refused(&why))?;
        serde_json::from_value(answer).map_err(|_| refused(&unlike(&path)))
    }
}
