//! A network that passes bytes on in pieces changes nothing of what is in them.

use serde_json::json;
use std::time::Duration;
use tidings::Event;
use tidings_testkit::{Client, Heard, Kind, Server, Tap, mount, within};

const TEXT: &str = "a é ü ñ € 漢字 😀 🏳️‍🌈 \u{feff} \\ \" \u{2028}";

async fn characters_cut_between_pieces_arrive_whole(kind: Kind) {
    let server = Server::start().await;
    let tap = Tap::to(server.address()).await;
    for piece in [1, 2, 3, 7] {
        // The foreign WebSocket client takes a handshake in single bytes for an attack; frames it takes as they come.
        tap.split(64 << 10);
        let mut client = Client::connect(kind, tap.address(), "r%C3%A9", "now").await.expect("let in");
        tap.split(piece);
        for round in 0..3 {
            let event = Event::json("é", &(round, TEXT)).expect("JSON");
            server.hub().publish("ré", event).await.expect("published");
            match within(Duration::from_secs(10), "the event", client.next()).await {
                Some(Heard::Event { event, data, .. }) => {
                    assert_eq!((&*event, data), ("é", json!([round, TEXT])), "in pieces of {piece}");
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

mount!(characters_cut_between_pieces_arrive_whole);
