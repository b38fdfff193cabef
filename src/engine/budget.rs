//! How much the steps of a run may keep. Their keys are counted as ticks go through them, their bytes when they are stored.

use super::job::lock;
use super::run::Options;
use super::shared::{Queue, Shared};
use super::state::Load;

/// The most that steps may keep, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    keys: u64,
    bytes: u64,
}

impl Budget {
    /// What options say.
    pub(super) fn of(options: &Options) -> Budget {
        Budget { keys: options.max_keys.unwrap_or(u64::MAX), bytes: options.max_state_bytes.unwrap_or(u64::MAX) }
    }
}

impl Queue {
    /// A share keeps so much now; whether that is too much for all.
    pub(super) fn keeps(&mut self, slot: usize, load: Load, budget: &Budget) -> bool {
        let Some(slot) = self.slots.get_mut(slot) else { return false };
        let before = std::mem::replace(&mut slot.load, load);
        self.load.keys = self.load.keys - before.keys + load.keys;
        self.load.bytes = self.load.bytes - before.bytes + load.bytes;
        self.load.keys > budget.keys || self.load.bytes > budget.bytes
    }
}

impl Shared {
    /// What is said of a run that keeps too much, of the step that keeps most.
    pub(super) fn over_budget(&self) -> String {
        let queue = lock(&self.queue);
        let (all, of_keys) = (queue.load, queue.load.keys > self.budget.keys);
        let mut by_reader = vec![Load::default(); self.job.graph.readers.len()];
        for slot in &queue.slots {
            if let Some(sum) = by_reader.get_mut(slot.reader) {
                *sum = *sum + slot.load;
            }
        }
        drop(queue);
        let by = |load: &Load| if of_keys { load.keys } else { load.bytes };
        let most = by_reader.iter().enumerate().max_by_key(|(_, load)| by(load));
        let (reader, load) = most.map_or((0, all), |(reader, load)| (reader, *load));
        let name = self.job.graph.readers.get(reader).map(|reader| self.job.name_of_node(reader.node));
        let budget = if of_keys { count(self.budget.keys, "key") } else { size(self.budget.bytes) };
        let rest = if load == all {
            String::new()
        } else {
            format!(", and all steps together {} of about {}", count(all.keys, "key"), size(all.bytes))
        };
        format!(
            "`{}` holds {} of about {}{rest}: more than the budget of {budget}; let it forget sooner (shorter windows, `within`, `state_ttl`), group by what has fewer values, or raise the budget",
            name.unwrap_or_default(),
            count(load.keys, "key"),
            size(load.bytes),
        )
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Bytes as people write them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => count(bytes, "byte"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
