//! What checkpoints cost: one a second against none.

use crate::measure::{Cost, Run, cost, instructions, median};
use crate::report::{path, pipeline, remove_old};
use crate::{Failure, Job, Places, data};

/// Pairs of runs, one without checkpoints and one with one a second, in turns.
const PAIRS: usize = 7;
/// Seconds that a run takes at least: the input is repeated, time moved on, until it does.
const SECONDS: f64 = 30.0;
/// Parts of the events that instructions are counted over: counting takes long where the processor does not do it.
const SHORT: u64 = 20;
const LONG_FILE: &str = "events-long.ndjson";
const SHORT_FILE: &str = "events-short.ndjson";

fn run(places: &Places, job: &str, every: &str, events: Option<&str>) -> Result<Cost, Failure> {
    let run = Run { processors: Some("0"), checkpoint: Some(every), events };
    let arguments = ["run", "--fresh", "--workers", "1", &pipeline(places, job)];
    remove_old(&path(places, &format!("{}.ndjson", job.to_lowercase())))?;
    cost(places, &run, &places.millstream, &arguments)
}

/// What one checkpoint a second costs in processor time, and in instructions.
pub fn checkpoints(places: &Places, jobs: &[Job]) -> Result<(), Failure> {
    println!("\n### Checkpoints\n");
    println!(
        "One a second against none; one worker on one processor, files synced. Processor time (user and system): runs of"
    );
    println!("at least {SECONDS} s, the middle of {PAIRS} pairs.\n");
    println!("| job | events | none s | one a second s | checkpoints | processor time | instructions |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    data::make_once(&places.data.join(SHORT_FILE), places.events / SHORT, 1_000)?;
    let mut by = "";
    for (job, what) in jobs {
        let once = run(places, job, "1h", None)?;
        let events = places.events * (SECONDS / once.wall).ceil().max(1.0) as u64;
        data::make_once(&places.data.join(LONG_FILE), events, 1_000)?;
        let (mut without, mut with, mut more, mut made) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for _ in 0..PAIRS {
            let none = run(places, job, "1h", Some(LONG_FILE))?;
            let one = run(places, job, "1s", Some(LONG_FILE))?;
            more.push((one.cpu - none.cpu) / none.cpu);
            made = one.checkpoints.len();
            without.push(none);
            with.push(one);
        }
        data::remove(&places.data.join(LONG_FILE))?;
        remove_old(&path(places, &format!("{}.ndjson", job.to_lowercase())))?;
        let of = |runs: &[Cost], part: fn(&Cost) -> f64| median(runs.iter().map(part).collect());
        let rate = events as f64 / of(&without, |c| c.wall);
        let counted = counted(places, job, rate)?;
        by = counted.by;
        println!(
            "| {job} {what} | {events} | {:.1} | {:.1} | {made} | {:+.1} % | {:+.1} % |",
            of(&without, |c| c.cpu),
            of(&with, |c| c.cpu),
            median(more) * 100.0,
            counted.share * 100.0,
        );
    }
    data::remove(&places.data.join(SHORT_FILE))?;
    println!(
        "\nInstructions in user mode, counted by {by} over shorter runs with many checkpoints: those that one checkpoint"
    );
    println!("takes more, as a part of those that a second of events takes.");
    Ok(())
}

/// What a checkpoint takes more, as a part of what a second of events takes.
struct Counted {
    share: f64,
    by: &'static str,
}

fn counted(places: &Places, job: &str, events_a_second: f64) -> Result<Counted, Failure> {
    let count = |every: &str| {
        let run = Run { processors: None, checkpoint: Some(every), events: Some(SHORT_FILE) };
        instructions(places, &run, &["run", "--fresh", "--workers", "1", &pipeline(places, job)])
    };
    let (none, many) = (count("1h")?, count("1s")?);
    let checkpoints = many.checkpoints.len().saturating_sub(none.checkpoints.len());
    let of_one = (many.count - none.count) / checkpoints.max(1) as f64;
    let of_event = none.count / (places.events / SHORT) as f64;
    Ok(Counted { share: of_one / (of_event * events_a_second), by: none.by })
}
