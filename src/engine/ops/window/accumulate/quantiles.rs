//! Quantiles: the numbers themselves while they are few, then a sketch of them.
//!
//! The sketch is a DDSketch (Ch. Masson, J. E. Rim, H. K. Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
//! relative-error guarantees", PVLDB 12(12), 2019) with its dense store that collapses the lowest bins. It is our own: a
//! rank is found exactly, the whole range of doubles has bins, and what is stored depends on no library's release. What
//! it holds is a function of the numbers alone, so parts may be merged in any grouping.

use serde::{Deserialize, Serialize};

use crate::base::limit::{QUANTILE_BINS, QUANTILE_EXACT};
use crate::data::column::ColumnBuilder;
use crate::data::value::Val;
use crate::plan::aggregate::Function;

use super::Stored;
use super::running::{Running, push_float};

/// The relative error of a number that is read from its bin.
const ERROR: f64 = 0.01;
/// Each bin reaches this much further than the one before: `(1 + ERROR) / (1 - ERROR)`.
const GROWTH: f64 = (1.0 + ERROR) / (1.0 - ERROR);

/// Numbers, or a sketch of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Quantiles {
    /// Every number, ascending.
    Few(Vec<f64>),
    /// More than [`QUANTILE_EXACT`].
    Many(Box<Sketch>),
}

/// How many numbers lie in which bin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sketch {
    least: f64,
    greatest: f64,
    /// Numbers below zero, by their distance from it.
    negative: Bins,
    zeros: u64,
    positive: Bins,
}

/// Counts of neighbouring bins, from the first that is not empty to the last. Bin `i` holds what lies above
/// `GROWTH^(i - 1)` and up to `GROWTH^i`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bins {
    first: i32,
    counts: Vec<u64>,
}

impl Bins {
    fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn add(&mut self, bin: i32, count: u64) {
        if self.counts.is_empty() {
            self.first = bin;
        }
        // Room for the bin. The lowest ones beyond what may be kept count as the lowest that is kept.
        let lowest = self.last().max(bin) - (QUANTILE_BINS as i32 - 1);
        if lowest > self.first {
            let beyond = ((lowest - self.first) as usize).min(self.counts.len());
            let collapsed: u64 = self.counts.drain(..beyond).sum();
            self.first = lowest;
            if self.counts.is_empty() {
                self.counts.push(0);
            }
            if let Some(first) = self.counts.first_mut() {
                *first += collapsed;
            }
        }
        let bin = bin.max(lowest);
        if bin < self.first {
            let missing = (self.first - bin) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = bin;
        }
        let at = (bin - self.first) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        if let Some(place) = self.counts.get_mut(at) {
            *place += count;
        }
    }

    fn last(&self) -> i32 {
        self.first + self.counts.len() as i32 - 1
    }

    fn merge(&mut self, other: &Bins) {
        for (bin, count) in (other.first..).zip(&other.counts).filter(|(_, count)| **count > 0) {
            self.add(bin, *count);
        }
    }

    /// The number in the middle of the bin in which the one of this rank lies, counted from the lowest, from 0.
    fn at(&self, rank: u64) -> f64 {
        let mut below = 0;
        for (bin, count) in (self.first..).zip(&self.counts) {
            below += count;
            if below > rank {
                return middle(bin);
            }
        }
        middle(self.last())
    }
}

/// The bin of a number above zero.
fn bin_of(number: f64) -> i32 {
    (number.ln() / GROWTH.ln()).ceil() as i32
}

/// The number that is as far, in proportion, from one end of the bin as from the other.
fn middle(bin: i32) -> f64 {
    (f64::from(bin) * GROWTH.ln()).exp() * 2.0 / (1.0 + GROWTH)
}

impl Sketch {
    fn of(numbers: &[f64]) -> Sketch {
        let mut sketch = Sketch {
            least: f64::INFINITY,
            greatest: f64::NEG_INFINITY,
            negative: Bins::default(),
            zeros: 0,
            positive: Bins::default(),
        };
        numbers.iter().for_each(|number| sketch.add(*number));
        sketch
    }

    fn add(&mut self, number: f64) {
        self.least = self.least.min(number);
        self.greatest = self.greatest.max(number);
        if number > 0.0 {
            self.positive.add(bin_of(number), 1);
        } else if number < 0.0 {
            self.negative.add(bin_of(-number), 1);
        } else {
            self.zeros += 1;
        }
    }

    fn merge(&mut self, other: &Sketch) {
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
        self.negative.merge(&other.negative);
        self.positive.merge(&other.positive);
        self.zeros += other.zeros;
    }

    fn total(&self) -> u64 {
        self.negative.total() + self.zeros + self.positive.total()
    }

    fn at(&self, rank: u64) -> f64 {
        let (below, all) = (self.negative.total(), self.total());
        if rank == 0 {
            return self.least;
        }
        if rank + 1 >= all {
            return self.greatest;
        }
        let number = if rank < below {
            -self.negative.at(below - 1 - rank)
        } else if rank < below + self.zeros {
            0.0
        } else {
            self.positive.at(rank - below - self.zeros)
        };
        number.clamp(self.least, self.greatest)
    }
}

impl Quantiles {
    /// The quantile, on the line between the two numbers around it (as SQL's `percentile_cont`).
    pub fn at(&self, q: f64) -> Option<f64> {
        let total = match self {
            Quantiles::Few(numbers) => numbers.len() as u64,
            Quantiles::Many(sketch) => sketch.total(),
        };
        let at = |rank: u64| match self {
            Quantiles::Few(numbers) => numbers.get(rank as usize).copied().unwrap_or(0.0),
            Quantiles::Many(sketch) => sketch.at(rank),
        };
        let mut place = q * total.checked_sub(1)? as f64;
        // 0.29 * 100 is a little less than 29.
        if (place - place.round()).abs() < 1e-9 {
            place = place.round();
        }
        let (rank, between) = (place.floor() as u64, place.fract());
        let low = at(rank);
        if between == 0.0 {
            return Some(low);
        }
        let high = at(rank + 1);
        Some(if low == high { low } else { low * (1.0 - between) + high * between })
    }

    fn add_number(&mut self, number: f64) {
        // There is one zero.
        let number = number + 0.0;
        match self {
            Quantiles::Many(sketch) => sketch.add(number),
            Quantiles::Few(numbers) => {
                numbers.insert(numbers.partition_point(|n| *n <= number), number);
                self.outgrown();
            }
        }
    }

    /// Makes a sketch of too many numbers.
    fn outgrown(&mut self) {
        if let Quantiles::Few(numbers) = self
            && numbers.len() > QUANTILE_EXACT
        {
            *self = Quantiles::Many(Box::new(Sketch::of(numbers)));
        }
    }
}

impl Running for Quantiles {
    type Constant = ();

    fn empty((): ()) -> Self {
        Quantiles::Few(Vec::new())
    }

    fn add(&mut self, value: Val<'_>, _: i64) {
        match value {
            Val::Int(i) => self.add_number(i as f64),
            Val::Float(f) => self.add_number(f),
            _ => {}
        }
    }

    fn merge(&mut self, later: &Self) {
        match (&mut *self, later) {
            (Quantiles::Few(numbers), Quantiles::Few(more)) => {
                numbers.extend(more);
                numbers.sort_by(f64::total_cmp);
                self.outgrown();
            }
            (Quantiles::Few(numbers), Quantiles::Many(more)) => {
                let mut sketch = more.clone();
                numbers.iter().for_each(|number| sketch.add(*number));
                *self = Quantiles::Many(sketch);
            }
            (Quantiles::Many(sketch), Quantiles::Few(more)) => more.iter().for_each(|number| sketch.add(*number)),
            (Quantiles::Many(sketch), Quantiles::Many(more)) => sketch.merge(more),
        }
    }

    fn result(&self, function: &Function, out: &mut ColumnBuilder) -> Result<(), String> {
        let q = if let Function::Quantile(q) = function { *q } else { 0.5 };
        push_float(out, self.at(q));
        Ok(())
    }

    fn stored(&self) -> Stored {
        Stored::Quantiles(self.clone())
    }

    fn load(stored: &Stored, (): ()) -> Option<Self> {
        if let Stored::Quantiles(quantiles) = stored { Some(quantiles.clone()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(numbers: &[f64]) -> Quantiles {
        let mut all = Quantiles::empty(());
        numbers.iter().for_each(|number| all.add_number(*number));
        all
    }

    /// Numbers of several kinds: what the sketch holds must be near for each of them.
    fn numbers() -> impl Strategy<Value = Vec<f64>> {
        let one = || -1e6..1e6f64;
        let uniform = prop::collection::vec(one(), 1..400);
        let lognormal = prop::collection::vec((-1.0..1.0f64, 0.0..1.0f64), 1..400)
            .prop_map(|v| v.into_iter().map(|(a, b)| (a * 12.0 * b).exp()).collect());
        let zipf = prop::collection::vec(0.0001..1.0f64, 1..400)
            .prop_map(|v| v.into_iter().map(|u| (1.0 / u).floor()).collect());
        let negative =
            prop::collection::vec(-38.0..0.0f64, 1..400).prop_map(|v| v.into_iter().map(|x| -(-x).exp()).collect());
        let constant = (one(), 1usize..400).prop_map(|(x, n)| vec![x; n]);
        let small = prop::collection::vec(prop::sample::select(vec![-2.0, -0.0, 0.0, 1.0, 3.5]), 1..400);
        prop_oneof![uniform, lognormal, zipf, negative, constant, small]
    }

    /// Merges the parts in a random tree: at each step two neighbours.
    fn in_a_tree(mut parts: Vec<Quantiles>, joints: &[prop::sample::Index]) -> Quantiles {
        for joint in joints {
            if parts.len() > 1 {
                let at = joint.index(parts.len() - 1);
                let later = parts.remove(at + 1);
                parts[at].merge(&later);
            }
        }
        let mut whole = parts.remove(0);
        parts.iter().for_each(|part| whole.merge(part));
        whole
    }

    proptest! {
        #[test]
        fn quantiles_are_within_their_error(numbers in numbers(), q in 0.0..=1.0f64) {
            let sketch = of(&numbers);
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let place = q * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            let found = sketch.at(q).unwrap();
            let exact = low * (1.0 - place.fract()) + high * place.fract();
            let allowed = if sorted.len() > QUANTILE_EXACT { ERROR } else { 0.0 } + 1e-9;
            // On the line between two numbers, each within 1 % of its own size.
            let size = low.abs() * (1.0 - place.fract()) + high.abs() * place.fract();
            prop_assert!((found - exact).abs() <= allowed * size, "{found} for {exact}");
            prop_assert_eq!(sketch.at(0.0).unwrap(), sorted[0] + 0.0);
            prop_assert_eq!(sketch.at(1.0).unwrap(), sorted[sorted.len() - 1] + 0.0);
        }

        #[test]
        fn merging_in_any_tree_is_one_pass(
            numbers in numbers(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            joints in prop::collection::vec(any::<prop::sample::Index>(), 12),
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(numbers.len() + 1)).collect();
            cuts.extend([0, numbers.len()]);
            cuts.sort_unstable();
            let parts = cuts.windows(2).map(|pair| of(&numbers[pair[0]..pair[1]])).collect();
            let merged = in_a_tree(parts, &joints);
            prop_assert_eq!(&merged, &of(&numbers));
            let stored = rmp_serde::to_vec_named(&merged.stored()).unwrap();
            let read: Stored = rmp_serde::from_slice(&stored).unwrap();
            prop_assert_eq!(Quantiles::load(&read, ()).unwrap(), merged);
        }
    }

    #[test]
    fn few_numbers_are_exact() {
        assert_eq!(of(&[]).at(0.5), None);
        assert_eq!(of(&[4.0, 1.0, 3.0, 2.0]).at(0.5), Some(2.5));
        assert_eq!(of(&[10.0, 30.0, 20.0]).at(0.5), Some(20.0));
        let hundredths: Vec<f64> = (0..=50).map(f64::from).collect();
        assert_eq!(of(&hundredths).at(0.58), Some(29.0));
    }

    #[test]
    fn the_lowest_bins_collapse_whatever_comes_first() {
        // Thirty decades: more than the bins span.
        let mut numbers: Vec<f64> = (0..600).map(|i| 10f64.powf(f64::from(i) / 20.0 - 15.0)).collect();
        let up = of(&numbers);
        numbers.reverse();
        assert_eq!(of(&numbers), up);
        let Quantiles::Many(sketch) = &up else { panic!("a sketch") };
        assert_eq!(sketch.positive.counts.len(), QUANTILE_BINS);
        assert!((up.at(0.9).unwrap() / numbers[60] - 1.0).abs() <= 0.07);
        assert_eq!(up.at(0.0), Some(1e-15));
    }

    #[test]
    fn the_ends_of_all_doubles_have_bins() {
        for number in [f64::MAX, f64::MIN_POSITIVE, 5e-324] {
            let sketch = of(&vec![number; 100]);
            assert_eq!(sketch.at(0.3), Some(number));
        }
    }
}
