//! `millstream infer`: the `schema:` of a source, from data.

use crate::base::limit;
use crate::data::format::Format;
use crate::inspect::fields::{self, Seen};
use crate::inspect::{records, spelling};

use super::data::{As, Data};
use super::exit;
use super::load::{print, say};

/// Options of `infer`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    data: Data,
    /// How many events are looked at, from the first: a number or `all`.
    #[arg(long, value_name = "N", default_value = "100000", value_parser = sample)]
    sample: Sample,
    /// How the schema is written.
    #[arg(long = "as", value_name = "FORM", value_enum, default_value_t = As::Yaml)]
    form: As,
}

/// So many events, or all.
#[derive(Clone, Copy, Debug)]
struct Sample(Option<u64>);

fn sample(text: &str) -> Result<Sample, String> {
    match text.parse::<u64>() {
        _ if text == "all" => Ok(Sample(None)),
        Ok(n) if n > 0 => Ok(Sample(Some(n))),
        _ => Err("write a number of events, or `all`".into()),
    }
}

/// Writes the schema of what is read.
pub fn run(args: &Args) -> u8 {
    let stream = match args.data.open() {
        Ok(stream) => stream,
        Err(why) => {
            say(&format!("error: {why}"));
            return exit::USAGE;
        }
    };
    let format = args.data.format();
    let mut seen = Seen::default();
    let told = match records::read(stream, &format, args.sample.0, |record, event| seen.look(record, &event)) {
        Ok(told) => told,
        Err(error) => {
            say(&format!("error: {}", args.data.unreadable(&error)));
            return exit::FAILED;
        }
    };
    args.data.tell(&told);
    let others = told.events - seen.objects();
    if others > 0 {
        let (events, are) =
            (spelling::counted(others, "event"), if others == 1 { "is no object" } else { "are no objects" });
        say(&format!("warning: {events} {are}, and so without fields"));
    }
    let guesses = matches!(&format, Format::Logfmt(_)) || matches!(&format, Format::Csv(csv) if csv.infer);
    let Some(schema) = seen.schema(guesses) else {
        let most = limit::FIELDS.min(fields::MEMBERS);
        say(&match seen.objects() {
            0 => "error: no event has a field, so there is no schema to write".to_owned(),
            _ => format!("error: the events have more than {most} different fields, which is a table and no record"),
        });
        return exit::FAILED;
    };
    match args.form {
        As::Yaml => print(&fields::block(&schema, &seen)),
        As::Json => print(&format!("{}\n", serde_json::json!({ "schema": fields::as_json(&schema) }))),
    }
}
