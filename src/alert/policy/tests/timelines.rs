//! One timeline for each sentence of what holds.

use super::*;

fn grouped(by: &[&str]) -> AlertPolicy {
    AlertPolicy {
        group_by: Some(severities(by)),
        group_wait: seconds(30),
        group_interval: seconds(300),
        ..AlertPolicy::default()
    }
}

fn alone() -> AlertPolicy {
    AlertPolicy::default()
}

fn repeating() -> AlertPolicy {
    AlertPolicy { repeat_every: Some(seconds(3600)), ..alone() }
}

#[test]
fn a_key_alone_is_told_at_once_and_once() {
    let mut run = Run::new(settings(alone()));
    run.is("hot", "a", Stage::Pending, "critical").expect(&[]);
    run.at(5).fire("a").expect(&["5 ops new +a"]);
    run.at(6).is("hot", "a", Stage::Recovering, "critical").is("hot", "a", Stage::Firing, "critical").expect(&[]);
    run.at(10_000).resolve("a").expect(&["10000 ops resolved -a"]);
    run.at(10_001).fire("a").resolve("a").expect(&["10001 ops new +a", "10001 ops resolved -a"]);
    assert_eq!(run.policy.active(second(run.now)), [json!(null); 0]);
}

#[test]
fn a_change_of_severity_is_told() {
    let mut run = Run::new(settings(alone()));
    run.warn("a").at(1).fire("a").at(2).warn("a").at(3).resolve("a");
    run.expect(&["0 ops new +a?", "1 ops changed +a", "2 ops changed +a?", "3 ops resolved -a?"]);
}

#[test]
fn to_one_that_is_not_told_of_a_severity_it_is_over() {
    let pager = Route { severities: severities(&["critical"]), ..route(0) };
    let chat = Route { resolved: false, ..route(1) };
    let mut run = Run::new(settings(AlertPolicy { notify: vec![pager, chat], ..alone() }));
    run.warn("a").expect(&["0 chat new +a?"]);
    run.at(1).fire("a").expect(&["1 ops new +a", "1 chat changed +a"]);
    run.at(2).warn("a").expect(&["2 ops resolved -a", "2 chat changed +a?"]);
    run.at(3).resolve("a").expect(&[]);
    assert!(run.policy.active(second(3)).is_empty());
}

#[test]
fn a_receiver_named_twice_is_told_once() {
    let warn = Route { severities: severities(&["warning"]), resolved: false, ..route(0) };
    let page = Route { severities: severities(&["critical"]), ..route(0) };
    let mut run = Run::new(settings(AlertPolicy { notify: vec![warn, page, route(0)], ..alone() }));
    run.warn("a").resolve("a").expect(&["0 ops new +a?", "0 ops resolved -a?"]);
}

#[test]
fn a_group_waits_for_others_and_between_notifications() {
    let mut run = Run::new(settings(grouped(&["site"])));
    run.fire("a").at(10).fire("b z").at(29).expect(&[]);
    run.at(60).expect(&["30 ops new +a +b", "40 ops new +z"]);
    run.fire("c").resolve("a").at(329).expect(&[]);
    run.at(330).expect(&["330 ops new +c -a +b"]);
    // Long after the last notification there is nothing to wait for.
    run.at(1000).resolve("b").expect(&["1000 ops resolved -b +c"]);
    run.at(1001).resolve("c").at(2000).expect(&["1300 ops resolved -c"]);
    // The group begins anew.
    run.fire("b").at(2030).expect(&["2030 ops new +b"]);
}

#[test]
fn what_is_over_before_its_group_is_told_is_not_told() {
    let mut run = Run::new(settings(grouped(&[])));
    run.fire("a").at(10).resolve("a").at(1000).expect(&[]);
    run.fire("a").at(1030).expect(&["1030 ops new +a"]);
    // Over and firing again before anybody was told.
    run.at(1100).resolve("a").at(1200).fire("a").at(2000).expect(&["1330 ops new +a"]);
}

#[test]
fn what_fires_is_repeated() {
    let mut run = Run::new(settings(repeating()));
    run.fire("a").at(7300).expect(&["0 ops new +a", "3600 ops repeat +a", "7200 ops repeat +a"]);
    run.warn("a").at(10_899).expect(&["7300 ops changed +a?"]);
    run.at(10_900).resolve("a").at(20_000).expect(&["10900 ops repeat +a?", "10900 ops resolved -a?"]);
}

#[test]
fn a_silence_holds_back_until_it_ends() {
    let mut run = Run::new(settings(repeating()));
    run.silence("device=a", 100);
    run.fire("a b").expect(&["0 ops new +b"]);
    run.at(200).expect(&["100 ops new +a"]);
    // Of what was told, the end is told, silenced or not; what began in a silence and ended in it was never told.
    run.silence("device=~a|c", 1000);
    run.fire("c").at(300).resolve("a c").expect(&["300 ops resolved -a"]);
    run.at(1100).expect(&[]);
    // What was told before the silence is not told anew after it.
    run.silence("device=b", 2000);
    run.at(3599).expect(&[]);
    run.at(4000).expect(&["3600 ops repeat +b"]);
    // No repeat while it is silenced; one that would have been is made up for.
    let id = run.silence("device=b", 100_000);
    run.at(9000).expect(&[]);
    run.command(Command::Expire { id, by: "ada".to_owned() }).unwrap();
    run.expect(&["9000 ops repeat +b"]);
}

#[test]
fn in_a_group_what_is_silenced_is_left_out() {
    let mut run = Run::new(settings(grouped(&[])));
    run.silence("device=b", 100);
    run.fire("a b").at(50).expect(&["30 ops new +a"]);
    run.at(400).expect(&["330 ops new +b +a"]);
}

#[test]
fn another_alert_inhibits_where_labels_are_equal() {
    let by = Inhibit { alert: Some("down".to_owned()), equal: severities(&["site"]), ..Inhibit::default() };
    let mut all = settings(AlertPolicy { inhibited_by: vec![by], ..alone() });
    all.alerts.insert("down".to_owned(), AlertPolicy { notify: vec![route(1)], ..alone() });
    let mut run = Run::new(all);
    run.is("down", "x", Stage::Firing, "critical").fire("a z").expect(&["0 chat new +x", "0 ops new +a"]);
    run.at(5).is("down", "y", Stage::Firing, "critical").at(6).is("down", "x", Stage::Resolved, "");
    run.expect(&["5 chat new +y", "6 chat resolved -x"]);
    run.at(7).is("down", "y", Stage::Resolved, "").expect(&["7 chat resolved -y", "7 ops new +z"]);
    // What was told before it was inhibited ends as told.
    run.at(8).is("down", "x", Stage::Firing, "critical").resolve("z").expect(&["8 chat new +x", "8 ops resolved -z"]);
}

#[test]
fn a_higher_severity_of_the_same_alert_inhibits() {
    let by = Inhibit { equal: severities(&["site"]), ..Inhibit::default() };
    let mut run = Run::new(settings(AlertPolicy { inhibited_by: vec![by], ..alone() }));
    run.fire("a b").warn("c z").expect(&["0 ops new +a", "0 ops new +b", "0 ops new +z?"]);
    run.at(1).resolve("a").at(2).warn("b").expect(&["1 ops resolved -a", "2 ops changed +b?", "2 ops new +c?"]);
}

#[test]
fn two_keys_of_one_alert_do_not_inhibit_each_other() {
    let by = Inhibit { alert: Some("hot".to_owned()), ..Inhibit::default() };
    let mut run = Run::new(settings(AlertPolicy { inhibited_by: vec![by], ..alone() }));
    run.fire("a b").expect(&["0 ops new +a", "0 ops new +b"]);
}

#[test]
fn inhibition_wants_its_severities_and_matchers() {
    let matchers = vec![Matcher::parse("device=~[xy]").unwrap()];
    let by = Inhibit { alert: Some("down".to_owned()), severities: severities(&["critical"]), matchers, equal: vec![] };
    let mut all = settings(AlertPolicy { inhibited_by: vec![by], ..alone() });
    all.alerts.insert("down".to_owned(), AlertPolicy::default());
    let mut run = Run::new(all);
    run.is("down", "z", Stage::Firing, "critical").fire("a").expect(&["0 ops new +a"]);
    run.is("down", "x", Stage::Firing, "warning").fire("b").expect(&["0 ops new +b"]);
    run.is("down", "x", Stage::Firing, "critical").fire("c").expect(&[]);
    run.at(1).is("down", "x", Stage::Firing, "warning").expect(&["1 ops new +c"]);
}

#[test]
fn mute_times_are_quiet_altogether() {
    let night = MuteTime::parse(&[], &[], &[], &["00:00-06:00".to_owned()], "UTC").unwrap();
    let mut run = Run::new(settings(AlertPolicy { mute: vec![night], ..repeating() }));
    let six = 6 * 3600;
    run.fire("a b").at(100).resolve("b").at(six).expect(&["21600 ops new +a"]);
    run.at(86_400 - 1800).fire("c");
    let day: Vec<String> = (7..24).map(|hour| format!("{} ops repeat +a", hour * 3600)).collect();
    let mut lines: Vec<&str> = day.iter().map(String::as_str).collect();
    lines.push("84600 ops new +c");
    run.expect(&lines);
    // That something is over waits, too, and is not lost.
    run.at(90_000).resolve("c").at(86_400 + six - 1).expect(&[]);
    run.at(86_400 + six).expect(&["108000 ops repeat +a", "108000 ops resolved -c"]);
}

#[test]
fn what_is_acknowledged_is_quiet_until_it_changes() {
    let mut run = Run::new(settings(repeating()));
    run.warn("a b").expect(&["0 ops new +a?", "0 ops new +b?"]);
    run.acknowledge("a", None);
    run.at(3700).expect(&["3600 ops repeat +b?"]);
    run.fire("a").expect(&["3700 ops changed +a"]);
    run.acknowledge("a", Some(10_000));
    run.acknowledge("b", None);
    run.at(9999).expect(&[]);
    run.at(10_000).expect(&["10000 ops repeat +a"]);
    run.resolve("a b").expect(&["10000 ops resolved -a", "10000 ops resolved -b?"]);
}

#[test]
fn who_knows_is_named_in_its_group() {
    let mut run = Run::new(settings(grouped(&[])));
    run.fire("a").at(30);
    run.acknowledge("a", None);
    run.at(40).fire("b").at(400).expect(&["30 ops new +a", "330 ops new +b +a"]);
    let alerts = &run.sent.last().unwrap().1.row["alerts"];
    assert_eq!((&alerts[0]["acknowledged_by"], &alerts[1]["acknowledged_by"]), (&json!(null), &json!("ada")));
}

#[test]
fn beyond_a_rate_it_is_one_summary() {
    let rate = Some(Rate { count: 2, per: seconds(60) });
    let mut run = Run::new(settings(AlertPolicy { rate, ..alone() }));
    run.fire("a").at(1).fire("b").at(2).fire("c d").resolve("a").at(3).fire("e").resolve("e");
    run.expect(&["0 ops new +a", "1 ops new +b"]);
    run.at(60).expect(&["60 ops summary +c +d -a"]);
    run.at(61).resolve("c").expect(&["61 ops resolved -c"]);
    // One alone is told as what it is.
    run.at(62).resolve("b").at(200).expect(&["120 ops resolved -b"]);
    run.resolve("d").expect(&["200 ops resolved -d"]);
}

#[test]
fn the_rate_of_a_receiver_is_over_all_alerts() {
    let mut all = settings(alone());
    all.receivers[0].rate = Some(Rate { count: 1, per: seconds(10) });
    all.alerts.insert("down".to_owned(), AlertPolicy { notify: vec![route(0)], ..alone() });
    let mut run = Run::new(all);
    run.fire("a").is("down", "x", Stage::Firing, "critical").fire("b").at(100);
    run.expect(&["0 ops new +a", "10 ops summary +b +x"]);
    let row = &run.sent.last().unwrap().1.row;
    assert_eq!((&row["group_key"], &row["firing"]), (&json!("plant"), &json!(2)));
}

#[test]
fn the_start_of_a_run_is_one_summary() {
    let grace = AlertPolicy { startup_grace: seconds(120), notify: vec![route(0), route(1)], ..alone() };
    let mut run = Run::new(settings(grace));
    run.fire("a").at(10).fire("b c").at(20).resolve("b").at(119).expect(&[]);
    run.at(121).expect(&["120 ops summary +a +c", "120 chat summary +a +c"]);
    run.fire("d").resolve("a");
    run.expect(&["121 ops new +d", "121 chat new +d", "121 ops resolved -a", "121 chat resolved -a"]);
    // What was told before a restart is not told again after it; what is over is told at once.
    run.restart().at(130).fire("e f").resolve("d").at(1000);
    run.expect(&["130 ops resolved -d", "130 chat resolved -d", "241 ops summary +e +f", "241 chat summary +e +f"]);
}

#[test]
fn what_is_old_is_not_told_until_the_stream_has_caught_up() {
    let mut run = Run::new(settings(AlertPolicy { notify_max_age: Some(seconds(3600)), ..alone() }));
    run.at(100_000).fire_old("a", 10).fire_old("b", 20);
    run.resolve_old("a", 30).expect(&[]);
    let mut out = Vec::new();
    run.policy.reached(second(90_000), second(100_000), &mut out);
    assert_eq!(out, []);
    run.policy.reached(second(96_400), second(100_000), &mut out);
    run.add(out);
    run.expect(&["100000 ops new +b"]);
    // The end of what was told is told however old it is.
    run.at(200_000).resolve_old("b", 96_500).expect(&["200000 ops resolved -b"]);
    run.fire_old("c", 96_600).expect(&[]);
    run.fire("d").expect(&["200000 ops new +d", "200000 ops new +c"]);
}

#[test]
fn at_the_end_what_waits_leaves() {
    let rate = Some(Rate { count: 1, per: seconds(3600) });
    let mut run = Run::new(settings(AlertPolicy { rate, ..grouped(&["site"]) }));
    run.fire("a").at(40).fire("b z").at(70).expect(&["30 ops new +a"]);
    run.end().expect(&["70 ops new +b +a", "70 ops new +z"]);
    let night = MuteTime::parse(&[], &[], &[], &["06:00-24:00".to_owned()], "UTC").unwrap();
    let mut run = Run::new(settings(AlertPolicy { mute: vec![night], ..alone() }));
    run.fire("a").at(7 * 3600).fire("b").resolve("a").expect(&["0 ops new +a"]);
    run.end().expect(&["25200 ops resolved -a"]);
}

#[test]
fn what_is_quiet_is_recorded_only() {
    let mut run = Run::new(settings(alone()));
    run.fire("a").expect(&["0 ops new +a"]);
    let quiet = |told: Told| Told { quiet: true, ..told };
    let (down, back) =
        (run.told("hot", "a", Stage::Recovering, "critical"), run.told("hot", "a", Stage::Firing, "warning"));
    run.take(quiet(down)).take(quiet(back)).expect(&[]);
    let calm = run.told("hot", "a", Stage::Firing, "warning");
    run.take(calm).expect(&["0 ops changed +a?"]);
    assert_eq!(run.policy.history(None).len(), 6);
}

#[test]
fn pending_again_before_its_end_was_told() {
    let mut run = Run::new(settings(grouped(&[])));
    run.fire("a").at(30).expect(&["30 ops new +a"]);
    run.resolve("a").at(40).is("hot", "a", Stage::Pending, "critical");
    assert_eq!(run.policy.active(second(40))[0]["state"], "pending");
    run.at(400).expect(&["330 ops resolved -a"]);
    assert_eq!(run.policy.active(second(400))[0]["state"], "pending");
    run.is("hot", "a", Stage::Inactive, "");
    assert!(run.policy.active(second(400)).is_empty());
}

#[test]
fn a_restart_changes_nothing() {
    let rate = Some(Rate { count: 2, per: seconds(100) });
    let all = settings(AlertPolicy { rate, repeat_every: Some(seconds(500)), ..grouped(&["site"]) });
    let play = |restarts: bool| {
        let mut run = Run::new(all.clone());
        let step = |run: &mut Run| {
            if restarts {
                run.restart();
            }
        };
        run.silence("device=c", 700);
        for round in 0..8 {
            let start = round * 170;
            run.at(start).fire("a");
            step(&mut run);
            run.at(start + 20).fire("b c z");
            step(&mut run);
            run.at(start + 90).resolve("b");
            step(&mut run);
            run.at(start + 120).resolve("z a");
            step(&mut run);
        }
        run.at(3000);
        run.sent
    };
    let (once, again) = (play(false), play(true));
    let lines = |sent: &[(i64, Notification)]| sent.iter().map(line).collect::<Vec<_>>();
    assert_eq!(lines(&once), lines(&again));
    assert!(once.len() > 6, "{:?}", lines(&once));
    assert_eq!(once, again);
    let ids: BTreeSet<u128> = once.iter().map(|(_, n)| n.id).collect();
    assert_eq!(ids.len(), once.len());
}

#[test]
fn what_fires_without_its_state_is_over_once_and_may_fire_anew() {
    let quiet = Route { resolved: false, ..route(1) };
    let mut run = Run::new(settings(AlertPolicy { notify: vec![route(0), quiet], ..AlertPolicy::default() }));
    run.fire("a").fire("b").resolve("b");
    run.expect(&["0 ops new +a", "0 chat new +a", "0 ops new +b", "0 chat new +b", "0 ops resolved -b"]);
    run.at(10).restart_without_state().at(20).expect(&["10 ops resolved -a"]);
    run.restart_without_state().at(30).expect(&[]);
    run.fire("a").expect(&["30 ops new +a", "30 chat new +a"]);
    // Who did not want to be told of the end is not told of it when the alert is gone, either.
    run.settings.alerts.clear();
    run.restart().at(40).expect(&["30 ops resolved -a"]);
    run.restart().at(50).expect(&[]);
}

#[test]
fn a_changed_pipeline_goes_on_with_what_it_still_has() {
    let mut run = Run::new(settings(AlertPolicy { notify: vec![route(0), route(1)], ..repeating() }));
    run.fire("a").expect(&["0 ops new +a", "0 chat new +a"]);
    // A receiver less; later a new one: it is told of what fires.
    let mut fewer = settings(repeating());
    fewer.receivers.truncate(1);
    run.settings = fewer.clone();
    run.at(10).restart().at(20).expect(&[]);
    fewer.receivers.insert(0, Receiver { name: "phone".to_owned(), rate: None });
    fewer.alerts.get_mut("hot").unwrap().notify = vec![route(0), route(1)];
    run.settings = fewer.clone();
    run.restart().at(30).expect(&["20 phone new +a"]);
    // Without the alert it is over, and nothing of it is left.
    run.settings = Settings { alerts: BTreeMap::new(), ..fewer };
    run.restart().at(10_000).expect(&["30 phone resolved -a", "30 ops resolved -a"]);
    run.store();
    let left: Vec<String> = run.rows.keys().map(|key| String::from_utf8(key.clone()).unwrap()).collect();
    assert!(left.iter().all(|key| !key.starts_with("key/") && !key.starts_with("group/")), "{left:?}");
}
