//! The best of many: a heap of no more than are asked for, whose root is the worst of them.

/// A row, and what it is ordered by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hit {
    /// Higher is better; no NaN.
    pub key: f32,
    /// Of two with one key the lower row is better.
    pub row: u32,
}

impl Hit {
    fn is_better(&self, than: &Self) -> bool {
        self.key > than.key || self.key == than.key && self.row < than.row
    }
}

/// The best so far.
pub(super) struct Best {
    /// Each is better than, or is, the one at half its place.
    heap: Vec<Hit>,
    most: usize,
}

impl Best {
    /// Of which at most so many are kept.
    pub fn new(most: usize) -> Self {
        Self { heap: Vec::with_capacity(most), most }
    }

    /// Takes a hit if it is among the best.
    #[inline]
    pub fn offer(&mut self, hit: Hit) {
        if self.heap.len() < self.most {
            self.heap.push(hit);
            self.rise();
        } else if hit.is_better(&self.heap[0]) {
            self.heap[0] = hit;
            self.sink(self.heap.len());
        }
    }

    /// The best of two.
    pub fn merged(mut self, other: Self) -> Self {
        other.heap.into_iter().for_each(|hit| self.offer(hit));
        self
    }

    /// All of them, best first.
    pub fn into_sorted(mut self) -> Vec<Hit> {
        for end in (1..self.heap.len()).rev() {
            self.heap.swap(0, end);
            self.sink(end);
        }
        self.heap
    }

    /// Moves the last to its place.
    fn rise(&mut self) {
        let mut at = self.heap.len() - 1;
        while at > 0 && self.heap[(at - 1) / 2].is_better(&self.heap[at]) {
            self.heap.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    /// Moves the first to its place among those before `end`.
    fn sink(&mut self, end: usize) {
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= end {
                return;
            }
            let worse = if right < end && self.heap[left].is_better(&self.heap[right]) { right } else { left };
            if !self.heap[at].is_better(&self.heap[worse]) {
                return;
            }
            self.heap.swap(at, worse);
            at = worse;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_those_that_sorting_gives() {
        let hits: Vec<Hit> = (0..200_u32).map(|row| Hit { key: (row * 37 % 23) as f32 - 9.0, row }).collect();
        for most in [1, 2, 3, 64, 199, 200, 300] {
            for backwards in [false, true] {
                let mut best = Best::new(most);
                let mut given = hits.clone();
                if backwards {
                    given.reverse();
                }
                given.iter().for_each(|hit| best.offer(*hit));
                let mut sorted = hits.clone();
                sorted.sort_by(|a, b| b.key.total_cmp(&a.key).then(a.row.cmp(&b.row)));
                sorted.truncate(most);
                assert_eq!(best.into_sorted(), sorted);
            }
        }
    }

    #[test]
    fn the_two_zeros_are_one() {
        let mut best = Best::new(2);
        [(0.0, 4), (-0.0, 1), (0.0, 2)].iter().for_each(|&(key, row)| best.offer(Hit { key, row }));
        assert_eq!(best.into_sorted().iter().map(|hit| hit.row).collect::<Vec<_>>(), [1, 2]);
    }
}
