//! What the operator is told, and that no secret of a client's is in it.
//!
//! Each test here keeps a log from its beginning: one that did not would switch lines off for the others.

use serde_json::json;
use std::{future::pending, time::Duration};
use tidings::{
    Gate, Hub, Identity, Limits,
    gate::{Decision, RequestHead},
};
use tidings_testkit::{Log, Server, request, within};

const SOON: Duration = Duration::from_secs(10);

/// Panics, or does not answer.
struct Unwell;

impl Gate for Unwell {
    fn connect<'a>(&'a self, head: &'a RequestHead) -> Decision<'a, Identity> {
        if head.headers.get("word").is_some_and(|word| word == "broken") {
            panic!("a gate's own fault");
        }
        Box::pin(pending())
    }
}

#[tokio::test]
async fn the_log_has_one_line_for_many_and_no_word_of_who_asked() {
    let (log, _logging) = Log::begin();
    let mut limits = Limits::default();
    limits.gate_wait = Duration::from_millis(300);
    let server = Server::with_hub(Hub::builder().gate(Unwell).limits(limits).build()).await;
    for word in ["broken", "stuck"] {
        for _ in 0..3 {
            let header = format!("word: {word}");
            let headers = [header.as_str(), "authorization: Bearer QxZ7secretQxZ7"];
            let target = "/realtime/poll?room=a&token=QxZ7secretQxZ7";
            let answer =
                within(SOON, "an answer", request(server.address(), "GET", target, &headers, "")).await;
            assert!(matches!(answer.expect("an answer").status, 500 | 503));
        }
    }
    let panics = log.lines(&["ERROR", "tidings", "has panicked", "asked=\"connect\""]);
    assert_eq!(panics.len(), 1, "{panics:?}");
    let late = log.lines(&["WARN", "tidings", "has not answered within 300ms", "asked=\"connect\""]);
    assert_eq!(late.len(), 1, "{late:?}");
    assert!(log.lines(&["QxZ7secret"]).is_empty());
    let answer = request(server.address(), "POST", "/realtime/send", &["word: stuck"], "{}").await;
    let answer = answer.expect("an answer");
    let code = answer.json()["code"].clone();
    assert_eq!((answer.status, code, answer.header("retry-after")), (503, json!("unavailable"), "2"));
}
