//! The broker against real servers.

mod cluster;
mod faults;
mod limits;
mod presence;
mod recreated;
mod sentinel;
mod server;
mod tls;

/// What every broker must show.
mod suite {
    tidings_testkit::broker_suite!(Redis);
}
