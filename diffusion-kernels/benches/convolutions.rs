//! Rates of convolutions in GFLOP/s, beside a product of as many channels and taps in the same run: what tiles reach where their
//! operands are packed.
//!
//! ```text
//! cargo bench -p diffusion-kernels --bench convolutions [-- PART_OF_A_NAME] [-- --avx512]
//! ```

mod common;

use common::{arguments, medians};
use diffusion_kernels::{
    Activation, ChannelNorm, Convolution, Cpu, Epilogue, Images, Products, Residual, Weight, WeightFormat, Window, convolution,
    linear,
};

const RUNS: usize = 7;
/// Rows of the product beside a convolution.
const ROWS: usize = 1024;

/// The decoder of Stable Diffusion 3.5 and FLUX.1 at 256 x 256 pixels: name, window, channels, outputs, side of the image.
const CASES: [(&str, Window, usize, usize, usize); 8] = [
    ("first", Window::Square, 16, 512, 32),
    ("coarsest", Window::Square, 512, 512, 32),
    ("coarsest doubled", Window::SquareOfDoubled, 512, 512, 32),
    ("second", Window::Square, 512, 512, 64),
    ("third", Window::Square, 256, 256, 128),
    ("shortcut", Window::Pixel, 512, 256, 128),
    ("third doubled", Window::SquareOfDoubled, 256, 256, 128),
    ("finest", Window::Square, 128, 128, 256),
];

fn main() {
    let (filter, cpu) = arguments();
    for (name, window, channels, outputs, side) in CASES.into_iter().filter(|(name, ..)| name.contains(&filter)) {
        println!("{name}: {window:?}, {channels} to {outputs} channels, {side} x {side} pixels:");
        measure(cpu, window, [channels, outputs, side]);
    }
}

fn measure(cpu: Cpu, window: Window, [channels, outputs, side]: [usize; 3]) {
    let numbers = |len: usize| (0..len).map(|i| (i % 997) as f32 / 500.0 - 1.0).collect::<Vec<f32>>();
    let row_len = channels * window.kernel_len();
    let kernels: Vec<u8> = numbers(outputs * row_len).iter().flat_map(|number| number.to_le_bytes()).collect();
    let weight = Weight::new(WeightFormat::F32, &kernels, [outputs, row_len]);
    let [height, width] = window.output_size([side, side]);
    let (pixels, residual, rows) = (numbers(channels * side * side), numbers(outputs * height * width), numbers(ROWS * row_len));
    let (mut out, mut product) = (vec![0.0; residual.len()], vec![0.0; ROWS * outputs]);
    let norm = ChannelNorm { factor: vec![0.9; channels], offset: vec![0.1; channels] };
    let plain = Images::new(&pixels, [1, channels, side, side]);
    let prepared = Images { norm: Some(&norm), activation: Activation::Silu, ..plain };
    let bare = Convolution::new(window, weight);
    let added = Convolution { residual: Residual::From(&residual), ..bare };
    let mut convolve = |images, products, plan: &Convolution<'_>| convolution(cpu, products, images, plan, &mut out);
    let ways = ["product, f32", "product, bf16", "f32", "bf16", "all in one, f32", "all in one, bf16"];
    let times = medians(RUNS, ways.len(), |way| {
        let products = if way % 2 == 0 { Products::F32 } else { Products::Bf16 };
        match way / 2 {
            0 => linear(cpu, products, &rows, &weight, &Epilogue::default(), &mut product),
            1 => convolve(plain, products, &bare),
            _ => convolve(prepared, products, &added),
        }
    });
    for (index, (way, seconds)) in ways.iter().zip(&times).enumerate() {
        // As if the doubled image were convolved: what is saved counts as speed.
        let sums = if index < 2 { ROWS * outputs } else { residual.len() };
        let operations = 2.0 * sums as f64 * row_len as f64 * 1e-9;
        let [clock, busy] = [seconds.clock, seconds.busy].map(|seconds| operations / seconds);
        println!("    {way:18} {:8.2} ms {clock:7.1} GFLOP/s, by processor time {busy:7.1}", seconds.clock * 1e3);
    }
}
