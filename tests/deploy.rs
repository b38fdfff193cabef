//! What stands around a daemon where it is installed: the image, the unit, the rules, the question whether it is well.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "support/program.rs"]
mod program;

use program::{command, run, said, text, until, with_texts};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The instructions of the `Dockerfile`, each on one line.
fn instructions() -> Vec<String> {
    let file = fs::read_to_string(root().join("Dockerfile")).unwrap().replace("\\\n", " ");
    let lines = file.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Whether a path of the repository is kept from the build, as `.dockerignore` says.
fn is_hidden(path: &str) -> bool {
    let ignored = fs::read_to_string(root().join(".dockerignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert!(ignored.iter().all(|line| !line.contains(['*', '!'])), "the test reads plain names only");
    ignored.iter().any(|line| path == *line || path.starts_with(&format!("{line}/")))
}

/// Copies what a build is given.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if is_hidden(&name) || name.starts_with(".git/") {
            continue;
        }
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path.is_file() {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn the_image_is_built_of_what_is_there() {
    let instructions = instructions();
    let runs: Vec<&String> = instructions.iter().filter(|line| line.starts_with("RUN ")).collect();
    for line in instructions.iter().filter(|line| line.starts_with("COPY ")) {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let (flags, paths): (Vec<&str>, Vec<&str>) = words.into_iter().partition(|word| word.starts_with("--"));
        let [sources @ .., _] = paths.as_slice() else { panic!("{line}") };
        for source in sources {
            let there = |path: &str| root().join(path).exists() && !is_hidden(path);
            match flags.first() {
                None => assert!(there(source), "{line}: `{source}` is not there"),
                // Of the stage before: made there, or copied there.
                Some(_) => {
                    let made = runs.iter().any(|run| run.contains(source));
                    let copied = source.strip_prefix("/src/").is_some_and(there);
                    assert!(made || copied, "{line}: nobody makes `{source}`");
                }
            }
        }
    }
    let after = instructions.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let last = &instructions[after..];
    let user = last.iter().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(!["root", "0"].contains(&user), "it runs as {user}");
    let check = last.iter().find(|line| line.starts_with("HEALTHCHECK ")).unwrap();
    assert!(check.ends_with("CMD [\"millstream\", \"health\"]"), "{check}");
    for verb in ["health", "serve"] {
        let help = Command::new(env!("CARGO_BIN_EXE_millstream")).args([verb, "--help"]).output().unwrap();
        assert!(help.status.success(), "there is no verb {verb}");
    }
}

#[test]
fn what_a_build_is_given_is_enough() {
    let home = tempfile::tempdir().unwrap();
    copy(root(), home.path());
    // The manifest can be read, with all that it names and is not hidden.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--no-deps", "--offline", "--locked", "--format-version", "1"]).current_dir(home.path());
    let output = metadata.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let about: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for target in about["packages"][0]["targets"].as_array().unwrap() {
        let kinds: Vec<&str> =
            target["kind"].as_array().unwrap().iter().filter_map(serde_json::Value::as_str).collect();
        let path = PathBuf::from(target["src_path"].as_str().unwrap());
        let needed = kinds.iter().any(|kind| ["lib", "bin", "custom-build"].contains(kind));
        assert!(!needed || path.is_file(), "{} is hidden from the build", path.display());
    }
    // So is every file that is taken into the program.
    let mut looked_at = 0;
    for entry in walkdir::WalkDir::new(home.path().join("src")) {
        let path = entry.unwrap().into_path();
        if path.extension().is_none_or(|ending| ending != "rs") {
            continue;
        }
        let source = fs::read_to_string(&path).unwrap();
        for part in source.split("include_str!(\"").skip(1).chain(source.split("include_bytes!(\"").skip(1)) {
            let named = part.split('"').next().unwrap();
            assert!(
                path.parent().unwrap().join(named).is_file(),
                "{}: {named} is hidden from the build",
                path.display()
            );
            looked_at += 1;
        }
    }
    assert!(looked_at > 0);
}

#[test]
fn systemd_takes_the_unit() {
    let home = tempfile::tempdir().unwrap();
    let printed =
        run(home.path(), &["unit", "--program", env!("CARGO_BIN_EXE_millstream"), "--pipelines", "/etc/my pipelines"]);
    let unit = text(&printed.stdout);
    assert!(unit.contains(" serve --pipelines \"/etc/my pipelines\"\n"), "{unit}");
    let path = home.path().join("millstream.service");
    fs::write(&path, unit).unwrap();
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output().unwrap();
    assert!(verified.status.success() && verified.stderr.is_empty(), "{}", said(&verified));
    // From 0 to 10, how much it is exposed.
    let mut security = Command::new("systemd-analyze");
    security.args(["security", "--offline=true", "--threshold=15", "--no-pager"]).arg(&path);
    let judged = security.output().unwrap();
    assert!(judged.status.success(), "{}", said(&judged));
}

#[test]
fn prometheus_takes_the_rules_and_knows_what_they_ask_for() {
    let home = tempfile::tempdir().unwrap();
    let rules = text(&run(home.path(), &["rules"]).stdout);
    let path = home.path().join("rules.yaml");
    fs::write(&path, &rules).unwrap();
    let checked = Command::new("promtool").args(["check", "rules"]).arg(&path).output().unwrap();
    assert!(checked.status.success(), "{}", said(&checked));
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("millstream_")).collect();
    assert!(asked.len() > 5, "{asked:?}");
    let told = fs::read_to_string(root().join("src/service/metrics.rs")).unwrap();
    for name in asked {
        let plain =
            ["_total", "_seconds", "_bytes"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
        assert!(told.contains(&format!("\"{plain}\"")), "nobody tells {name}");
    }
}

#[test]
fn a_daemon_is_asked_whether_it_is_well() {
    let yaml =
        "name: t\nsources:\n  rows:\n    file: { path: in.ndjson, follow: true }\nsinks:\n  out: { discard: {} }\n";
    let home = with_texts(&[("pipelines/t.yaml", yaml), ("pipelines/in.ndjson", "")]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let gone = run(home.path(), &["health", "--listen", &listen]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(said(&gone).contains(&format!("{listen} cannot be asked: ")), "{}", said(&gone));
    let mut child = command(home.path(), &["serve", "--listen", &listen]);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it is well", || {
        let well = run(home.path(), &["health", "--listen", &format!("0.0.0.0:{port}")]);
        well.status.success() && said(&well) == "alive\n"
    });
    until("it is ready", || run(home.path(), &["health", "--ready", "--listen", &listen]).status.success());
    // A pipeline that cannot run is not ready, and the daemon is well all the same.
    fs::write(home.path().join("pipelines/broken.yaml"), "name: broken\n").unwrap();
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGHUP).unwrap();
    until("it is not ready", || {
        let asked = run(home.path(), &["health", "--ready", "--listen", &listen]);
        asked.status.code() == Some(1) && said(&asked).contains("answers 503")
    });
    assert!(run(home.path(), &["health", "--listen", &listen]).status.success());
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
    child.wait().unwrap();
}
