//! What a run of another program cost.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

use crate::{Failure, Places};

/// What one run cost.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Processor time in user and system mode of all its threads, seconds.
    pub cpu: f64,
    /// From start to end, seconds.
    pub wall: f64,
    /// The most memory it held, MiB.
    pub memory: f64,
    /// The checkpoints that it told of.
    pub checkpoints: Vec<Checkpoint>,
}

/// Runs a program and prints what it cost, and what it said on standard error: a process between, because the system tells
/// only what all children of a process together used.
pub fn child(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let started = Instant::now();
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    let wall = started.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("`{program}` failed ({}):\n{said}", output.status).into());
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    println!("{cpu} {wall} {}\n{said}", usage.max_rss() as f64 / 1024.0);
    Ok(())
}

/// How a program is run.
#[derive(Clone, Copy, Default)]
pub struct Run<'a> {
    /// The processors that it may use (`0`, `0,1`).
    pub processors: Option<&'a str>,
    /// How often there is a checkpoint, other than by the author's default.
    pub checkpoint: Option<&'a str>,
    /// The file of events, other than `events.ndjson`.
    pub events: Option<&'a str>,
}

impl Run<'_> {
    /// Tells a command what pipelines ask the environment for, and to say what becomes of its checkpoints.
    pub fn tell(&self, places: &Places, command: &mut Command) {
        command.env("BENCH_DATA", &places.data).env("MILLSTREAM_DATA", places.data.join("state"));
        if let Some(every) = self.checkpoint {
            command.env("CHECKPOINT", every).env("MILLSTREAM_LOG", "debug");
        }
        if let Some(events) = self.events {
            command.env("EVENTS_FILE", events);
        }
    }
}

/// Runs a program to its end.
pub fn cost(places: &Places, run: &Run<'_>, program: &Path, arguments: &[&str]) -> Result<Cost, Failure> {
    let mut command = Command::new(&places.myself);
    command.arg("measure");
    if let Some(processors) = run.processors {
        command.args(["taskset", "-c", processors]);
    }
    command.arg(program).args(arguments);
    run.tell(places, &mut command);
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let (numbers, said) = text.split_once('\n').unwrap_or_default();
    let numbers: Vec<f64> = numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        [cpu, wall, memory] => Ok(Cost { cpu: *cpu, wall: *wall, memory: *memory, checkpoints: checkpoints(said) }),
        _ => Err(format!("the measuring process said `{text}`").into()),
    }
}

/// A checkpoint as the log tells it.
#[derive(Clone, Copy, Debug)]
pub struct Checkpoint {
    /// Changed rows.
    pub rows: f64,
    /// Bytes of them.
    pub bytes: f64,
    /// How long it took to write them.
    pub commit_ms: f64,
    /// The longest that a tick took a step since the checkpoint before.
    pub longest_tick_ms: f64,
}

/// The checkpoints that a run told of.
pub fn checkpoints(said: &str) -> Vec<Checkpoint> {
    let field = |line: &str, name: &str| {
        let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse().ok())
    };
    let of_line = |line: &str| {
        Some(Checkpoint {
            rows: field(line, "rows")?,
            bytes: field(line, "bytes")?,
            commit_ms: field(line, "commit_ms")?,
            longest_tick_ms: field(line, "longest_tick_ms")?,
        })
    };
    said.lines().filter_map(of_line).collect()
}

/// Instructions that a program took in user mode.
pub struct Instructions {
    /// How many.
    pub count: f64,
    /// Who counted.
    pub by: &'static str,
    /// The checkpoints that it made meanwhile.
    pub checkpoints: Vec<Checkpoint>,
}

/// Counts the instructions that Millstream takes in user mode.
pub fn instructions(places: &Places, run: &Run<'_>, arguments: &[&str]) -> Result<Instructions, Failure> {
    let perf = ["perf", "stat", "-x,", "-e", "instructions:u"];
    let counts = |wrapper: &[&str]| {
        let [program, options @ ..] = wrapper else { return Err("no program".into()) };
        let mut command = Command::new(program);
        command.args(options).arg(&places.millstream).args(arguments);
        run.tell(places, &mut command);
        let output = command.stdin(Stdio::null()).stdout(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(said) } else { Err::<String, Failure>(said.into()) }
    };
    let by_perf = |said: &str| {
        let line = said.lines().find(|line| line.contains("instructions:u"))?;
        line.split(',').next()?.parse().ok()
    };
    let trial = Command::new("perf").args(&perf[1..]).arg("true").output();
    if trial.is_ok_and(|trial| by_perf(&String::from_utf8_lossy(&trial.stderr)).is_some()) {
        let said = counts(&perf)?;
        let count = by_perf(&said).ok_or("perf counted nothing")?;
        return Ok(Instructions { count, by: "perf", checkpoints: checkpoints(&said) });
    }
    let said = counts(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"])?;
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    let count = line.and_then(|(_, count)| count.trim().parse().ok()).ok_or("valgrind counted nothing")?;
    Ok(Instructions { count, by: "valgrind", checkpoints: checkpoints(&said) })
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
