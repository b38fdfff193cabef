//! `millstream test`: the tests that pipeline files hold, over the whole graph in virtual time, without any connector.

mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::base::diag::{Diagnostics, Severity};
use crate::base::render::{self, Style};
use crate::config::Pipeline;
use crate::config::cases::{Expectation, Item, Rows, TestCase, What};
use crate::data::json;
use crate::data::value::Value;
use crate::engine::rehearse::{Given, Rehearsed, missing_fields, rehearse};
use crate::plan::{Input, NodeKind};

use super::load::{loaded, print, say, show};
use super::{exit, files};
use report::{Case, Suite};

/// Options of `test`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Pipeline files, or directories with pipelines below them.
    #[arg(required = true, value_name = "FILE|DIR")]
    files: Vec<PathBuf>,
    /// Run only tests whose name contains this.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// What is written on standard output, beside the report for people on standard error.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// What is written on standard output.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Nothing.
    Human,
    /// JUnit's XML, as build servers take it.
    Junit,
    /// One JSON object.
    Json,
}

/// Runs the tests of every file.
pub fn run(args: &Args) -> u8 {
    let files = match files::expand(&args.files) {
        Ok(files) => files,
        Err(why) => {
            say(&format!("error: {why}"));
            return exit::USAGE;
        }
    };
    let suites: Vec<Suite> = files.iter().map(|file| run_file(file, args.filter.as_deref())).collect();
    let cases = || suites.iter().flat_map(|suite| &suite.cases);
    let failed = cases().filter(|case| case.failure.is_some()).count();
    say(&format!("{} passed, {failed} failed", cases().count() - failed));
    let written = match args.format {
        Format::Human => exit::OK,
        Format::Junit => print(&report::junit(&suites)),
        Format::Json => print(&report::json(&suites)),
    };
    let none = suites.iter().all(|suite| suite.cases.is_empty() && suite.broken.is_none());
    if let (Some(filter), true) = (&args.filter, none) {
        say(&format!("error: no test has `{filter}` in its name"));
        return exit::USAGE;
    }
    match (suites.iter().any(|suite| suite.broken.is_some()), failed) {
        (true, _) => exit::USAGE,
        (false, 0) => written,
        _ => exit::FAILED,
    }
}

/// Runs the tests of one file and tells people of each.
fn run_file(file: &Path, filter: Option<&str>) -> Suite {
    let mut suite = Suite { file: file.to_owned(), pipeline: None, broken: None, cases: Vec::new() };
    let loaded = loaded(file, &|name| std::env::var(name).ok(), Severity::Warning);
    show(&loaded.found);
    let Some(pipeline) = loaded.pipeline else {
        suite.broken = Some(render::render(&loaded.found, Style::Human { colour: false }));
        return suite;
    };
    let mut rehearsals = Vec::new();
    for case in pipeline.tests.iter().filter(|case| filter.is_none_or(|text| case.name.contains(text))) {
        let began = Instant::now();
        let failure = match run_case(&pipeline, case) {
            Ok((rehearsed, differences)) => {
                rehearsals.push(rehearsed);
                (!differences.is_empty()).then(|| differences.join("\n"))
            }
            Err(why) => Some(why),
        };
        let took = began.elapsed();
        let name = format!("{}: {}", pipeline.plan.name, case.name);
        match &failure {
            None => say(&format!("ok      {name}")),
            Some(why) => say(&format!("FAILED  {name} ({})\n{}", case.span.place(), indented(why))),
        }
        suite.cases.push(Case { name: case.name.clone(), line: case.span.line_column().0, took, failure });
    }
    // A few of the tests may well leave a field out.
    if filter.is_none() {
        show(&Diagnostics { list: missing_fields(&rehearsals) });
    }
    suite.pipeline = Some(pipeline.plan.name);
    suite
}

/// Runs one test: what came of it and what differs from what was expected. The error says why it could not go on.
fn run_case(pipeline: &Pipeline, case: &TestCase) -> Result<(Rehearsed, Vec<String>), String> {
    let watched: Vec<Vec<Input>> = case.expect.iter().map(|e| watched(pipeline, e)).collect();
    let mut given: Vec<(usize, Vec<Given>)> = Vec::new();
    let nodes = || pipeline.plan.nodes.iter().enumerate().filter(|(_, n)| matches!(n.kind, NodeKind::Source(_)));
    for of_source in &case.given {
        let source = nodes().position(|(index, _)| index == of_source.source.index());
        let items = of_source.items.iter().map(|Item { what, .. }| match what {
            What::Event(value) => Given::Event(value.clone()),
            What::Raw(text) => Given::Record(text.clone()),
            What::Advance(span) => Given::Silence(*span),
        });
        given.extend(source.map(|s| (s, items.collect())));
    }
    let rehearsed = rehearse(&pipeline.plan, &given, &watched)?;
    let mut differences = Vec::new();
    for (expectation, lines) in case.expect.iter().zip(&rehearsed.outputs) {
        let rows: Vec<Value> = lines.iter().filter_map(|line| json::parse_value(line).ok()).collect();
        if let Some(difference) = differs(expectation, &rows, lines) {
            differences.push(difference);
        }
    }
    Ok((rehearsed, differences))
}

/// What to watch for an expectation: a port, or of a sink what it takes.
fn watched(pipeline: &Pipeline, expectation: &Expectation) -> Vec<Input> {
    match pipeline.plan.node(expectation.node) {
        Some(node) if matches!(node.kind, NodeKind::Sink(_)) && expectation.port == crate::plan::Port::Main => {
            node.inputs.clone()
        }
        _ => vec![Input { node: expectation.node, port: expectation.port.clone() }],
    }
}

/// How an output differs from what was expected, as lines of `-` (expected) and `+` (came).
fn differs(expectation: &Expectation, rows: &[Value], lines: &[String]) -> Option<String> {
    let head = format!("{} ({})", expectation.name, expectation.span.place());
    match &expectation.rows {
        Rows::Count(count) if *count == rows.len() as u64 => None,
        Rows::Count(count) => {
            let came: String = lines.iter().map(|l| format!("\n+ {l}")).collect();
            Some(format!("{head}: expected {count} rows, {} came{came}", rows.len()))
        }
        Rows::Contains(wanted) => {
            let mut left: Vec<&Value> = rows.iter().collect();
            let mut missing = Vec::new();
            for want in wanted {
                match left.iter().position(|row| matches(want, row)) {
                    Some(at) => drop(left.swap_remove(at)),
                    None => missing.push(format!("\n- {}", text(want))),
                }
            }
            let came: String = lines.iter().map(|l| format!("\n  {l}")).collect();
            let missing_text: String = missing.concat();
            (!missing.is_empty()).then(|| format!("{head}: missing among {} rows{missing_text}{came}", rows.len()))
        }
        Rows::Exactly(wanted) => {
            let same = wanted.len() == rows.len() && wanted.iter().zip(rows).all(|(w, r)| matches(w, r));
            (!same).then(|| format!("{head}:{}", diff(wanted, rows, lines)))
        }
    }
}

/// Row by row: what fits, what was expected and what came instead.
fn diff(wanted: &[Value], rows: &[Value], lines: &[String]) -> String {
    let mut out = String::new();
    for at in 0..wanted.len().max(rows.len()) {
        let (want, row) = (wanted.get(at), rows.get(at));
        let line = lines.get(at).map_or("", String::as_str);
        match (want, row) {
            (Some(want), Some(row)) if matches(want, row) => out.push_str(&format!("\n  {line}")),
            (want, row) => {
                out.extend(want.map(|w| format!("\n- {}", text(w))));
                out.extend(row.map(|_| format!("\n+ {line}")));
            }
        }
    }
    out
}

/// Whether a row has the fields that are wanted, with equal values. Null is also wanted where nothing is.
fn matches(wanted: &Value, row: &Value) -> bool {
    match (wanted, row) {
        (Value::Map(wanted), Value::Map(row)) => {
            wanted.0.iter().all(|(name, want)| matches(want, row.get(name).unwrap_or(&Value::Null)))
        }
        (Value::List(wanted), Value::List(row)) => {
            wanted.len() == row.len() && wanted.iter().zip(row.iter()).all(|(w, r)| matches(w, r))
        }
        (wanted, row) => wanted == row,
    }
}

fn text(value: &Value) -> String {
    let mut bytes = Vec::new();
    json::write_value(value, &mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}
