//! A server and a client that say all kinds of things to each other over all kinds of streams.

use super::pipe::{Manners, Pipe, pipe};
use super::*;
use crate::extension::{OFFER, negotiate};
use futures_util::stream::{SplitSink, SplitStream};
use http::{HeaderMap, HeaderValue, header::SEC_WEBSOCKET_EXTENSIONS};
use proptest::prelude::*;
use tokio::{join, runtime, spawn, sync::oneshot, task::yield_now};

/// What one side does: says this, and then closes, if it is the one.
#[derive(Debug, Clone)]
struct Script {
    steps: Vec<Step>,
    closes: bool,
    /// Reads in one task and writes in another.
    two_tasks: bool,
}

#[derive(Debug, Clone)]
enum Step {
    /// Says something, and waits until it is written, or not.
    Say {
        said: Said,
        flushed: bool,
    },
    Rest,
}

/// A message, in few words, so that a failure can be read.
#[derive(Debug, Clone, Copy)]
enum Said {
    Text {
        size: usize,
        letter: char,
    },
    /// What does not compress.
    Noise {
        size: usize,
        seed: u32,
    },
    Bytes {
        size: usize,
        byte: u8,
    },
    Ping {
        size: usize,
        seed: u32,
    },
    Last,
}

impl Said {
    fn message(self) -> Message {
        match self {
            Self::Text { size, letter } => Message::text(letter.to_string().repeat(size / letter.len_utf8())),
            Self::Noise { size, seed } => Message::binary(noise(size, seed)),
            Self::Bytes { size, byte } => Message::binary(vec![byte; size]),
            Self::Ping { size, seed } => Message::Ping(noise(size, seed).into()),
            Self::Last => Message::Ping(LAST.into()),
        }
    }
}

fn said() -> impl Strategy<Value = Said> {
    let size = || {
        prop_oneof![
            6 => 0usize..300,
            3 => prop::sample::select(vec![0, 124, 125, 126, 127, 128, 4_095, 4_096, 4_097]),
            1 => prop::sample::select(vec![16_384, 65_535, 65_536, 70_000]),
        ]
    };
    prop_oneof![
        (size(), prop::sample::select(vec!['a', 'é', '€', '😀']))
            .prop_map(|(size, letter)| Said::Text { size, letter }),
        (size(), any::<u32>()).prop_map(|(size, seed)| Said::Noise { size, seed }),
        (size(), any::<u8>()).prop_map(|(size, byte)| Said::Bytes { size, byte }),
        (0usize..=125, any::<u32>()).prop_map(|(size, seed)| Said::Ping { size, seed }),
    ]
}

fn noise(size: usize, mut seed: u32) -> Vec<u8> {
    let step = move || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    };
    std::iter::repeat_with(step).take(size).collect()
}

fn script() -> impl Strategy<Value = Script> {
    let step = prop_oneof![
        4 => (said(), any::<bool>()).prop_map(|(said, flushed)| Step::Say { said, flushed }),
        1 => Just(Step::Rest),
    ];
    let steps = prop::collection::vec(step, 0..12);
    (steps, any::<bool>(), any::<bool>()).prop_map(|(steps, closes, two_tasks)| Script {
        steps,
        closes,
        two_tasks,
    })
}

fn manners() -> impl Strategy<Value = Manners> {
    let capacity = prop_oneof![1usize..20, 20usize..2_000, Just(200_000)];
    (capacity, 0u8..4, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |(capacity, hesitant, lazy, vectored, seed)| Manners { capacity, hesitant, lazy, vectored, seed },
    )
}

/// Compression: none, or with a window of so many bits for the server.
fn compression() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![Just(None), prop::sample::select(vec![9, 12, 15]).prop_map(Some)]
}

fn agreed(bits: u8) -> Agreed {
    let offer = format!("{}; server_max_window_bits={bits}", OFFER.to_str().unwrap());
    let offer = HeaderValue::try_from(offer).unwrap();
    negotiate(&HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, offer)])).unwrap()
}

fn sockets(manners: &Manners, compression: Option<u8>) -> [Socket<Pipe>; 2] {
    let (server, client) = pipe(manners);
    let sockets = [Socket::new(server, Role::Server), Socket::new(client, Role::Client)];
    match compression {
        Some(bits) => sockets.map(|socket| socket.deflate(agreed(bits))),
        None => sockets,
    }
}

/// What a side has said and heard in the end.
struct Side {
    said: Vec<Message>,
    heard: Vec<Message>,
    /// The answer to the last ping came before the close.
    answered: bool,
    socket: Socket<Pipe>,
}

async fn side(socket: Socket<Pipe>, script: Script) -> Side {
    let two_tasks = script.two_tasks;
    let (sink, stream) = socket.split();
    let (heard_last, last) = oneshot::channel();
    let (writing, reading) = (write(sink, script, last), read(stream, heard_last));
    let ((sink, said, answered), (stream, heard)) = if two_tasks {
        let (writing, reading) = (spawn(writing), spawn(reading));
        (writing.await.unwrap(), reading.await.unwrap())
    } else {
        join!(writing, reading)
    };
    Side { said, heard, answered, socket: stream.reunite(sink).unwrap() }
}

type Writer = SplitSink<Socket<Pipe>, Message>;

/// Says what the script says, as far as the other side lets it, and gives what was taken.
async fn write(
    mut sink: Writer,
    script: Script,
    last: oneshot::Receiver<()>,
) -> (Writer, Vec<Message>, bool) {
    let mut said = Vec::new();
    // The half of a split socket keeps one message to itself, which is lost if the socket closes.
    let mut kept = None;
    let last_word = Step::Say { said: Said::Last, flushed: true };
    for step in script.steps.into_iter().chain(script.closes.then_some(last_word)) {
        match step {
            Step::Say { said: saying, flushed } => {
                let message = saying.message();
                if !went(sink.feed(message.clone()).await) {
                    kept = None;
                    break;
                }
                said.extend(kept.replace(message));
                if flushed {
                    if !went(sink.flush().await) {
                        kept = None;
                        break;
                    }
                    said.extend(kept.take());
                }
            }
            Step::Rest => yield_now().await,
        }
    }
    let answered = script.closes && last.await.is_ok();
    if went(if script.closes { sink.close().await } else { sink.flush().await }) {
        said.extend(kept);
    }
    (sink, said, answered)
}

/// Whether it could still be said.
fn went(result: Result<(), SocketError>) -> bool {
    match result {
        Ok(()) => true,
        Err(SocketError::Closed) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// Reads to the end.
async fn read(
    mut stream: SplitStream<Socket<Pipe>>,
    heard_last: oneshot::Sender<()>,
) -> (SplitStream<Socket<Pipe>>, Vec<Message>) {
    let (mut heard, mut heard_last) = (Vec::new(), Some(heard_last));
    while let Some(message) = stream.next().await {
        let message = message.unwrap();
        if message == Message::Pong(LAST.into()) {
            let _ = heard_last.take().map(|heard_last| heard_last.send(()));
        }
        heard.push(message);
    }
    assert!(stream.next().await.is_none());
    (stream, heard)
}

/// The payload of the ping after which a side closes.
const LAST: &str = "the last word";

/// What `to` heard is what `from` said, each once and in order; and what was pinged was answered.
fn check(from: &Side, to: &Side, alone: bool) {
    let is_answer = |message: &&Message| matches!(message, Message::Pong(_) | Message::Close(_));
    let heard: Vec<_> = to.heard.iter().filter(|message| !is_answer(message)).collect();
    assert_eq!(heard.len(), from.said.len());
    assert!(heard.into_iter().eq(&from.said), "what was said is what was heard");

    // The latest ping is answered if the answers were not taken as fast, so some may be missing.
    let mut pings = from.said.iter().filter_map(|message| match message {
        Message::Ping(payload) => Some(payload),
        _ => None,
    });
    for message in &from.heard {
        let Message::Pong(pong) = message else { continue };
        assert!(pings.any(|ping| ping == pong), "an answer to nothing, or twice");
    }
    assert!(!alone || from.answered, "who is not closed on gets its answer");

    let Socket { rest, out, decoder, pong, .. } = &to.socket;
    assert_eq!((rest.capacity(), out.len(), decoder.held(), pong), (0, 0, 0, &None), "nothing is held");
    let closes = to.heard.iter().filter(|message| matches!(message, Message::Close(_))).count();
    assert_eq!(closes, 1);
    assert!(matches!(to.heard.last(), Some(Message::Close(_))));
    let outcome = to.socket.outcome().unwrap();
    assert_eq!((outcome.clean, outcome.code), (true, CloseCode::Normal));
}

/// Runs in time that passes when nobody has anything to do: who waits in vain is found out at once.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { timeout(Duration::from_secs(3_600), test).await.expect("nobody waits in vain") })
}

/// So that a large message does not take a call for each byte.
fn wide_enough(manners: Manners, scripts: &[&[Step]]) -> Manners {
    let size = |step: &Step| match step {
        Step::Say {
            said: Said::Text { size, .. } | Said::Noise { size, .. } | Said::Bytes { size, .. },
            ..
        } => *size,
        _ => 0,
    };
    let total: usize = scripts.iter().copied().flatten().map(size).sum();
    Manners { capacity: manners.capacity.max(total / 1_000), ..manners }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn everything_arrives_once_and_in_order_and_the_end_is_clean(
        manners in manners(),
        compression in compression(),
        scripts in [script(), script()].prop_map(|[mut server, client]| {
            server.closes |= !client.closes;
            [server, client]
        }),
    ) {
        let manners = wide_enough(manners, &[&scripts[0].steps, &scripts[1].steps]);
        let alone = [0, 1].map(|this: usize| scripts[this].closes && !scripts[1 - this].closes);
        let [server, client] = sockets(&manners, compression);
        let [server_script, client_script] = scripts;
        let (server, client) = run(async { join!(side(server, server_script), side(client, client_script)) });
        check(&server, &client, alone[0]);
        check(&client, &server, alone[1]);
    }

    #[test]
    fn a_server_that_does_one_thing_at_a_time_echoes_everything(
        manners in manners(),
        compression in compression(),
        mut script in script(),
    ) {
        script.closes = true;
        let manners = wide_enough(manners, &[&script.steps]);
        let [server, client] = sockets(&manners, compression);
        let echo = async move {
            let mut socket = server;
            while let Some(message) = socket.next().await {
                let message = message.unwrap();
                if matches!(message, Message::Text(_) | Message::Binary(_)) {
                    socket.send(message).await.unwrap();
                }
            }
            socket
        };
        let (server, client) = run(async { join!(echo, side(client, script)) });
        let is_data = |message: &&Message| matches!(message, Message::Text(_) | Message::Binary(_));
        prop_assert!(client.heard.iter().filter(is_data).eq(client.said.iter().filter(is_data)));
        prop_assert!(client.answered);
        for socket in [&server, &client.socket] {
            prop_assert!(socket.outcome().unwrap().clean);
            prop_assert_eq!((socket.rest.capacity(), socket.out.len(), socket.decoder.held()), (0, 0, 0));
        }
    }
}
