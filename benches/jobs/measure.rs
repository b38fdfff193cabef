//! What a run of another program cost.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};

use crate::{Failure, Places};

/// What one run cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Processor time in user and system mode of all its threads, seconds.
    pub cpu: f64,
    /// From start to end, seconds.
    pub wall: f64,
    /// The most memory it held, MiB.
    pub memory: f64,
}

/// Runs a program and prints what it cost: a process between, because the system tells only what all children of a
/// process together used.
pub fn child(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let started = Instant::now();
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output()?;
    let wall = started.elapsed().as_secs_f64();
    if !output.status.success() {
        return Err(
            format!("`{program}` failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    println!("{cpu} {wall} {}", usage.max_rss() as f64 / 1024.0);
    Ok(())
}

/// Runs a program to its end, on these processors if some are named (`0`, `0,1`), with a checkpoint every so often.
pub fn cost(
    places: &Places,
    (processors, checkpoint): (Option<&str>, Option<&str>),
    program: &Path,
    arguments: &[&str],
) -> Result<Cost, Failure> {
    let mut command = Command::new(&places.myself);
    command.arg("measure");
    if let Some(processors) = processors {
        command.args(["taskset", "-c", processors]);
    }
    command.arg(program).args(arguments).env("BENCH_DATA", &places.data);
    command.env("MILLSTREAM_DATA", places.data.join("state"));
    if let Some(every) = checkpoint {
        command.env("CHECKPOINT", every);
    }
    let output = command.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        [cpu, wall, memory] => Ok(Cost { cpu: *cpu, wall: *wall, memory: *memory }),
        _ => Err(format!("the measuring process said `{text}`").into()),
    }
}

/// Instructions that a program takes in user mode, counted by the processor through `perf`.
pub fn instructions(places: &Places, program: &Path, arguments: &[&str]) -> Result<f64, Failure> {
    let mut command = Command::new("perf");
    command.args(["stat", "-x,", "-e", "instructions:u"]).arg(program).args(arguments).env("BENCH_DATA", &places.data);
    command.env("MILLSTREAM_DATA", places.data.join("state"));
    let output = command.stdout(Stdio::null()).output()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(text.into());
    }
    let line = text.lines().find(|line| line.contains("instructions")).ok_or("perf counted nothing")?;
    Ok(line.split(',').next().unwrap_or_default().parse()?)
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
