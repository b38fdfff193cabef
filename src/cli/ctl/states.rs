//! What the steps of a pipeline of `serve` keep: read and changed over its API.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cli::output::Unread;
use crate::cli::state::{States, What, answer, check};
use crate::service::client::Client;
use crate::service::states::{Checked, Each, StepKept};

use super::{Id, encoded, of, query, read, refused, unlike};

/// Options of `ctl state`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// A pipeline, by its file without `.yaml`.
    #[arg(value_name = "PIPELINE", required = true)]
    pipeline: Option<String>,
    #[command(flatten)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// Read everything and say whether it is what was written.
    Check(Id),
}

/// A line of what a step keeps.
#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// Shows, exports, checks or deletes what is kept.
pub fn run(args: &Args, client: &Client) -> u8 {
    match &args.verb {
        Some(Verb::Check(id)) => check(&id.id, id, client).unwrap_or_else(|code| code),
        // Without a verb the command line has a pipeline.
        None => answer(&args.what, &Id { id: args.pipeline.clone().unwrap_or_default() }, client),
    }
}

impl States<Id> for Client {
    fn steps(&self, id: &Id) -> Result<Vec<StepKept>, u8> {
        read(self, &of(id, "/state?count=true"))
    }

    fn rows(&self, id: &Id, step: &str, key: Option<&str>, each: Each<'_>) -> Result<(), Unread> {
        let path = of(id, &format!("/state/{}/rows{}", encoded(step), query(&[("key", key)])));
        let mut take = |line: &str| {
            let row: Row<'_> = serde_json::from_str(line).map_err(|_| unlike(&path).0)?;
            each(row.key.get(), row.value.get())
        };
        self.lines(&path, &mut take).map_err(|why| Unread::Why(why.0))
    }

    fn forget(&self, id: &Id, step: &str, key: &str) -> Result<bool, u8> {
        let path = of(id, &format!("/state/{}{}", encoded(step), query(&[("key", Some(key))])));
        let answer = self.json("DELETE", &path, None).map_err(|why| refused(&why))?;
        answer.get("forgotten").and_then(Value::as_bool).ok_or_else(|| refused(&unlike(&path)))
    }

    fn check(&self, id: &Id) -> Result<Checked, u8> {
        read(self, &of(id, "/state-check"))
    }
}
