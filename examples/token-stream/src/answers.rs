//! Answers under way: each is written by a task of its own, which goes on whoever reads it.

use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidings::{CallError, Event, Hub};
use tokio::{sync::oneshot, time::interval};

/// How the names of rooms with answers begin.
pub(crate) const ANSWER_ROOMS: &str = "answer:";
/// Answers that may be written at once.
const MOST_ANSWERS: usize = 64;
/// Characters of a question.
const LONGEST_QUESTION: usize = 500;
/// Bytes of a token, which is a word or a part of one.
const LONGEST_TOKEN: usize = 7;
/// What would come from a model.
const ANSWER: &str = include_str!("answer.txt");

/// The answers that are being written. Those that are complete live on in their rooms alone.
pub(crate) struct Answers {
    hub: Hub,
    /// Tokens of one answer in a second.
    rate: u32,
    begun: AtomicU64,
    secret: RandomState,
    /// What stops each, by the name of its room.
    writing: Mutex<HashMap<String, oneshot::Sender<()>>>,
}

#[derive(Deserialize)]
struct Ask {
    question: String,
}

/// Names the room of an answer: what `ask` returns and `cancel` takes.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    room: String,
}

/// The data of `question` and of `token`.
#[derive(Serialize)]
struct Words<'a> {
    text: &'a str,
}

/// The data of `done`.
#[derive(Serialize)]
struct Done {
    reason: Reason,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Reason {
    Complete,
    Cancelled,
}

impl Answers {
    pub(crate) fn new(hub: Hub, rate: u32) -> Arc<Self> {
        Arc::new(Self {
            hub,
            rate,
            begun: AtomicU64::new(0),
            secret: RandomState::new(),
            writing: Mutex::default(),
        })
    }

    /// Answers the calls `ask` and `cancel`. From here the hub and the answers hold each other, as long as the
    /// program runs.
    pub(crate) fn listen(self: &Arc<Self>) {
        let answers = Arc::clone(self);
        self.hub.on_call("ask", move |_, Ask { question }| {
            let answers = Arc::clone(&answers);
            async move { answers.ask(question.trim()) }
        });
        let answers = Arc::clone(self);
        self.hub.on_call("cancel", move |_, Place { room }| {
            let answers = Arc::clone(&answers);
            async move { answers.cancel(room) }
        });
    }

    fn ask(self: Arc<Self>, question: &str) -> Result<Place, CallError> {
        let length = question.chars().count();
        if !(1..=LONGEST_QUESTION).contains(&length) {
            let message = format!("a question has 1 to {LONGEST_QUESTION} characters, this one has {length}");
            return Err(CallError::new("bad_question", message));
        }
        let room = self.name();
        let (stop, stopped) = oneshot::channel();
        let mut writing = self.writing();
        if writing.len() >= MOST_ANSWERS {
            return Err(CallError::new("busy", "too many answers are being written; try again shortly"));
        }
        writing.insert(room.clone(), stop);
        drop(writing);
        let writer = Writer { answers: self, room: room.clone() };
        let question = question.to_owned();
        // No connection owns the task: it ends when the answer does.
        tokio::spawn(async move {
            if let Err(error) = writer.write(&question, stopped).await {
                eprintln!("{} breaks off: {error}", writer.room);
            }
        });
        Ok(Place { room })
    }

    /// Whoever can name the room may stop the answer.
    fn cancel(&self, room: String) -> Result<Place, CallError> {
        let Some(stop) = self.writing().remove(&room) else {
            return Err(CallError::new("unknown_answer", "no such answer is being written"));
        };
        // If the writer has just come to its end by itself, nobody takes it.
        let _ = stop.send(());
        Ok(Place { room })
    }

    /// A name that cannot be guessed, for knowing it is the right to read the answer: 128 bits of a keyed hash
    /// (SipHash, whose key the operating system has chosen) of a number that does not come twice.
    fn name(&self) -> String {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let half = |which: u8| self.secret.hash_one((number, which));
        format!("{ANSWER_ROOMS}{:016x}{:016x}", half(0), half(1))
    }

    fn writing(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<()>>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one who writes into a room; the answers forget it when it is dropped.
struct Writer {
    answers: Arc<Answers>,
    room: String,
}

impl Writer {
    async fn write(&self, question: &str, mut stopped: oneshot::Receiver<()>) -> anyhow::Result<()> {
        self.publish(Event::json("question", &Words { text: question })?).await?;
        let mut pace = interval(Duration::from_secs(1) / self.answers.rate);
        let mut tokens = tokens(ANSWER.trim_end());
        let reason = loop {
            tokio::select! {
                biased;
                _ = &mut stopped => break Reason::Cancelled,
                _ = pace.tick() => {}
            }
            let Some(text) = tokens.next() else { break Reason::Complete };
            self.publish(Event::json("token", &Words { text })?).await?;
        };
        self.publish(Event::json("done", &Done { reason })?.last()).await
    }

    async fn publish(&self, event: Event) -> anyhow::Result<()> {
        self.answers.hub.publish(self.room.as_str(), event).await?;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.answers.writing().remove(&self.room);
    }
}

/// Cuts a text as a model would give it: words with the space before them, long ones in parts.
fn tokens(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut after_space = true;
        let end = rest.char_indices().find(|&(at, char)| {
            let begins_word = char.is_whitespace() && !after_space;
            after_space = char.is_whitespace();
            begins_word || at >= LONGEST_TOKEN
        });
        let end = end.map_or(rest.len(), |(at, _)| at);
        let (token, after) = rest.split_at(end);
        rest = after;
        (!token.is_empty()).then_some(token)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tidings::{From, gate};

    fn answers(rate: u32) -> Arc<Answers> {
        Answers::new(Hub::builder().gate(gate::open()).build(), rate)
    }

    fn ask(answers: &Arc<Answers>) -> Result<Place, CallError> {
        Arc::clone(answers).ask("Why?")
    }

    /// The names and the data of all events of a room, to its end.
    async fn read(answers: &Answers, room: &str) -> Vec<(String, Value)> {
        let mut subscription = answers.hub.subscribe(room, From::Start).await.unwrap();
        let mut events = Vec::new();
        // Comes to its end after the last event.
        while let Some(received) = subscription.next().await {
            let event = received.into_message().expect("no gap").event().clone();
            events.push((event.name().to_string(), event.parse().unwrap()));
        }
        events
    }

    #[test]
    fn tokens_are_short_and_make_up_the_text() {
        for text in ["", " ", "a", "one two\n\nthree", "unbelievable", "ééééééééé   ü", ANSWER] {
            assert_eq!(tokens(text).collect::<String>(), text);
            assert!(tokens(text).all(|token| !token.is_empty() && token.len() <= LONGEST_TOKEN + 3));
        }
        assert_eq!(tokens("one  two\n\nthree").collect::<Vec<_>>(), ["one", "  two", "\n\nthree"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_written_though_nobody_reads_and_is_forgotten_then() {
        let answers = answers(50);
        let room = ask(&answers).unwrap().room;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(answers.writing().is_empty());
        let events = read(&answers, &room).await;
        assert_eq!(events[0], ("question".to_owned(), json!({"text": "Why?"})));
        assert_eq!(events[events.len() - 1], ("done".to_owned(), json!({"reason": "complete"})));
        let tokens = &events[1..events.len() - 1];
        let text: String = tokens.iter().map(|(_, data)| data["text"].as_str().unwrap()).collect();
        assert_eq!(text, ANSWER.trim_end());
        assert_eq!(answers.cancel(room).unwrap_err().code, "unknown_answer");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stopped_says_so_and_makes_room() {
        let answers = answers(50);
        let rooms: Vec<_> = (0..MOST_ANSWERS).map(|_| ask(&answers).unwrap().room).collect();
        assert_eq!(ask(&answers).unwrap_err().code, "busy");
        tokio::time::sleep(Duration::from_secs(1)).await;
        answers.cancel(rooms[0].clone()).unwrap();
        let events = read(&answers, &rooms[0]).await;
        assert_eq!(events[events.len() - 1], ("done".to_owned(), json!({"reason": "cancelled"})));
        assert!((45..=55).contains(&events.len()), "{}", events.len());
        assert_eq!(answers.cancel(rooms[0].clone()).unwrap_err().code, "unknown_answer");
        ask(&answers).unwrap();
    }

    #[test]
    fn questions_have_a_length() {
        let ask = |question: &str| answers(50).ask(question).map_err(|error| error.code);
        assert_eq!(ask("").unwrap_err(), "bad_question");
        assert_eq!(ask(&"é".repeat(LONGEST_QUESTION + 1)).unwrap_err(), "bad_question");
    }
}
