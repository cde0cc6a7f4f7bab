//! Bounds on what one client may ask for, and all of them together.

use crate::Rate;
use std::time::Duration;

/// Bounds on what one client may ask for, and all of them together. Each has a default; start from [`Limits::default`] and set what you need.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Limits {
    /// Rooms of one session (256: a vector of that many positions still fits a request header).
    pub rooms: usize,
    /// Rooms that somebody on this node is in (100 000): names made up by clients cannot fill the memory.
    pub node_rooms: usize,
    /// Rooms that the sessions of one [`Address`](crate::Address) are in, each counted for each session (20 000: twenty for each of
    /// its 1 000 sessions, and no more than a fifth of the node's). More are refused with `busy`, 503.
    pub address_rooms: usize,
    /// Sessions of clients on this node (100 000: at the few KiB that one holds with its socket, what a small machine can
    /// carry). More are refused with `busy`, 503.
    pub sessions: usize,
    /// Sessions of one [`Address`](crate::Address) (1 000: an office, or a mobile network's gateway, is one). More are
    /// refused with `too_many_sessions`, 429.
    pub address_sessions: usize,
    /// Sessions of one named user on this node (100: every tab of every device). More are refused with
    /// `too_many_sessions`, 429.
    pub user_sessions: usize,
    /// Long-polls that wait at once (50 000: each holds its request, which is more than a stream does). More are refused with
    /// `busy`, 503.
    pub polls: usize,
    /// Requests of one address (200 a second, 2 000 at once: its 1 000 sessions may all come back together, twice). More
    /// are refused with `rate`, 429, before the gate is asked.
    pub address_requests: Rate,
    /// Commands of one session (50 a second, 512 at once: one who comes back joins its 256 rooms, and may have been at that
    /// before). More are answered with an error `rate`; who goes on for another burst is closed.
    pub session_commands: Rate,
    /// Commands of one named user on this node (100 a second, 2 000 at once: a few tabs that come back with all their rooms).
    pub user_commands: Rate,
    /// Commands of one address (1 000 a second, 10 000 at once: one a second for each of its sessions, and ten at once).
    pub address_commands: Rate,
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
    /// How long the gate may take to answer a question (10 s: what a database may take on a bad day). Then the answer is no, with
    /// `unavailable`, 503.
    pub gate_wait: Duration,
    /// How long a WebSocket may be there before its client has said who it is, where it says so by its first command (10 s: the
    /// token may still have to be fetched). Then it is closed, with `expired`.
    pub auth_wait: Duration,
    /// How long the application may take for a call (30 s: whoever asked has gone by then).
    pub call_wait: Duration,
    /// The longest silence on a stream before a sign of life is sent (20 s: below the 25 s that clients and
    /// proxies commonly allow).
    pub heartbeat: Duration,
    /// How long a WebSocket peer may show no sign of life, or take for a message of more than 16 KiB, or any peer take nothing of what
    /// is sent (50 s: two heartbeats and a margin).
    pub idle: Duration,
    /// How long a room without members stays on the node (30 s, so that a reload does not tear it down).
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 256,
            node_rooms: 100_000,
            address_rooms: 20_000,
            sessions: 100_000,
            address_sessions: 1_000,
            user_sessions: 100,
            polls: 50_000,
            address_requests: Rate::per_second(200).burst(2_000),
            session_commands: Rate::per_second(50).burst(512),
            user_commands: Rate::per_second(100).burst(2_000),
            address_commands: Rate::per_second(1_000).burst(10_000),
            message: 1 << 20,
            commands: 64,
            poll_wait: Duration::from_secs(60),
            batch: 64 << 10,
            join_wait: Duration::from_secs(5),
            gate_wait: Duration::from_secs(10),
            auth_wait: Duration::from_secs(10),
            call_wait: Duration::from_secs(30),
            heartbeat: Duration::from_secs(20),
            idle: Duration::from_secs(50),
            linger: Duration::from_secs(30),
        }
    }
}
