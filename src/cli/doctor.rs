//! `millstream doctor`: whether this machine is fit to run pipelines, and whether what they need is there.

mod machine;
mod pipeline;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::base::time::TimeSpan;
use crate::inspect::spelling::counted;

use super::load::{print, say};
use super::state_path::DataDirectory;
use super::table::{Align, table};
use super::{exit, files};

/// Options of `doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pipeline files, or directories with pipelines below them. Without any, only the machine is looked at.
    #[arg(value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    data: DataDirectory,
    /// How long those whom pipelines talk to have for an answer.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = span)]
    timeout: TimeSpan,
    /// How what is found is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How what is found is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A table, and how to mend what is wrong.
    Text,
    /// One JSON object.
    Json,
}

fn span(text: &str) -> Result<TimeSpan, String> {
    TimeSpan::parse(text)
}

/// What is to be thought of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Warning,
    Wrong,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Wrong => "wrong",
        }
    }
}

/// Something that was looked at.
#[derive(Clone, Debug)]
struct Finding {
    /// The machine, or a pipeline's file.
    about: String,
    /// What was looked at: `disk`.
    what: &'static str,
    verdict: Verdict,
    /// What there is.
    says: String,
    /// How it is mended; empty of what is in order.
    mend: String,
}

/// The findings about one thing.
struct Findings {
    about: String,
    list: Vec<Finding>,
}

impl Findings {
    fn about(about: impl Into<String>) -> Findings {
        Findings { about: about.into(), list: Vec::new() }
    }

    fn ok(&mut self, what: &'static str, says: impl Into<String>) {
        self.add(what, Verdict::Ok, says.into(), "");
    }

    fn warning(&mut self, what: &'static str, says: impl Into<String>, mend: &str) {
        self.add(what, Verdict::Warning, says.into(), mend);
    }

    fn wrong(&mut self, what: &'static str, says: impl Into<String>, mend: &str) {
        self.add(what, Verdict::Wrong, says.into(), mend);
    }

    fn add(&mut self, what: &'static str, verdict: Verdict, says: String, mend: &str) {
        let about = self.about.clone();
        self.list.push(Finding { about, what, verdict, says, mend: mend.to_owned() });
    }
}

/// Looks at everything. The exit code is [`exit::FAILED`] if something is wrong.
pub fn run(args: &Args) -> u8 {
    let files = match files::expand(&args.files) {
        Ok(files) => files,
        Err(why) => {
            say(&format!("error: {why}"));
            return exit::USAGE;
        }
    };
    let mut found = machine::look(args.data.data.as_deref());
    for file in &files {
        found.extend(pipeline::look(file, args.data.data.as_deref(), args.timeout.to_std()));
    }
    let count = |verdict: Verdict| found.iter().filter(|finding| finding.verdict == verdict).count();
    let (wrong, warnings) = (count(Verdict::Wrong), count(Verdict::Warning));
    let code = print(&match args.format {
        Format::Text => text(&found, wrong, warnings),
        Format::Json => {
            let list: Vec<Value> = found.iter().map(shown).collect();
            format!("{}\n", json!({ "findings": list, "wrong": wrong, "warnings": warnings }))
        }
    });
    if wrong > 0 { exit::FAILED } else { code }
}

fn shown(finding: &Finding) -> Value {
    let Finding { about, what, verdict, says, mend } = finding;
    let mut row = json!({ "about": about, "what": what, "verdict": verdict.word(), "says": says });
    if !mend.is_empty() {
        row["mend"] = json!(mend);
    }
    row
}

fn text(found: &[Finding], wrong: usize, warnings: usize) -> String {
    let row = |finding: &Finding| {
        let Finding { about, what, verdict, says, .. } = finding;
        vec![verdict.word().to_owned(), about.clone(), (*what).to_owned(), says.clone()]
    };
    let columns = [("", Align::Left), ("about", Align::Left), ("what", Align::Left), ("what there is", Align::Left)];
    let mut text = table(&columns, &found.iter().map(row).collect::<Vec<_>>());
    for finding in found.iter().filter(|finding| !finding.mend.is_empty()) {
        text.push_str(&format!("\n{}, {}: {}\n  {}\n", finding.about, finding.what, finding.says, finding.mend));
    }
    let (wrong, warnings) = (wrong as u64, warnings as u64);
    text.push_str(&match (wrong, warnings) {
        (0, 0) => "\nall is in order\n".to_owned(),
        (0, _) => format!("\nnothing is wrong, {}\n", counted(warnings, "warning")),
        _ => format!("\n{} wrong, {}\n", counted(wrong, "thing"), counted(warnings, "warning")),
    });
    text
}
