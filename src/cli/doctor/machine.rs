//! The machine: its clock, its limits, the directory of states.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use super::super::table::size;
use super::{Finding, Findings};
use crate::base::system::reason;
use crate::base::time::Timestamp;
use crate::engine::run::wall_clock;
use crate::inspect::spelling::count;

/// 2025-01-01T00:00:00Z in microseconds: no clock that is right is before the program was written.
const WRITTEN: i64 = 1_735_689_600_000_000;
/// Bytes below which a disk is as good as full: a checkpoint of some size does not fit.
const FULL: u64 = 64 << 20;
/// Bytes below which it is time to make room.
const SCARCE: u64 = 1 << 30;
/// Files that a process should be able to have open: a pipeline has some ten, and one for each connection.
const DESCRIPTORS: u64 = 4_096;

pub(super) fn look(data: Option<&Path>) -> Vec<Finding> {
    let mut found = Findings::about("machine");
    let version = env!("CARGO_PKG_VERSION");
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (system, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    found.ok("program", format!("millstream {version} on {system} {architecture}, {processors} processors"));
    clock(&mut found);
    descriptors(&mut found);
    if let Some(directory) = data.filter(|directory| !directory.as_os_str().is_empty()) {
        data_directory(directory, &mut found);
    }
    found.list
}

fn clock(found: &mut Findings) {
    let now = wall_clock();
    let zone = jiff::tz::TimeZone::system();
    let zone = zone.iana_name().unwrap_or("without a name");
    if now.0 < WRITTEN {
        found.wrong(
            "clock",
            format!("it says {now}"),
            "set it, and let a time service keep it right (`timedatectl set-ntp true`)",
        );
    } else {
        found.ok("clock", format!("{now}; the zone of the machine is {zone}, times without one are read as UTC"));
    }
}

/// What a directory's newest checkpoint says of the clock.
pub(super) fn set_back(committed: Timestamp, found: &mut Findings) {
    let now = wall_clock();
    if committed > now {
        let says = format!("the last checkpoint was made at {committed}, and it is {now}: the clock was set back");
        found.warning(
            "clock",
            says,
            "set it right; until it has come there again, silences, repeats and mute times are late",
        );
    }
}

/// Limits as the kernel tells them: a line each, name, soft and hard limit.
fn descriptors(found: &mut Findings) {
    let Ok(limits) = fs::read_to_string("/proc/self/limits") else { return };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let Some(soft) = line.and_then(|line| line.split_whitespace().next()) else { return };
    match soft.parse::<u64>() {
        Ok(soft) if soft < DESCRIPTORS => found.warning(
            "open files",
            format!("a process may have {} open", count(soft)),
            "raise it before many pipelines or connections come: `ulimit -n 65536`, `LimitNOFILE=65536` in a systemd unit",
        ),
        Ok(soft) => found.ok("open files", format!("a process may have {} open", count(soft))),
        Err(_) => found.ok("open files", "a process may have any number open"),
    }
}

/// Whether states can be kept in a directory.
pub(super) fn data_directory(directory: &Path, found: &mut Findings) {
    let shown = directory.display();
    let there = directory.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        let says = format!("`{shown}` cannot be a directory: `{}` is a file", there.display());
        return found.wrong("data", says, "name another directory with `--data`");
    }
    match try_write(there) {
        Err(e) => found.wrong(
            "data",
            format!("`{shown}` cannot be written: {}", reason(&e)),
            "make it writable for the user that runs pipelines, or name another with `--data`",
        ),
        Ok(()) if directory.exists() => found.ok("data", format!("`{shown}` can be written")),
        Ok(()) => found.ok("data", format!("`{shown}` is not there yet and can be made")),
    }
    disk(there, found);
}

/// Writes a file, syncs it and takes it away.
fn try_write(directory: &Path) -> std::io::Result<()> {
    let path = directory.join(format!(".millstream-doctor-{}", std::process::id()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(b"is this written?")?;
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

fn disk(directory: &Path, found: &mut Findings) {
    let shown = directory.display();
    let about = match rustix::fs::statvfs(directory) {
        Ok(about) => about,
        Err(e) => {
            let why = reason(&e.into());
            return found.warning(
                "disk",
                format!("how full it is at `{shown}` cannot be found out: {why}"),
                "look with `df`",
            );
        }
    };
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    let says = format!("{} are free at `{shown}`", size(free));
    let mend = "make room, or name a directory on another disk with `--data`; a full disk stops pipelines at their next checkpoint";
    if free < FULL {
        found.wrong("disk", says, mend);
    } else if free < SCARCE {
        found.warning("disk", says, mend);
    } else if about.f_files > 0 && about.f_favail < 1_000 {
        found.wrong("disk", format!("{} more files fit at `{shown}`", count(about.f_favail)), mend);
    } else {
        found.ok("disk", says);
    }
}
