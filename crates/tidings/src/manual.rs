//! The manual: how Tidings works and how it is run.

#[doc = include_str!("manual/architecture.md")]
pub mod architecture {}

#[doc = include_str!("manual/cluster.md")]
pub mod cluster {}

#[doc = include_str!("manual/operations.md")]
pub mod operations {}

#[doc = include_str!("manual/proxies.md")]
pub mod proxies {}

#[doc = include_str!("manual/scaling.md")]
pub mod scaling {}

#[doc = include_str!("manual/security.md")]
pub mod security {}
