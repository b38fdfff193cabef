//! A list that grows without being moved: it lies in segments, so that one more never costs a copy of all, which for a
//! million keys is a stop that can be seen.

/// Elements of a segment, as a power of two.
const BITS: u32 = if cfg!(debug_assertions) { 2 } else { 12 };
const SEGMENT: usize = 1 << BITS;

/// A list in segments.
#[derive(Debug)]
pub struct Segmented<T> {
    /// All but the last are full.
    segments: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Segmented<T> {
    fn default() -> Self {
        Segmented { segments: Vec::new(), len: 0 }
    }
}

impl<T> Segmented<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Adds one at the end.
    pub fn push(&mut self, value: T) {
        self.len += 1;
        if let Some(last) = self.segments.last_mut().filter(|last| last.len() < SEGMENT) {
            return last.push(value);
        }
        // The first one stays small where there is little.
        let mut segment = if self.segments.is_empty() { Vec::new() } else { Vec::with_capacity(SEGMENT) };
        segment.push(value);
        self.segments.push(segment);
    }

    /// One by its place.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&T> {
        self.segments.get(at >> BITS)?.get(at & (SEGMENT - 1))
    }

    /// One by its place, to be changed.
    #[inline]
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.segments.get_mut(at >> BITS)?.get_mut(at & (SEGMENT - 1))
    }

    /// Two that are not the same.
    pub fn two_mut(&mut self, a: usize, b: usize) -> Option<(&mut T, &mut T)> {
        let within = |at: usize| at & (SEGMENT - 1);
        if a >> BITS == b >> BITS {
            let [a, b] = self.segments.get_mut(a >> BITS)?.get_disjoint_mut([within(a), within(b)]).ok()?;
            return Some((a, b));
        }
        let [of_a, of_b] = self.segments.get_disjoint_mut([a >> BITS, b >> BITS]).ok()?;
        Some((of_a.get_mut(within(a))?, of_b.get_mut(within(b))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lie_in_one_segment_or_in_two() {
        let mut list = Segmented::default();
        (0..10).for_each(|n| list.push(n));
        assert_eq!((list.len(), list.get(9), list.get(10)), (10, Some(&9), None));
        for (a, b) in [(0, 1), (0, 9), (9, 2)] {
            let (x, y) = list.two_mut(a, b).unwrap();
            assert_eq!((*x, *y), (a, b));
        }
        assert!(list.two_mut(3, 3).is_none() && list.two_mut(3, 10).is_none());
    }
}
