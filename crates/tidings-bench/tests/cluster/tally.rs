//! What has happened, counted, for whoever watches.

use crate::Run;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::interval;

/// One number.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All numbers of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) nodes_killed: Count,
    pub(crate) brokers_killed: Count,
    pub(crate) stored: Count,
    pub(crate) delivered: Count,
    pub(crate) connected: Count,
    /// Connections that ended.
    pub(crate) lost: Count,
    /// Attempts that nobody answered.
    pub(crate) broken: Count,
    /// Attempts that were refused for now.
    pub(crate) refused: Count,
    /// Publishes that were tried again, by why.
    retries: Mutex<BTreeMap<String, u64>>,
    /// By reason.
    gaps: Mutex<BTreeMap<String, u64>>,
    times: Times,
}

impl Tally {
    /// An event was heard so long after it was first tried to publish it.
    pub(crate) fn delivered(&self, took: Duration) {
        self.delivered.add(1);
        self.times.add(took);
    }

    pub(crate) fn retried(&self, why: String) {
        *self.retries.lock().expect("nobody panics with it").entry(why).or_default() += 1;
    }

    pub(crate) fn gap(&self, reason: &str) {
        *self.gaps.lock().expect("nobody panics with it").entry(reason.to_owned()).or_default() += 1;
    }

    pub(crate) fn gaps(&self) -> BTreeMap<String, u64> {
        self.gaps.lock().expect("nobody panics with it").clone()
    }

    /// All of it, in some lines.
    pub(crate) fn report(&self, time: Duration) -> String {
        let mut text = format!("after {:.0} s\n", time.as_secs_f64());
        let mut line =
            |what: &str, is: String| writeln!(text, "  {what:<12}{is}").expect("text takes everything");
        line("killed", format!("nodes {}, broker {}", self.nodes_killed.get(), self.brokers_killed.get()));
        line("events", format!("{} stored, {} delivered", self.stored.get(), self.delivered.get()));
        line("published", format!("again for {:?}", self.retries.lock().expect("nobody panics with it")));
        line(
            "connections",
            format!(
                "{} made, {} lost; {} attempts found nobody, {} were refused",
                self.connected.get(),
                self.lost.get(),
                self.broken.get(),
                self.refused.get()
            ),
        );
        line("gaps", format!("{:?}", self.gaps()));
        let [median, late, longest] = [0.5, 0.99, 1.0].map(|part| self.times.at(part));
        line("took", format!("median {median:?}, 99 of 100 within {late:?}, longest {longest:?}"));
        text
    }
}

/// Spans of time, each counted with all of its length within a fifth.
#[derive(Debug)]
struct Times([AtomicU64; SPANS]);

/// Four of each power of two.
const SPANS: usize = 4 * u64::BITS as usize;

impl Default for Times {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; SPANS])
    }
}

impl Times {
    fn add(&self, time: Duration) {
        // The power of two below it, and which quarter of the way to the next.
        let micros = (time.as_micros() as u64).max(4);
        let power = micros.ilog2();
        let quarter = (micros >> (power - 2)) & 3;
        self.0[(power * 4) as usize + quarter as usize].fetch_add(1, Relaxed);
    }

    /// What so large a part did not take longer than.
    fn at(&self, part: f64) -> Duration {
        let counts: Vec<_> = self.0.iter().map(|count| count.load(Relaxed)).collect();
        let mut left = (counts.iter().sum::<u64>() as f64 * part).ceil() as u64;
        for (at, count) in counts.iter().enumerate() {
            left = left.saturating_sub(*count);
            if left == 0 && *count > 0 {
                let (power, quarter) = (at as u32 / 4, at as u64 % 4);
                return Duration::from_micros(((5 + quarter) << power) / 4);
            }
        }
        Duration::ZERO
    }
}

impl Run {
    /// Microseconds since it began.
    pub(crate) fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// Tells whoever watches.
    pub(crate) fn say(&self, what: &str) {
        println!("{:>5.1} s: {what}", self.begun.elapsed().as_secs_f64());
    }
}

/// Says from time to time how far things are.
pub(crate) async fn progress(run: Arc<Run>) {
    let mut pace = interval(Duration::from_secs(10));
    pace.tick().await;
    loop {
        pace.tick().await;
        let tally = &run.tally;
        run.say(&format!(
            "{} events stored, {} delivered; {} connections lost; gaps {:?}",
            tally.stored.get(),
            tally.delivered.get(),
            tally.lost.get(),
            tally.gaps()
        ));
    }
}
