//! `max_keys` of an alert against a plain reference that remembers everything about few keys: which one is forgotten for
//! another, whose rows fail, and what is told, however rows are cut into blocks and wherever the run is restarted.

#![allow(clippy::expect_used, reason = "a reference that meets nonsense should say so")]

mod support;

use proptest::prelude::*;
use serde_json::{Value, json};

use support::{Case, Feed, feeds, rising, rows_of, run_direct};

/// 2026-01-01T00:00:00Z in seconds.
const BASE: i64 = 1_767_225_600;

#[derive(Clone, Debug)]
struct Setting {
    keys: usize,
    forgets: bool,
    by_arrival: bool,
    /// Rows in which it has to hold.
    events: usize,
    out_of_order: i64,
}

impl Setting {
    fn yaml(&self) -> String {
        let Setting { keys, events, out_of_order, .. } = self;
        let beyond = if self.forgets { "forget_quiet" } else { "refuse" };
        let order = if self.by_arrival { "arrival" } else { "event_time" };
        format!(
            "name: t
sources:
  in:
    file: {{ path: none.ndjson }}
    time: {{ field: ts, format: unix, out_of_order: {out_of_order}s }}
sinks:
  hot:
    alert:
      by: {{ k: k }}
      when: v > 10
      for: {events} events
      order: {order}
      max_keys: {{ keys: {keys}, beyond: {beyond} }}
  told: {{ from: hot, discard: {{}} }}
  wrong: {{ from: hot.errors, discard: {{}} }}
"
        )
    }
}

#[derive(Clone, Debug)]
struct Row {
    /// Seconds after the base.
    at: i64,
    key: u8,
    /// Without it the row says nothing.
    value: Option<i64>,
}

/// A key of the reference.
#[derive(Clone, Debug, Default)]
struct Known {
    key: u8,
    waiting: Vec<Row>,
    /// When the last row was that was judged.
    last: i64,
    /// Rows in which it held, unbroken.
    held: usize,
    fires: bool,
}

/// What is told of a key: its name, its state, and when.
type Told = (String, String, i64);

struct Reference<'a> {
    setting: &'a Setting,
    known: Vec<Known>,
    told: Vec<Told>,
    /// Rows that failed: key and time.
    wrong: Vec<(String, i64)>,
}

fn name(key: u8) -> String {
    char::from(b'a' + key).to_string()
}

impl Reference<'_> {
    fn comes(&mut self, row: &Row, watermark: i64) {
        if !self.known.iter().any(|known| known.key == row.key) {
            while self.known.len() >= self.setting.keys {
                let well = |known: &&Known| {
                    self.setting.forgets && known.waiting.is_empty() && !known.fires && known.held == 0
                };
                let quiet = self.known.iter().filter(well).min_by_key(|known| (known.last, known.key));
                let Some(quiet) = quiet.map(|known| known.key) else {
                    self.wrong.push((name(row.key), row.at));
                    return;
                };
                self.known.retain(|known| known.key != quiet);
            }
            self.known.push(Known { key: row.key, last: i64::MIN, ..Known::default() });
        }
        let at = self.known.iter().position(|known| known.key == row.key).expect("a key");
        if self.setting.by_arrival || row.at <= watermark {
            self.judge(at, row);
        } else {
            self.known[at].waiting.push(row.clone());
        }
    }

    fn judge(&mut self, at: usize, row: &Row) {
        let known = &mut self.known[at];
        if row.at < known.last {
            return;
        }
        known.last = row.at;
        let mut tell = |state: &str| self.told.push((name(row.key), state.to_owned(), row.at));
        match row.value {
            None => {}
            Some(value) if value > 10 && !known.fires => {
                known.held += 1;
                if known.held >= self.setting.events {
                    (known.fires, known.held) = (true, 0);
                    tell("firing");
                }
            }
            Some(value) if value > 10 => {}
            Some(_) => {
                known.held = 0;
                if std::mem::take(&mut known.fires) {
                    tell("resolved");
                }
            }
        }
    }

    /// The watermark comes here: what waited up to it is judged, by time, then by key, then as it came.
    fn reaches(&mut self, watermark: i64) {
        loop {
            let waits = |known: &Known| known.waiting.iter().map(|row| row.at).min().filter(|at| *at <= watermark);
            let next = self.known.iter().enumerate().filter_map(|(at, known)| Some((waits(known)?, known.key, at)));
            let Some((time, _, at)) = next.min() else { return };
            let waiting = &mut self.known[at].waiting;
            let place = waiting.iter().position(|row| row.at == time).expect("a row");
            let row = waiting.remove(place);
            self.judge(at, &row);
        }
    }
}

fn reference(setting: &Setting, rows: &[Row]) -> (Vec<Told>, Vec<(String, i64)>) {
    let mut reference = Reference { setting, known: Vec::new(), told: Vec::new(), wrong: Vec::new() };
    let mut watermark = i64::MIN;
    for row in rows {
        reference.comes(row, watermark);
        watermark = watermark.max(row.at - setting.out_of_order);
        reference.reaches(watermark);
    }
    reference.reaches(i64::MAX);
    (reference.told, reference.wrong)
}

fn ran(setting: &Setting, rows: &[Row], feed: &Feed) -> (Vec<Told>, Vec<(String, i64)>) {
    let text = |row: &Row| {
        let mut event = json!({ "ts": BASE + row.at, "k": name(row.key) });
        if let Some(value) = row.value {
            event["v"] = value.into();
        }
        event.to_string()
    };
    let partitions = vec![rows.iter().map(text).collect()];
    let case = Case { yaml: setting.yaml(), partitions, out_of_order: setting.out_of_order };
    let out = run_direct(&case, feed);
    let of = |row: &Value, name: &str| row[name].as_str().expect("a text").to_owned();
    let seconds = |text: String| {
        let at: jiff::Timestamp = text.parse().expect("a time");
        at.as_second() - BASE
    };
    let told = rows_of(&out[0]).iter().map(|row| (of(row, "k"), of(row, "state"), seconds(of(row, "at")))).collect();
    let told = Vec::into_iter(told).filter(|(_, state, _): &Told| state == "firing" || state == "resolved").collect();
    let wrong = rows_of(&out[1]);
    let original = |row: &Value| {
        let reason = of(row, "reason");
        assert!(reason.contains("which is the limit"), "{reason}");
        let row = match &row["original"] {
            Value::String(text) => serde_json::from_str(text).expect("JSON"),
            row => row.clone(),
        };
        (of(&row, "k"), row["ts"].as_i64().expect("a time") - BASE)
    };
    (told, wrong.iter().map(original).collect())
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let value = prop_oneof![5 => (0i64..20).prop_map(Some), 1 => Just(None)];
    let row = (0i64..8, 0u8..7, value).prop_map(|(back, key, value)| Row { at: -back, key, value });
    rising(row, 80, |row, base| row.at += base)
}

fn settings() -> impl Strategy<Value = Setting> {
    (1usize..5, prop::bool::weighted(0.8), any::<bool>(), 1usize..4, 0i64..6).prop_map(
        |(keys, forgets, by_arrival, events, out_of_order)| Setting { keys, forgets, by_arrival, events, out_of_order },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn the_quietest_key_that_is_well_makes_room(setting in settings(), rows in rows(), feed in feeds()) {
        prop_assert_eq!(ran(&setting, &rows, &feed), reference(&setting, &rows), "{}", setting.yaml());
    }
}
