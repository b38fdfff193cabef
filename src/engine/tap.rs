//! Taps: the rows that pass an entry, as they pass, for whoever looks. Nobody is held back by one: what does not fit into its
//! channel is let go and counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde::Serialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::base::limit::{TAP_BYTES, TAP_ROWS, TAPS};
use crate::base::time::Timestamp;
use crate::data::batch::Batch;
use crate::plan::{NodeId, Port};

use super::job::lock;
use super::observed::{rfc3339, shown};

/// A row that passed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TappedRow {
    /// By which port it left the entry, as `.late`; nothing for its main output, and for what comes to a sink.
    pub port: String,
    /// Its event time, if it has one.
    #[serde(serialize_with = "rfc3339")]
    pub time: Option<Timestamp>,
    /// It, as JSON.
    #[serde(serialize_with = "raw")]
    pub row: String,
}

fn raw<S: serde::Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    // It was written as JSON; of what is not, nothing is shown but that it is not.
    let value: Option<&serde_json::value::RawValue> = serde_json::from_str(text).ok();
    value.serialize(serializer)
}

/// What is counted of a tap.
#[derive(Debug, Default)]
struct Counts {
    passed: AtomicU64,
    let_go: AtomicU64,
    /// Bytes of rows that wait.
    bytes: AtomicUsize,
}

/// One that looks.
#[derive(Debug)]
struct Looker {
    node: NodeId,
    every: u64,
    rows: Sender<TappedRow>,
    counts: Arc<Counts>,
}

/// The taps of a run.
#[derive(Debug, Default)]
pub struct Taps {
    /// How many look.
    open: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lookers: Vec<Arc<Looker>>,
    /// The run is over.
    over: bool,
}

/// Rows that pass an entry. It is closed when it is dropped.
#[derive(Debug)]
pub struct Tap {
    rows: Receiver<TappedRow>,
    counts: Arc<Counts>,
    taps: Arc<Taps>,
}

impl Taps {
    /// Opens a tap of an entry for one row in `every`.
    pub(super) fn open(self: &Arc<Self>, node: NodeId, every: u64) -> Result<Tap, String> {
        let (sender, rows) = channel(TAP_ROWS);
        let counts = Arc::new(Counts::default());
        let mut state = lock(&self.state);
        if state.lookers.len() >= TAPS {
            return Err(format!("{TAPS} taps of this pipeline are open, which is the limit; close one"));
        }
        if !state.over {
            let looker = Looker { node, every: every.max(1), rows: sender, counts: Arc::clone(&counts) };
            state.lookers.push(Arc::new(looker));
            self.open.store(state.lookers.len(), Ordering::Relaxed);
        }
        drop(state);
        Ok(Tap { rows, counts, taps: Arc::clone(self) })
    }

    /// Nothing more passes.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        state.over = true;
        state.lookers.clear();
        self.open.store(0, Ordering::Relaxed);
    }

    fn close(&self, counts: &Arc<Counts>) {
        let mut state = lock(&self.state);
        state.lookers.retain(|looker| !Arc::ptr_eq(&looker.counts, counts));
        self.open.store(state.lookers.len(), Ordering::Relaxed);
    }

    /// Whether anybody looks at anything.
    #[inline]
    pub(super) fn any(&self) -> bool {
        self.open.load(Ordering::Relaxed) > 0
    }

    /// Rows pass an entry; `text` writes one of them.
    #[cold]
    pub(super) fn pass(&self, node: NodeId, port: &Port, batch: &Batch, text: &mut dyn FnMut(u32) -> String) {
        let lookers: Vec<_> = lock(&self.state).lookers.iter().filter(|l| l.node == node).cloned().collect();
        for looker in lookers {
            let before = looker.counts.passed.fetch_add(batch.rows as u64, Ordering::Relaxed);
            // The first one is shown, and from there every so manieth.
            let first = before.next_multiple_of(looker.every) - before;
            let rows = usize::try_from(first).unwrap_or(usize::MAX)..batch.rows;
            for row in rows.step_by(usize::try_from(looker.every).unwrap_or(usize::MAX)) {
                looker.show(port, batch, row, text);
            }
        }
    }
}

impl Looker {
    fn show(&self, port: &Port, batch: &Batch, row: usize, text: &mut dyn FnMut(u32) -> String) {
        let counts = &self.counts;
        let room = match self.rows.try_reserve() {
            Ok(room) => room,
            Err(TrySendError::Full(())) => {
                counts.let_go.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(TrySendError::Closed(())) => return,
        };
        let text = text(u32::try_from(row).unwrap_or(u32::MAX));
        let bytes = text.len();
        if counts.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > TAP_BYTES {
            counts.bytes.fetch_sub(bytes, Ordering::Relaxed);
            counts.let_go.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let time = batch.times.get(row).copied().and_then(shown);
        room.send(TappedRow { port: port.to_string(), time, row: text });
    }
}

impl Tap {
    /// The next row, waiting for it; `None` when the run is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<TappedRow> {
        let row = self.rows.recv().await?;
        Some(self.taken(row))
    }

    /// The next row, if there is one.
    pub fn try_next(&mut self) -> Option<TappedRow> {
        let row = self.rows.try_recv().ok()?;
        Some(self.taken(row))
    }

    fn taken(&self, row: TappedRow) -> TappedRow {
        self.counts.bytes.fetch_sub(row.row.len(), Ordering::Relaxed);
        row
    }

    /// How many rows have passed since it was opened, shown or not.
    pub fn passed(&self) -> u64 {
        self.counts.passed.load(Ordering::Relaxed)
    }

    /// How many rows were to be shown and let go, because those before them were not taken.
    pub fn let_go(&self) -> u64 {
        self.counts.let_go.load(Ordering::Relaxed)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.taps.close(&self.counts);
    }
}
