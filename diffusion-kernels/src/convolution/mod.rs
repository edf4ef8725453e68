//! Convolutions of images.

mod images;
mod job;
mod pack;
mod stage;
mod strips;
mod window;

pub use images::Images;
pub use job::Convolution;
pub use window::{Border, Window};

use crate::cpu::{Cpu, Vectors};
use crate::memory::Disjoint;
use crate::product::{GENERIC_ROWS, GENERIC_VECTORS, Products, Residual};
use crate::tile::{F32, Rounded};
use job::Job;
use strips::convolve;

/// The convolution of images.
///
/// Images are read as they lie: there is no matrix of their windows. Where sides are doubled, neither is there a doubled image: a
/// pixel of it has the same values as its neighbour, so four kernels of 2 x 2, one for each parity of row and column, with
/// numbers that are sums of the nine, do with 16 products what 36 would.
///
/// Every pixel of the result depends on the image, `products`, and the instructions of `cpu`, to the last bit: neither on the other
/// images nor on the number of threads.
///
/// # Shapes
/// - out: `[images, outputs, height, width]` with the [size](Window::output_size) of the result
///
/// # Panics
/// If the lengths do not fit together, or the weight is stored in blocks of more than one number.
///
/// # Example
/// ```
/// use diffusion_kernels::{Convolution, Cpu, Images, Products, Weight, WeightFormat, Window, convolution};
///
/// // The sum of nine pixels, where there are as many.
/// let bytes: Vec<u8> = [1f32; 9].iter().flat_map(|value| value.to_le_bytes()).collect();
/// let weight = Weight::new(WeightFormat::F32, &bytes, [1, 9]);
/// let image = Images::new(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 1, 2, 3]);
/// let mut out = [0.0; 6];
/// convolution(Cpu::detect(), Products::F32, image, &Convolution::new(Window::Square, weight), &mut out);
/// assert_eq!(out, [12.0, 21.0, 16.0, 12.0, 21.0, 16.0]);
/// ```
pub fn convolution(cpu: Cpu, products: Products, images: Images<'_>, convolution: &Convolution<'_>, out: &mut [f32]) {
    images.check();
    let [count, channels, height, width] = images.shape;
    let Convolution { window, weight, bias, residual, .. } = convolution;
    let [outputs, inputs] = weight.shape();
    assert_eq!(weight.block_len(), 1, "numbers of a block");
    assert_eq!(inputs, channels * window.kernel_len(), "numbers of a kernel of {channels} channels for {window:?}");
    let [height, width] = window.output_size([height, width]);
    assert_eq!(out.len(), count * outputs * height * width, "numbers of {count} x {outputs} channels of {height} x {width}");
    assert!(bias.is_none_or(|bias| bias.len() == outputs), "a bias of other than {outputs} numbers");
    if let Residual::From(values) = residual {
        assert_eq!(values.len(), out.len(), "numbers of the residual");
    }
    let job = Job { images, convolution, out: Disjoint::new(out), width };
    match (products, cpu.vectors()) {
        (Products::F32, Vectors::Generic(s)) => convolve::<_, GENERIC_ROWS, GENERIC_VECTORS>(F32(s), &job),
        (Products::Bf16, Vectors::Generic(s)) => convolve::<_, GENERIC_ROWS, GENERIC_VECTORS>(Rounded(s), &job),
        #[cfg(target_arch = "aarch64")]
        (Products::F32, Vectors::Neon(s)) => convolve::<_, 6, 2>(F32(s), &job),
        #[cfg(target_arch = "aarch64")]
        (Products::Bf16, Vectors::Neon(s)) => convolve::<_, 6, 2>(Rounded(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::F32, Vectors::Avx2(s)) => convolve::<_, 6, 2>(F32(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::Bf16, Vectors::Avx2(s)) => convolve::<_, 6, 2>(Rounded(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::F32, Vectors::Avx512(s)) => convolve::<_, 8, 2>(F32(s), &job),
        #[cfg(target_arch = "x86_64")]
        (Products::Bf16, Vectors::Avx512(s)) => match cpu.pairs() {
            Some(pairs) => convolve::<_, 8, 2>(pairs, &job),
            None => convolve::<_, 8, 2>(Rounded(s), &job),
        },
    }
}
