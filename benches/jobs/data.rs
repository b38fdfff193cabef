//! The events that the jobs read: the same in every run and on every machine.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use millstream::base::time::{RFC3339_LEN, Timestamp, write_rfc3339};

use crate::Failure;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;
/// How far behind its place an event may stand.
const DISORDER_MS: u64 = 5_000;

/// A number that depends on the event and the field alone. SplitMix64 (Steele, Lea, Flood 2014).
fn random(event: u64, field: u64) -> u64 {
    let mut z = event.wrapping_mul(8).wrapping_add(field).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Writes the file unless it is there with as many events and keys.
pub fn make_once(path: &Path, events: u64, keys: u64) -> Result<(), Failure> {
    let note = path.with_extension("made");
    let made = format!("4 {events} {keys}\n");
    if path.is_file() && std::fs::read_to_string(&note).is_ok_and(|was| was == made) {
        return Ok(());
    }
    eprintln!("making {events} events of {keys} devices: {}", path.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for event in 0..events {
        write(&mut out, event, keys)?;
    }
    out.flush()?;
    std::fs::write(note, made)?;
    Ok(())
}

/// Takes away a file that was made.
pub fn remove(path: &Path) -> Result<(), Failure> {
    std::fs::remove_file(path.with_extension("made"))?;
    Ok(std::fs::remove_file(path)?)
}

/// Writes an event of each key, then `more` events of the first `busy` of the keys.
pub fn make_keys(path: &Path, keys: u64, more: u64, busy: u64) -> Result<(), Failure> {
    eprintln!("making {keys} events of {keys} devices and {more} of {busy} of them: {}", path.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for event in 0..keys + more {
        let device = if event < keys { event } else { random(event, 2) % busy };
        write_of(&mut out, event, device)?;
    }
    Ok(out.flush()?)
}

/// One event of about 150 bytes. A quarter come up to 5 s late, the others up to 50 ms; none is later than that.
fn write(out: &mut impl std::io::Write, event: u64, keys: u64) -> std::io::Result<()> {
    write_of(out, event, random(event, 2) % keys)
}

fn write_of(out: &mut impl std::io::Write, event: u64, device: u64) -> std::io::Result<()> {
    let late = if random(event, 0).is_multiple_of(4) { random(event, 1) % DISORDER_MS } else { random(event, 1) % 50 };
    let at = Timestamp(START + (event as i64 - late as i64) * 1_000);
    let mut time = [0; RFC3339_LEN];
    let time = write_rfc3339(at, &mut time);
    // `{:?}` writes a double as JSON programs do: 21.0, 21.35.
    let temperature = (random(event, 3) % 4_000) as f64 / 100.0;
    let humidity = (2_000 + random(event, 4) % 6_000) as f64 / 100.0;
    let status = match random(event, 5) % 20 {
        0 => "failed",
        1..=3 => "degraded",
        _ => "ok",
    };
    let building = ["north", "south", "east", "west"][(device % 4) as usize];
    let floor = device % 7;
    writeln!(
        out,
        r#"{{"device_id":"dev-{device:04}","ts":"{time}","temperature":{temperature:?},"humidity":{humidity:?},"status":"{status}","site":{{"building":"{building}","floor":{floor}}},"seq":{event}}}"#
    )
}
