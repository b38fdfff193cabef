//! `millstream dead-letters`: the rows that nobody could take. Each verb is the same beside a run and as one of `ctl`.

mod beside;

use std::path::PathBuf;

use crate::base::system::reason;
use crate::base::time::{Timestamp, parse_rfc3339};
use crate::inspect::spelling::counted;
use crate::service::letters::{Sent, as_json};
use crate::store::rows::{Cause, Origin};
use crate::store::state::{Filter, Letter};

use super::exit;
use super::load::{print, say};
use super::output::{Format, Output, Unread};
use super::state_path::failed;
use super::table::{Align, printable, shortened, size, table};

/// How much of a reason is shown in a list.
const SHOWN: usize = 80;

/// Options of `dead-letters`.
#[derive(clap::Args, Debug)]
pub struct Args<Of: clap::Args> {
    #[command(subcommand)]
    verb: Verb<Of>,
}

#[derive(clap::Subcommand, Debug)]
enum Verb<Of: clap::Args> {
    /// List them, the oldest first.
    List(List<Of>),
    /// Show everything about one.
    Show(Show<Of>),
    /// Write them as JSON objects, a line each.
    Export(Export<Of>),
    /// Send them again: each enters at the entry that refused it. A pipeline that is running pauses for it.
    Retry(Retry<Of>),
    /// Take them away. A pipeline that is running pauses for it.
    Purge(Purge<Of>),
}

/// Which dead letters.
#[derive(clap::Args, Debug)]
struct Which {
    /// Only those that came to this entry.
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Only those of this cause.
    #[arg(long, value_enum)]
    cause: Option<CauseName>,
    /// Only those whose reason has this text in it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those kept at this time or later.
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Timestamp>,
    /// Only those kept before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    before: Option<Timestamp>,
}

/// Why a row is a dead letter.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum CauseName {
    /// It could not be processed.
    Error,
    /// It came too late.
    Late,
}

impl Which {
    fn filter(&self) -> Filter {
        let cause = |name| match name {
            CauseName::Error => Cause::Error,
            CauseName::Late => Cause::Late,
        };
        Filter {
            ids: None,
            entry: self.entry.clone(),
            cause: self.cause.map(cause),
            reason: self.reason.clone(),
            since: self.since.map(|at| at.0),
            before: self.before.map(|at| at.0),
        }
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    parse_rfc3339(text.as_bytes()).ok_or_else(|| "write a time as 2026-01-31T12:00:00Z".into())
}

#[derive(clap::Args, Debug)]
struct List<Of: clap::Args> {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    which: Which,
    /// Go on after the one of this number.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    after: u64,
    /// How many are listed.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// How they are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(clap::Args, Debug)]
struct Show<Of: clap::Args> {
    #[command(flatten)]
    of: Of,
    /// Its number, as `list` shows it.
    #[arg(value_name = "ID")]
    id: u64,
    /// Write the row's bytes as they came, and nothing else.
    #[arg(long)]
    raw: bool,
}

#[derive(clap::Args, Debug)]
struct Export<Of: clap::Args> {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    which: Which,
    /// The file they are written to [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct Purge<Of: clap::Args> {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    which: Which,
    /// Take all of them away.
    #[arg(long, conflicts_with_all = ["entry", "cause", "reason", "since", "before"])]
    all: bool,
    /// Only say how many there are to take away.
    #[arg(long)]
    dry_run: bool,
}

/// Options of `dead-letters retry`.
#[derive(clap::Args, Debug)]
struct Retry<Of: clap::Args> {
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    which: Which,
    /// Only the one of this number; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<u64>,
    /// Only say what would come of it.
    #[arg(long)]
    dry_run: bool,
}

/// Beside the dead letters that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// There are more of them.
    pub more: bool,
    /// How many went: there were too many, or they were too old.
    pub let_go: u64,
}

/// Takes dead letters one by one.
pub type Each<'a> = &'a mut dyn FnMut(Letter) -> Result<(), String>;

/// Who has the dead letters of a pipeline. Errors that are codes were said.
pub trait Letters<Of: clap::Args> {
    /// Hands out those of a filter that come after a number, so many at most, the oldest first.
    fn each(&self, of: &Of, filter: &Filter, page: (u64, usize), each: Each<'_>) -> Result<Rest, Unread>;
    /// Takes those of a filter away; `dry` only counts them.
    fn purge(&self, of: &Of, filter: &Filter, dry: bool) -> Result<u64, u8>;
    /// Sends those of a filter again; `dry` only says what would come of it.
    fn retry(&self, of: &Of, filter: &Filter, dry: bool) -> Result<Sent, u8>;
}

/// Lists, shows, exports, sends again or purges.
pub fn run<Of: clap::Args>(args: &Args<Of>, letters: &dyn Letters<Of>) -> u8 {
    let done = match &args.verb {
        Verb::List(list) => self::list(list, letters),
        Verb::Show(show) => self::show(show, letters),
        Verb::Export(export) => self::export(export, letters),
        Verb::Retry(retry) => self::retry(retry, letters),
        Verb::Purge(purge) => self::purge(purge, letters),
    };
    done.unwrap_or_else(|code| code)
}

fn list<Of: clap::Args>(args: &List<Of>, letters: &dyn Letters<Of>) -> Result<u8, u8> {
    let filter = args.which.filter();
    let mut found = Vec::new();
    let mut take = |letter| {
        found.push(letter);
        Ok(())
    };
    let rest = letters.each(&args.of, &filter, (args.after, args.limit as usize), &mut take).map_err(Unread::said)?;
    if args.format != Format::Text {
        let rows: Vec<serde_json::Value> = found.iter().map(as_json).collect();
        return Ok(print(&args.format.rows(&rows, |_| String::new())));
    }
    if found.is_empty() {
        let which = match () {
            () if args.after > 0 => "no more dead letters\n",
            () if filter == Filter::default() => "no dead letters\n",
            () => "no such dead letters\n",
        };
        return Ok(print(&format!("{which}{}", let_go(rest))));
    }
    let mut text = table(&COLUMNS, &found.iter().map(cells).collect::<Vec<_>>());
    if let (true, Some(last)) = (rest.more, found.last()) {
        text.push_str(&format!("there are more: `--after {}` goes on\n", last.id));
    }
    text.push_str(&let_go(rest));
    Ok(print(&text))
}

const COLUMNS: [(&str, Align); 5] = [
    ("id", Align::Right),
    ("kept", Align::Left),
    ("entry", Align::Left),
    ("cause", Align::Left),
    ("reason", Align::Left),
];

fn cells(letter: &Letter) -> Vec<String> {
    let row = &letter.letter;
    let reason = shortened(&row.reason, SHOWN);
    vec![letter.id.to_string(), at(letter), row.entry.clone(), row.cause.word().to_owned(), reason]
}

fn at(letter: &Letter) -> String {
    Timestamp(letter.at).to_string()
}

/// What is said of those that went; nothing if none did.
fn let_go(rest: Rest) -> String {
    match rest.let_go {
        0 => String::new(),
        went => format!("{} went before: there were too many, or they were too old\n", counted(went, "dead letter")),
    }
}

fn show<Of: clap::Args>(args: &Show<Of>, letters: &dyn Letters<Of>) -> Result<u8, u8> {
    let filter = Filter { ids: Some(vec![args.id]), ..Filter::default() };
    let mut found = None;
    let mut take = |letter| {
        found = Some(letter);
        Ok(())
    };
    letters.each(&args.of, &filter, (args.id.saturating_sub(1), 1), &mut take).map_err(Unread::said)?;
    let Some(letter) = found else { return Err(failed(&format!("there is no dead letter {}", args.id))) };
    let row = &letter.letter;
    if args.raw {
        return Ok(raw(&row.original));
    }
    let place = if row.place.is_empty() { "-" } else { &row.place };
    let time = row.time.map_or_else(|| "-".to_owned(), |at| Timestamp(at).to_string());
    let lines = [
        ("entry", row.entry.clone()),
        ("cause", row.cause.word().to_owned()),
        ("reason", printable(&row.reason)),
        ("place", printable(place)),
        ("time", time),
        ("kept", format!("{} (run {}, checkpoint {})", at(&letter), letter.run, letter.epoch)),
        ("row", format!("{}{}", size(row.original.len() as u64), what(row.origin))),
    ];
    let mut text: String = lines.iter().map(|(name, value)| format!("{name:<8}{value}\n")).collect();
    text.push_str(
        &String::from_utf8_lossy(&row.original).lines().map(|l| format!("{}\n", printable(l))).collect::<String>(),
    );
    Ok(print(&text))
}

/// What the kept row is, where that is not plain.
fn what(origin: Origin) -> &'static str {
    match origin {
        Origin::Unknown | Origin::Row => "",
        Origin::Left => ", of the join's left side",
        Origin::Right => ", of the join's right side",
        Origin::Record => ", a record as it came",
        Origin::Part => ", the beginning of a record",
        Origin::Made => ", made by the entry itself",
    }
}

fn raw(bytes: &[u8]) -> u8 {
    use std::io::Write as _;
    match std::io::stdout().write_all(bytes) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            failed(&format!("standard output cannot be written: {}", reason(&e)))
        }
        _ => exit::OK,
    }
}

fn export<Of: clap::Args>(args: &Export<Of>, letters: &dyn Letters<Of>) -> Result<u8, u8> {
    let mut output = Output::open(args.output.as_deref()).map_err(|why| failed(&why))?;
    let mut written = 0;
    let mut take = |letter| {
        written += 1;
        output.line(&as_json(&letter).to_string())
    };
    let read = match letters.each(&args.of, &args.which.filter(), (0, usize::MAX), &mut take) {
        Err(Unread::Said(code)) => return Err(code),
        Err(Unread::Why(why)) => Err(why),
        Ok(_) => Ok(()),
    };
    let code = output.end(read);
    if let (Some(path), exit::OK) = (&args.output, code) {
        say(&format!("wrote {} to {}", counted(written, "dead letter"), path.display()));
    }
    Ok(code)
}

/// Sends dead letters again. What a receiver refuses again is a dead letter again, whoever reads the sink's `.errors`.
fn retry<Of: clap::Args>(args: &Retry<Of>, letters: &dyn Letters<Of>) -> Result<u8, u8> {
    let mut filter = args.which.filter();
    if !args.ids.is_empty() {
        filter.ids = Some(args.ids.clone());
    }
    let Sent { text, dead } = letters.retry(&args.of, &filter, args.dry_run)?;
    Ok(match (print(&text), dead) {
        (exit::OK, 1..) => exit::FAILED,
        (code, _) => code,
    })
}

fn purge<Of: clap::Args>(args: &Purge<Of>, letters: &dyn Letters<Of>) -> Result<u8, u8> {
    let filter = args.which.filter();
    if !args.all && filter == Filter::default() {
        say("error: say which dead letters go (`--entry`, `--cause`, `--reason`, `--since`, `--before`), or `--all`");
        return Err(exit::USAGE);
    }
    let purged = counted(letters.purge(&args.of, &filter, args.dry_run)?, "dead letter");
    Ok(print(&if args.dry_run { format!("{purged} would go\n") } else { format!("{purged} purged\n") }))
}
