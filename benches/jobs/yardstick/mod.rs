//! The yardsticks: each job as a program that a good Rust programmer writes by hand in an afternoon and then makes fast.
//! One thread, typed structs with borrowed text, large reads and writes, no general engine; right results, watermark and
//! order of closing included.
//!
//! J1 reads each line into the typed struct and writes it back: the checked copy that a hand-written filter starts from.

mod sessions;
mod windows;

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Failure;
use millstream::base::time::parse_rfc3339;

const BLOCK: usize = 1 << 20;

/// An event, whole.
#[derive(Deserialize, Serialize)]
struct Event<'a> {
    device_id: &'a str,
    ts: &'a str,
    temperature: f64,
    humidity: f64,
    status: &'a str,
    site: Site<'a>,
    seq: u64,
}

#[derive(Deserialize, Serialize)]
struct Site<'a> {
    building: &'a str,
    floor: u32,
}

/// What J2 writes.
#[derive(Serialize)]
struct Converted<'a> {
    device_id: &'a str,
    ts: &'a str,
    temperature: f64,
    status: &'a str,
    site: Site<'a>,
    seq: u64,
    fahrenheit: f64,
}

/// What the windows read of an event; `serde_json` passes over the rest.
#[derive(Deserialize)]
struct Reading<'a> {
    device_id: &'a str,
    ts: &'a str,
    temperature: f64,
}

/// What the sessions read of an event.
#[derive(Deserialize)]
struct Sighting<'a> {
    device_id: &'a str,
    ts: &'a str,
}

type Output = BufWriter<File>;

/// Runs one job.
pub fn run(job: &str, input: &Path, output: &Path) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(BLOCK, File::create(output)?);
    match job {
        "J1" => lines(input, |line| {
            let event: Event<'_> = serde_json::from_slice(line)?;
            write(&mut out, &event)
        })?,
        "J2" => lines(input, |line| {
            let Event { device_id, ts, temperature, status, site, seq, .. } = serde_json::from_slice(line)?;
            if status != "ok" || temperature <= 20.0 {
                return Ok(());
            }
            let fahrenheit = temperature * 9.0 / 5.0 + 32.0;
            write(&mut out, &Converted { device_id, ts, temperature, status, site, seq, fahrenheit })
        })?,
        "J3" => windows::run(input, &mut out, 10_000_000, 10_000_000)?,
        "J4" => windows::run(input, &mut out, 60_000_000, 10_000_000)?,
        "J5" => sessions::run(input, &mut out, 3_000_000)?,
        _ => return Err(format!("there is no job `{job}`").into()),
    }
    out.flush()?;
    Ok(())
}

/// Calls `each` with every line of a file. Lines are looked at where they were read; only one that spans two blocks moves.
fn lines(path: &Path, mut each: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut file = File::open(path)?;
    let mut block = vec![0; BLOCK];
    let mut held = 0;
    loop {
        if held == block.len() {
            block.resize(block.len() * 2, 0);
        }
        let count = file.read(&mut block[held..])?;
        let filled = held + count;
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &block[..filled]) {
            each(&block[start..end])?;
            start = end + 1;
        }
        if count == 0 {
            return if start < filled { each(&block[start..filled]) } else { Ok(()) };
        }
        block.copy_within(start..filled, 0);
        held = filled - start;
    }
}

fn write(out: &mut Output, row: &impl Serialize) -> Result<(), Failure> {
    serde_json::to_writer(&mut *out, row)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Microseconds since the epoch.
fn micros(ts: &str) -> Result<i64, Failure> {
    parse_rfc3339(ts.as_bytes()).map(|t| t.0).ok_or_else(|| format!("`{ts}` is no time").into())
}

/// How far events may be out of order, microseconds.
const OUT_OF_ORDER: i64 = 5_000_000;

/// Names and their numbers.
#[derive(Default)]
struct Names {
    numbers: hashbrown::HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    names: Vec<Box<str>>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.numbers.insert(name.into(), number);
        self.names.push(name.into());
        number
    }

    fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }
}
