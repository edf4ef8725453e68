//! Noise of torch's CPU generator.

use std::f32::consts::{FRAC_1_SQRT_2, TAU};

use super::source::NormalGenerator;

/// torch's CPU generator: a Mersenne Twister, and normal numbers by the Box-Muller transform.
///
/// Bit-exact with torch on x86-64 with AVX2 or later, whose logarithm and sine are the polynomials of Cephes with fused
/// multiply-adds. Other builds of torch differ from it in last places.
///
/// Reference: torch `aten/src/ATen/core/MT19937RNGEngine.h`, `native/cpu/DistributionTemplates.h` (`normal_fill`),
/// `native/cpu/avx_mathfun.h`, torch 2.15.
#[derive(Clone, Debug)]
pub struct TorchGenerator {
    state: [u32; Self::SIZE],
    next: usize,
    /// The second of two numbers that a scalar draw makes at once.
    cached: Option<f64>,
}

impl TorchGenerator {
    const SIZE: usize = 624;
    const MIDDLE: usize = 397;

    /// A generator as `torch.Generator("cpu").manual_seed(seed)` makes it: only the low 32 bits of the seed count.
    pub fn new(seed: u64) -> Self {
        let mut state = [0; Self::SIZE];
        state[0] = seed as u32;
        for i in 1..Self::SIZE {
            let previous = state[i - 1];
            state[i] = 1_812_433_253u32.wrapping_mul(previous ^ (previous >> 30)).wrapping_add(i as u32);
        }
        Self { state, next: Self::SIZE, cached: None }
    }

    fn refill(&mut self) {
        for i in 0..Self::SIZE {
            let upper = self.state[i] & 0x8000_0000;
            let lower = self.state[(i + 1) % Self::SIZE] & 0x7fff_ffff;
            let mixed = (upper | lower) >> 1 ^ if lower & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + Self::MIDDLE) % Self::SIZE] ^ mixed;
        }
        self.next = 0;
    }

    fn draw_32(&mut self) -> u32 {
        if self.next == Self::SIZE {
            self.refill();
        }
        let mut bits = self.state[self.next];
        self.next += 1;
        bits ^= bits >> 11;
        bits ^= (bits << 7) & 0x9d2c_5680;
        bits ^= (bits << 15) & 0xefc6_0000;
        bits ^ (bits >> 18)
    }

    /// Uniform in [0, 1) with 24 bits.
    fn uniform_f32(&mut self) -> f32 {
        (self.draw_32() & 0x00ff_ffff) as f32 * 2f32.powi(-24)
    }

    /// Uniform in [0, 1) with 53 bits.
    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.draw_32());
        let bits = high << 32 | u64::from(self.draw_32());
        (bits & ((1 << 53) - 1)) as f64 * 2f64.powi(-53)
    }

    /// `len` numbers of the standard normal distribution, as one call of `torch.randn` gives them.
    ///
    /// Two calls give other numbers than one call for both, as in torch: the tail of a draw depends on its length.
    pub fn normal(&mut self, len: usize) -> Vec<f32> {
        if len < 16 {
            return (0..len).map(|_| self.scalar_normal() as f32).collect();
        }
        let mut values: Vec<f32> = (0..len).map(|_| self.uniform_f32()).collect();
        for chunk in values.as_chunks_mut().0 {
            box_muller(chunk);
        }
        if !len.is_multiple_of(16) {
            let mut last = [0.0; 16];
            last.fill_with(|| self.uniform_f32());
            box_muller(&mut last);
            values[len - 16..].copy_from_slice(&last);
        }
        values
    }

    fn scalar_normal(&mut self) -> f64 {
        if let Some(cached) = self.cached.take() {
            return cached;
        }
        let angle = std::f64::consts::TAU * self.uniform_f64();
        let radius = (-2.0 * (-self.uniform_f64()).ln_1p()).sqrt();
        self.cached = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

impl NormalGenerator for TorchGenerator {
    fn normal(&mut self, len: usize) -> Vec<f32> {
        Self::normal(self, len)
    }
}

/// Sixteen uniform numbers to sixteen normal ones, pairing number j with number j + 8.
fn box_muller(values: &mut [f32; 16]) {
    let (firsts, seconds) = values.split_at_mut(8);
    for (first, second) in firsts.iter_mut().zip(seconds) {
        let radius = (-2.0 * cephes_ln(1.0 - *first)).sqrt();
        let (sin, cos) = cephes_sin_cos(TAU * *second);
        (*first, *second) = (radius * cos, radius * sin);
    }
}

/// Natural logarithm of a normal positive number (Cephes `logf`, with the roundings of its AVX2 build).
fn cephes_ln(x: f32) -> f32 {
    const POLYNOMIAL: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_87e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_4e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const LN_2_HIGH: f32 = 0.693_359_4;
    let bits = x.to_bits();
    let mut exponent = (bits >> 23) as f32 - 126.0;
    let mut mantissa = f32::from_bits(bits & 0x007f_ffff | 0x3f00_0000);
    if mantissa < FRAC_1_SQRT_2 {
        exponent -= 1.0;
        mantissa += mantissa;
    }
    let x = mantissa - 1.0;
    let square = x * x;
    let polynomial = POLYNOMIAL[1..].iter().fold(POLYNOMIAL[0], |sum, &c| sum.mul_add(x, c)) * x;
    let fraction = polynomial.mul_add(square, exponent * LN_2_LOW);
    let fraction = (-square).mul_add(0.5, fraction);
    exponent.mul_add(LN_2_HIGH, x + fraction)
}

/// Sine and cosine of an angle in [0, 2π] (Cephes `sinf` and `cosf`, with the roundings of their AVX2 build).
fn cephes_sin_cos(angle: f32) -> (f32, f32) {
    const FOUR_OVER_PI: f32 = 1.273_239_5;
    const MINUS_PI_OVER_4: [f32; 3] = [-0.785_156_25, -2.418_756_5e-4, -3.774_895e-8];
    const COS: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];
    const SIN: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
    let octant = ((angle * FOUR_OVER_PI) as i32 + 1) & !1;
    let x = MINUS_PI_OVER_4.iter().fold(angle, |x, &part| (octant as f32).mul_add(part, x));
    let square = x * x;
    let cos = COS[0].mul_add(square, COS[1]).mul_add(square, COS[2]) * square;
    let cos = cos.mul_add(square, -(square * 0.5)) + 1.0;
    let sin = SIN[0].mul_add(square, SIN[1]).mul_add(square, SIN[2]) * square;
    let sin = sin.mul_add(x, x);
    let (sin, cos) = if octant & 2 == 0 { (sin, cos) } else { (cos, sin) };
    let sin = if octant & 4 == 0 { sin } else { -sin };
    let cos = if (octant - 2) & 4 == 0 { -cos } else { cos };
    (sin, cos)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(seed: u64, len: usize) -> Vec<u32> {
        TorchGenerator::new(seed).normal(len).iter().map(|x| x.to_bits()).collect()
    }

    /// Sum and exclusive or of the bits of `torch.randn(1 << 18, generator=...manual_seed(42))`, torch 2.15, AVX2 and AVX-512.
    #[test]
    fn a_quarter_million_numbers_are_torchs_to_the_bit() {
        let bits = bits(42, 1 << 18);
        assert_eq!(bits.iter().map(|&b| u64::from(b)).sum::<u64>(), 558_531_570_450_569);
        assert_eq!(bits.iter().fold(0, |all, &b| all ^ b), 2_260_794_869);
    }

    #[test]
    fn short_uneven_and_large_seeds_are_torchs_too() {
        let close = |found: &[f32], expected: &[f32]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-7);
        let scalar = TorchGenerator::new(0).normal(4);
        assert!(close(&scalar, &[1.540_996_1, -0.293_428_9, -2.178_789_4, 0.568_431_3]), "{scalar:?}");
        let uneven = TorchGenerator::new(0).normal(20);
        assert!(
            close(&uneven[..6], &[-1.125_839_8, -1.152_360_2, -0.250_578_6, -0.433_878_8, 0.598_839_5, -1.555_095_1]),
            "{uneven:?}"
        );
        assert!(close(&uneven[19..], &[0.053_736_9]), "{uneven:?}");
        assert_eq!(bits(3, 16), bits((1 << 40) + 3, 16));
    }
}
