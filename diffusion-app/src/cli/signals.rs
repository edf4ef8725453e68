//! What a program does at a signal that ends it.

#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// From now on, remove unfinished files at a signal that ends the process, and say why a mapped file that is cut ends it.
///
/// A signal that the parent process had ignored, as `nohup` does, stays ignored. Where there are no signals, unfinished files are
/// removed by the next program that writes into their folder.
#[cfg(unix)]
pub(super) fn prepare() {
    let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal));
    let waiting = signal_hook::iterator::Signals::new(heeded).and_then(|mut signals| {
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                diffusion_core::files::remove_unfinished_files();
                // As if nobody had listened: the parent process sees which signal it was.
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        })
    });
    // Without them, the process ends at a signal all the same.
    drop(waiting);
    explain_cut_files();
}

#[cfg(not(unix))]
pub(super) fn prepare() {}

#[cfg(not(unix))]
pub(super) fn explain_cut_files() {}

#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action, `sigaction` only writes the present one to where it may.
    let status = unsafe { libc::sigaction(signal, std::ptr::null(), found.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `sigaction`, and it was written over if the call succeeded.
    status == 0 && unsafe { found.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// Reading a part of a mapped file that was cut off raises a signal, after which the read cannot go on.
#[cfg(unix)]
pub(super) fn explain_cut_files() {
    const EXPLANATION: &[u8] =
        b"\nerror: a file of weights could not be read on: it was cut short or replaced in place while it was \
        in use, or its disk failed; leave the files of a model alone while it is used, and check this one against its checksum\n";
    let explain = || {
        // SAFETY: `write` may be called in a signal handler, and the bytes are there for ever.
        unsafe { libc::write(libc::STDERR_FILENO, EXPLANATION.as_ptr().cast(), EXPLANATION.len()) };
        signal_hook::low_level::exit(1);
    };
    // SAFETY: the handler calls nothing but `write` and `_exit`, which POSIX allows in signal handlers.
    let registered = unsafe { signal_hook::low_level::register(libc::SIGBUS, explain) };
    // Without it, the signal ends the process without a word.
    drop(registered);
}
