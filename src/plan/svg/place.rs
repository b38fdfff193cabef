//! Where the pieces of a drawing in rows stand: first their order within each row, so that few lines cross, then how far
//! from the left, so that lines are as straight as they can be and nothing overlaps.
//!
//! The order is found by sweeping over the rows and sorting each by the middle of its neighbours in the row before
//! (Sugiyama, Tagawa and Toda 1981), and exchanging neighbours where that helps. The places are a least-squares fit to
//! the neighbours' places under the distances that the order asks for (pool adjacent violators).

/// The least distance between two pieces of a row.
const APART: f64 = 28.0;
/// How much more than another line one that passes several rows should be straight.
const PASSED: f64 = 50.0;
/// Sweeps over the rows, down and up, for their order.
const ORDER_SWEEPS: usize = 8;
/// Sweeps over the rows, down and up, for the places.
const PLACE_SWEEPS: usize = 24;

/// One piece of a row: the room that it takes on both sides of its line.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// To the left.
    pub left: f64,
    /// To the right.
    pub right: f64,
    /// Whether it is a piece of a line's way and no end of it: lines should be straight above all there.
    pub passed: bool,
}

/// Pieces in rows, and lines between adjacent rows.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// From the top.
    pub pieces: Vec<Vec<Piece>>,
    /// By upper row: pairs of a piece there and one in the row below.
    pub lines: Vec<Vec<(usize, usize)>>,
}

/// For each piece of each row, in the order given, how far from the left its line stands; and the width of all.
pub fn place(rows: &Rows) -> (Vec<Vec<f64>>, f64) {
    let near = Neighbours::of(rows);
    let order = near.order(rows);
    let mut places: Vec<Vec<f64>> = rows.pieces.iter().map(|row| vec![0.0; row.len()]).collect();
    for (row, order) in order.iter().enumerate() {
        settle(rows, row, order, &mut places, |_| (0.0, 1.0));
    }
    let down: Vec<usize> = (0..order.len()).collect();
    let up: Vec<usize> = down.iter().rev().copied().collect();
    for sweep in 0..PLACE_SWEEPS {
        let last = sweep + 2 >= PLACE_SWEEPS;
        for (sweep, above) in [(&down, true), (&up, false)] {
            for &row in sweep {
                let Some(order) = order.get(row) else { continue };
                let before = places.clone();
                settle(rows, row, order, &mut places, |piece| {
                    near.wanted(rows, (row, piece), &before, above || last, !above || last)
                });
            }
        }
    }
    let left = |(row, piece): (usize, usize)| at(&places, row, piece) - rows.piece(row, piece).left;
    let all = || order.iter().enumerate().flat_map(|(row, order)| order.iter().map(move |piece| (row, *piece)));
    let least = all().map(left).fold(f64::INFINITY, f64::min);
    if least.is_finite() {
        places.iter_mut().flatten().for_each(|x| *x -= least);
    }
    let right = |(row, piece): (usize, usize)| at(&places, row, piece) + rows.piece(row, piece).right;
    let width = all().map(right).fold(0.0, f64::max);
    (places, width)
}

fn at(places: &[Vec<f64>], row: usize, piece: usize) -> f64 {
    places.get(row).and_then(|row| row.get(piece)).copied().unwrap_or_default()
}

impl Rows {
    fn piece(&self, row: usize, piece: usize) -> Piece {
        let piece = self.pieces.get(row).and_then(|row| row.get(piece));
        piece.copied().unwrap_or(Piece { left: 0.0, right: 0.0, passed: false })
    }
}

/// Who is joined to whom, by row and piece.
struct Neighbours {
    above: Vec<Vec<Vec<usize>>>,
    below: Vec<Vec<Vec<usize>>>,
}

impl Neighbours {
    fn of(rows: &Rows) -> Self {
        let none = || -> Vec<Vec<Vec<usize>>> { rows.pieces.iter().map(|row| vec![Vec::new(); row.len()]).collect() };
        let mut near = Neighbours { above: none(), below: none() };
        for (row, lines) in rows.lines.iter().enumerate() {
            for &(upper, lower) in lines {
                let below = near.below.get_mut(row).and_then(|r| r.get_mut(upper));
                below.into_iter().for_each(|list| list.push(lower));
                let above = near.above.get_mut(row + 1).and_then(|r| r.get_mut(lower));
                above.into_iter().for_each(|list| list.push(upper));
            }
        }
        near
    }

    fn list(&self, row: usize, piece: usize, above: bool) -> &[usize] {
        let side = if above { &self.above } else { &self.below };
        side.get(row).and_then(|r| r.get(piece)).map_or(&[], Vec::as_slice)
    }

    /// Where a piece's neighbours would have it, and how strongly. Without any it stays where it is.
    fn wanted(
        &self,
        rows: &Rows,
        (row, piece): (usize, usize),
        places: &[Vec<f64>],
        above: bool,
        below: bool,
    ) -> (f64, f64) {
        let own = rows.piece(row, piece).passed;
        let (mut sum, mut weight) = (0.0, 0.0);
        for (wanted, upper, other) in [(above, true, row.wrapping_sub(1)), (below, false, row + 1)] {
            for neighbour in self.list(row, piece, upper).iter().filter(|_| wanted) {
                let pull = if own && rows.piece(other, *neighbour).passed { PASSED } else { 1.0 };
                sum += at(places, other, *neighbour) * pull;
                weight += pull;
            }
        }
        if weight > 0.0 { (sum / weight, weight) } else { (at(places, row, piece), 0.1) }
    }

    /// The order of each row: the best of several sweeps.
    fn order(&self, rows: &Rows) -> Vec<Vec<usize>> {
        let mut order: Vec<Vec<usize>> = rows.pieces.iter().map(|row| (0..row.len()).collect()).collect();
        let mut best = (crossings(rows, &order), order.clone());
        for _ in 0..ORDER_SWEEPS {
            for above in [true, false] {
                let count = order.len();
                for step in 0..count {
                    let row = if above { step } else { count - 1 - step };
                    self.sort(row, above, &mut order);
                    self.exchange(row, above, &mut order);
                }
                let found = crossings(rows, &order);
                if found < best.0 {
                    best = (found, order.clone());
                }
            }
        }
        best.1
    }

    /// Sorts a row by the middle of its neighbours' ranks; pieces without neighbours keep their rank.
    fn sort(&self, row: usize, above: bool, order: &mut [Vec<usize>]) {
        let other = if above { row.wrapping_sub(1) } else { row + 1 };
        let Some(ranks) = order.get(other).map(|o| ranks(o)) else { return };
        let Some(own) = order.get_mut(row) else { return };
        let middle = |rank: usize, piece: usize| {
            let near = self.list(row, piece, above);
            let sum: usize = near.iter().filter_map(|n| ranks.get(*n)).sum();
            if near.is_empty() { rank as f64 } else { sum as f64 / near.len() as f64 }
        };
        let mut keyed: Vec<(f64, usize)> =
            own.iter().enumerate().map(|(rank, piece)| (middle(rank, *piece), *piece)).collect();
        keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
        *own = keyed.into_iter().map(|(_, piece)| piece).collect();
    }

    /// Exchanges adjacent pieces of a row as long as that makes fewer lines to one side cross.
    fn exchange(&self, row: usize, above: bool, order: &mut [Vec<usize>]) {
        let other = if above { row.wrapping_sub(1) } else { row + 1 };
        let Some(ranks) = order.get(other).map(|o| ranks(o)) else { return };
        let Some(own) = order.get_mut(row) else { return };
        let crossed = |left: usize, right: usize| {
            let rank = |n: &usize| ranks.get(*n).copied().unwrap_or_default();
            let pairs = |a: usize| self.list(row, right, above).iter().filter(|b| rank(b) < a).count();
            self.list(row, left, above).iter().map(|a| pairs(rank(a))).sum::<usize>()
        };
        for _ in 0..own.len() {
            let mut changed = false;
            for at in 1..own.len() {
                if let Some(pair) = own.get_mut(at - 1..=at)
                    && let [left, right] = pair
                    && crossed(*right, *left) < crossed(*left, *right)
                {
                    std::mem::swap(left, right);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
    }
}

/// The rank of each piece in an order.
fn ranks(order: &[usize]) -> Vec<usize> {
    let mut ranks = vec![0; order.len()];
    for (rank, piece) in order.iter().enumerate() {
        ranks.get_mut(*piece).into_iter().for_each(|r| *r = rank);
    }
    ranks
}

/// How many pairs of lines cross.
fn crossings(rows: &Rows, order: &[Vec<usize>]) -> usize {
    let mut count = 0;
    for ((lines, upper), lower) in rows.lines.iter().zip(order).zip(order.iter().skip(1)) {
        let (upper, lower) = (ranks(upper), ranks(lower));
        let rank = |ranks: &[usize], piece: usize| ranks.get(piece).copied().unwrap_or_default();
        let mut ends: Vec<(usize, usize)> = lines.iter().map(|(a, b)| (rank(&upper, *a), rank(&lower, *b))).collect();
        ends.sort_unstable();
        for (i, (a, b)) in ends.iter().enumerate() {
            count += ends.iter().skip(i + 1).filter(|(c, d)| a < c && d < b).count();
        }
    }
    count
}

/// Places the pieces of a row, in this order, as near to where they are wanted as the distances between them allow.
/// `wanted` tells where and how strongly.
fn settle(rows: &Rows, row: usize, order: &[usize], places: &mut [Vec<f64>], wanted: impl Fn(usize) -> (f64, f64)) {
    let mut shift = 0.0;
    let mut before: Option<Piece> = None;
    let mut wishes = Vec::with_capacity(order.len());
    for &piece in order {
        let room = rows.piece(row, piece);
        shift += before.map_or(0.0, |b| b.right + APART + room.left);
        before = Some(room);
        let (place, weight) = wanted(piece);
        wishes.push((place, weight, shift));
    }
    let Some(places) = places.get_mut(row) else { return };
    for (piece, found) in order.iter().zip(fit(&wishes)) {
        places.get_mut(*piece).into_iter().for_each(|x| *x = found);
    }
}

/// Places as near to the wishes as can be (least squares), each at least as far from the one before as their shifts are
/// apart. A wish is a place, its weight and the least distance from the first.
pub fn fit(wishes: &[(f64, f64, f64)]) -> Vec<f64> {
    // Blocks of places that are as close together as they may be: weighted sum, weight, number.
    let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
    for (place, weight, shift) in wishes {
        blocks.push(((place - shift) * weight, *weight, 1));
        while let [.., a, b] = blocks.as_mut_slice()
            && a.0 / a.1 > b.0 / b.1
        {
            *a = (a.0 + b.0, a.1 + b.1, a.2 + b.2);
            blocks.pop();
        }
    }
    let bases = blocks.iter().flat_map(|(sum, weight, count)| std::iter::repeat_n(sum / weight, *count));
    bases.zip(wishes).map(|(base, (_, _, shift))| base + shift).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(pieces: Vec<Vec<(f64, f64)>>, lines: Vec<Vec<(usize, usize)>>) -> Rows {
        let piece = |(left, right): (f64, f64)| Piece { left, right, passed: false };
        Rows { pieces: pieces.into_iter().map(|row| row.into_iter().map(piece).collect()).collect(), lines }
    }

    #[test]
    fn a_chain_is_straight() {
        let (places, width) = place(&rows(
            vec![vec![(50.0, 50.0)], vec![(5.0, 90.0)], vec![(30.0, 30.0)]],
            vec![vec![(0, 0)], vec![(0, 0)]],
        ));
        assert_eq!(places, [[50.0], [50.0], [50.0]]);
        assert_eq!(width, 140.0);
    }

    #[test]
    fn lines_that_need_not_cross_do_not() {
        let wide = |n: usize| vec![(10.0, 10.0); n];
        let lines = vec![vec![(0, 2), (1, 1), (2, 0)], vec![(0, 2), (1, 0), (2, 1)]];
        let all = rows(vec![wide(3), wide(3), wide(3)], lines);
        let near = Neighbours::of(&all);
        assert_eq!(crossings(&all, &near.order(&all)), 0);
    }

    #[test]
    fn nothing_at_all_has_no_width() {
        assert_eq!(place(&Rows::default()).1, 0.0);
    }

    proptest! {
        #[test]
        fn nothing_overlaps(
            sizes in prop::collection::vec(prop::collection::vec((1.0..80.0f64, 1.0..80.0f64), 1..8), 1..7),
            ends in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..60),
        ) {
            let mut lines = vec![Vec::new(); sizes.len().saturating_sub(1)];
            for (at, (upper, lower)) in ends.iter().enumerate().filter(|_| sizes.len() > 1) {
                let row = at % (sizes.len() - 1);
                lines[row].push((upper.index(sizes[row].len()), lower.index(sizes[row + 1].len())));
            }
            let all = rows(sizes.clone(), lines);
            let (places, width) = place(&all);
            for (row, sizes) in places.iter().zip(&sizes) {
                let mut spans: Vec<(f64, f64)> = row.iter().zip(sizes).map(|(x, (l, r))| (x - l, x + r)).collect();
                spans.sort_by(|a, b| a.0.total_cmp(&b.0));
                prop_assert!(spans.iter().all(|(l, r)| *l > -1e-6 && *r < width + 1e-6));
                for pair in spans.windows(2) {
                    prop_assert!(pair[0].1 + APART < pair[1].0 + 1e-6, "{spans:?}");
                }
            }
        }
    }
}
