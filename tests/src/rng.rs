//! Chance with a seed that is printed, so that a run can be had again; and how long a run is.

use std::time::Duration;

/// Numbers by chance (xorshift64*), the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct TestRng(u64);

impl TestRng {
    /// With the seed of the environment variable `SEED`, or a new one; prints which.
    #[must_use]
    pub fn from_env() -> Self {
        let seed = number("SEED").unwrap_or_else(|| {
            let bytes = spa_keys::random_bytes::<8>().expect("randomness");
            u64::from_le_bytes(bytes)
        });
        println!("SEED={seed}");
        Self(seed | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from((self.next_u64() >> 11) % end).unwrap_or(0)
    }

    /// A time below this one.
    pub fn within(&mut self, end: Duration) -> Duration {
        let end = usize::try_from(end.as_micros()).unwrap_or(usize::MAX);
        Duration::from_micros(u64::try_from(self.below(end)).unwrap_or(0))
    }

    /// One of these.
    #[track_caller]
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        items
            .get(self.below(items.len()))
            .expect("something to pick")
    }
}

/// A number in the environment: how long a run is asked for.
#[must_use]
#[track_caller]
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = || {
            let mut rng = TestRng(7);
            [rng.next_u64(), rng.next_u64(), rng.next_u64()]
        };
        assert_eq!(draw(), draw());
        assert!((0..1000).all(|_| TestRng(9).below(3) < 3));
    }
}
