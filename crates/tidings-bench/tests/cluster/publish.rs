//! A publisher that tries again until what it publishes is stored.

use crate::{LIMIT, PACE, Run, ledger::Entry, room};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tidings_testkit::{Random, request, within};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// Publishes one event after the other, until it is told to stop and has said so with its last.
pub(crate) async fn run(
    run: Arc<Run>,
    (room_at, who): (usize, usize),
    mut random: Random,
    stop: watch::Receiver<bool>,
) {
    let mut pace = interval(PACE);
    // What was late because nobody took it is not made up for.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 1.. {
        pace.tick().await;
        let last = *stop.borrow();
        let entry = Entry { who, number, at: run.now(), last };
        let what = format!("the event {number} of {who} in {}", room(room_at));
        let position = within(LIMIT, &what, store(&run, room_at, entry, &mut random)).await;
        run.stored[room_at][who].push(&position);
        run.tally.stored.add(1);
        if last {
            return;
        }
    }
}

/// Tries any node with the same key until one says where the event is stored.
async fn store(run: &Run, room_at: usize, entry: Entry, random: &mut Random) -> String {
    let command = json!({
        "type": "publish", "ref": 1, "room": room(room_at), "event": "n", "data": entry.to_json(),
        "key": format!("{}-{}", entry.who, entry.number),
    });
    let command = command.to_string();
    loop {
        let node = *random.pick(&run.nodes);
        let asked = request(node, "POST", "/realtime/send", &[], command.clone());
        let why = match timeout(ANSWER, asked).await {
            Err(_) => "no answer".to_owned(),
            Ok(Err(_)) => "broken".to_owned(),
            Ok(Ok(answer)) => {
                let answer = answer.json();
                if let Some(position) = answer["id"].as_str() {
                    return position.to_owned();
                }
                let code = answer["code"].as_str().unwrap_or_default().to_owned();
                assert!(matches!(&*code, "unavailable" | "unknown_outcome"), "{answer}");
                code
            }
        };
        run.tally.retried(why);
        sleep(Duration::from_millis(random.below(200))).await;
    }
}

/// Longer than a node waits for its broker.
const ANSWER: Duration = Duration::from_secs(10);
