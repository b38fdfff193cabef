//! What people say to a run: silences and acknowledgements. It is an input like others: it comes between two ticks, is written
//! down as a turn where turns are, and is part of the checkpoint that is made for it at once, so that whoever said it reads it
//! there. The run does not pause for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::alert::policy::Command;
use crate::base::time::Timestamp;

use super::gate::{Gate, Tick};
use super::handle::Handle;
use super::job::{Job, Ready, lock};
use super::run::{steady_clock, wall_clock};
use super::segment::Join;
use super::shared::Shared;
use super::turns::Turn;

/// How often is looked whether what came before a crash is repeated.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Something that a person says, for the step that tells people.
#[derive(Debug)]
pub struct Said {
    /// What, as it is written down.
    pub text: String,
    /// When.
    pub at: Timestamp,
    answer: Mutex<Option<Answer>>,
}

/// What came of it. The error is a sentence.
pub type Answer = Result<Value, String>;

impl Said {
    pub(super) fn new(text: String, at: Timestamp) -> Arc<Said> {
        Arc::new(Said { text, at, answer: Mutex::default() })
    }

    /// Does it by `obey`, once: a tick may come in slices.
    pub(super) fn obey(&self, obey: impl FnOnce(Command, Timestamp) -> Answer) {
        let mut answer = lock(&self.answer);
        if answer.is_none() {
            let command = serde_json::from_str(&self.text).map_err(|e| format!("this cannot be understood: {e}"));
            *answer = Some(command.and_then(|command| obey(command, self.at)));
        }
    }
}

impl Gate {
    /// The number of the last tick, if there was one.
    fn last(&self) -> Option<u64> {
        self.sequence.checked_sub(1)
    }

    /// Takes what somebody says, on a tick of its own; `None` if nothing is taken any more.
    fn say(&mut self, said: &Arc<Said>, join: &mut Join<'_>) -> Option<Tick> {
        if self.finished {
            return None;
        }
        self.turns.push(Turn::Said(said.text.clone(), said.at));
        self.hear(Arc::clone(said));
        Some(self.cut(join))
    }

    /// The tick in the making has it; it goes by the time at which it was said.
    pub(super) fn hear(&mut self, said: Arc<Said>) {
        self.clock = self.clock.max(said.at);
        self.said = Some(said);
        self.length += 1;
    }
}

impl Job {
    /// Takes what somebody says: the number of its tick, and what can be done then.
    fn say(&self, said: &Arc<Said>) -> Option<(u64, Vec<Ready>)> {
        let mut gate = lock(&self.gate);
        // It comes after the time that has passed without it.
        let passed = gate.pass_time(steady_clock(), &mut |at, parts| self.join(at, parts));
        let tick = gate.say(said, &mut |at, parts| self.join(at, parts));
        let sequence = tick.as_ref().map(|tick| tick.sequence);
        let ticks = self.write(passed.into_iter().chain(tick).collect());
        drop(gate);
        self.stirred.notify_one();
        let ready = self.start(ticks);
        sequence.map(|sequence| (sequence, ready))
    }
}

impl Shared {
    async fn say(&self, command: &Command) -> Option<Answer> {
        let text = match serde_json::to_string(command) {
            Ok(text) => text,
            Err(e) => return Some(Err(e.to_string())),
        };
        // What came before a crash is repeated first, as it came.
        while lock(&self.job.gate).repeats() && !self.over.load(Ordering::Acquire) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let said = Said::new(text, wall_clock());
        let (sequence, ready) = self.job.say(&said)?;
        self.hand_out(ready);
        let answer = match self.until_durable(sequence).await {
            true => lock(&said.answer).take(),
            false => Some(Err("the run ended before that was part of a checkpoint; see whether it holds".to_owned())),
        };
        Some(answer.unwrap_or_else(|| Err("no step of this pipeline tells anybody of alerts".to_owned())))
    }
}

impl Handle {
    /// Has a checkpoint made of what has come so far, if none has it, and waits for it.
    pub async fn settle(&self) {
        let last = lock(&self.shared.job.gate).last();
        if let Some(last) = last {
            self.shared.until_durable(last).await;
        }
    }

    /// Says something to the step that tells people of alerts: what came of it, once it is part of a checkpoint. `None` if this
    /// run takes nothing (any more): one whose input ends is not told, so that it stays what its input makes it.
    pub async fn say(&self, command: &Command) -> Option<Answer> {
        let is_live = lock(&self.shared.job.gate).is_live();
        if is_live { self.shared.say(command).await } else { None }
    }
}
