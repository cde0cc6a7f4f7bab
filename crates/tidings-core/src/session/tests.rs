use super::*;
use crate::{Encoder, Event, Hub, Json, Outlet, Rooms, gate, transport::Standing};
use bytes::BytesMut;
use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::Waker,
    time::Duration,
};

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

/// An outlet that takes nothing, and how often it was asked to.
#[derive(Default)]
struct Stuck(AtomicUsize);

impl Outlet for Stuck {
    fn offer(&self, _: &Bytes, _: &mut Option<Waker>) -> io::Result<usize> {
        self.0.fetch_add(1, Relaxed);
        Ok(0)
    }
}

#[tokio::test]
async fn who_takes_nothing_is_asked_once_and_has_all_of_it_when_the_session_is_taken_back() {
    let hub = Hub::builder().gate(gate::open()).build();
    let mut session = hub.attach(Arc::new(Plain), Identity::anonymous(), None).unwrap();
    session.join(room("r"), From::Now).await.unwrap();
    let stuck = Arc::new(Stuck::default());
    for round in 1..=2 {
        while session.poll_batch(&mut Context::from_waker(Waker::noop()), &mut Batch::new(1_000)).is_ready() {
        }
        session.lend(&stuck);
        assert!(session.is_lent());
        for number in 0..5 {
            hub.publish("r", Event::json("e", &number).unwrap()).await.unwrap();
            // Whoever serves the room takes a turn.
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(stuck.0.load(Relaxed), round);
        assert!(session.poll_call(&mut Context::from_waker(Waker::noop())).is_ready());
        assert!(session.take_back().is_empty());
        assert_eq!(batch(&mut session).len(), 5);
    }
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
