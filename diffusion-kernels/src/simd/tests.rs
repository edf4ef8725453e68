//! Every operation of every set of vectors, against plain Rust or f64.

use super::*;
use crate::Cpu;
use crate::cpu::with_vectors;

/// The numbers of a vector.
fn numbers<S: Simd>(s: S, vector: S::V) -> Vec<f32> {
    let mut out = vec![0.0; S::LANES];
    s.store(vector, &mut out);
    out
}

type Case<S> = (&'static str, fn(S, &[u8]) -> <S as Simd>::V, fn(u8) -> f32);

type Binary<S> = (fn(S, <S as Simd>::V, <S as Simd>::V) -> <S as Simd>::V, fn(f32, f32) -> f32);

type Function<S> = (&'static str, fn(S, <S as Simd>::V) -> <S as Simd>::V, fn(f64) -> f64, f64);

fn same(found: f32, expected: f32) -> bool {
    found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan())
}

fn check_bytes<S: Simd>(s: S) {
    let codes: Vec<u8> = (0..=255).collect();
    let cases: [Case<S>; 5] = [
        ("i8", S::from_i8, |code| f32::from(code as i8)),
        ("low nibbles", |s, bytes| s.from_low_nibbles(bytes, 8), |code| f32::from(code & 15) - 8.0),
        ("high nibbles", |s, bytes| s.from_high_nibbles(bytes, 3), |code| f32::from(code >> 4) - 3.0),
        ("e4m3", S::from_e4m3, e4m3),
        ("e5m2", S::from_e5m2, |code| half::f16::from_bits(u16::from(code) << 8).to_f32()),
    ];
    for (name, widen, expected) in cases {
        for chunk in codes.chunks(S::LANES) {
            for (found, &code) in numbers(s, widen(s, chunk)).into_iter().zip(chunk) {
                assert!(same(found, expected(code)), "{name} {code:#x}: {found}");
            }
        }
    }
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for chunk in all.chunks(S::LANES) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        let halves = numbers(s, s.from_f16(&bytes)).into_iter().zip(numbers(s, s.from_bf16(&bytes)));
        for ((f16, bf16), &bits) in halves.zip(chunk) {
            assert!(same(numbers(s, s.splat_f16(bits.to_le_bytes()))[S::LANES - 1], f16));
            assert!(same(f16, half::f16::from_bits(bits).to_f32()), "f16 {bits:#x}: {f16}");
            assert!(same(bf16, half::bf16::from_bits(bits).to_f32()), "bf16 {bits:#x}: {bf16}");
        }
    }
}

/// OCP 8-bit floating point specification, revision 1.0, section 5.
fn e4m3(code: u8) -> f32 {
    let sign = if code & 0x80 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => sign * mantissa * 2f32.powi(-9),
        _ => sign * (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    }
}

fn check_lanes<S: Simd>(s: S) {
    let n = S::LANES;
    let a: Vec<f32> = (0..n).map(|i| i as f32 - 3.3).collect();
    let b: Vec<f32> = (0..n).map(|i| 2.5 - i as f32 * 0.7).collect();
    let (va, vb) = (s.load(&a), s.load(&b));
    let binaries: [Binary<S>; 6] = [
        (S::add, |a, b| a + b),
        (S::sub, |a, b| a - b),
        (S::mul, |a, b| a * b),
        (S::div, |a, b| a / b),
        (S::max, f32::max),
        (S::min, f32::min),
    ];
    for (found, expected) in binaries {
        let found = numbers(s, found(s, va, vb));
        assert!(found.iter().zip(a.iter().zip(&b)).all(|(found, (&a, &b))| *found == expected(a, b)));
    }
    let sums = numbers(s, s.mul_add(va, vb, va));
    assert!(sums.iter().zip(a.iter().zip(&b)).all(|(found, (a, b))| (found - (a * b + a)).abs() < 1e-4));
    assert_eq!(numbers(s, s.abs(va)), a.iter().map(|a| a.abs()).collect::<Vec<_>>());
    assert_eq!(numbers(s, s.round(va)), a.iter().map(|a| a.round_ties_even()).collect::<Vec<_>>());
    assert_eq!(numbers(s, s.round(s.splat(2.5)))[0], 2.0);
    assert_eq!(
        numbers(s, s.select_negative(vb, va, vb)),
        (0..n).map(|i| if b[i] < 0.0 { a[i] } else { b[i] }).collect::<Vec<_>>()
    );
    assert!((s.sum(va) - a.iter().sum::<f32>()).abs() < 1e-4);
    assert_eq!((s.highest(va), s.highest(vb)), (a[n - 1], b[0]));
    assert_eq!(numbers(s, s.swap_pairs(va)), (0..n).map(|i| a[i ^ 1]).collect::<Vec<_>>());
    let [low, high] = s.interleave(va, vb);
    let both: Vec<f32> = (0..2 * n).map(|i| if i % 2 == 0 { a[i / 2] } else { b[i / 2] }).collect();
    assert_eq!([numbers(s, low), numbers(s, high)].concat(), both);
    let nan = numbers(s, s.max(s.splat(1.0), s.splat(f32::NAN)));
    assert!(nan[0].is_nan());

    for len in 0..=n {
        let found = numbers(s, s.load_part(&a[..len]));
        assert!((0..n).all(|i| found[i] == if i < len { a[i] } else { 0.0 }));
        let mut out = vec![9.0; n + 1];
        s.store_part(va, &mut out[..len]);
        assert!((0..=n).all(|i| out[i] == if i < len { a[i] } else { 9.0 }));
    }

    let mut block = s.zero_block();
    for (i, row) in block.as_mut().iter_mut().enumerate() {
        *row = s.load(&(0..n).map(|j| (i * n + j) as f32).collect::<Vec<_>>());
    }
    for (i, row) in s.transpose(block).as_ref().iter().enumerate() {
        assert_eq!(numbers(s, *row), (0..n).map(|j| (j * n + i) as f32).collect::<Vec<_>>());
    }
    let bytes: Vec<u8> = [7].into_iter().chain(a.iter().flat_map(|a| a.to_le_bytes())).collect();
    assert_eq!(numbers(s, s.from_f32(&bytes[1..])), a);
}

fn check_rounding<S: Simd>(s: S) {
    let special =
        [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::from_bits(0x7fff_ffff), f32::MAX, f32::MIN_POSITIVE, 1e-45];
    let ties = (0..2000u32).map(|i| f32::from_bits(0x3f80_0000 + i * 0x2000 + (i % 5) * 0x7fff));
    let values: Vec<f32> = special.into_iter().chain(ties).collect();
    for chunk in values.chunks(S::LANES) {
        for (found, value) in numbers(s, s.round_bf16(s.load_part(chunk))).into_iter().zip(chunk) {
            assert!(same(found, half::bf16::from_f32(*value).to_f32()), "{value}: {found}");
        }
    }
}

fn check_functions<S: Simd>(s: S) {
    let functions: [Function<S>; 7] = [
        ("exp2", exp2, f64::exp2, 3e-7),
        ("exp2_of_negative", exp2_of_negative, f64::exp2, 3e-7),
        ("exp2_of_negative_coarse", exp2_of_negative_coarse, f64::exp2, 1e-4),
        ("silu", silu, |x| x / (1.0 + (-x).exp()), 3e-6),
        ("gelu_quick", gelu_quick, |x| x / (1.0 + (-1.702 * x).exp()), 3e-6),
        (
            "gelu_tanh",
            gelu_tanh,
            |x| x / (1.0 + (-2.0 * (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).exp()),
            2e-5,
        ),
        ("gelu_erf", gelu_erf, |x| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)), f64::INFINITY),
    ];
    let values: Vec<f32> = (-2000..2000).map(|i| i as f32 * 0.01 + 0.003).collect();
    for (name, function, exact, relative) in functions {
        for chunk in values.chunks(S::LANES) {
            for (found, &x) in numbers(s, function(s, s.load_part(chunk))).into_iter().zip(chunk) {
                let expected = exact(f64::from(x));
                let error = (f64::from(found) - expected).abs();
                assert!(error <= relative * expected.abs().max(1e-30), "{name}({x}) = {found}, not {expected}");
                assert!(name.starts_with("exp2") || error <= 5e-7 * f64::from(x.abs()), "{name}({x}) = {found}, not {expected}");
            }
        }
    }
    for function in [exp2, exp2_of_negative, exp2_of_negative_coarse] {
        let at = |x| numbers(s, function(s, s.splat(x)))[0];
        assert_eq!([at(f32::NEG_INFINITY), at(-1e30), at(-151.0)], [0.0; 3]);
        assert!(at(f32::NAN).is_nan() && (at(-140.0) / 2f32.powi(-140) - 1.0).abs() < 2e-3 && at(127.5).is_finite());
    }
    let at = |x| numbers(s, exp2(s, s.splat(x)))[0];
    assert_eq!([at(f32::INFINITY), at(1e30), at(129.0)], [f32::INFINITY; 3]);
    let at = |x| numbers(s, silu(s, s.splat(x)))[0];
    assert_eq!((at(0.0), at(1e30), at(-1e30)), (0.0, 1e30, -0.0));
}

/// By its series, or the continued fraction of its complement.
fn erf(x: f64) -> f64 {
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for n in 1..100 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        let z = x.abs();
        let fraction = (1..=60).rev().fold(z, |below, n| z + f64::from(n) / 2.0 / below);
        x.signum() * (1.0 - (-z * z).exp() / std::f64::consts::PI.sqrt() / fraction)
    }
}

#[test]
fn vectors_compute_what_plain_rust_does() {
    for cpu in Cpu::available() {
        with_vectors!(cpu, s => {
            check_lanes(s);
            check_bytes(s);
            check_rounding(s);
        });
    }
}

#[test]
fn functions_are_exact() {
    for cpu in Cpu::available() {
        with_vectors!(cpu, s => check_functions(s));
    }
}
