//! What reading a pipeline carries along: where to report, what may be looked at, and what has been named so far.

use std::path::Path;
use std::sync::Arc;

use crate::base::diag::{Diagnostic, Diagnostics, Severity, Span};
use crate::base::suggest::nearest;
use crate::base::tree::Node;
use crate::connector::{Allowed, CheckContext, Refusal};
use crate::data::layout::{FieldId, FieldPath, Layout};
use crate::data::value::Value;

use super::Registry;

/// Everything that reading one file needs and gathers.
pub struct Context<'a> {
    /// The connectors that exist.
    pub registry: &'a Registry<'a>,
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Paths are relative to this.
    pub directory: &'a Path,
    /// What may be reached by what stands in the pipeline's own file; everything, if whoever runs the program wrote it.
    pub allowed: Option<Arc<Allowed>>,
    /// How bad a secret's file is that cannot be read: a warning in `check`, an error in `run`.
    pub missing_secret: Severity,
    /// What was found.
    pub found: &'a mut Diagnostics,
    /// Every field named so far.
    pub layout: Layout,
    /// Where the entry that is being read names fields, in the order written.
    pub named: Vec<(FieldId, Span)>,
    /// Alerts that were read, whose receivers are not known yet.
    pub alerts: Vec<super::alert::Waiting>,
    /// The file of receivers that pipelines share.
    pub shared: Option<Node>,
    /// Files that were read, or would have been if they were there: the pipeline means something else when they change.
    pub files: Vec<std::path::PathBuf>,
    /// The pipeline's constants.
    pub vars: Vec<(String, Value)>,
}

impl Context<'_> {
    /// Reports an error; the report can still be given a label and a help.
    pub fn error(&mut self, code: &'static str, message: impl Into<String>, span: &Span) -> Report<'_> {
        Report { found: self.found, diagnostic: Some(Diagnostic::error(code, message, Some(span.clone()))) }
    }

    /// What connectors may know whose options are written at a place.
    pub fn checks(&self, at: &Span) -> CheckContext {
        CheckContext { directory: self.directory.to_path_buf(), allowed: self.limits(at).map(Arc::clone) }
    }

    /// What limits what is written at a place: the file of receivers that pipelines share is the operator's.
    fn limits(&self, at: &Span) -> Option<&Arc<Allowed>> {
        let shared = self.shared.as_ref().is_some_and(|shared| Arc::ptr_eq(&shared.span.file, &at.file));
        self.allowed.as_ref().filter(|_| !shared)
    }

    /// Whether a file may be read that is named at a place; reports it if not.
    pub fn may_read(&mut self, path: &str, at: &Span) -> bool {
        let refused = self.limits(at).and_then(|allowed| allowed.path(self.directory, path));
        self.admits(refused, at)
    }

    /// Whether a variable may be read that is named at a place; reports it if not.
    pub fn may_know(&mut self, variable: &str, at: &Span) -> bool {
        let refused = self.limits(at).and_then(|allowed| allowed.variable(variable));
        self.admits(refused, at)
    }

    fn admits(&mut self, refused: Option<Refusal>, at: &Span) -> bool {
        let Some((why, help)) = refused else { return true };
        self.error("not-allowed", why, at).help(help);
        false
    }

    /// Reports a warning.
    pub fn warning(&mut self, code: &'static str, message: impl Into<String>, span: &Span) -> Report<'_> {
        Report { found: self.found, diagnostic: Some(Diagnostic::warning(code, message, Some(span.clone()))) }
    }

    /// Reports a name that is none of those known: as something of a later version, or with the nearest known one.
    pub fn unknown(&mut self, what: &Unknown<'_>, name: &str, span: &Span, known: &[&str], later: &[&str]) {
        if later.contains(&name) {
            let message = format!("{} `{name}` is not in this version", what.noun);
            self.error("not-in-this-version", message, span).help(listed("this version has", known));
            return;
        }
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => match nearest(name, later.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? It is not in this version"),
                None => listed(what.listing, known),
            },
        };
        self.error(what.code, format!("unknown {} `{name}`{}", what.noun, what.place), span).help(help);
    }

    /// The number of a field; reports when the pipeline names too many.
    pub fn intern(&mut self, path: FieldPath, span: &Span) -> Option<FieldId> {
        let id = self.layout.intern(path);
        if id.is_none() {
            let limit = crate::base::limit::FIELDS;
            self.error("too-many-fields", format!("the pipeline names more than {limit} fields"), span);
        }
        self.named.extend(id.map(|id| (id, span.clone())));
        id
    }
}

/// A diagnostic on its way: it counts when this is dropped.
pub struct Report<'a> {
    found: &'a mut Diagnostics,
    diagnostic: Option<Diagnostic>,
}

impl Report<'_> {
    /// Adds how to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.take().map(|d| d.help(help));
        self
    }

    /// Adds what stands at the place.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.take().map(|d| d.label(label));
        self
    }
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        self.found.list.extend(self.diagnostic.take());
    }
}

/// How an unknown name is spoken of.
pub struct Unknown<'a> {
    /// The diagnostic's code.
    pub code: &'static str,
    /// What it was taken for: "key", "step kind".
    pub noun: &'a str,
    /// Where, as the message goes on: " in `window`"; may be empty.
    pub place: &'a str,
    /// How the list of known names begins: "the keys are".
    pub listing: &'a str,
}

/// `the keys are `a`, `b` and `c``.
pub fn listed(intro: &str, names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.split_last() {
        None => format!("{intro} none"),
        Some((only, [])) => format!("{intro} {only}"),
        Some((last, rest)) => format!("{intro} {} and {last}", rest.join(", ")),
    }
}
