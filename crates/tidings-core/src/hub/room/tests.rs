//! The hand-over from publishers to readers, under every interleaving (`cargo xtask loom`).

use super::*;
use crate::{
    Content, Encoder, EncodingId, Event, Notice, Outlet, Transport, Tray, broker::Slice, reader::Given,
    transport::Standing,
};
use bytes::{Bytes, BytesMut};
use loom::{
    future::{AtomicWaker, block_on},
    thread,
};
use std::{collections::VecDeque, future::poll_fn, io, task::Poll};

/// Two bytes for each message: its offset, twice.
struct Pairs;

impl Encoder for Pairs {
    fn id(&self) -> EncodingId {
        EncodingId::new("pairs")
    }

    fn encode(&self, message: &Content, out: &mut BytesMut) {
        out.extend_from_slice(&[message.position().offset as u8; 2]);
    }
}

impl Transport for Pairs {
    fn name(&self) -> &'static str {
        "test"
    }

    fn encoder(&self) -> &dyn Encoder {
        &Pairs
    }

    fn notice(&self, _: &Notice, _: Standing<'_>, _: &mut BytesMut) {}
}

fn mailbox() -> Arc<Mailbox> {
    Arc::new(Mailbox::new(Arc::new(Pairs), None, 0))
}

fn at(offset: u64) -> crate::Position {
    crate::Position { epoch: 1, offset, tag: 0 }
}

fn live_room() -> Arc<Room> {
    let room = Room::new(RoomName::new("r").unwrap(), Arc::default(), None);
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

/// Two messages are published, by a thread of their own.
fn publish_two(room: &Arc<Room>) -> thread::JoinHandle<()> {
    let room = Arc::clone(room);
    thread::spawn(move || {
        for offset in 1..=2 {
            assert_eq!(room.ingest(message(offset), Instant::now()), Ingest::Appended);
            serve_if_queued(&room);
        }
    })
}

#[test]
fn no_wake_up_is_lost_between_publishing_and_reading() {
    loom::model(|| {
        let room = live_room();
        let mailbox = mailbox();
        let _membership = room.enter(Arc::clone(&mailbox), 0);
        let publisher = publish_two(&room);
        read(&room, &mailbox, 2);
        publisher.join().unwrap();
    });
}

/// What publishing and a flusher do.
fn serve_if_queued(room: &Room) {
    if room.queue() {
        serve(room);
    }
}

fn serve(room: &Room) {
    let mut before = Some(END);
    while let Some(place) = before {
        let Pass { members, next, .. } = room.members_before(place);
        room.serve(&members, 1_000);
        before = next;
    }
}

#[test]
fn a_room_that_is_queued_again_while_it_is_served_misses_nothing() {
    loom::model(|| {
        let room = live_room();
        let mailbox = mailbox();
        let _membership = room.enter(Arc::clone(&mailbox), 0);
        // Whoever queued the room sees to it that it is served: at the first message somebody else, while the
        // second is being published.
        assert_eq!(room.ingest(message(1), Instant::now()), Ingest::Appended);
        assert!(room.queue(), "it was not queued");
        let server = thread::spawn({
            let room = Arc::clone(&room);
            move || serve(&room)
        });
        let publisher = thread::spawn({
            let room = Arc::clone(&room);
            move || {
                assert_eq!(room.ingest(message(2), Instant::now()), Ingest::Appended);
                serve_if_queued(&room);
            }
        });
        read(&room, &mailbox, 2);
        server.join().unwrap();
        publisher.join().unwrap();
    });
}

/// A socket that takes so many bytes of each offer in turn, and then everything.
struct Pipe {
    state: Mutex<(Vec<u8>, VecDeque<usize>)>,
    /// Where the test ends.
    full: usize,
    done: AtomicWaker,
}

impl Pipe {
    fn new(full: usize, takes: &[usize]) -> Arc<Self> {
        let state = Mutex::new((Vec::new(), takes.iter().copied().collect()));
        Arc::new(Self { state, full, done: AtomicWaker::new() })
    }

    fn write(&self, bytes: &[u8]) {
        self.state.lock().0.extend_from_slice(bytes);
    }

    fn is_full(&self) -> bool {
        self.state.lock().0.len() >= self.full
    }
}

impl Outlet for Pipe {
    fn offer(&self, bytes: &Bytes, _: &mut Option<Waker>) -> io::Result<usize> {
        let mut state = self.state.lock();
        let taken = state.1.pop_front().unwrap_or(usize::MAX).min(bytes.len());
        state.0.extend_from_slice(&bytes[..taken]);
        if state.0.len() >= self.full {
            drop(state);
            self.done.wake();
        }
        Ok(taken)
    }
}

/// Owns a connection as a transport does: lends it when there is nothing to do, takes it back when woken.
fn own(room: &Room, mailbox: &Mailbox, pipe: &Arc<Pipe>) {
    let mut reader =
        Reader::begin(crate::Kind::Log, From::After(at(0)), room.state.lock().replica.ring()).unwrap();
    let mut ready = VecDeque::from([0]);
    let mut lent = false;
    block_on(poll_fn(|cx| {
        if std::mem::take(&mut lent) {
            let cut = mailbox.take_back(|serial, cursor| {
                assert_eq!(serial, room.serial);
                reader.move_to(cursor);
            });
            pipe.write(&cut);
        }
        loop {
            while let Some(Given::Message(message)) = reader.give() {
                pipe.write(message.form(&Pairs));
            }
            if ready.pop_front().is_some() {
                if room.fill(&mut reader, 1_000) == Fill::Some {
                    ready.push_back(0);
                }
            } else if !mailbox.take(&mut ready, cx.waker()).some {
                break;
            }
        }
        pipe.done.register_by_ref(cx.waker());
        if pipe.is_full() {
            return Poll::Ready(());
        }
        mailbox.lend(pipe, [(room.serial, reader.cursor())].into_iter());
        lent = true;
        if pipe.is_full() { Poll::Ready(()) } else { Poll::Pending }
    }));
}

/// One message is there, another is published by a second thread; a third wakes the owner for nothing.
fn lent_to_a_flusher(takes: &'static [usize]) {
    loom::model(move || {
        let room = live_room();
        let mailbox = mailbox();
        let _membership = room.enter(Arc::clone(&mailbox), 0);
        let pipe = Pipe::new(4, takes);
        let publisher = publish_two(&room);
        own(&room, &mailbox, &pipe);
        publisher.join().unwrap();
        assert_eq!(pipe.state.lock().0, [1, 1, 2, 2], "each byte once, in order");
    });
}

#[test]
fn a_lent_session_gets_each_message_once() {
    lent_to_a_flusher(&[]);
}

#[test]
fn a_message_that_is_cut_is_finished_by_the_owner_before_the_next() {
    lent_to_a_flusher(&[1]);
}

#[test]
fn a_socket_that_takes_nothing_is_left_to_the_owner() {
    lent_to_a_flusher(&[0]);
}

/// Owns a body as a transport does: takes what is left in the tray, and goes on by itself when it is called.
fn own_tray(room: &Room, mailbox: &Mailbox) {
    let tray = Arc::new(Tray::default());
    let mut reader =
        Reader::begin(crate::Kind::Log, From::After(at(0)), room.state.lock().replica.ring()).unwrap();
    let mut ready = VecDeque::from([0]);
    let (mut lent, mut had) = (false, Vec::new());
    block_on(poll_fn(|cx| {
        while had.len() < 4 {
            if lent {
                if mailbox.is_told(cx.waker()) {
                    let cut = mailbox.take_back(|_, cursor| reader.move_to(cursor));
                    assert!(cut.is_empty());
                    lent = false;
                }
                match tray.take(cx.waker()) {
                    Some(left) => had.extend_from_slice(&left),
                    None if lent => return Poll::Pending,
                    None => {}
                }
                if lent {
                    continue;
                }
            }
            while let Some(Given::Message(message)) = reader.give() {
                had.extend_from_slice(message.form(&Pairs));
            }
            if ready.pop_front().is_some() {
                if room.fill(&mut reader, 1_000) == Fill::Some {
                    ready.push_back(0);
                }
            } else if !mailbox.take(&mut ready, cx.waker()).some {
                mailbox.lend(&tray, [(room.serial, reader.cursor())].into_iter());
                lent = true;
            }
        }
        Poll::Ready(())
    }));
    assert_eq!(had, [1, 1, 2, 2], "each byte once, in order");
}

#[test]
fn what_is_left_in_a_tray_is_taken_once_and_in_order_with_what_is_not() {
    loom::model(|| {
        let room = live_room();
        let mailbox = mailbox();
        let _membership = room.enter(Arc::clone(&mailbox), 0);
        let publisher = publish_two(&room);
        own_tray(&room, &mailbox);
        publisher.join().unwrap();
    });
}

#[test]
fn two_flushers_at_once_write_each_message_once() {
    loom::model(|| {
        let room = live_room();
        let mailbox = mailbox();
        let _membership = room.enter(Arc::clone(&mailbox), 0);
        let pipe = Pipe::new(4, &[]);
        mailbox.lend(&pipe, [(room.serial, at(0))].into_iter());
        assert_eq!(room.ingest(message(1), Instant::now()), Ingest::Appended);
        let flusher = thread::spawn({
            let room = Arc::clone(&room);
            move || serve(&room)
        });
        assert_eq!(room.ingest(message(2), Instant::now()), Ingest::Appended);
        serve(&room);
        flusher.join().unwrap();
        assert_eq!(pipe.state.lock().0, [1, 1, 2, 2]);
    });
}

#[test]
fn a_close_is_heard_whenever_it_comes() {
    loom::model(|| {
        let mailbox = mailbox();
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
