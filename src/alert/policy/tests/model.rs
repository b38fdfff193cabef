//! Against a plain model, which only knows what fires, what keeps it back, and what each receiver was told.

use super::*;
use proptest::prelude::*;

const KEYS: [&str; 4] = ["a", "b", "n", "z"];

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Fire(usize, bool),
    Resolve(usize),
    /// A key, or all of the north, for so long.
    Silence(Option<usize>, i64),
    Acknowledge(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    prop_oneof![
        3 => prop::sample::select(vec![1i64, 10, 31, 61, 130]).prop_map(Step::Pass),
        4 => (key.clone(), any::<bool>()).prop_map(|(key, critical)| Step::Fire(key, critical)),
        3 => key.clone().prop_map(Step::Resolve),
        1 => (prop::option::of(key.clone()), 1i64..300).prop_map(|(key, long)| Step::Silence(key, long)),
        1 => key.prop_map(Step::Acknowledge),
        1 => Just(Step::Restart),
    ]
}

/// What varies between cases.
fn policies() -> impl Strategy<Value = AlertPolicy> {
    let groups = prop::sample::select(vec![None, Some(vec![]), Some(vec!["site"])]);
    let waits = prop::sample::select(vec![(0i64, 0i64), (30, 60), (0, 60)]);
    let repeat = prop::option::of(Just(200i64));
    let rate = prop::option::weighted(0.3, Just(Rate { count: 2, per: seconds(100) }));
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), prop::sample::select(vec![0i64, 0, 90]));
    (groups, waits, repeat, rate, flags).prop_map(|(group, (wait, interval), repeat, rate, flags)| {
        let (inhibits, mutes, resolves, grace) = flags;
        let pager = Route { receiver: 1, severities: severities(&["critical"]), resolved: resolves };
        let night = ["00:05-00:10".to_owned(), "00:13-00:15".to_owned()];
        AlertPolicy {
            notify: vec![route(0), pager],
            group_by: group.map(|labels| severities(&labels)),
            group_wait: seconds(wait),
            group_interval: seconds(interval),
            repeat_every: repeat.map(seconds),
            inhibited_by: inhibits
                .then(|| Inhibit { equal: severities(&["site"]), ..Inhibit::default() })
                .into_iter()
                .collect(),
            mute: mutes.then(|| MuteTime::parse(&[], &[], &[], &night, "UTC").unwrap()).into_iter().collect(),
            rate,
            startup_grace: seconds(grace),
            ..AlertPolicy::default()
        }
    })
}

/// What is so.
#[derive(Default)]
struct Truth {
    /// Severity, and when it fired.
    fires: BTreeMap<usize, (bool, i64)>,
    silences: Vec<(Option<usize>, i64)>,
    acknowledged: BTreeSet<usize>,
    /// Since when nothing keeps a key back.
    free: BTreeMap<usize, i64>,
}

fn north(key: usize) -> bool {
    key < 2
}

impl Truth {
    fn held(&self, policy: &AlertPolicy, key: usize, now: i64) -> bool {
        let silences = |(silenced, until): &(Option<usize>, i64)| {
            now < *until && silenced.map_or(north(key), |silenced| silenced == key)
        };
        let (critical, _) = self.fires[&key];
        let higher = |(other, (severe, _)): (&usize, &(bool, i64))| *severe && !critical && north(*other) == north(key);
        let muted = (300..600).contains(&now) || (780..900).contains(&now);
        self.silences.iter().any(silences)
            || self.acknowledged.contains(&key)
            || (!policy.inhibited_by.is_empty() && self.fires.iter().any(higher))
            || (!policy.mute.is_empty() && muted)
    }

    fn look(&mut self, policy: &AlertPolicy, now: i64) {
        let free: Vec<usize> = self.fires.keys().copied().filter(|key| !self.held(policy, *key, now)).collect();
        self.free.retain(|key, _| free.contains(key));
        free.into_iter().for_each(|key| {
            self.free.entry(key).or_insert(now);
        });
    }
}

/// What receivers believe, from what they were sent: severity and when it fired, by receiver and key.
#[derive(Default)]
struct Beliefs {
    of: BTreeMap<(usize, usize), (bool, String)>,
    read: usize,
    /// Whether the second receiver is not told what is over: then it may be told the same twice.
    second_forgets: bool,
}

impl Beliefs {
    /// Takes in what was sent, and holds that each of it says something new.
    fn read(&mut self, sent: &[(i64, Notification)]) -> Result<(), TestCaseError> {
        for sent in &sent[self.read..] {
            let row = &sent.1.row;
            let mut news = 0;
            for alert in row["alerts"].as_array().unwrap() {
                let key = KEYS.iter().position(|key| alert["key"]["device"] == *key).unwrap();
                let of = (sent.1.receiver, key);
                let fired_at = alert["fired_at"].as_str().unwrap().to_owned();
                let firing = (alert["severity"] == "critical", fired_at);
                if alert["state"] == "firing" {
                    news += usize::from(self.of.insert(of, firing.clone()) != Some(firing));
                } else {
                    prop_assert!(self.of.remove(&of).is_some(), "nobody was told that it fired: {}", line(sent));
                    news += 1;
                }
            }
            let forgets = self.second_forgets && sent.1.receiver == 1;
            let repeats = row["reason"] == "repeat" || row["reason"] == "summary" || forgets;
            prop_assert!(news > 0 || repeats, "nothing is new: {}", line(sent));
            prop_assert!(row["reason"] != "repeat" || news == 0, "a repeat has news: {}", line(sent));
        }
        self.read = sent.len();
        Ok(())
    }
}

/// Plays steps, with restarts or without.
fn play(policy: &AlertPolicy, steps: &[Step], restarts: bool) -> Result<Vec<(i64, Notification)>, TestCaseError> {
    let mut run = Run::new(settings(policy.clone()));
    let mut truth = Truth::default();
    let mut beliefs = Beliefs { second_forgets: !policy.notify[1].resolved, ..Beliefs::default() };
    let prompt = policy.rate.is_none() && policy.startup_grace == TimeSpan::ZERO;
    let patience = (policy.group_wait.0 + policy.group_interval.0) / 1_000_000 + 1;
    for step in steps {
        match step {
            Step::Pass(long) => {
                // Second by second: the model has no timers.
                for now in run.now + 1..=run.now + long {
                    run.at(now);
                    truth.look(policy, now);
                    beliefs.read(&run.sent)?;
                    for (key, _) in truth.free.iter().filter(|(_, since)| prompt && now - **since > patience) {
                        let told = beliefs.of.get(&(0, *key)).map(|(critical, _)| *critical);
                        prop_assert_eq!(told, Some(truth.fires[key].0), "{} at {}", KEYS[*key], now);
                    }
                }
            }
            Step::Fire(key, critical) => {
                let before = truth.fires.get(key).copied();
                if before.is_none_or(|(severe, _)| severe != *critical) {
                    let severity = if *critical { "critical" } else { "warning" };
                    run.is("hot", KEYS[*key], Stage::Firing, severity);
                    truth.fires.insert(*key, (*critical, before.map_or(run.now, |(_, at)| at)));
                    truth.acknowledged.remove(key);
                    truth.free.remove(key);
                }
            }
            Step::Resolve(key) => {
                if truth.fires.remove(key).is_some() {
                    run.is("hot", KEYS[*key], Stage::Resolved, "");
                    truth.acknowledged.remove(key);
                    truth.free.remove(key);
                }
            }
            Step::Silence(key, long) => {
                let matcher = key.map_or("site=north".to_owned(), |key| format!("device={}", KEYS[key]));
                run.silence(&matcher, run.now + long);
                truth.silences.push((*key, run.now + long));
            }
            Step::Acknowledge(key) if truth.fires.contains_key(key) => {
                run.acknowledge(KEYS[*key], None);
                truth.acknowledged.insert(*key);
            }
            Step::Acknowledge(_) => {}
            Step::Restart if restarts => {
                run.store();
                run.policy = Policy::new(run.settings.clone(), second(0));
                run.policy.restore(run.rows.clone().into_iter()).unwrap();
            }
            Step::Restart => {}
        }
        truth.look(policy, run.now);
    }
    // Until nothing waits for anything.
    run.at(run.now.max(900) + 2_000);
    beliefs.read(&run.sent)?;
    let settled: BTreeSet<u128> = run.sent.iter().map(|(_, notification)| notification.id).collect();
    prop_assert_eq!(settled.len(), run.sent.len(), "an id is used twice");
    truth.look(policy, run.now);
    for (key, name) in KEYS.iter().enumerate() {
        for receiver in 0..2 {
            let told = beliefs.of.get(&(receiver, key)).map(|(critical, _)| *critical);
            let fires = truth.fires.get(&key).map(|(critical, _)| *critical);
            let wanted = fires.filter(|critical| receiver == 0 || *critical);
            let silent_end = receiver == 1 && !policy.notify[1].resolved;
            match wanted {
                Some(_) if truth.held(policy, key, run.now) => {}
                Some(_) => prop_assert_eq!(told, wanted, "{} for {}", name, receiver),
                None if silent_end => {}
                None => prop_assert_eq!(told, None, "{} for {}", name, receiver),
            }
        }
    }
    Ok(run.sent)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn what_is_so_is_told_once(policy in policies(), steps in prop::collection::vec(step(), 1..40)) {
        let once = play(&policy, &steps, false)?;
        let again = play(&policy, &steps, true)?;
        let lines = |sent: &[(i64, Notification)]| sent.iter().map(line).collect::<Vec<_>>();
        prop_assert_eq!(lines(&once), lines(&again));
        prop_assert!(once == again);
    }
}
