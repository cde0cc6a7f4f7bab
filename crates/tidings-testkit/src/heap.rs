//! What a test's process has allocated, in a test program whose allocator is [`INSTRUMENTED_SYSTEM`].

use stats_alloc::INSTRUMENTED_SYSTEM;
use std::{
    future::Future,
    sync::{Mutex, PoisonError},
};
use tokio::runtime::{Builder, Runtime};

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::new(());

/// Runs a test while no other of the program does, for every allocation of the process is counted. Its runtime, with one
/// thread beside the test's own, ends with all that is in it before the next begins.
///
/// # Panics
/// If the test does, or if nothing is counted.
pub fn alone<T>(test: impl Future<Output = T>) -> T {
    on(Builder::new_multi_thread().worker_threads(1), test)
}

/// The same on a runtime of one thread whose clock stands still while there is something to do, and else goes on to the
/// next timer at once.
///
/// # Panics
/// If the test does, or if nothing is counted.
pub fn alone_in_time<T>(test: impl Future<Output = T>) -> T {
    on(Builder::new_current_thread().start_paused(true), test)
}

fn on<T>(runtime: &mut Builder, test: impl Future<Output = T>) -> T {
    // One that failed has said so.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(allocated() > 0, "the program's global allocator counts");
    let runtime: Runtime = runtime.enable_all().build().expect("a runtime");
    runtime.block_on(test)
}

/// All bytes ever allocated; of what is made larger, what it grew by.
pub fn allocated() -> usize {
    INSTRUMENTED_SYSTEM.stats().bytes_allocated
}

/// Bytes that are allocated now.
pub fn held() -> usize {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}
