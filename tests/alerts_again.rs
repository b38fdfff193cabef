//! Alerts over restarts: what a pipeline no longer has is told to be over, and what waits for others is told once.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

#[path = "support/program.rs"]
mod program;
#[path = "support/receiver.rs"]
mod receiver;

use program::{command, run, said, stop, until, with_texts};
use receiver::{Came, Receiver, ok};

const SOURCE: &str = "name: hot
checkpoint: { every: 20ms }
sources:
  readings:
    file: { path: in.ndjson, follow: true, poll: 5ms }
    time: { field: ts, max_future: 100000d }
sinks:
";

fn alert(name: &str, above: u64, more: &str) -> String {
    format!(
        "  {name}:\n    from: readings\n    alert:\n      by: device\n      when: temperature > {above}\n      \
         notify_max_age: 100000d\n{more}"
    )
}

fn receivers(to: &Receiver) -> String {
    format!(
        "receivers:\n  ops: {{ http: {{ url: \"http://{}/\", latency: immediate, retry: {{ first: 1ms, most: 5ms }} }} }}\n",
        to.address
    )
}

struct Running {
    home: TempDir,
    child: Option<Child>,
    n: u64,
}

impl Running {
    fn new(yaml: &str) -> Running {
        Running { home: with_texts(&[("t.yaml", yaml), ("in.ndjson", "")]), child: None, n: 0 }
    }

    fn start(&mut self, more: &[&str]) {
        let arguments = [&["run", "--quiet", "t.yaml"], more].concat();
        let mut command = command(self.home.path(), &arguments);
        self.child = Some(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn stop(&mut self) {
        stop(self.child.take().unwrap(), Signal::SIGTERM);
    }

    fn reads(&mut self, device: &str, site: &str, temperature: u64) {
        let (minute, second) = (self.n / 60, self.n % 60);
        let line = format!(
            "{{\"device\":\"{device}\",\"site\":\"{site}\",\"ts\":\"2026-01-01T00:{minute:02}:{second:02}Z\",\"temperature\":{temperature}}}\n"
        );
        append(&self.home.path().join("in.ndjson"), &line);
        self.n += 1;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn append(path: &Path, line: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}

/// Alert, key, state and reason of what came.
fn told(came: &Came) -> Vec<[String; 4]> {
    let row: Value = serde_json::from_slice(&came.body).unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let one = |a: &Value| [&a["alert"], &a["key"]["device"], &a["state"], &a["reason"]].map(word);
    row["alerts"].as_array().unwrap().iter().map(one).collect()
}

/// A notification on one line.
fn shown(came: &Came) -> String {
    let row: Value = serde_json::from_slice(&came.body).unwrap();
    let devices: Vec<String> =
        told(came).into_iter().map(|[_, device, state, _]| format!("{device} {state}")).collect();
    format!("{} {} {} {}", came.header("idempotency-key"), row["group_key"], row["reason"], devices.join(", "))
}

fn all_told(to: &Receiver) -> BTreeSet<[String; 4]> {
    to.came().iter().flat_map(told).collect()
}

fn row(texts: [&str; 4]) -> [String; 4] {
    texts.map(str::to_owned)
}

#[test]
fn what_fires_of_an_alert_that_is_removed_or_reset_is_told_to_be_over_once() {
    let to = Receiver::start();
    let (hot, warm) = (alert("hot", 40, "      notify: [ops]\n"), alert("warm", 30, "      notify: [ops]\n"));
    let mut running = Running::new(&format!("{SOURCE}{hot}{warm}{}", receivers(&to)));
    running.start(&[]);
    running.reads("d1", "a", 45);
    running.reads("d2", "a", 35);
    until("three firings", || all_told(&to).len() == 3);
    running.stop();

    // Without the alert; whoever stops caring for it says so.
    fs::write(running.home.path().join("t.yaml"), format!("{SOURCE}{warm}{}", receivers(&to))).unwrap();
    let refused = run(running.home.path(), &["run", "t.yaml"]);
    assert!(said(&refused).contains("`hot` kept state and is no longer a step that does"), "{}", said(&refused));
    running.start(&["--reset-state", "hot"]);
    until("it is over", || all_told(&to).contains(&row(["hot", "d1", "resolved", "removed"])));
    running.kill();
    running.start(&[]);
    running.reads("d3", "a", 35);
    until("another one", || all_told(&to).contains(&row(["warm", "d3", "firing", "when"])));
    running.stop();

    // With another key the state of the other alert means something else, and is forgotten.
    let warm = warm.replace("by: device", "by: { device: device, place: site }");
    fs::write(running.home.path().join("t.yaml"), format!("{SOURCE}{warm}{}", receivers(&to))).unwrap();
    running.start(&["--reset-state", "warm"]);
    let over = |device: &str| row(["warm", device, "resolved", "removed"]);
    until("they are over", || ["d1", "d2", "d3"].iter().all(|device| all_told(&to).contains(&over(device))));
    running.reads("d1", "a", 35);
    let of_d1 = |came: &Came| told(came).contains(&row(["warm", "d1", "firing", "when"]));
    until("it fires anew", || to.came().iter().filter(|came| of_d1(came)).count() == 2);
    running.stop();

    let mut ids: BTreeMap<[String; 4], BTreeSet<String>> = BTreeMap::new();
    for came in to.came() {
        for change in told(&came).into_iter().filter(|change| change[3] == "removed") {
            ids.entry(change).or_default().insert(came.header("idempotency-key").to_owned());
        }
    }
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids.values().all(|ids| ids.len() == 1), "each end is told under one id: {ids:?}");
}

#[test]
fn a_group_that_waits_is_told_once_though_everything_is_killed() {
    let mut to = Receiver::start();
    let mut chance = 3u64;
    to.answers(move |_| {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if chance >> 61 == 0 { (503, vec![("retry-after", "0".to_owned())], String::new()) } else { ok() }
    });
    let policy = "      group_by: [site]\n      group_wait: 40ms\n      group_interval: 1s\n      labels: { site: \"{{ site }}\" }\n      notify: [ops]\n";
    let mut running = Running::new(&format!("{SOURCE}{}{}", alert("hot", 30, policy), receivers(&to)));
    let mut fired = BTreeSet::new();
    for round in 0..12u64 {
        running.start(&[]);
        let before = to.came().len();
        for n in 0..3u64 {
            let (device, site) = (format!("d{}", round * 3 + n), ["a", "b"][usize::from((round + n) % 2 == 0)]);
            running.reads(&device, site, 35);
            fired.insert(device);
        }
        // Now it is killed while groups wait, now when something was told.
        match round % 4 {
            0 => until("a start", || running.home.path().join(".millstream").exists()),
            _ => until("a notification", || to.came().len() > before),
        }
        if round % 5 == 4 {
            to.leave();
            to.listen();
        }
        running.kill();
    }
    running.start(&[]);
    let known = || all_told(&to).into_iter().map(|[_, device, ..]| device).collect::<BTreeSet<_>>();
    until("all of them", || known() == fired);
    running.stop();

    // What one notification tells is the same each time, and of a group each tells more than the one before it.
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    let mut groups: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
    for came in to.came() {
        let says: Value = serde_json::from_slice(&came.body).unwrap();
        let (id, group) = (came.header("idempotency-key").to_owned(), says["group_key"].as_str().unwrap().to_owned());
        let devices: BTreeSet<String> = told(&came).into_iter().map(|[_, device, ..]| device).collect();
        match by_id.insert(id, says["alerts"].clone()) {
            Some(before) => {
                let all: Vec<String> = to.came().iter().map(shown).collect();
                assert!(before == says["alerts"], "an id is one notification's:\n{}", all.join("\n"));
            }
            None => groups.entry(group).or_default().push(devices),
        }
    }
    assert_eq!(groups.len(), 2);
    for told in groups.values_mut() {
        told.sort_by_key(BTreeSet::len);
        for pair in told.windows(2) {
            assert!(pair[0].len() < pair[1].len() && pair[0].is_subset(&pair[1]), "told under two ids: {pair:?}");
        }
    }
}
