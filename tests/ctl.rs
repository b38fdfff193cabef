//! `ctl` over pipelines of `serve`: what can be asked for and done beside a run is asked for and done with the same words, and
//! answered alike.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/program.rs"]
mod program;

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use self::daemon::Daemon;
use self::program::{command, read, run, said, text, until, with_texts};

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Sends a row to a source that listens, or will soon.
fn send(port: u16, row: &str) {
    let sent = || -> Option<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        let head =
            format!("POST /in HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", row.len());
        stream.write_all(format!("{head}{row}").as_bytes()).ok()?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).ok()?;
        Some(answer.starts_with("HTTP/1.1 202"))
    };
    until("the row is taken", || sent() == Some(true));
}

fn hot(port: u16) -> String {
    format!(
        "\
sources:
  in: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }} }}
steps:
  known: {{ set: {{ place: '\"room \" + device' }} }}
sinks:
  hot:
    from: known
    alert:
      by: device
      when: temperature > 30
      order: arrival
      title: \"{{{{ device }}}} is hot\"
      notify: [people]
receivers:
  people: {{ file: {{ path: people.ndjson, visible: at_once }} }}
checkpoint: {{ every: 100ms }}
"
    )
}

/// A `serve` over a pipeline, asked in both ways.
struct Served {
    home: tempfile::TempDir,
    daemon: Daemon,
    id: &'static str,
}

impl Served {
    fn start(id: &'static str, yaml: &str) -> Served {
        Served::over(with_texts(&[(&format!("{id}.yaml"), yaml)]), id)
    }

    fn over(home: tempfile::TempDir, id: &'static str) -> Served {
        let daemon = Daemon::start(home.path(), &[]);
        daemon.until_phase(id, "running");
        Served { home, daemon, id }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn words<'a>(&'a self, verb: &str, of: &'a str, more: &[&'a str]) -> Vec<String> {
        verb.split(' ').chain([of]).chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// As a verb of `ctl`, with what must not be there otherwise.
    fn ctl(&self, verb: &str, more: &[&str]) -> Output {
        let url = format!("http://{}", self.daemon.address);
        let words = self.words(verb, self.id, more);
        let words: Vec<&str> = ["ctl"].into_iter().chain(words.iter().map(String::as_str)).collect();
        command(self.path(), &words).env("MILLSTREAM_URL", url).env("USER", "ann").output().unwrap()
    }

    /// As a verb beside it.
    fn beside(&self, verb: &str, more: &[&str]) -> Output {
        let file = format!("{}.yaml", self.id);
        let words = self.words(verb, &file, more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        command(self.path(), &words).env("USER", "ann").output().unwrap()
    }

    /// What `ctl` printed, which has to go well.
    fn does(&self, verb: &str, more: &[&str]) -> String {
        let output = self.ctl(verb, more);
        assert!(output.status.success(), "{verb} {more:?}: {}", said(&output));
        text(&output.stdout)
    }

    /// What both print, which is the same.
    fn alike(&self, verb: &str, more: &[&str]) -> String {
        // What is asked for in the moment of a checkpoint may be of either side of it.
        let mut both = Default::default();
        until(&format!("`{verb}` {more:?} is answered alike"), || {
            let (ctl, beside) = (self.ctl(verb, more), self.beside(verb, more));
            let same = ctl.stdout == beside.stdout && ctl.status.success() == beside.status.success();
            both = (said(&ctl), said(&beside), text(&ctl.stdout));
            same
        });
        both.2
    }

    /// Waits until an answer of `ctl` has something in it.
    fn until(&self, verb: &str, more: &[&str], part: &str) -> String {
        let mut answer = String::new();
        until(&format!("`{verb}` {more:?} says `{part}`"), || {
            answer = self.does(verb, more);
            answer.contains(part)
        });
        answer
    }
}

#[test]
fn alerts_are_seen_silenced_and_acknowledged_in_the_same_words() {
    let port = free_port();
    let served = Served::start("hot", &hot(port));
    send(port, r#"{"device":"a","temperature":40}"#);
    served.until("alerts", &[], "firing");
    let shown = served.alike("alerts", &[]);
    assert!(shown.starts_with("alert  key  state") && shown.contains("a is hot"), "{shown}");
    let when = said(&served.ctl("alerts", &[]));
    assert!(when.contains("as of the checkpoint of 20"), "{when}");
    assert!(!said(&served.ctl("alerts", &["--format", "ndjson"])).contains("as of"), "lines are for programs");
    let rows: Value = serde_json::from_str(&served.alike("alerts", &["--format", "json"])).unwrap();
    assert_eq!(rows[0]["state"], "firing", "{rows}");
    assert_eq!(served.alike("alerts", &["--alert", "other"]), "nothing is pending, and nothing fires\n");

    let why = served.alike("why alert", &["hot", "a"]);
    assert!(why.contains("warning: `temperature > 30` for 0s\nhot (alert) ← known (set) ← in (http_server)"), "{why}");
    assert!(why.contains("inactive → firing (warning)"), "{why}");
    served.until("why-not", &["hot", "a"], "it was told at");
    served.alike("why-not", &["hot", "a", "--format", "ndjson"]);

    let known = served.does("ack", &["hot", "a", "--comment", "on my way"]);
    assert_eq!(known, "hot a is acknowledged by ann\n");
    served.until("alerts", &[], "(acknowledged by ann)");
    let added = served.does("silence add", &["device=b", "--for", "1h", "--comment", "being mended"]);
    assert!(added.starts_with("silence s1 holds until 20") && added.ends_with("it silences 0 alerts\n"), "{added}");
    served.until("silence list", &[], "being mended");
    let silences = served.alike("silence list", &[]);
    assert!(silences.contains("device=b"), "{silences}");
    served.daemon.until_phase("hot", "running");
    send(port, r#"{"device":"b","temperature":50}"#);
    served.until("why-not", &["hot", "b"], "silence s1 holds until");
    assert!(!read(served.path(), "people.ndjson").contains("b is hot"));
    assert_eq!(served.does("silence expire", &["s1", "--by", "bob"]), "silence s1 has ended\n");
    until("what was kept back is told", || read(served.path(), "people.ndjson").contains("b is hot"));
    served.until("alerts", &["--history"], "expire by bob: s1");
    let history = served.alike("alerts", &["--history"]);
    assert!(history.contains("acknowledge by ann: hot {\"device\":\"a\"}: on my way"), "{history}");
    assert_eq!(served.alike("alerts", &["--history", "--limit", "1"]).lines().next(), history_end(&history));

    let of_alert = served.alike("alerts", &["--history", "--alert", "hot"]);
    for part in ["a: inactive → firing", "people is told: firing (new): a is hot", "acknowledge by ann"] {
        assert!(of_alert.contains(part), "{of_alert}");
    }
    assert_eq!(served.alike("alerts", &["--history", "--alert", "other"]), "nothing has happened\n");

    // What cannot be is said alike.
    for (verb, more, why) in [
        ("why-not", &["hto", "a"][..], "there is no alert `hto`; is it `hot`?"),
        ("why alert", &["hto", "a"], "there is no alert `hto`; is it `hot`?"),
        ("why alert", &["hot", "z"], "nothing is known of `hot` for `z`"),
        ("silence expire", &["s9"], "there is no silence `s9`"),
        ("ack", &["hot", "z"], "`hot` does not fire for `z`"),
        ("why window", &["hot"], "`hot` is no window step"),
        ("silence add", &["device"], "device"),
    ] {
        for output in [served.ctl(verb, more), served.beside(verb, more)] {
            assert!(!output.status.success() && said(&output).contains(why), "{verb} {more:?}: {}", said(&output));
        }
    }
}

#[test]
fn what_is_said_with_a_token_is_said_by_whose_it_is() {
    let port = free_port();
    let home = with_texts(&[("hot.yaml", &hot(port))]);
    let token = |name: &str, role: &str| {
        let output = run(home.path(), &["token", "add", name, "--role", role, "--pipelines", "."]);
        text(&output.stdout).split_whitespace().find(|word| word.starts_with("ms_")).map(str::to_owned).unwrap()
    };
    let (bob, eve) = (token("bob", "operate"), token("eve", "read"));
    let served = Served::over(home, "hot");
    send(port, r#"{"device":"a","temperature":40}"#);
    served.until("alerts", &["--token", &bob], "firing");
    assert_eq!(served.does("ack", &["hot", "a", "--token", &bob]), "hot a is acknowledged by bob\n");
    served.does("silence add", &["device=b", "--token", &bob, "--by", "the night shift"]);
    served.does("silence expire", &["s1", "--token", &bob]);
    let history = served.until("alerts", &["--history"], "expire by bob: s1: device=b");
    assert!(history.contains("acknowledge by bob") && history.contains("silence by the night shift"), "{history}");
    served.does("why-not", &["hot", "a", "--token", &eve]);
    for (verb, more) in [
        ("ack", &["hot", "a"][..]),
        ("silence add", &["device=b"]),
        ("dead-letters retry", &[]),
        ("dead-letters purge", &["--all"]),
        ("state", &["hot", "--key", "a", "--delete"]),
    ] {
        let output = served.ctl(verb, &[more, &["--token", &eve]].concat());
        assert!(!output.status.success() && said(&output).contains("has the role `read`"), "{}", said(&output));
    }
}

/// The first line of the last entry of a history.
fn history_end(history: &str) -> Option<&str> {
    history.lines().rfind(|line| !line.starts_with(' '))
}

/// A pipeline whose rows with `b: 0` nobody can take.
fn ratios(port: u16) -> String {
    format!(
        "\
sources:
  in: {{ http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }} }}
steps:
  ratio: {{ set: {{ ratio: a % b }} }}
  ones: {{ from: in, filter: a == 1 }}
  half: {{ from: ones, set: {{ half: a % (b - 4) }} }}
  per: {{ from: ratio, window: {{ count: 100, by: b, aggregate: {{ n: count() }} }} }}
sinks:
  out: {{ from: ratio, file: {{ path: out.ndjson, visible: at_once }} }}
  counts: {{ from: per, file: {{ path: counts.ndjson }} }}
  halves: {{ from: half, file: {{ path: halves.ndjson }} }}
checkpoint: {{ every: 100ms }}
"
    )
}

#[test]
fn dead_letters_are_read_sent_again_and_purged_in_the_same_words() {
    let port = free_port();
    let served = Served::start("p", &ratios(port));
    assert_eq!(served.does("dead-letters list", &[]), "no dead letters\n");
    for row in [r#"{"a":5,"b":3}"#, r#"{"a":5,"b":0}"#, r#"{"a":7,"b":0,"text":"ä"}"#, r#"{"a":1,"b":4}"#] {
        send(port, row);
    }
    served.until("dead-letters list", &[], " 3  20");
    let listed = served.alike("dead-letters list", &[]);
    assert!(
        listed.starts_with("id  kept") && listed.contains("ratio  error") && listed.contains("half   error"),
        "{listed}"
    );
    let some = served.alike("dead-letters list", &["--limit", "1", "--after", "1"]);
    assert!(some.ends_with("there are more: `--after 2` goes on\n"), "{some}");
    let of_entry = served.alike("dead-letters list", &["--entry", "half", "--format", "ndjson"]);
    assert_eq!(of_entry.lines().count(), 1, "{of_entry}");
    for more in [
        &["--cause", "late"][..],
        &["--reason", "zero"],
        &["--since", "2100-01-01T00:00:00Z"],
        &["--before", "2100-01-01T00:00:00Z", "--format", "json"],
    ] {
        served.alike("dead-letters list", more);
    }
    let shown = served.alike("dead-letters show", &["2"]);
    assert!(shown.contains("entry   ratio") && shown.ends_with("{\"a\":7,\"b\":0,\"text\":\"ä\"}\n"), "{shown}");
    assert_eq!(served.alike("dead-letters show", &["2", "--raw"]).trim_end(), r#"{"a":7,"b":0,"text":"ä"}"#);
    for (verb, more, why) in [
        ("dead-letters show", &["9"][..], "there is no dead letter 9"),
        ("dead-letters purge", &[], "say which dead letters go"),
    ] {
        for output in [served.ctl(verb, more), served.beside(verb, more)] {
            assert!(!output.status.success() && said(&output).contains(why), "{verb} {more:?}: {}", said(&output));
        }
    }
    let exported = served.alike("dead-letters export", &[]);
    assert_eq!(exported.lines().count(), 3, "{exported}");
    let output = served.ctl("dead-letters export", &["-o", "letters.ndjson"]);
    assert!(said(&output).contains("wrote 3 dead letters to letters.ndjson"), "{}", said(&output));
    assert_eq!(read(served.path(), "letters.ndjson"), exported);

    // What is refused again is a dead letter again, which the exit code says.
    let tried = served.ctl("dead-letters retry", &["--entry", "ratio", "--dry-run"]);
    assert_eq!(tried.status.code(), Some(1), "{}", said(&tried));
    assert!(said(&tried).contains("2 dead letters would be sent again: 0 rows for sinks"), "{}", said(&tried));
    let tried = served.ctl("dead-letters retry", &["--id", "1"]);
    assert!(said(&tried).contains("1 dead letter sent again: 0 rows for sinks, 1 row became dead"), "{}", said(&tried));
    assert_eq!(served.does("dead-letters purge", &["--entry", "half", "--dry-run"]), "1 dead letter would go\n");
    assert_eq!(served.does("dead-letters purge", &["--entry", "half"]), "1 dead letter purged\n");
    assert_eq!(served.does("dead-letters purge", &["--all"]), "2 dead letters purged\n");
    assert_eq!(served.alike("dead-letters list", &[]), "no dead letters\n");
    served.daemon.until_phase("p", "running");
}

#[test]
fn what_steps_keep_is_read_checked_and_forgotten_in_the_same_words() {
    let port = free_port();
    let served = Served::start("p", &ratios(port));
    for row in [r#"{"a":5,"b":3}"#, r#"{"a":5,"b":"ä, b"}"#, r#"{"a":6,"b":3}"#, r#"{"a":6,"b":2.5}"#] {
        send(port, row);
    }
    served.until("state", &[], "per      2");
    let shown = served.alike("state", &[]);
    assert!(shown.starts_with("step  keys  packed  watermark\n"), "{shown}");
    for format in ["text", "ndjson", "json", "csv"] {
        served.alike("state", &["--format", format]);
        let rows = served.alike("state", &["per", "--format", format]);
        assert!(rows.contains("2.5"), "{rows}");
    }
    let rows: Value = serde_json::from_str(&served.alike("state", &["per", "--format", "json"])).unwrap();
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
    assert!(served.alike("state", &["per", "--key", "3"]).starts_with("3\t"));
    assert!(served.alike("state check", &[]).starts_with("p: all in order: "));
    for (more, why) in [
        (&["per", "--key", "9"][..], "`per` keeps nothing for the key `9`"),
        (&["pre"], "there is no step `pre`; did you mean `per`?"),
        (&["ratio"], "`ratio` keeps nothing"),
        (&["per", "--key", "9", "--delete"], "`per` keeps nothing for the key `9`"),
    ] {
        for output in [served.ctl("state", more), served.beside("state", more)] {
            assert!(!output.status.success() && said(&output).contains(why), "{more:?}: {}", said(&output));
        }
    }
    assert_eq!(served.does("state", &["per", "--key", "3", "--delete"]), "`per` has forgotten the key `3`\n");
    assert_eq!(served.alike("state", &["per"]).lines().count(), 1);
    let window = served.alike("why window", &["per", "2.5"]);
    assert!(window.contains("`per` has 1 open window for `2.5`") && window.contains("99 more events"), "{window}");
    assert!(said(&served.ctl("why window", &["pre", "a"])).contains("is it `per`?"));
}

#[test]
fn a_state_of_many_rows_comes_whole() {
    // The live source keeps the windows open.
    let yaml = format!(
        "\
sources:
  in: {{ generate: {{ count: 30000, every: 1s, fields: {{ k: {{ sequence: {{}} }}, ts: {{ time: rfc3339 }} }} }} }}
  live: {{ http_server: {{ listen: \"127.0.0.1:{}\", path: /in }} }}
steps:
  per: {{ from: [in, live], window: {{ count: 100, by: k, aggregate: {{ n: count() }} }} }}
sinks:
  out: {{ from: per, file: {{ path: out.ndjson }} }}
checkpoint: {{ every: 100ms }}
",
        free_port()
    );
    let served = Served::start("p", &yaml);
    served.until("state", &[], "30,000");
    let rows = served.alike("state", &["per", "--format", "ndjson"]);
    assert_eq!(rows.lines().count(), 30_000);
}

#[test]
fn what_is_pending_says_what_it_waits_for() {
    let port = free_port();
    let yaml = format!(
        "\
sources:
  in:
    http_server: {{ listen: \"127.0.0.1:{port}\", path: /in }}
    time: {{ field: ts, out_of_order: 10s, idle_after: 1d, max_future: 100000d }}
sinks:
  hot:
    from: in
    alert: {{ by: [device, site], when: temperature > 30, for: 2m, notify_max_age: 100000d, notify: [people] }}
  door:
    from: in
    alert: {{ by: device, when: temperature > 30, for: 2m, sustain: true, notify_max_age: 100000d, notify: [people] }}
receivers:
  people: {{ file: {{ path: people.ndjson, visible: at_once }} }}
checkpoint: {{ every: 100ms }}
"
    );
    let served = Served::start("p", &yaml);
    let row = |minute: u32, second: u32| {
        let ts = format!("2026-01-01T00:{minute:02}:{second:02}Z");
        send(port, &format!(r#"{{"device":"a","site":"x","ts":"{ts}","temperature":40}}"#));
    };
    let key = r#"{"device":"a","site":"x"}"#;
    row(0, 0);
    let waits = served.until("why-not", &["hot", key], "1 row of it");
    assert!(waits.contains("has come and waits for the watermark, which is at 2025-12-31T23:59:50Z"), "{waits}");
    assert!(waits.contains("with an event of `in` of 2026-01-01T00:00:10"), "{waits}");
    row(0, 30);
    let waits = served.until("why-not", &["hot", key], "it is pending since 2026-01-01T00:00:00Z");
    assert!(waits.contains("`for` asks for 2m, which is until 2026-01-01T00:02:00Z"), "{waits}");
    assert!(waits.contains("it fires with a row of 2026-01-01T00:02:00Z or later"), "{waits}");
    let sustained = served.alike("why-not", &["door", "a"]);
    assert!(
        sustained.contains("it fires when the watermark reaches 2026-01-01T00:02:00Z: with an event"),
        "{sustained}"
    );
    row(2, 5);
    served.until("why-not", &["hot", key], "it is judged when the watermark reaches 2026-01-01T00:02:05Z");
    row(2, 30);
    served.until("why-not", &["hot", key], "it was told at");
}
