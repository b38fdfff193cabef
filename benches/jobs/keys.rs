//! A million keys: what an event costs, how long checkpoints hold up the flow, how long recovery takes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::measure::{Checkpoint, Run, cost, instructions, median};
use crate::report::{pipeline, remove_old};
use crate::{Failure, Places, data};

const MILLION: u64 = 1_000_000;
/// Events after each key has come once.
const MORE: u64 = 9 * MILLION;
/// Recoveries, of which the middle counts.
const RECOVERIES: usize = 7;

/// All three.
pub fn keys(places: &Places) -> Result<(), Failure> {
    println!("\n### A million keys\n");
    println!("One window of a day per device, four aggregates, rows discarded; one worker.");
    pauses(places)?;
    per_event(places)
}

/// The longest ticks while there are checkpoints, of which one key in a hundred or all changed; then recovery.
fn pauses(places: &Places) -> Result<(), Failure> {
    println!(
        "\nThe longest time from when a tick could begin at the step until the step was through with it, once all keys"
    );
    println!("were there:\n");
    println!("| changed | every | checkpoints | most rows | most MB | longest commit ms | longest tick ms |");
    println!("|---|---|---:|---:|---:|---:|---:|");
    let file = "events-keys.ndjson";
    for (name, busy) in [("1 %", MILLION / 100), ("100 %", MILLION)] {
        data::make_keys(&places.data.join(file), MILLION, MORE, busy)?;
        for every in ["5s", "1s"] {
            let run = Run { processors: None, checkpoint: Some(every), events: Some(file) };
            let arguments = ["run", "--fresh", "--workers", "1", &pipeline(places, "keys")];
            let ran = cost(places, &run, &places.millstream, &arguments)?;
            let made = steady(&ran.checkpoints);
            let most = |of: fn(&Checkpoint) -> f64| made.iter().map(of).fold(0.0, f64::max);
            println!(
                "| {name} | {every} | {} | {:.0} | {:.1} | {:.0} | {:.1} |",
                made.len(),
                most(|c| c.rows),
                most(|c| c.bytes) / 1e6,
                most(|c| c.commit_ms),
                most(|c| c.longest_tick_ms),
            );
        }
    }
    let took = recovery(places, file);
    std::fs::remove_file(places.data.join(file))?;
    took
}

/// The checkpoints made when every key had been stored, but for the last two: all windows close in one tick at the end, and
/// the checkpoint before the last is often still being gathered then, so that the tick is counted with it.
fn steady(made: &[Checkpoint]) -> &[Checkpoint] {
    let mut stored = 0.0;
    let filled = made.iter().position(|checkpoint| {
        stored += checkpoint.rows;
        stored >= MILLION as f64
    });
    let after = filled.and_then(|at| made.get(at + 1..)).unwrap_or_default();
    after.get(..after.len().saturating_sub(2)).unwrap_or_default()
}

/// A run that has all keys is stopped, and begun and stopped again: start, reading the state back and stopping.
fn recovery(places: &Places, file: &str) -> Result<(), Failure> {
    println!("\n| workers | start, recovery of {MILLION} keys and stop, s |\n|---:|---:|");
    for workers in ["1", "2"] {
        let run = Run { processors: None, checkpoint: Some("2s"), events: Some(file) };
        let begin = |fresh: bool| {
            let mut command = Command::new(&places.millstream);
            command.args(["run", "--workers", workers, &pipeline(places, "recovery")]);
            if fresh {
                command.arg("--fresh");
            }
            run.tell(places, &mut command);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
        };
        let stop = |child: &std::process::Child| kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        // What an earlier run left would be taken for this one's.
        remove_old(&places.data.join("state/recovery.db"))?;
        let mut first = begin(true)?;
        while read_so_far(places)? < MILLION + MORE {
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        stop(&first)?;
        first.wait()?;
        let mut times = Vec::new();
        for _ in 0..RECOVERIES {
            let began = Instant::now();
            let mut again = begin(false)?;
            let said = again.stderr.take().ok_or("no standard error")?;
            // It takes signals by then.
            let goes_on =
                BufReader::new(said).lines().find(|line| line.as_ref().is_ok_and(|l| l.contains("goes on from")));
            if goes_on.is_none() {
                return Err("the run did not go on".into());
            }
            stop(&again)?;
            again.wait()?;
            times.push(began.elapsed().as_secs_f64());
        }
        println!("| {workers} | {:.2} |", median(times));
    }
    Ok(())
}

/// Events that the last checkpoint counts.
fn read_so_far(places: &Places) -> Result<u64, Failure> {
    let mut command = Command::new(&places.millstream);
    command.args(["status", "--format", "json", &pipeline(places, "recovery")]);
    Run::default().tell(places, &mut command);
    let status: Value = serde_json::from_slice(&command.output()?.stdout)?;
    let entries = status["ledger"].as_array().map(Vec::as_slice).unwrap_or_default();
    let events = entries.iter().find(|entry| entry["entry"] == "events");
    Ok(events.and_then(|entry| entry["taken"].as_u64()).unwrap_or(0))
}

/// Instructions per event while 1,000 and 1,000,000 keys hold state: what the second half of the events adds, so that
/// neither starting nor the rows that leave at the end count.
fn per_event(places: &Places) -> Result<(), Failure> {
    println!("\nInstructions in user mode that the second half of the events adds:\n");
    println!("| keys | instructions per event |");
    println!("|---:|---:|");
    let (mut counts, mut by) = (Vec::new(), "");
    let half = MILLION;
    for (keys, name) in [(1_000, "events-1k"), (MILLION, "events-1m")] {
        let mut of_files = Vec::new();
        for (more, file) in [(half, format!("{name}-half.ndjson")), (2 * half, format!("{name}.ndjson"))] {
            let path = places.data.join(&file);
            data::make_keys(&path, keys, more, keys)?;
            let run = Run { processors: None, checkpoint: Some("1h"), events: Some(&file) };
            let counted = instructions(places, &run, &["run", "--fresh", "--workers", "1", &pipeline(places, "keys")])?;
            std::fs::remove_file(path)?;
            by = counted.by;
            of_files.push(counted.count);
        }
        let added = of_files.get(1).unwrap_or(&f64::NAN) - of_files.first().unwrap_or(&f64::NAN);
        println!("| {keys} | {:.0} |", added / half as f64);
        counts.push(added);
    }
    if let [few, many] = counts.as_slice() {
        println!("\nRatio: {:.2}; counted by {by}.", many / few);
    }
    Ok(())
}
