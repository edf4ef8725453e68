//! What no length says: hidden keys, numbers that are none, other threads, wrong arguments.

use std::ops::Range;

use diffusion_kernels::{Attention, Cpu, Products, Strides, Tokens, TokensMut, attention};

use crate::case::{BiasOf, Case, Inputs};
use crate::guarded::Side;

fn each(mut body: impl FnMut(Cpu, Products)) {
    for cpu in Cpu::available() {
        for products in [Products::F32, Products::Bf16] {
            body(cpu, products);
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn queries_that_see_no_key_get_zeros() {
    let mut case = Case::new(5, 600, 20);
    case.bias = BiasOf::All;
    let mut inputs = Inputs::new(&case, Side::After);
    let bias = inputs.bias.as_mut().unwrap();
    bias.fill(f32::NEG_INFINITY);
    // The second query sees a key of the last block, the third one of the first.
    (bias[600 + 599], bias[2 * 600]) = (1.0, -2.0);
    let values = inputs.gather(&inputs.values, &case.keys);
    each(|cpu, products| {
        let [out, sums] = inputs.attend(cpu, products);
        for (row, (out, sum)) in out.chunks(20).zip(sums).enumerate() {
            let key = (row / 5 * 600) + [0, 599, 0, 0, 0][row % 5];
            let seen = row % 5 == 1 || row % 5 == 2;
            assert!(if seen { sum.is_finite() } else { sum == f32::NEG_INFINITY }, "{row} {sum}");
            for (out, value) in out.iter().zip(&values[key * 20..]) {
                assert!(if seen { (out - value).abs() < 4e-3 } else { out.to_bits() == 0 }, "{row} {out} {value}");
            }
        }
    });
}

#[test]
fn nothing_is_attended_without_tokens() {
    each(|cpu, products| {
        let [out, sums] = Inputs::new(&Case::new(7, 0, 20), Side::After).attend(cpu, products);
        assert!(out.len() == 280 && out.iter().all(|out| out.to_bits() == 0));
        assert!(sums.len() == 14 && sums.iter().all(|sum| *sum == f32::NEG_INFINITY));
        let [out, _] = Inputs::new(&Case::new(0, 7, 20), Side::After).attend(cpu, products);
        assert!(out.is_empty());
    });
}

#[test]
fn numbers_that_are_none_stay_in_their_rows() {
    let case = Case::new(30, 40, 24);
    let mut inputs = Inputs::new(&case, Side::After);
    let clean = inputs.attend(Cpu::detect(), Products::F32)[0].clone();
    inputs.queries[0][5 * 48 + 3] = f32::NAN;
    inputs.queries[0][7 * 48 + 24 + 1] = f32::INFINITY;
    let [out, _] = inputs.attend(Cpu::detect(), Products::F32);
    for (row, (out, clean)) in out.chunks(24).zip(clean.chunks(24)).enumerate() {
        let none = row == 5 || row == 30 + 7;
        assert!(if none { out.iter().all(|x| x.is_nan()) } else { bits(out) == bits(clean) }, "{row}");
    }
}

#[test]
fn rows_depend_neither_on_the_batch_nor_on_threads_nor_on_segments() {
    let mut case = Case::new(200, 300, 40);
    (case.batch, case.heads, case.causal, case.bias) = (3, 3, true, BiasOf::Heads);
    let inputs = Inputs::new(&case, Side::After);
    each(|cpu, products| {
        let threads = |count| rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        let all = threads(1).install(|| inputs.attend(cpu, products));
        let by_five = threads(5).install(|| inputs.attend(cpu, products));
        assert!(bits(&all[0]) == bits(&by_five[0]) && bits(&all[1]) == bits(&by_five[1]));

        // The second element of the batch alone, its queries from 50 on in two segments, its keys in two.
        let strides = case.strides(0);
        let [queries, keys, values] = [&inputs.queries, &inputs.keys, &inputs.values].map(|all| &all[0][..]);
        inputs.with(|whole| {
            let second = |values: &'_ [f32], len: usize| values[len * strides.token..].to_vec();
            let [queries, keys, values] = [second(queries, 200), second(keys, 300), second(values, 300)];
            let mut out = vec![0.0; 150 * 120];
            let (first, last) = out.split_at_mut(33 * 120);
            let place = |values, len| TokensMut { values, len, strides };
            let mut bias = whole.bias.unwrap();
            // Causal rows are those from the start, so they are seen through the bias alone here.
            let hidden: Vec<f32> =
                (0..3 * 200 * 300).map(|i| if i % 300 > i / 300 % 200 { f32::NEG_INFINITY } else { bias.values[i] }).collect();
            bias.values = &hidden[50 * 300..];
            let inputs = Attention {
                batch: 1,
                queries: &[part(&queries, strides, 50..70), part(&queries, strides, 70..200)],
                keys: &[part(&keys, strides, 0..7), part(&keys, strides, 7..300)],
                values: &[part(&values, strides, 0..200), part(&values, strides, 200..300)],
                bias: Some(bias),
                causal: false,
                ..*whole
            };
            attention(cpu, products, &inputs, &mut [place(first, 33), place(last, 117)], None);
            for (i, row) in out.chunks(40).enumerate() {
                let (token, head) = (i / 3 + 50, i % 3);
                let expected = &all[0][((3 + head) * 200 + token) * 40..][..40];
                assert_eq!(bits(row), bits(expected), "{token} {head} {products:?} {cpu:?}");
            }
        });
    });
}

fn part(values: &[f32], strides: Strides, tokens: Range<usize>) -> Tokens<'_> {
    Tokens { values: &values[tokens.start * strides.token..], len: tokens.len(), strides }
}

#[test]
#[should_panic(expected = "heads without numbers")]
fn heads_without_numbers_are_refused() {
    Inputs::new(&Case::new(3, 8, 0), Side::After).attend(Cpu::detect(), Products::F32);
}

fn attend_at(len: usize, read: Strides, written: Strides, keys: usize) {
    let (values, mut out) = (vec![0.0; 24], vec![0.0; 24]);
    let tokens = |len| [Tokens { values: &values, len, strides: read }];
    let inputs = Attention {
        batch: 1,
        heads: 2,
        head_dim: 4,
        scale: 1.0,
        queries: &tokens(len),
        keys: &tokens(keys),
        values: &tokens(3),
        bias: None,
        causal: false,
    };
    let out = TokensMut { values: &mut out, len: 3, strides: written };
    attention(Cpu::detect(), Products::F32, &inputs, &mut [out], None);
}

const FITTING: Strides = Strides { batch: 24, head: 4, token: 8 };

#[test]
fn fitting_arguments_are_taken() {
    attend_at(3, FITTING, FITTING, 3);
    attend_at(3, Strides { batch: 0, head: 0, token: 0 }, Strides { batch: 0, head: 12, token: 4 }, 3);
}

#[test]
#[should_panic(expected = "rows of queries")]
fn short_slices_are_refused() {
    attend_at(3, Strides { token: 9, ..FITTING }, FITTING, 3);
}

#[test]
#[should_panic(expected = "rows of queries")]
fn strides_beyond_all_memory_are_refused() {
    attend_at(3, Strides { token: usize::MAX / 2 + 1, ..FITTING }, FITTING, 3);
}

#[test]
#[should_panic(expected = "overlap")]
fn results_on_one_another_are_refused() {
    attend_at(3, FITTING, Strides { token: 7, ..FITTING }, 3);
}

#[test]
#[should_panic(expected = "one for each query")]
fn results_of_another_length_are_refused() {
    attend_at(2, FITTING, FITTING, 3);
}

#[test]
#[should_panic(expected = "one for each key")]
fn values_of_another_length_are_refused() {
    attend_at(3, FITTING, FITTING, 2);
}
