//! The close handshake, step by step.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn normal() -> CloseFrame {
    CloseFrame::new(CloseCode::Normal, "bye")
}

fn done(closing: &Closing) -> (bool, u16) {
    let outcome = closing.outcome().expect("done");
    assert_eq!(closing.phase(), Phase::Done);
    assert_eq!(closing.deadline(), None);
    (outcome.clean, outcome.code.into())
}

#[test]
fn our_close_answered_by_the_peer_is_clean() {
    let now = Instant::now();
    let mut closing = Closing::new();
    assert!(closing.close(now));
    assert_eq!(closing.phase(), Phase::Awaiting);
    assert_eq!(closing.receive(now + SECOND, &normal()), None, "the peer's answer is not answered");
    assert_eq!(closing.phase(), Phase::Flushing);
    closing.flushed();
    assert_eq!(closing.phase(), Phase::Lingering);
    assert_eq!(closing.outcome(), None);
    closing.ended();
    assert_eq!(done(&closing), (true, 1000));
}

#[test]
fn the_peers_close_is_echoed_with_its_code() {
    for code in [1000, 1001, 3000, 4999] {
        let mut closing = Closing::new();
        let frame = CloseFrame::new(code.into(), "reason");
        assert_eq!(closing.receive(Instant::now(), &frame), Some(CloseFrame::new(code.into(), "")));
        assert_eq!(closing.phase(), Phase::Flushing);
        closing.flushed();
        closing.ended();
        assert_eq!(done(&closing), (true, code));
    }
}

#[test]
fn an_empty_close_is_echoed_empty_and_reported_as_1005() {
    let mut closing = Closing::new();
    assert_eq!(closing.receive(Instant::now(), &CloseFrame::empty()), Some(CloseFrame::empty()));
    closing.flushed();
    closing.ended();
    assert_eq!(done(&closing), (true, 1005));
}

#[test]
fn a_peer_that_never_answers_is_dropped_at_the_deadline_and_unclean() {
    let now = Instant::now();
    let mut closing = Closing::new();
    assert!(closing.close(now));
    closing.flushed();
    assert_eq!(closing.deadline(), Some(now + CLOSE_TIMEOUT));
    closing.tick(now + CLOSE_TIMEOUT - Duration::from_nanos(1));
    assert_eq!(closing.phase(), Phase::Awaiting);
    closing.tick(now + CLOSE_TIMEOUT);
    assert_eq!(done(&closing), (false, 1006));
}

#[test]
fn a_peer_that_never_reads_our_echo_is_dropped_at_the_deadline_and_unclean() {
    let now = Instant::now();
    let mut closing = Closing::new();
    let _ = closing.receive(now, &normal());
    closing.tick(now + CLOSE_TIMEOUT);
    assert_eq!(done(&closing), (false, 1000));
}

#[test]
fn a_peer_that_keeps_the_stream_open_after_a_clean_close_is_dropped_at_the_deadline() {
    let now = Instant::now();
    let mut closing = Closing::new();
    assert!(closing.close(now));
    let _ = closing.receive(now + 4 * SECOND, &normal());
    closing.flushed();
    assert_eq!(closing.deadline(), Some(now + CLOSE_TIMEOUT), "no step moves the deadline");
    closing.tick(now + CLOSE_TIMEOUT);
    assert_eq!(done(&closing), (true, 1000));
}

#[test]
fn a_stream_that_ends_without_close_frames_is_abnormal() {
    let mut open = Closing::new();
    open.ended();
    assert_eq!(done(&open), (false, 1006));

    let mut awaiting = Closing::new();
    assert!(awaiting.close(Instant::now()));
    awaiting.ended();
    assert_eq!(done(&awaiting), (false, 1006));
}

#[test]
fn a_failed_connection_tells_why_and_is_unclean() {
    let now = Instant::now();
    let mut closing = Closing::new();
    let told = closing.fail(now, &ProtocolError::InvalidUtf8).expect("told");
    assert_eq!(told.code, CloseCode::Invalid);
    assert!(!told.reason.is_empty());
    assert_eq!(closing.fail(now, &ProtocolError::ReservedBits), None, "told once");
    assert_eq!(closing.receive(now, &normal()), None, "nothing counts after a failure");
    closing.flushed();
    assert_eq!(closing.phase(), Phase::Lingering);
    closing.ended();
    assert_eq!(done(&closing), (false, 1006));
}

#[test]
fn at_most_one_close_frame_is_sent() {
    let now = Instant::now();
    let mut closing = Closing::new();
    assert!(closing.close(now));
    assert!(!closing.close(now + SECOND));
    assert_eq!(closing.fail(now + SECOND, &ProtocolError::ReservedBits), None);
    assert_eq!(closing.receive(now + SECOND, &normal()), None);

    let mut closing = Closing::new();
    assert!(closing.receive(now, &normal()).is_some());
    assert!(!closing.close(now));
    assert_eq!(closing.receive(now, &normal()), None);
}

#[test]
fn time_and_writes_do_not_end_an_open_connection() {
    let mut closing = Closing::new();
    closing.flushed();
    closing.tick(Instant::now() + 1000 * SECOND);
    assert_eq!((closing.phase(), closing.deadline(), closing.outcome()), (Phase::Open, None, None));
}

#[test]
fn codes_that_only_describe_may_not_be_sent() {
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        assert!(may_be_sent(code), "{code}");
    }
    for code in [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        assert!(!may_be_sent(code), "{code}");
    }
}
