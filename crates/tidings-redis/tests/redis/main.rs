//! The broker against real servers.

mod cluster;
mod contract;
mod control;
mod faults;
mod hubs;
mod limits;
mod presence;
mod recreated;
mod sentinel;
mod server;
mod sink;
mod tls;
