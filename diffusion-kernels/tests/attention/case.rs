//! Inputs of attention, in one of the ways that they may lie in memory.

use diffusion_kernels::{Attention, Bias, Cpu, Products, Strides, Tokens, TokensMut, attention};

use crate::common::random;
use crate::guarded::{Guarded, Side};

/// How tokens of a segment lie.
#[derive(Clone, Copy, Debug)]
pub enum Layout {
    /// `[batch, len, heads, head_dim]`
    Projection,
    /// `[batch, heads, len, head_dim]`
    Heads,
    /// `[batch, len, heads, head_dim]` of a wider row, as one product for queries, keys and values writes it.
    Wide,
}

/// Sizes, and what is seen.
#[derive(Clone, Debug)]
pub struct Case {
    pub batch: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// Of each segment.
    pub queries: Vec<usize>,
    pub keys: Vec<usize>,
    pub layout: Layout,
    pub scale: f32,
    /// Factor of queries and keys.
    pub spread: f32,
    pub causal: bool,
    pub bias: BiasOf,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BiasOf {
    Nothing,
    /// `[queries, keys]`, a quarter of them hidden.
    All,
    /// `[heads, queries, keys]`
    Heads,
}

impl Case {
    pub fn new(queries: usize, keys: usize, head_dim: usize) -> Self {
        Self {
            batch: 1,
            heads: 2,
            head_dim,
            queries: vec![queries],
            keys: vec![keys],
            layout: Layout::Projection,
            scale: (head_dim as f32).powf(-0.5),
            spread: 1.0,
            causal: false,
            bias: BiasOf::Nothing,
        }
    }

    pub fn query_len(&self) -> usize {
        self.queries.iter().sum()
    }
    pub fn key_len(&self) -> usize {
        self.keys.iter().sum()
    }

    pub fn strides(&self, len: usize) -> Strides {
        let Self { heads, head_dim, .. } = *self;
        match self.layout {
            Layout::Projection => Strides::of_projection(len, heads, head_dim),
            Layout::Heads => Strides::of_heads(heads, len, head_dim),
            Layout::Wide => {
                let token = 3 * heads * head_dim + 1;
                Strides { batch: len * token, head: head_dim, token }
            }
        }
    }

    /// Numbers from the first to the last of a segment.
    pub fn extent(&self, len: usize) -> usize {
        let strides = self.strides(len);
        if self.batch * self.heads * len == 0 {
            return 0;
        }
        (self.batch - 1) * strides.batch + (self.heads - 1) * strides.head + (len - 1) * strides.token + self.head_dim
    }
}

/// Numbers of a case.
pub struct Inputs {
    pub case: Case,
    pub queries: Vec<Guarded>,
    pub keys: Vec<Guarded>,
    pub values: Vec<Guarded>,
    pub bias: Option<Guarded>,
    pub side: Side,
}

impl Inputs {
    pub fn new(case: &Case, side: Side) -> Self {
        let segments = |lens: &[usize], seed: u64, spread: f32| -> Vec<Guarded> {
            let segment = |(i, &len): (usize, &usize)| {
                let values: Vec<f32> = random(case.extent(len), seed + i as u64).into_iter().map(|x| x * spread).collect();
                Guarded::new(&values, side)
            };
            lens.iter().enumerate().map(segment).collect()
        };
        let matrix = case.query_len() * case.key_len();
        let bias = match case.bias {
            BiasOf::Nothing => None,
            BiasOf::All => {
                Some(random(matrix, 40).into_iter().map(|x| if x < -0.5 { f32::NEG_INFINITY } else { 3.0 * x }).collect())
            }
            BiasOf::Heads => Some(random(case.heads * matrix, 41)),
        };
        Self {
            queries: segments(&case.queries, 10, case.spread),
            keys: segments(&case.keys, 20, case.spread),
            values: segments(&case.keys, 30, 1.0),
            bias: bias.map(|bias: Vec<f32>| Guarded::new(&bias, side)),
            case: case.clone(),
            side,
        }
    }

    pub fn tokens<'a>(&'a self, segments: &'a [Guarded], lens: &[usize]) -> Vec<Tokens<'a>> {
        let token = |(values, &len): (&'a Guarded, &usize)| Tokens { values, len, strides: self.case.strides(len) };
        segments.iter().zip(lens).map(token).collect()
    }

    /// Call `body` with the arguments of attention.
    pub fn with<R>(&self, body: impl FnOnce(&Attention<'_>) -> R) -> R {
        let case = &self.case;
        let bias = self.bias.as_deref().map(|values| match case.bias {
            BiasOf::Heads => Bias::per_head(values, case.query_len(), case.key_len()),
            _ => Bias::shared(values, case.key_len()),
        });
        body(&Attention {
            batch: case.batch,
            heads: case.heads,
            head_dim: case.head_dim,
            scale: case.scale,
            queries: &self.tokens(&self.queries, &case.queries),
            keys: &self.tokens(&self.keys, &case.keys),
            values: &self.tokens(&self.values, &case.keys),
            bias,
            causal: case.causal,
        })
    }

    /// Segments of the shape of `lens`, filled with what no result is.
    pub fn places(&self, lens: &[usize]) -> Vec<Guarded> {
        lens.iter().map(|&len| Guarded::new(&vec![f32::NAN; self.case.extent(len)], self.side)).collect()
    }

    pub fn places_mut<'a>(&self, places: &'a mut [Guarded], lens: &[usize]) -> Vec<TokensMut<'a>> {
        let segment = |(values, &len): (&'a mut Guarded, &usize)| TokensMut { values, len, strides: self.case.strides(len) };
        places.iter_mut().zip(lens).map(segment).collect()
    }

    /// `[batch, heads, tokens, head_dim]` without gaps.
    pub fn gather(&self, segments: &[Guarded], lens: &[usize]) -> Vec<f32> {
        let mut out = vec![];
        for batch in 0..self.case.batch {
            for head in 0..self.case.heads {
                for (values, &len) in segments.iter().zip(lens) {
                    let strides = self.case.strides(len);
                    for token in 0..len {
                        let first = batch * strides.batch + head * strides.head + token * strides.token;
                        out.extend_from_slice(&values[first..first + self.case.head_dim]);
                    }
                }
            }
        }
        out
    }

    /// The result as `[batch, heads, queries, head_dim]`, and the log-sum-exps.
    pub fn attend(&self, cpu: Cpu, products: Products) -> [Vec<f32>; 2] {
        let case = &self.case;
        let mut out = self.places(&case.queries);
        let blank = vec![f32::NAN; case.batch * case.heads * case.query_len()];
        let mut sums = Guarded::new(&blank, self.side);
        self.with(|inputs| attention(cpu, products, inputs, &mut self.places_mut(&mut out, &case.queries), Some(&mut sums)));
        let row_len: usize = out.iter().map(|out| out.iter().filter(|x| !x.is_nan()).count()).sum();
        assert!(row_len <= blank.len() * case.head_dim, "written between rows");
        [self.gather(&out, &case.queries), sums.to_vec()]
    }
}
