//! Nodes that the broker is away from.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_away_for_long_delays_what_is_told_and_loses_nothing() {
    let broker = Arc::new(MemoryBroker::new());
    let link = Arc::new(Link::new(&broker));
    let (one, two) = (hub_on(&broker), hub_on(&link));
    let _ann = session(&two, "ann", "a").await;
    until(&one, "a", &["ann"]).await;
    link.cut();
    let bob = session(&two, "bob", "a").await;
    let _cid = session(&two, "cid", "a").await;
    sleep(SECOND).await;
    drop(bob);
    sleep(9 * SECOND).await;
    link.heal();
    assert!(until(&one, "a", &["ann", "cid"]).await < 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn rooms_that_are_asked_for_while_the_broker_is_away_are_not_kept() {
    let broker = Arc::new(MemoryBroker::new());
    let link = Arc::new(Link::new(&broker));
    // One hub that has never reached it, and one that has.
    link.cut();
    let never = hub_on(&link);
    link.heal();
    let once = hub_on(&link);
    let _ann = session(&once, "ann", "a").await;
    until(&once, "a", &["ann"]).await;
    link.cut();
    let tended = |hub: &Hub| {
        let rooms = hub.node.presences.as_ref().expect("some are told").rooms.lock();
        (rooms.by_name.len(), rooms.dirty.len())
    };
    for n in 0..40 {
        for hub in [&never, &once] {
            let asked = hub.presence(format!("a{}", n % 20)).await;
            assert!(matches!(asked, Err(JoinError::Unavailable)), "{asked:?}");
        }
    }
    sleep(10 * SECOND).await;
    assert_eq!(tended(&never), (0, 0));
    let (rooms, _) = tended(&once);
    assert!(rooms <= 21, "each is entered once: {rooms}");
    link.heal();
    sleep(60 * SECOND).await;
    assert_eq!((tended(&never), tended(&once)), ((0, 0), (1, 0)));
    until(&once, "a", &["ann"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_comes_back_and_has_buried_nobody() {
    let broker = Arc::new(MemoryBroker::new());
    let link = Arc::new(Link::new(&broker));
    let (one, two) = (hub_on(&broker), hub_on(&link));
    let (_ann, _bob) = (session(&one, "ann", "a").await, session(&two, "bob", "a").await);
    until(&one, "a", &["ann", "bob"]).await;
    until(&two, "a", &["ann", "bob"]).await;
    let mut watching = watch(&one, "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann", "bob"]));
    link.cut();
    let _cid = session(&one, "cid", "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann", "bob", "cid"]));
    sleep(60 * SECOND).await;
    assert_eq!(told(&mut watching).await, names(&["ann", "cid"]));
    link.heal();
    assert_eq!(told(&mut watching).await, names(&["ann", "bob", "cid"]));
    assert!(until(&two, "a", &["ann", "bob", "cid"]).await < 10 * SECOND);
    let all = told_within(60 * SECOND, &mut watching).await;
    assert!(all.iter().all(|members| *members == names(&["ann", "bob", "cid"])), "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_back_is_not_buried_again_before_its_next_sign_of_life() {
    let broker = Arc::new(MemoryBroker::new());
    let link = Arc::new(Link::new(&broker));
    let (one, two) = (hub_on(&broker), hub_on(&link));
    let (_ann, _bob) = (session(&one, "ann", "a").await, session(&two, "bob", "a").await);
    until(&one, "a", &["ann", "bob"]).await;
    let mut watching = watch(&one, "a").await;
    assert_eq!(told(&mut watching).await, names(&["ann", "bob"]));
    for n in 0..10 {
        // Signs get lost, and words do not.
        link.cut();
        sleep(30 * SECOND + n * SECOND / 2).await;
        assert_eq!(told(&mut watching).await, names(&["ann"]));
        link.lose(Some(RoomName::nodes()));
        link.heal();
        assert_eq!(told(&mut watching).await, names(&["ann", "bob"]));
        sleep(9 * SECOND).await;
        link.lose(None);
        nothing_within(30 * SECOND, &mut watching).await;
    }
}
