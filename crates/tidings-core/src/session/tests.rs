use super::*;
use crate::{Encoder, Event, Hub, Json, Rooms, gate, transport::Standing};
use bytes::BytesMut;
use std::{task::Waker, time::Duration};

/// Messages as JSON, and of the notices the name.
pub(crate) struct Plain;

impl Transport for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn encoder(&self) -> &dyn Encoder {
        &Json
    }

    fn notice(&self, notice: &Notice, _: Standing<'_>, out: &mut BytesMut) {
        out.extend_from_slice(format!("{notice:?}").as_bytes());
    }
}

fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("a name")
}

/// What the session has now, up to a small batch, as text.
fn batch(session: &mut Session) -> Vec<String> {
    let mut batch = Batch::new(1_000);
    match session.poll_batch(&mut Context::from_waker(Waker::noop()), &mut batch) {
        Poll::Ready(Step::Some) => {}
        other => panic!("{other:?}"),
    }
    batch.parts().drain(..).map(|part| String::from_utf8_lossy(&part).into_owned()).collect()
}

#[tokio::test]
async fn a_room_of_which_a_client_is_far_behind_does_not_hold_up_another() {
    let rooms = Rooms::log(100_000, Duration::from_secs(600));
    let hub = Hub::builder().gate(gate::open()).rooms("*", rooms).build();
    let mut session = hub.attach(Arc::new(Plain), Identity::anonymous(), None).unwrap();
    for name in ["busy", "quiet"] {
        session.join(room(name), From::Now).await.unwrap();
    }
    let mut behind = 0;
    for _ in 0..1_000 {
        hub.publish("busy", Event::json("e", &"x".repeat(100)).unwrap()).await.unwrap();
        behind += 1;
    }
    assert!(batch(&mut session).iter().any(|part| part.contains("Joined")));
    hub.publish("quiet", Event::json("rare", &1).unwrap()).await.unwrap();
    // Its hearing of it takes a turn of whoever serves the room.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    loop {
        let parts = batch(&mut session);
        behind -= parts.iter().filter(|part| part.contains("xxx")).count();
        if parts.iter().any(|part| part.contains("rare")) {
            break;
        }
    }
    assert!(behind > 800, "{behind} messages of the busy room were left when the other had its turn");
}

/// Each connection has one of each, and a server many that are idle. What is needed rarely is boxed.
#[cfg(target_pointer_width = "64")]
#[test]
fn an_idle_session_is_small() {
    let sizes = [
        ("the session", size_of::<Session>(), 120),
        ("what it has lent and is told", size_of::<Mailbox>(), 152),
        ("its place in a room", Subscriptions::SLOT, 56),
        ("its alarm", size_of::<crate::Alarm>(), 40),
    ];
    for (what, size, most) in sizes {
        assert!(size <= most, "{what} has {size} bytes");
    }
}
