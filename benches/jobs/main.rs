//! How fast Millstream is, against programs written by hand for the same jobs.
//!
//! `cargo bench --bench jobs` makes the data (once), runs everything and prints Markdown. Sections are chosen by name:
//! `cargo bench --bench jobs -- cpu scaling J3`. Sections: `cpu` (processor time per event, ratio to the yardstick, peak
//! memory), `checkpoints` (what one a second costs), `scaling` (one worker on one processor against two on two), `keys`
//! (a million keys: instructions per event against those of a thousand, pauses at checkpoints, how long recovery takes),
//! `alerts` (a hundred thousand keys that fire at once), `script` (a script outside of the compiled subset), `start` (from
//! start to the first row). Names of jobs (`J1` to `J5`) choose among those of `cpu`, `checkpoints` and `scaling`.
//!
//! Instructions are counted by the processor through `perf` where it lets programs count, else by `valgrind`.
//!
//! The data and the outputs lie in `target/bench`. `MILLSTREAM` names another binary to measure, `BENCH_EVENTS` another
//! number of events.

// What a benchmark prints is its result.
#![allow(clippy::print_stdout)]

mod alerts;
mod checkpoints;
mod compare;
mod data;
mod keys;
mod measure;
mod report;
mod yardstick;

use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What went wrong, for the person at the terminal.
type Failure = Box<dyn std::error::Error>;

/// Where things are.
pub struct Places {
    /// `target/bench`.
    data: PathBuf,
    /// `benches/jobs`.
    jobs: PathBuf,
    /// The binary that is measured.
    millstream: PathBuf,
    /// This program, which is the yardsticks, too.
    myself: PathBuf,
    /// Events in the data.
    events: u64,
}

/// A job's name and what it does.
type Job = (&'static str, &'static str);

/// The five jobs by name, with their file's stem.
const JOBS: [Job; 5] = [
    ("J1", "pass every row through"),
    ("J2", "filter, add a field, drop a field"),
    ("J3", "tumbling 10 s per device: count, avg, min, max"),
    ("J4", "sliding 60 s by 10 s per device: count, avg, min, max"),
    ("J5", "sessions of 3 s per device: count"),
];

const SECTIONS: [&str; 7] = ["cpu", "checkpoints", "scaling", "keys", "alerts", "script", "start"];

fn main() -> Result<(), Failure> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["yardstick", job, input, output] => yardstick::run(job, input.as_ref(), output.as_ref()),
        ["measure", program, arguments @ ..] => measure::child(program, arguments),
        chosen => run(chosen),
    }
}

fn run(chosen: &[&str]) -> Result<(), Failure> {
    let known =
        |name: &&&str| !SECTIONS.contains(*name) && !JOBS.iter().any(|(job, _)| job == *name) && **name != "data";
    if let Some(unknown) = chosen.iter().find(known) {
        return Err(format!("`{unknown}` is neither a section ({}) nor a job (J1 to J5)", SECTIONS.join(", ")).into());
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let myself = std::env::current_exe()?;
    // target/release/deps/jobs-… lies two directories below target's profile.
    let target = myself.ancestors().nth(3).map_or_else(|| root.join("target"), PathBuf::from);
    let places = Places {
        data: target.join("bench"),
        jobs: root.join("benches/jobs"),
        millstream: std::env::var_os("MILLSTREAM")
            .map_or_else(|| env!("CARGO_BIN_EXE_millstream").into(), PathBuf::from),
        myself,
        events: std::env::var("BENCH_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(5_000_000),
    };
    std::fs::create_dir_all(places.data.join("out"))?;
    let events = places.data.join("events.ndjson");
    data::make_once(&events, places.events, 1_000)?;
    let sections: Vec<&str> = SECTIONS.into_iter().filter(|s| chosen.contains(s)).collect();
    let jobs: Vec<_> = JOBS.into_iter().filter(|(job, _)| chosen.contains(job)).collect();
    let jobs = if jobs.is_empty() { JOBS.to_vec() } else { jobs };
    let all = sections.is_empty() && !chosen.contains(&"data");
    for section in SECTIONS.into_iter().filter(|s| all || sections.contains(s)) {
        match section {
            "cpu" => report::cpu(&places, &jobs)?,
            "checkpoints" => checkpoints::checkpoints(&places, &jobs)?,
            "scaling" => report::scaling(&places, &jobs)?,
            "keys" => keys::keys(&places)?,
            "alerts" => alerts::alerts(&places)?,
            "script" => report::script(&places)?,
            _ => report::start(&places)?,
        }
    }
    Ok(())
}
