//! Who is in a room, told by processes of the plain server that share a broker, some of which end, are killed or are cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tidings_testkit::{
    BrokerServer, Client, Kind, Program, ServerKind, Tap,
    presence::{Told, watch},
    soaks,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

async fn node(broker: &str) -> Program {
    Program::start(env!("CARGO_BIN_EXE_server"), &["--broker", broker, "--presence", "*"]).await
}

/// Users with a client each, who come back at another node when they have lost theirs, or do not.
struct Crowd {
    _people: JoinSet<()>,
    names: Vec<String>,
}

impl Crowd {
    async fn come(node: &Program, names: std::ops::Range<usize>, elsewhere: Option<SocketAddr>) -> Self {
        let names: Vec<_> = names.map(|n| format!("u{n:03}")).collect();
        let mut people = JoinSet::new();
        for name in &names {
            let header = format!("x-user: {name}");
            let address = node.address();
            let client = Client::connect_with(Kind::Ws, address, "r", "now", &[&header]).await;
            let mut client = client.expect("let in");
            people.spawn(async move {
                while client.next().await.is_some() {}
                let Some(address) = elsewhere else { return };
                let client = Client::connect_with(Kind::Ws, address, "r", "now", &[&header]).await;
                let mut client = client.expect("let in");
                while client.next().await.is_some() {}
            });
        }
        Self { _people: people, names }
    }
}

/// What a node tells when it is asked.
async fn told(address: SocketAddr) -> BTreeSet<String> {
    let told = Told::next(&mut watch(Kind::Ws, address, "r", "now").await).await;
    assert_eq!(told.count, told.users.len() as u64);
    told.users.into_iter().collect()
}

/// Waits until a node tells of these alone.
async fn until(limit: Duration, address: SocketAddr, want: &BTreeSet<String>) {
    let begun = Instant::now();
    loop {
        let there = told(address).await;
        if there == *want {
            return;
        }
        assert!(
            begun.elapsed() < limit,
            "too many: {:?}; missing: {:?}",
            there.difference(want),
            want.difference(&there)
        );
        sleep(Duration::from_millis(200)).await;
    }
}

fn union<'a>(crowds: impl IntoIterator<Item = &'a Crowd>) -> BTreeSet<String> {
    crowds.into_iter().flat_map(|crowd| crowd.names.iter().cloned()).collect()
}

/// How often each user has come and gone by what was told.
fn changes(values: &[Told]) -> BTreeMap<String, (usize, usize)> {
    let mut changes = BTreeMap::<_, (usize, usize)>::new();
    let mut before = BTreeSet::new();
    for value in values {
        let now: BTreeSet<_> = value.users.iter().cloned().collect();
        now.difference(&before).for_each(|user| changes.entry(user.clone()).or_default().0 += 1);
        before.difference(&now).for_each(|user| changes.entry(user.clone()).or_default().1 += 1);
        before = now;
    }
    changes
}

/// Of four nodes one ends, one is killed and one is cut off from the broker for a while.
async fn only_the_living_are_listed(kind: ServerKind) {
    let server = BrokerServer::start(kind);
    server.listens().await;
    let (broker, address) = (&*server.url(), server.address());
    let tap = Tap::to(address).await;
    let through_tap = broker.replace(&address.to_string(), &tap.address().to_string());
    let stays = node(broker).await;
    let mut ends = node(broker).await;
    let killed = node(broker).await;
    let cut = node(&through_tap).await;

    let mut watching = watch(Kind::Ws, stays.address(), "r", "now").await;
    let values = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&values);
    let watching = tokio::spawn(async move {
        loop {
            let told = Told::heard(watching.next().await);
            all.lock().expect("no panic").push(told);
        }
    });

    let elsewhere = Some(stays.address());
    let home = Crowd::come(&stays, 0..75, None).await;
    let cut_off = Crowd::come(&cut, 75..150, None).await;
    let moved =
        [Crowd::come(&ends, 150..190, elsewhere).await, Crowd::come(&killed, 190..230, elsewhere).await];
    let departed = [Crowd::come(&ends, 230..265, None).await, Crowd::come(&killed, 265..300, None).await];
    let everybody = union([&home, &cut_off].into_iter().chain(&moved).chain(&departed));
    assert_eq!(everybody.len(), 300);
    for node in [&stays, &ends, &killed, &cut] {
        until(LIMIT, node.address(), &everybody).await;
    }

    let begun = Instant::now();
    tap.freeze();
    tap.cut();
    ends.terminate();
    drop(killed);
    let stayed = union([&home].into_iter().chain(&moved));
    until(2 * LEASE, stays.address(), &stayed).await;
    println!("only those who can be heard were listed after {:?}", begun.elapsed());
    assert_eq!(ends.exit(LIMIT).await.code(), Some(0));
    let away = Duration::from_secs(if soaks() { 60 } else { 25 });
    sleep(away.saturating_sub(begun.elapsed())).await;

    let healed = Instant::now();
    tap.thaw();
    let living = union([&home, &cut_off].into_iter().chain(&moved));
    for node in [&stays, &cut] {
        until(2 * LEASE, node.address(), &living).await;
    }
    println!("all who live were listed everywhere after {:?}", healed.elapsed());
    sleep(LEASE + Duration::from_secs(5)).await;
    for node in [&stays, &cut] {
        assert_eq!(told(node.address()).await, living, "and so it stays");
    }
    assert!(!watching.is_finished(), "it was told all the time");
    watching.abort();
    let changes = changes(&values.lock().expect("no panic"));
    for (crowds, comings, leavings) in [
        (vec![&home], 1, 0),
        (moved.iter().collect(), 1, 0),
        (departed.iter().collect(), 1, 1),
        (vec![&cut_off], 2, 1),
    ] {
        for user in union(crowds) {
            assert_eq!(changes.get(&user), Some(&(comings, leavings)), "{user}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_living_are_listed_after_nodes_ended_were_killed_and_were_cut_off_from_nats() {
    only_the_living_are_listed(ServerKind::Nats).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_living_are_listed_after_nodes_ended_were_killed_and_were_cut_off_from_redis() {
    only_the_living_are_listed(ServerKind::Redis).await;
}

/// For how long a node that was killed is taken to be alive.
const LEASE: Duration = Duration::from_secs(15);
const LIMIT: Duration = Duration::from_secs(30);
