//! Source `millstream`: how the pipelines of this process go, a row of each now and then.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::journalled::{NotTaken, Producer, journalled};
use super::live::brought_to;
use super::written::Duration;
use crate::base::diag::{Diagnostic, Diagnostics};
use crate::base::promise::Replay;
use crate::base::time::TimeSpan;
use crate::base::tree::Node;
use crate::connector::{CheckContext, OpenContext, Opened, Reach, SourceConnector, SourceError, board};
use crate::store::journal::Journal;

/// From one look to the next where nothing is written.
const EVERY: TimeSpan = TimeSpan::seconds(10);
/// The shortest.
const EVERY_LEAST: TimeSpan = TimeSpan(100_000);

/// The source `millstream`.
pub struct OwnSource;

/// How the pipelines of `serve` go: now and then a row of each, for alerts about Millstream itself. Fields: `pipeline`, `phase`,
/// `well` (it runs, or is complete or stopped as it should be), `why`, `restarts`, `refused` (changed files), `rate` (rows a
/// second), `taken`, `late`, `failed`, `dead`, `lag` and `checkpoint_age` (seconds), `disconnected` (a list of sources and
/// sinks), `waiting` (rows that sinks have not sent yet).
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// From one look to the next. Default: `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Duration>,
}

impl SourceConnector for OwnSource {
    const NAME: &'static str = "millstream";
    const JSON: bool = true;
    type Options = Options;

    fn reach(_: &Options) -> Reach {
        Reach::nothing()
    }

    fn check(options: &Options, node: &Node, _: &CheckContext, found: &mut Diagnostics) {
        if options.every.is_some_and(|every| every.0 < EVERY_LEAST) {
            let span = node.get("every").unwrap_or(node).span.clone();
            let wrong = Diagnostic::error("bad-value", "`every` is at least 100ms", Some(span));
            found.push(wrong.help("write `10s`, or leave it out"));
        }
    }

    fn bounded(_: &Options) -> bool {
        false
    }

    fn replay(_: &Options) -> Replay {
        Replay::Taken
    }

    fn open(options: Options, context: OpenContext) -> Result<Opened, SourceError> {
        let failed = |message: String| SourceError { message };
        if board::rows().is_none() {
            return Err(failed("only `millstream serve` has pipelines to tell of; this is not one".to_owned()));
        }
        let journal = Journal::shared(&context.journal).map_err(|e| failed(e.message().to_owned()))?;
        let (producer, partition) = journalled(&journal, &context.name, "")?;
        let telling = Arc::new(Telling { every: options.every.map_or(EVERY, |every| every.0), producer });
        let work = move || {
            let telling = Arc::clone(&telling);
            async move { telling.tell().await }
        };
        Ok(vec![brought_to(partition, "own rows", work)].into())
    }
}

struct Telling {
    every: TimeSpan,
    producer: Producer,
}

impl Telling {
    async fn tell(&self) {
        let mut tick = tokio::time::interval(self.every.to_std());
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tick.tick().await;
            let (mut bytes, mut ends) = (Vec::new(), Vec::new());
            for row in board::rows().unwrap_or_default() {
                bytes.extend_from_slice(&row);
                ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            }
            if ends.is_empty() {
                continue;
            }
            match self.producer.offer(bytes, ends).await {
                Ok(_) => {}
                Err(NotTaken::Refused(why)) => {
                    tracing::error!(why, "how pipelines go is not told any more");
                    return;
                }
                Err(NotTaken::Unknown) => return,
            }
        }
    }
}
