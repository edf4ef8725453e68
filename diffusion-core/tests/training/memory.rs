//! What parameters take that are not loaded, or whose values are packed beside them.

#![cfg(target_os = "linux")]

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Device;
use diffusion_core::Residency;
use diffusion_core::format::Format;
use diffusion_core::weights::with_factors;

use crate::network::{Network, random, write};

/// A matrix of this width takes 64 MiB when it is widened, and 9 MiB in `Q4_0`.
const WIDTH: usize = 4096;
/// One widened matrix of the two that a network has. A record holds a copy of the packed bytes, as it does of every parameter.
const ALLOWED: usize = 64 << 20;

/// Tests that measure the process run one after the other.
static MEASURING: Mutex<()> = Mutex::new(());

/// Bytes of memory that the process has for itself, without mapped files.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes << 10
}

/// Check that what `work` gives takes little memory as long as it is there.
#[track_caller]
fn is_small<T>(what: &str, work: impl FnOnce() -> T) {
    let before = resident();
    let result = black_box(work());
    let taken = resident().saturating_sub(before);
    assert!(taken < ALLOWED, "{what} takes {} MiB", taken >> 20);
    drop(result);
}

/// What Burn may do with the parameters of a module.
fn touch(network: &Network, device: &Device) {
    let weights = || [network.first.weight.clone(), network.blocks[0].weight.clone()];
    is_small("Param::base", || weights().map(|weight| weight.base()));
    is_small("Param::consume", || weights().map(|weight| weight.consume().1));
    is_small("Module::into_record", || network.clone().into_record());
    is_small("Module::freeze", || network.clone().freeze());
    is_small("Module::valid", || network.valid());
    is_small("Module::train", || network.valid().train());
    is_small("Module::to_device", || network.clone().to_device(device));
    is_small("Module::fork", || network.clone().fork(device));
}

#[test]
fn a_packed_matrix_stays_packed_whatever_burn_does_with_it() {
    let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.gguf");
    write(&path, WIDTH, Format::Q4_0);
    let device = Device::flex().autodiff();
    let network = Network::load(&path, WIDTH, Residency::Resident, &device);
    touch(&network, &device);

    let network = with_factors(network, Network::factors(WIDTH, &device).into()).unwrap();
    touch(&network, &device);
    // The widened matrices of a product come from memory that is kept for the next one.
    let loss = |network: &Network| network.forward(random(9, [1, WIDTH], &device)).sum();
    let gradients = loss(&network).backward();
    is_small("an optimiser's step", || {
        let gradients = GradientsParams::from_grads(gradients, &network);
        assert_eq!(gradients.len(), 4);
        AdamWConfig::new().init().step(1e-3, network.clone(), gradients)
    });
}

#[test]
fn a_streamed_network_takes_no_memory_for_its_blocks() {
    let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.gguf");
    write(&path, WIDTH, Format::Q4_0);
    let device = Device::flex();
    touch(&Network::load(&path, WIDTH, Residency::Streamed, &device), &device);
}

#[test]
fn a_parameter_that_is_not_loaded_is_a_single_number() {
    let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let device = Device::flex();
    let network = Network::new(WIDTH, &device);
    is_small("Param::val", || [network.first.weight.val(), network.blocks[0].weight.val()]);
    is_small("Module::train", || network.clone().train());
    assert_eq!(network.first.weight.val().dims(), [WIDTH; 2]);
}
