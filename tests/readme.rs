//! The README's examples: every pipeline in it is checked, every command shown with its output is run and compared.

#![allow(clippy::expect_used, reason = "an example that cannot be run should say why")]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const README: &str = include_str!("../README.md");

/// The fenced blocks of a kind: what follows the kind on its line, and the text.
fn blocks(kind: &str) -> Vec<(&'static str, &'static str)> {
    let mut found = Vec::new();
    let mut rest = README;
    while let Some(start) = rest.find("\n```") {
        let after = &rest[start + 4..];
        let (info, body) = after.split_once('\n').expect("a fence has a line");
        let end = body.find("\n```").expect("a fence is closed");
        let (own, name) = info.split_once(' ').unwrap_or((info, ""));
        if own == kind {
            found.push((name, &body[..=end]));
        }
        rest = &body[end + 4..];
    }
    found
}

/// A directory with the README's own pipelines and those of the repository.
fn workplace() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for entry in walkdir::WalkDir::new(root.join("pipelines")) {
        let entry = entry.expect("readable");
        let to = directory.path().join(entry.path().strip_prefix(root).expect("below the root"));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&to).expect("a directory");
        } else {
            std::fs::copy(entry.path(), &to).expect("a copy");
        }
    }
    for (name, text) in blocks("yaml") {
        let name = if name.is_empty() { "first-of-readme.yaml" } else { name };
        std::fs::write(directory.path().join(name), text).expect("written");
    }
    directory
}

#[test]
fn pipelines_are_right_unless_they_are_said_to_be_broken() {
    let directory = workplace();
    let pipelines = blocks("yaml");
    assert!(pipelines.len() >= 4, "the README shows pipelines");
    for (name, _) in pipelines {
        let name = if name.is_empty() { "first-of-readme.yaml" } else { name };
        let mut check = Command::new(env!("CARGO_BIN_EXE_millstream"));
        let output = check.args(["check", name]).current_dir(&directory).output().expect("it runs");
        let wanted = if name.starts_with("broken") { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(wanted), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_first_pipeline_is_the_one_in_the_repository() {
    let text = include_str!("../pipelines/first.yaml");
    let (_, pipeline) = text.split_once('\n').expect("a comment, then the pipeline");
    let shown = blocks("yaml").first().expect("a pipeline").1;
    assert!(pipeline.starts_with(shown), "README and pipelines/first.yaml differ");
}

#[test]
fn commands_print_what_is_shown() {
    let directory = workplace();
    let program = Path::new(env!("CARGO_BIN_EXE_millstream"));
    let path = program.parent().expect("a directory").display().to_string();
    let path = format!("{path}:{}", std::env::var("PATH").unwrap_or_default());
    let consoles = blocks("console");
    assert!(consoles.len() >= 5, "the README shows commands");
    for (_, text) in consoles {
        let (command, shown) = text.split_once('\n').expect("a command and its output");
        let command = command.strip_prefix("$ ").expect("a prompt");
        // Standard error after standard output, as a terminal without colours shows them.
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).current_dir(&directory).env("PATH", &path).env("NO_COLOR", "1");
        let output = shell.output().expect("it runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        // How long a run took is another number each time.
        let err: String = err.lines().filter(|l| !l.contains(" rows in, ")).map(|l| format!("{l}\n")).collect();
        assert_eq!(format!("{out}{err}"), shown, "{command}");
    }
}
