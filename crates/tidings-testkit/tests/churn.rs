//! Clients that come and go at random, over and over, leave nothing behind.

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, time::Duration};
use tidings::{Gate, Hub, Identity, Limits, RoomName, gate};
use tidings_testkit::{
    Client, Kind, Random, Server,
    heap::{alone, held},
    soaks, within,
};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SOON: Duration = Duration::from_secs(20);
const ROUNDS: usize = 10;
/// At once. Two in each room, so that some are not empty while others are.
const CLIENTS: usize = 100;
/// What lists and maps that grow by doubling may be larger by, now and then.
const MARGIN: usize = 64 << 10;
/// What the timer that all connections share keeps once it has gone round, which takes a minute: 64 places of 24 bytes in
/// each of its 64 slots.
const TIMER: usize = 96 << 10;

/// Crowds of a round: one, or a hundred with `TIDINGS_SOAK` set.
fn crowds() -> usize {
    if soaks() { 100 } else { 1 }
}

/// Takes its time over every room: up to 30 ms.
struct Slow;

impl Gate for Slow {
    fn connect<'a>(&'a self, _: &'a http::request::Parts) -> gate::Decision<'a, Identity> {
        Box::pin(async { Ok(Identity::anonymous()) })
    }

    fn join<'a>(&'a self, _: &'a Identity, room: &'a RoomName) -> gate::Decision<'a> {
        let time = room.as_str().bytes().map(u64::from).sum::<u64>() % 30;
        Box::pin(async move {
            sleep(Duration::from_millis(time)).await;
            Ok(())
        })
    }
}

/// Many come, and each goes after a random time. Answers how many had been let in by then.
async fn crowd(kind: Kind, server: &Server, random: &mut Random) -> usize {
    let mut clients = JoinSet::new();
    for at in 0..CLIENTS {
        let (address, room) = (server.address(), format!("room-{}", at / 2));
        let stay = Duration::from_millis(random.below(60));
        clients.spawn(async move {
            let mut joined = false;
            let there = timeout(stay, async {
                let mut client = Client::connect(kind, address, &room, "now").await.expect("let in");
                joined = true;
                client.next().await
            });
            if let Ok(heard) = there.await {
                panic!("{heard:?} in a quiet room");
            }
            joined
        });
    }
    clients.join_all().await.into_iter().filter(|joined| *joined).count()
}

async fn until_gone(server: &Server) {
    server.until_sessions(0, SOON).await;
    within(SOON, "empty rooms are freed", async {
        while server.hub().stats().rooms > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(server.hub().stats().members, 0);
}

async fn come_and_go(kind: Kind) {
    let mut limits = Limits::default();
    limits.linger = Duration::ZERO;
    let server = Server::with_hub(Hub::builder().gate(Slow).limits(limits).build()).await;
    let mut random = Random::new();
    // What there is once, is there after the first crowd, and the broker remembers the rooms' names for a while.
    crowd(kind, &server, &mut random).await;
    until_gone(&server).await;
    let before = held();
    let mut joined = 0;
    for _ in 0..ROUNDS {
        for _ in 0..crowds() {
            joined += crowd(kind, &server, &mut random).await;
        }
        server.until_sessions(0, SOON).await;
        println!("{kind:?}: {} bytes more than before", held() as isize - before as isize);
    }
    until_gone(&server).await;
    // A task whose session is gone may not have ended just yet.
    within(SOON, "what they held is given back", async {
        while held() > before + MARGIN + if soaks() { TIMER } else { 0 } {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let clients = ROUNDS * crowds() * CLIENTS;
    println!(
        "{kind:?}: {joined} of {clients} were let in; {} bytes more than before",
        held() as isize - before as isize
    );
    assert!(joined > clients / 100 && joined < clients, "{joined} of {clients} were let in");
}

#[test]
fn websockets_that_come_and_go_leave_nothing_behind() {
    alone(come_and_go(Kind::Ws));
}

#[test]
fn event_streams_that_come_and_go_leave_nothing_behind() {
    alone(come_and_go(Kind::Sse));
}

#[test]
fn polls_that_come_and_go_leave_nothing_behind() {
    alone(come_and_go(Kind::Poll));
}
