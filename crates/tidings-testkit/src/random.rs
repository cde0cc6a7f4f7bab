//! Chance that can be had again.

use std::hash::{BuildHasher, RandomState};

/// A small random number generator (SplitMix64). Its seed is printed, and `TIDINGS_SEED` sets it.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator with the seed of the environment, or a new one.
    pub fn new() -> Self {
        let seed = std::env::var("TIDINGS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8));
        println!("TIDINGS_SEED={seed}");
        Self(seed)
    }

    /// A generator with a seed of the caller's.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// One of several.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}
