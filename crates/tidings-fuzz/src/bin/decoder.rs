//! Hands [`tidings_fuzz::decoder`] to the fuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_fuzz::decoder::run(bytes));
