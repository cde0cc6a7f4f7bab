//! Hands [`tidings_fuzz::connect`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::connect::run(bytes));
