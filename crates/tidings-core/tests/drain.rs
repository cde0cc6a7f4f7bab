//! Ending all sessions: each once and in its turn, so that their clients do not all come elsewhere at once.

use std::{future::poll_fn, sync::Arc, time::Duration};
use tidings_core::{
    Batch, CloseReason, Crowded, Encoder, From, Hub, Identity, Json, NotReady, Notice, Session, Standing,
    Step, Transport, Turn, gate,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

struct Link(Turn);

impl Transport for Link {
    fn name(&self) -> &'static str {
        "link"
    }

    fn turn(&self) -> Turn {
        self.0
    }

    fn encoder(&self) -> &dyn Encoder {
        &Json
    }

    fn notice(&self, _: &Notice, _: Standing<'_>, _: &mut bytes::BytesMut) {}
}

fn hub() -> Hub {
    Hub::builder().gate(gate::open()).build()
}

fn attach(hub: &Hub, turn: Turn) -> Result<Session, Crowded> {
    hub.attach(Arc::new(Link(turn)), Identity::anonymous(), None)
}

/// Resolves when the session is told to end.
async fn told(mut session: Session) -> Instant {
    let mut batch = Batch::new(1 << 10);
    while poll_fn(|cx| session.poll_batch(cx, &mut batch)).await != Step::End(CloseReason::Drain) {}
    Instant::now()
}

/// When each of so many clients that go at once was told, after `begin`.
async fn times(clients: JoinSet<Instant>, begin: Instant) -> Vec<Duration> {
    let mut times: Vec<_> = clients.join_all().await.into_iter().map(|told| told - begin).collect();
    times.sort();
    times
}

#[tokio::test(start_paused = true)]
async fn streams_are_told_one_after_the_other_and_polls_at_once() {
    let hub = hub();
    let (mut streams, mut polls) = (JoinSet::new(), JoinSet::new());
    for _ in 0..3_000 {
        streams.spawn(told(attach(&hub, Turn::Next).unwrap()));
    }
    for _ in 0..100 {
        polls.spawn(told(attach(&hub, Turn::First).unwrap()));
    }
    let begin = Instant::now();
    assert_eq!(hub.drain(Duration::from_secs(20)).await, 0);
    assert!(begin.elapsed() < Duration::from_secs(16), "{:?}", begin.elapsed());
    let polls = times(polls, begin).await;
    assert!(polls[99] < Duration::from_millis(20), "{:?}", polls[99]);
    let streams = times(streams, begin).await;
    for second in 0..15 {
        let at = |told: &&Duration| told.as_millis() / 1_000 == second;
        let count = streams.iter().filter(at).count();
        assert!((180..=220).contains(&count), "{count} of 3000 in second {second} of 15");
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_streams_do_not_wait_for_each_other() {
    let hub = hub();
    let mut clients = JoinSet::new();
    for _ in 0..10 {
        clients.spawn(told(attach(&hub, Turn::Next).unwrap()));
    }
    let begin = Instant::now();
    assert_eq!(hub.drain(Duration::MAX).await, 0);
    assert!(begin.elapsed() < Duration::from_millis(300), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_let_in_and_the_application_reads_until_the_last_client_has_gone() {
    let hub = hub();
    let mut inside = hub.subscribe("r", From::Now).await.unwrap();
    let stays = attach(&hub, Turn::Next).unwrap();
    assert_eq!(hub.ready(), Ok(()));
    let drain = tokio::spawn({
        let hub = hub.clone();
        async move { hub.drain(Duration::from_secs(20)).await }
    });
    sleep(Duration::from_secs(1)).await;
    assert_eq!(hub.ready(), Err(NotReady::Draining));
    assert_eq!(attach(&hub, Turn::Next).unwrap_err(), Crowded::Draining);
    hub.publish("r", tidings_core::Event::json("n", &1).unwrap()).await.unwrap();
    assert!(inside.next().await.is_some(), "it goes on");
    assert!(timeout(Duration::from_secs(5), inside.next()).await.is_err(), "a client is still there");
    drop(stays);
    assert!(inside.next().await.is_none());
    assert_eq!(drain.await.unwrap(), 0);
    // Again, it has nothing to do.
    assert_eq!(hub.drain(Duration::from_secs(20)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn when_the_time_is_up_who_stays_is_counted() {
    let hub = hub();
    let _stay = [(); 2].map(|()| attach(&hub, Turn::Next).unwrap());
    let begin = Instant::now();
    assert_eq!(hub.drain(Duration::from_secs(8)).await, 2);
    assert_eq!(begin.elapsed(), Duration::from_secs(8));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_given_up_is_taken_up_by_the_next() {
    let hub = hub();
    let mut clients = JoinSet::new();
    for _ in 0..2_000 {
        clients.spawn(told(attach(&hub, Turn::Next).unwrap()));
    }
    let begin = Instant::now();
    // In the fifth part of the time in which they would be told.
    timeout(Duration::from_secs(1), hub.drain(Duration::from_secs(10))).await.unwrap_err();
    sleep(Duration::from_millis(1)).await; // for those told last to hear it
    let told = 2_000 - hub.stats().sessions["link"];
    assert!((360..=440).contains(&told), "{told}");
    sleep(Duration::from_secs(60)).await;
    assert_eq!(hub.stats().sessions["link"], 2_000 - told, "nobody tells them");
    let hurried = hub.drain(Duration::from_secs(4));
    assert_eq!(tokio::join!(hub.drain(Duration::from_secs(600)), hurried), (0, 0));
    let times = times(clients, begin).await;
    assert!(times[1_999] < Duration::from_secs(61 + 4), "{:?}", times[1_999]);
}
