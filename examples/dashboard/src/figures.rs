//! This server's own figures, from the system and the hub. What only Linux has in `/proc` is missing elsewhere.

use crate::board::{Board, now};
use cpu_time::ProcessTime;
use serde::Serialize;
use std::{collections::BTreeMap, fs, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The room of the figures.
const ROOM: &str = "server";
/// Twice a second: shorter times of the processor are not measured well.
const PACE: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Figures {
    at: u64,
    /// Percent of one processor that this process takes.
    process_cpu: f64,
    /// Percent of all processors that are busy.
    machine_cpu: Option<f64>,
    /// Bytes of this process in memory.
    memory: Option<u64>,
    /// Sessions, by transport. A long-poll is one while it waits.
    sessions: BTreeMap<&'static str, usize>,
    /// Values published in a second.
    published: f64,
}

/// Publishes the figures, as long as the server runs.
pub(crate) async fn publish(board: Board) -> anyhow::Result<()> {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace.tick().await; // the first is at once, and figures are of the time between two
    let mut last = Reading::take(&board)?;
    loop {
        pace.tick().await;
        let reading = Reading::take(&board)?;
        board.publish(ROOM, &reading.since(&last, &board)).await?;
        last = reading;
    }
}

/// What only grows.
struct Reading {
    taken: Instant,
    process: Duration,
    machine: Option<Ticks>,
    published: u64,
}

/// The time of all processors together, in whatever unit.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl Reading {
    fn take(board: &Board) -> anyhow::Result<Self> {
        Ok(Self {
            taken: Instant::now(),
            process: ProcessTime::try_now()?.as_duration(),
            machine: fs::read_to_string("/proc/stat").ok().and_then(|text| ticks(&text)),
            published: board.published(),
        })
    }

    fn since(&self, last: &Self, board: &Board) -> Figures {
        let seconds = (self.taken - last.taken).as_secs_f64();
        Figures {
            at: now(),
            process_cpu: 100.0 * self.process.saturating_sub(last.process).as_secs_f64() / seconds,
            machine_cpu: self.machine.zip(last.machine).and_then(|(now, last)| now.since(last)),
            memory: fs::read_to_string("/proc/self/status").ok().and_then(|text| resident(&text)),
            sessions: board.stats().sessions,
            published: (self.published - last.published) as f64 / seconds,
        }
    }
}

impl Ticks {
    /// Percent that were busy.
    fn since(self, last: Self) -> Option<f64> {
        let all = self.all.checked_sub(last.all).filter(|all| *all > 0)?;
        Some(100.0 * self.busy.saturating_sub(last.busy) as f64 / all as f64)
    }
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal (proc_stat(5)); what follows is
/// contained in the first two.
fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, _, _, idle, waiting, ..] = numbers[..] else { return None };
    let all = numbers.iter().sum();
    Some(Ticks { busy: all - idle - waiting, all })
}

/// The line `VmRSS:` of `/proc/self/status`, in bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_read_as_it_stands() {
        let stat = "cpu  10 1 20 1000 5 0 4 0 7 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        let ticks = ticks(stat).unwrap();
        assert_eq!(ticks, Ticks { busy: 35, all: 1_040 });
        assert_eq!(Ticks { busy: 85, all: 1_140 }.since(ticks), Some(50.0));
        assert_eq!(ticks.since(ticks), None);
        assert_eq!(resident("Name:\tx\nVmRSS:\t   12345 kB\nVmData:\t1 kB\n"), Some(12_345 * 1_024));
        for other in ["", "cpu", "cpu  1 2 3", "cpu  a b c d e"] {
            assert_eq!(super::ticks(other), None, "{other:?}");
        }
        assert_eq!(resident("VmSize: 1 kB"), None);
    }
}
