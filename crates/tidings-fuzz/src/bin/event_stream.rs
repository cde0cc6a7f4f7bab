//! Hands [`tidings_fuzz::event_stream`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::event_stream::run(bytes));
