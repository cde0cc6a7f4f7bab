//! Instruments that do not exist: each value is a slow wave with noise on it.

use crate::board::{Board, now};
use serde::Serialize;
use std::{f64::consts::TAU, time::Duration};
use tokio::time::{MissedTickBehavior, interval};

/// The instruments; the page knows them by their rooms.
pub(crate) const ALL: [Instrument; 4] = [
    Instrument { room: "simulated/temperature", mean: 72.0, wave: 9.0, seconds: 17.0, noise: 0.6 },
    Instrument { room: "simulated/pressure", mean: 4.2, wave: 1.1, seconds: 11.0, noise: 0.08 },
    Instrument { room: "simulated/flow", mean: 31.0, wave: 12.0, seconds: 23.0, noise: 1.2 },
    Instrument { room: "simulated/vibration", mean: 2.5, wave: 0.6, seconds: 7.0, noise: 0.35 },
];

#[derive(Clone, Copy)]
pub(crate) struct Instrument {
    room: &'static str,
    mean: f64,
    /// The height of the wave, and how long one takes.
    wave: f64,
    seconds: f64,
    /// How far one update may be from the last one.
    noise: f64,
}

#[derive(Serialize)]
struct Value {
    /// Which update it is: who sees a number skipped was too slow for it.
    n: u64,
    at: u64,
    value: f64,
}

impl Instrument {
    /// Publishes `rate` values a second, `updates` of them.
    pub(crate) async fn publish(self, board: Board, rate: u32, updates: Option<u64>) -> anyhow::Result<()> {
        let mut pace = interval(Duration::from_secs(1) / rate);
        // After a pause of the machine nobody wants what would have been.
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut drift = 0.0;
        for n in 1..=updates.unwrap_or(u64::MAX) {
            pace.tick().await;
            let at = now();
            drift = 0.9 * drift + self.noise * rand::random_range(-1.0..=1.0);
            let phase = TAU * (at as f64 / 1_000.0) / self.seconds;
            board
                .publish(self.room, &Value { n, at, value: self.mean + self.wave * phase.sin() + drift })
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidings::{From, Hub, Rooms, gate};

    #[tokio::test(start_paused = true)]
    async fn who_comes_at_the_end_has_the_last_value_and_no_other() {
        let hub = Hub::builder().gate(gate::read_only()).rooms("*", Rooms::latest()).build();
        let board = Board::new(hub.clone());
        for instrument in ALL {
            instrument.publish(board.clone(), 100, Some(50)).await.unwrap();
            let mut room = hub.subscribe(instrument.room, From::Start).await.unwrap();
            let message = room.next().await.unwrap().into_message().expect("no gap");
            let value: serde_json::Value = message.event().parse().unwrap();
            assert_eq!(value["n"], 50);
            let value = value["value"].as_f64().unwrap();
            // The noise is a geometric series.
            let most = instrument.wave + instrument.noise * 10.0;
            assert!((value - instrument.mean).abs() <= most, "{value} in {}", instrument.room);
        }
        assert_eq!(board.published(), 50 * ALL.len() as u64);
    }
}
