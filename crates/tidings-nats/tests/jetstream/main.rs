//! The broker against real servers.

mod cluster;
mod contract;
mod control;
mod faults;
mod hubs;
mod recreated;
mod server;
mod sink;
