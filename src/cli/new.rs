//! `millstream new`: a pipeline to begin with, from a template.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::base::suggest::nearest;
use crate::base::system::reason;

use super::exit;
use super::load::{print, say};

/// Options of `new`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to begin with. Without it the templates are listed.
    #[arg(value_name = "TEMPLATE")]
    template: Option<String>,
    /// The file to write; `-` is standard output. Default: the template's name, ending in `.yaml`, here.
    #[arg(long, short, value_name = "FILE", requires = "template")]
    output: Option<PathBuf>,
    /// Write the file even if there is one of its name.
    #[arg(long, requires = "template")]
    force: bool,
}

/// A template: a pipeline with comments and tests, in which `{FILE}` stands for the file that it becomes.
struct Template {
    name: &'static str,
    text: &'static str,
}

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[ $( Template { name: $name, text: include_str!(concat!("new/", $name, ".yaml")) } ),* ]
    };
}

/// Every template.
const TEMPLATES: &[Template] = templates!["sensor-alert", "log-errors", "batch-file", "sessions", "dedupe-join"];

impl Template {
    /// What its pipeline does: its description.
    fn about(&self) -> &'static str {
        self.text.lines().find_map(|line| line.strip_prefix("description: ")).unwrap_or_default()
    }

    /// The pipeline, as a file of this name holds it.
    fn pipeline(&self, file: &str) -> String {
        self.text.replace("{FILE}", file)
    }
}

/// Lists the templates, or writes one.
pub fn run(args: &Args) -> u8 {
    let Some(wanted) = &args.template else { return print(&list()) };
    let Some(template) = TEMPLATES.iter().find(|template| template.name == wanted) else {
        say(&format!("error: there is no template `{wanted}`"));
        say(&match nearest(wanted, TEMPLATES.iter().map(|template| template.name)) {
            Some(near) => format!("  help: did you mean `{near}`?"),
            None => "  help: `millstream new` lists the templates".to_owned(),
        });
        return exit::USAGE;
    };
    let file = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.yaml", template.name)));
    if file == Path::new("-") {
        return print(&template.pipeline("pipeline.yaml"));
    }
    let shown = shown(&file);
    match write(&file, &template.pipeline(&shown), args.force) {
        Ok(()) => print(&format!(
            "wrote {shown}: {}\n\n  millstream test {shown}\n  millstream run {shown}\n",
            template.about()
        )),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            say(&format!("error: there is a file `{}` already", file.display()));
            say("  help: name another with `-o FILE`, or write over it with `--force`");
            exit::USAGE
        }
        Err(e) => {
            say(&format!("error: `{}` cannot be written: {}", file.display(), reason(&e)));
            exit::FAILED
        }
    }
}

fn list() -> String {
    let longest = TEMPLATES.iter().map(|template| template.name.len()).max().unwrap_or_default();
    let line = |template: &Template| format!("  {:longest$}  {}\n", template.name, template.about());
    let lines: String = TEMPLATES.iter().map(line).collect();
    format!("Templates\n{lines}\n`millstream new NAME` writes NAME.yaml, with `-o FILE` another file.\n")
}

/// A file's name as a shell takes it.
fn shown(file: &Path) -> String {
    let text = file.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+@%,=:".contains(c);
    // A line end would end the comment that the name stands in.
    let text: String = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Writes a new file; over an old one only where that is wanted.
fn write(file: &Path, text: &str, force: bool) -> std::io::Result<()> {
    if let Some(parent) = file.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.write(true);
    if force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    options.open(file)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_says_what_it_does_and_has_tests() {
        for template in TEMPLATES {
            assert!(template.about().ends_with('.'), "{}", template.name);
            assert!(template.text.starts_with("# ") && template.text.contains("\ntests:\n"), "{}", template.name);
            assert!(!template.pipeline("x.yaml").contains("{FILE}"));
        }
    }

    #[test]
    fn names_are_quoted_for_the_shell() {
        assert_eq!(shown(Path::new("a/b-1.yaml")), "a/b-1.yaml");
        assert_eq!(shown(Path::new("it's me.yaml")), "'it'\\''s me.yaml'");
        assert_eq!(shown(Path::new("a\nb")), "'a\u{fffd}b'");
    }
}
