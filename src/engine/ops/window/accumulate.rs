//! Running values of aggregates, never the events. Values lie in slots, one a group and pane; each aggregate keeps its
//! own array over the slots, so that a batch is added one aggregate at a time.

use serde::{Deserialize, Serialize};

use crate::data::batch::Batch;
use crate::data::column::{Cell, ColumnBuilder};
use crate::data::layout::FieldId;
use crate::data::value::{Val, Value, compare};
use crate::plan::window::Function;

/// A sum, exact for integers; doubles are added with Neumaier's compensation (A. Neumaier, "Rundungsfehleranalyse
/// einiger Verfahren zur Summation endlicher Summen", 1974), so that panes may be merged without losing digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum {
    int: i128,
    float: f64,
    lost: f64,
    /// Values added.
    count: u64,
    /// How many of them were doubles.
    floats: u64,
}

impl Sum {
    #[inline]
    fn add(&mut self, value: Val<'_>) {
        match value {
            Val::Int(i) => self.int += i128::from(i),
            Val::Float(f) => {
                self.add_float(f);
                self.floats += 1;
            }
            _ => return,
        }
        self.count += 1;
    }

    #[inline]
    fn add_float(&mut self, f: f64) {
        let sum = self.float + f;
        self.lost += if self.float.abs() >= f.abs() { (self.float - sum) + f } else { (f - sum) + self.float };
        self.float = sum;
    }

    fn merge(&mut self, other: &Sum) {
        self.int += other.int;
        self.add_float(other.float);
        self.lost += other.lost;
        self.count += other.count;
        self.floats += other.floats;
    }

    fn total(&self) -> f64 {
        self.float + self.lost + self.int as f64
    }
}

/// Count, mean and squared distance from the mean. B. P. Welford, Technometrics 4(3), 1962; merged after Chan, Golub
/// and LeVeque, 1979.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn add(&mut self, x: f64) {
        self.count += 1;
        let delta = x - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (x - self.mean);
    }

    fn merge(&mut self, other: &Moments) {
        if other.count == 0 {
            return;
        }
        let (a, b) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.count += other.count;
        self.mean += delta * b / (a + b);
        self.squares += other.squares + delta * delta * a * b / (a + b);
    }

    fn variance(&self, population: bool) -> Option<f64> {
        let divisor = if population { self.count } else { self.count.checked_sub(1)? };
        (divisor > 0).then(|| self.squares / divisor as f64)
    }
}

/// The running value of one aggregate in one slot, for storing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Stored {
    /// Rows or values.
    Count(u64),
    /// A sum.
    Sum(Sum),
    /// Least or greatest value; null is none.
    Extreme(Value),
    /// First or last value with its event time.
    Timed(i64, Value),
    /// Moments.
    Moments(Moments),
}

/// What is kept, one array over the slots.
#[derive(Clone, Debug)]
enum Store {
    Rows(Vec<u64>),
    Count(Vec<u64>),
    Sum(Vec<Sum>),
    Min(Vec<Value>),
    Max(Vec<Value>),
    First(Vec<(i64, Value)>),
    Last(Vec<(i64, Value)>),
    Moments(Vec<Moments>),
}

/// Runs `$body` with `$v` as the array of whatever kind the store has.
macro_rules! each_store {
    ($store:expr, $v:ident => $body:expr) => {
        match $store {
            Store::Rows($v) | Store::Count($v) => $body,
            Store::Sum($v) => $body,
            Store::Min($v) | Store::Max($v) => $body,
            Store::First($v) | Store::Last($v) => $body,
            Store::Moments($v) => $body,
        }
    };
}

impl Store {
    fn for_function(function: Function, has_argument: bool) -> Store {
        match function {
            Function::Count if has_argument => Store::Count(Vec::new()),
            Function::Count => Store::Rows(Vec::new()),
            Function::Sum | Function::Avg => Store::Sum(Vec::new()),
            Function::Min => Store::Min(Vec::new()),
            Function::Max => Store::Max(Vec::new()),
            Function::First => Store::First(Vec::new()),
            Function::Last => Store::Last(Vec::new()),
            Function::Stddev | Function::StddevPop | Function::Variance | Function::VariancePop => {
                Store::Moments(Vec::new())
            }
        }
    }

    fn same_kind(&self, other: &Store) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// An aggregate call as the accumulators see it.
#[derive(Clone, Copy, Debug)]
pub struct Aggregate {
    /// What is computed.
    pub function: Function,
    /// The column of its argument.
    pub argument: Option<FieldId>,
}

/// The running values of all aggregates of a window step.
#[derive(Clone, Debug)]
pub struct Accumulators {
    /// Which store answers each call.
    calls: Vec<(Function, usize)>,
    /// Calls that can share a store do: `avg(x)` and `sum(x)` are one sum.
    stores: Vec<(Option<FieldId>, Store)>,
    free: Vec<u32>,
    slots: u32,
}

impl Accumulators {
    /// Empty, for these calls.
    pub fn new(aggregates: &[Aggregate]) -> Self {
        let mut stores: Vec<(Option<FieldId>, Store)> = Vec::new();
        let mut calls = Vec::new();
        for a in aggregates {
            let store = Store::for_function(a.function, a.argument.is_some());
            let found = stores.iter().position(|(field, s)| *field == a.argument && s.same_kind(&store));
            let index = found.unwrap_or(stores.len());
            if found.is_none() {
                stores.push((a.argument, store));
            }
            calls.push((a.function, index));
        }
        Accumulators { calls, stores, free: Vec::new(), slots: 0 }
    }

    /// An empty slot.
    pub fn allocate(&mut self) -> u32 {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        for (_, store) in &mut self.stores {
            match store {
                Store::Rows(v) | Store::Count(v) => v.push(0),
                Store::Sum(v) => v.push(Sum::default()),
                Store::Min(v) | Store::Max(v) => v.push(Value::Null),
                Store::First(v) | Store::Last(v) => v.push((0, Value::Null)),
                Store::Moments(v) => v.push(Moments::default()),
            }
        }
        self.slots += 1;
        self.slots - 1
    }

    /// Gives a slot back, emptied.
    pub fn release(&mut self, slot: u32) {
        for (_, store) in &mut self.stores {
            each_store!(store, v => if let Some(place) = v.get_mut(slot as usize) { reset(place) });
        }
        self.free.push(slot);
    }

    /// Adds rows of a batch, each to its slot.
    pub fn add(&mut self, batch: &Batch, rows: &[(u32, u32)]) {
        for (field, store) in &mut self.stores {
            let column = field.and_then(|f| batch.column(f));
            let value = |row: u32| column.map_or(Val::Unit, |c| c.get(row as usize));
            let time = |row: u32| batch.times.get(row as usize).map_or(0, |t| t.0);
            match store {
                Store::Rows(v) => each(v, rows, |n, _| *n += 1),
                Store::Count(v) => each(v, rows, |n, row| *n += u64::from(!matches!(value(row), Val::Unit))),
                Store::Sum(v) => each(v, rows, |sum, row| sum.add(value(row))),
                Store::Min(v) => each(v, rows, |least, row| keep_extreme(least, value(row), std::cmp::Ordering::Less)),
                Store::Max(v) => each(v, rows, |most, row| keep_extreme(most, value(row), std::cmp::Ordering::Greater)),
                Store::First(v) => each(v, rows, |first, row| {
                    let (x, at) = (value(row), time(row));
                    if !matches!(x, Val::Unit) && (is_none(&first.1) || at < first.0) {
                        *first = (at, x.to_value());
                    }
                }),
                Store::Last(v) => each(v, rows, |last, row| {
                    let (x, at) = (value(row), time(row));
                    if !matches!(x, Val::Unit) && (is_none(&last.1) || at >= last.0) {
                        *last = (at, x.to_value());
                    }
                }),
                Store::Moments(v) => each(v, rows, |moments, row| match value(row) {
                    Val::Int(i) => moments.add(i as f64),
                    Val::Float(f) => moments.add(f),
                    _ => {}
                }),
            }
        }
    }

    /// Merges what lies in `from` into `into`; `from` holds what came later by event time, and stays as it is.
    pub fn merge(&mut self, into: u32, from: u32) {
        let (i, f) = (into as usize, from as usize);
        for (_, store) in &mut self.stores {
            match store {
                Store::Rows(v) | Store::Count(v) => pair(v, i, f, |a, b| *a += *b),
                Store::Sum(v) => pair(v, i, f, Sum::merge),
                Store::Min(v) => pair(v, i, f, |a, b| keep_extreme(a, b.as_val(), std::cmp::Ordering::Less)),
                Store::Max(v) => pair(v, i, f, |a, b| keep_extreme(a, b.as_val(), std::cmp::Ordering::Greater)),
                Store::First(v) => pair(v, i, f, merge_first),
                Store::Last(v) => pair(v, i, f, merge_last),
                Store::Moments(v) => pair(v, i, f, Moments::merge),
            }
        }
    }

    /// The results of one call for many groups; a group is a run of `slots`, in order of time.
    pub fn results(&self, call: usize, groups: &[std::ops::Range<u32>], slots: &[u32], out: &mut ColumnBuilder) {
        let Some((function, store)) = self.calls.get(call) else { return };
        let Some((_, store)) = self.stores.get(*store) else { return };
        for group in groups {
            let slots = slots.get(group.start as usize..group.end as usize).unwrap_or_default();
            result(*function, store, slots, out);
        }
    }

    /// The running values of a slot, for storing.
    pub fn store(&self, slot: u32) -> Vec<Stored> {
        let at = slot as usize;
        let one = |store: &Store| -> Option<Stored> {
            Some(match store {
                Store::Rows(v) | Store::Count(v) => Stored::Count(*v.get(at)?),
                Store::Sum(v) => Stored::Sum(*v.get(at)?),
                Store::Min(v) | Store::Max(v) => Stored::Extreme(v.get(at)?.clone()),
                Store::First(v) | Store::Last(v) => v.get(at).map(|(t, x)| Stored::Timed(*t, x.clone()))?,
                Store::Moments(v) => Stored::Moments(*v.get(at)?),
            })
        };
        self.stores.iter().filter_map(|(_, store)| one(store)).collect()
    }

    /// A slot with stored running values. `None` if they are not of these aggregates.
    pub fn load(&mut self, stored: &[Stored]) -> Option<u32> {
        if stored.len() != self.stores.len() {
            return None;
        }
        let slot = self.allocate();
        let at = slot as usize;
        for ((_, store), value) in self.stores.iter_mut().zip(stored) {
            match (store, value) {
                (Store::Rows(v) | Store::Count(v), Stored::Count(n)) => *v.get_mut(at)? = *n,
                (Store::Sum(v), Stored::Sum(s)) => *v.get_mut(at)? = *s,
                (Store::Min(v) | Store::Max(v), Stored::Extreme(x)) => *v.get_mut(at)? = x.clone(),
                (Store::First(v) | Store::Last(v), Stored::Timed(t, x)) => *v.get_mut(at)? = (*t, x.clone()),
                (Store::Moments(v), Stored::Moments(m)) => *v.get_mut(at)? = *m,
                _ => return None,
            }
        }
        Some(slot)
    }
}

fn reset<T: Empty>(place: &mut T) {
    *place = T::empty();
}

/// What a slot holds before the first value.
trait Empty {
    fn empty() -> Self;
}

impl Empty for u64 {
    fn empty() -> Self {
        0
    }
}

impl Empty for Sum {
    fn empty() -> Self {
        Sum::default()
    }
}

impl Empty for Value {
    fn empty() -> Self {
        Value::Null
    }
}

impl Empty for (i64, Value) {
    fn empty() -> Self {
        (0, Value::Null)
    }
}

impl Empty for Moments {
    fn empty() -> Self {
        Moments::default()
    }
}

#[inline]
fn each<T>(values: &mut [T], rows: &[(u32, u32)], mut add: impl FnMut(&mut T, u32)) {
    for (row, slot) in rows {
        if let Some(value) = values.get_mut(*slot as usize) {
            add(value, *row);
        }
    }
}

fn pair<T>(values: &mut [T], into: usize, from: usize, merge: impl FnOnce(&mut T, &T)) {
    if let Ok([a, b]) = values.get_disjoint_mut([into, from]) {
        merge(a, b);
    }
}

fn is_none(value: &Value) -> bool {
    matches!(value, Value::Null)
}

#[inline]
fn keep_extreme(kept: &mut Value, new: Val<'_>, side: std::cmp::Ordering) {
    match (&mut *kept, new) {
        (_, Val::Unit) => {}
        (Value::Null, new) => *kept = new.to_value(),
        (Value::Float(old), Val::Float(new)) => {
            if new.partial_cmp(old) == Some(side) {
                *old = new;
            }
        }
        (old, new) => {
            if compare(new, old.as_val()) == side {
                *kept = new.to_value();
            }
        }
    }
}

fn merge_first(into: &mut (i64, Value), later: &(i64, Value)) {
    if !is_none(&later.1) && (is_none(&into.1) || later.0 < into.0) {
        *into = later.clone();
    }
}

fn merge_last(into: &mut (i64, Value), later: &(i64, Value)) {
    if !is_none(&later.1) && (is_none(&into.1) || later.0 >= into.0) {
        *into = later.clone();
    }
}

fn push_float(out: &mut ColumnBuilder, value: Option<f64>) {
    match value {
        Some(f) if f.is_finite() => out.push_cell(Cell::Float(f)),
        _ => out.push_cell(Cell::Null),
    }
}

fn result(function: Function, store: &Store, slots: &[u32], out: &mut ColumnBuilder) {
    match store {
        Store::Rows(v) | Store::Count(v) => {
            let n: u64 = slots.iter().filter_map(|s| v.get(*s as usize)).sum();
            out.push_cell(Cell::Int(i64::try_from(n).unwrap_or(i64::MAX)));
        }
        Store::Sum(v) => {
            let sum = fold(v, slots, Sum::merge);
            push_sum(function, sum.as_ref(), out);
        }
        Store::Min(v) => push_extreme(v, slots, std::cmp::Ordering::Less, out),
        Store::Max(v) => push_extreme(v, slots, std::cmp::Ordering::Greater, out),
        Store::First(v) => out.push(fold(v, slots, merge_first).map_or(Value::Null, |(_, x)| x).as_val()),
        Store::Last(v) => out.push(fold(v, slots, merge_last).map_or(Value::Null, |(_, x)| x).as_val()),
        Store::Moments(v) => {
            let moments = fold(v, slots, Moments::merge).unwrap_or_default();
            let population = matches!(function, Function::StddevPop | Function::VariancePop);
            let variance = moments.variance(population);
            let root = matches!(function, Function::Stddev | Function::StddevPop);
            push_float(out, if root { variance.map(f64::sqrt) } else { variance });
        }
    }
}

fn fold<T: Clone>(values: &[T], slots: &[u32], merge: impl Fn(&mut T, &T)) -> Option<T> {
    let mut of_slots = slots.iter().filter_map(|s| values.get(*s as usize));
    let mut total = of_slots.next()?.clone();
    for value in of_slots {
        merge(&mut total, value);
    }
    Some(total)
}

fn push_sum(function: Function, sum: Option<&Sum>, out: &mut ColumnBuilder) {
    let Some(sum) = sum.filter(|s| s.count > 0) else {
        out.push_cell(Cell::Null);
        return;
    };
    if function == Function::Avg {
        return push_float(out, Some(sum.total() / sum.count as f64));
    }
    if sum.floats > 0 {
        return push_float(out, Some(sum.total()));
    }
    match i64::try_from(sum.int) {
        Ok(int) => out.push_cell(Cell::Int(int)),
        Err(_) => out.push(Val::Big(&Value::Number(compact_str::format_compact!("{}", sum.int)))),
    }
}

fn push_extreme(values: &[Value], slots: &[u32], side: std::cmp::Ordering, out: &mut ColumnBuilder) {
    let mut best = Val::Unit;
    for value in slots.iter().filter_map(|s| values.get(*s as usize)) {
        let value = value.as_val();
        if matches!(value, Val::Unit) {
            continue;
        }
        if matches!(best, Val::Unit) || compare(value, best) == side {
            best = value;
        }
    }
    out.push(best);
}
