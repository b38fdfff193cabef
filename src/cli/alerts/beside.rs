//! Alerts beside a run: read from the state of the last checkpoint, and changed in it.

use serde_json::{Value, json};

use crate::alert::policy::{Command, Settings};
use crate::cli::exit;
use crate::cli::state_path::{Beside, Target, failed};
use crate::config::Pipeline;
use crate::engine::run::wall_clock;
use crate::plan::Plan;
use crate::service::alerts;
use crate::service::alerts::known::{Known, Way, has, key_of, way};
use crate::store::control::settle;
use crate::store::state::{Holder, StateReader};

use super::{AckArgs, Add, Alerts, By, Seen, Which};

/// What the authors of a pipeline's alerts say. That it has none is said.
fn settings(pipeline: &Pipeline) -> Result<Settings, u8> {
    let found = alerts::settings(&pipeline.plan);
    found.ok_or_else(|| failed(&format!("`{}` has no alert", pipeline.plan.file)))
}

fn known(target: &Target) -> Result<(Pipeline, Known), u8> {
    let (pipeline, path) = target.load()?;
    target.exists(&path)?;
    settle(&path);
    let reader = StateReader::open(&path).map_err(|e| failed(&e.message))?;
    let known = Known::open(settings(&pipeline)?, reader).map_err(|why| failed(&why))?;
    Ok((pipeline, known))
}

/// That there is no such alert is said.
fn is_alert(pipeline: &Pipeline, alert: &str) -> Result<(), u8> {
    has(&pipeline.plan, alert).map_err(|why| {
        failed(&why);
        exit::USAGE
    })
}

fn seen(target: &Target, rows: impl FnOnce(&Known) -> Vec<Value>) -> Result<Seen, u8> {
    let (_, known) = known(target)?;
    Ok(Seen { rows: rows(&known), as_of: known.as_of })
}

/// What there is to say about a key of an alert that is there.
fn of_key(which: &Which<Target>, rows: impl FnOnce(&Known, &Plan, &str, &Value) -> Vec<Value>) -> Result<Seen, u8> {
    let (pipeline, known) = known(&which.of)?;
    is_alert(&pipeline, &which.alert)?;
    let rows = rows(&known, &pipeline.plan, &which.alert, &key_of(which.key.as_deref()));
    Ok(Seen { rows, as_of: known.as_of })
}

/// Does what a person asks for, in the state: the answer.
fn change(target: &Target, verb: &str, command: Command) -> Result<Value, u8> {
    let (pipeline, path) = target.load()?;
    let settings = settings(&pipeline)?;
    target.exists(&path)?;
    let holder = Holder { pipeline: target.file.display().to_string(), command: verb.to_owned() };
    alerts::change(settings, &path, &holder, command).map_err(|why| failed(&why))
}

impl Alerts<Target> for Beside {
    fn active(&self, of: &Target, alert: Option<&str>) -> Result<Seen, u8> {
        seen(of, |known| known.active(alert))
    }

    fn history(&self, of: &Target, alert: Option<&str>, most: usize) -> Result<Seen, u8> {
        seen(of, |known| known.history(alert, most))
    }

    fn silences(&self, of: &Target) -> Result<Seen, u8> {
        seen(of, Known::silences)
    }

    fn why(&self, which: &Which<Target>) -> Result<Seen, u8> {
        of_key(which, |known, _, alert, key| known.why(alert, key))
    }

    fn way(&self, which: &Which<Target>) -> Result<Way, u8> {
        let (pipeline, _) = which.of.load()?;
        Ok(way(&pipeline.plan, &which.alert))
    }

    fn why_not(&self, which: &Which<Target>) -> Result<Seen, u8> {
        of_key(which, Known::why_not)
    }

    fn silence(&self, add: &Add<Target>) -> Result<Value, u8> {
        let until = add.until.unwrap_or_else(|| wall_clock().plus(add.span));
        let (matchers, comment, by) = (add.matchers.clone(), add.why.comment.clone(), add.by.name());
        let mut answer = change(&add.of, "silence add", Command::Silence { matchers, until, comment, by })?;
        answer["until"] = json!(until.to_string());
        Ok(answer)
    }

    fn expire(&self, of: &Target, id: &str, by: &By) -> Result<(), u8> {
        let command = Command::Expire { id: id.to_owned(), by: by.name() };
        change(of, "silence expire", command).map(|_| ())
    }

    fn acknowledge(&self, ack: &AckArgs<Target>) -> Result<Value, u8> {
        let until = ack.span.map(|span| wall_clock().plus(span));
        let (alert, key) = (ack.which.alert.clone(), ack.which.key());
        let (by, comment) = (ack.by.name(), ack.why.comment.clone());
        let said = json!(by);
        let command = Command::Acknowledge { alert, key, matchers: Vec::new(), by, comment, until };
        let mut answer = change(&ack.which.of, "ack", command)?;
        answer["by"] = said;
        Ok(answer)
    }
}
