//! Hands [`tidings_fuzz::handshake`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::handshake::run(bytes));
