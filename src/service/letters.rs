//! Dead letters: as they are told, and sent again.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::time::{Timestamp, parse_rfc3339};
use crate::config::Pipeline;
use crate::engine::keeper::StateKeeper;
use crate::engine::kept::{Fate, fates};
use crate::engine::lower::{Lowering, lower};
use crate::engine::retry::{Again, Outcome, Retry, refusal, refusal_of_complete, sinks_of};
use crate::inspect::spelling::counted;
use crate::plan::{Node, NodeKind, Plan};
use crate::store::rows::{Cause, DeadLetter, Origin};
use crate::store::state::{Filter, Letter, StateFile};

use super::open::open_sinks;

/// A dead letter with everything that is known of it; a row that is not text as base64.
pub fn as_json(letter: &Letter) -> Value {
    let row = &letter.letter;
    let mut all = json!({
        "id": letter.id,
        "entry": row.entry,
        "cause": row.cause.word(),
        "reason": row.reason,
        "place": row.place,
        "time": row.time.map(|at| Timestamp(at).to_string()),
        "kept": Timestamp(letter.at).to_string(),
        "run": letter.run,
        "epoch": letter.epoch,
        "origin": row.origin.word(),
    });
    let (name, original) = match std::str::from_utf8(&row.original) {
        Ok(text) => ("original", text.to_owned()),
        Err(_) => ("original_base64", STANDARD.encode(&row.original)),
    };
    if let Some(members) = all.as_object_mut() {
        members.extend(row.header.iter().map(|names| ("header".to_owned(), json!(names))));
        members.insert(name.to_owned(), Value::String(original));
    }
    all
}

/// A dead letter as [`as_json`] writes it; `None` if it is not one of this version.
pub fn of_json(all: &Value) -> Option<Letter> {
    let text = |name: &str| all.get(name)?.as_str();
    let number = |name: &str| all.get(name)?.as_u64();
    let time = |name: &str| parse_rfc3339(text(name)?.as_bytes()).map(|at| at.0);
    let original = match text("original") {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(text("original_base64")?).ok()?,
    };
    let header = match all.get("header") {
        Some(names) => Some(serde_json::from_value(names.clone()).ok()?),
        None => None,
    };
    Some(Letter {
        id: number("id")?,
        at: time("kept")?,
        run: number("run")?,
        epoch: number("epoch")?,
        letter: DeadLetter {
            entry: text("entry")?.to_owned(),
            cause: Cause::of_word(text("cause")?)?,
            reason: text("reason")?.to_owned(),
            place: text("place")?.to_owned(),
            time: time("time"),
            origin: Origin::of_word(text("origin")?)?,
            header,
            original,
        },
    })
}

/// What came of sending dead letters again.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Sent {
    /// For people, a line each.
    pub text: String,
    /// Rows that became dead letters again.
    pub dead: u64,
}

/// Sends the dead letters that a filter lets through again: each enters at the entry that refused it. `dry` only says what would
/// come of it. The state was opened to be changed. The error is a sentence.
pub fn send(
    pipeline: &Pipeline,
    (mut file, state): (StateFile, &Path),
    filter: &Filter,
    dry: bool,
) -> Result<Sent, String> {
    let plan = &pipeline.plan;
    let over = file.reopen();
    let Some(kept) = file.kept().filter(|kept| kept.epoch > 0) else {
        return Err("no run of the pipeline has come to a checkpoint yet; `run` it first".into());
    };
    let changed = fates(plan, kept).into_iter().find(|fate| matches!(fate.fate, Fate::Changed(_) | Fate::Gone));
    if let Some(changed) = changed.filter(|_| !over) {
        return Err(format!(
            "`{}` keeps something else now; `millstream plan` says what, and what can be done",
            changed.step
        ));
    }
    let again = Again { run: kept.run, over };
    let letters = all(&file, filter)?;
    let (letters, refused): (Vec<Letter>, Vec<(Letter, String)>) = sorted(plan, letters, over);
    let final_rows = over && !refused.is_empty();
    let mut text = String::new();
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for (letter, why) in refused {
        *reasons.entry(format!("`{}`: {why}", letter.letter.entry)).or_default() += 1;
    }
    for (why, number) in reasons {
        text.push_str(&format!("{} cannot be sent again: {why}\n", counted(number, "dead letter")));
    }
    if final_rows {
        text.push_str(&instead(plan));
    }
    if letters.is_empty() {
        text.push_str("nothing to send again\n");
        return Ok(Sent { text, dead: 0 });
    }
    let (mut keeper, resumed) = StateKeeper::open(file, plan)?;
    let Some(resumed) = resumed else { return Err("there is no run to go on with".into()) };
    let retry = Retry::feed(plan, again, &letters, &resumed.stood, &keeper)?;
    let outcome = if dry {
        retry.rehearse()?
    } else {
        // The output of a run that is over is not touched where nothing comes to it.
        let nodes = match over {
            true => sinks_of(plan, &letters),
            false => lower(plan, Lowering { shares: 1, track: false })?.sink_nodes(),
        };
        let sinks = open_sinks(pipeline, &nodes, (Some(&resumed.marks), state), &mut Vec::new())?;
        retry.commit(&resumed.stood, &mut keeper, nodes.into_iter().zip(sinks).collect())?
    };
    text.push_str(&said(outcome, dry));
    Ok(Sent { text, dead: outcome.dead })
}

/// What can be done about rows that can join nothing, because their run is over.
fn instead(plan: &Plan) -> String {
    let again = |node: &Node| match &node.kind {
        NodeKind::Source(source) => source.bounded && source.connector != "stdin",
        _ => true,
    };
    let export = "`dead-letters export` writes the rows, and a pipeline of their own can take them";
    match plan.nodes.iter().all(again) {
        true => format!(
            "put the pipeline right and run it again, which reads its input anew; where that would write rows twice (`mode: append`), {export}\n"
        ),
        false => format!("{export}\n"),
    }
}

fn said(outcome: Outcome, dry: bool) -> String {
    let Outcome { sent, dead, delivered, waiting } = outcome;
    let still = match waiting {
        0 => String::new(),
        _ => format!("; {} still on the way, which the next `run` goes on to send", counted(waiting, "row")),
    };
    let (sent, dead, delivered) = (counted(sent, "dead letter"), counted(dead, "row"), counted(delivered, "row"));
    match dry {
        true => format!("{sent} would be sent again: {delivered} for sinks, {dead} would be dead letters\n"),
        false => format!("{sent} sent again: {delivered} for sinks, {dead} became dead letters{still}\n"),
    }
}

fn all(file: &StateFile, filter: &Filter) -> Result<Vec<Letter>, String> {
    let mut letters = Vec::new();
    let read = file.each_letter(filter, &mut |letter| {
        letters.push(letter);
        Ok(())
    });
    read.map_err(|e| e.message)?;
    Ok(letters)
}

/// Those that can be sent again, and those that cannot with the reason.
fn sorted(plan: &Plan, letters: Vec<Letter>, over: bool) -> (Vec<Letter>, Vec<(Letter, String)>) {
    let (mut can, mut cannot) = (Vec::new(), Vec::new());
    for letter in letters {
        let why = refusal(plan, &letter);
        match why.or_else(|| refusal_of_complete(plan, &letter).filter(|_| over)) {
            None => can.push(letter),
            Some(why) => cannot.push((letter, why)),
        }
    }
    (can, cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_come_back_as_they_were_told() {
        let kept = |origin, header: Option<Vec<String>>, time, original: &[u8]| Letter {
            id: 7,
            at: 1_767_225_600_123_456,
            run: 2,
            epoch: 31,
            letter: DeadLetter {
                entry: "ratio".to_owned(),
                cause: Cause::Error,
                reason: "it is `0`".to_owned(),
                place: String::new(),
                time,
                origin,
                header,
                original: original.to_vec(),
            },
        };
        for letter in [
            kept(Origin::Row, None, Some(-5), b"{\"a\":\"\xc3\xa4\"}"),
            kept(Origin::Record, Some(vec!["a".to_owned(), String::new()]), None, b"\xff\x00"),
            kept(Origin::Unknown, None, None, b""),
        ] {
            assert_eq!(of_json(&as_json(&letter)), Some(letter));
        }
        assert_eq!(of_json(&json!({ "id": 1 })), None);
    }
}
