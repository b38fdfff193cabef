//! Room for further keys of an alert that has as many as it may have: which of those that are well have been quiet for longest.

use std::collections::BTreeSet;

/// Keys that are well and wait for nothing, by the time of their last row.
#[derive(Debug, Default)]
pub struct Quiet {
    keys: BTreeSet<(i64, u32)>,
    /// By key, the time under which it is found.
    listed: Vec<Option<i64>>,
}

impl Quiet {
    /// A key is well since its last row, which was at this time, or is not.
    pub fn note(&mut self, id: u32, last: Option<i64>) {
        let at = id as usize;
        if self.listed.len() <= at {
            self.listed.resize(at + 1, None);
        }
        let Some(listed) = self.listed.get_mut(at).filter(|listed| **listed != last) else { return };
        if let Some(before) = std::mem::replace(listed, last) {
            self.keys.remove(&(before, id));
        }
        self.keys.extend(last.map(|last| (last, id)));
    }

    /// The key that has been quiet for longest, of those that `may` be forgotten; of several with one time the least by
    /// `less`.
    pub fn longest(&self, may: impl Fn(u32) -> bool, less: impl Fn(u32, u32) -> bool) -> Option<u32> {
        let mut found: Option<(i64, u32)> = None;
        for (last, id) in self.keys.iter().copied() {
            match found {
                Some((before, _)) if last > before => break,
                Some((_, other)) if !less(id, other) => {}
                _ if may(id) => found = Some((last, id)),
                _ => {}
            }
        }
        found.map(|(_, id)| id)
    }
}
