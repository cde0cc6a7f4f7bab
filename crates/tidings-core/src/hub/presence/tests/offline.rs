use super::*;

type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// A hub that takes note of who has gone.
fn listening(broker: &Arc<impl Broker>, heard: &Heard) -> Hub {
    let heard = Arc::clone(heard);
    let note = move |user: String, room: RoomName| {
        heard.lock().push((user, room.to_string()));
        ready(())
    };
    builder(broker).on_offline(note).build()
}

fn pairs(heard: &Heard) -> Vec<(String, String)> {
    let mut heard = heard.lock().clone();
    heard.sort();
    heard
}

fn pair(user: &str, room: &str) -> (String, String) {
    (user.to_owned(), room.to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_application_hears_once_that_a_user_has_gone_everywhere() {
    let broker = Arc::new(MemoryBroker::new());
    let heard = Heard::default();
    let (one, two) = (listening(&broker, &heard), listening(&broker, &heard));
    let ann = (session(&one, "ann", "~user:ann").await, session(&two, "ann", "~user:ann").await);
    until(&one, "~user:ann", &["ann"]).await;
    drop(ann.0);
    sleep(30 * SECOND).await;
    assert_eq!(pairs(&heard), [], "she is still there by the other node");
    drop(ann.1);
    sleep(4 * SECOND).await;
    assert_eq!(pairs(&heard), [], "she may come back");
    sleep(4 * SECOND).await;
    assert_eq!(pairs(&heard), [pair("ann", "~user:ann")]);
    let back = session(&one, "ann", "~user:ann").await;
    until(&two, "~user:ann", &["ann"]).await;
    drop(back);
    sleep(60 * SECOND).await;
    assert_eq!(pairs(&heard), [pair("ann", "~user:ann"), pair("ann", "~user:ann")]);
}

#[tokio::test(start_paused = true)]
async fn users_of_a_node_that_was_killed_have_gone_also_from_rooms_that_no_other_node_knows() {
    let broker = Arc::new(MemoryBroker::new());
    let heard = Heard::default();
    let link = Arc::new(Link::new(&broker));
    let others = [listening(&broker, &heard), listening(&broker, &heard)];
    let killed = listening(&link, &heard);
    let mut sessions = Vec::new();
    for hub in &others {
        sessions.push(session(hub, "eve", "a").await);
    }
    for n in 0..200 {
        sessions.push(session(&killed, &format!("{n:03}"), &format!("~user:{n:03}")).await);
    }
    sessions.push(session(&killed, "ann", "a").await);
    until(&others[0], "a", &["ann", "eve"]).await;
    until(&others[1], "~user:199", &["199"]).await;
    sleep(3 * SECOND).await;
    // Two come to another node in time.
    let moved = ["000", "001"];
    link.cut();
    drop((killed, sessions.split_off(others.len())));
    for user in moved {
        sessions.push(session(&others[0], user, &format!("~user:{user}")).await);
    }
    sleep(60 * SECOND).await;
    let mut gone: Vec<_> = (2..200).map(|n| pair(&format!("{n:03}"), &format!("~user:{n:03}"))).collect();
    gone.push(pair("ann", "a"));
    assert_eq!(pairs(&heard), gone);
    // And nothing is left to be done by one that comes later.
    let late = listening(&broker, &heard);
    let _eve = session(&late, "eve", "a").await;
    sleep(120 * SECOND).await;
    assert_eq!(pairs(&heard), gone);
}

#[tokio::test(start_paused = true)]
async fn users_of_all_nodes_that_were_killed_have_gone_when_one_starts_again() {
    let broker = Arc::new(MemoryBroker::new());
    let heard = Heard::default();
    let link = Arc::new(Link::new(&broker));
    let killed = listening(&link, &heard);
    let ann = session(&killed, "ann", "~user:ann").await;
    until(&killed, "~user:ann", &["ann"]).await;
    sleep(3 * SECOND).await;
    link.cut();
    drop((killed, ann));
    sleep(100 * SECOND).await;
    let next = listening(&broker, &heard);
    assert!(next.ready().is_ok());
    let _bob = session(&next, "bob", "a").await;
    sleep(60 * SECOND).await;
    assert_eq!(pairs(&heard), [pair("ann", "~user:ann")]);
}

#[tokio::test(start_paused = true)]
async fn what_a_node_has_written_down_is_known_for_as_long_as_it_lives() {
    let broker = Arc::new(MemoryBroker::new());
    let heard = Heard::default();
    let link = Arc::new(Link::new(&broker));
    let (other, killed) = (listening(&broker, &heard), listening(&link, &heard));
    let _eve = session(&other, "eve", "a").await;
    let ann = session(&killed, "ann", "~user:ann").await;
    until(&other, "~user:ann", &["ann"]).await;
    // Longer than the broker keeps what has once been written.
    sleep(30 * 3_600 * SECOND).await;
    link.cut();
    drop((killed, ann));
    sleep(60 * SECOND).await;
    assert_eq!(pairs(&heard), [pair("ann", "~user:ann")]);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cut_off_writes_its_rooms_down_again() {
    let broker = Arc::new(MemoryBroker::new());
    let heard = Heard::default();
    let link = Arc::new(Link::new(&broker));
    let (other, cut) = (listening(&broker, &heard), listening(&link, &heard));
    let _eve = session(&other, "eve", "a").await;
    let ann = session(&cut, "ann", "~user:ann").await;
    until(&other, "~user:ann", &["ann"]).await;
    sleep(3 * SECOND).await;
    link.cut();
    sleep(60 * SECOND).await;
    assert_eq!(pairs(&heard), [pair("ann", "~user:ann")], "as far as anybody knows");
    link.heal();
    until(&other, "~user:ann", &["ann"]).await;
    sleep(10 * SECOND).await;
    link.cut();
    drop((cut, ann));
    sleep(60 * SECOND).await;
    assert_eq!(pairs(&heard), [pair("ann", "~user:ann"), pair("ann", "~user:ann")]);
}

#[tokio::test(start_paused = true)]
async fn an_application_that_fails_for_one_user_is_told_of_the_next() {
    let heard = Heard::default();
    let note = {
        let heard = Arc::clone(&heard);
        move |user: String, room: RoomName| {
            let heard = Arc::clone(&heard);
            async move {
                assert_ne!(user, "eve", "it does not like her");
                if user == "hal" {
                    std::future::pending::<()>().await;
                }
                heard.lock().push((user, room.to_string()));
            }
        }
    };
    let hub = builder(&Arc::new(MemoryBroker::new())).on_offline(note).build();
    let sessions =
        [session(&hub, "eve", "a").await, session(&hub, "hal", "a").await, session(&hub, "ann", "a").await];
    until(&hub, "a", &["ann", "eve", "hal"]).await;
    drop(sessions);
    until(&hub, "a", &[]).await;
    sleep(60 * SECOND).await;
    assert_eq!(pairs(&heard), [pair("ann", "a")]);
    let _bob = session(&hub, "bob", "a").await;
    until(&hub, "a", &["bob"]).await;
}
