//! Hands [`tidings_fuzz::frames`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::frames::run(bytes));
