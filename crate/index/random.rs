//! Numbers that look random and are the same every time.

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub struct Random(pub u64);

impl Random {
    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// `count` of the numbers below `end`, or all of them, in rising order.
    pub fn some(&mut self, count: usize, end: usize) -> Vec<u32> {
        let mut wanted = count.min(end);
        let mut taken = Vec::with_capacity(wanted);
        for number in 0..end {
            if self.below((end - number) as u64) < wanted as u64 {
                taken.push(number as u32);
                wanted -= 1;
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_as_many_as_asked_for_and_rising() {
        for (count, end) in [(0, 5), (3, 10), (10, 10), (20, 7), (50, 1000)] {
            let some = Random(1).some(count, end);
            assert_eq!(some.len(), count.min(end));
            assert!(
                some.windows(2).all(|pair| pair[0] < pair[1]) && some.iter().all(|number| (*number as usize) < end)
            );
        }
        assert_ne!(Random(1).some(5, 1000), Random(2).some(5, 1000));
    }
}
