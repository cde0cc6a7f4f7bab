//! What a server counts, for the recorder of the `metrics` crate.
//!
//! Nothing is recorded as it happens: a server counts for itself, always, and [`record`] hands on what it has counted. Call it
//! whenever the recorder is asked, or every few seconds where it is not.
//!
//! ```
//! # fn scrape(service: &tidings::Service) -> String {
//! # struct Handle; impl Handle { fn render(&self) -> String { String::new() } } let handle = Handle;
//! tidings::metrics::record(service);
//! handle.render() // of metrics-exporter-prometheus, say
//! # }
//! ```
//!
//! | name | labels | what |
//! |---|---|---|
//! | `tidings_ready` | | 1, or 0 while it drains |
//! | `tidings_connections` | | connections that there are |
//! | `tidings_connections_accepted_total`, `…_turned_away_total` | | taken; closed at once, for there were too many |
//! | `tidings_answers_total` | `status` | answers of HTTP |
//! | `tidings_sessions` | `transport` | live sessions |
//! | `tidings_sessions_opened_total` | | begun |
//! | `tidings_sessions_closed_total` | `reason` | ended by the server, and told so |
//! | `tidings_rooms`, `tidings_members` | `class` | rooms known here, and sessions in them |
//! | `tidings_published_total`, `tidings_publish_failures_total` | `class` | published here; what the broker did not take, or may not have taken |
//! | `tidings_joins_total` | `from` | `now`, `start`, `resumed` at a cursor, `missed`: at a cursor with a gap behind it |
//! | `tidings_gaps_total` | `reason` | gaps that were told |
//! | `tidings_refusals_total` | `code` | requests, sessions, joins and commands that were refused |
//! | `tidings_slow_total` | | slow episodes |
//! | `tidings_messages_total`, `tidings_writes_total` | `path` | messages delivered, and in how many writes: `direct` to sockets, or `pulled` by sessions |
//! | `tidings_lag_seconds_bucket`, `…_sum`, `…_count` | `le` | from when a room has something new until all members are served |
//!
//! A `class` is a pattern of [`HubBuilder::rooms`](crate::HubBuilder::rooms), or `other`. No label is ever of a client's making: no
//! name of a room, a user or an address.

use crate::{Deliveries, Lag, Service, Stats, Traffic};
use ::metrics::{counter, describe_counter, describe_gauge, gauge};
use std::{collections::BTreeMap, time::Duration};

/// Hands what a service and its hub have counted to the recorder that is installed.
pub fn record(service: &Service) {
    describe();
    let hub = service.hub();
    gauge!("tidings_ready").set(f64::from(u8::from(hub.ready().is_ok())));
    traffic(&service.traffic());
    stats(&hub.stats());
}

fn traffic(traffic: &Traffic) {
    let Traffic { connections, accepted, turned_away, answers, .. } = traffic;
    gauge!("tidings_connections").set(*connections as f64);
    counter!("tidings_connections_accepted_total").absolute(*accepted);
    counter!("tidings_connections_turned_away_total").absolute(*turned_away);
    for (status, count) in answers.iter().filter(|(_, count)| **count > 0) {
        let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
        counter!("tidings_answers_total", "status" => status).absolute(*count);
    }
}

fn stats(stats: &Stats) {
    // What has gone to nothing is to be seen so.
    let ours = ["ws", "sse", "poll", "inside"].map(|transport| (transport, 0));
    let sessions = BTreeMap::from(ours).into_iter().chain(stats.sessions.clone());
    for (transport, count) in sessions {
        gauge!("tidings_sessions", "transport" => transport).set(count as f64);
    }
    counter!("tidings_sessions_opened_total").absolute(stats.opened);
    for (reason, count) in &stats.closed {
        counter!("tidings_sessions_closed_total", "reason" => *reason).absolute(*count);
    }
    for (class, of) in &stats.classes {
        gauge!("tidings_rooms", "class" => class.clone()).set(of.rooms as f64);
        gauge!("tidings_members", "class" => class.clone()).set(of.members as f64);
        counter!("tidings_published_total", "class" => class.clone()).absolute(of.published);
        counter!("tidings_publish_failures_total", "class" => class.clone()).absolute(of.failed);
    }
    for (from, count) in &stats.joins {
        counter!("tidings_joins_total", "from" => *from).absolute(*count);
    }
    for (reason, count) in &stats.gaps {
        counter!("tidings_gaps_total", "reason" => *reason).absolute(*count);
    }
    for (code, count) in &stats.refused {
        counter!("tidings_refusals_total", "code" => *code).absolute(*count);
    }
    counter!("tidings_slow_total").absolute(stats.slow);
    for (path, Deliveries { messages, writes, .. }) in [("direct", stats.direct), ("pulled", stats.pulled)] {
        counter!("tidings_messages_total", "path" => path).absolute(messages);
        counter!("tidings_writes_total", "path" => path).absolute(writes);
    }
    lag(&stats.lag);
}

/// In the form of a histogram: each bucket holds those before it.
fn lag(lag: &Lag) {
    let bounds = Lag::BOUNDS.iter().map(|bound| bound.as_secs_f64().to_string()).chain(["+Inf".to_owned()]);
    let mut below = 0;
    for (bound, count) in bounds.zip(lag.counts) {
        below += count;
        counter!("tidings_lag_seconds_bucket", "le" => bound).absolute(below);
    }
    counter!("tidings_lag_seconds_count").absolute(below);
    // Counters are whole numbers, and these seconds are not.
    gauge!("tidings_lag_seconds_sum").set(Duration::as_secs_f64(&lag.sum));
}

fn describe() {
    for (name, what) in [
        ("tidings_ready", "1, or 0 while it drains"),
        ("tidings_connections", "connections that there are"),
        ("tidings_sessions", "live sessions"),
        ("tidings_rooms", "rooms known to this node"),
        ("tidings_members", "sessions in rooms, each room counted"),
    ] {
        describe_gauge!(name, what);
    }
    for (name, what) in [
        ("tidings_connections_accepted_total", "connections taken"),
        ("tidings_connections_turned_away_total", "connections closed at once, for there were too many"),
        ("tidings_answers_total", "answers of HTTP"),
        ("tidings_sessions_opened_total", "sessions begun"),
        ("tidings_sessions_closed_total", "sessions ended by the server"),
        ("tidings_published_total", "events published here"),
        ("tidings_publish_failures_total", "events that the broker did not take, or may not have taken"),
        ("tidings_joins_total", "joins, by where they began"),
        ("tidings_gaps_total", "gaps that were told"),
        ("tidings_refusals_total", "requests, sessions, joins and commands refused"),
        ("tidings_slow_total", "slow episodes"),
        ("tidings_messages_total", "messages delivered, each to each session"),
        ("tidings_writes_total", "writes that they went in"),
    ] {
        describe_counter!(name, what);
    }
}
