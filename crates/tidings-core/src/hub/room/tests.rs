//! The hand-over from publishers to readers, under every interleaving (`cargo xtask loom`).

use super::*;
use crate::{Event, broker::Slice, reader::Given};
use loom::{future::block_on, thread};
use std::{future::poll_fn, task::Poll};

fn at(offset: u64) -> crate::Position {
    crate::Position { epoch: 1, offset, tag: 0 }
}

fn live_room() -> Arc<Room> {
    let room = Room::new(RoomName::new("r").unwrap(), Rooms::default());
    let nothing = Slice::new(at(0), Vec::new(), at(0));
    assert_eq!(room.state.lock().replica.synced(&nothing, Instant::now()), Synced::Live);
    Arc::new(room)
}

fn message(offset: u64) -> Arc<Message> {
    let event = Event::json("e", &offset).unwrap();
    Arc::new(Message::new(RoomName::new("r").unwrap(), at(offset), at(offset - 1), event))
}

/// Reads messages as a session does, until it has had so many.
fn read(room: &Room, mailbox: &Mailbox, count: u64) {
    let mut reader =
        Reader::begin(crate::Kind::Log, From::After(at(0)), room.state.lock().replica.ring()).unwrap();
    let mut ready = std::collections::VecDeque::new();
    let mut had = 0;
    block_on(poll_fn(|cx| {
        loop {
            while let Some(Given::Message(message)) = reader.give() {
                had += 1;
                assert_eq!(message.position(), at(had));
            }
            if had == count {
                return Poll::Ready(());
            }
            if ready.pop_front().is_some() {
                if room.fill(&mut reader, 1_000) == Fill::Some {
                    ready.push_back(0);
                }
            } else if !mailbox.take(&mut ready, cx.waker()).some {
                return Poll::Pending;
            }
        }
    }));
}

#[test]
fn no_wake_up_is_lost_between_publishing_and_reading() {
    loom::model(|| {
        let room = live_room();
        let mailbox = Arc::new(Mailbox::new("test"));
        let _membership = room.enter(Arc::clone(&mailbox), 0);
        let publisher = thread::spawn({
            let room = Arc::clone(&room);
            move || {
                for offset in 1..=2 {
                    assert_eq!(room.ingest(message(offset), Instant::now()), Ingest::Appended);
                    assert!(!room.wake_or_queue(), "a small room is not queued");
                }
            }
        });
        read(&room, &mailbox, 2);
        publisher.join().unwrap();
    });
}

#[test]
fn a_large_room_that_is_queued_again_while_it_is_served_misses_nothing() {
    loom::model(|| {
        let room = live_room();
        let mailbox = Arc::new(Mailbox::new("test"));
        let _membership = room.enter(Arc::clone(&mailbox), 0);
        let others: Vec<_> = (0..INLINE).map(|_| room.enter(Arc::new(Mailbox::new("test")), 0)).collect();
        fn serve(room: &Room) {
            room.unqueue();
            assert_eq!(room.wake(0), None);
        }
        // Whoever queued the room sees to it that it is served: at the first message somebody else, while the
        // second is being published.
        assert_eq!(room.ingest(message(1), Instant::now()), Ingest::Appended);
        assert!(room.wake_or_queue(), "a large room is queued");
        let server = thread::spawn({
            let room = Arc::clone(&room);
            move || serve(&room)
        });
        let publisher = thread::spawn({
            let room = Arc::clone(&room);
            move || {
                assert_eq!(room.ingest(message(2), Instant::now()), Ingest::Appended);
                if room.wake_or_queue() {
                    serve(&room);
                }
            }
        });
        read(&room, &mailbox, 2);
        server.join().unwrap();
        publisher.join().unwrap();
        drop(others);
    });
}

#[test]
fn a_close_is_heard_whenever_it_comes() {
    loom::model(|| {
        let mailbox = Arc::new(Mailbox::new("test"));
        let closer = thread::spawn({
            let mailbox = Arc::clone(&mailbox);
            move || {
                mailbox.mark(0).into_iter().for_each(Waker::wake);
                mailbox.close(crate::CloseReason::Drain);
            }
        });
        let mut ready = std::collections::VecDeque::new();
        block_on(poll_fn(|cx| {
            loop {
                let told = mailbox.take(&mut ready, cx.waker());
                if told.close.is_some() {
                    return Poll::Ready(());
                }
                if !told.some {
                    return Poll::Pending;
                }
            }
        }));
        closer.join().unwrap();
    });
}
