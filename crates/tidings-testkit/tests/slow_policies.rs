//! What becomes of a reader that reads more slowly than its room's history passes, by the policy of the room's class.

use serde_json::json;
use std::time::Duration;
use tidings::{Event, Hub, Limits, Rooms, Slow, gate};
use tidings_testkit::{Client, Heard, Kind, Log, Server, Tap, within};
use tracing::subscriber::DefaultGuard;

const SOON: Duration = Duration::from_secs(60);
/// Large enough that what the sockets hold is soon full.
const PAYLOAD: usize = 32 << 10;
/// So many are more than a connection takes.
const FILLED: u64 = 100;
/// The transports of which one can be slow: a poll takes what there is and is gone.
const KINDS: [Kind; 2] = [Kind::Ws, Kind::Sse];

/// A room with a slow reader behind a tap, a quiet room of another reader, and what the server says of them.
struct Scene {
    server: Server,
    tap: Tap,
    slow: Client,
    quiet: Client,
    log: Log,
    _logging: DefaultGuard,
}

impl Scene {
    async fn begin(kind: Kind, rooms: Rooms) -> Self {
        let (log, _logging) = Log::begin();
        let hub = Hub::builder().gate(gate::open()).rooms("r", rooms).build();
        let server = Server::with_hub(hub).await;
        let tap = Tap::narrow(server.address(), 16 << 10).await;
        let mut slow = Client::connect(kind, tap.address(), "r", "now").await.expect("let in");
        let quiet = Client::connect(kind, server.address(), "quiet", "now").await.expect("let in");
        server.hub().publish("r", event(1)).await.expect("published");
        assert_eq!(number(slow.next().await), Some(1), "it has everything");
        Self { server, tap, slow, quiet, log, _logging }
    }

    /// Publishes up to `last` while the reader takes nothing.
    async fn pass(&mut self, last: u64) {
        self.tap.freeze();
        for number in 2..=last {
            self.server.hub().publish("r", event(number)).await.expect("published");
            if number < FILLED || number % 50 == 0 {
                // The others go on. At first the reader is given what its connection takes: one who misses what is published
                // all at once has not been slow.
                self.server.publish("quiet", number).await;
                assert_eq!(self.quiet.number().await, number);
            }
        }
        self.tap.thaw();
    }

    /// What the reader hears before the event `last`, or before its connection ends: the numbers, and the reasons of gaps.
    async fn hear(&mut self, last: u64) -> (Vec<u64>, Vec<String>, Option<serde_json::Value>) {
        let (mut numbers, mut gaps) = (vec![1], Vec::new());
        while numbers.last() != Some(&last) {
            match within(SOON, "the rest", self.slow.next()).await {
                Some(Heard::Gap { reason, room, .. }) => {
                    assert_eq!(room, "r");
                    gaps.push(format!("{reason} after {}", numbers[numbers.len() - 1]));
                }
                Some(Heard::Other(told)) => return (numbers, gaps, Some(told)),
                heard => numbers.extend(Some(number(heard).expect("an event"))),
            }
        }
        (numbers, gaps, None)
    }

    fn assert_one_episode(&self) {
        assert_eq!(self.server.hub().stats().slow, 1, "slow episodes");
        let lines = self.log.lines(&["reads more slowly"]);
        assert_eq!(lines.len(), 1, "{lines:?}");
    }
}

fn event(number: u64) -> Event {
    Event::json("n", &(number, "x".repeat(PAYLOAD))).expect("JSON")
}

fn number(heard: Option<Heard>) -> Option<u64> {
    match heard {
        Some(Heard::Event { data, .. }) => data[0].as_u64(),
        _ => None,
    }
}

/// The first number that is not the one after the number before.
fn jump(numbers: &[u64]) -> Option<(u64, u64)> {
    numbers.windows(2).find(|two| two[1] != two[0] + 1).map(|two| (two[0], two[1]))
}

#[tokio::test]
async fn backfill_reads_on_in_the_history_where_that_is_longer_than_what_the_node_holds() {
    const LAST: u64 = 1_500;
    for kind in KINDS {
        // A node holds 1 024 of them.
        let rooms = Rooms::log(5_000, SOON).bytes(1 << 30);
        let mut scene = Scene::begin(kind, rooms).await;
        scene.pass(LAST).await;
        let (numbers, gaps, told) = scene.hear(LAST).await;
        assert_eq!((jump(&numbers), gaps, told), (None, vec![], None), "{kind:?}");
        scene.assert_one_episode();
    }
}

#[tokio::test]
async fn backfill_tells_of_a_gap_where_the_history_has_gone_too() {
    for kind in KINDS {
        let mut scene = Scene::begin(kind, Rooms::log(20, SOON)).await;
        scene.pass(300).await;
        let (numbers, gaps, _) = scene.hear(300).await;
        let (before, after) = jump(&numbers).expect("something is missing");
        assert_eq!(gaps, [format!("slow after {before}")], "{kind:?}");
        assert_eq!(after, 281, "{kind:?}: all that was left");
        scene.assert_one_episode();
    }
}

#[tokio::test]
async fn gap_tells_of_a_gap_at_once_however_long_the_history_is() {
    for kind in KINDS {
        let rooms = Rooms::log(5_000, SOON).bytes(1 << 30).slow(Slow::Gap);
        let mut scene = Scene::begin(kind, rooms).await;
        scene.pass(1_500).await;
        let (numbers, gaps, _) = scene.hear(1_500).await;
        let (before, after) = jump(&numbers).expect("something is missing");
        assert_eq!(gaps, [format!("slow after {before}")], "{kind:?}");
        assert_eq!(after, 1_500 - 1_024 + 1, "{kind:?}: all that the node held");
        scene.assert_one_episode();
    }
}

#[tokio::test]
async fn latest_goes_on_with_the_newest_event_and_tells_of_the_gap_before_it() {
    for kind in KINDS {
        let rooms = Rooms::log(20, SOON).slow(Slow::Latest);
        let mut scene = Scene::begin(kind, rooms).await;
        scene.pass(300).await;
        let (numbers, gaps, _) = scene.hear(300).await;
        let (before, after) = jump(&numbers).expect("something is missing");
        assert_eq!(gaps, [format!("slow after {before}")], "{kind:?}");
        assert_eq!(after, 300, "{kind:?}");
        // From there on it has everything.
        scene.server.hub().publish("r", event(301)).await.expect("published");
        assert_eq!(number(scene.slow.next().await), Some(301));
        scene.assert_one_episode();
    }
}

#[tokio::test]
async fn disconnect_ends_the_session_with_a_time_to_come_back_and_the_cursor_resumes() {
    for kind in KINDS {
        let rooms = Rooms::log(5_000, SOON).bytes(1 << 30).slow(Slow::Disconnect);
        let mut scene = Scene::begin(kind, rooms).await;
        scene.pass(1_500).await;
        let (numbers, gaps, told) = scene.hear(1_500).await;
        let told = told.expect("the word that the session ends");
        assert_eq!(told, json!({"type": "close", "code": "slow", "retry": [5_000, 15_000]}), "{kind:?}");
        assert_eq!((jump(&numbers), gaps), (None, vec![]), "{kind:?}");
        assert_eq!(within(SOON, "the end", scene.slow.next()).await, None);
        scene.server.until_sessions(1, SOON).await;
        scene.assert_one_episode();
        // Nothing is lost to one who comes back.
        let cursor = scene.slow.cursor().to_owned();
        let mut back = Client::connect(kind, scene.server.address(), "r", &cursor).await.expect("let in");
        let last = *numbers.last().expect("some");
        for expected in last + 1..=1_500 {
            assert_eq!(number(within(SOON, "the rest", back.next()).await), Some(expected), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_long_is_given_up_counted_and_told_of_once() {
    for kind in KINDS {
        let (log, _logging) = Log::begin();
        let mut limits = Limits::default();
        (limits.idle, limits.heartbeat) = (Duration::from_millis(400), Duration::from_millis(100));
        let rooms = Rooms::log(1_000, SOON);
        let hub = Hub::builder().gate(gate::open()).rooms("*", rooms).limits(limits).build();
        let server = Server::with_hub(hub).await;
        let tap = Tap::narrow(server.address(), 16 << 10).await;
        let client = Client::connect(kind, tap.address(), "r", "now").await.expect("let in");
        tap.freeze();
        for number in 0..100 {
            server.hub().publish("r", event(number)).await.expect("published");
        }
        server.until_sessions(0, SOON).await;
        assert_eq!(server.hub().stats().slow, 1, "{kind:?}");
        assert_eq!(log.lines(&["takes nothing"]).len(), 1, "{kind:?}");
        assert_eq!(server.hub().stats().members, 0);
        drop(client);
    }
}
