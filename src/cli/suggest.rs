//! `millstream suggest`: proposals for a pipeline, from data.

use std::fmt::Write as _;

use crate::data::format::TimeFormat;
use crate::data::value::Value;
use crate::inspect::disorder::Measured;
use crate::inspect::spelling::{count, counted, length, share};
use crate::inspect::times::{self, Candidate, Measuring, SAMPLE, Strange, Unreadable};
use crate::inspect::{records, spelling};

use super::data::{As, Data};
use super::exit;
use super::load::{print, say};

/// Options of `suggest`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// Find the field that holds the events' time, how it is read and how far events are out of order, and propose
    /// `time:` of a source. What is found stands in comments, so that all of it can be pasted.
    Time(Time),
}

/// Options of `suggest time`.
#[derive(clap::Args, Debug)]
struct Time {
    #[command(flatten)]
    data: Data,
    /// Look at this field alone: a name, or a path like `site.ts`.
    #[arg(long, value_name = "FIELD")]
    field: Option<String>,
    /// How the proposal is written.
    #[arg(long = "as", value_name = "FORM", value_enum, default_value_t = As::Yaml)]
    form: As,
}

/// Writes what was asked for.
pub fn run(args: &Args) -> u8 {
    let What::Time(args) = &args.what;
    let stream = match args.data.open() {
        Ok(stream) => stream,
        Err(why) => {
            say(&format!("error: {why}"));
            return exit::USAGE;
        }
    };
    let mut search = Search { only: args.field.as_deref(), sample: Vec::new(), found: None, unreadable: None };
    let told = match records::read(stream, &args.data.format(), None, |record, event| search.look(record, event)) {
        Ok(told) => told,
        Err(error) => {
            say(&format!("error: {}", args.data.unreadable(&error)));
            return exit::FAILED;
        }
    };
    let (found, unreadable) = search.finish();
    args.data.tell(&told);
    if found.is_empty() {
        say(&match &args.field {
            Some(field) => nothing_of(field, unreadable.as_ref()),
            None => {
                "error: of no field do nine of ten values read as times; `--field NAME` shows how many of one do. Without `time:` an \
                 event's time is when it arrives"
                    .to_owned()
            }
        });
        return exit::FAILED;
    }
    match args.form {
        As::Yaml => print(&report(&found)),
        As::Json => print(&format!("{}\n", as_json(&found))),
    }
}

/// Events until there are enough to find the fields; from then on these are measured.
struct Search<'a> {
    only: Option<&'a str>,
    /// With which records of the stream they are.
    sample: Vec<(u64, Value)>,
    found: Option<Vec<(Candidate, Measuring)>>,
    /// What is in the only field that is asked for, if it is no time.
    unreadable: Option<Unreadable>,
}

/// A field with what was measured of it.
struct Found {
    candidate: Candidate,
    measured: Measured,
    without: u64,
    strange: Strange,
}

impl Search<'_> {
    fn look(&mut self, record: u64, event: Value) {
        match &mut self.found {
            Some(found) => found.iter_mut().for_each(|(_, measuring)| measuring.add(record, &event)),
            None => {
                self.sample.push((record, event));
                if self.sample.len() >= SAMPLE {
                    self.choose();
                }
            }
        }
    }

    fn choose(&mut self) {
        let (records, sample): (Vec<u64>, Vec<Value>) = std::mem::take(&mut self.sample).into_iter().unzip();
        let with = |candidate: Candidate| Some((candidate.clone(), Measuring::new(&candidate).ok()?));
        let mut found: Vec<_> = times::candidates(&sample, self.only).into_iter().filter_map(with).collect();
        for (record, event) in records.into_iter().zip(&sample) {
            found.iter_mut().for_each(|(_, measuring)| measuring.add(record, event));
        }
        if let (true, Some(only)) = (found.is_empty(), self.only) {
            self.unreadable = times::unreadable(&sample, only);
        }
        self.found = Some(found);
    }

    fn finish(mut self) -> (Vec<Found>, Option<Unreadable>) {
        if self.found.is_none() {
            self.choose();
        }
        let measured = |(candidate, measuring): (Candidate, Measuring)| {
            let Measuring { disorder, without, strange, .. } = measuring;
            Some(Found { candidate, measured: disorder.measured()?, without, strange })
        };
        (self.found.into_iter().flatten().filter_map(measured).collect(), self.unreadable)
    }
}

/// Why there is nothing to propose of the field that was asked for.
fn nothing_of(field: &str, unreadable: Option<&Unreadable>) -> String {
    match unreadable {
        Some(Unreadable { values, first }) => {
            let values = counted(*values, "value");
            format!("error: `{field}`: 0 of {values} read as times; the first: `{first}`")
        }
        None => format!("error: no event has a number or a text in `{field}`"),
    }
}

/// How many values of a field read, where some do not: `50 of 51 read; the first that does not: `x` (row 7)`.
fn partly(found: &Found) -> Option<String> {
    let (first, row) = found.strange.first.as_ref()?;
    let all = found.measured.events + found.strange.values;
    Some(format!(
        "`{}`: {} of {} read; the first that does not: `{first}` (row {})",
        found.candidate.field,
        count(found.measured.events),
        count(all),
        count(*row)
    ))
}

/// The report and the proposal: comments, then `time:`.
fn report(found: &[Found]) -> String {
    let mut text = String::new();
    let Some((best, others)) = found.split_first() else { return text };
    let _ = writeln!(text, "# {}: {}", best.candidate.field, best.candidate.reasons.join(", "));
    for line in about(best) {
        let _ = writeln!(text, "{}", format!("# {line}").trim_end());
    }
    for other in others {
        let lag = match other.measured.most() {
            0 => "in order".to_owned(),
            most => format!("up to {} out of order", length(most)),
        };
        let _ = writeln!(text, "# or {}: {}, {lag}", other.candidate.field, other.candidate.reasons.join(", "));
        text.extend(partly(other).map(|partly| format!("#   {partly}\n")));
    }
    let _ = writeln!(text, "time:\n  field: {}", yaml_text(&best.candidate.field));
    if let TimeFormat::Pattern(pattern) = &best.candidate.format {
        let _ = writeln!(text, "  format: {}", spelling::quoted(pattern));
    }
    if best.measured.enough() > 0 {
        let _ = writeln!(text, "  out_of_order: {}", length(best.measured.enough()));
    }
    text
}

/// An expression as a plain YAML value where it begins like one.
fn yaml_text(text: &str) -> String {
    // Paths and `a + " " + b` hold nothing that YAML takes apart but what stands in quotes.
    if text.contains(": ") || text.contains(" #") { format!("'{}'", text.replace('\'', "''")) } else { text.to_owned() }
}

/// What there is to say of a field's times.
fn about(found: &Found) -> Vec<String> {
    let m = &found.measured;
    let mut lines: Vec<String> = partly(found).into_iter().collect();
    if found.strange.far > 0 {
        lines.push(format!(
            "{} would be read as a time before 1990 or after 2100, and so be late or make others late; not in what follows",
            counted(found.strange.far, "number")
        ));
    }
    lines.push(format!("from {} to {}", m.span.0, m.span.1));
    if found.without > 0 {
        lines.push(format!(
            "{} {} no time that can be read; {} would go to `.errors`",
            counted(found.without, "event"),
            if found.without == 1 { "has" } else { "have" },
            if found.without == 1 { "it" } else { "they" }
        ));
    }
    if m.step > 0 {
        lines.push(format!(
            "from one time to the next: median {}, at most {} (after {})",
            length(m.step),
            length(m.gap.0),
            m.gap.1
        ));
    }
    if m.lags.is_empty() {
        lines.push("no event comes behind a later one".into());
        return lines;
    }
    let late = m.lags.len() as u64;
    lines.push(format!(
        "{} of {} come behind a later one ({}), by at most {}",
        count(late),
        counted(m.events, "event"),
        share(late, m.events),
        length(m.most())
    ));
    let quantiles = [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)];
    let quantiles = quantiles.map(|(name, per_mille)| format!("{name} {}", length(m.quantile(per_mille))));
    lines.push(format!("lag: {}, max {}", quantiles.join(", "), length(m.most())));
    lines.push(String::new());
    lines.push(format!("{:>12}  {:>12}  {:24}  {}", "lag up to", "events", "", "late with this out_of_order"));
    let bars = m.bars();
    let longest = bars.iter().map(|(_, n)| *n).max().unwrap_or(1).max(1);
    for ((bound, events), (_, late)) in bars.iter().zip(m.choices()) {
        // The scale is logarithmic: what is rare decides.
        let width =
            if *events == 0 { 0.0 } else { 1.0 + 23.0 * (*events as f64).ln() / (longest as f64).ln().max(1.0) };
        let bar = "#".repeat(width as usize);
        lines.push(format!("{:>12}  {:>12}  {bar:24}  {}", length(*bound), count(*events), share(late, m.events)));
    }
    lines.push(String::new());
    lines
}

fn as_json(found: &[Found]) -> serde_json::Value {
    let seconds = |micros: i64| micros as f64 / 1e6;
    let one = |found: &Found| {
        let m = &found.measured;
        let choices: Vec<serde_json::Value> = m
            .choices()
            .iter()
            .map(|(bound, late)| serde_json::json!({ "out_of_order": length(*bound), "late": late }))
            .collect();
        let format = match &found.candidate.format {
            TimeFormat::Pattern(pattern) => pattern.as_str(),
            _ => "auto",
        };
        serde_json::json!({
            "field": found.candidate.field,
            "format": format,
            "out_of_order": length(m.enough()),
            "reasons": found.candidate.reasons,
            "events": m.events,
            "without_time": found.without,
            "unread": found.strange.values,
            "first_unread": found.strange.first.as_ref().map(|(value, row)| serde_json::json!({ "value": value, "row": row })),
            "from": m.span.0.to_string(),
            "to": m.span.1.to_string(),
            "behind": m.lags.len(),
            "lag_seconds": {
                "p50": seconds(m.quantile(500)),
                "p90": seconds(m.quantile(900)),
                "p99": seconds(m.quantile(990)),
                "p99.9": seconds(m.quantile(999)),
                "max": seconds(m.most()),
            },
            "late": choices,
        })
    };
    serde_json::json!({ "candidates": found.iter().map(one).collect::<Vec<_>>() })
}
