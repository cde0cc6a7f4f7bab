use super::*;
use std::future::poll_fn;
use tokio::{task::JoinSet, time::sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Polls once.
async fn set(alarm: &mut Alarm, at: u64) {
    let polled = poll_fn(|cx| Poll::Ready(alarm.poll(cx, at))).await;
    assert!(polled.is_pending());
}

async fn rings(wheel: &Wheel, after: Duration) -> Duration {
    let (start, at) = (Instant::now(), wheel.now() + wheel.ticks(after));
    let mut alarm = wheel.alarm();
    poll_fn(|cx| alarm.poll(cx, at)).await;
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn alarms_ring_within_a_tick_of_their_time_near_and_far() {
    let wheel = Wheel::new(20 * SECOND);
    for after in [1, 2, 20, 63, 64, 65, 500] {
        let after = SECOND * after;
        let rang = rings(&wheel, after).await;
        assert!(rang <= after + SECOND && rang + SECOND >= after, "{after:?}: {rang:?}");
    }
    let short = Wheel::new(Duration::from_millis(160));
    let rang = rings(&short, Duration::from_millis(165)).await;
    assert!((160..=180).contains(&rang.as_millis()), "{rang:?}");
}

#[tokio::test(start_paused = true)]
async fn an_alarm_that_is_put_off_rings_when_it_was_put_off_to() {
    let wheel = Wheel::new(20 * SECOND);
    let (start, mut alarm) = (Instant::now(), wheel.alarm());
    let mut at = 20;
    let mut polls = 0;
    poll_fn(|cx| {
        polls += 1;
        if polls < 10 {
            at = wheel.now() + 20;
        }
        alarm.poll(cx, at)
    })
    .await;
    assert_eq!(polls, 10, "it is looked at when the first deadline is due, and no oftener");
    assert_eq!(start.elapsed().as_secs(), 180);
}

#[tokio::test(start_paused = true)]
async fn an_alarm_may_be_set_earlier() {
    let wheel = Wheel::new(20 * SECOND);
    let mut alarm = wheel.alarm();
    set(&mut alarm, 50).await;
    let start = Instant::now();
    poll_fn(|cx| alarm.poll(cx, 3)).await;
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_wheel_without_alarms_stands_still_and_tells_the_time_all_the_same() {
    let wheel = Wheel::new(20 * SECOND);
    rings(&wheel, 5 * SECOND).await;
    sleep(2 * SECOND).await;
    assert!(!wheel.shared.driven.load(SeqCst));
    sleep(100 * SECOND).await;
    assert_eq!(wheel.now(), 107);
    let rang = rings(&wheel, 5 * SECOND).await;
    assert!((4..=6).contains(&rang.as_secs()), "{rang:?}");
}

#[tokio::test(start_paused = true)]
async fn alarms_that_are_dropped_leave_nothing() {
    let wheel = Wheel::new(20 * SECOND);
    let mut alarms: Vec<_> = (0..1_000).map(|_| wheel.alarm()).collect();
    for (n, alarm) in alarms.iter_mut().enumerate() {
        set(alarm, 1 + n as u64).await;
    }
    assert_eq!(wheel.shared.entries.load(SeqCst), 1_000);
    sleep(30 * SECOND).await;
    assert!(wheel.shared.entries.load(SeqCst) < 1_000, "some have rung");
    drop(alarms);
    assert_eq!(wheel.shared.entries.load(SeqCst), 0);
    assert!(wheel.shared.slots.iter().all(|slot| slot.lock().is_empty() && slot.lock().capacity() <= KEPT));
}

#[test]
fn a_wheel_outlives_the_runtime_that_turned_it() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let first = runtime();
    let wheel = first.block_on(async { Wheel::new(20 * SECOND) });
    let mut left = wheel.alarm();
    first.block_on(set(&mut left, 40));
    drop(first);
    let short = Wheel::new(Duration::from_millis(16));
    runtime().block_on(async { rings(&short, Duration::from_millis(20)).await });
    assert!(!wheel.shared.driven.load(SeqCst), "whoever polls next sets it going again");
}

#[test]
fn an_alarm_of_another_runtime_rings_when_the_one_that_turned_the_wheel_has_ended() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let (first, second) = (runtime(), runtime());
    let wheel = first.block_on(async { Wheel::new(20 * SECOND) });
    let mut turning = wheel.alarm();
    first.block_on(set(&mut turning, 40));
    let mut alarm = wheel.alarm();
    second.block_on(set(&mut alarm, 40));
    drop(first);
    let rang = second.block_on(async {
        let start = Instant::now();
        // Something else looks at it in the end, so that the test has one.
        let _ = tokio::time::timeout(100 * SECOND, poll_fn(|cx| alarm.poll(cx, 40))).await;
        start.elapsed()
    });
    assert!(rang <= 41 * SECOND, "whoever looks again finds its place in the wheel, which turns: {rang:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_alarm_is_lost_when_many_are_set_and_put_off_at_once() {
    let wheel = Wheel::new(Duration::from_millis(1));
    let mut tasks = JoinSet::new();
    for task in 0..64u64 {
        let wheel = wheel.clone();
        tasks.spawn(async move {
            for round in 0..50 {
                let mut alarm = wheel.alarm();
                let mut later = 0;
                // Each is put off once or twice, the way traffic does it.
                let at = wheel.now() + 1 + (task + round) % 3;
                poll_fn(|cx| {
                    later += 1;
                    alarm.poll(cx, at + later.min(2))
                })
                .await;
            }
        });
    }
    let all = tokio::time::timeout(30 * SECOND, async { while tasks.join_next().await.is_some() {} }).await;
    assert!(all.is_ok(), "an alarm did not ring");
    assert_eq!(wheel.shared.entries.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn never_is_far_away() {
    let wheel = Wheel::new(20 * SECOND);
    for never in [Duration::MAX, Duration::from_secs(u64::MAX)] {
        let at = wheel.now() + wheel.ticks(never) + wheel.ticks(never);
        assert!(at > u64::MAX / 4);
        set(&mut wheel.alarm(), at).await;
    }
}
