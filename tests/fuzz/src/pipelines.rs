//! Pipeline files: whatever is written in one, it is answered.

use std::path::Path;

use millstream::base::diag::Severity;
use millstream::base::render::{Style as Rendered, render};
use millstream::config::{self, Loaded, Registry};
use millstream::connectors::{SINKS, SOURCES};
use millstream::engine::lower::{Lowering, lower};
use millstream::plan::graph::{Style, graph};

/// Checks a pipeline's text.
pub fn load(text: &str) -> Loaded {
    let registry = Registry { sources: SOURCES, sinks: SINKS };
    config::parse(text, "fuzz.yaml", Path::new("/nowhere"), &registry, &|_| None, Severity::Error)
}

/// A pipeline file: mistakes are told, a pipeline without any is drawn and made ready to run.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Files are named by it, and only those of the pipelines here are meant to be read.
    if text.len() > 8 << 10 || text.contains("/dev") || text.contains("/proc") {
        return;
    }
    let loaded = load(text);
    render(&loaded.found, Rendered::Human { colour: false });
    let Some(pipeline) = loaded.pipeline else { return };
    for style in [Style::Terminal, Style::Mermaid, Style::Dot] {
        graph(&pipeline.plan, style, None);
    }
    let _ = lower(&pipeline.plan, Lowering { shares: 2, track: true });
}
