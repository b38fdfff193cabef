//! `millstream graph`: a plan as a drawing.

use std::path::PathBuf;

use crate::base::diag::Severity;
use crate::plan::graph::{Style, graph};

use super::exit;
use super::load::{load, print};

/// Options of `graph`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A pipeline file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the drawing is for.
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    format: Format,
}

/// What the drawing is for.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Format {
    /// To be read where it is printed.
    Terminal,
    /// For Markdown pages.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// Draws the file.
pub fn run(args: &Args) -> u8 {
    let Some(pipeline) = load(&args.file, Severity::Warning) else { return exit::USAGE };
    let style = match args.format {
        Format::Terminal => Style::Terminal,
        Format::Mermaid => Style::Mermaid,
        Format::Dot => Style::Dot,
    };
    print(&graph(&pipeline.plan, style))
}
