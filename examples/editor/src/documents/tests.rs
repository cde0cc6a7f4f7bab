use super::*;
use tidings::{Rooms, gate};
use yrs::{GetString, Text};

struct World {
    hub: Hub,
    documents: Arc<Documents>,
}

impl World {
    fn new(history: usize) -> Self {
        let rooms = Rooms::log(history, std::time::Duration::from_secs(60));
        let hub = Hub::builder().gate(gate::open()).rooms("*", rooms).build();
        Self { hub, documents: Arc::default() }
    }

    async fn open(&self, name: &str) -> Result<(Doc, Position), CallError> {
        let Opened { state, cursor } = self.documents.open(&self.hub, name).await?;
        let doc = Doc::new();
        merge(&doc, &BASE64_STANDARD.decode(state).unwrap());
        Ok((doc, cursor))
    }

    /// Publishes as a member does, who is asked for a code where it is not taken.
    async fn publish(&self, name: &str, update: &[u8]) -> Result<Position, &'static str> {
        let event = Event::json(UPDATE, &BASE64_STANDARD.encode(update)).unwrap();
        self.documents.check(name, &event).map_err(|denied| denied.code())?;
        Ok(self.hub.publish(format!("{UPDATE_ROOMS}{name}"), event).await.unwrap())
    }

    /// Waits until the server's state stands at a position.
    async fn reached(&self, name: &str, position: Position) -> Doc {
        loop {
            let (doc, cursor) = self.open(name).await.unwrap();
            if cursor == position {
                return doc;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn merge(doc: &Doc, update: &[u8]) {
    doc.transact_mut().apply_update(Update::decode_v1(update).unwrap()).unwrap();
}

fn text(doc: &Doc) -> String {
    doc.get_or_insert_text("text").get_string(&doc.transact())
}

fn insert(doc: &Doc, chunk: &str) -> Vec<u8> {
    let text = doc.get_or_insert_text("text");
    let mut transaction = doc.transact_mut();
    text.push(&mut transaction, chunk);
    transaction.encode_update_v1()
}

#[tokio::test]
async fn a_state_and_what_follows_its_cursor_are_the_document() {
    let world = World::new(100);
    let (writer, _) = world.open("d").await.unwrap();
    let first = world.publish("d", &insert(&writer, "one ")).await.unwrap();
    let late = world.reached("d", first).await;
    world.publish("d", &insert(&writer, "two ")).await.unwrap();
    let last = world.publish("d", &insert(&writer, "three")).await.unwrap();
    let mut room = world.hub.subscribe("document:d", From::After(first)).await.unwrap();
    while room.cursor() != last {
        let message = room.next().await.unwrap().into_message().expect("no gap");
        merge(&late, &BASE64_STANDARD.decode(message.event().parse::<String>().unwrap()).unwrap());
    }
    assert_eq!(text(&late), "one two three");
    assert_eq!(text(&world.reached("d", last).await), "one two three");
}

#[tokio::test]
async fn what_is_no_update_or_too_much_is_refused_by_a_code() {
    let world = World::new(100);
    assert_eq!(world.publish("d", &[0, 0]).await, Err("unknown_document"));
    let (writer, _) = world.open("d").await.unwrap();
    for bad in [&b""[..], b"\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"hello"] {
        assert_eq!(world.publish("d", bad).await, Err("bad_update"), "{bad:?}");
    }
    for bad in ["1", "\"?\"", "null", "[0,0]"] {
        let event = Event::from_json(UPDATE, bad).unwrap();
        assert_eq!(world.documents.check("d", &event).unwrap_err().code(), "bad_update", "{bad}");
    }
    let large = insert(&writer, &"x".repeat(LARGEST_UPDATE));
    assert_eq!(world.publish("d", &large).await, Err("too_large"));
    for bad in ["", "a b", "a/b", "é", &"x".repeat(LONGEST_NAME + 1)] {
        assert_eq!(world.open(bad).await.unwrap_err().code, "bad_document", "{bad}");
    }
}

#[tokio::test]
async fn a_full_document_takes_deletions_and_then_text_again() {
    let world = World::new(100);
    let (writer, _) = world.open("d").await.unwrap();
    let chunk = "x".repeat(LARGEST_UPDATE / 4);
    let last = loop {
        let update = insert(&writer, &chunk);
        match world.publish("d", &update).await {
            Ok(position) => drop(world.reached("d", position).await),
            Err(code) => break (code, update),
        }
    };
    assert_eq!(last.0, "document_full");
    let all = writer.get_or_insert_text("text");
    let kept = all.len(&writer.transact()) - u32::try_from(chunk.len()).unwrap();
    assert!((LARGEST_STATE - 2 * chunk.len()..=LARGEST_STATE).contains(&(kept as usize)), "{kept}");
    // Somebody else deletes half of what is there.
    let (other, _) = world.open("d").await.unwrap();
    let text_of_other = other.get_or_insert_text("text");
    let mut transaction = other.transact_mut();
    text_of_other.remove_range(&mut transaction, 0, kept / 2);
    let deletion = transaction.encode_update_v1();
    drop(transaction);
    let position = world.publish("d", &deletion).await.expect("taken");
    world.reached("d", position).await;
    let position = world.publish("d", &last.1).await.expect("there is space again");
    assert_eq!(text(&world.reached("d", position).await).len(), kept as usize / 2 + chunk.len());
}

#[tokio::test]
async fn there_are_only_so_many_documents_and_each_is_one() {
    let world = World::new(100);
    for number in 0..MOST_DOCUMENTS {
        world.open(&number.to_string()).await.unwrap();
    }
    assert_eq!(world.open("another").await.unwrap_err().code, "too_many_documents");
    let (writer, _) = world.open("0").await.unwrap();
    let position = world.publish("0", &insert(&writer, "zero")).await.unwrap();
    assert_eq!(text(&world.reached("0", position).await), "zero");
    assert_eq!(text(&world.open("1").await.unwrap().0), "");
}

#[tokio::test]
async fn where_the_server_has_missed_updates_it_asks_for_them() {
    let world = World::new(1);
    let (writer, _) = world.open("d").await.unwrap();
    let mut room = world.hub.subscribe("document:d", From::Now).await.unwrap();
    // On this thread nothing else runs in between: of these, the room keeps the last.
    let updates: Vec<_> = (0..3).map(|n| insert(&writer, &n.to_string())).collect();
    let mut position = None;
    for update in &updates {
        position = Some(world.publish("d", update).await.unwrap());
    }
    let lost = loop {
        match room.next().await.unwrap() {
            Received::Message(message) if message.event().name().as_str() == LOST => {
                break message.position();
            }
            _ => {}
        }
    };
    assert!(position.is_some_and(|position| position != lost));
    let doc = world.reached("d", lost).await;
    assert_eq!(text(&doc), "", "what builds on nothing is not kept");
    let all = writer.transact().encode_state_as_update_v1(&doc.transact().state_vector());
    let position = world.publish("d", &all).await.unwrap();
    assert_eq!(text(&world.reached("d", position).await), "012");
}

/// What can be decoded is applied, whatever it is, and the document goes on.
#[tokio::test]
async fn updates_that_were_tampered_with_do_no_harm() {
    let world = World::new(10_000);
    let (writer, _) = world.open("d").await.unwrap();
    let honest: Vec<_> = ["one", "two", "three"].iter().map(|word| insert(&writer, word)).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |most: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % most as u64).unwrap()
    };
    let mut taken = 0;
    for round in 0..1_000 {
        let mut update = honest[round % honest.len()].clone();
        for _ in 0..=below(3) {
            let at = below(update.len());
            update[at] = u8::try_from(below(256)).unwrap();
        }
        if let Ok(position) = world.publish("d", &update).await {
            taken += 1;
            if taken % 50 == 0 {
                world.reached("d", position).await;
            }
        }
    }
    assert!(taken > 50, "{taken}");
    for update in &honest {
        world.publish("d", update).await.unwrap();
    }
    let (other, _) = world.open("d").await.unwrap();
    let position = world.publish("d", &insert(&other, "the end")).await.unwrap();
    assert!(text(&world.reached("d", position).await).contains("the end"));
}
