//! Alerts through the program itself: who is told what, once, whoever is killed; silences and answers beside a run.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
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

use program::{command, read, run, said, stop, text, until, with_texts};
use receiver::{Came, Receiver, ok};

/// A reading: which one, of which device, how hot.
fn reading(n: u64, device: u64, temperature: u64) -> String {
    let (minute, second) = (n / 60, n % 60);
    let at = format!("2026-01-01T{:02}:{:02}:{second:02}Z", minute / 60, minute % 60);
    format!("{{\"device\":\"d{device}\",\"ts\":\"{at}\",\"temperature\":{temperature}}}\n")
}

fn pipeline(source: &str, alert: &str) -> String {
    format!(
        "name: hot\ncheckpoint: {{ every: 20ms }}\nsources:\n  readings:\n    file: {{ path: in.ndjson{source} }}\n    \
         time: {{ field: ts, max_future: 100000d }}\nsinks:\n  hot:\n    alert:\n      by: device\n      when: temperature > 30\n      \
         title: \"{{{{ device }}}} has {{{{ temperature }}}}\"\n      notify_max_age: 100000d\n{alert}"
    )
}

fn start(home: &Path) -> Child {
    command(home, &["run", "--quiet", "t.yaml"]).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// What notifications say: the key, the state and when.
fn told(came: &Came) -> Vec<(String, String, String)> {
    let row: Value = serde_json::from_slice(&came.body).unwrap();
    let word = |alert: &Value, name: &str| alert[name].as_str().unwrap().to_owned();
    let one =
        |alert: &Value| (alert["key"]["device"].as_str().unwrap().to_owned(), word(alert, "state"), word(alert, "at"));
    row["alerts"].as_array().unwrap().iter().map(one).collect()
}

/// Readings of devices that are hot now and then, and the changes that are to be told.
fn hot_and_cold(count: u64) -> (String, BTreeSet<(String, String, String)>) {
    let (mut text, mut changes, mut hot, mut chance) = (String::new(), BTreeSet::new(), BTreeMap::new(), 7u64);
    for n in 0..count {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (device, is) = ((chance >> 33) % 20, (chance >> 45) % 3 == 0);
        let line = reading(n, device, if is { 35 } else { 20 });
        let row: Value = serde_json::from_str(&line).unwrap();
        if hot.insert(device, is).unwrap_or(false) != is {
            let state = if is { "firing" } else { "resolved" };
            changes.insert((format!("d{device}"), state.to_owned(), row["ts"].as_str().unwrap().to_owned()));
        }
        text.push_str(&line);
    }
    (text, changes)
}

#[test]
fn each_change_is_told_under_one_id_however_often_everything_is_killed() {
    let (rows, changes) = hot_and_cold(600);
    for (latency, seed) in [("immediate", 1u64), ("exact", 2)] {
        let mut to = Receiver::start();
        let mut chance = seed;
        to.answers(move |_| {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match chance >> 59 {
                0 => (503, vec![("retry-after", "0".to_owned())], String::new()),
                1 => (500, Vec::new(), String::new()),
                _ => ok(),
            }
        });
        let notify = format!(
            "      latency: {latency}\n      notify:\n        - http: {{ url: \"http://{}/alerts\", retry: {{ first: 1ms, most: 5ms }} }}\n",
            to.address
        );
        let home = with_texts(&[("t.yaml", &pipeline("", &notify)), ("in.ndjson", &rows)]);
        let mut kills = 0;
        loop {
            let mut child = start(home.path());
            let (before, mut ended) = (to.came().len(), None);
            // Where it is killed before a checkpoint each time, it does not get far.
            until("some notifications", || {
                ended = child.try_wait().unwrap();
                ended.is_some() || (kills < 50 && to.came().len() > before + 40)
            });
            if let Some(status) = ended {
                assert!(status.success());
                break;
            }
            if kills % 3 == 2 {
                // The receiver, too.
                to.leave();
                to.listen();
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        assert!(kills > 2, "it was killed {kills} times");
        let (mut ids, mut by_id) = (BTreeMap::new(), BTreeMap::new());
        for request in to.came() {
            let id = request.header("idempotency-key").to_owned();
            let says: Value = serde_json::from_slice(&request.body).unwrap();
            for change in told(&request) {
                let first = ids.entry(change.clone()).or_insert_with(|| id.clone());
                assert_eq!(*first, id, "{latency}: {change:?} is told under two ids");
            }
            let before = by_id.insert(id, says["alerts"].clone());
            assert!(before.is_none_or(|before| before == says["alerts"]), "an id is one notification's");
        }
        assert_eq!(ids.into_keys().collect::<BTreeSet<_>>(), changes, "{latency}");
    }
}

/// A run over a file that goes on, and who is told.
struct Live {
    home: TempDir,
    to: Receiver,
    child: Option<Child>,
    n: u64,
}

impl Live {
    fn start(options: &str) -> Live {
        let to = Receiver::start();
        let notify = format!(
            "{options}      latency: immediate\n      notify:\n        - http: {{ url: \"http://{}/alerts\" }}\n",
            to.address
        );
        let home =
            with_texts(&[("t.yaml", pipeline(", follow: true, poll: 5ms", &notify).as_str()), ("in.ndjson", "")]);
        let child = Some(start(home.path()));
        Live { home, to, child, n: 0 }
    }

    fn reads(&mut self, device: u64, temperature: u64) {
        let mut file = OpenOptions::new().append(true).open(self.home.path().join("in.ndjson")).unwrap();
        file.write_all(reading(self.n, device, temperature).as_bytes()).unwrap();
        self.n += 1;
    }

    /// Who is told so far: key and state.
    /// What came, each once: after a kill what was on its way comes again, as it was and under the id that it had.
    fn told(&self) -> Vec<(String, String)> {
        let mut ids: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut once = Vec::new();
        for came in self.to.came() {
            match ids.insert(came.header("idempotency-key").to_owned(), came.body.clone()) {
                None => once.extend(told(&came).into_iter().map(|(key, state, _)| (key, state))),
                Some(before) => assert_eq!(before, came.body, "another content under the same id"),
            }
        }
        once
    }

    fn until_told(&self, count: usize) -> Vec<(String, String)> {
        until(&format!("{count} notifications"), || self.told().len() >= count);
        self.told()
    }

    /// A verb that has to succeed: what it printed.
    fn does(&self, arguments: &[&str]) -> String {
        let output = run(self.home.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        text(&output.stdout)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pairs(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter().map(|(key, state)| ((*key).to_owned(), (*state).to_owned())).collect()
}

#[test]
fn people_silence_acknowledge_and_ask_beside_a_run() {
    let mut live = Live::start("      repeat_every: 100000d\n");
    live.reads(1, 35);
    assert_eq!(live.until_told(1), pairs(&[("d1", "firing")]));
    let added =
        live.does(&["silence", "add", "t.yaml", "device=d2", "--for", "1h", "--by", "me", "--comment", "works"]);
    assert!(added.starts_with("silence s1 holds until "), "{added}");
    live.reads(2, 35);
    live.reads(3, 35);
    assert_eq!(live.until_told(2), pairs(&[("d1", "firing"), ("d3", "firing")]));
    let shown = || live.does(&["alerts", "t.yaml"]);
    until("the silenced one is known", || shown().contains("silenced by s1"));
    let why = live.does(&["why-not", "t.yaml", "hot", "d2"]);
    assert!(why.contains("s1"), "{why}");
    let acknowledged = live.does(&["ack", "t.yaml", "hot", "d3", "--by", "me"]);
    assert!(acknowledged.contains("d3 is acknowledged by me"), "{acknowledged}");
    live.does(&["silence", "expire", "t.yaml", "s1", "--by", "me"]);
    assert_eq!(live.until_told(3)[2..], pairs(&[("d2", "firing")]));
    let history = live.does(&["alerts", "t.yaml", "--history"]);
    assert!(history.contains("silence by me: device=d2") && history.contains("works"), "{history}");
    let why = live.does(&["why", "alert", "t.yaml", "hot", "d2"]);
    assert!(why.contains("warning: `temperature > 30`") && why.contains("hot (alert) ← readings (file)"), "{why}");
    // What was made known stays when the run is killed and goes on.
    let mut child = live.child.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    live.child = Some(start(live.home.path()));
    live.reads(2, 20);
    assert_eq!(live.until_told(4)[3..], pairs(&[("d2", "resolved")]));
    stop(live.child.take().unwrap(), Signal::SIGTERM);
    let history = live.does(&["alerts", "t.yaml", "--history", "--format", "ndjson"]);
    let rows: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let transitions = rows.iter().filter(|row| row["what"] == "transition").count();
    assert_eq!(transitions, 4, "{history}");
}

#[test]
fn a_group_waits_for_others_and_time_goes_on_without_events() {
    let mut live = Live::start("      group_by: []\n      group_wait: 1500ms\n      group_interval: 1s\n");
    (1..=3).for_each(|device| live.reads(device, 35));
    assert_eq!(live.until_told(3).into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len(), 3);
    assert_eq!(live.to.came().len(), 1, "they came together");
    live.reads(1, 20);
    until("the second notification", || live.to.came().len() == 2);
}

#[test]
fn receivers_are_told_what_they_are_to_be_told() {
    let notify = "      by: device
      notify:
        - everybody
        - { receiver: bad_only, resolved: false, severities: [critical] }
        - file: { path: \"by-{{ severity }}.ndjson\" }
receivers:
  everybody: { file: { path: everybody.ndjson } }
  bad_only: { file: { path: bad.ndjson } }
";
    let levels =
        "      levels:\n        warning: { when: temperature > 30 }\n        critical: { when: temperature > 40 }\n";
    let yaml =
        pipeline("", notify).replacen("      by: device\n", "", 1).replace("      when: temperature > 30\n", levels);
    let rows: String = [20, 35, 45, 35, 20].iter().zip(0..).map(|(hot, n)| reading(n, 1, *hot)).collect();
    let home = with_texts(&[("t.yaml", &yaml), ("in.ndjson", &rows)]);
    let output = run(home.path(), &["run", "--quiet", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let said = |name: &str| -> Vec<String> {
        let row = |line: &str| {
            let row: Value = serde_json::from_str(line).unwrap();
            format!(
                "{} {} {}",
                row["status"].as_str().unwrap(),
                row["severity"].as_str().unwrap(),
                row["title"].as_str().unwrap()
            )
        };
        read(home.path(), name).lines().map(row).collect()
    };
    let all = [
        "firing warning d1 has 35",
        "firing critical d1 has 45",
        "firing warning d1 has 35",
        "resolved warning d1 has 20",
    ];
    assert_eq!(said("everybody.ndjson"), all);
    assert_eq!(said("bad.ndjson"), ["firing critical d1 has 45"]);
    assert_eq!(said("by-critical.ndjson"), ["firing critical d1 has 45"]);
}

#[test]
fn a_sample_is_sent_to_those_who_are_told() {
    let (good, bad) = (Receiver::start(), Receiver::start());
    bad.answers(|_| (400, Vec::new(), "no such channel".to_owned()));
    let (mut away, busy) = (Receiver::start(), Receiver::start());
    away.leave();
    busy.answers(|_| (503, Vec::new(), "come again".to_owned()));
    let mut notify = "      notify:\n".to_owned();
    let receivers = [&good, &bad, &away, &busy].map(|to| to.address.to_string());
    for to in receivers.iter().map(String::as_str).chain(["nobody.invalid"]) {
        writeln!(notify, "        - http: {{ url: \"http://{to}/\" }}").unwrap();
    }
    let home = with_texts(&[("t.yaml", pipeline("", &notify).as_str()), ("in.ndjson", "")]);
    let output = run(home.path(), &["notify", "test", "t.yaml", "--timeout", "2s"]);
    let lines: Vec<String> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 5, "{}", said(&output));
    assert_eq!(lines[0], "hot_http: taken");
    assert!(lines[1].starts_with("hot_http_2: refused: ") && lines[1].contains("no such channel"), "{}", lines[1]);
    // Why is said of who was not reached, of who answered that it is not now, and of a name that is nobody's.
    for (line, why) in [(2, "Connection refused"), (3, "503"), (4, "lookup")] {
        let begin = format!("hot_http_{}: not taken within 2s: ", line + 1);
        assert!(lines[line].starts_with(&begin) && lines[line].contains(why), "{}", lines[line]);
    }
    assert_eq!(output.status.code(), Some(1));
    let came = good.came();
    let row: Value = serde_json::from_slice(&came[0].body).unwrap();
    assert_eq!((came.len(), row["reason"].as_str()), (1, Some("test")));
    let output = run(home.path(), &["notify", "test", "t.yaml", "hot_htp"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("is it `hot_http`?"), "{}", said(&output));
}

#[test]
fn a_backtest_tells_nobody_and_leaves_nothing() {
    let to = Receiver::start();
    let notify = format!(
        "      notify:\n        - http: {{ url: \"http://{}/\" }}\n  all:\n    file: {{ path: out.ndjson }}\n    from: readings\n",
        to.address
    );
    let (rows, changes) = hot_and_cold(300);
    let home = with_texts(&[("t.yaml", &pipeline("", &notify)), ("in.ndjson", &rows)]);
    let output = run(home.path(), &["run", "--backtest", "t.yaml", "--ndjson"]);
    assert!(output.status.success(), "{}", said(&output));
    let told: Vec<Value> = text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(told.len(), changes.len());
    let (from, to_time) = ("2026-01-01T00:01:00Z", "2026-01-01T00:03:00Z");
    let output = run(home.path(), &["run", "--backtest", "t.yaml", "--ndjson", "--from", from, "--to", to_time]);
    let within = changes.iter().filter(|(_, _, at)| (from..to_time).contains(&at.as_str())).count();
    assert_eq!(text(&output.stdout).lines().count(), within);
    assert!(to.came().is_empty());
    let mut left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["in.ndjson", "t.yaml"]);
    // What is live needs a recording.
    fs::write(home.path().join("t.yaml"), pipeline(", follow: true", &notify)).unwrap();
    let output = run(home.path(), &["run", "--backtest", "t.yaml"]);
    assert!(said(&output).contains("`--recorded readings=FILE`"), "{}", said(&output));
    let output = run(home.path(), &["run", "--backtest", "t.yaml", "--recorded", "readings=in.ndjson"]);
    assert!(
        output.status.success() && said(&output).contains("notifications would have been sent"),
        "{}",
        said(&output)
    );
}

#[test]
fn thousands_of_keys_fire_at_once() {
    let rows: String = (0..5_000).map(|device| reading(1, device, 35)).collect();
    let rows = rows + &(0..5_000).map(|device| reading(2, device, 20)).collect::<String>();
    let alone = "      notify:\n        - file: { path: told.ndjson }\n";
    let home = with_texts(&[("t.yaml", &pipeline("", alone)), ("in.ndjson", &rows)]);
    assert!(run(home.path(), &["run", "--quiet", "t.yaml"]).status.success());
    assert_eq!(read(home.path(), "told.ndjson").lines().count(), 10_000);
    // Together they are one notification of those that fire and one of those that do no more.
    let together = "      group_by: []\n      group_wait: 0s\n      notify:\n        - file: { path: told.ndjson }\n";
    let home = with_texts(&[("t.yaml", &pipeline("", together)), ("in.ndjson", &rows)]);
    assert!(run(home.path(), &["run", "--quiet", "t.yaml"]).status.success());
    let told = read(home.path(), "told.ndjson");
    assert!(told.lines().count() <= 4, "{}", told.lines().count());
    let limit = "      max_keys: 100\n      notify:\n        - file: { path: told.ndjson }\n";
    let home = with_texts(&[("t.yaml", &pipeline("", limit)), ("in.ndjson", &rows)]);
    assert!(run(home.path(), &["run", "--quiet", "t.yaml"]).status.success());
    assert_eq!(read(home.path(), "told.ndjson").lines().count(), 200);
    let letters = run(home.path(), &["dead-letters", "list", "t.yaml", "--limit", "1"]);
    assert!(said(&letters).contains("the alert has 100 keys"), "{}", said(&letters));
}

#[test]
fn old_transitions_are_recorded_and_not_told() {
    let notify = "      notify:\n        - file: { path: told.ndjson }\n";
    let yaml = pipeline("", notify).replace("      notify_max_age: 100000d\n", "");
    let home = with_texts(&[("t.yaml", &yaml), ("in.ndjson", &reading(1, 1, 35))]);
    let ran = run(home.path(), &["run", "t.yaml"]);
    let untold = "`hot`: 1 transition that came was older than `notify_max_age`, and nobody was told; `millstream alerts \
                  --history t.yaml` shows it";
    assert!(ran.status.success() && said(&ran).contains(untold), "{}", said(&ran));
    assert_eq!(read(home.path(), "told.ndjson"), "");
    let shown = run(home.path(), &["alerts", "t.yaml"]);
    assert!(said(&shown).contains("too old"), "{}", said(&shown));
    assert!(said(&shown).contains("as of the checkpoint of 20"), "{}", said(&shown));
    let why_not = || said(&run(home.path(), &["why-not", "t.yaml", "hot", "d1"]));
    let why = why_not();
    assert!(why.contains("after its time, ") && why.contains("older than `notify_max_age` (1h)"), "{why}");

    // Also when it is over, which nobody is told either who was not told of it.
    std::fs::write(home.path().join("in.ndjson"), reading(1, 1, 35) + &reading(2, 1, 20)).unwrap();
    assert!(run(home.path(), &["run", "--quiet", "t.yaml"]).status.success());
    let why = why_not();
    assert!(why.contains("it is not active: it became resolved"), "{why}");
    let fired = "hot_file: it fired at 2026-01-01T00:";
    assert!(why.contains(fired) && why.contains("it was not told, for it came at 20"), "{why}");
    assert!(why.contains("unless `notify_max_age` of the alert is greater"), "{why}");
}

#[test]
fn receivers_of_another_file_are_shared() {
    let notify = "      notify: [ops]\n";
    let shared = "receivers:\n  ops: { file: { path: told.ndjson } }\n  others: { stdout: {} }\n";
    let home = with_texts(&[
        ("t.yaml", pipeline("", notify).as_str()),
        ("in.ndjson", reading(1, 1, 35).as_str()),
        ("shared.yaml", shared),
        ("broken.yaml", "receivers: { ops: { file: {} } }\n"),
    ]);
    let output = run(home.path(), &["check", "t.yaml"]);
    assert!(said(&output).contains("there is no receiver `ops`"), "{}", said(&output));
    let output = run(home.path(), &["run", "--quiet", "--config", "shared.yaml", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(read(home.path(), "told.ndjson").lines().count(), 1);
    let output = run(home.path(), &["check", "--config", "broken.yaml", "t.yaml"]);
    assert!(said(&output).contains("broken.yaml:1:"), "{}", said(&output));
    let output = run(home.path(), &["check", "--config", "none.yaml", "t.yaml"]);
    assert!(said(&output).contains("`none.yaml` cannot be read"), "{}", said(&output));
}

#[test]
fn what_no_condition_can_be_asked_of_leaves_an_alert_as_it_is() {
    let row = |second: u32, temperature: &str| {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        format!("{{\"device\":\"d1\",\"ts\":\"{at}\",\"temperature\":{temperature},\"n\":{second}}}\n")
    };
    let told = "      notify:\n        - file: { path: told.ndjson }\n";
    let fires = ["firing 2", "resolved 9"];
    // However the end is told, and whether the text comes before it fires, while it does or as it should end.
    for (options, changes) in [
        ("", fires),
        ("      clear_when: temperature < 25\n", fires),
        ("      for: 1 events\n      clear_for: 1 events\n", fires),
        ("      clear_for: 2 events\n", ["firing 2", "resolved 10"]),
        (
            "      levels:\n        critical: { when: temperature > 40 }\n        warning: { when: temperature > 30 }\n",
            fires,
        ),
    ] {
        let readings = ["20", "\"ERR\"", "35", "\"ERR\"", "true", "[1]", "null", "36", "\"\"", "20", "19"];
        let rows: String = (0..).zip(readings).map(|(second, reading)| row(second, reading)).collect();
        let mut yaml = pipeline("", &(options.to_owned() + told));
        if options.contains("levels") {
            yaml = yaml.replace("      when: temperature > 30\n", "");
        }
        let home = with_texts(&[("t.yaml", yaml.as_str()), ("in.ndjson", rows.as_str())]);
        let output = run(home.path(), &["run", "t.yaml"]);
        assert!(output.status.success(), "{}", said(&output));
        let told = read(home.path(), "told.ndjson");
        let all = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let alerts = all.flat_map(|row| row["alerts"].as_array().unwrap().clone());
        let state = |alert: &Value| format!("{} {}", alert["state"].as_str().unwrap(), alert["values"]["n"]);
        assert_eq!(alerts.map(|alert| state(&alert)).collect::<Vec<_>>(), changes, "{options}: {told}");
        let letters = run(home.path(), &["dead-letters", "list", "t.yaml", "--format", "ndjson"]);
        let letters: Vec<Value> = said(&letters).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(letters.len(), 5, "{letters:#?}");
    }
}

#[test]
fn an_early_row_that_fails_hides_no_other() {
    let home = with_texts(&[
        (
            "t.yaml",
            "name: t\nsources:\n  readings:\n    file: { path: in.ndjson }\n    time: { field: ts }\nsteps:\n  minutes:\n    window:\n      \
             tumbling: 1m\n      by: device\n      emit: { every: 20s }\n      aggregate: { last: last(temperature) }\nsinks:\n  hot:\n    \
             from: minutes\n    alert: { by: device, when: last > 30 }\n",
        ),
        (
            "in.ndjson",
            "{\"device\":\"d1\",\"ts\":\"2026-01-01T00:00:05Z\",\"temperature\":\"ERR\"}\n\
             {\"device\":\"d1\",\"ts\":\"2026-01-01T00:00:45Z\",\"temperature\":\"BAD\"}\n",
        ),
    ]);
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success(), "{}", said(&output));
    let letters = said(&run(home.path(), &["dead-letters", "list", "t.yaml", "--format", "ndjson"]));
    assert!(letters.lines().count() == 1 && letters.contains("is the text \\\"BAD\\\""), "{letters}");
}

#[test]
fn keys_that_are_well_are_forgotten_after_a_day() {
    let row = |day: u32, device: u32, temperature: u32| {
        format!("{{\"device\":\"d{device}\",\"ts\":\"2026-01-{day:02}T00:00:00Z\",\"temperature\":{temperature}}}\n")
    };
    let options = "      max_keys: 3\n      notify:\n        - file: { path: told.ndjson }\n";
    // The one that is hot stays until it is not, however long that takes.
    let rows = row(1, 0, 35) + &(1..10).map(|n| row(2 * n, n, 20)).collect::<String>() + &row(20, 0, 20);
    let home = with_texts(&[("t.yaml", pipeline("", options).as_str()), ("in.ndjson", rows.as_str())]);
    let output = run(home.path(), &["run", "t.yaml"]);
    assert!(output.status.success() && !said(&output).contains("limit"), "{}", said(&output));
    let told = read(home.path(), "told.ndjson");
    let states: Vec<&str> =
        told.lines().map(|line| if line.contains("\"resolved\":1") { "resolved" } else { "firing" }).collect();
    assert_eq!(states, ["firing", "resolved"], "{told}");
    let letters = run(home.path(), &["dead-letters", "list", "t.yaml"]);
    assert!(said(&letters).contains("no dead letters"), "{}", said(&letters));
}

#[test]
fn silences_survive_a_run_that_is_killed_while_it_makes_its_output_final() {
    let notify = "      notify:\n        - file: { path: told.ndjson }\n";
    let home = with_texts(&[("t.yaml", pipeline("", notify).as_str()), ("in.ndjson", reading(1, 1, 35).as_str())]);
    let does = |arguments: &[&str]| {
        let output = run(home.path(), arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        text(&output.stdout)
    };
    does(&["run", "--quiet", "t.yaml"]);
    assert!(does(&["silence", "add", "t.yaml", "device=d8"]).starts_with("silence s1 "));
    let killed = command(home.path(), &["run", "--quiet", "t.yaml"])
        .env("MILLSTREAM_FAULT", "checkpoint.finishing")
        .output()
        .unwrap();
    assert!(!killed.status.success() && said(&killed).contains("dies at"), "{}", said(&killed));
    does(&["run", "--quiet", "t.yaml"]);
    assert!(does(&["silence", "add", "t.yaml", "device=d9"]).starts_with("silence s2 "));
    let listed = does(&["silence", "list", "t.yaml"]);
    assert!(listed.contains("device=d8") && listed.contains("device=d9"), "{listed}");
    assert!(does(&["alerts", "t.yaml"]).contains("firing"), "what fires is still known");
}
