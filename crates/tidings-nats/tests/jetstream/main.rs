//! The broker against real servers.

mod cluster;
mod contract;
mod control;
mod faults;
mod hubs;
mod leaf;
mod presence;
mod recreated;
mod server;
mod sink;
