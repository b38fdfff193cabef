//! `millstream graph`: a plan as a drawing.

use std::path::PathBuf;

use crate::base::diag::Severity;
use crate::base::system::reason;
use crate::plan::demand::demand;
use crate::plan::graph::{Style, graph};
use crate::plan::svg::svg;
use crate::plan::{NodeId, Port};

use super::exit;
use super::load::{load, print, say};

/// Options of `graph`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the drawing is for.
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    format: Format,
    /// Say at each line which fields it carries, as `svg` always does.
    #[arg(long)]
    fields: bool,
    /// Write it to this file instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What the drawing is for.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Format {
    /// To be read where it is printed.
    Terminal,
    /// For pages: a picture, light or dark as the reader's screen is.
    Svg,
    /// For Markdown pages.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// Draws the file.
pub fn run(args: &Args) -> u8 {
    let Some(pipeline) = load(&args.file, Severity::Warning) else { return exit::USAGE };
    let plan = &pipeline.plan;
    let demands = demand(plan);
    let carried = |node: NodeId, port: &Port| demands.of(node, port);
    let style = match args.format {
        Format::Terminal => Some(Style::Terminal),
        Format::Svg => None,
        Format::Mermaid => Some(Style::Mermaid),
        Format::Dot => Some(Style::Dot),
    };
    let drawn = match style {
        Some(style) if args.fields => graph(plan, style, Some(&carried)),
        Some(style) => graph(plan, style, None),
        None => svg(plan, &carried),
    };
    let Some(file) = &args.output else { return print(&drawn) };
    match std::fs::write(file, drawn) {
        Ok(()) => exit::OK,
        Err(e) => {
            say(&format!("error: `{}` cannot be written: {}", file.display(), reason(&e)));
            exit::FAILED
        }
    }
}
