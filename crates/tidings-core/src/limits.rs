//! Bounds on what one client may ask for.

use std::time::Duration;

/// Bounds on what one client may ask for. Each has a default; start from [`Limits::default`] and set what you need.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Rooms of one session (256: a vector of that many positions still fits a request header).
    pub rooms: usize,
    /// Rooms that somebody on this node is in (100 000): names made up by clients cannot fill the memory.
    pub node_rooms: usize,
    /// Bytes of one command, as a WebSocket message or a request body (1 MiB).
    pub message: usize,
    /// Commands in one request body (64).
    pub commands: usize,
    /// The longest a long-poll may wait (60 s: below the idle time-out of common proxies).
    pub poll_wait: Duration,
    /// Bytes gathered for one write or one long-poll answer, passed by at most one message (64 KiB).
    pub batch: usize,
    /// How long a join may wait for the broker (5 s).
    pub join_wait: Duration,
    /// The longest silence on a stream before a sign of life is sent (20 s: below the 25 s that clients and
    /// proxies commonly allow).
    pub heartbeat: Duration,
    /// How long a WebSocket peer may show no sign of life, or take nothing of what is sent (50 s: two heartbeats and a
    /// margin).
    pub idle: Duration,
    /// How long a room without members stays on the node (30 s, so that a reload does not tear it down).
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 256,
            node_rooms: 100_000,
            message: 1 << 20,
            commands: 64,
            poll_wait: Duration::from_secs(60),
            batch: 64 << 10,
            join_wait: Duration::from_secs(5),
            heartbeat: Duration::from_secs(20),
            idle: Duration::from_secs(50),
            linger: Duration::from_secs(30),
        }
    }
}
