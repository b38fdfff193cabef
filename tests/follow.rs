//! Following real files with the real binary: writers append, rotate, cut and delete while it reads. Nothing is timed;
//! what is waited for is looked at until it is there.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A pipeline that follows files, running.
struct Run {
    child: Child,
    output: BufReader<ChildStdout>,
    home: TempDir,
}

impl Run {
    /// `options` of the source beside `follow`; `rest` are steps and sinks.
    fn start(options: &str, rest: &str, files: &[(&str, &[u8])]) -> Run {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("in")).unwrap();
        for (name, bytes) in files {
            fs::write(home.path().join("in").join(name), bytes).unwrap();
        }
        let yaml =
            format!("name: p\nsources:\n  in:\n    file:\n      follow: true\n      poll: 5ms\n{options}\n{rest}");
        fs::write(home.path().join("p.yaml"), yaml).unwrap();
        Run::in_home(home)
    }

    /// Runs what a home holds; goes on if it ran before.
    fn in_home(home: TempDir) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(["run", "-q", "--workers", "2", "p.yaml"]).current_dir(home.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Run { child, output, home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("in").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        append(&self.path(name), text.as_bytes());
    }

    /// Waits until the run has a file open: by then it has looked for what is there when it starts.
    fn until_open(&self, name: &str) {
        until("the run is under way", || {
            fs::read_dir(format!("/proc/{}/fd", self.child.id()))
                .is_ok_and(|all| all.flatten().filter_map(|e| fs::read_link(e.path()).ok()).any(|p| p.ends_with(name)))
        });
    }

    /// The next line, however long it takes.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut said = String::new();
            self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("the run ended: {said}");
        }
        line.trim_end().to_owned()
    }

    fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }

    /// Interrupts the run: what it still wrote to standard output.
    fn stop(mut self) -> (String, TempDir) {
        let id = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(130), "{said}");
        assert_eq!(said, "");
        (rest, self.home)
    }
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Looks until it holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const SHOW: &str = "sinks:\n  out: { stdout: { as: json } }\n";
const ONE: &str = "      path: in/a.log\n      rotate_wait: 300ms\n";

#[test]
fn lines_come_when_they_are_finished() {
    let mut run = Run::start(ONE, SHOW, &[("a.log", b"{\"n\":1}\n{\"n\"")]);
    assert_eq!(run.line(), "{\"n\":1}");
    run.append("a.log", ":2");
    run.append("a.log", "}\n{\"n\":3}\n");
    assert_eq!(run.lines(2), ["{\"n\":2}", "{\"n\":3}"]);
    run.append("a.log", "{\"n\":4");
    assert_eq!(run.stop().0, "", "a line that is not finished is no row");
}

#[test]
fn a_renamed_file_is_read_to_its_end_before_the_next() {
    // Long enough for a writer on a busy machine.
    let options = "      path: in/a.log\n      rotate_wait: 3s\n";
    let mut run = Run::start(options, SHOW, &[("a.log", b"{\"n\":1}\n")]);
    assert_eq!(run.line(), "{\"n\":1}");
    // Who writes it has it open and does not know that it was renamed.
    let mut old = OpenOptions::new().append(true).open(run.path("a.log")).unwrap();
    fs::rename(run.path("a.log"), run.path("a.log.1")).unwrap();
    run.append("a.log", "{\"n\":4}\n");
    old.write_all(b"{\"n\":2}\n{\"n\":").unwrap();
    old.write_all(b"3}").unwrap();
    assert_eq!(run.lines(3), ["{\"n\":2}", "{\"n\":3}", "{\"n\":4}"], "the last line of the old file needs no end");
    assert_eq!(run.stop().0, "");
}

#[test]
fn a_file_that_was_cut_begins_again() {
    let mut run = Run::start(ONE, SHOW, &[("a.log", b"{\"n\":1}\n{\"n\":2}\n")]);
    assert_eq!(run.lines(2).len(), 2);
    fs::copy(run.path("a.log"), run.path("a.log.1")).unwrap();
    File::create(run.path("a.log")).unwrap();
    run.append("a.log", "{\"n\":3}\n");
    assert_eq!(run.line(), "{\"n\":3}");
    // Cut and longer than before by the time that it is looked at.
    fs::write(run.path("a.log"), "{\"m\":4}\n{\"m\":5}\n{\"m\":6}\n").unwrap();
    assert_eq!(run.lines(3), ["{\"m\":4}", "{\"m\":5}", "{\"m\":6}"]);
    fs::remove_file(run.path("a.log")).unwrap();
    run.append("a.log", "{\"n\":7}\n");
    assert_eq!(run.line(), "{\"n\":7}");
    assert_eq!(run.stop().0, "");
}

#[test]
fn files_that_come_later_are_found_and_those_that_go_end() {
    let options = "      path: 'in/*.log'\n      rotate_wait: 50ms\n";
    let mut run = Run::start(options, SHOW, &[]);
    for round in 0..3 {
        run.append("b.log", &format!("{{\"b\":{round}}}\n"));
        assert_eq!(run.line(), format!("{{\"b\":{round}}}"));
        run.append("a.log", &format!("{{\"a\":{round}}}\n"));
        assert_eq!(run.line(), format!("{{\"a\":{round}}}"));
        fs::remove_file(run.path("b.log")).unwrap();
        // Renamed, it still matches and is not read twice.
        fs::rename(run.path("a.log"), run.path(&format!("old-{round}.log"))).unwrap();
    }
    let (rest, _home) = run.stop();
    assert_eq!(rest, "");
}

#[test]
fn names_that_are_passed_on_are_not_read_twice() {
    let options = "      path: 'in/a.log*'\n      rotate_wait: 50ms\n";
    let mut run = Run::start(options, SHOW, &[("a.log", b"{\"n\":0}\n")]);
    assert_eq!(run.line(), "{\"n\":0}");
    for n in 1..9 {
        for old in (1..n).rev() {
            fs::rename(run.path(&format!("a.log.{old}")), run.path(&format!("a.log.{}", old + 1))).unwrap();
        }
        fs::rename(run.path("a.log"), run.path("a.log.1")).unwrap();
        run.append("a.log", &format!("{{\"n\":{n}}}\n"));
        assert_eq!(run.line(), format!("{{\"n\":{n}}}"));
    }
    assert_eq!(run.stop().0, "");
}

#[test]
fn a_run_may_begin_where_files_end() {
    let options = "      path: 'in/*.csv'\n      start: end\n    format: csv\n";
    let mut run = Run::start(options, SHOW, &[("a.csv", b"n,m\n1,2\n3,")]);
    run.until_open("a.csv");
    run.append("b.csv", "n\n9\n");
    assert_eq!(run.line(), "{\"n\":9}");
    run.append("a.csv", "4\n5,6\n");
    assert_eq!(run.lines(2), ["{\"n\":3,\"m\":4}", "{\"n\":5,\"m\":6}"]);
    assert_eq!(run.stop().0, "");
}

#[test]
fn every_file_of_a_path_has_its_own_header() {
    let options = "      path: in/a.csv\n      rotate_wait: 50ms\n    format: csv\n";
    let mut run = Run::start(options, SHOW, &[("a.csv", b"a,b\n1,2\n")]);
    assert_eq!(run.line(), "{\"a\":1,\"b\":2}");
    fs::rename(run.path("a.csv"), run.path("a.csv.1")).unwrap();
    fs::write(run.path("a.csv"), "b,c\n3,4\n").unwrap();
    assert_eq!(run.line(), "{\"b\":3,\"c\":4}");
    assert_eq!(run.stop().0, "");
}

#[test]
fn packed_files_are_read_as_they_grow() {
    let options = "      path: 'in/*'\n      rotate_wait: 50ms\n";
    let mut run = Run::start(options, SHOW, &[]);
    let shared = |path: PathBuf| OpenOptions::new().append(true).create(true).open(path).unwrap();
    let mut n = 0;
    let mut row = |run: &mut Run, write: &mut dyn FnMut(&[u8])| {
        n += 1;
        write(format!("{{\"n\":{n}}}\n").as_bytes());
        assert_eq!(run.line(), format!("{{\"n\":{n}}}"));
    };
    for _member in 0..3 {
        let mut gzip = flate2::write::GzEncoder::new(shared(run.path("a.gz")), flate2::Compression::fast());
        let mut zstd = zstd::stream::write::Encoder::new(shared(run.path("b.zst")), 1).unwrap();
        for _flush in 0..3 {
            row(&mut run, &mut |bytes| {
                gzip.write_all(bytes).unwrap();
                gzip.flush().unwrap();
            });
            row(&mut run, &mut |bytes| {
                zstd.write_all(bytes).unwrap();
                zstd.flush().unwrap();
            });
        }
        gzip.finish().unwrap();
        zstd.finish().unwrap();
    }
    assert_eq!(run.stop().0, "");
}

#[test]
fn a_file_found_later_does_not_move_the_watermark_back() {
    let options = "      path: 'in/*.log'\n    time: { field: ts, format: unix }\n";
    let rest = "steps:\n  w:\n    window: { tumbling: 10s, aggregate: { n: count() } }\nsinks:\n  out: { from: [w, w.late], stdout: { as: json } }\n";
    let mut run = Run::start(options, rest, &[("a.log", b"{\"ts\":1000000001}\n{\"ts\":1000000015}\n")]);
    assert!(run.line().ends_with("\"n\":1}"), "the first window closes");
    run.append("b.log", "{\"ts\":1000000002}\n{\"ts\":1000000016}\n{\"ts\":1000000021}\n");
    assert_eq!(run.line(), "{\"ts\":1000000002}", "it is late");
    // From now on both count.
    run.append("a.log", "{\"ts\":1000000020}\n");
    let second = run.line();
    assert!(second.contains("01:46:50Z") && second.ends_with("\"n\":2}"), "{second}");
    assert_eq!(run.stop().0, "");
}

#[test]
fn writers_that_rotate_lose_nothing_and_nothing_comes_twice() {
    const WRITERS: u64 = 3;
    const ROWS: u64 = 3_000;
    let options = "      path: 'in/*.log'\n      rotate_wait: 400ms\n";
    let rest = "sinks:\n  out: { file: { path: out.ndjson } }\n";
    let run = Run::start(options, rest, &[]);
    let writers = (0..WRITERS).map(|writer| {
        let path = run.path(&format!("w{writer}.log"));
        std::thread::spawn(move || {
            let open = || OpenOptions::new().append(true).create(true).open(&path).unwrap();
            let mut file = open();
            for row in 0..ROWS {
                let line =
                    format!("{{\"writer\":{writer},\"row\":{row},\"fill\":\"{}\"}}\n", "x".repeat(row as usize % 90));
                // In two pieces, so that lines are found unfinished.
                let (first, second) = line.split_at(line.len() / 2);
                file.write_all(first.as_bytes()).unwrap();
                file.write_all(second.as_bytes()).unwrap();
                if row % 500 == 499 && row + 1 < ROWS {
                    // The renamed file still matches the pattern; some lines go there before the new one is opened.
                    fs::rename(&path, path.with_file_name(format!("w{writer}-{row}.log"))).unwrap();
                    file.write_all(b"").unwrap();
                    file = open();
                }
            }
        })
    });
    writers.collect::<Vec<_>>().into_iter().for_each(|w| w.join().unwrap());
    let out = run.home.path().join("out.ndjson");
    let rows = || fs::read_to_string(&out).unwrap_or_default();
    until("every row is there", || rows().lines().count() as u64 >= WRITERS * ROWS);
    let (_, home) = run.stop();
    let text = fs::read_to_string(home.path().join("out.ndjson")).unwrap();
    let mut next: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for line in text.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        next.entry(row["writer"].as_u64().unwrap()).or_default().push(row["row"].as_u64().unwrap());
    }
    for (writer, mut rows) in next {
        rows.sort_unstable();
        assert_eq!(rows, (0..ROWS).collect::<Vec<_>>(), "of writer {writer}");
    }
}

/// What happens while no run goes on: rows before, what is done to the files, rows after.
fn while_down(options: &str, files: &[(&str, &[u8])], before: &[&str], change: impl Fn(&Path), after: &[&str]) -> Run {
    let mut run = Run::start(options, SHOW, files);
    assert_eq!(run.lines(before.len()), before);
    let (rest, home) = run.stop();
    assert_eq!(rest, "");
    change(&home.path().join("in"));
    let mut run = Run::in_home(home);
    assert_eq!(run.lines(after.len()), after);
    run
}

fn rename(dir: &Path, from: &str, to: &str) {
    fs::rename(dir.join(from), dir.join(to)).unwrap();
}

const QUICK: &str = "      path: in/a.log\n      rotate_wait: 50ms\n";
const ALL: &str = "      path: 'in/a.log*'\n      rotate_wait: 50ms\n";
const FIRST: &[(&str, &[u8])] = &[("a.log", b"{\"n\":1}\n{\"n\"")];

#[test]
fn a_run_that_goes_on_reads_what_was_added() {
    let add = |dir: &Path| append(&dir.join("a.log"), b":2}\n{\"n\":3}\n");
    let mut run = while_down(QUICK, FIRST, &["{\"n\":1}"], add, &["{\"n\":2}", "{\"n\":3}"]);
    run.append("a.log", "{\"n\":4}\n");
    assert_eq!(run.line(), "{\"n\":4}");
    assert_eq!(run.stop().0, "");
}

#[test]
fn a_file_renamed_while_no_run_went_on_is_read_to_its_end() {
    for options in [QUICK, ALL] {
        let rotate = |dir: &Path| {
            append(&dir.join("a.log"), b":2}\n");
            rename(dir, "a.log", "a.log.1");
            append(&dir.join("a.log"), b"{\"n\":3}\n");
        };
        let run = while_down(options, FIRST, &["{\"n\":1}"], rotate, &["{\"n\":2}", "{\"n\":3}"]);
        let (rest, home) = run.stop();
        assert_eq!(rest, "");
        // The old one is not read again, whatever it is called by then.
        rename(&home.path().join("in"), "a.log.1", "a.log.2");
        let mut run = Run::in_home(home);
        run.append("a.log", "{\"n\":4}\n");
        assert_eq!(run.line(), "{\"n\":4}");
        assert_eq!(run.stop().0, "");
    }
}

#[test]
fn files_that_came_and_were_renamed_while_no_run_went_on_are_read_in_order() {
    let rotate = |dir: &Path| {
        append(&dir.join("a.log"), b":2}\n");
        rename(dir, "a.log", "a.log.2");
        append(&dir.join("a.log.1"), b"{\"n\":3}\n");
        append(&dir.join("a.log"), b"{\"n\":4}\n");
    };
    let run = while_down(QUICK, FIRST, &["{\"n\":1}"], rotate, &["{\"n\":2}", "{\"n\":3}", "{\"n\":4}"]);
    assert_eq!(run.stop().0, "");
}

#[test]
fn a_file_that_was_cut_while_no_run_went_on_begins_again() {
    let cut = |dir: &Path| fs::write(dir.join("a.log"), "{\"m\":1}\n{\"m\":2}\n{\"m\":3}\n").unwrap();
    let run = while_down(QUICK, FIRST, &["{\"n\":1}"], cut, &["{\"m\":1}", "{\"m\":2}", "{\"m\":3}"]);
    assert_eq!(run.stop().0, "");
    let shorter = |dir: &Path| fs::write(dir.join("a.log"), "{}\n").unwrap();
    let run = while_down(QUICK, FIRST, &["{\"n\":1}"], shorter, &["{}"]);
    assert_eq!(run.stop().0, "");
}

#[test]
fn the_rest_of_a_file_that_was_copied_and_cut_is_read_from_the_copy() {
    let copy = |dir: &Path| {
        append(&dir.join("a.log"), b":2}\n");
        fs::copy(dir.join("a.log"), dir.join("a.log.1")).unwrap();
        File::create(dir.join("a.log")).unwrap();
        append(&dir.join("a.log"), b"{\"n\":3}\n");
    };
    for options in [QUICK, ALL] {
        let run = while_down(options, FIRST, &["{\"n\":1}"], copy, &["{\"n\":2}", "{\"n\":3}"]);
        assert_eq!(run.stop().0, "");
    }
}

#[test]
fn a_file_that_got_the_number_of_a_deleted_one_is_another() {
    let reuse = |dir: &Path| {
        let number =
            |name: &str| fs::metadata(dir.join(name)).map(|m| std::os::unix::fs::MetadataExt::ino(&m)).unwrap();
        let old = number("a.log");
        fs::remove_file(dir.join("a.log")).unwrap();
        // Most file systems give the number away at once; where one does not, this is any new file.
        for other in 0..9 {
            fs::write(dir.join("a.log"), "{\"m\":1}\n{\"m\":2}\n{\"m\":3}\n").unwrap();
            if number("a.log") == old {
                break;
            }
            rename(dir, "a.log", &format!("b{other}"));
        }
        fs::write(dir.join("a.log"), "{\"m\":1}\n{\"m\":2}\n{\"m\":3}\n").unwrap();
    };
    let run = while_down(QUICK, FIRST, &["{\"n\":1}"], reuse, &["{\"m\":1}", "{\"m\":2}", "{\"m\":3}"]);
    assert_eq!(run.stop().0, "");
}

#[test]
fn names_that_were_passed_on_while_a_run_went_on_are_not_read_by_the_next() {
    let mut run = Run::start(ALL, SHOW, &[("a.log", b"{\"n\":0}\n")]);
    assert_eq!(run.line(), "{\"n\":0}");
    for n in 1..4 {
        for old in (1..n).rev() {
            fs::rename(run.path(&format!("a.log.{old}")), run.path(&format!("a.log.{}", old + 1))).unwrap();
        }
        fs::rename(run.path("a.log"), run.path("a.log.1")).unwrap();
        run.append("a.log", &format!("{{\"n\":{n}}}\n"));
        assert_eq!(run.line(), format!("{{\"n\":{n}}}"));
    }
    for n in 4..6 {
        let (rest, home) = run.stop();
        assert_eq!(rest, "");
        run = Run::in_home(home);
        run.append("a.log", &format!("{{\"n\":{n}}}\n"));
        assert_eq!(run.line(), format!("{{\"n\":{n}}}"));
    }
    // Without its path it ends, and is not read again either.
    fs::rename(run.path("a.log"), run.path("a.log.0")).unwrap();
    run.append("a.log.x", "{\"x\":0}\n");
    assert_eq!(run.line(), "{\"x\":0}");
    for n in 1..3 {
        let (rest, home) = run.stop();
        assert_eq!(rest, "");
        run = Run::in_home(home);
        run.append("a.log.x", &format!("{{\"x\":{n}}}\n"));
        assert_eq!(run.line(), format!("{{\"x\":{n}}}"));
    }
    assert_eq!(run.stop().0, "");
}

#[test]
fn headers_and_packed_files_are_gone_on_with() {
    let options = "      path: in/a.csv\n      rotate_wait: 50ms\n    format: csv\n";
    let rotate = |dir: &Path| {
        append(&dir.join("a.csv"), b"3,4\n");
        rename(dir, "a.csv", "a.csv.1");
        fs::write(dir.join("a.csv"), "b,c\n5,6\n").unwrap();
    };
    let after = ["{\"a\":3,\"b\":4}", "{\"b\":5,\"c\":6}"];
    let run = while_down(options, &[("a.csv", b"a,b\n1,2\n")], &["{\"a\":1,\"b\":2}"], rotate, &after);
    let (rest, home) = run.stop();
    assert_eq!(rest, "");
    fs::write(home.path().join("in/a.csv"), "d\n7\n").unwrap();
    let mut run = Run::in_home(home);
    assert_eq!(run.line(), "{\"d\":7}", "another file has a header of its own");
    assert_eq!(run.stop().0, "");

    let packed = |text: &str| zstd::encode_all(text.as_bytes(), 1).unwrap();
    let options = "      path: in/a.zst\n      rotate_wait: 50ms\n";
    let add = |dir: &Path| {
        append(&dir.join("a.zst"), &packed("{\"n\":2}\n"));
        rename(dir, "a.zst", "a.zst.1");
        append(&dir.join("a.zst"), &packed("{\"n\":3}\n"));
    };
    let first = packed("{\"n\":1}\n");
    let files: &[(&str, &[u8])] = &[("a.zst", &first)];
    let run = while_down(options, files, &["{\"n\":1}"], add, &["{\"n\":2}", "{\"n\":3}"]);
    assert_eq!(run.stop().0, "");
}

#[test]
fn a_run_that_began_where_files_end_goes_on_there() {
    let options = "      path: 'in/*.log'\n      start: end\n";
    let mut run = Run::start(options, SHOW, &[("a.log", b"{\"n\":1}\n")]);
    run.until_open("a.log");
    run.append("b.log", "{\"b\":1}\n");
    assert_eq!(run.line(), "{\"b\":1}");
    let (rest, home) = run.stop();
    assert_eq!(rest, "");
    append(&home.path().join("in/a.log"), b"{\"n\":2}\n");
    append(&home.path().join("in/c.log"), b"{\"c\":1}\n");
    let mut run = Run::in_home(home);
    let mut lines = run.lines(2);
    lines.sort();
    assert_eq!(lines, ["{\"c\":1}", "{\"n\":2}"], "files that came since are read from their beginning");
    assert_eq!(run.stop().0, "");
}
