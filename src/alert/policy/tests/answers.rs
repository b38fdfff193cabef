//! What people are told when they ask.

use super::*;

fn reasons(run: &Run, key: &str) -> Vec<String> {
    let rows = run.policy.why_not("hot", &json!(key), second(run.now));
    rows.iter().map(|row| format!("{} {}", row["reason"].as_str().unwrap(), row["text"].as_str().unwrap())).collect()
}

#[track_caller]
fn because(run: &Run, key: &str, expected: &str) {
    let found = reasons(run, key);
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:#?}");
}

fn asked(policy: AlertPolicy) -> Run {
    Run::new(settings(policy))
}

#[test]
fn why_not_names_what_keeps_it_back() {
    let mut run = asked(AlertPolicy::default());
    because(&run, "a", "not_known `when` never held for it");
    run.is("hot", "a", Stage::Pending, "critical");
    because(&run, "a", "pending it is pending since 2025-12-31T23:59:59Z");
    run.is("hot", "a", Stage::Inactive, "");
    because(&run, "a", "inactive it is not active: it became inactive at 2026-01-01T00:00:00Z (`when`)");
    run.fire("a");
    because(&run, "a", "told it was told at 2026-01-01T00:00:00Z in notification ");
    run.silence("device=b", 60);
    run.fire("b");
    because(&run, "b", "silenced silence s1 holds until 2026-01-01T00:01:00Z");
    run.fire("c");
    run.acknowledge("b", None);
    run.at(60);
    because(&run, "b", "acknowledged ada has acknowledged it");
    let unknown = run.policy.why_not("hott", &json!("a"), second(60));
    assert_eq!(unknown[0]["text"], "there is no alert `hott`; is it `hot`?");
}

#[test]
fn why_not_knows_what_is_waited_for() {
    let group = AlertPolicy { group_by: Some(Vec::new()), group_wait: seconds(30), ..AlertPolicy::default() };
    let mut run = asked(group);
    run.fire("a");
    because(&run, "a", "grouped it waits for its group until 2026-01-01T00:00:30Z");
    let mut run = asked(AlertPolicy { startup_grace: seconds(30), ..AlertPolicy::default() });
    run.fire("a");
    because(&run, "a", "startup_grace it waits for the summary of the start until 2026-01-01T00:00:30Z");
    let mut run = asked(AlertPolicy { rate: Some(Rate { count: 1, per: seconds(9) }), ..AlertPolicy::default() });
    run.fire("a b");
    because(&run, "b", "rate it waits for the rate to have room until 2026-01-01T00:00:09Z");
    let mute = vec![MuteTime::parse(&[], &[], &[], &["00:00-01:00".to_owned()], "UTC").unwrap()];
    let mut run = asked(AlertPolicy { mute, ..AlertPolicy::default() });
    run.fire("a");
    because(&run, "a", "muted it is muted until 2026-01-01T01:00:00Z");
    let mut run = asked(AlertPolicy { notify_max_age: Some(seconds(60)), ..AlertPolicy::default() });
    run.at(1000).fire_old("a", 5);
    because(
        &run,
        "a",
        "too_old it came at 2026-01-01T00:16:40Z, 16m35s after its time, 2026-01-01T00:00:05Z, which is older than `notify_max_age` (1m): such transitions are recorded and not told, unless `notify_max_age` of the alert is greater, or it still fires when the stream comes that close to the present",
    );
    let pager = Route { severities: severities(&["critical"]), ..route(0) };
    let mut run = asked(AlertPolicy { notify: vec![pager], ..AlertPolicy::default() });
    run.warn("a");
    because(&run, "a", "no_route no route takes severity `warning`");
    let by = Inhibit { equal: severities(&["site"]), ..Inhibit::default() };
    let mut run = asked(AlertPolicy { inhibited_by: vec![by], ..AlertPolicy::default() });
    run.fire("a").warn("b");
    because(&run, "b", "inhibited `hot a` fires and inhibits it");
    assert_eq!(run.policy.active(second(0))[1]["receivers"][0]["by"], "hot a");
}

#[test]
fn what_people_ask_for_is_checked() {
    let mut run = asked(AlertPolicy::default());
    run.fire("a b");
    let silence = |matchers: &[&str], until: i64| Command::Silence {
        matchers: matchers.iter().map(|text| Matcher::parse(text).unwrap()).collect(),
        until: second(until),
        comment: String::new(),
        by: "ada".to_owned(),
    };
    let wrong = |run: &mut Run, command: Command| run.command(command).unwrap_err();
    assert!(wrong(&mut run, silence(&[], 10)).contains("needs a matcher"));
    assert!(wrong(&mut run, silence(&["sitte!=x"], 10)).contains("all alerts would be silenced"));
    assert!(wrong(&mut run, silence(&["site=x"], 0)).contains("still to come"));
    let expire = |id: &str| Command::Expire { id: id.to_owned(), by: String::new() };
    assert_eq!(wrong(&mut run, expire("s9")), "there is no silence `s9`: none holds");
    assert_eq!(run.command(silence(&["site=north"], 10)).unwrap(), json!({ "silence": "s1", "matched": 2 }));
    assert!(wrong(&mut run, expire("s2")).contains("`s1`"));
    assert_eq!(run.policy.silences(second(5))[0]["matchers"], json!(["site=north"]));
    run.command(expire("1")).unwrap();
    assert!(run.policy.silences(second(5)).is_empty());
    let acknowledge = |alert: &str, key: Option<Value>, matchers: &[&str]| Command::Acknowledge {
        alert: alert.to_owned(),
        key,
        matchers: matchers.iter().map(|text| Matcher::parse(text).unwrap()).collect(),
        by: "ada".to_owned(),
        comment: "on it".to_owned(),
        until: None,
    };
    assert_eq!(wrong(&mut run, acknowledge("ht", None, &[])), "there is no alert `ht`; is it `hot`?");
    let unknown = wrong(&mut run, acknowledge("hot", Some(json!("device")), &[]));
    assert_eq!(unknown, "`hot` does not fire for `device`; it does for `a`");
    assert_eq!(wrong(&mut run, acknowledge("hot", None, &["site=x"])), "nothing of `hot` that fires matches");
    let key = Some(json!({ "device": "a" }));
    assert_eq!(run.command(acknowledge("hot", key, &[])).unwrap()["acknowledged"], 1);
    assert_eq!(run.command(acknowledge("hot", None, &["site=north"])).unwrap()["acknowledged"], 2);
}

#[test]
fn a_key_can_be_explained() {
    let mut run = asked(AlertPolicy { repeat_every: Some(seconds(60)), ..AlertPolicy::default() });
    run.fire("a b").at(60).resolve("a");
    let rows = run.restart().policy.explain("hot", &json!({ "device": "a" }));
    let what: Vec<&str> = rows.iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["transition", "notification", "notification", "transition", "notification"]);
    let fired = &rows[0];
    assert_eq!((&fired["state"], &fired["values"]["temperature"]), (&json!("firing"), &json!(31.5)));
    assert_eq!(fired["told"][0]["outcome"], "sent");
    assert_eq!(fired["told"][0]["notification"], rows[1]["notification"]);
    assert_eq!((&rows[2]["reason"], &rows[4]["status"]), (&json!("repeat"), &json!("resolved")));
    assert_eq!(run.policy.explain("hot", &json!("c")), [json!(null); 0]);
}

#[test]
fn history_says_what_became_of_each_transition() {
    let group = AlertPolicy { group_by: Some(Vec::new()), group_wait: seconds(30), ..AlertPolicy::default() };
    let mut run = asked(group);
    run.fire("a").at(10).resolve("a").warn("b").at(20).fire("b").at(40).resolve("b").at(50);
    let outcome = |row: &Value| row["told"].as_array().map(|told| told.iter().map(|t| t["outcome"].clone()).collect());
    let outcomes: Vec<Option<Vec<Value>>> = run.policy.history(None).iter().map(outcome).collect();
    let word = |word: &str| Some(vec![json!(word)]);
    let expected = [word("over"), Some(vec![]), word("overtaken"), word("sent"), None, word("sent"), None];
    assert_eq!(outcomes, expected);
}

#[test]
fn what_waits_and_is_silenced_meanwhile_is_known_to_be() {
    let group = AlertPolicy { group_by: Some(Vec::new()), group_wait: seconds(30), ..AlertPolicy::default() };
    let mut run = asked(group);
    run.fire("a").silence("device=a", 100);
    run.at(30).expect(&[]);
    let told = &run.policy.history(None)[0]["told"][0];
    assert_eq!((&told["outcome"], &told["by"]), (&json!("silenced"), &json!("s1")));
    run.at(100).expect(&["100 ops new +a"]);
}

#[test]
fn silences_and_history_outlive_a_run() {
    let mut run = asked(AlertPolicy::default());
    run.silence("device=a", 1000);
    run.fire("b");
    run.store();
    run.rows.retain(|key, _| Policy::outlives(key));
    run.policy = Policy::new(run.settings.clone(), second(5));
    run.policy.restore(run.rows.clone().into_iter()).unwrap();
    run.fire("a").expect(&["0 ops new +b"]);
    assert_eq!((run.policy.silences(second(5)).len(), run.policy.active(second(5)).len()), (1, 1));
    assert_eq!(run.policy.history(None).len(), 4);
    let broken = [(b"key/00".to_vec(), b"x".to_vec())];
    let error = Policy::new(run.settings, second(0)).restore(broken.into_iter()).unwrap_err();
    assert!(error.contains("the stored state of alerts cannot be read"), "{error}");
}

#[test]
fn a_notification_row_has_everything() {
    let mut run = asked(AlertPolicy { group_by: Some(severities(&["site"])), ..AlertPolicy::default() });
    run.fire("a");
    let mut told = run.told("hot", "b", Stage::Firing, "warning");
    told.links = vec![("board".to_owned(), "https://example.org/b".to_owned())];
    told.window = Some((second(0), second(60)));
    run.at(1).take(told);
    let row = run.sent[1].1.row.clone();
    let names: Vec<&String> = row.as_object().unwrap().keys().collect();
    let expected = [
        "notification",
        "pipeline",
        "receiver",
        "status",
        "reason",
        "severity",
        "title",
        "body",
        "group",
        "group_key",
        "firing",
        "resolved",
        "omitted",
        "alerts",
    ];
    assert_eq!(names, expected);
    assert_eq!(row["notification"], format!("{:032x}", run.sent[1].1.id));
    assert_eq!((&row["severity"], &row["group_key"]), (&json!("critical"), &json!("hot{site=\"north\"}")));
    assert_eq!(row["title"], "hot{site=\"north\"}: 2 firing, critical");
    assert_eq!(row["body"], "- b is warning (warning)\n- a is critical (critical)\n");
    let fingerprint = row["alerts"][0]["fingerprint"].clone();
    assert_eq!(
        row["alerts"][0],
        json!({
            "alert": "hot", "state": "firing", "reason": "when", "severity": "warning", "key": { "device": "b" },
            "labels": { "alertname": "hot", "device": "b", "severity": "warning", "site": "north" },
            "title": "b is warning", "body": "", "since": "2025-12-31T23:59:59Z", "fired_at": "2026-01-01T00:00:00Z",
            "at": "2026-01-01T00:00:00Z", "resolved_at": null, "condition": "temperature > 30",
            "values": { "device": "b", "temperature": 31.5 }, "window_start": "2026-01-01T00:00:00Z",
            "window_end": "2026-01-01T00:01:00Z", "links": { "board": "https://example.org/b" },
            "fingerprint": fingerprint, "acknowledged_by": null,
        })
    );
}
