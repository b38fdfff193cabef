//! A pipeline: its file, its state, whom it talks to and where it listens.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::super::load::loaded;
use super::machine::{data_directory, set_back};
use super::{Finding, Findings};
use crate::base::diag::Severity;
use crate::base::time::Timestamp;
use crate::config::Pipeline;
use crate::connectors::reach::{Contact, Peer, contacts, is_free, reach};
use crate::connectors::{SINKS, SOURCES};
use crate::inspect::spelling::counted;
use crate::plan::{NodeKind, Sink, Source};
use crate::service::open::state_path;
use crate::store::state::StateReader;

/// Bits of a mode by which everybody may write, or read.
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;

pub(super) fn look(file: &Path, data: Option<&Path>, within: Duration) -> Vec<Finding> {
    let mut found = Findings::about(file.display().to_string());
    if mode(file).is_some_and(|mode| mode & OTHERS_WRITE != 0) {
        let mend = format!("take that away: `chmod o-w {}`", file.display());
        found.wrong("file", "everybody on this machine may change it", &mend);
    }
    let loaded = loaded(file, &|name| std::env::var(name).ok(), Severity::Error);
    let errors = loaded.found.list.iter().filter(|mistake| mistake.severity == Severity::Error).count() as u64;
    let Some(pipeline) = loaded.pipeline else {
        let first = loaded.found.list.iter().find(|mistake| mistake.severity == Severity::Error);
        let first = first.map_or_else(String::new, |mistake| format!(": {}", mistake.message));
        let mend = format!("`millstream check {}` shows each at its place", file.display());
        found.wrong("file", format!("{}{first}", counted(errors, "mistake")), &mend);
        return found.list;
    };
    found.ok("file", "it can run");
    let path = state_path(&pipeline, data);
    let running = state(&path, &mut found);
    if let Some(directory) = path.parent().filter(|_| data.is_none_or(|data| data.as_os_str().is_empty())) {
        data_directory(directory, &mut found);
    }
    network(&pipeline, running, within, &mut found);
    found.list
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode())
}

/// Looks at a state. Whether a run has it.
fn state(path: &Path, found: &mut Findings) -> bool {
    let shown = path.display();
    if !path.exists() {
        found.ok("state", format!("there is none yet: `{shown}` comes with the first run"));
        return false;
    }
    if mode(path).is_some_and(|mode| mode & OTHERS_READ != 0) {
        let says = format!("everybody on this machine may read `{shown}`, which has parts of events in it");
        found.warning("state", says, &format!("take that away: `chmod o-r {shown}`"));
    }
    let held = StateReader::held(path);
    match StateReader::open(path) {
        Ok(reader) => {
            if let Some(kept) = reader.kept() {
                set_back(Timestamp(kept.committed), found);
            }
            let letters = reader.letters().letters;
            let by = held.as_ref().map_or_else(String::new, |held| format!("; {held} has it"));
            match reader.check() {
                Ok(keys) => found.ok("state", format!("`{shown}` is what was written: {}{by}", counted(keys, "key"))),
                Err(e) => damaged(&e.message, found),
            }
            if letters > 0 {
                let mend =
                    "`millstream dead-letters list FILE` shows them, `retry` sends them again, `purge` takes them away";
                found.warning("dead letters", counted(letters, "row that nobody could take"), mend);
            }
        }
        Err(e) => damaged(&e.message, found),
    }
    held.is_some()
}

fn damaged(why: &str, found: &mut Findings) {
    found.wrong("state", why, "put a backup back (`millstream backup` makes them), or begin anew with `run --fresh`");
}

/// Tries whom it talks to, all at once, and where it listens.
fn network(pipeline: &Pipeline, running: bool, within: Duration, found: &mut Findings) {
    let mut peers: Vec<(String, Peer)> = Vec::new();
    for node in &pipeline.plan.nodes {
        let (options, reach) = match &node.kind {
            NodeKind::Source(Source { connector, options, .. }) => {
                (options, SOURCES.iter().find(|kind| kind.name == *connector).map(|kind| kind.reach))
            }
            NodeKind::Sink(Sink { connector, options, .. }) => {
                (options, SINKS.iter().find(|kind| kind.name == *connector).map(|kind| kind.reach))
            }
            NodeKind::Step(_) => continue,
        };
        let Some(reaches) = reach.map(|reach| reach(options)) else { continue };
        for contact in contacts(&reaches, options) {
            match contact {
                Contact::Peer(peer) => peers.push((node.name.clone(), peer)),
                // The run has it, as it should.
                Contact::Listens(address) if running => {
                    found.ok("port", format!("`{}` listens on {address}", node.name));
                }
                Contact::Listens(address) => match is_free(address) {
                    Ok(()) => found.ok("port", format!("`{}` will listen on {address}, which is free", node.name)),
                    Err(why) => found.wrong(
                        "port",
                        format!("`{}` is to listen on {address}, which {why}", node.name),
                        "end the program that has it (`ss -ltnp` shows which), or give the source another `listen`",
                    ),
                },
            }
        }
    }
    let directory = &pipeline.directory;
    let tried: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let tries = peers.iter().map(|(_, peer)| scope.spawn(|| reach(peer, directory, within)));
        let tries: Vec<_> = tries.collect();
        tries.into_iter().map(|tried| tried.join().unwrap_or_else(|_| Err("cannot be tried".to_owned()))).collect()
    });
    for ((name, peer), tried) in peers.iter().zip(tried) {
        let to = format!("{}:{}{}", peer.host, peer.port, if peer.tls.is_some() { " with TLS" } else { "" });
        match tried {
            Ok(()) => found.ok("peer", format!("`{name}` reaches {to}")),
            Err(why) => found.wrong(
                "peer",
                format!("`{name}`: {}:{} {why}", peer.host, peer.port),
                "see that it runs, that its name and port are these, and that no firewall is in between; rows wait until it is there",
            ),
        }
    }
}
