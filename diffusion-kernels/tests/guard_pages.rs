//! No kernel touches memory before or behind its slices: they lie between pages that may not be touched.
#![cfg(unix)]

mod common;

use common::{Blocks, FORMATS, random, stored};
use diffusion_kernels::{
    Activation, Affine, Border, ChannelNorm, Convolution, Cpu, Epilogue, GroupNorm, HeadNorm, Images, PerImage, Products,
    Residual, Rope, Source, Weight, WeightFormat, Window, activate, activate_and_multiply, add_gated, convolution, group_norm,
    layer_norm, linear, normalise_heads, rms_norm, softmax,
};
use memmap2::MmapMut;

/// Which end of a slice lies at a page that may not be touched.
#[derive(Clone, Copy, Debug)]
enum End {
    First,
    Last,
}

/// Bytes with a page before and behind them that may not be touched.
struct Guarded {
    pages: MmapMut,
    first: usize,
    len: usize,
}

const PAGE: usize = 1 << 16;

impl Guarded {
    fn new(content: &[u8], end: End) -> Self {
        let inner = content.len().next_multiple_of(PAGE).max(PAGE);
        let mut pages = MmapMut::map_anon(inner + 2 * PAGE).expect("memory");
        for guard in [0, PAGE + inner] {
            // SAFETY: these pages belong to the mapping, and nothing refers to them.
            let result = unsafe { libc::mprotect(pages.as_mut_ptr().add(guard).cast(), PAGE, libc::PROT_NONE) };
            assert_eq!(result, 0);
        }
        let first = match end {
            End::First => PAGE,
            End::Last => PAGE + inner - content.len(),
        };
        // Not through a slice of all pages: those at the ends may not be touched.
        let mut guarded = Self { pages, first, len: content.len() };
        guarded.bytes_mut().copy_from_slice(content);
        guarded
    }

    fn of(numbers: &[f32], end: End) -> Self {
        Self::new(&numbers.iter().flat_map(|number| number.to_ne_bytes()).collect::<Vec<u8>>(), end)
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: within the pages that may be touched.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().add(self.first), self.len) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().add(self.first), self.len) }
    }

    fn numbers(&self) -> &[f32] {
        // SAFETY: any bits are f32; what is left over at the ends is checked to be nothing.
        let (before, numbers, behind) = unsafe { self.bytes().align_to() };
        assert!(before.is_empty() && behind.is_empty());
        numbers
    }

    fn numbers_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        let (before, numbers, behind) = unsafe { self.bytes_mut().align_to_mut() };
        assert!(before.is_empty() && behind.is_empty());
        numbers
    }
}

#[test]
fn products_stay_within_their_slices() {
    let mut seed = 0;
    for end in [End::First, End::Last] {
        for (rows, outputs, inputs) in
            [(1, 1, 1), (1, 49, 33), (2, 70, 31), (3, 17, 70), (5, 16, 95), (9, 47, 64), (13, 50, 385), (8, 48, 16)]
        {
            for format in FORMATS {
                seed += 1;
                let inputs = usize::next_multiple_of(inputs, format.block().0);
                let bytes = Guarded::new(&stored(format, outputs * inputs, seed).bytes, end);
                let (input, bias) = (Guarded::of(&random(rows * inputs, seed), end), Guarded::of(&random(outputs, seed), end));
                let mut out = Guarded::of(&random(rows * outputs, seed), end);
                let added = Guarded::of(&random(rows * outputs, seed), end);
                let weight = Weight::new(format, bytes.bytes(), [outputs, inputs]);
                for cpu in Cpu::available() {
                    for products in [Products::F32, Products::Bf16] {
                        for residual in [Residual::Out, Residual::From(added.numbers())] {
                            let epilogue = Epilogue {
                                bias: Some(bias.numbers()),
                                beside: Some(added.numbers()),
                                activation: Activation::GeluTanh,
                                gate: Some(PerImage::same(bias.numbers())),
                                residual,
                            };
                            linear(cpu, products, input.numbers(), &weight, &epilogue, out.numbers_mut());
                        }
                    }
                }
                assert!(out.numbers().iter().all(|x| x.is_finite()));
            }
            let numbers = Guarded::of(&random(outputs * inputs, seed), end);
            let blocks = Blocks { numbers: numbers.numbers(), row_len: inputs, block_len: 1 };
            let input = Guarded::of(&random(rows * inputs, seed), end);
            let mut out = Guarded::of(&random(rows * outputs, seed), end);
            for cpu in Cpu::available() {
                let weight = Weight::widened_by(&blocks, [outputs, inputs]);
                linear(cpu, Products::Bf16, input.numbers(), &weight, &Epilogue::default(), out.numbers_mut());
            }
        }
    }
}

#[test]
fn convolutions_stay_within_their_slices() {
    let windows = [
        Window::Pixel,
        Window::Square,
        Window::SquareOfDoubled,
        Window::SquareOfSecond(Border::Around),
        Window::SquareOfSecond(Border::RightAndBelow),
    ];
    let mut seed = 0;
    for (window, end) in windows.into_iter().flat_map(|window| [(window, End::First), (window, End::Last)]) {
        for [count, channels, outputs, height, width] in
            [[1, 1, 1, 1, 1], [1, 3, 9, 2, 15], [2, 17, 8, 5, 16], [1, 33, 4, 9, 17], [1, 2, 17, 4, 33], [1, 64, 3, 3, 70]]
        {
            seed += 1;
            let format = [WeightFormat::F32, WeightFormat::F16, WeightFormat::Bf16][seed % 3];
            let row_len = channels * window.kernel_len();
            let kernels = Guarded::new(&stored(format, outputs * row_len, seed as u64).bytes, end);
            let numbers = |len| Guarded::of(&random(len, seed as u64), end);
            let (pixels, bias) = (numbers(count * channels * height * width), numbers(outputs));
            let norm = ChannelNorm { factor: random(count * channels, 1), offset: random(count * channels, 2) };
            let [new_height, new_width] = window.output_size([height, width]);
            let mut out = numbers(count * outputs * new_height * new_width);
            let added = numbers(count * outputs * new_height * new_width);
            let weight = Weight::new(format, kernels.bytes(), [outputs, row_len]);
            let plain = Images::new(pixels.numbers(), [count, channels, height, width]);
            let prepared = Images { norm: Some(&norm), activation: Activation::Silu, ..plain };
            for cpu in Cpu::available() {
                for (products, residual) in [(Products::F32, Residual::From(added.numbers())), (Products::Bf16, Residual::Out)] {
                    let sums = Convolution::new(window, weight);
                    let all = Convolution { bias: Some(bias.numbers()), residual, activation: Activation::Relu, ..sums };
                    convolution(cpu, products, prepared, &all, out.numbers_mut());
                    convolution(cpu, products, plain, &sums, out.numbers_mut());
                }
            }
            assert!(out.numbers().iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
fn chains_stay_within_their_slices() {
    for end in [End::First, End::Last] {
        for width in 1..=70 {
            let rows = 3;
            let numbers = |len, seed| Guarded::of(&random(len, seed), end);
            let (x, mut out) = (numbers(rows * width, 1), numbers(rows * width, 2));
            let (vector, other) = (numbers(width, 3), numbers(width, 4));
            let (vector, other, x) = (vector.numbers(), other.numbers(), x.numbers());
            let out = out.numbers_mut();
            for cpu in Cpu::available() {
                for source in [Source::From(x), Source::InPlace] {
                    let modulation = Affine::Modulation { scale: PerImage::same(vector), shift: PerImage::same(other) };
                    layer_norm(cpu, source, width, modulation, 1e-6, out);
                    layer_norm(cpu, source, width, Affine::Weight { weight: vector, bias: other }, 1e-6, out);
                    rms_norm(cpu, source, vector, 1e-6, out);
                    softmax(cpu, source, width, 1.0, out);
                    activate(cpu, Activation::GeluErf, source, out);
                    let norm = GroupNorm { groups: 1, weight: &vector[..1], bias: &other[..1], epsilon: 1e-6 };
                    group_norm(cpu, norm, width, x).apply(cpu, Activation::Silu, width, source, out);
                }
                activate_and_multiply(cpu, Activation::GeluTanh, Source::InPlace, x, out);
                add_gated(cpu, x, PerImage::same(vector), width, out);
                normalise_heads(cpu, HeadNorm { weight: vector, epsilon: 1e-6 }, None, 1, out);
                if width % 2 == 0 {
                    let (cos, sin) = (numbers(rows * width / 2, 5), numbers(rows * width / 2, 6));
                    let rope = Rope { cos: cos.numbers(), sin: sin.numbers() };
                    normalise_heads(cpu, HeadNorm { weight: vector, epsilon: 1e-6 }, Some(rope), 1, out);
                }
            }
            assert!(out.iter().all(|x| x.is_finite()));
        }
    }
}
