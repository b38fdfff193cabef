//! The README's tour over the network, with its own files: sensors publish to a broker, averages go to a webhook, and each of
//! the three programs is killed again and again. Every average comes to the one who is called, once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::SystemTime;

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

#[path = "support/broker.rs"]
mod broker;
#[path = "support/program.rs"]
mod program;

use broker::{Broker, free_port};
use program::{command, read, stop, until, with_texts};

const README: &str = include_str!("../README.md");

/// A file of the README, its ports replaced.
fn file(name: &str, ports: &[(&str, u16)]) -> String {
    let (_, rest) = README.split_once(&format!("```yaml {name}\n")).expect("the README has the file");
    let (text, _) = rest.split_once("\n```").expect("a block ends");
    let replace = |text: String, (written, port): &(&str, u16)| {
        assert!(text.contains(written) || !text.contains("127.0.0.1"), "{name} has {written}");
        text.replace(written, &port.to_string())
    };
    let used = ports.iter().filter(|(written, _)| text.contains(written));
    used.fold(text.to_owned() + "\n", replace)
}

struct Program {
    home: TempDir,
    child: Option<Child>,
}

impl Program {
    fn start(text: &str) -> Program {
        let mut program = Program { home: with_texts(&[("t.yaml", text)]), child: None };
        program.again();
        program
    }

    fn again(&mut self) {
        let mut command = command(self.home.path(), &["run", "--quiet", "t.yaml"]);
        self.child = Some(command.stderr(Stdio::inherit()).spawn().unwrap());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Readings of a second from each device.
fn readings(second: u64, device: u64) -> String {
    let ts = format!("2026-01-01T00:{:02}:{:02}Z", second / 60, second % 60);
    format!(r#"{{"device":"d{device}","ts":"{ts}","temperature":{}}}"#, (second * 7 + device * 13) % 40)
}

#[test]
fn each_average_comes_once_whoever_is_killed() {
    const SECONDS: u64 = 300;
    const DEVICES: u64 = 4;
    // What is not yet delivered is on the broker's disk soon after each change.
    let mut broker = Broker::start("autosave_interval 1\nautosave_on_changes true");
    let port = free_port();
    let ports = [("1883", broker.port), ("8080", port)];
    let mut called = Program::start(&file("called.yaml", &ports));
    let mut averages = Program::start(&file("averages.yaml", &ports));
    // It has subscribed once before anything is published.
    until("the subscription", || {
        read(broker.home.path(), "log").contains("SUBSCRIBE") || {
            let database = std::fs::read(broker.home.path().join("mosquitto.db")).unwrap_or_default();
            String::from_utf8_lossy(&database).contains("sensors/+/reading")
        }
    });
    for block in 0..SECONDS / 5 {
        match block % 10 {
            2 | 7 => {
                averages.kill();
                averages.again();
            }
            4 | 8 => {
                called.kill();
                called.again();
            }
            5 => {
                // It says that it has something before that is on its disk.
                let taken = SystemTime::now();
                broker.publish("another/topic", ["x".to_owned()], &["-q", "1", "-r"]);
                until("the broker's disk", || {
                    let about = std::fs::metadata(broker.home.path().join("mosquitto.db"));
                    about.and_then(|about| about.modified()).is_ok_and(|at| at >= taken)
                });
                broker.kill();
                broker.again();
            }
            _ => {}
        }
        let texts = (block * 5..block * 5 + 5).flat_map(|s| (0..DEVICES).map(move |device| readings(s, device)));
        broker.publish("sensors/all/reading", texts, &["-q", "1"]);
    }
    let calls = || -> Vec<Value> {
        let text = read(called.home.path(), "calls.ndjson");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    until("every average", || calls().len() as u64 >= SECONDS / 10 * DEVICES);
    let mut seen = BTreeMap::new();
    for call in calls() {
        let key = (call["device"].to_string(), call["window_start"].to_string());
        assert_eq!(call["readings"], 10, "{call}");
        assert!(seen.insert(key, call.clone()).is_none(), "it came twice: {call}");
    }
    let sum = |start: u64, device: u64| (start..start + 10).map(|s| (s * 7 + device * 13) % 40).sum::<u64>();
    let first = &seen[&("\"d0\"".to_owned(), "\"2026-01-01T00:00:00Z\"".to_owned())];
    assert_eq!(first["average"].as_f64().unwrap(), sum(0, 0) as f64 / 10.0);
    stop(averages.child.take().unwrap(), Signal::SIGTERM);
    stop(called.child.take().unwrap(), Signal::SIGTERM);
}
