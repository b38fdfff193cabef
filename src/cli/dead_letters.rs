//! `millstream dead-letters`: the rows that nobody could take.

mod retry;

use std::path::PathBuf;

use crate::base::system::reason;
use crate::base::time::{Timestamp, parse_rfc3339};
use crate::inspect::spelling::counted;
use crate::service::letters::as_json;
use crate::service::open::Opened;
use crate::store::rows::{Cause, Origin};
use crate::store::state::{Filter, Letter, StateReader};

use super::exit;
use super::load::{print, say};
use super::output::Output;
use super::state::open_to_write;
use super::state_path::{Target, failed};
use super::table::{Align, printable, shortened, size, table};

/// How much of a reason is shown in a list.
const SHOWN: usize = 80;

/// Options of `dead-letters`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// List them, the oldest first.
    List(List),
    /// Show everything about one.
    Show(Show),
    /// Write them as JSON objects, a line each.
    Export(Export),
    /// Send them again: each enters at the entry that refused it. A pipeline that is running pauses for it.
    Retry(retry::Args),
    /// Take them away. A pipeline that is running pauses for it.
    Purge(Purge),
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
struct List {
    #[command(flatten)]
    target: Target,
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

/// How they are written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A table for people.
    Text,
    /// A JSON object a line.
    Ndjson,
}

#[derive(clap::Args, Debug)]
struct Show {
    #[command(flatten)]
    target: Target,
    /// Its number, as `list` shows it.
    #[arg(value_name = "ID")]
    id: u64,
    /// Write the row's bytes as they came, and nothing else.
    #[arg(long)]
    raw: bool,
}

#[derive(clap::Args, Debug)]
struct Export {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    which: Which,
    /// The file they are written to [default: standard output].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(clap::Args, Debug)]
struct Purge {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    which: Which,
    /// Take all of them away.
    #[arg(long, conflicts_with_all = ["entry", "cause", "reason", "since", "before"])]
    all: bool,
    /// Only say how many there are to take away.
    #[arg(long)]
    dry_run: bool,
}

/// Lists, shows, exports or purges.
pub fn run(args: &Args) -> u8 {
    let done = match &args.verb {
        Verb::List(list) => self::list(list),
        Verb::Show(show) => self::show(show),
        Verb::Export(export) => self::export(export),
        Verb::Retry(retry) => retry::run(retry),
        Verb::Purge(purge) => self::purge(purge),
    };
    done.unwrap_or_else(|code| code)
}

fn list(args: &List) -> Result<u8, u8> {
    let (_, reader) = args.target.read()?;
    let filter = args.which.filter();
    let mut letters = Vec::new();
    // One more than is shown says whether there are more.
    let most = args.limit as usize;
    let read = reader.each_letter(&filter, args.after, most.saturating_add(1), &mut |letter| {
        letters.push(letter);
        Ok(())
    });
    read.map_err(|e| failed(&e.message))?;
    let more = letters.len() > most;
    letters.truncate(most);
    if args.format == Format::Ndjson {
        let mut output = Output::open(None).map_err(|why| failed(&why))?;
        let done = letters.iter().try_for_each(|letter| output.line(&as_json(letter).to_string()));
        return Ok(output.end(done));
    }
    if letters.is_empty() {
        let which = match () {
            () if args.after > 0 => "no more dead letters\n",
            () if filter == Filter::default() => "no dead letters\n",
            () => "no such dead letters\n",
        };
        return Ok(print(&format!("{which}{}", let_go(&reader))));
    }
    let mut text = table(&COLUMNS, &letters.iter().map(cells).collect::<Vec<_>>());
    if let (true, Some(last)) = (more, letters.last()) {
        text.push_str(&format!("there are more: `--after {}` goes on\n", last.id));
    }
    text.push_str(&let_go(&reader));
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
fn let_go(reader: &StateReader) -> String {
    match reader.letters().let_go {
        0 => String::new(),
        went => format!("{} went before: there were too many, or they were too old\n", counted(went, "dead letter")),
    }
}

fn show(args: &Show) -> Result<u8, u8> {
    let (_, reader) = args.target.read()?;
    let filter = Filter { ids: Some(vec![args.id]), ..Filter::default() };
    let mut found = None;
    let read = reader.each_letter(&filter, args.id.saturating_sub(1), 1, &mut |letter| {
        found = Some(letter);
        Ok(())
    });
    read.map_err(|e| failed(&e.message))?;
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

fn export(args: &Export) -> Result<u8, u8> {
    let (_, reader) = args.target.read()?;
    let mut output = Output::open(args.output.as_deref()).map_err(|why| failed(&why))?;
    let mut written = 0;
    let read = reader.each_letter(&args.which.filter(), 0, usize::MAX, &mut |letter| {
        written += 1;
        output.line(&as_json(&letter).to_string())
    });
    let code = output.end(read.map_err(|e| e.message));
    if let (Some(path), exit::OK) = (&args.output, code) {
        say(&format!("wrote {} to {}", counted(written, "dead letter"), path.display()));
    }
    Ok(code)
}

fn purge(args: &Purge) -> Result<u8, u8> {
    let filter = args.which.filter();
    if !args.all && filter == Filter::default() {
        say("error: say which dead letters go (`--entry`, `--cause`, `--reason`, `--since`, `--before`), or `--all`");
        return Err(exit::USAGE);
    }
    if args.dry_run {
        let (_, reader) = args.target.read()?;
        let mut found = 0;
        let read = reader.each_letter(&filter, 0, usize::MAX, &mut |_| {
            found += 1;
            Ok(())
        });
        read.map_err(|e| failed(&e.message))?;
        return Ok(print(&format!("{} would go\n", counted(found, "dead letter"))));
    }
    let (_, path) = args.target.load()?;
    args.target.exists(&path)?;
    let Opened { pause: _pause, mut file } = open_to_write(&path, &args.target, "dead-letters purge")?;
    let purged = file.purge(&filter).map_err(|e| failed(&e.message))?;
    Ok(print(&format!("{} purged\n", counted(purged, "dead letter"))))
}
