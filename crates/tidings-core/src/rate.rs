//! How often something may be done.

use governor::{
    Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore,
};
use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroU32,
    time::Duration,
};
use tokio::time::Instant;

/// How often something may be done: so many times a second, and so many times at once by whoever has waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Option<(NonZeroU32, NonZeroU32)>);

impl Rate {
    /// So many times a second, and as many at once. At least one: what is never to be done is for the gate to say.
    pub fn per_second(count: u32) -> Self {
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self(Some((count, count)))
    }

    /// And so many at once.
    #[must_use]
    pub fn burst(self, count: u32) -> Self {
        let burst = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self(self.0.map(|(rate, _)| (rate, burst)))
    }

    /// Without a bound.
    pub fn unlimited() -> Self {
        Self(None)
    }

    /// Whether there is no bound.
    pub fn is_unlimited(&self) -> bool {
        self.0.is_none()
    }
}

/// Token buckets by key: each key does something as often as a [`Rate`] says.
///
/// A bucket that is full again is forgotten by [`tidy`](Self::tidy), so that who does nothing holds none. There are a
/// million at most, for keys are told apart by a hash of 20 bits, which nobody outside can compute: keys that share a bucket
/// are rare, and matter only if one of them is over its rate.
pub struct Buckets {
    limiter: Option<Limiter>,
    hasher: RandomState,
    clock: Since,
}

type Limiter = RateLimiter<u32, HashMapStateStore<u32>, Since, NoOpMiddleware<Duration>>;

/// The runtime's clock, which tests put on.
#[derive(Debug, Clone, Copy)]
struct Since(Instant);

impl Clock for Since {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Buckets {
    /// Full buckets.
    pub fn new(rate: Rate) -> Self {
        let clock = Since(Instant::now());
        let limiter = rate.0.map(|(rate, burst)| {
            RateLimiter::hashmap_with_clock(Quota::per_second(rate).allow_burst(burst), clock)
        });
        Self { limiter, hasher: RandomState::new(), clock }
    }

    /// Does it once, or answers after how long it may be done, which is a second at most.
    ///
    /// # Errors
    /// If it was done too often.
    pub fn take(&self, key: impl Hash) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let key = self.hasher.hash_one(key) as u32 & KEYS;
        limiter.check_key(&key).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets buckets that are full.
    pub fn tidy(&self) {
        let Some(limiter) = &self.limiter else { return };
        let before = limiter.len();
        if before == 0 {
            return;
        }
        limiter.retain_recent();
        if limiter.len() < before / 4 {
            limiter.shrink_to_fit();
        }
    }

    /// Buckets that are held.
    pub fn len(&self) -> usize {
        self.limiter.as_ref().map_or(0, |limiter| limiter.len())
    }

    /// Whether no bucket is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").field("len", &self.len()).finish_non_exhaustive()
    }
}

const KEYS: u32 = (1 << 20) - 1;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_fills_again_and_is_forgotten_when_it_is_full() {
        let buckets = Buckets::new(Rate::per_second(10).burst(20));
        for _ in 0..20 {
            assert_eq!(buckets.take("a"), Ok(()));
        }
        let wait = buckets.take("a").unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(buckets.take("b"), Ok(()), "another's");
        advance(wait).await;
        assert_eq!(buckets.take("a"), Ok(()));
        assert!(buckets.take("a").is_err());
        buckets.tidy();
        assert_eq!(buckets.len(), 2);
        advance(Duration::from_millis(1_900)).await;
        buckets.tidy();
        assert_eq!(buckets.len(), 1, "only the emptier one");
        advance(Duration::from_millis(200)).await;
        buckets.tidy();
        assert!(buckets.is_empty());
    }

    #[test]
    fn without_a_bound_nothing_is_held() {
        let buckets = Buckets::new(Rate::unlimited());
        for _ in 0..1_000 {
            assert_eq!(buckets.take(1), Ok(()));
        }
        assert!(buckets.is_empty());
    }
}
