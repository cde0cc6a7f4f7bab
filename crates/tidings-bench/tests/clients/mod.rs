//! Clients that take numbers, each once and in order, and come back when they are told to, or cut; and who publishes these.

use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tidings_testkit::{Client, Heard, Kind, Random, free_port, request, within};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{interval, sleep},
};

/// Nobody should have to wait longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

pub(crate) async fn status(address: SocketAddr, target: &str) -> Option<u16> {
    request(address, "GET", target, &[], "").await.ok().map(|answer| answer.status)
}

pub(crate) async fn command(address: SocketAddr, command: &Value) -> Option<Value> {
    let answer = request(address, "POST", "/realtime/send", &[], command.to_string()).await.ok()?;
    (answer.status == 200).then(|| answer.json())
}

/// What a browser shows of a page that came through the proxy.
pub(crate) fn own_origin(proxy: SocketAddr) -> String {
    format!("origin: http://{proxy}")
}

/// What all clients have come through.
#[derive(Default)]
pub(crate) struct Seen {
    /// Clients that have had a number.
    pub(crate) heard: AtomicUsize,
    pub(crate) told: AtomicUsize,
    /// With which statuses.
    pub(crate) refused: Mutex<Vec<u16>>,
    pub(crate) broken: AtomicUsize,
    pub(crate) caught_up: AtomicUsize,
}

/// One client: it takes numbers, each once and in order, up to the last, over as many connections as it takes.
pub(crate) async fn listen(
    kind: Kind,
    proxy: SocketAddr,
    mut random: Random,
    seen: Arc<Seen>,
    last: watch::Receiver<Option<u64>>,
) {
    let (mut cursor, mut next, mut failures) = (String::from("start"), 1, 0);
    let origin = own_origin(proxy);
    loop {
        match Client::connect_with(kind, proxy, "r", &cursor, &[&origin]).await {
            Err(refused) => {
                match refused.status {
                    0 => _ = seen.broken.fetch_add(1, SeqCst),
                    status => seen.refused.lock().expect("no panic").push(status),
                }
                // Full jitter, as the protocol wants it.
                sleep(Duration::from_millis(random.below(1_000 << failures.min(4)))).await;
                failures += 1;
            }
            Ok(mut client) => {
                failures = 0;
                let retry = take(&mut client, &mut next, &seen, &last).await;
                client.cursor().clone_into(&mut cursor);
                match retry {
                    Took::All => {
                        seen.caught_up.fetch_add(1, SeqCst);
                        return;
                    }
                    Took::Told([min, max]) => {
                        seen.told.fetch_add(1, SeqCst);
                        drop(client);
                        sleep(Duration::from_millis(min + random.below(max - min))).await;
                    }
                    Took::Cut => {
                        seen.broken.fetch_add(1, SeqCst);
                        drop(client);
                        sleep(Duration::from_millis(random.below(1_000))).await;
                    }
                }
            }
        }
    }
}

enum Took {
    All,
    /// To come back in this window of milliseconds.
    Told([u64; 2]),
    Cut,
}

async fn take(client: &mut Client, next: &mut u64, seen: &Seen, last: &watch::Receiver<Option<u64>>) -> Took {
    let mut last = last.clone();
    loop {
        if last.borrow().is_some_and(|last| *next > last) {
            return Took::All;
        }
        let heard = tokio::select! {
            heard = client.next() => heard,
            Ok(()) = last.changed() => continue,
        };
        match heard {
            Some(Heard::Event { data, .. }) => {
                assert_eq!(data, *next, "each once, and in order");
                seen.heard.fetch_add(usize::from(*next == 1), SeqCst);
                *next += 1;
            }
            Some(Heard::Other(close)) if close["type"] == "close" => {
                assert_eq!(close["code"], "drain");
                let bound = |at: usize| close["retry"][at].as_u64().expect("a bound");
                return Took::Told([bound(0), bound(1)]);
            }
            Some(Heard::Joined { .. }) => {}
            Some(other) => panic!("{other:?}: something is missing"),
            None => return Took::Cut,
        }
    }
}

/// Publishes numbers until it is told to stop, each again with its key until it is stored.
pub(crate) async fn publish(proxy: SocketAddr, stop: watch::Receiver<bool>) -> u64 {
    let mut pace = interval(Duration::from_millis(200));
    let mut number = 0;
    while !*stop.borrow() {
        pace.tick().await;
        number += 1;
        let publish = json!({
            "type": "publish", "ref": number, "room": "r", "event": "n", "data": number, "key": format!("k{number}")
        });
        within(LIMIT, "a publish", async {
            while command(proxy, &publish).await.is_none() {
                sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }
    number
}

/// The publisher ends, and then all clients when they have its last number, which this answers.
pub(crate) async fn hear_out(
    publisher: JoinHandle<u64>,
    tell_last: watch::Sender<Option<u64>>,
    mut listeners: JoinSet<()>,
) -> u64 {
    let published = publisher.await.expect("no panic");
    tell_last.send_replace(Some(published));
    within(LIMIT, "all to have everything", async {
        while let Some(ended) = listeners.join_next().await {
            ended.expect("nobody missed anything");
        }
    })
    .await;
    published
}
