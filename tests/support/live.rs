//! Runs a pipeline over live partitions that meet in whatever order, throws it away and goes on from its last checkpoint.

use std::path::Path;

use millstream::base::time::{TimeSpan, Timestamp};
use millstream::connector::Place;
use millstream::engine::direct::Direct;
use millstream::engine::job::Snapshot;
use millstream::engine::lower::{Lowering, lower};
use millstream::engine::partition::PartitionSpec;
use millstream::engine::turn_log::TurnLog;
use millstream::plan::NodeKind;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{Feed, Input, balanced, collect, pipeline, stands};

/// How long a partition is silent before it is idle.
const IDLE_AFTER: TimeSpan = TimeSpan::seconds(5);

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// A partition brings a block.
    Brings(Index),
    /// So many milliseconds pass.
    Passes(i64),
    /// A checkpoint is made.
    Checkpoint,
    /// The last partition is found.
    Found,
    /// A partition is gone.
    Gone(Index),
}

/// What happens before a crash.
pub fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        12 => any::<Index>().prop_map(Event::Brings),
        3 => (100i64..9000).prop_map(Event::Passes),
        1 => Just(Event::Checkpoint),
        1 => Just(Event::Found),
        1 => any::<Index>().prop_map(Event::Gone),
    ];
    prop::collection::vec(event, 1..40)
}

/// What happens after it: not so much time passes that anybody is given up.
pub fn events_after() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![6 => any::<Index>().prop_map(Event::Brings), 1 => (1i64..100).prop_map(Event::Passes), 1 => Just(Event::Checkpoint)];
    prop::collection::vec(event, 0..40)
}

struct Live<'a> {
    direct: Direct,
    inputs: &'a [Input],
    block: usize,
    /// By input: the next row, and whether it is gone.
    next: Vec<(usize, bool)>,
    /// By input: its number, once it is found.
    numbers: Vec<Option<usize>>,
}

fn spec(input: &Input) -> PartitionSpec {
    PartitionSpec {
        source: input.source,
        name: input.name.clone(),
        start: Place::default(),
        bounded: false,
        timed: true,
        out_of_order: TimeSpan::seconds(input.out_of_order),
        idle_after: IDLE_AFTER,
        after: None,
    }
}

impl Live<'_> {
    fn brings(&mut self, index: usize) -> bool {
        let (Some(number), (at, gone)) = (self.numbers[index], self.next[index]) else { return false };
        let to = (at + self.block).min(self.inputs[index].rows.len());
        if gone || at == to {
            return false;
        }
        self.direct.feed(number, self.inputs[index].block(at, to)).expect("it runs");
        self.next[index].0 = to;
        true
    }

    fn gone(&mut self, index: usize) {
        if let (Some(number), (_, false)) = (self.numbers[index], self.next[index]) {
            self.direct.end(number).expect("it ends");
            self.next[index].1 = true;
        }
    }

    fn happens(&mut self, event: &Event) {
        match event {
            Event::Brings(index) => drop(self.brings(index.index(self.inputs.len()))),
            Event::Gone(index) => self.gone(index.index(self.inputs.len())),
            Event::Passes(millis) => {
                let now = self.direct.now().plus(TimeSpan(millis * 1000));
                self.direct.pass_time(now).expect("it runs");
            }
            Event::Found => {
                let last = self.inputs.len() - 1;
                if self.numbers[last].is_none() {
                    self.numbers[last] = Some(self.direct.find(spec(&self.inputs[last])));
                }
            }
            Event::Checkpoint => {}
        }
    }
}

fn start<'a>(
    yaml: &str,
    inputs: &'a [Input],
    (feed, there): (&Feed, usize),
    from: Option<&Snapshot>,
    directory: &Path,
) -> Live<'a> {
    let pipeline = pipeline(yaml);
    let graph = lower(&pipeline.plan, Lowering { shares: feed.shares, track: true }).expect("it lowers");
    let turns = TurnLog::open(directory, &graph, from.and_then(|from| from.stood.turns.as_ref())).expect("a journal");
    let specs = inputs[..there].iter().map(spec).collect();
    let direct = Direct::live(graph, specs, (feed.target, Timestamp(0)), from, turns).expect("it starts");
    let next = stands(inputs, from);
    Live {
        direct,
        inputs,
        block: feed.block,
        next,
        numbers: (0..inputs.len()).map(|i| (i < there).then_some(i)).collect(),
    }
}

/// What each sink was given after the last checkpoint before a crash, and what it was given after it, when the pipeline had
/// gone on from that checkpoint and everything had come again, in whatever order.
pub fn crash_and_go_on(
    yaml: &str,
    inputs: &[Input],
    (before, after): (&[Event], &[Event]),
    (feed, feed_after): (&Feed, &Feed),
) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().expect("a directory");
    let pipeline = pipeline(yaml);
    let sinks = pipeline.plan.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Sink(_))).count();
    let mut live = start(yaml, inputs, (feed, inputs.len() - 1), None, directory.path());
    let mut snapshot = live.direct.cut_snapshot().expect("a snapshot");
    for event in before {
        live.happens(event);
        if matches!(event, Event::Checkpoint) {
            snapshot = live.direct.snapshot().expect("a snapshot");
            collect(&mut live.direct, &pipeline, &mut vec![String::new(); sinks]);
        }
    }
    let mut given = vec![String::new(); sinks];
    collect(&mut live.direct, &pipeline, &mut given);
    let (next, there) = (live.next.clone(), inputs.len() - usize::from(live.numbers[inputs.len() - 1].is_none()));
    drop(live);

    // Who was gone brings no more than it had.
    let mut inputs = inputs.to_vec();
    for (input, (rows, _)) in inputs.iter_mut().zip(&next).filter(|(_, (_, gone))| *gone) {
        input.rows.truncate(*rows);
    }
    let mut live = start(yaml, &inputs, (feed_after, there), Some(&snapshot), directory.path());
    let mut again = vec![String::new(); sinks];
    for event in after {
        live.happens(event);
        if matches!(event, Event::Checkpoint) {
            live.direct.snapshot().expect("a snapshot");
            balanced(&pipeline, live.direct.ledger().expect("a ledger"), yaml);
        }
    }
    for (index, (_, gone)) in next.iter().enumerate() {
        while live.brings(index) {}
        if *gone {
            live.gone(index);
        }
    }
    // The clock looks in even if nothing comes.
    live.happens(&Event::Passes(1));
    live.direct.snapshot().expect("a snapshot");
    balanced(&pipeline, live.direct.ledger().expect("a ledger"), yaml);
    collect(&mut live.direct, &pipeline, &mut again);
    given.into_iter().zip(again).collect()
}
