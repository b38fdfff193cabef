//! The most frequent values.

use std::cmp::Reverse;
use std::sync::Arc;

use hashbrown::HashTable;

use crate::base::limit::TOP_COUNTERS;
use crate::data::column::{Cell, ColumnBuilder};
use crate::data::hash::hash_key;
use crate::data::value::{Map, Val, Value, compare};
use crate::plan::aggregate::Function;

use super::Stored;
use super::running::Running;

/// A count for each value, up to [`TOP_COUNTERS`] of them. When there are more, the count in the middle is taken off
/// every count, and what has none left is forgotten (J. Misra, D. Gries, "Finding repeated elements", 1982, decrementing
/// in batches; merged after Agarwal et al., "Mergeable summaries", PODS 2012). Each time at least half the counters lose
/// that much, so a count is too small by at most a `TOP_COUNTERS / 2`th of all values, and a value more frequent than
/// that is never forgotten. Which are forgotten depends on counts alone, never on the order in a table.
#[derive(Clone, Debug)]
pub(super) struct Top {
    counts: HashTable<(Value, u64)>,
}

impl Top {
    fn count(&mut self, value: Val<'_>, times: u64) {
        let hash = hash_key(&[value]);
        if let Some((_, count)) = self.counts.find_mut(hash, |(v, _)| compare(v.as_val(), value).is_eq()) {
            *count += times;
            return;
        }
        self.counts.insert_unique(hash, (value.to_value(), times), |(v, _)| hash_key(&[v.as_val()]));
    }

    /// Forgets rare values when there are too many.
    fn prune(&mut self) {
        if self.counts.len() <= TOP_COUNTERS {
            return;
        }
        let mut counts: Vec<u64> = self.counts.iter().map(|(_, count)| *count).collect();
        let (_, middle, _) = counts.select_nth_unstable_by_key(TOP_COUNTERS / 2, |count| Reverse(*count));
        let off = *middle;
        self.counts.retain(|(_, count)| {
            *count = count.saturating_sub(off);
            *count > 0
        });
    }
}

impl Running for Top {
    type Constant = ();

    fn empty((): ()) -> Self {
        Top { counts: HashTable::new() }
    }

    fn add(&mut self, value: Val<'_>, _: i64) {
        if !matches!(value, Val::Unit) {
            self.count(value, 1);
            self.prune();
        }
    }

    fn merge(&mut self, later: &Self) {
        later.counts.iter().for_each(|(value, count)| self.count(value.as_val(), *count));
        self.prune();
    }

    fn result(&self, function: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        let Function::Top(n) = function else { return Err("`top` was asked for something else".into()) };
        let mut counts: Vec<&(Value, u64)> = self.counts.iter().collect();
        counts.sort_by(|(a, x), (b, y)| y.cmp(x).then_with(|| compare(a.as_val(), b.as_val())));
        counts.truncate(*n as usize);
        if counts.is_empty() {
            out.push_cell(Cell::Null);
            return Ok(());
        }
        let one = |(value, count): &(Value, u64)| {
            let count = Value::Int(i64::try_from(*count).unwrap_or(i64::MAX));
            Value::Map(Arc::new(Map(vec![("value".into(), value.clone()), ("count".into(), count)])))
        };
        out.push(Val::Big(&Value::List(Arc::new(counts.into_iter().map(one).collect()))));
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Top(self.counts.iter().cloned().collect())
    }

    fn load(stored: &Stored, (): ()) -> Option<Self> {
        let Stored::Top(counts) = stored else { return None };
        let mut top = Top::empty(());
        counts.iter().for_each(|(value, count)| top.count(value.as_val(), *count));
        Some(top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(top: &Top, n: u32) -> Vec<(i64, i64)> {
        let mut out = ColumnBuilder::default();
        top.result(&Function::Top(n), &mut out).unwrap();
        let column = out.finish();
        let Val::Big(Value::List(items)) = column.get(0) else { panic!("a list") };
        let number = |item: &Value, name: &str| match item.at(&[name.into()]) {
            Some(Value::Int(i)) => *i,
            other => panic!("{other:?}"),
        };
        items.iter().map(|item| (number(item, "value"), number(item, "count"))).collect()
    }

    #[test]
    fn ties_are_in_the_order_of_values() {
        let mut top = Top::empty(());
        [3, 1, 2, 3, 2, 9].into_iter().for_each(|i| top.add(Val::Int(i), 0));
        assert_eq!(read(&top, 3), [(2, 2), (3, 2), (1, 1)]);
        top.add(Val::Float(1.0), 0);
        top.add(Val::Float(1.0), 0);
        assert_eq!(read(&top, 1), [(1, 3)]);
    }

    #[test]
    fn counts_are_within_their_error_and_frequent_values_stay() {
        // Value v comes in proportion to 1 / v, in a scattered order, among many that come once; in ten panes.
        let mut values: Vec<i64> = (1..=3_000).flat_map(|v| vec![v; 30_000 / v as usize]).collect();
        values.extend(100_000..140_000);
        let len = values.len();
        let scattered: Vec<i64> = (0..len).map(|i| values[(i * 7_919) % len]).collect();
        let mut whole = Top::empty(());
        for pane in scattered.chunks(len / 10) {
            let mut part = Top::empty(());
            pane.iter().for_each(|v| part.add(Val::Int(*v), 0));
            whole.merge(&Top::load(&part.stored(), ()).unwrap());
        }
        assert!(whole.counts.len() <= TOP_COUNTERS);
        let bound = (len / (TOP_COUNTERS / 2)) as i64;
        for (place, (value, count)) in read(&whole, 20).into_iter().enumerate() {
            let exact = 30_000 / value;
            assert_eq!(value, place as i64 + 1);
            assert!(count <= exact && exact - count <= bound, "{value}: {count} of {exact}, off by {bound} at most");
        }
    }
}
