//! The cases. Each begins a pipeline whose connector finds the other side behind a proxy, and ends when every row is where it
//! should be.

use std::fs;
use std::net::SocketAddr;

use serde_json::Value;

use crate::broker::free_port;
use crate::listening::Listening;
use crate::program::{read, run, said, until};
use crate::proxy::{Does, Proxy};
use crate::receiver::Receiver;
use crate::rig::{Rig, number};
use crate::sinks::received;

/// A connector in a pipeline that runs.
struct Run<'a> {
    rig: &'a mut dyn Rig,
    proxy: Proxy,
    listening: Listening,
    /// What has come, of a source whose rows go to somebody else than a file.
    beyond: Option<Receiver>,
}

fn yaml(rig: &dyn Rig, port: u16, beyond: Option<SocketAddr>) -> String {
    let (source, sink) = match (rig.facts().sink, beyond) {
        (true, _) => ("file: { path: in.ndjson, follow: true, poll: 5ms }".to_owned(), rig.entry(port)),
        (false, None) => (rig.entry(port), "file: { path: out.ndjson }".to_owned()),
        (false, Some(to)) => {
            let all = "retry: { first: 5ms, most: 50ms }, batch: { count: 100 }, buffer: 16KB";
            (rig.entry(port), format!("http: {{ url: \"http://{to}/in\", {all} }}"))
        }
    };
    format!("name: t\ncheckpoint: {{ every: 20ms }}\nsources:\n  in:\n    {source}\nsinks:\n  out:\n    {sink}\n")
}

impl<'a> Run<'a> {
    fn of(rig: &'a mut dyn Rig) -> Run<'a> {
        Run::with(rig, Does::Pass, None)
    }

    fn with(rig: &'a mut dyn Rig, does: Does, beyond: Option<Receiver>) -> Run<'a> {
        let proxy = Proxy::before(rig.port());
        proxy.does(does);
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("in.ndjson"), "").unwrap();
        let yaml = yaml(rig, proxy.port, beyond.as_ref().map(|beyond| beyond.address));
        let listening = Listening::start_in(home, &yaml);
        Run { rig, proxy, listening, beyond }
    }

    /// Waits until they have met so often, if one can say when they have.
    fn met(&self, times: usize) {
        self.listening.until(&format!("they met {times} times"), |_| self.rig.met(&self.listening) >= times);
    }

    fn give(&self, numbers: std::ops::Range<usize>) {
        self.rig.give(self.listening.home.path(), self.proxy.port, numbers);
    }

    /// Gives rows while something else happens.
    fn while_given(&self, numbers: std::ops::Range<usize>, happens: impl FnOnce()) {
        std::thread::scope(|scope| {
            scope.spawn(|| self.give(numbers));
            happens();
        });
    }

    fn came(&self) -> Vec<usize> {
        match (&self.beyond, self.rig.facts().sink) {
            (Some(beyond), _) => received(beyond),
            (None, true) => self.rig.came(),
            (None, false) => read(self.listening.home.path(), "out.ndjson").lines().filter_map(number).collect(),
        }
    }

    fn until_came(&self, least: usize) {
        self.listening.until(&format!("{least} rows have come"), |_| self.came().len() >= least);
    }

    /// All rows before `to` have come: each once if that is promised, and the first time in order.
    fn all_came(&self, to: usize) {
        let distinct = || {
            let mut came = self.came();
            came.sort_unstable();
            came.dedup();
            came
        };
        self.listening.until(&format!("all {to} rows have come"), |_| distinct().len() >= to);
        assert_eq!(distinct(), (0..to).collect::<Vec<_>>());
        self.in_order();
    }

    /// Those that have come came in order, and no more often than is promised.
    fn in_order(&self) {
        let mut seen = std::collections::BTreeSet::new();
        let came = self.came();
        let first: Vec<usize> = came.iter().copied().filter(|n| seen.insert(*n)).collect();
        assert!(first.is_sorted() || !self.rig.facts().ordered, "{first:?}");
        if self.rig.facts().once {
            assert_eq!(first.len(), came.len(), "some came again");
        }
    }

    /// Rows that are given from here on come, whatever became of those before `to`.
    fn goes_on(&self, to: usize) {
        if self.rig.facts().loses {
            self.give(to..to + 20);
            self.listening.until("the last row has come", |_| self.came().contains(&(to + 19)));
            self.in_order();
            let came = self.came();
            assert!((to..to + 20).all(|n| came.contains(&n)), "what comes behind is whole");
        } else {
            self.all_came(to);
        }
    }
}

/// Killed again and again in the middle of rows: what was seen stays, what was not comes.
pub fn killed_while_rows_come(rig: &mut dyn Rig) {
    let (many, early) = (rig.facts().many, rig.facts().early);
    let mut run = Run::of(rig);
    run.met(1);
    if run.rig.facts().loses && !early {
        // Nobody keeps for it what is sent while it is not there.
        for round in 0..4 {
            run.met(1);
            let before = run.came().len();
            run.while_given(round * many..(round + 1) * many, || run.until_came(before + 20));
            run.listening.kill();
            run.listening.run();
        }
        run.met(1);
        return run.goes_on(4 * many);
    }
    let (rig, proxy, home) = (&*run.rig, run.proxy.port, run.listening.home.path().to_owned());
    std::thread::scope(|scope| {
        scope.spawn(|| rig.give(&home, proxy, 0..many));
        for part in 1..=5 {
            let came = || match rig.facts().sink {
                true => rig.came().len(),
                false => read(&home, "out.ndjson").lines().count(),
            };
            until("some rows", || came() >= many / 8 * part);
            run.listening.kill();
            run.listening.run();
        }
    });
    run.met(1);
    run.goes_on(many);
}

/// Nobody is there when it begins.
pub fn the_other_side_is_down(rig: &mut dyn Rig) {
    rig.stop();
    let run = Run::of(rig);
    let sends = run.rig.facts().sink;
    if sends {
        run.give(0..20);
    }
    run.listening.until("it has tried again", |_| run.proxy.came() >= 3);
    run.rig.again();
    run.met(1);
    if !sends {
        run.give(0..20);
    }
    run.all_came(20);
}

/// The other side ends and begins again, while rows come.
pub fn the_other_side_is_restarted(rig: &mut dyn Rig) {
    let run = Run::of(rig);
    run.met(1);
    run.give(0..20);
    run.all_came(20);
    for round in 1..=2 {
        run.rig.stop();
        run.rig.again();
        run.met(1 + round);
        run.give(round * 20..(round + 1) * 20);
        run.all_came((round + 1) * 20);
    }
}

/// Stopped in good order in the middle of rows, and begun again.
pub fn stopped_while_rows_come(rig: &mut dyn Rig) {
    let many = rig.facts().many;
    let mut run = Run::of(rig);
    run.met(1);
    let (rig, proxy, home) = (&*run.rig, run.proxy.port, run.listening.home.path().to_owned());
    std::thread::scope(|scope| {
        scope.spawn(|| rig.give(&home, proxy, 0..many));
        let came = || match rig.facts().sink {
            true => rig.came().len(),
            false => read(&home, "out.ndjson").lines().count(),
        };
        until("some rows", || came() >= many / 8);
        run.listening.stop();
        run.listening.run();
    });
    run.met(1);
    run.goes_on(many);
}

/// Cut before the other side has said anything.
pub fn cut_while_it_connects(rig: &mut dyn Rig) {
    let early = rig.facts().early;
    let run = Run::with(rig, Does::Hold, None);
    let numbers = if early { 0..20 } else { 0..0 };
    run.while_given(numbers, || {
        for times in 1..=2 {
            run.listening.until("it has come", |_| run.proxy.came() >= times);
            run.proxy.cut();
        }
        run.listening.until("it has come again", |_| run.proxy.came() >= 3);
        run.proxy.does(Does::Pass);
    });
    run.met(1);
    if !early {
        run.give(0..20);
    }
    run.all_came(20);
}

/// Cut when it says who it is.
pub fn cut_at_its_first_word(rig: &mut dyn Rig) {
    cut_at(rig, 1);
}

/// Cut when it says what it wants.
pub fn cut_at_its_second_word(rig: &mut dyn Rig) {
    cut_at(rig, 2);
}

fn cut_at(rig: &mut dyn Rig, piece: usize) {
    let early = rig.facts().early;
    let run = Run::with(rig, Does::CutAt(piece), None);
    let numbers = if early { 0..20 } else { 0..0 };
    run.while_given(numbers, || {
        run.listening.until("it was cut twice", |_| run.proxy.was_cut() >= 2);
        let met = run.rig.met(&run.listening);
        run.proxy.does(Does::Pass);
        run.met(met.saturating_add(1));
    });
    if !early {
        run.give(0..20);
    }
    run.all_came(20);
}

/// Cut while there is nothing to say.
pub fn cut_while_nothing_comes(rig: &mut dyn Rig) {
    let run = Run::of(rig);
    run.met(1);
    run.give(0..20);
    run.all_came(20);
    run.proxy.cut();
    run.met(2);
    run.give(20..40);
    run.all_came(40);
}

/// Cut in the middle of rows.
pub fn cut_while_rows_come(rig: &mut dyn Rig) {
    let many = rig.facts().many;
    let run = Run::of(rig);
    run.met(1);
    // Cut more often, a broker would be suspected of letting another in by the same name.
    let cuts = 2;
    for round in 1..=cuts {
        run.while_given((round - 1) * many..round * many, || {
            run.until_came((round - 1) * many / 2 + many / 4);
            run.proxy.cut();
        });
        run.met(1 + round);
    }
    run.goes_on(cuts * many);
}

/// Nobody hears its good-bye, and then the connection is cut.
pub fn cut_while_it_stops(rig: &mut dyn Rig) {
    let mut run = Run::of(rig);
    run.met(1);
    run.give(0..20);
    run.all_came(20);
    run.proxy.does(Does::Hold);
    run.listening.stop();
    run.proxy.cut();
    run.proxy.does(Does::Pass);
    run.listening.run();
    run.met(1);
    run.give(20..40);
    run.all_came(40);
}

/// Stopped again while it stops, and again as soon as it has gone on.
pub fn stopped_twice(rig: &mut dyn Rig) {
    let mut run = Run::of(rig);
    run.met(1);
    run.give(0..20);
    run.all_came(20);
    run.listening.stop_twice();
    for round in 1..=2 {
        run.listening.run();
        run.met(1);
        run.give(round * 20..(round + 1) * 20);
        run.all_came((round + 1) * 20);
        run.listening.stop();
    }
}

/// Whoever is behind it takes nothing: it takes no more than it has room for, and everything comes later.
pub fn held_back(rig: &mut dyn Rig) {
    let sink = rig.facts().sink;
    // Beyond what is on its way from a source to a sink.
    let many = if sink || !rig.facts().early { rig.beyond() } else { 3_000 };
    let beyond = (!sink).then(|| {
        let mut beyond = Receiver::at(SocketAddr::from(([127, 0, 0, 1], free_port())));
        beyond.leave();
        beyond
    });
    let mut run = Run::with(rig, Does::Pass, beyond);
    run.met(1);
    if sink {
        run.proxy.does(Does::Hold);
    }
    let (rig, proxy, home) = (&*run.rig, run.proxy.port, run.listening.home.path().to_owned());
    std::thread::scope(|scope| {
        scope.spawn(|| rig.give(&home, proxy, 0..many));
        let mut held = 0;
        until("it is full", || {
            held = held_rows(&home);
            held > 0
        });
        // The same when it is asked again: no more fits in.
        until("no more comes in", || {
            let before = std::mem::replace(&mut held, held_rows(&home));
            before == held
        });
        assert!((held as usize) < many, "{held} of {many} rows are held");
        match &mut run.beyond {
            Some(beyond) => beyond.listen(),
            None => run.proxy.does(Does::Pass),
        }
    });
    run.all_came(many);
}

/// Rows that sinks hold.
fn held_rows(home: &std::path::Path) -> u64 {
    fn sum(status: &Value) -> u64 {
        match status {
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| if key == "held" { value.as_u64().unwrap_or(0) } else { sum(value) })
                .sum(),
            Value::Array(list) => list.iter().map(sum).sum(),
            _ => 0,
        }
    }
    let status = said(&run(home, &["status", "t.yaml", "--format", "json"]));
    serde_json::from_str(&status).map_or(0, |status| sum(&status))
}
