//! A pipeline running in this process, with what is seen of it and the means to steer it: the real plan and engine, sources
//! that a test feeds, and sinks that it can hold.
// Each test file uses its own part of it.
#![allow(dead_code)]
#![allow(clippy::expect_used, clippy::panic, reason = "a test that cannot go on says why")]

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use millstream::base::latency::Latencies;
use millstream::base::time::TimeSpan;
use millstream::connector::{
    BoxFuture, Chunk, Encoded, End, Link, Partition, Place, Prepared, Read, Sink, SinkError, Source, SourceError,
};
use millstream::engine::job::Snapshot;
use millstream::engine::lower::{Lowering, lower};
use millstream::engine::observed::Observed;
use millstream::engine::run::{Handle, Input, Options, Summary, run};
use tokio::sync::{mpsc, watch};

use crate::support::pipeline;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Lines that a test hands to a partition.
pub type Feed = mpsc::UnboundedSender<String>;

struct Fed {
    lines: Arc<Mutex<mpsc::UnboundedReceiver<String>>>,
    position: u64,
}

impl Source for Fed {
    fn next(&mut self) -> BoxFuture<'_, Result<Read, SourceError>> {
        let lines = Arc::clone(&self.lines);
        Box::pin(async move {
            let next = std::future::poll_fn(|context| lines.lock().expect("no panic").poll_recv(context)).await;
            let Some(line) = next else { return Ok(Read::End) };
            let bytes = format!("{line}\n").into_bytes();
            let position = self.position;
            self.position += bytes.len() as u64;
            Ok(Read::Chunk(Chunk { bytes, position, ..Chunk::default() }))
        })
    }
}

fn fed(name: &str) -> (Feed, Partition) {
    let (feed, lines) = mpsc::unbounded_channel();
    let lines = Arc::new(Mutex::new(lines));
    let open = move |place: &Place| {
        let source: Box<dyn Source> = Box::new(Fed { lines: Arc::clone(&lines), position: place.position });
        Ok(source)
    };
    (feed, Partition { name: name.into(), start: Place::default(), open: Box::new(open), link: Link::default() })
}

/// Keeps what it is given, while it is let.
struct Gated {
    taken: Arc<Mutex<String>>,
    open: watch::Receiver<bool>,
    counts: Option<Latencies>,
}

impl Sink for Gated {
    fn deliver<'a>(&'a mut self, rows: &'a Encoded) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let _ = self.open.wait_for(|open| *open).await;
            self.taken.lock().expect("no panic").push_str(std::str::from_utf8(&rows.text).expect("text"));
            Ok(())
        })
    }

    fn latency(&self) -> Option<Latencies> {
        self.counts.clone()
    }

    fn finish(&mut self, _: End) -> BoxFuture<'_, Result<Prepared, SinkError>> {
        Box::pin(std::future::ready(Ok(Prepared::default())))
    }
}

/// A run.
pub struct Running {
    /// By source, by partition.
    pub feeds: Vec<Vec<Feed>>,
    pub handle: Handle,
    taken: Arc<Mutex<String>>,
    gate: watch::Sender<bool>,
    end: Receiver<(Summary, Snapshot)>,
}

/// How a run is begun.
pub struct Begin<'a> {
    pub yaml: &'a str,
    /// By source the names of its partitions.
    pub partitions: &'a [&'a [&'a str]],
    /// Whether sinks take anything at first.
    pub open: bool,
    pub idle_after: TimeSpan,
    pub options: Options,
    /// What sinks count their deliveries by themselves.
    pub counts: Option<Latencies>,
}

/// Nothing is idle, sinks take what comes.
pub fn begin<'a>(yaml: &'a str, partitions: &'a [&'a [&'a str]]) -> Begin<'a> {
    let options =
        Options { workers: 2, checkpoint_every: Duration::from_millis(20), max_keys: None, max_state_bytes: None };
    Begin { yaml, partitions, open: true, idle_after: TimeSpan::seconds(3600), options, counts: None }
}

impl Begin<'_> {
    pub fn start(self) -> Running {
        let graph = lower(&pipeline(self.yaml).plan, Lowering { shares: 2, track: true }).expect("it is right");
        let (mut inputs, mut feeds) = (Vec::new(), Vec::new());
        for names in self.partitions {
            let (of_source, partitions) = names.iter().map(|name| fed(name)).unzip();
            feeds.push(of_source);
            inputs.push(Input {
                partitions,
                watch: None,
                bounded: false,
                out_of_order: TimeSpan::ZERO,
                idle_after: self.idle_after,
            });
        }
        let (taken, (gate, open)) = (Arc::new(Mutex::new(String::new())), watch::channel(self.open));
        let counts = self.counts.clone();
        let sink = |_: &_| -> Box<dyn Sink> {
            Box::new(Gated { taken: Arc::clone(&taken), open: open.clone(), counts: counts.clone() })
        };
        let sinks = graph.sink_nodes().iter().map(sink).collect();
        let ((started, handle), (ended, end), options) = (channel(), channel(), self.options);
        std::thread::spawn(move || {
            let mut keeper = Snapshot::default();
            let summary = run(graph, inputs, sinks, &options, (None, None, &mut keeper), &mut |handle| {
                let _ = started.send(handle);
            });
            let _ = ended.send((summary, keeper));
        });
        Running { feeds, handle: handle.recv().expect("it starts"), taken, gate, end }
    }
}

impl Running {
    /// Feeds events of these seconds to a partition, each of key `k`.
    pub fn feed(&self, (source, partition): (usize, usize), seconds: impl IntoIterator<Item = i64>) {
        for second in seconds {
            let line = format!("{{\"ts\":{},\"k\":\"k{}\"}}", 1_767_225_600 + second, second % 3);
            self.feeds[source][partition].send(line).expect("it is read");
        }
    }

    /// Sinks take what comes from now on.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    /// What the sinks have taken.
    pub fn taken(&self) -> String {
        self.taken.lock().expect("no panic").clone()
    }

    /// What is seen when something holds of it.
    pub fn until(&self, what: &str, mut holds: impl FnMut(&Observed) -> bool) -> Observed {
        let began = Instant::now();
        loop {
            let seen = self.handle.observe();
            if holds(&seen) {
                return seen;
            }
            assert!(began.elapsed() < PATIENCE, "not so that {what}: {seen:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a source has taken so many rows in.
    pub fn until_taken(&self, source: &str, rows: u64) -> Observed {
        self.until("rows are taken", |seen| seen.entries.iter().any(|e| e.entry == source && e.tally.taken == rows))
    }

    /// How it ended, what it kept, and what its sinks took.
    pub fn ended(self) -> (Summary, Snapshot, String) {
        let (summary, kept) = self.end.recv_timeout(PATIENCE).expect("it ends");
        let taken = self.taken.lock().expect("no panic").clone();
        (summary, kept, taken)
    }
}
