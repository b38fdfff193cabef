//! The stateless part of a graph behind a source or a step with state: a batch goes in, and comes out in parts at the
//! exits, where a step with state or a sink takes it. Runs on any worker; keeps nothing between batches.

use std::sync::Arc;

use crate::base::time::Timestamp;
use crate::data::batch::{Batch, RowError};
use crate::data::column::ColumnBuilder;
use crate::data::json;
use crate::data::layout::{Demand, FieldId, Layout};
use crate::data::value::Val;
use crate::data::weave;
use crate::plan::{NodeId, OnError, Port};
use crate::store::rows::{Cause, Origin};

use super::action::{Action, Outcome, Tools};
use super::actions::join::origin_of;
use super::ledger::{Counted, Letter, Sample};
use super::parcel::Parcel;
use super::tap::Taps;

/// Where a batch goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Into a node of the flow.
    Node(usize),
    /// Out of it.
    Exit(usize),
}

/// The readers of a port, in the order written.
pub type Readers = Vec<(Port, Vec<Target>)>;

/// One node of a flow.
pub struct FlowNode {
    /// Which entry of the pipeline.
    pub node: NodeId,
    /// What it does.
    pub action: Action,
    /// Who reads its ports.
    pub readers: Readers,
    /// What is read of its output rows.
    pub needed: Demand,
    /// Whether its writes leave columns stale, so that rows are read again after it.
    pub refresh: bool,
}

/// Names and rules of an entry, for rows that fail.
#[derive(Clone, Debug)]
pub struct EntryInfo {
    /// The entry's name.
    pub name: String,
    /// What becomes of a failed row that nobody reads.
    pub on_error: OnError,
    /// The entry that the engine has put it in front of, of which it is a part.
    pub part_of: Option<NodeId>,
    /// Of a sink that sends: whether somebody reads its `.errors`, where rows come back to that it was refused.
    pub returned: bool,
}

/// The fields of rows on `.errors` ports.
#[derive(Clone, Copy, Debug)]
pub struct ErrorFields {
    /// What is wrong.
    pub reason: FieldId,
    /// Which entry.
    pub entry: FieldId,
    /// Where.
    pub place: FieldId,
    /// The row's text.
    pub original: FieldId,
}

/// What all flows of a job share.
pub struct FlowContext {
    /// Every field.
    pub layout: Arc<Layout>,
    /// By node.
    pub entries: Vec<EntryInfo>,
    /// The fields of error rows.
    pub error_fields: ErrorFields,
    /// Whether dead letters are kept, and not only counted.
    pub letters: bool,
    /// Whoever looks at rows as they pass.
    pub taps: Arc<Taps>,
}

/// A flow: nodes in an order in which each stands after those that feed it.
pub struct Flow {
    /// The entry whose output goes in.
    pub root: NodeId,
    /// Who reads the root's ports.
    pub readers: Readers,
    /// The nodes.
    pub nodes: Vec<FlowNode>,
    /// How many exits there are.
    pub exits: usize,
    /// What is read of the root's rows.
    pub needed: Demand,
}

/// A row that failed, with what it was.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Its ordinal.
    pub ordinal: u32,
    /// Its event time, if it is known.
    pub time: Timestamp,
    /// What is wrong.
    pub reason: String,
    /// Where.
    pub place: String,
    /// What `original` is.
    pub origin: Origin,
    /// Of a record of CSV: the names of its fields.
    pub header: Option<Arc<Vec<String>>>,
    /// What it was.
    pub original: Vec<u8>,
}

/// Runs a flow; one a worker.
pub struct FlowRunner {
    flow: Arc<Flow>,
    context: Arc<FlowContext>,
    tools: Vec<Tools>,
    root_tools: Tools,
    waiting: Vec<Vec<Batch>>,
    /// What was counted since it was last taken.
    pub counted: Counted,
    /// Why the run must end.
    pub failure: Option<String>,
    /// The number of the input, for samples.
    pub sequence: u64,
    /// What to add to ordinals to tell rows of one input apart that come in slices.
    pub before: u32,
    /// What it runs has passed before, and is only counted.
    pub again: bool,
}

impl FlowRunner {
    /// A runner of a flow.
    pub fn new(flow: &Arc<Flow>, context: &Arc<FlowContext>) -> Self {
        let tools = |needed: &Demand| Tools::new(&context.layout, needed);
        FlowRunner {
            tools: flow.nodes.iter().map(|n| tools(&n.needed)).collect(),
            root_tools: tools(&flow.needed),
            waiting: flow.nodes.iter().map(|_| Vec::new()).collect(),
            flow: Arc::clone(flow),
            context: Arc::clone(context),
            counted: Counted::default(),
            failure: None,
            sequence: 0,
            before: 0,
            again: false,
        }
    }

    /// Takes the root's output and returns what leaves at each exit.
    pub fn run(&mut self, ports: Vec<(Port, Batch)>) -> Vec<Option<Parcel>> {
        let mut exits: Vec<Option<Parcel>> = Vec::new();
        exits.resize_with(self.flow.exits, || None);
        let flow = Arc::clone(&self.flow);
        for (port, batch) in ports {
            self.pass(flow.root, &flow.readers, &port, batch, &mut exits);
        }
        for (index, node) in flow.nodes.iter().enumerate() {
            let parts = self.waiting.get_mut(index).map(std::mem::take).unwrap_or_default();
            let (merged, failed) = self.merge(index, parts);
            if let Some(batch) = merged {
                self.step(index, node, batch, failed, &mut exits);
            }
        }
        exits
    }

    /// Sends failed rows of the root to its `.errors` readers, or counts and samples them.
    pub fn fail_root(&mut self, failed: Vec<Failed>) -> Option<(Port, Batch)> {
        let flow = Arc::clone(&self.flow);
        self.fail(flow.root, &flow.readers, failed).map(|batch| (Port::Errors, batch))
    }

    /// Rows that the root was refused, as they leave by its `.errors`; they were counted when they were refused.
    pub fn give_back(&self, refused: &[Failed]) -> Batch {
        let name = self.context.entries.get(self.flow.root.index()).map_or("", |info| info.name.as_str());
        error_batch(&self.context.error_fields, name, refused)
    }

    /// Counts and samples late rows that nobody reads, for this `reason`; without one they are gone. Of a join, `side` is
    /// the column that says whose they are.
    pub fn late_unread(
        &mut self,
        node: NodeId,
        (batch, rows): (&Batch, &[u32]),
        reason: Option<&str>,
        side: Option<FieldId>,
    ) {
        let Some(reason) = reason else { return };
        for row in rows {
            let entry = self.counted.of(node);
            let order = (self.sequence, batch.ordinals.get(*row as usize).copied().unwrap_or(0));
            entry.tally.dead += 1;
            if !self.context.letters && !entry.wants(order) {
                continue;
            }
            let original = self.root_tools.text_of(&self.context.layout, batch, *row);
            let entry = self.counted.of(node);
            if self.context.letters {
                entry.letters.push(Letter {
                    order,
                    cause: Cause::Late,
                    reason: reason.to_owned(),
                    place: String::new(),
                    time: batch.times.get(*row as usize).copied().unwrap_or(Timestamp::MIN),
                    origin: origin_of(batch, side, *row as usize),
                    header: None,
                    original: original.clone().into_bytes(),
                });
            }
            entry.sample(Sample { order, reason: reason.to_owned(), place: String::new(), original });
        }
    }

    /// Whether somebody reads a port of the root.
    pub fn is_read(&self, port: &Port) -> bool {
        readers(&self.flow.readers, port).is_some_and(|r| !r.is_empty())
    }

    /// Makes failed rows of rows of a batch.
    pub fn failed_rows(&mut self, batch: &Batch, errors: Vec<RowError>) -> Vec<Failed> {
        failed_rows(&self.context.layout, &mut self.root_tools, batch, errors, &|_| Origin::Row)
    }

    fn merge(&mut self, index: usize, mut parts: Vec<Batch>) -> (Option<Batch>, Vec<Failed>) {
        parts.retain(|p| p.rows > 0);
        let mut failed = Vec::new();
        let Some(tools) = self.tools.get_mut(index).filter(|_| parts.len() > 1) else { return (parts.pop(), failed) };
        if !weave::alike(&parts) {
            for part in &mut parts {
                let (read, errors) = tools.reread(part);
                failed.extend(failed_rows(&self.context.layout, tools, part, errors, &|_| Origin::Row));
                *part = read;
            }
        }
        let order = weave::by_ordinal(&parts);
        (Some(weave::weave(&parts, &order)), failed)
    }

    fn step(
        &mut self,
        index: usize,
        node: &FlowNode,
        batch: Batch,
        mut failed: Vec<Failed>,
        exits: &mut [Option<Parcel>],
    ) {
        let Some(tools) = self.tools.get_mut(index) else { return };
        let rows = batch.rows as u64;
        if self.context.taps.any() && matches!(node.action, Action::Encode(..)) && !self.again {
            self.context
                .taps
                .pass(node.node, &Port::Main, &batch, &mut |row| tools.text_of(&self.context.layout, &batch, row));
        }
        // The rows as they came in are needed again only for those that fail, which is rare: columns and text are shared.
        let mut input = Batch { columns: Vec::new(), ..batch.clone() };
        let side = match &node.action {
            Action::PrepareJoin(join) => Some(join.side),
            _ => None,
        };
        if let Some((side, column)) = side.and_then(|side| Some((side, batch.columns.get(side.index())?.clone()?))) {
            input.put(side, column);
        }
        let mut outcome = node.action.run(batch, &self.context.layout, tools);
        let errors = std::mem::take(&mut outcome.errors);
        let origin = |row: usize| origin_of(&input, side, row);
        failed.extend(failed_rows(&self.context.layout, tools, &input, errors, &origin));
        let stateful = matches!(node.action, Action::Prepare(_) | Action::PrepareJoin(_));
        let tally = &mut self.counted.of(node.node).tally;
        tally.filtered += outcome.filtered;
        tally.dropped += outcome.dropped;
        tally.made += outcome.made;
        tally.taken += rows;
        if node.refresh {
            for (_, batch) in &mut outcome.ports {
                let (read, errors) = tools.reread(batch);
                failed.extend(failed_rows(&self.context.layout, tools, batch, errors, &|_| Origin::Made));
                *batch = read;
            }
        }
        failed.sort_by_key(|f| f.ordinal);
        if let Some(batch) = self.fail(node.node, &node.readers, failed) {
            self.pass(node.node, &node.readers, &Port::Errors, batch, exits);
        }
        self.leave(node, outcome, stateful, exits);
    }

    fn leave(&mut self, node: &FlowNode, outcome: Outcome, stateful: bool, exits: &mut [Option<Parcel>]) {
        let Outcome { ports, lines, hashes, .. } = outcome;
        if !stateful && lines.is_none() {
            for (port, batch) in ports {
                self.pass(node.node, &node.readers, &port, batch, exits);
            }
            return;
        }
        let Some((_, batch)) = ports.into_iter().next() else { return };
        let exit = readers(&node.readers, &Port::Main).and_then(|r| r.first().copied());
        let Some(Target::Exit(exit)) = exit else { return };
        if lines.as_ref().is_some_and(|lines| lines.ids.is_empty()) {
            // What a sink is given has arrived; one that sends says so itself.
            self.counted.of(node.node).tally.passed += batch.rows as u64;
        }
        if let Some(place) = exits.get_mut(exit).filter(|_| batch.rows > 0) {
            *place = Some(match lines {
                Some(lines) => Parcel::Lines(batch.ordinals, lines),
                None => Parcel::Rows(batch, hashes),
            });
        }
    }

    fn pass(&mut self, from: NodeId, to: &Readers, port: &Port, batch: Batch, exits: &mut [Option<Parcel>]) {
        if batch.rows == 0 {
            return;
        }
        if self.context.taps.any() && !self.again {
            let (tools, layout) = (&mut self.root_tools, &self.context.layout);
            self.context.taps.pass(from, port, &batch, &mut |row| tools.text_of(layout, &batch, row));
        }
        if *port != Port::Errors && *port != Port::Late {
            self.counted.of(from).tally.passed += batch.rows as u64;
        }
        let Some(targets) = readers(to, port) else { return };
        self.hand(from, targets, port, batch.rows as u64);
        let Some((last, others)) = targets.split_last() else { return };
        for target in others {
            self.put(*target, batch.clone(), exits);
        }
        self.put(*last, batch, exits);
    }

    /// Notes what readers are handed. What the engine has put in front of a reader is part of it.
    fn hand(&mut self, from: NodeId, targets: &[Target], port: &Port, rows: u64) {
        let part_of = |node: NodeId| self.context.entries.get(node.index()).and_then(|entry| entry.part_of);
        if part_of(from).is_some() {
            return;
        }
        for target in targets {
            let Target::Node(index) = target else { continue };
            let Some(node) = self.flow.nodes.get(*index).map(|node| node.node) else { continue };
            self.counted.of(part_of(node).unwrap_or(node)).hand(from, port, rows);
        }
    }

    fn put(&mut self, target: Target, batch: Batch, exits: &mut [Option<Parcel>]) {
        match target {
            Target::Node(index) => {
                if let Some(waiting) = self.waiting.get_mut(index) {
                    waiting.push(batch);
                }
            }
            Target::Exit(index) => {
                if let Some(place) = exits.get_mut(index) {
                    *place = Some(Parcel::Rows(batch, Vec::new()));
                }
            }
        }
    }

    /// A batch of error rows if somebody reads them; otherwise they are counted and sampled, or end the run.
    fn fail(&mut self, node: NodeId, to: &Readers, failed: Vec<Failed>) -> Option<Batch> {
        let first = failed.first()?;
        let info = self.context.entries.get(node.index())?;
        let read = readers(to, &Port::Errors).is_some_and(|r| !r.is_empty());
        if !read && info.on_error == OnError::Fail && self.failure.is_none() {
            let at = if first.place.is_empty() { String::new() } else { format!(" ({})", first.place) };
            self.failure = Some(format!(
                "`{}` could not process a row: {}{at}\n  row: {}",
                info.name,
                first.reason,
                String::from_utf8_lossy(&first.original)
            ));
        }
        let entry = self.counted.of(node);
        entry.tally.failed += failed.len() as u64;
        if read {
            return Some(error_batch(&self.context.error_fields, &info.name, &failed));
        }
        if info.on_error != OnError::Drop {
            entry.tally.dead += failed.len() as u64;
            for row in failed {
                let order = (self.sequence, row.ordinal.saturating_add(self.before));
                if entry.wants(order) {
                    let original = String::from_utf8_lossy(&row.original).into_owned();
                    entry.sample(Sample { order, reason: row.reason.clone(), place: row.place.clone(), original });
                }
                if self.context.letters {
                    let Failed { time, reason, place, origin, header, original, .. } = row;
                    let cause = Cause::Error;
                    entry.letters.push(Letter { order, cause, reason, place, time, origin, header, original });
                }
            }
        }
        None
    }
}

impl Tools {
    /// The text of one row as it is now.
    pub fn text_of(&mut self, layout: &Layout, batch: &Batch, row: u32) -> String {
        let one = batch.select(&[row]);
        if one.edits.is_empty()
            && let Some(raw) = &one.raw
        {
            return raw.row(0).to_owned();
        }
        let mut text = Vec::new();
        json::write_value(&json::event_of(layout, &one, 0), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

fn readers<'a>(all: &'a Readers, port: &Port) -> Option<&'a Vec<Target>> {
    all.iter().find(|(p, _)| p == port).map(|(_, targets)| targets)
}

fn failed_rows(
    layout: &Layout,
    tools: &mut Tools,
    batch: &Batch,
    errors: Vec<RowError>,
    origin: &dyn Fn(usize) -> Origin,
) -> Vec<Failed> {
    let one = |error: RowError| {
        let row = error.row as usize;
        Failed {
            ordinal: batch.ordinals.get(row).copied().unwrap_or(0),
            time: batch.times.get(row).copied().unwrap_or(Timestamp::MIN),
            reason: error.reason,
            place: error.place,
            origin: origin(row),
            header: None,
            original: tools.text_of(layout, batch, error.row).into_bytes(),
        }
    };
    errors.into_iter().map(one).collect()
}

/// The rows of an `.errors` port.
fn error_batch(fields: &ErrorFields, entry: &str, failed: &[Failed]) -> Batch {
    let mut batch = Batch {
        rows: failed.len(),
        ordinals: failed.iter().map(|f| f.ordinal).collect(),
        times: failed.iter().map(|f| f.time).collect(),
        ..Batch::default()
    };
    let mut put = |field: FieldId, value: &dyn Fn(&Failed) -> String| {
        let mut builder = ColumnBuilder::with_capacity(failed.len());
        failed.iter().for_each(|f| builder.push(Val::Text(&value(f))));
        batch.set(field, Arc::new(builder.finish()), None);
    };
    put(fields.reason, &|f| f.reason.clone());
    put(fields.entry, &|_| entry.to_owned());
    put(fields.place, &|f| f.place.clone());
    put(fields.original, &|f| String::from_utf8_lossy(&f.original).into_owned());
    batch
}
