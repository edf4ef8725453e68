#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| diffusion_hardening::fuzz("captions of pictures", bytes));
