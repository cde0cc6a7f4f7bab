//! The hot pieces, one by one: ingest, encoding, gathering, and the hub's own work for a delivery.

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::{
    future::poll_fn,
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Waker,
    time::{Duration, Instant},
};
use tidings_core::{
    Batch, Encoder, Event, From, Hub, Identity, Json, Limits, Message, Notice, Outlet, Position, RoomName,
    Rooms, Session, Standing, Step, Transport, broker::Slice, gate, ingest::Replica,
};
use tokio::runtime::Runtime;

const SIZES: [usize; 3] = [64, 256, 4_096];

fn event(size: usize) -> Event {
    Event::json("e", &"x".repeat(size)).expect("a string is JSON")
}

fn name(room: &str) -> RoomName {
    RoomName::new(room).expect("a name")
}

/// The `number`th message of a room.
fn message(number: u64, size: usize) -> Message {
    let at = |offset| Position { epoch: 1, offset, tag: 0 };
    Message::new(name("room"), at(number), at(number - 1), event(size))
}

/// Into a full ring: the oldest goes with each.
fn ingest(c: &mut Criterion) {
    let mut group = c.benchmark_group("ingest");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("a message", |b| {
        let mut number = 0;
        let mut replica = Replica::new(Rooms::log(1_000, Duration::from_secs(3_600)).retention());
        let start = Position { epoch: 1, offset: 0, tag: 0 };
        let now = tokio::time::Instant::now();
        replica.synced(&Slice::new(start, Vec::new(), start), now);
        b.iter_batched(
            || {
                number += BATCH;
                (number - BATCH + 1..=number).map(|number| Arc::new(message(number, 64))).collect::<Vec<_>>()
            },
            |messages| {
                for message in messages {
                    black_box(replica.ingest(message, now));
                }
            },
            BatchSize::SmallInput,
        );
    });
}

fn encode(c: &mut Criterion) {
    for size in SIZES {
        let mut group = c.benchmark_group(format!("encode {size} B"));
        let message = message(7, size);
        let mut out = BytesMut::with_capacity(2 * size + 1_024);
        group.bench_function("JSON", |b| {
            b.iter(|| {
                out.clear();
                Json.encode(black_box(&message), &mut out);
            });
        });
        let data = message.event().data().clone();
        let id = message.position();
        group.bench_function("event stream", |b| {
            b.iter(|| {
                out.clear();
                tidings_sse::encode::put_event(Some(&id), Some("e"), black_box(&data), &mut out);
            });
        });
        let mut json = BytesMut::new();
        Json.encode(&message, &mut json);
        let text = std::str::from_utf8(&json).expect("JSON is text").to_owned();
        group.bench_function("text frame around JSON", |b| {
            b.iter(|| {
                out.clear();
                tidings_ws::frame::put_text(black_box(&text), None, &mut out);
            });
        });
        group.bench_function("compressed frame", |b| {
            b.iter(|| {
                out.clear();
                let window = tidings_ws::deflate::Window::Large;
                let data = tidings_ws::Data::Text;
                tidings_ws::frame::put_compressed(data, black_box(text.as_bytes()), window, None, &mut out);
            });
        });
    }
}

/// JSON as it is, for sessions without a connection.
struct Plain;

impl Transport for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn encoder(&self) -> &dyn Encoder {
        &Json
    }

    fn notice(&self, _: &Notice, _: Standing<'_>, _: &mut BytesMut) {}
}

/// Takes everything and counts it.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Outlet for Counter {
    fn offer(&self, bytes: &Bytes, _: &mut Option<Waker>) -> io::Result<usize> {
        self.0.fetch_add(bytes.len(), Relaxed);
        Ok(bytes.len())
    }
}

fn hub(rooms: usize) -> Hub {
    let mut limits = Limits::default();
    limits.rooms = rooms;
    let kind = Rooms::log(100, Duration::from_secs(3_600));
    Hub::builder().gate(gate::open()).rooms("*", kind).limits(limits).build()
}

async fn session(hub: &Hub, rooms: impl Iterator<Item = String>) -> Session {
    let mut session = hub.attach(Arc::new(Plain), Identity::default(), None).expect("not crowded");
    for room in rooms {
        session.join(name(&room), From::Now).await.expect("an open gate");
    }
    take(&mut session).await;
    session
}

/// Takes everything that a session has.
async fn take(session: &mut Session) -> usize {
    let mut messages = 0;
    loop {
        let mut batch = Batch::new(64 << 10);
        let more = poll_fn(|cx| std::task::Poll::Ready(session.poll_batch(cx, &mut batch))).await;
        match more {
            std::task::Poll::Ready(Step::Some) => messages += batch.messages(),
            std::task::Poll::Ready(Step::End(reason)) => panic!("the session ends: {reason}"),
            std::task::Poll::Pending => return messages,
        }
    }
}

/// Sixteen messages for one session, by its own task.
fn gather(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("gather");
    group.throughput(Throughput::Elements(16));
    group.bench_function("sixteen messages for one session", |b| {
        b.iter_custom(|rounds| {
            runtime.block_on(async {
                let hub = hub(1);
                let mut session = session(&hub, ["room".to_owned()].into_iter()).await;
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    for _ in 0..16 {
                        hub.publish("room", event(64)).await.expect("memory takes it");
                    }
                    // The flusher marks what there is to read.
                    tokio::task::yield_now().await;
                    let begun = Instant::now();
                    let mut got = 0;
                    while got < 16 {
                        got += take(&mut session).await;
                    }
                    took += begun.elapsed();
                }
                took
            })
        });
    });
}

/// What the hub does for each delivery where it writes by itself, without the writing.
fn deliver(c: &mut Criterion) {
    let runtime = runtime();
    for members in [100, 1_000, 10_000] {
        let mut group = c.benchmark_group("deliver");
        group.throughput(Throughput::Elements(members as u64)).sample_size(20);
        group.bench_function(format!("one message to {members} sessions"), |b| {
            b.iter_custom(|rounds| {
                runtime.block_on(async {
                    let hub = hub(1);
                    let outlets: Vec<_> = (0..members).map(|_| Arc::new(Counter::default())).collect();
                    let mut sessions = Vec::with_capacity(members);
                    for outlet in &outlets {
                        let mut session = session(&hub, ["room".to_owned()].into_iter()).await;
                        session.lend(outlet);
                        sessions.push(session);
                    }
                    let last = outlets.first().expect("a member");
                    let begun = Instant::now();
                    for _ in 0..rounds {
                        let before = last.0.load(Relaxed);
                        hub.publish("room", event(64)).await.expect("memory takes it");
                        // Members are served piece by piece from the end on: who came first is in the last piece.
                        while last.0.load(Relaxed) == before {
                            tokio::task::yield_now().await;
                        }
                    }
                    let took = begun.elapsed();
                    assert!(sessions.iter_mut().all(|session| session.take_back().is_empty()));
                    took
                })
            });
        });
    }
}

/// One session in many rooms: what it costs to be in one more, and to hear of each.
fn rooms(c: &mut Criterion) {
    let runtime = runtime();
    for count in [100, 1_000, 10_000] {
        let names = || (0..count).map(|n| format!("room-{n}"));
        let mut group = c.benchmark_group("one session in many rooms");
        group.throughput(Throughput::Elements(count as u64)).sample_size(10);
        group.bench_function(format!("joins {count}"), |b| {
            b.iter_custom(|rounds| {
                runtime.block_on(async {
                    let mut took = Duration::ZERO;
                    for _ in 0..rounds {
                        let hub = hub(count);
                        let begun = Instant::now();
                        let session = session(&hub, names()).await;
                        took += begun.elapsed();
                        drop(session);
                    }
                    took
                })
            });
        });
        group.bench_function(format!("hears a message of each of {count}"), |b| {
            b.iter_custom(|rounds| {
                runtime.block_on(async {
                    let hub = hub(count);
                    let mut session = session(&hub, names()).await;
                    let begun = Instant::now();
                    for _ in 0..rounds {
                        for room in names() {
                            hub.publish(room.as_str(), event(64)).await.expect("memory takes it");
                        }
                        let mut got = 0;
                        while got < count {
                            tokio::task::yield_now().await;
                            got += take(&mut session).await;
                        }
                    }
                    begun.elapsed()
                })
            });
        });
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Messages of one measurement of ingest.
const BATCH: u64 = 100;

criterion_group!(pieces, ingest, encode, gather, deliver, rooms);
criterion_main!(pieces);
