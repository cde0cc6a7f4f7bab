//! The broker against real servers.

mod cluster;
mod contract;
mod faults;
mod leaf;
mod recreated;
mod server;

/// What every broker must show.
mod suite {
    tidings_testkit::broker_suite!(Nats);
}
