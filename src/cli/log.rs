//! What is told on standard error of how things go inside: text on a terminal, otherwise JSON of a process that runs for
//! months, and text of a verb.

use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::service::levels::Levels;

/// Names what is told: `debug` tells each checkpoint. Without it a verb tells only when peers come and go: who is told that
/// one is not there wants to know when it is back.
const LOG: &str = "MILLSTREAM_LOG";
/// What a verb tells.
const OF_VERB: &str = "millstream=warn,millstream::connectors=info";
/// What a process that runs for months tells.
const OF_SERVE: &str = "millstream=info";

/// The levels of this process.
pub struct Log {
    handle: reload::Handle<EnvFilter, Registry>,
    now: Mutex<String>,
}

/// Begins to tell, as the environment asks for.
pub fn begin(serves: bool) -> Log {
    let levels = std::env::var(LOG).unwrap_or_else(|_| if serves { OF_SERVE } else { OF_VERB }.to_owned());
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&levels));
    let terminal = std::io::stderr().is_terminal();
    let told = tracing_subscriber::fmt::layer().with_ansi(terminal).with_writer(std::io::stderr);
    let told =
        if serves && !terminal { told.json().flatten_event(true).with_span_list(false).boxed() } else { told.boxed() };
    tracing_subscriber::registry().with(filter).with(told).init();
    Log { handle, now: Mutex::new(levels) }
}

impl Levels for Log {
    fn get(&self) -> String {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, levels: &str) -> Result<(), String> {
        let wrong = |e: &dyn std::fmt::Display| {
            format!("`{levels}` names no levels: {e}; write `info`, or `millstream=info,millstream::connectors=debug`")
        };
        // A word alone would be the name of something to tell of, and everything else is silent then.
        for word in levels.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ':', '_'])) {
            let wrong = |_| format!("`{word}` is no level; write `error`, `warn`, `info`, `debug`, `trace` or `off`");
            word.parse::<LevelFilter>().map_err(wrong)?;
        }
        let filter = EnvFilter::try_new(levels).map_err(|e| wrong(&e))?;
        self.handle.reload(filter).map_err(|e| wrong(&e))?;
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = levels.to_owned();
        Ok(())
    }
}
