//! Rows published at a real Mosquitto by the program itself, which is killed meanwhile, as the broker is.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/listening.rs"]
mod listening;
#[path = "support/program.rs"]
mod program;

use std::collections::BTreeSet;

use broker::{Broker, Subscriber};
use listening::Listening;

/// Publishes numbered rows that a file grows by.
const OUT: &str = r#"
name: t
checkpoint: { every: 20ms }
sources:
  in: { file: { path: in.ndjson, follow: true, poll: 10ms } }
sinks:
  out:
    mqtt: { url: "mqtt://127.0.0.1:PORT", OPTIONS }
"#;

fn pipeline(port: u16, options: &str) -> String {
    OUT.replace("PORT", &port.to_string()).replace("OPTIONS", options)
}

fn write(listening: &Listening, numbers: std::ops::Range<usize>) {
    use std::io::Write as _;
    let path = listening.home.path().join("in.ndjson");
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    let rows: String = numbers.map(|n| format!("{{\"n\":{n},\"site\":\"s{}\"}}\n", n % 3)).collect();
    file.write_all(rows.as_bytes()).unwrap();
}

fn start(yaml: &str) -> Listening {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("in.ndjson"), "").unwrap();
    Listening::start_in(home, yaml)
}

#[test]
fn rows_are_published_with_what_is_said_of_them() {
    let broker = Broker::start("");
    let heard = Subscriber::of(&broker, ("rows/#", "2"), "%t|%q|%r|%C|%P|%p");
    for (version, qos) in [("5", 0), ("5", 1), ("5", 2), ("3.1.1", 1), ("3.1.1", 2)] {
        let mut options = format!("version: {version}, qos: {qos}, topic: \"rows/{{{{ site }}}}/v{version}q{qos}\"");
        if version == "5" {
            options += ", properties: { site: \"at {{ site }}\" }, content_type: application/json";
        }
        let mut listening = start(&pipeline(broker.port, &options));
        listening.until_said("connected");
        let before = heard.heard().len();
        write(&listening, 0..3);
        listening.until("they come", |_| heard.heard().len() == before + 3);
        for (n, line) in heard.heard().iter().skip(before).enumerate() {
            let parts: Vec<&str> = line.splitn(6, '|').collect();
            assert_eq!(parts[0], format!("rows/s{n}/v{version}q{qos}"), "in the order of rows");
            assert_eq!(parts[1], qos.to_string());
            assert_eq!(parts[5], format!("{{\"n\":{n},\"site\":\"s{n}\"}}"));
            if version == "5" {
                assert_eq!(parts[3], "application/json");
                assert!(parts[4].contains(&format!("site:at s{n}")) && parts[4].contains("id:"), "{line}");
            }
        }
        listening.stop();
    }
}

#[test]
fn the_last_row_is_kept_and_what_cannot_be_a_topic_is_refused() {
    let broker = Broker::start("");
    let mut listening = start(&pipeline(broker.port, "topic: \"kept/{{ site }}\", retain: true"));
    listening.until_said("connected");
    let home = listening.home.path().to_owned();
    std::fs::write(home.join("in.ndjson"), "{\"n\":1,\"site\":\"#\"}\n{\"n\":2,\"site\":\"a\"}\n").unwrap();
    let heard = Subscriber::of(&broker, ("kept/#", "2"), "%r %p");
    listening.until("the good one comes", |_| heard.heard().len() == 1);
    assert!(heard.heard()[0].ends_with("{\"n\":2,\"site\":\"a\"}"));
    listening.stop();
    let letters = program::run(&home, &["dead-letters", "list", "t.yaml"]);
    assert!(program::said(&letters).contains("kept/#"), "{}", program::said(&letters));
}

/// Each row comes, whoever is killed; those that come again have the id that they had.
fn everything_comes(options: &str) {
    const MANY: usize = 1_800;
    let mut broker = Broker::start("autosave_interval 1\nautosave_on_changes true\n");
    let heard = Subscriber::of(&broker, ("rows", "1"), "%P|%p");
    let mut listening = start(&pipeline(broker.port, &format!("topic: rows, {options}")));
    listening.until_said("connected");
    let distinct = |heard: &Subscriber| {
        heard
            .heard()
            .iter()
            .filter_map(|line| line.rsplit_once('|').map(|(_, row)| row.to_owned()))
            .collect::<BTreeSet<_>>()
    };
    for part in 0..6 {
        write(&listening, part * MANY / 6..(part + 1) * MANY / 6);
        listening.until("some have come", |_| heard.heard().len() > part * MANY / 6 + 50);
        if part % 2 == 0 {
            listening.kill();
            listening.run();
        } else {
            broker.stop();
            broker.again();
        }
    }
    listening.until("all have come", |_| distinct(&heard).len() == MANY);
    if options.contains("version: 5") {
        let mut by_row = std::collections::BTreeMap::new();
        for line in heard.heard() {
            let (id, row) = line.rsplit_once('|').unwrap();
            let first = by_row.entry(row.to_owned()).or_insert_with(|| id.to_owned());
            assert_eq!(first, id, "{row}");
        }
        let ids: BTreeSet<&String> = by_row.values().collect();
        assert_eq!(ids.len(), MANY, "no two rows have the same");
    }
}

#[test]
fn everything_comes_over_kills() {
    everything_comes("version: 5");
}

/// When it is gone without a word, the broker says so for it.
#[test]
fn a_will_is_published_for_a_sink() {
    let broker = Broker::start("");
    for version in ["5", "3.1.1"] {
        let will = format!("will: {{ topic: gone/v{version}, payload: bye, qos: 1, retain: true }}");
        let more = "concurrency: 1, retry: { first: 5ms, most: 50ms }";
        let mut listening = start(&pipeline(broker.port, &format!("version: {version}, topic: rows, {will}, {more}")));
        listening.until_said("connected entry=");
        listening.kill();
        let mut hear = std::process::Command::new("mosquitto_sub");
        hear.args(["-h", "127.0.0.1", "-p", &broker.port.to_string(), "-t", &format!("gone/v{version}"), "-C", "1"]);
        assert_eq!(program::text(&hear.output().unwrap().stdout), "bye\n");
    }
}
