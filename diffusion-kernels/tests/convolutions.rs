//! Convolutions against plain loops in f64, for every instruction set of this processor.

mod common;

use common::{error, random, rounded, stored};
use diffusion_kernels::{
    Activation, Border, ChannelNorm, Convolution, Cpu, GroupNorm, Images, Products, Residual, Source, Weight, WeightFormat,
    Window, activate, convolution, group_norm,
};
use proptest::prelude::*;

/// Root of the mean square, relative, of f32 sums of exact products.
const LIMIT: f64 = 1e-6;
/// The same where operands are rounded to bf16 but for those that are sums themselves, which are rounded in another order.
const LIMIT_BF16: f64 = 1e-6;

const WINDOWS: [Window; 5] = [
    Window::Pixel,
    Window::Square,
    Window::SquareOfDoubled,
    Window::SquareOfSecond(Border::Around),
    Window::SquareOfSecond(Border::RightAndBelow),
];
/// That files have kernels in.
const KERNEL_FORMATS: [WeightFormat; 3] = [WeightFormat::F32, WeightFormat::F16, WeightFormat::Bf16];

/// Sizes of a convolution: images, channels, outputs, height, width.
type Sizes = [usize; 5];

/// The convolution by its definition: the doubled image is made, taps are added up one by one.
fn exact(window: Window, pixels: &[f32], kernels: &[f32], [count, channels, outputs, height, width]: Sizes) -> Vec<f64> {
    let (scale, step, before, side) = match window {
        Window::Pixel => (1, 1, 0, 1),
        Window::Square => (1, 1, 1, 3),
        Window::SquareOfDoubled => (2, 1, 1, 3),
        Window::SquareOfSecond(Border::Around) => (1, 2, 1, 3),
        Window::SquareOfSecond(Border::RightAndBelow) => (1, 2, 0, 3),
    };
    let [out_height, out_width] = window.output_size([height, width]);
    let pixel = |image: usize, channel: usize, y: usize, x: usize| -> f64 {
        let inside = y >= before && x >= before && y - before < scale * height && x - before < scale * width;
        let at = |y: usize, x: usize| ((image * channels + channel) * height + y) * width + x;
        if inside { f64::from(pixels[at((y - before) / scale, (x - before) / scale)]) } else { 0.0 }
    };
    let mut sums = vec![];
    for image in 0..count {
        for output in 0..outputs {
            for (y, x) in (0..out_height).flat_map(|y| (0..out_width).map(move |x| (y, x))) {
                let mut sum = 0.0;
                for channel in 0..channels {
                    for tap in 0..side * side {
                        let kernel = kernels[(output * channels + channel) * side * side + tap];
                        sum += f64::from(kernel) * pixel(image, channel, y * step + tap / side, x * step + tap % side);
                    }
                }
                sums.push(sum);
            }
        }
    }
    sums
}

fn run(cpu: Cpu, products: Products, window: Window, images: Images<'_>, weight: &Weight<'_>) -> Vec<f32> {
    let [count, _, height, width] = images.shape;
    let [height, width] = window.output_size([height, width]);
    let mut out = vec![f32::NAN; count * weight.shape()[0] * height * width];
    convolution(cpu, products, images, &Convolution::new(window, *weight), &mut out);
    out
}

/// Compare with the definition, from bytes that begin at any address.
fn check(window: Window, format: WeightFormat, sizes: Sizes, seed: u64) {
    let [count, channels, outputs, height, width] = sizes;
    let pixels = random(count * channels * height * width, seed);
    let kernels = stored(format, outputs * channels * window.kernel_len(), seed + 1);
    let misaligned: Vec<u8> = [0].iter().chain(&kernels.bytes).copied().collect();
    let weight = Weight::new(format, &misaligned[1..], [outputs, channels * window.kernel_len()]);
    let images = Images::new(&pixels, [count, channels, height, width]);
    let expected = exact(window, &pixels, &kernels.numbers, sizes);
    // Sums of kernels are rounded after they are added up.
    let is_exact = window != Window::SquareOfDoubled;
    let expected_bf16 = is_exact.then(|| exact(window, &rounded(&pixels), &rounded(&kernels.numbers), sizes));
    for cpu in Cpu::available() {
        let found = error(&run(cpu, Products::F32, window, images, &weight), &expected);
        assert!(found < LIMIT, "{cpu:?} {window:?} {format:?} {sizes:?}: {found}");
        let found = run(cpu, Products::Bf16, window, images, &weight);
        match &expected_bf16 {
            Some(expected) => assert!(error(&found, expected) < LIMIT_BF16, "{cpu:?} bf16 {window:?} {format:?} {sizes:?}"),
            // Half a unit in the last of eight bits, of both operands.
            None => assert!(error(&found, &expected) < 5e-3, "{cpu:?} bf16 {window:?} {format:?} {sizes:?}"),
        }
    }
}

#[test]
fn every_size_around_the_edges_of_tiles_is_right() {
    let mut case = 0;
    for window in WINDOWS {
        for height in [1, 2, 3, 4, 5, 8, 9] {
            for width in [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 65] {
                case += 1;
                // Another number of channels and outputs each time: a plane may be half empty, a panel may not be full.
                let (channels, outputs) = (1 + case * 5 % 9, 1 + case * 7 % 19);
                check(window, KERNEL_FORMATS[case % 3], [1 + case % 2, channels, outputs, height, width], case as u64);
            }
        }
    }
}

#[test]
fn channels_around_the_edges_of_blocks_are_right() {
    for window in WINDOWS {
        for (index, channels) in [15, 16, 17, 31, 32, 33, 47, 64, 65].into_iter().enumerate() {
            for outputs in [1, 3, 4, 8, 9, 16, 33] {
                check(window, KERNEL_FORMATS[index % 3], [1, channels, outputs, 5, 6], (channels * outputs) as u64);
            }
        }
    }
}

#[test]
fn what_is_empty_gives_nothing_or_the_bias() {
    let bias = [0.5, -2.0];
    for cpu in Cpu::available() {
        for window in WINDOWS {
            let weight = Weight::new(WeightFormat::F32, &[], [2, 0]);
            let [height, width] = window.output_size([3, 5]);
            let mut out = vec![f32::NAN; 2 * height * width];
            let of_nothing = Convolution { bias: Some(&bias), ..Convolution::new(window, weight) };
            convolution(cpu, Products::F32, Images::new(&[], [1, 0, 3, 5]), &of_nothing, &mut out);
            let (first, second) = out.split_at(height * width);
            assert!(first.iter().all(|&x| x == bias[0]) && second.iter().all(|&x| x == bias[1]), "{cpu:?} {window:?}");
            for shape in [[0, 1, 3, 5], [1, 1, 0, 5], [1, 1, 3, 0]] {
                let bytes = vec![0; 4 * window.kernel_len()];
                let weight = Weight::new(WeightFormat::F32, &bytes, [1, window.kernel_len()]);
                convolution(cpu, Products::F32, Images::new(&[], shape), &Convolution::new(window, weight), &mut []);
            }
            let weight = Weight::new(WeightFormat::F32, &[], [0, window.kernel_len()]);
            convolution(cpu, Products::Bf16, Images::new(&[1.0], [1, 1, 1, 1]), &Convolution::new(window, weight), &mut []);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn any_shape_is_convolved_as_defined(
        window in prop::sample::select(WINDOWS.to_vec()),
        format in prop::sample::select(KERNEL_FORMATS.to_vec()),
        sizes in [1..3_usize, 1..40, 1..40, 1..12, 1..70],
        seed in 0..1000_u64,
    ) {
        check(window, format, sizes, seed);
    }
}

/// Numbers as the norm and the activation make them.
fn prepared(norm: &ChannelNorm, activation: Activation, pixels: &[f32], per_channel: usize) -> Vec<f32> {
    let mut out = pixels.to_vec();
    norm.apply(Cpu::detect(), activation, per_channel, Source::InPlace, &mut out);
    out
}

#[test]
fn images_are_normalised_and_activated_and_borders_stay_zero() {
    let (count, channels, outputs, height, width) = (2, 6, 5, 7, 19);
    // Far from zero, so that a border that was normalised would be seen.
    let pixels: Vec<f32> = random(count * channels * height * width, 1).iter().map(|x| 3.0 + x).collect();
    let (gain, offset) = (random(channels, 2), random(channels, 3));
    let parameters = GroupNorm { groups: 3, weight: &gain, bias: &offset, epsilon: 1e-6 };
    let norm = group_norm(Cpu::detect(), parameters, height * width, &pixels);
    for window in WINDOWS {
        let kernels = stored(WeightFormat::F32, outputs * channels * window.kernel_len(), 4);
        let weight = Weight::new(WeightFormat::F32, &kernels.bytes, [outputs, channels * window.kernel_len()]);
        for activation in [Activation::None, Activation::Silu, Activation::Relu] {
            let ready = prepared(&norm, activation, &pixels, height * width);
            let expected = exact(window, &ready, &kernels.numbers, [count, channels, outputs, height, width]);
            for cpu in Cpu::available() {
                let plain = Images::new(&pixels, [count, channels, height, width]);
                let found = run(cpu, Products::F32, window, Images { norm: Some(&norm), activation, ..plain }, &weight);
                assert!(error(&found, &expected) < LIMIT, "{cpu:?} {window:?} {activation:?}");
            }
        }
    }
}

#[test]
fn bias_residual_and_activation_follow_one_another() {
    let (channels, outputs, height, width) = (3, 10, 5, 21);
    let pixels = random(channels * height * width, 1);
    let bias = random(outputs, 2);
    for window in WINDOWS {
        let kernels = stored(WeightFormat::F32, outputs * channels * window.kernel_len(), 3);
        let weight = Weight::new(WeightFormat::F32, &kernels.bytes, [outputs, channels * window.kernel_len()]);
        let images = Images::new(&pixels, [1, channels, height, width]);
        let sums = exact(window, &pixels, &kernels.numbers, [1, channels, outputs, height, width]);
        let residual = random(sums.len(), 4);
        let per_channel = sums.len() / outputs;
        for activation in [Activation::None, Activation::Relu, Activation::Silu] {
            for cpu in Cpu::available() {
                for add in [false, true] {
                    let with_bias = sums.iter().enumerate().map(|(at, sum)| {
                        let added = if add { f64::from(residual[at]) } else { 0.0 };
                        (sum + f64::from(bias[at / per_channel]) + added) as f32
                    });
                    let mut expected: Vec<f32> = with_bias.collect();
                    activate(cpu, activation, Source::InPlace, &mut expected);
                    let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
                    let residuals = if add { vec![Residual::From(&residual), Residual::Out] } else { vec![Residual::None] };
                    for from in residuals {
                        let mut out = residual.clone();
                        let plan =
                            Convolution { bias: Some(&bias), residual: from, activation, ..Convolution::new(window, weight) };
                        convolution(cpu, Products::F32, images, &plan, &mut out);
                        assert!(error(&out, &expected) < LIMIT, "{cpu:?} {window:?} {activation:?} {from:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn pixels_depend_neither_on_other_images_nor_on_threads() {
    let (channels, outputs, height, width) = (35, 70, 11, 37);
    let pixels = random(3 * channels * height * width, 1);
    for window in WINDOWS {
        let kernels = stored(WeightFormat::Bf16, outputs * channels * window.kernel_len(), 2);
        let weight = Weight::new(WeightFormat::Bf16, &kernels.bytes, [outputs, channels * window.kernel_len()]);
        for cpu in Cpu::available() {
            for products in [Products::F32, Products::Bf16] {
                let all = run(cpu, products, window, Images::new(&pixels, [3, channels, height, width]), &weight);
                for threads in [1, 3, 16] {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                    let image = Images::new(
                        &pixels[channels * height * width..][..channels * height * width],
                        [1, channels, height, width],
                    );
                    let found = pool.install(|| run(cpu, products, window, image, &weight));
                    assert!(found == all[found.len()..][..found.len()], "{cpu:?} {products:?} {window:?} {threads} threads");
                }
            }
        }
    }
}

#[test]
fn a_weight_has_the_scale_that_it_is_given() {
    let pixels = random(2 * 12, 1);
    let kernels = stored(WeightFormat::F16, 3 * 2 * 9, 2);
    let weight = Weight::new(WeightFormat::F16, &kernels.bytes, [3, 18]).scaled(0.25);
    let expected: Vec<f64> = exact(Window::Square, &pixels, &kernels.numbers, [1, 2, 3, 3, 4]).iter().map(|x| x / 4.0).collect();
    for cpu in Cpu::available() {
        let found = run(cpu, Products::F32, Window::Square, Images::new(&pixels, [1, 2, 3, 4]), &weight);
        assert!(error(&found, &expected) < LIMIT, "{cpu:?}");
    }
}

#[test]
fn what_is_no_number_is_not_hidden() {
    let mut pixels = random(2 * 30, 1);
    pixels[17] = f32::NAN;
    let kernels = stored(WeightFormat::F32, 3 * 2 * 9, 2);
    let weight = Weight::new(WeightFormat::F32, &kernels.bytes, [3, 18]);
    let plan = Convolution { activation: Activation::Relu, ..Convolution::new(Window::Square, weight) };
    for cpu in Cpu::available() {
        for products in [Products::F32, Products::Bf16] {
            let mut out = [0.0; 90];
            convolution(cpu, products, Images::new(&pixels, [1, 2, 5, 6]), &plan, &mut out);
            let hidden = out.chunks(30).filter(|channel| !channel[17].is_nan()).count();
            assert_eq!(hidden, 0, "{cpu:?} {products:?}");
        }
    }
}

#[test]
#[should_panic(expected = "numbers of a block")]
fn kernels_in_blocks_are_refused() {
    let kernels = stored(WeightFormat::Q8_0, 32 * 9, 1);
    let weight = Weight::new(WeightFormat::Q8_0, &kernels.bytes, [1, 32 * 9]);
    run(Cpu::detect(), Products::F32, Window::Square, Images::new(&[0.0; 32], [1, 32, 1, 1]), &weight);
}

#[test]
#[should_panic(expected = "numbers of a kernel")]
fn kernels_of_another_window_are_refused() {
    let weight = Weight::new(WeightFormat::F32, &[0; 4 * 9], [1, 9]);
    run(Cpu::detect(), Products::F32, Window::Pixel, Images::new(&[0.0; 4], [1, 1, 2, 2]), &weight);
}
