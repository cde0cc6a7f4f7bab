//! What every broker between nodes must show, against a real server: the suite that `tidings-redis` and `tidings-nats` mount
//! with [`broker_suite!`](crate::broker_suite), and what it is made of.

pub mod contract;
pub mod faults;
pub mod hubs;
pub mod presence;
pub mod recreated;
mod server;
mod sink;
pub mod words;

pub use server::{BrokerServer, ServerKind, free_port};
pub use sink::Notes;

use std::{ops::Deref, sync::Arc, time::Duration};
use tidings::{
    Event, Hub, Position, RoomName, Rooms,
    broker::{Broker, Publish, Slice},
    gate,
    nats::NatsBroker,
    redis::RedisBroker,
};

/// A node's broker.
#[derive(Debug, Clone)]
#[allow(clippy::exhaustive_enums, reason = "a test for each names them all")]
pub enum NodeBroker {
    /// On Redis.
    Redis(Arc<RedisBroker>),
    /// On NATS JetStream.
    Nats(Arc<NatsBroker>),
}

impl NodeBroker {
    /// For a hub.
    pub fn shared(&self) -> Arc<dyn Broker> {
        match self {
            Self::Redis(broker) => Arc::clone(broker) as _,
            Self::Nats(broker) => Arc::clone(broker) as _,
        }
    }

    /// Resolves when it can be used.
    pub async fn ready(&self) {
        match self {
            Self::Redis(broker) => broker.ready().await,
            Self::Nats(broker) => broker.ready().await,
        }
    }

    /// What is wrong, if anything is.
    pub fn fault(&self) -> Option<String> {
        match self {
            Self::Redis(broker) => broker.fault(),
            Self::Nats(broker) => broker.fault(),
        }
    }

    /// How many rooms are watched.
    pub fn watched(&self) -> usize {
        match self {
            Self::Redis(broker) => broker.watched(),
            Self::Nats(broker) => broker.watched(),
        }
    }
}

impl Deref for NodeBroker {
    type Target = dyn Broker;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Redis(broker) => &**broker,
            Self::Nats(broker) => &**broker,
        }
    }
}

/// Waits until a broker can be used.
///
/// # Panics
/// If it cannot within 20 seconds.
pub async fn until_ready(broker: &NodeBroker) {
    if tokio::time::timeout(Duration::from_secs(20), broker.ready()).await.is_err() {
        panic!("the broker is not ready: {:?}", broker.fault());
    }
}

/// A node's hub on a broker, open to all, whose rooms are all of one class.
pub fn hub(broker: Arc<dyn Broker>, rooms: Rooms) -> Hub {
    Hub::builder().gate(gate::open()).broker(broker).rooms("*", rooms).build()
}

/// Waits, but not for ever.
///
/// # Panics
/// If it takes longer than so many seconds.
pub async fn within<T>(seconds: u64, what: &str, future: impl Future<Output = T>) -> T {
    crate::within(Duration::from_secs(seconds), what, future).await
}

/// Asks until it is so.
///
/// # Panics
/// If it is not within so many seconds.
pub async fn until(seconds: u64, what: &str, mut is_so: impl FnMut() -> bool) {
    within(seconds, what, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A room's name.
///
/// # Panics
/// If it is none.
pub fn room(name: &str) -> RoomName {
    RoomName::new(name).expect("a room name")
}

/// Rooms that keep so many events for an hour.
pub fn log(count: usize) -> Rooms {
    Rooms::log(count, Duration::from_secs(3_600))
}

/// A number as the event `n`.
///
/// # Panics
/// If JSON had no numbers.
pub fn publish(room: &RoomName, rooms: Rooms, number: usize) -> Publish {
    let event = Event::json("n", &number).expect("a number is JSON");
    Publish { room: room.clone(), event, key: None, rooms }
}

/// Publishes numbers one after the other.
///
/// # Panics
/// If one cannot be.
pub async fn publish_all(
    broker: &dyn Broker,
    room: &RoomName,
    rooms: Rooms,
    numbers: std::ops::Range<usize>,
) -> Vec<Position> {
    let mut positions = Vec::new();
    for number in numbers {
        positions.push(broker.publish(publish(room, rooms, number)).await.expect("it is published"));
    }
    positions
}

/// The numbers of a piece of history.
///
/// # Panics
/// If there is anything else.
pub fn numbers(slice: &Slice) -> Vec<usize> {
    slice.messages.iter().map(|message| message.event().parse().expect("a number")).collect()
}

/// Mounts the whole suite on a kind of server: `broker_suite!(Redis)`.
#[macro_export]
macro_rules! broker_suite {
    ($kind:ident) => {
        $crate::broker_suite!($kind, contract:
            what_is_published_is_read_in_order_from_every_place,
            a_cursor_of_no_event_of_the_room_is_not_taken_for_one,
            a_room_keeps_what_its_class_says_beside_one_that_keeps_more,
            the_boundary_holds_where_the_history_itself_was_trimmed,
            an_empty_room_has_an_epoch_and_a_place_to_resume_from,
            a_room_that_is_found_empty_is_followed_by_its_first_event,
            a_key_publishes_once_in_its_room,
            a_watched_room_is_handed_over_with_what_each_message_follows,
            only_the_newest_value_of_a_latest_room_is_kept,
            what_nobody_keeps_reaches_who_is_there,
            the_newest_of_a_deep_history_are_read_as_fast_as_of_a_shallow_one,
        );
        $crate::broker_suite!($kind, hubs:
            a_hundred_changes_of_node_and_transport_lose_and_repeat_nothing,
            an_event_has_one_position_on_every_node_and_a_client_needs_no_affinity,
            what_is_trimmed_is_told_and_what_is_just_kept_is_not,
            a_quiet_room_goes_on_without_a_gap_beside_a_busy_one,
            a_latest_value_reaches_who_comes_later_on_another_node_and_goes_on_live,
            an_event_is_at_another_node_within_two_milliseconds,
        );
        $crate::broker_suite!($kind, recreated:
            a_killed_server_that_comes_back_with_its_store_loses_nothing,
            a_server_that_comes_back_without_its_store_is_another_epoch,
            a_server_that_has_lost_everything_is_another_epoch_for_who_was_away,
        );
        $crate::broker_suite!($kind, faults:
            a_server_that_comes_late_is_found_without_a_restart,
            a_frozen_server_makes_the_outcome_unknown_and_then_publishing_fails_at_once,
            answers_that_come_late_are_no_false_success_and_no_repeat,
            more_than_fits_on_the_way_is_not_taken_and_what_is_taken_is_stored,
            what_is_under_way_when_the_connection_breaks_is_unknown_at_once,
            what_is_subscribed_after_an_outage_is_what_is_wanted,
            what_refuses_or_swallows_is_tried_again_but_not_all_the_time,
        );
        $crate::broker_suite!($kind, presence:
            members_are_told_alike_on_every_node_and_transport,
            a_user_who_changes_transport_and_node_has_not_left,
            members_are_told_again_where_their_words_were_lost,
            users_of_a_node_that_was_killed_have_gone,
        );
        $crate::broker_suite!($kind, words:
            a_user_loses_a_room_and_then_its_sessions_on_every_node_within_a_second,
            an_event_is_kept_from_a_user_on_another_node_also_in_its_history,
            a_user_comes_back_where_the_broker_has_lost_the_words,
            a_node_that_was_away_hears_what_was_said_meanwhile,
        );
    };
    ($kind:ident, $part:ident: $($behaviour:ident),+ $(,)?) => {
        mod $part {$(
            #[tokio::test(flavor = "multi_thread")]
            async fn $behaviour() {
                $crate::brokers::$part::$behaviour($crate::ServerKind::$kind).await;
            }
        )+}
    };
}
