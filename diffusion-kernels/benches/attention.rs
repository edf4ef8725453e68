//! Rates of attention and its gradients at the sizes of published models.
//!
//! ```text
//! cargo bench -p diffusion-kernels --bench attention [-- PART_OF_A_NAME] [--avx2]
//! ```
//!
//! Ways are measured in turn, several times; medians are printed in GFLOP/s, by the clock and by processor time, counting
//! products alone. On a machine that does something else too, only the ratios mean much, and those by processor time most.

mod common;

use common::{Seconds, arguments, medians};
use diffusion_kernels::{
    Attention, AttentionGradients, Cpu, Products, Strides, Tokens, TokensMut, attention, attention_backward,
};

/// Heads, tokens and numbers of a head; what is masked.
const SIZES: [(&str, [usize; 3], bool); 6] = [
    ("sd3.5-medium/512", [24, 1357, 64], false),
    ("flux/512", [24, 1536, 128], false),
    ("flux/1024", [24, 4608, 128], false),
    ("autoencoder/512", [1, 4096, 512], false),
    ("t5-xxl", [64, 256, 64], false),
    ("clip-g", [20, 77, 64], true),
];
const RUNS: usize = 7;

fn main() {
    let (filter, cpu) = arguments();
    for (name, size, causal) in SIZES.into_iter().filter(|(name, ..)| name.contains(&filter)) {
        measure(cpu, name, size, causal);
    }
}

fn measure(cpu: Cpu, name: &str, [heads, len, head_dim]: [usize; 3], causal: bool) {
    let numbers = heads * len * head_dim;
    let input = |seed: usize| -> Vec<f32> { (0..numbers).map(|i| ((i * 7 + seed) * 31 % 997) as f32 / 500.0 - 1.0).collect() };
    let (queries, keys, values, grad_out, mut out) = (input(1), input(2), input(3), input(4), vec![0.0; numbers]);
    let strides = Strides::of_projection(len, heads, head_dim);
    let tokens = |values| [Tokens { values, len, strides }];
    let inputs = Attention {
        batch: 1,
        heads,
        head_dim,
        scale: (head_dim as f32).powf(-0.5),
        queries: &tokens(&queries),
        keys: &tokens(&keys),
        values: &tokens(&values),
        bias: None,
        causal,
    };
    println!("{name}, {heads} x {len} x {head_dim}{}:", if causal { ", causal" } else { "" });
    let mut sums = vec![0.0; heads * len];
    let mut gradients = [(); 3].map(|()| vec![0.0; numbers]);
    let mut run = |way: usize| {
        if let Some(products) = [Products::F32, Products::Bf16].get(way) {
            let out = TokensMut { values: &mut out, len, strides };
            return attention(cpu, *products, &inputs, &mut [out], Some(&mut sums));
        }
        let [queries, keys, values] = &mut gradients.each_mut().map(|values| [TokensMut { values, len, strides }]);
        let gradients = AttentionGradients { queries, keys, values };
        let result = [Tokens { values: &out, len, strides }];
        attention_backward(cpu, &inputs, &result, &sums, &tokens(&grad_out), gradients);
    };
    // Multiplications and additions of the products: two, or five where scores and gradients of probabilities are made again.
    let gflop = 4e-9 * (numbers * len) as f64;
    let ways = [("f32", gflop), ("bf16", gflop), ("gradients, f32", 2.5 * gflop)];
    // Short ones several times.
    let repeats = (1.0 / gflop).ceil() as usize;
    let times = medians(RUNS, ways.len(), |way| (0..repeats).for_each(|_| run(way)));
    for ((name, gflop), Seconds { clock, busy }) in ways.into_iter().zip(times) {
        let [clock, busy] = [clock, busy].map(|seconds| seconds / repeats as f64);
        let (milliseconds, by_clock, by_processor) = (clock * 1e3, gflop / clock, gflop / busy);
        println!("    {name:14} {milliseconds:8.2} ms {by_clock:6.1} GFLOP/s, by processor time {by_processor:6.1}");
    }
}
