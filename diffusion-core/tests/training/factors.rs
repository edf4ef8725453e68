//! Factors beside frozen matrices.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use diffusion_core::Residency;
use diffusion_core::format::Format;
use diffusion_core::ops::LowRank;
use diffusion_core::weights::{
    FactorsError, LoadedNetwork, LowRankFactors, PatchKey, PatchMode, PatchStrength, WeightPatch, WeightPatches, factors_of,
    with_factors,
};

use crate::network::{BLOCK, FIRST, Network, random, write};

const WIDTH: usize = 32;
/// The two orders of multiplication round differently.
const TOLERANCE: f32 = 1e-5;
/// Eight bits of a number, rounded at every step.
const HALF_PRECISION: f32 = 3e-2;

fn loaded(format: Format, device: &Device) -> Network {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network");
    write(&path, WIDTH, format);
    Network::load(&path, WIDTH, Residency::Resident, device)
}

fn output(network: &Network, device: &Device) -> TensorData {
    network.forward(random(9, [3, WIDTH], device)).into_data()
}

/// Which parameters ask for gradients, by path.
fn trained<M: Module>(module: &M) -> Vec<String> {
    #[derive(Default)]
    struct Trained {
        path: Vec<String>,
        found: Vec<String>,
    }
    impl ModuleVisitor for Trained {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.val().is_require_grad() {
                self.found.push(self.path.join("."));
            }
        }
    }
    let mut visitor = Trained::default();
    module.visit(&mut visitor);
    visitor.found
}

#[test]
fn only_factors_are_trained_and_burn_finds_them() {
    let device = Device::flex().autodiff();
    for format in [Format::F32, Format::BF16, Format::F8E4M3, Format::Q4_0] {
        let network = loaded(format, &device);
        assert!(trained(&network).is_empty(), "{format}");
        let network = with_factors(network, Network::factors(WIDTH, &device).into()).unwrap();
        let paths = [FIRST, BLOCK].map(|path| ["down", "up"].map(|factor| format!("{path}.attached.factors.{factor}")));
        assert_eq!(trained(&network), paths.concat(), "{format}");
        assert_eq!(trained(&network.valid().train()), paths.concat(), "{format}");
        assert!(trained(&network.freeze()).is_empty(), "{format}");
    }
}

#[test]
fn factors_add_their_product_to_the_matrix() {
    let device = Device::flex();
    for format in [Format::F32, Format::Q4_0] {
        let network = loaded(format, &device);
        let factors: BTreeMap<String, LowRankFactors> = Network::factors(WIDTH, &device).into();
        let changed = |path: &str, param: &Param<Tensor<2>>| {
            let LowRank { down, up } = factors[path].trained();
            param.val() + up.matmul(down)
        };
        let matrices = [changed(FIRST, &network.first.weight), changed(BLOCK, &network.blocks[0].weight)];
        let network = with_factors(network, factors.clone()).unwrap();
        let input = random(9, [3, WIDTH], &device);
        let [first, second] = matrices.clone();
        let expected = input.matmul(first.transpose()).matmul(second.transpose());
        let difference = (network.forward(random(9, [3, WIDTH], &device)) - expected.clone()).abs().max() / expected.abs().max();
        assert!(difference.into_scalar::<f32>() < TOLERANCE, "{format}");
        let seen = [network.first.weight.val(), network.blocks[0].weight.val()];
        for (seen, expected) in seen.into_iter().zip(matrices) {
            let difference = (seen - expected.clone()).abs().max() / expected.abs().max();
            assert!(difference.into_scalar::<f32>() < TOLERANCE, "{format}");
        }
    }
}

#[test]
fn factors_are_given_read_and_taken_away() {
    let device = Device::flex();
    let network = loaded(Format::F8E4M3, &device);
    let before = output(&network, &device);
    let network = with_factors(network, Network::factors(WIDTH, &device).into()).unwrap();
    let clone = network.clone();
    assert_ne!(output(&network, &device), before);
    let found = factors_of(&network);
    let given: BTreeMap<String, LowRankFactors> = Network::factors(WIDTH, &device).into();
    assert!(found.keys().eq(given.keys()));
    for (path, factors) in found {
        assert_eq!(factors.down.val().into_data(), given[&path].down.val().into_data());
        assert_eq!(factors.scale, given[&path].scale);
    }
    let without = with_factors(network, BTreeMap::new()).unwrap();
    assert_eq!(output(&without, &device), before);
    assert_ne!(output(&clone, &device), before);
}

#[test]
fn records_restore_factors() {
    let device = Device::flex();
    for format in [Format::BF16, Format::Q4_0] {
        let network = with_factors(loaded(format, &device), Network::factors(WIDTH, &device).into()).unwrap();
        let expected = output(&network, &device);
        let zeros = factors_of(&network).into_iter().map(|(path, factors)| {
            let [down, up] = [factors.down.val().zeros_like(), factors.up.val().zeros_like()];
            (path, LowRankFactors::new(down, up, factors.scale))
        });
        let other = with_factors(loaded(format, &device), zeros.collect()).unwrap();
        assert_ne!(output(&other, &device), expected);
        assert_eq!(output(&other.load_record(network.into_record()), &device), expected, "{format}");
    }
}

#[test]
fn factors_for_other_matrices_are_refused() {
    let device = Device::flex();
    for format in [Format::F32, Format::Q4_0] {
        let factors = LowRankFactors::new(random(1, [2, 8], &device), random(2, [WIDTH, 2], &device), 1.0);
        let give = |path: &str| {
            let factors = BTreeMap::from([(path.to_owned(), factors.clone())]);
            with_factors(loaded(format, &device), factors).unwrap_err()
        };
        let expected = FactorsError::Shape { path: BLOCK.to_owned(), expected: [WIDTH, WIDTH], found: [WIDTH, 8] };
        assert_eq!(give(BLOCK), expected, "{format}");
        assert_eq!(give("blocks.1.weight"), FactorsError::NoMatrix { path: "blocks.1.weight".to_owned() }, "{format}");
    }
}

/// Adds a constant of rank one.
#[derive(Debug)]
struct Constant {
    constant: f64,
    key: [PatchKey; 1],
}

impl Constant {
    fn patches(constant: f64) -> WeightPatches {
        let key = [PatchKey { adapter: 1, strength: PatchStrength::Fixed(constant) }];
        let patch: Arc<dyn WeightPatch> = Arc::new(Self { constant, key });
        WeightPatches::from_iter([(BLOCK.to_owned(), patch)])
    }
}

impl WeightPatch for Constant {
    fn fused(&self, weight: Tensor<2>) -> Tensor<2> {
        weight + self.constant
    }

    fn key(&self) -> &[PatchKey] {
        &self.key
    }
}

#[test]
fn a_clone_of_a_network_has_slots_of_its_own() {
    let device = Device::flex();
    for format in [Format::F32, Format::Q4_0] {
        let network = loaded(format, &device);
        let plain = output(&network, &device);
        let one = network.patched(&Constant::patches(1.0), PatchMode::Attach).unwrap();
        let with_one = output(&one, &device);
        assert_ne!(with_one, plain);
        let clone = one.clone();
        assert_eq!(output(&clone, &device), with_one, "{format}");

        let one = one.patched(&WeightPatches::default(), PatchMode::Attach).unwrap();
        assert_eq!(output(&one, &device), plain, "{format}");
        assert_eq!(output(&clone, &device), with_one, "{format}");
        let two = clone.patched(&Constant::patches(2.0), PatchMode::Attach).unwrap();
        assert!(output(&two, &device) != with_one && output(&two, &device) != plain, "{format}");
        assert_eq!(output(&one, &device), plain, "{format}");
        let restored = two.patched(&WeightPatches::default(), PatchMode::Attach).unwrap();
        assert_eq!(output(&restored, &device), plain, "{format}");
    }
}

#[test]
fn factors_stay_in_f32_beside_products_in_half_precision() {
    let device = Device::flex().autodiff();
    for format in [Format::BF16, Format::Q4_0] {
        let network = with_factors(loaded(format, &device), Network::factors(WIDTH, &device).into()).unwrap();
        let gradients = |compute: DType| {
            let output = network.forward(random(9, [3, WIDTH], &device).cast(compute));
            assert_eq!(output.dtype(), compute);
            let gradients = (output.cast(DType::F32) * random(8, [3, WIDTH], &device)).sum().backward();
            let factors = factors_of(&network).into_values();
            let both =
                factors.flat_map(|factors| [factors.down, factors.up]).map(|factor| factor.val().grad(&gradients).unwrap());
            both.collect::<Vec<_>>()
        };
        for (half, full) in gradients(DType::BF16).into_iter().zip(gradients(DType::F32)) {
            assert_eq!(half.dtype(), DType::F32);
            let difference = (half - full.clone()).abs().max() / full.abs().max();
            assert!(difference.into_scalar::<f32>() < HALF_PRECISION, "{format}");
        }
    }
}

#[test]
fn an_unfrozen_matrix_gets_gradients() {
    let device = Device::flex().autodiff();
    let mut network = loaded(Format::BF16, &device);
    network.first.weight = network.first.weight.set_require_grad(true);
    let gradients = network.forward(random(9, [3, WIDTH], &device)).sum().backward();
    assert!(network.first.weight.base().grad(&gradients).is_some());
    assert!(network.blocks[0].weight.base().grad(&gradients).is_none());
}
