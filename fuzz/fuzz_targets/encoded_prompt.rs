#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| diffusion_hardening::fuzz("encoded prompt", bytes));
