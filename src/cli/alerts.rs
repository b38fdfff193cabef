//! What alerts do: `alerts`, `silence`, `ack` and `why-not`; `why alert` is in [`super::why`]. Each verb is the same beside a
//! run, where it reads and changes the state, and as one of `ctl`, where a `serve` is asked.

mod beside;
pub mod shown;

use serde_json::Value;

use crate::alert::policy::Matcher;
use crate::base::time::{TimeSpan, Timestamp, parse_rfc3339};
use crate::engine::run::wall_clock;
use crate::service::alerts::known::{Way, key_of};

use super::load::{print, say};
use super::output::Format;
use super::state_path::failed;

/// Options of `alerts`.
#[derive(clap::Args, Debug)]
pub struct Args<Of: clap::Args> {
    #[command(flatten)]
    of: Of,
    /// Show what happened, the newest last, instead of what fires.
    #[arg(long)]
    history: bool,
    /// Only of this alert.
    #[arg(long, value_name = "NAME")]
    alert: Option<String>,
    /// How much is shown of what happened.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Options of `silence`.
#[derive(clap::Args, Debug)]
pub struct SilenceArgs<Of: clap::Args> {
    #[command(subcommand)]
    verb: SilenceVerb<Of>,
}

#[derive(clap::Subcommand, Debug)]
enum SilenceVerb<Of: clap::Args> {
    /// Tell nobody of what fires and has these labels.
    Add(Add<Of>),
    /// Show the silences that hold.
    List(List<Of>),
    /// End a silence: what it kept back and still fires is told.
    Expire(Expire<Of>),
}

/// Options of `silence add`.
#[derive(clap::Args, Debug)]
pub struct Add<Of: clap::Args> {
    #[command(flatten)]
    pub(super) of: Of,
    /// What labels must be: `alertname=overheating`, `device_id=~"a.*"`, `severity!=critical`.
    #[arg(value_name = "MATCHER", required = true, value_parser = Matcher::parse)]
    pub(super) matchers: Vec<Matcher>,
    /// For how long.
    #[arg(long = "for", value_name = "SPAN", default_value = "2h", value_parser = TimeSpan::parse)]
    pub(super) span: TimeSpan,
    /// Until when, instead.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) until: Option<Timestamp>,
    #[command(flatten)]
    pub(super) by: By,
    #[command(flatten)]
    pub(super) why: Why,
}

#[derive(clap::Args, Debug)]
struct List<Of: clap::Args> {
    #[command(flatten)]
    of: Of,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(clap::Args, Debug)]
struct Expire<Of: clap::Args> {
    #[command(flatten)]
    of: Of,
    /// As `silence list` names it.
    #[arg(value_name = "SILENCE")]
    id: String,
    #[command(flatten)]
    by: By,
}

/// Who says it.
#[derive(clap::Args, Debug)]
pub struct By {
    /// Who says so [default: you; to a `serve` with a token, whose token it is].
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

/// Why it is said.
#[derive(clap::Args, Debug)]
pub struct Why {
    /// Why.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) comment: String,
}

/// Options of `ack`.
#[derive(clap::Args, Debug)]
pub struct AckArgs<Of: clap::Args> {
    #[command(flatten)]
    pub(super) which: Which<Of>,
    /// Tell it again after so long nevertheless.
    #[arg(long = "for", value_name = "SPAN", value_parser = TimeSpan::parse)]
    pub(super) span: Option<TimeSpan>,
    #[command(flatten)]
    pub(super) by: By,
    #[command(flatten)]
    pub(super) why: Why,
}

/// An alert and a key.
#[derive(clap::Args, Debug)]
pub struct Which<Of: clap::Args> {
    #[command(flatten)]
    pub(super) of: Of,
    /// The alert.
    #[arg(value_name = "NAME")]
    pub(super) alert: String,
    /// The key: a text, or JSON: `{"device_id": "a", "site": "x"}`. Left out: the alert has none, or to acknowledge all.
    #[arg(value_name = "KEY")]
    pub(super) key: Option<String>,
}

/// Options of `why-not`.
#[derive(clap::Args, Debug)]
pub struct WhyNotArgs<Of: clap::Args> {
    #[command(flatten)]
    which: Which<Of>,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

fn time(text: &str) -> Result<Timestamp, String> {
    parse_rfc3339(text.as_bytes()).ok_or_else(|| "write a time as 2026-01-31T12:00:00Z".into())
}

impl By {
    /// Who is named, if anybody is.
    pub(super) fn named(&self) -> Option<String> {
        self.by.clone()
    }

    /// Who is named, or whoever uses this machine.
    pub(super) fn name(&self) -> String {
        let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        self.named().or_else(user).unwrap_or_else(|| "somebody".to_owned())
    }
}

impl<Of: clap::Args> Which<Of> {
    /// The key, if one is named.
    pub(super) fn key(&self) -> Option<Value> {
        self.key.as_deref().map(|key| key_of(Some(key)))
    }
}

/// Rows, and when the checkpoint was made that they are of; before the first one they are of none.
pub struct Seen {
    /// The rows.
    pub rows: Vec<Value>,
    /// When.
    pub as_of: Option<Timestamp>,
}

impl Seen {
    /// Writes them. People are told of when they are, beside what can be read on.
    pub(super) fn write(&self, format: Format, text: impl FnOnce(&[Value]) -> String) -> u8 {
        let code = print(&format.rows(&self.rows, text));
        if format == Format::Text {
            say(&match self.as_of {
                Some(at) => {
                    let seconds = wall_clock().0.saturating_sub(at.0).max(0) / 1_000_000;
                    format!("as of the checkpoint of {at}, {} ago", TimeSpan::seconds(seconds))
                }
                None => "no checkpoint has been made yet: nothing is known".to_owned(),
            });
        }
        code
    }
}

/// Who knows of the alerts of a pipeline, and can change what is told of them. Errors were said: they are exit codes.
pub trait Alerts<Of: clap::Args> {
    /// What is pending and fires.
    fn active(&self, of: &Of, alert: Option<&str>) -> Result<Seen, u8>;
    /// The newest of what happened, the newest last.
    fn history(&self, of: &Of, alert: Option<&str>, most: usize) -> Result<Seen, u8>;
    /// The silences that hold.
    fn silences(&self, of: &Of) -> Result<Seen, u8>;
    /// What led to an alert.
    fn why(&self, which: &Which<Of>) -> Result<Seen, u8>;
    /// How it comes about.
    fn way(&self, which: &Which<Of>) -> Result<Way, u8>;
    /// Why nobody was told.
    fn why_not(&self, which: &Which<Of>) -> Result<Seen, u8>;
    /// Adds a silence: its name as `silence`, `until` when it holds, and how much that fires `matched`.
    fn silence(&self, add: &Add<Of>) -> Result<Value, u8>;
    /// Ends one.
    fn expire(&self, of: &Of, id: &str, by: &By) -> Result<(), u8>;
    /// Notes that somebody knows: `alert`, `keys`, and `by` whom.
    fn acknowledge(&self, ack: &AckArgs<Of>) -> Result<Value, u8>;
}

/// Shows what fires, or what happened.
pub fn run<Of: clap::Args>(args: &Args<Of>, alerts: &dyn Alerts<Of>) -> u8 {
    let alert = args.alert.as_deref();
    let shown = || match args.history {
        true => Ok(alerts.history(&args.of, alert, args.limit)?.write(args.format, shown::history)),
        false => Ok(alerts.active(&args.of, alert)?.write(args.format, shown::active)),
    };
    shown().unwrap_or_else(|code| code)
}

/// Adds, lists and ends silences.
pub fn silence<Of: clap::Args>(args: &SilenceArgs<Of>, alerts: &dyn Alerts<Of>) -> u8 {
    let done = || match &args.verb {
        SilenceVerb::List(list) => Ok(alerts.silences(&list.of)?.write(list.format, shown::silences)),
        SilenceVerb::Add(add) => Ok(print(&shown::silenced(&alerts.silence(add)?))),
        SilenceVerb::Expire(expire) => {
            alerts.expire(&expire.of, &expire.id, &expire.by)?;
            Ok(print(&format!("silence {} has ended\n", expire.id)))
        }
    };
    done().unwrap_or_else(|code| code)
}

/// Notes that somebody knows of an alert.
pub fn ack<Of: clap::Args>(args: &AckArgs<Of>, alerts: &dyn Alerts<Of>) -> u8 {
    let done = alerts.acknowledge(args);
    done.map_or_else(|code| code, |answer| print(&shown::acknowledged(&answer)))
}

/// Says why nobody was told.
pub fn why_not<Of: clap::Args>(args: &WhyNotArgs<Of>, alerts: &dyn Alerts<Of>) -> u8 {
    let said = alerts.why_not(&args.which);
    said.map_or_else(|code| code, |seen| seen.write(args.format, shown::reasons))
}

/// Says what led to an alert.
pub(super) fn why<Of: clap::Args>(which: &Which<Of>, format: Format, alerts: &dyn Alerts<Of>) -> Result<u8, u8> {
    let seen = alerts.why(which)?;
    if seen.rows.is_empty() {
        let key = which.key.as_deref().unwrap_or("no key");
        return Err(failed(&format!("nothing is known of `{}` for `{key}`", which.alert)));
    }
    let way = if format == Format::Text { shown::way(&alerts.way(which)?) } else { String::new() };
    Ok(seen.write(format, |rows| format!("{way}{}", shown::history(rows))))
}
