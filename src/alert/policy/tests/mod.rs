//! Timelines in virtual time: what is told, whom and when. Keys are single letters, instants are seconds.

mod answers;
mod load;
mod model;
mod timelines;

use std::collections::BTreeMap;

use super::*;
use crate::base::limit;
use crate::base::time::TimeSpan;
use serde_json::json;

/// The start of a timeline, a Thursday.
const START: i64 = 1_767_225_600_000_000;

pub(super) fn second(n: i64) -> Timestamp {
    Timestamp(START).plus(TimeSpan::seconds(n))
}

pub(super) fn seconds(n: i64) -> TimeSpan {
    TimeSpan::seconds(n)
}

pub(super) fn route(receiver: usize) -> Route {
    Route { receiver, severities: Vec::new(), resolved: true }
}

pub(super) fn severities(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

/// One alert `hot` with receivers `ops` and `chat`; `ops` is told of everything.
pub(super) fn settings(policy: AlertPolicy) -> Settings {
    let receiver = |name: &str| Receiver { name: name.to_owned(), rate: None };
    let policy = AlertPolicy {
        severities: severities(&["warning", "critical"]),
        notify: if policy.notify.is_empty() { vec![route(0)] } else { policy.notify },
        ..policy
    };
    Settings {
        pipeline: "plant".to_owned(),
        receivers: vec![receiver("ops"), receiver("chat")],
        alerts: BTreeMap::from([("hot".to_owned(), policy)]),
    }
}

/// A policy at work, and what it told.
pub(super) struct Run {
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    pub(super) now: i64,
    pub(super) sent: Vec<(i64, Notification)>,
    /// What a store has of it.
    pub(super) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    states: BTreeMap<String, (Stage, u64, Option<Timestamp>)>,
    shown: usize,
}

impl Run {
    pub(super) fn new(settings: Settings) -> Run {
        let policy = Policy::new(settings.clone(), second(0));
        let (sent, rows, states) = Default::default();
        Run { settings, policy, now: 0, sent, rows, states, shown: 0 }
    }

    /// Time goes on to `to`, through all that is due.
    pub(super) fn at(&mut self, to: i64) -> &mut Self {
        while let Some(due) = self.policy.due().filter(|due| *due <= second(to)) {
            let due = (due.0 - START).div_euclid(1_000_000).max(self.now);
            self.pass(due);
        }
        self.pass(to);
        self
    }

    pub(super) fn pass(&mut self, to: i64) {
        self.now = to;
        let mut out = Vec::new();
        self.policy.pass(second(to), &mut out);
        self.add(out);
        let mut again = Vec::new();
        self.policy.pass(second(to), &mut again);
        assert_eq!(again, [], "a second pass at one instant does nothing");
    }

    pub(super) fn add(&mut self, out: Vec<Notification>) {
        let now = self.now;
        self.sent.extend(out.into_iter().map(|notification| (now, notification)));
    }

    pub(super) fn told(&mut self, alert: &str, key: &str, state: Stage, severity: &str) -> Told {
        self.told_at(alert, key, state, severity, self.now)
    }

    fn told_at(&mut self, alert: &str, key: &str, state: Stage, severity: &str, at: i64) -> Told {
        let known = self.states.entry(format!("{alert} {key}")).or_default();
        let (was, number) = (known.0, known.1 + 1);
        let fired_at = if was.fires() { known.2 } else { state.fires().then_some(second(at)).or(known.2) };
        *known = (state, number, fired_at);
        Told {
            alert: alert.into(),
            key: json!({ "device": key }).as_object().unwrap().clone(),
            was,
            state,
            severity: severity.into(),
            reason: "when".into(),
            number,
            at: second(at),
            since: second(at - 1),
            fired_at,
            quiet: false,
            title: format!("{key} is {severity}"),
            body: String::new(),
            labels: vec![("site".to_owned(), if key < "m" { "north" } else { "south" }.to_owned())],
            values: json!({ "device": key, "temperature": 31.5 }).to_string(),
            window: None,
            condition: "temperature > 30".into(),
            links: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, told: Told) -> &mut Self {
        let mut out = Vec::new();
        self.policy.take(told, second(self.now), &mut out);
        self.add(out);
        self
    }

    pub(super) fn is(&mut self, alert: &str, key: &str, state: Stage, severity: &str) -> &mut Self {
        let told = self.told(alert, key, state, severity);
        self.take(told)
    }

    /// Keys fire, one after the other.
    pub(super) fn fire(&mut self, keys: &str) -> &mut Self {
        keys.split(' ').for_each(|key| {
            self.is("hot", key, Stage::Firing, "critical");
        });
        self
    }

    pub(super) fn warn(&mut self, keys: &str) -> &mut Self {
        keys.split(' ').for_each(|key| {
            self.is("hot", key, Stage::Firing, "warning");
        });
        self
    }

    pub(super) fn resolve(&mut self, keys: &str) -> &mut Self {
        keys.split(' ').for_each(|key| {
            self.is("hot", key, Stage::Resolved, "");
        });
        self
    }

    /// Something fires that began at `at`.
    pub(super) fn fire_old(&mut self, key: &str, at: i64) -> &mut Self {
        let told = self.told_at("hot", key, Stage::Firing, "critical", at);
        self.take(told)
    }

    pub(super) fn resolve_old(&mut self, key: &str, at: i64) -> &mut Self {
        let told = self.told_at("hot", key, Stage::Resolved, "", at);
        self.take(told)
    }

    pub(super) fn command(&mut self, command: Command) -> Result<Value, String> {
        let answer = self.policy.command(command, second(self.now));
        self.pass(self.now);
        answer
    }

    pub(super) fn silence(&mut self, matcher: &str, until: i64) -> String {
        let matchers = vec![Matcher::parse(matcher).unwrap()];
        let (comment, by) = ("known".to_owned(), "ada".to_owned());
        let made = self.command(Command::Silence { matchers, until: second(until), comment, by });
        made.unwrap()["silence"].as_str().unwrap().to_owned()
    }

    pub(super) fn acknowledge(&mut self, key: &str, until: Option<i64>) {
        let acknowledge = Command::Acknowledge {
            alert: "hot".to_owned(),
            key: Some(json!(key)),
            matchers: Vec::new(),
            by: "ada".to_owned(),
            comment: String::new(),
            until: until.map(second),
        };
        self.command(acknowledge).unwrap();
    }

    pub(super) fn end(&mut self) -> &mut Self {
        let mut out = Vec::new();
        self.policy.end(second(self.now), &mut out);
        self.add(out);
        self
    }

    /// The process stops, and another one goes on with what was stored.
    pub(super) fn restart(&mut self) -> &mut Self {
        self.store();
        let mut policy = Policy::new(self.settings.clone(), second(self.now));
        policy.restore(self.rows.clone().into_iter()).unwrap();
        policy.remove(&[], second(self.now));
        self.policy = policy;
        self
    }

    /// The same after the state of the alert was forgotten.
    pub(super) fn restart_without_state(&mut self) -> &mut Self {
        self.restart();
        self.policy.remove(&["hot".into()], second(self.now));
        self
    }

    pub(super) fn store(&mut self) {
        let mut changes = Vec::new();
        self.policy.changes(&mut changes);
        for (key, row) in changes {
            match row {
                Some(row) => self.rows.insert(key, row),
                None => self.rows.remove(&key),
            };
        }
    }

    /// What was told since the last time: `when receiver reason +firing -resolved`, with severities below critical.
    #[track_caller]
    pub(super) fn expect(&mut self, expected: &[&str]) -> &mut Self {
        let lines: Vec<String> = self.sent[self.shown..].iter().map(line).collect();
        self.shown = self.sent.len();
        assert_eq!(lines, expected);
        self
    }
}

pub(super) fn line((when, notification): &(i64, Notification)) -> String {
    let row = &notification.row;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut line = format!("{when} {} {}", text(&row["receiver"]), text(&row["reason"]));
    for alert in row["alerts"].as_array().unwrap() {
        let sign = if alert["state"] == "firing" { '+' } else { '-' };
        line.push_str(&format!(" {sign}{}", text(&alert["key"]["device"])));
        if alert["severity"] == "warning" {
            line.push('?');
        }
    }
    line
}
