//! Responsible for random numbers that are the same on every machine.

/// The xorshift generator by Marsaglia.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Makes a generator whose state differs for each number.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut random = Self((seed << 40 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        // The first draws of neighbouring numbers are alike, so they are dropped.
        for _ in 0..3 {
            random.draw();
        }
        random
    }

    /// Returns the next random number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns a number below `bound`, or 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound.max(1) as u64) as usize
    }

    /// Returns true once in `times` calls on average.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Returns one of `several`, which must not be empty.
    pub fn of<'a, T>(&mut self, several: &'a [T]) -> &'a T {
        &several[self.below(several.len())]
    }
}
