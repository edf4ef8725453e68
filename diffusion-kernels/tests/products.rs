//! Products against f64, for every instruction set of this processor.

mod common;

use common::{Blocks, FORMATS, error, product, random, rounded, stored};
use diffusion_kernels::{Activation, Cpu, Epilogue, Instructions, PerImage, Products, Residual, Weight, WeightFormat, linear};

/// Root of the mean square, relative, of f32 sums of exact products.
const LIMIT: f64 = 1e-6;

fn run(cpu: Cpu, products: Products, input: &[f32], weight: &Weight<'_>, rows: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; rows * weight.shape()[0]];
    linear(cpu, products, input, weight, &Epilogue::default(), &mut out);
    out
}

/// However it is read, a weight gives the same numbers to the last bit: in place, or widened where its bytes are not aligned, for few
/// rows; packed for many.
#[test]
fn weights_that_are_read_in_other_ways_give_the_same_bits() {
    let cases = [(WeightFormat::F32, Products::F32), (WeightFormat::Bf16, Products::Bf16), (WeightFormat::Q8_0, Products::Bf16)];
    for (format, products) in cases {
        for (outputs, inputs) in [(1, 32), (7, 64), (53, 768), (131, 1312)] {
            let weight = stored(format, outputs * inputs, 3);
            // The bytes of a vector begin at an address that any number may have.
            let misaligned: Vec<u8> = [0].iter().chain(&weight.bytes).copied().collect();
            let matrix = |bytes| Weight::new(format, bytes, [outputs, inputs]);
            for rows in [5, 16, 17, 33, 48, 49, 64, 77, 80, 96, 97, 200, 256, 288, 289] {
                let input = random(rows * inputs, 4);
                for cpu in Cpu::available() {
                    let in_place = run(cpu, products, &input, &matrix(&weight.bytes), rows);
                    let again = [&input[..], &input, &input, &input].concat();
                    let packed = run(cpu, products, &input, &matrix(&misaligned[1..]), rows);
                    assert!(in_place == packed, "{cpu:?} {format:?} {rows} x {outputs} x {inputs}");
                    let of_many = run(cpu, products, &again, &matrix(&weight.bytes), 4 * rows);
                    assert!(in_place == of_many[..rows * outputs], "{cpu:?} {format:?} {rows} of many");
                }
            }
        }
    }
}

/// Every size around the edges of tiles, vectors and parts of sums, from bytes that begin at any address.
#[test]
fn products_are_exact_at_every_size_from_every_format() {
    let lens: [usize; 16] = [1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 70, 96, 257, 385, 769, 1000];
    let (mut case, mut checked) = (0, 0);
    for outputs in 1..=70 {
        for (index, &inputs) in lens.iter().enumerate() {
            // Every number of rows with every number of outputs is too many: a different share of both for each length.
            let rows = 1 + (outputs * 7 + index * 11) % 70;
            for format in FORMATS {
                case += 1;
                let (block_len, _) = format.block();
                let inputs = if block_len == 1 { inputs } else { inputs.div_ceil(block_len) * block_len };
                if case % 5 != 0 && inputs > 300 {
                    continue;
                }
                let weight = stored(format, outputs * inputs, case);
                // Aligned bytes may be read in place.
                let skipped = case as usize / 9 % 2;
                let misaligned: Vec<u8> = vec![0; skipped].into_iter().chain(weight.bytes.iter().copied()).collect();
                let matrix = Weight::new(format, &misaligned[skipped..], [outputs, inputs]);
                let input = random(rows * inputs, case + 1);
                let sizes = [rows, outputs, inputs];
                let exact = product(&input, &weight.numbers, sizes);
                let exact_bf16 = product(&rounded(&input), &rounded(&weight.numbers), sizes);
                for cpu in Cpu::available() {
                    let found = error(&run(cpu, Products::F32, &input, &matrix, rows), &exact);
                    assert!(found < LIMIT, "{cpu:?} {format:?} {sizes:?}: {found}");
                    let found = error(&run(cpu, Products::Bf16, &input, &matrix, rows), &exact_bf16);
                    assert!(found < LIMIT, "{cpu:?} bf16 {format:?} {sizes:?}: {found}");
                    checked += 2;
                }
            }
        }
    }
    assert!(checked > 10_000);
}

#[test]
fn rows_depend_neither_on_their_number_nor_on_threads() {
    let (outputs, inputs) = (131, 1300);
    let weight = stored(WeightFormat::Bf16, outputs * inputs, 3);
    let matrix = Weight::new(WeightFormat::Bf16, &weight.bytes, [outputs, inputs]);
    let input = random(300 * inputs, 4);
    for cpu in Cpu::available() {
        for products in [Products::F32, Products::Bf16] {
            let all = run(cpu, products, &input, &matrix, 300);
            for threads in [1, 3, 8] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                assert!(pool.install(|| run(cpu, products, &input, &matrix, 300)) == all, "{cpu:?} {threads} threads");
            }
            for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 77, 150] {
                for first in [0, 300 - rows] {
                    let found = run(cpu, products, &input[first * inputs..][..rows * inputs], &matrix, rows);
                    assert!(found == all[first * outputs..][..rows * outputs], "{cpu:?} {products:?} {rows} rows");
                }
            }
        }
    }
}

#[test]
fn stored_numbers_are_widened_to_the_last_bit() {
    let inputs = 512;
    let mut identity = vec![0.0; inputs * inputs];
    for i in 0..inputs {
        identity[i * inputs + i] = 1.0;
    }
    for format in FORMATS {
        let weight = stored(format, 20 * inputs, 5);
        let matrix = Weight::new(format, &weight.bytes, [20, inputs]);
        for cpu in Cpu::available() {
            let found = run(cpu, Products::F32, &identity, &matrix, inputs);
            let found_bf16 = run(cpu, Products::Bf16, &identity, &matrix, inputs);
            let numbers_bf16 = rounded(&weight.numbers);
            for (at, (&number, number_bf16)) in weight.numbers.iter().zip(numbers_bf16).enumerate() {
                let (row, column) = (at / inputs, at % inputs);
                assert_eq!(found[column * 20 + row], number, "{cpu:?} {format:?} {row} {column}");
                assert_eq!(found_bf16[column * 20 + row], number_bf16, "{cpu:?} bf16 {format:?} {row} {column}");
            }
        }
    }
}

#[test]
fn other_formats_are_widened_piece_by_piece() {
    for (block_len, inputs) in [(1, 777), (32, 992), (96, 960), (256, 1280), (1280, 1280)] {
        let numbers = random(53 * inputs, 6);
        let blocks = Blocks { numbers: &numbers, row_len: inputs, block_len };
        let matrix = Weight::widened_by(&blocks, [53, inputs]);
        for rows in [1, 3, 40] {
            let input = random(rows * inputs, 7);
            let exact = product(&input, &numbers, [rows, 53, inputs]);
            let exact_bf16 = product(&rounded(&input), &rounded(&numbers), [rows, 53, inputs]);
            for cpu in Cpu::available() {
                assert!(error(&run(cpu, Products::F32, &input, &matrix, rows), &exact) < LIMIT, "{cpu:?} {block_len}");
                assert!(error(&run(cpu, Products::Bf16, &input, &matrix, rows), &exact_bf16) < LIMIT, "{cpu:?} {block_len}");
            }
        }
    }
}

#[test]
fn long_sums_stay_exact() {
    for (rows, outputs, inputs) in [(9, 50, 12288), (1, 64, 15360), (17, 33, 5003)] {
        let weight = stored(WeightFormat::Bf16, outputs * inputs, 8);
        let matrix = Weight::new(WeightFormat::Bf16, &weight.bytes, [outputs, inputs]);
        let input = random(rows * inputs, 9);
        let exact = product(&input, &weight.numbers, [rows, outputs, inputs]);
        let exact_bf16 = product(&rounded(&input), &weight.numbers, [rows, outputs, inputs]);
        for cpu in Cpu::available() {
            let found = error(&run(cpu, Products::F32, &input, &matrix, rows), &exact);
            assert!(found < LIMIT, "{cpu:?}: {found}");
            let found = error(&run(cpu, Products::Bf16, &input, &matrix, rows), &exact_bf16);
            assert!(found < LIMIT, "{cpu:?} bf16: {found}");
        }
    }
}

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::GeluTanh => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh()),
        Activation::GeluErf => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        Activation::GeluQuick => x / (1.0 + (-1.702 * x).exp()),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
    }
}

/// By its series; for magnitudes up to 5.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn epilogues_follow_their_definition() {
    let (rows, outputs, inputs) = (14, 51, 40);
    let numbers = random(outputs * inputs, 10);
    let weight: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let matrix = Weight::new(WeightFormat::F32, &weight, [outputs, inputs]).scaled(0.25).scaled(2.0);
    let input = random(rows * inputs, 11);
    let sums = product(&input, &numbers, [rows, outputs, inputs]);
    let (bias, gates, added) = (random(outputs, 12), random(3 * outputs, 13), random(rows * outputs, 14));
    let beside = random(rows * outputs, 15);
    let activations =
        [Activation::None, Activation::GeluTanh, Activation::GeluErf, Activation::GeluQuick, Activation::Silu, Activation::Relu];
    for activation in activations {
        for choice in 0..24 {
            let (has_bias, gate, residual, is_beside) = (choice % 2 == 1, choice / 2 % 2, choice / 4 % 3, choice >= 12);
            let epilogue = Epilogue {
                bias: has_bias.then_some(&bias[..]),
                beside: is_beside.then_some(&beside[..]),
                activation,
                gate: (gate == 1).then(|| PerImage::new(&gates, 5)),
                residual: [Residual::None, Residual::Out, Residual::From(&added)][residual],
            };
            let exact: Vec<f64> = (0..rows * outputs)
                .map(|at| {
                    let (row, column) = (at / outputs, at % outputs);
                    let x = 0.5 * sums[at] + if has_bias { f64::from(bias[column]) } else { 0.0 };
                    let x = x + if is_beside { f64::from(beside[at]) } else { 0.0 };
                    let factor = if gate == 1 { f64::from(gates[row / 5 * outputs + column]) } else { 1.0 };
                    let base = if residual > 0 { f64::from(added[at]) } else { 0.0 };
                    base + factor * activated(activation, x)
                })
                .collect();
            for cpu in Cpu::available() {
                let mut out = added.clone();
                linear(cpu, Products::F32, &input, &matrix, &epilogue, &mut out);
                let found = error(&out, &exact);
                assert!(found < LIMIT, "{cpu:?} {epilogue:?}: {found}");
            }
        }
    }
}

#[test]
fn empty_products_are_their_epilogue() {
    for cpu in Cpu::available() {
        let nothing = Weight::new(WeightFormat::Q8_0, &[], [3, 0]);
        let mut out = [1.0; 6];
        let epilogue = Epilogue { bias: Some(&[1.0, 2.0, 3.0]), residual: Residual::Out, ..Epilogue::default() };
        linear(cpu, Products::Bf16, &[], &nothing, &epilogue, &mut out);
        assert_eq!(out, [2.0, 3.0, 4.0, 2.0, 3.0, 4.0]);
        let blocks = Blocks { numbers: &[], row_len: 0, block_len: 256 };
        linear(cpu, Products::F32, &[], &Weight::widened_by(&blocks, [3, 0]), &epilogue, &mut out);
        assert_eq!(out[..3], [3.0, 5.0, 7.0]);
        // Of as many rows as are read in another way, after a product that left numbers in the scratch.
        for rows in [5, 20, 300] {
            run(cpu, Products::F32, &random(rows, 17), &Weight::new(WeightFormat::F32, &[65; 12], [3, 1]), rows);
            let mut out = vec![1.0; 3 * rows];
            linear(cpu, Products::Bf16, &[], &nothing, &epilogue, &mut out);
            assert!(out.chunks(3).all(|row| row == [2.0, 3.0, 4.0]), "{rows} rows");
        }
        linear(cpu, Products::F32, &[], &Weight::new(WeightFormat::F32, &[0; 12], [3, 1]), &Epilogue::default(), &mut []);
        linear(cpu, Products::F32, &[], &Weight::new(WeightFormat::F32, &[], [0, 4]), &Epilogue::default(), &mut []);
    }
}

#[test]
fn what_is_no_number_reaches_its_row_and_no_other() {
    let (outputs, inputs) = (50, 100);
    let weight = stored(WeightFormat::F32, outputs * inputs, 15);
    let matrix = Weight::new(WeightFormat::F32, &weight.bytes, [outputs, inputs]);
    let mut input = random(10 * inputs, 16);
    input[3 * inputs + 99] = f32::NAN;
    input[5 * inputs] = f32::INFINITY;
    for cpu in Cpu::available() {
        for products in [Products::F32, Products::Bf16] {
            let out = run(cpu, products, &input, &matrix, 10);
            for (row, out) in out.chunks(outputs).enumerate() {
                assert!(out.iter().all(|x| if row == 3 { x.is_nan() } else { x.is_finite() == (row != 5) }), "{cpu:?} {row}");
            }
        }
    }
}

#[test]
fn the_best_instructions_are_above_the_others() {
    let all: Vec<Cpu> = Cpu::available().collect();
    assert_eq!(all.first().map(|cpu| cpu.instructions()), Some(Instructions::Generic));
    assert_eq!(all.last().copied(), Some(Cpu::detect()));
    assert!(all.is_sorted_by_key(|cpu| cpu.instructions()));
    for limit in Instructions::ALL {
        assert!(Cpu::detect().at_most(limit).instructions() <= limit);
    }
}

/// Lengths that do not fit are refused before anything is read.
mod refusals {
    use super::*;

    #[test]
    #[should_panic(expected = "bytes of 2 rows of 32 numbers in Q8_0")]
    fn weights_that_are_too_short() {
        Weight::new(WeightFormat::Q8_0, &[0; 67], [2, 32]);
    }

    #[test]
    #[should_panic(expected = "rows of 100 numbers in blocks of 32")]
    fn rows_that_are_no_whole_blocks() {
        Weight::new(WeightFormat::Q4_0, &[0; 72], [1, 100]);
    }

    #[test]
    #[should_panic(expected = "bytes of")]
    fn sizes_beyond_memory() {
        Weight::new(WeightFormat::F32, &[0; 16], [usize::MAX / 2, 4]);
    }

    #[test]
    #[should_panic(expected = "numbers of the input")]
    fn inputs_of_another_length() {
        let weight = Weight::new(WeightFormat::F32, &[0; 16], [2, 2]);
        linear(Cpu::detect(), Products::F32, &[0.0; 3], &weight, &Epilogue::default(), &mut [0.0; 4]);
    }

    #[test]
    #[should_panic(expected = "numbers of the gate")]
    fn a_gate_for_another_number_of_images() {
        let weight = Weight::new(WeightFormat::F32, &[0; 16], [2, 2]);
        let epilogue = Epilogue { gate: Some(PerImage::new(&[0.0; 2], 1)), ..Epilogue::default() };
        linear(Cpu::detect(), Products::F32, &[0.0; 4], &weight, &epilogue, &mut [0.0; 4]);
    }
}

/// The transpose of a stored weight gives what the transposed numbers give, from every format, on every path.
#[test]
fn transposes_are_those_of_the_stored_matrix() {
    for (outputs, inputs) in [(1, 256), (5, 512), (33, 256), (130, 768), (401, 512)] {
        for format in FORMATS {
            let weight = stored(format, outputs * inputs, 11);
            let matrix = Weight::new(format, &weight.bytes, [outputs, inputs]).scaled(0.5);
            let transposed = Weight::transposed(&matrix);
            assert_eq!(transposed.shape(), [inputs, outputs]);
            let numbers: Vec<f32> =
                (0..outputs * inputs).map(|at| 0.5 * weight.numbers[at % outputs * inputs + at / outputs]).collect();
            for rows in [1, 3, 6, 77, 290] {
                let input = random(rows * outputs, 12);
                let sizes = [rows, inputs, outputs];
                let exact = product(&input, &numbers, sizes);
                let exact_bf16 = product(&rounded(&input), &rounded(&numbers), sizes);
                for cpu in Cpu::available() {
                    let found = error(&run(cpu, Products::F32, &input, &transposed, rows), &exact);
                    assert!(found < LIMIT, "{cpu:?} {format:?} {sizes:?}: {found}");
                    let found = error(&run(cpu, Products::Bf16, &input, &transposed, rows), &exact_bf16);
                    assert!(found < LIMIT, "{cpu:?} bf16 {format:?} {sizes:?}: {found}");
                }
            }
        }
    }
}
