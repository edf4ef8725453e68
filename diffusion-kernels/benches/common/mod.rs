//! Time of a way to compute something, by the clock and by processor time.
#![allow(dead_code, reason = "each bench takes what it needs")]

use std::time::{Duration, Instant};

use diffusion_kernels::{Cpu, Instructions};

/// Seconds of one run.
#[derive(Clone, Copy)]
pub(crate) struct Seconds {
    pub(crate) clock: f64,
    /// Of all threads, divided by their number: what a run takes where nothing else runs.
    pub(crate) busy: f64,
}

/// What is to be measured, and with which instructions: `[PART_OF_A_NAME] [--avx2]`.
pub(crate) fn arguments() -> (String, Cpu) {
    // Cargo passes `--bench`.
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let limit = std::env::args().find_map(|argument| {
        Instructions::ALL.into_iter().find(|instructions| argument == format!("--{instructions:?}").to_lowercase())
    });
    let cpu = Cpu::detect().at_most(limit.unwrap_or(Instructions::Avx512Bf16));
    println!("{:?}, {} threads", cpu.instructions(), rayon::current_num_threads());
    (filter, cpu)
}

/// Medians of `runs` runs of `ways` ways, in turn; a run before them is not counted.
pub(crate) fn medians(runs: usize, ways: usize, mut run: impl FnMut(usize)) -> Vec<Seconds> {
    let mut times = vec![(vec![], vec![]); ways];
    for index in 0..=runs {
        for (way, (clock, busy)) in times.iter_mut().enumerate() {
            std::thread::sleep(Duration::from_millis(2));
            let (start, busy_before) = (Instant::now(), processor_time());
            run(way);
            if index > 0 {
                clock.push(start.elapsed().as_secs_f64());
                busy.push((processor_time() - busy_before) / rayon::current_num_threads() as f64);
            }
        }
    }
    times.into_iter().map(|(clock, busy)| Seconds { clock: median(clock), busy: median(busy) }).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Seconds of all threads of this process.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid; the clock exists on every Unix.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
