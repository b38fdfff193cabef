//! The sections: each measures one thing and prints a table in Markdown.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::measure::{Cost, Run, cost, median};
use crate::{Failure, Job, Places, compare};

/// Runs of each program for processor time, taken in turns so that both see the same machine.
const TURNS: usize = 5;
/// Runs for wall-clock time, of which the best counts: everything that disturbs only adds to it.
const BEST_OF: usize = 7;

/// The file of a pipeline.
pub fn pipeline(places: &Places, name: &str) -> String {
    places.jobs.join(format!("{}.yaml", name.to_lowercase())).display().to_string()
}

/// Where outputs are written.
pub fn path(places: &Places, name: &str) -> PathBuf {
    places.data.join("out").join(name)
}

/// Freeing the blocks of a file that is replaced takes the system as long as a tenth of a job, and is nobody's work here.
pub fn remove_old(file: &Path) -> Result<(), Failure> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

fn run_yardstick(places: &Places, job: &str) -> Result<Cost, Failure> {
    let input = places.data.join("events.ndjson").display().to_string();
    let output = path(places, &format!("{}.yardstick", job.to_lowercase()));
    remove_old(&output)?;
    let output = output.display().to_string();
    let run = Run { processors: Some("0"), ..Run::default() };
    cost(places, &run, &places.myself, &["yardstick", job, &input, &output])
}

fn run_ours(places: &Places, name: &str, workers: usize) -> Result<Cost, Failure> {
    let processors = if workers == 1 { "0" } else { "0,1" };
    let count = workers.to_string();
    remove_old(&path(places, &format!("{}.ndjson", name.to_lowercase())))?;
    let arguments = ["run", "--fresh", "--workers", &count, &pipeline(places, name)];
    cost(places, &Run { processors: Some(processors), ..Run::default() }, &places.millstream, &arguments)
}

fn micros_per_event(places: &Places, seconds: f64) -> f64 {
    seconds * 1e6 / places.events as f64
}

/// Processor time per event of one worker beside the yardstick's, and whether the rows are the same.
pub fn cpu(places: &Places, jobs: &[Job]) -> Result<(), Failure> {
    println!("\n### Processor time per event\n");
    println!("{} events, one worker; the middle of {TURNS} runs, user and system time.\n", places.events);
    println!("| job | yardstick µs | Millstream µs | ratio | wall s | peak MiB (yardstick) | rows |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (job, what) in jobs {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            theirs.push(run_yardstick(places, job)?);
            ours.push(run_ours(places, job, 1)?);
        }
        let stem = job.to_lowercase();
        let rows =
            compare::same(&path(places, &format!("{stem}.ndjson")), &path(places, &format!("{stem}.yardstick")))?;
        let of = |runs: &[Cost], part: fn(&Cost) -> f64| median(runs.iter().map(part).collect());
        let (yard, mill) = (of(&theirs, |c| c.cpu), of(&ours, |c| c.cpu));
        println!(
            "| {job} {what} | {:.2} | {:.2} | {:.2} | {:.2} | {:.0} ({:.0}) | {rows} |",
            micros_per_event(places, yard),
            micros_per_event(places, mill),
            mill / yard,
            of(&ours, |c| c.wall),
            of(&ours, |c| c.memory),
            of(&theirs, |c| c.memory),
        );
    }
    Ok(())
}

/// Wall-clock time of one worker on one processor against two on two.
pub fn scaling(places: &Places, jobs: &[Job]) -> Result<(), Failure> {
    println!("\n### Two workers\n");
    println!("Wall-clock, best of {BEST_OF}; one worker pinned to one processor, two to two.\n");
    println!("| job | one s | two s | speed-up |");
    println!("|---|---:|---:|---:|");
    for (job, what) in jobs {
        let mut best = [f64::INFINITY; 2];
        for _ in 0..BEST_OF {
            for (workers, best) in (1..).zip(&mut best) {
                *best = best.min(run_ours(places, job, workers)?.wall);
            }
        }
        let [one, two] = best;
        println!("| {job} {what} | {one:.2} | {two:.2} | {:.2} |", one / two);
    }
    Ok(())
}

/// A script that is outside of the compiled subset.
pub fn script(places: &Places) -> Result<(), Failure> {
    println!("\n### A script in Rhai\n");
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(run_ours(places, "script", 1)?.cpu);
    }
    let cpu = micros_per_event(places, median(runs));
    println!("A script with a loop, which runs in Rhai: {cpu:.2} µs of processor time per event.");
    Ok(())
}

/// From the start of the process to the first row, with a line waiting on standard input.
pub fn start(places: &Places) -> Result<(), Failure> {
    println!("\n### Start\n");
    let mut times = Vec::new();
    for _ in 0..21 {
        let mut command = Command::new(&places.millstream);
        command.arg("run").arg(pipeline(places, "start")).env("MILLSTREAM_DATA", places.data.join("state"));
        let started = Instant::now();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the program has no standard streams".into());
        };
        input.write_all(b"{\"temperature\":21}\n")?;
        let mut row = String::new();
        BufReader::new(output).read_line(&mut row)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        drop(input);
        let end = child.wait_with_output()?;
        if !end.status.success() || row.trim_end() != "{\"temperature\":21}" {
            return Err(format!("the run ended with `{row}`:\n{}", String::from_utf8_lossy(&end.stderr)).into());
        }
    }
    let best = times.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "From start to the first row: {:.1} ms (middle of {}), {best:.1} ms (best).",
        median(times.clone()),
        times.len()
    );
    Ok(())
}
