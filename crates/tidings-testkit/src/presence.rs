//! What nodes must tell of who is in a room, whatever broker they share.

use crate::{Client, Heard, Kind, Server, within};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tidings::{
    Broker, Gate, Hub, HubBuilder, Identity, Presence, RoomName, Rooms,
    gate::{Decision, RequestHead},
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

/// A gate that takes anybody's word for who it is, in the header `x-user`.
#[derive(Debug)]
#[allow(clippy::exhaustive_structs, reason = "there is nothing to it")]
pub struct ByName;

impl Gate for ByName {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        let name = head.headers.get("x-user").and_then(|name| name.to_str().ok());
        let who = name.map_or_else(Identity::anonymous, Identity::user);
        Box::pin(std::future::ready(Ok(who)))
    }
}

/// A user with a client that is in a room and takes what comes, and comes back when it is told to. It goes when it is dropped.
#[derive(Debug)]
pub struct Person(JoinHandle<()>);

impl Person {
    /// Comes into a room.
    ///
    /// # Panics
    /// If it is not let in.
    pub async fn come(kind: Kind, address: SocketAddr, room: &str, user: &str) -> Self {
        let (name, room) = (format!("x-user: {user}"), room.to_owned());
        let enter = async move || Client::connect_with(kind, address, &room, "now", &[&name]).await;
        let mut client = enter().await.expect("let in");
        Self(tokio::spawn(async move {
            while let Some(pause) = told_to_come_back(client).await {
                sleep(pause).await;
                // One that is not let in again has gone, which the others are told.
                let Ok(back) = enter().await else { return };
                client = back;
            }
        }))
    }
}

/// Takes what comes, to the end. Answers how long to wait if the client is to come back.
async fn told_to_come_back(mut client: Client) -> Option<Duration> {
    let mut retry = None;
    while let Some(heard) = client.next().await {
        if let Heard::Other(notice) = heard
            && notice["type"] == "close"
        {
            retry = notice["retry"][0].as_u64().map(Duration::from_millis);
        }
    }
    retry
}

impl Drop for Person {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who is told to be in a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Told {
    /// How many.
    pub count: u64,
    /// Those that are listed.
    pub users: Vec<String>,
}

impl Told {
    /// These, and no others.
    pub fn of(users: &[&str]) -> Self {
        Self { count: users.len() as u64, users: users.iter().map(|user| (*user).to_owned()).collect() }
    }

    /// The next that a client is told.
    ///
    /// # Panics
    /// If the client hears anything else, or nothing for half a minute.
    pub async fn next(client: &mut Client) -> Self {
        Self::heard(within(LONG, "members", client.next()).await)
    }

    /// What a client was told.
    ///
    /// # Panics
    /// If it has heard anything else.
    pub fn heard(heard: Option<Heard>) -> Self {
        match heard {
            Some(Heard::Event { event, data, .. }) if event == "presence" => {
                let users = data["users"].as_array().expect("a list").iter();
                let users = users.map(|user| user.as_str().expect("a name").to_owned());
                Self { count: data["count"].as_u64().expect("a number"), users: users.collect() }
            }
            other => panic!("{other:?} came instead of members"),
        }
    }

    /// Waits until a client is told of these.
    ///
    /// # Panics
    /// If it is not within `limit`.
    pub async fn until(limit: Duration, client: &mut Client, users: &[&str]) {
        let want = Self::of(users);
        let told = async { while Self::next(client).await != want {} };
        within(limit, &format!("{users:?}"), told).await;
    }
}

/// A node on a broker that tells who is in each room.
pub async fn node(broker: Arc<dyn Broker>, grace: Duration) -> Server {
    Server::with_hub(builder(broker, grace).build()).await
}

fn builder(broker: Arc<dyn Broker>, grace: Duration) -> HubBuilder<Arc<dyn Gate>> {
    let rooms = Rooms::default().presence(Presence::new().grace(grace));
    Hub::builder().gate(ByName).broker(broker).rooms("*", rooms)
}

/// Watches who is in a room.
///
/// # Panics
/// If that is not told.
pub async fn watch(kind: Kind, address: SocketAddr, room: &str, from: &str) -> Client {
    Client::connect(kind, address, &format!("~presence:{room}"), from).await.expect("it is told")
}

/// On every node and transport the same members are told, at the same cursor, from which every other goes on.
///
/// # Panics
/// If not.
pub async fn members_are_told_alike_on_every_node_and_transport(brokers: [Arc<dyn Broker>; 2]) {
    let [one, two] = brokers;
    let nodes = [node(one, SHORT).await, node(two, SHORT).await];
    let addresses = [nodes[0].address(), nodes[1].address()];
    let everywhere = addresses.map(|address| Kind::ALL.map(|kind| (kind, address)));
    let mut watching = Vec::new();
    for (kind, address) in everywhere.into_iter().flatten() {
        watching.push(watch(kind, address, "r", "now").await);
    }
    let _ann = Person::come(Kind::Ws, addresses[0], "r", "ann").await;
    let bob = Person::come(Kind::Sse, addresses[1], "r", "bob").await;
    let _cid = Person::come(Kind::Poll, addresses[0], "r", "cid").await;
    let _anns = Person::come(Kind::Poll, addresses[1], "r", "ann").await;
    let all = ["ann", "bob", "cid"];
    for client in &mut watching {
        Told::until(SOON, client, &all).await;
    }
    // Ann's coming to the other node changes nothing but a position.
    sleep(2 * SHORT).await;
    let cursor = watch(Kind::Ws, addresses[0], "r", "now").await;
    let cursor = newest(cursor).await;
    let mut resumed = Vec::new();
    for (kind, address) in everywhere.into_iter().flatten() {
        assert_eq!(newest(watch(kind, address, "r", "now").await).await, cursor, "{kind:?}");
        let mut client = watch(kind, address, "r", &cursor).await;
        let nothing = timeout(SHORT / 4, client.next()).await;
        assert!(nothing.is_err(), "{kind:?}: {nothing:?}");
        resumed.push(client);
    }
    drop(bob);
    for client in watching.iter_mut().chain(&mut resumed) {
        Told::until(SOON, client, &["ann", "cid"]).await;
    }
    for (kind, address) in everywhere.into_iter().flatten() {
        let mut client = watch(kind, address, "r", &cursor).await;
        assert_eq!(Told::next(&mut client).await, Told::of(&["ann", "cid"]), "{kind:?}: the newest alone");
    }
    for node in &nodes {
        let members = node.hub().presence("r").await.expect("known");
        assert_eq!((members.count, members.users), (2, vec!["ann".to_owned(), "cid".to_owned()]));
    }
}

/// Where the broker has lost all that was said, which `lose` does, every node says again what it has to say.
///
/// # Panics
/// If not.
pub async fn members_are_told_again_where_their_words_were_lost(
    brokers: [Arc<dyn Broker>; 3],
    lose: impl AsyncFnOnce(),
) {
    let [one, two, late] = brokers;
    let (one, two) = (node(one, SHORT).await, node(two, SHORT).await);
    let _ann = Person::come(Kind::Ws, one.address(), "r", "ann").await;
    let _bob = Person::come(Kind::Sse, two.address(), "r", "bob").await;
    let all = ["ann", "bob"];
    let mut watching = watch(Kind::Ws, one.address(), "r", "now").await;
    Told::until(SOON, &mut watching, &all).await;
    lose().await;
    let late = node(late, SHORT).await;
    let members = async || late.hub().presence("r").await.map(|members| members.users).unwrap_or_default();
    let told = async {
        while members().await != all {
            sleep(SHORT / 10).await
        }
    };
    within(2 * LONG, "members on a node that knew nothing", told).await;
    for node in [&one, &two] {
        Told::until(LONG, &mut watch(Kind::Ws, node.address(), "r", "now").await, &all).await;
    }
}

/// The application is told of a user of a node that stopped without a word, though no other node knew of the room, and not of
/// one who came to another node.
///
/// # Panics
/// If not.
pub async fn users_of_a_node_that_was_killed_have_gone(brokers: [Arc<dyn Broker>; 2]) {
    let [killed, other] = brokers;
    let (gone, mut all_gone) = mpsc::unbounded_channel();
    let node = |broker| {
        let gone = gone.clone();
        let tell = move |user: String, room: RoomName| {
            gone.send((user, room.to_string())).expect("the test goes on");
            std::future::ready(())
        };
        Server::with_hub(builder(broker, SHORT).on_offline(tell).build())
    };
    // All that works for the node is on a runtime of its own, and ends with it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let killed = runtime.spawn(node(killed)).await.expect("no panic");
    let other = node(other).await;
    let mut people = Vec::new();
    for user in ["ann", "bob"] {
        let room = format!("~user:{user}");
        people.push(Person::come(Kind::Ws, killed.address(), &room, user).await);
        let there = async {
            while other.hub().presence(&*room).await.map_or(0, |members| members.count) == 0 {
                sleep(SHORT / 10).await;
            }
        };
        within(SOON, user, there).await;
    }
    // Where it has users a node writes down within a second or two, and nobody else can see that.
    sleep(3 * SHORT).await;
    runtime.shutdown_background();
    let _bob = Person::come(Kind::Sse, other.address(), "~user:bob", "bob").await;
    let ann = within(2 * LONG, "that ann has gone", all_gone.recv()).await;
    assert_eq!(ann, Some(("ann".to_owned(), "~user:ann".to_owned())));
    let more = timeout(5 * SHORT, all_gone.recv()).await;
    assert!(more.is_err(), "{more:?}");
    drop(killed);
}

/// The cursor after the value that there is.
async fn newest(mut client: Client) -> String {
    Told::next(&mut client).await;
    client.cursor().to_owned()
}

/// A user who goes from one transport and node to another is there all the time; one who polls is, too.
///
/// # Panics
/// If not.
pub async fn a_user_who_changes_transport_and_node_has_not_left(brokers: [Arc<dyn Broker>; 2]) {
    let [one, two] = brokers;
    let nodes = [node(one, 2 * SHORT).await, node(two, 2 * SHORT).await];
    let mut watching = watch(Kind::Ws, nodes[1].address(), "r", "now").await;
    let mut dan = None;
    for (kind, at) in [(Kind::Ws, 0), (Kind::Sse, 1), (Kind::Poll, 0), (Kind::Ws, 1), (Kind::Poll, 1)] {
        drop(dan.take());
        sleep(SHORT / 2).await;
        dan = Some(Person::come(kind, nodes[at].address(), "r", "dan").await);
        sleep(SHORT).await;
    }
    sleep(3 * SHORT).await;
    let gone = tokio::time::Instant::now();
    drop(dan);
    loop {
        let told = Told::next(&mut watching).await;
        if told == Told::of(&[]) {
            break;
        }
        assert_eq!(told, Told::of(&["dan"]));
    }
    assert!(gone.elapsed() >= SHORT, "{:?}", gone.elapsed());
}

/// The grace time of nodes that are tested in real time.
const SHORT: Duration = Duration::from_secs(1);
/// By when something is told that has no reason to wait.
const SOON: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(30);
