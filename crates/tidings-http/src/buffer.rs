//! The read buffer that all connections of a thread share: an idle connection holds none.

use std::cell::RefCell;

/// Lends the thread's buffer for one read. It holds nothing of use, before and after.
pub fn lend_buffer<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    // Taken, not borrowed: a stream that is itself made of a WebSocket comes here again, and gets another.
    let mut buffer = BUFFER.take();
    buffer.resize(SIZE, 0);
    let result = read(&mut buffer);
    BUFFER.set(buffer);
    result
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of one read: what the kernel gives at a time, and a message of 64 KiB with its header.
const SIZE: usize = 72 << 10;
