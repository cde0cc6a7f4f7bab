//! The one door to locks and atomics, so that a model checker can stand in for them.

#[cfg(not(tidings_loom))]
use std::sync::Mutex as Inner;

#[cfg(tidings_loom)]
use loom::sync::Mutex as Inner;

#[cfg(not(tidings_loom))]
pub(crate) use std::sync::MutexGuard;

#[cfg(tidings_loom)]
pub(crate) use loom::sync::MutexGuard;

/// A lock that outlives a panic of its holder: user code never runs under it, and what it guards is whole
/// between any two of our own statements that can panic, so poisoning would only spread one fault to all.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(Inner<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
