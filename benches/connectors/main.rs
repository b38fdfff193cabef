//! How fast what comes and goes over the network is, beside programs that do nothing else with the same libraries: the same
//! client, payload, 64 in parallel, broker settings and durability (they append to a file and sync it per group).
//!
//! `cargo bench --bench connectors` runs everything; sections may be named: `http_in`, `http_out`, `mqtt_in`, `mqtt_out`,
//! `latency`. The last three need Mosquitto. Rates are events a second, the middle of several runs in turns.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on says why")]
#![allow(clippy::print_stdout)]

mod bare;
mod http;
mod mqtt;
mod process;

/// What goes wrong.
pub type Failure = Box<dyn std::error::Error>;

/// Requests or messages under way at once.
pub const PARALLEL: usize = 64;
/// Runs of each program.
const RUNS: usize = 5;

const SECTIONS: [&str; 5] = ["http_in", "http_out", "mqtt_in", "mqtt_out", "latency"];

fn main() -> Result<(), Failure> {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["bare", what, rest @ ..] = arguments.as_slice() {
        return bare::run(what, rest);
    }
    if let Some(unknown) = arguments.iter().find(|name| !SECTIONS.contains(name)) {
        return Err(format!("`{unknown}` is no section ({})", SECTIONS.join(", ")).into());
    }
    let chosen = |name: &str| arguments.is_empty() || arguments.contains(&name);
    println!("| | Millstream a second | bare client a second | ratio |\n|---|---:|---:|---:|");
    let (mut in_rate, mut out_rate) = (None, None);
    if chosen("http_in") {
        compare("HTTP in, `202` when it is on the disk", http::received, http::received_bare)?;
    }
    if chosen("http_out") {
        out_rate = Some(compare("HTTP out, a row a request", http::sent, http::sent_bare)?);
    }
    if chosen("mqtt_in") {
        in_rate =
            Some(compare("MQTT in, QoS 1, acknowledged when it is on the disk", mqtt::received, mqtt::received_bare)?);
    }
    if chosen("mqtt_out") {
        compare("MQTT out, QoS 1", mqtt::sent, mqtt::sent_bare)?;
    }
    if chosen("latency") {
        let most = [in_rate, out_rate].into_iter().flatten().reduce(f64::min).unwrap_or(4_000.0);
        println!("\n| from publish (MQTT, QoS 1) to webhook | p50 ms | p99 ms |\n|---|---:|---:|");
        for (name, rate) in [("quiet: 50 a second", 50.0), ("half load", most / 2.0)] {
            let (p50, p99) = mqtt::latency(rate)?;
            println!("| {name} ({rate:.0} a second) | {p50:.1} | {p99:.1} |");
        }
    }
    Ok(())
}

/// Runs both in turns and prints what came of it; the rate of Millstream.
fn compare(name: &str, ours: fn() -> Result<f64, Failure>, bare: fn() -> Result<f64, Failure>) -> Result<f64, Failure> {
    let (mut of_us, mut of_them, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let (a, b) = (bare()?, ours()?);
        of_them.push(a);
        of_us.push(b);
        ratios.push(b / a);
    }
    let rate = middle(of_us);
    println!("| {name} | {rate:.0} | {:.0} | {:.2} |", middle(of_them), middle(ratios));
    Ok(rate)
}

fn middle(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
