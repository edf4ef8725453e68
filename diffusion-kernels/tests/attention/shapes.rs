//! Every length around the edges of tiles and blocks.

use diffusion_kernels::{Cpu, Products};

use crate::case::{BiasOf, Case, Inputs, Layout};
use crate::common::error;
use crate::exact::attend;
use crate::guarded::Side;

/// f32 against f64.
const F32: f64 = 1e-6;
/// Numerators of softmax are rounded to bf16, by half of 2^-8 at most.
const BF16: f64 = 3e-3;

fn check(case: &Case, side: Side) {
    let inputs = Inputs::new(case, side);
    for (products, limit) in [(Products::F32, F32), (Products::Bf16, BF16)] {
        let exact = attend(&inputs, products);
        for cpu in Cpu::available() {
            let [out, sums] = inputs.attend(cpu, products);
            let found = error(&out, &exact.out);
            assert!(found < limit, "{products:?} {:?} {case:?}: {found:e}", cpu.instructions());
            for (found, exact) in sums.iter().zip(&exact.log_sum_exp) {
                let same = f64::from(*found) == *exact || (f64::from(*found) - exact).abs() < 1e-3 * limit / F32;
                assert!(same, "{products:?} {:?} {case:?}: {found} for {exact}", cpu.instructions());
            }
        }
    }
}

/// The case with a number of its own: each layout, mask and number of segments with every size.
fn vary(mut case: Case, index: usize) -> Case {
    case.layout = [Layout::Projection, Layout::Heads, Layout::Wide][index % 3];
    case.causal = index % 4 == 1;
    case.bias = [BiasOf::Nothing, BiasOf::Nothing, BiasOf::All, BiasOf::Heads, BiasOf::Nothing][index % 5];
    case.batch = 1 + index % 7 / 6;
    let split = |len: usize, at: usize| if at > 0 && at < len { vec![at, len - at] } else { vec![len] };
    let (queries, keys) = (case.query_len(), case.key_len());
    case.queries = split(queries, index % 11 * queries / 12);
    case.keys = split(keys, index % 13 * keys / 17);
    case
}

fn side(index: usize) -> Side {
    if index.is_multiple_of(2) { Side::After } else { Side::Before }
}

#[test]
fn every_short_length_is_exact() {
    for queries in 1..=70 {
        for step in 0..4 {
            let index = queries * 4 + step;
            let keys = (queries * 29 + step * 17) % 70 + 1;
            let head_dim = [4, 8, 16, 40, 64, 80, 3, 17, 128, 160, 24][index % 11];
            check(&vary(Case::new(queries, keys, head_dim), index), side(index));
        }
    }
}

#[test]
fn every_head_dim_is_exact() {
    for head_dim in 1..=162 {
        check(&vary(Case::new(7 + head_dim % 3, 9 + head_dim % 30, head_dim), head_dim), side(head_dim));
    }
}

#[test]
fn lengths_around_blocks_are_exact() {
    let sizes = [
        [1, 257, 64],
        [24, 256, 64],
        [25, 255, 64],
        [95, 258, 128],
        [96, 287, 8],
        [97, 512, 64],
        [193, 513, 16],
        [130, 600, 40],
        [48, 128, 512],
        [49, 129, 512],
        [97, 300, 200],
        [300, 300, 64],
    ];
    for (i, [queries, keys, head_dim]) in sizes.into_iter().enumerate() {
        for variant in 0..5 {
            let mut case = vary(Case::new(queries, keys, head_dim), i * 5 + variant);
            case.heads = 1 + variant % 2;
            check(&case, side(variant));
        }
    }
}

#[test]
fn sharp_scores_are_exact() {
    // Scores up to some tens, whose last bit is 2e-6; in bf16 it is the result that counts.
    for (index, scale) in [(0, 0.5), (1, -0.5), (2, 0.0)] {
        let mut case = Case::new(70, 300, 64);
        (case.spread, case.scale, case.causal) = (4.0, scale, index == 1);
        let inputs = Inputs::new(&case, Side::After);
        for (products, limit) in [(Products::F32, 5e-6), (Products::Bf16, BF16)] {
            let exact = attend(&inputs, products);
            for cpu in Cpu::available() {
                let [out, _] = inputs.attend(cpu, products);
                let found = error(&out, &exact.out);
                assert!(found < limit, "{products:?} {:?} {scale}: {found:e}", cpu.instructions());
            }
        }
    }
}
