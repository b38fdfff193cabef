//! Every mistake an author can make, one small file each, with what `check` says of it.

use std::path::Path;

use millstream::base::diag::{Diagnostics, Severity};
use millstream::base::render::{Style, render};
use millstream::base::tree::Node;
use millstream::config::{Registry, load};
use millstream::connector::{
    CheckContext, OpenContext, Partition, Sink, SinkConnector, SinkError, SinkKind, SourceConnector, SourceError,
    SourceKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Options of a connector that is only checked.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    path: String,
    #[serde(default)]
    follow: bool,
}

struct FileIn;
struct FileOut;

impl SourceConnector for FileIn {
    const NAME: &'static str = "file";
    type Options = Options;
    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}
    fn bounded(options: &Options) -> bool {
        !options.follow
    }
    fn open(_: Options, _: OpenContext) -> Result<Vec<Partition>, SourceError> {
        Ok(Vec::new())
    }
}

impl SinkConnector for FileOut {
    const NAME: &'static str = "file";
    type Options = Options;
    fn check(_: &Options, _: &Node, _: &CheckContext, _: &mut Diagnostics) {}
    fn templates(options: &Options) -> Vec<String> {
        if options.path.contains("{{") { vec![options.path.clone()] } else { Vec::new() }
    }
    fn open(_: Options, _: OpenContext) -> Result<Box<dyn Sink>, SinkError> {
        Err(SinkError::Fatal("only checked here".into()))
    }
}

#[test]
fn every_mistake_is_explained() {
    let registry = Registry { sources: &[SourceKind::of::<FileIn>()], sinks: &[SinkKind::of::<FileOut>()] };
    let directory = Path::new("tests/mistakes");
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 50, "the mistakes are gone");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_snapshot_path("mistakes/said");
    settings.set_omit_expression(true);
    let mut unnoticed = Vec::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "yaml")) {
        let loaded = load(file, &registry, &|_| None, Severity::Warning);
        assert_eq!(loaded.pipeline.is_none(), loaded.found.has_errors(), "{}", file.display());
        if loaded.found.list.is_empty() {
            unnoticed.push(file.display().to_string());
        }
        let name = file.file_stem().unwrap().to_str().unwrap();
        settings.bind(|| insta::assert_snapshot!(name, render(&loaded.found, Style::Human { colour: false })));
    }
    assert_eq!(unnoticed, Vec::<String>::new(), "nothing was said of these");
}
