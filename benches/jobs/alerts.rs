//! What it takes when every key of an alert fires at once, and resolves at once.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;

use crate::measure::{Cost, Run, cost, median};
use crate::report::remove_old;
use crate::{Failure, Places};

/// Keys that fire.
const KEYS: u64 = 100_000;
const RUNS: usize = 3;

/// Policies: what they are called, and what the alert says.
const POLICIES: [(&str, &str); 5] = [
    ("each key alone", "      notify_max_age: 100000d\n"),
    (
        "1,000 groups",
        "      notify_max_age: 100000d\n      group_by: [site]\n      group_wait: 0s\n      group_interval: 0s\n",
    ),
    (
        "one group",
        "      notify_max_age: 100000d\n      group_by: []\n      group_wait: 0s\n      group_interval: 0s\n",
    ),
    ("each alone, 10 a minute at most", "      notify_max_age: 100000d\n      rate: { count: 10, per: 1m }\n"),
    ("nobody: it is too old", "      notify_max_age: 1h\n"),
];

/// All keys fire, then all resolve.
pub fn alerts(places: &Places) -> Result<(), Failure> {
    println!("\n### {KEYS} keys fire at once, and resolve at once\n");
    println!("Two rows a key; notifications into a file, which ends with the run. The middle of {RUNS} runs.\n");
    println!("| told | seconds | processor time s | memory MiB | notifications |");
    println!("|---|---:|---:|---:|---:|");
    let events = places.data.join("storm.ndjson");
    write_events(&events)?;
    let (file, told) = (places.data.join("storm.yaml"), places.data.join("out/storm.ndjson"));
    for (name, policy) in POLICIES {
        std::fs::write(&file, pipeline(&events, &told, policy))?;
        let mut costs: Vec<Cost> = Vec::with_capacity(RUNS);
        for _ in 0..RUNS {
            remove_old(&told)?;
            let arguments = ["run", "--fresh", &file.to_string_lossy()].map(str::to_owned);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            costs.push(cost(places, &Run::default(), &places.millstream, &arguments)?);
        }
        let of = |part: fn(&Cost) -> f64| median(costs.iter().map(part).collect());
        println!(
            "| {name} | {:.2} | {:.2} | {:.0} | {} |",
            of(|c| c.wall),
            of(|c| c.cpu),
            of(|c| c.memory),
            File::open(&told).map_or(0, |file| BufReader::new(file).lines().count())
        );
    }
    Ok(())
}

fn write_events(path: &Path) -> Result<(), Failure> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    for (second, temperature) in [(0, 35), (30, 20)] {
        for key in 0..KEYS {
            let micros = key * 10;
            let site = key % 1_000;
            writeln!(
                out,
                "{{\"ts\":\"2026-01-01T00:00:{second:02}.{micros:06}Z\",\"device\":\"device-{key}\",\"site\":\"site-{site}\",\"temperature\":{temperature}}}"
            )?;
        }
    }
    Ok(out.flush()?)
}

fn pipeline(events: &Path, told: &Path, policy: &str) -> String {
    format!(
        "name: storm
sources:
  readings:
    file: {{ path: \"{}\" }}
    time: {{ field: ts }}
sinks:
  hot:
    alert:
      by: [device, site]
      when: temperature > 30
      title: \"{{{{ device }}}} is at {{{{ temperature }}}} °C\"
{policy}      notify:
        - file: {{ path: \"{}\", mode: append }}
",
        events.display(),
        told.display()
    )
}
