//! Where an adapter patches a network: parameters, and rows of the adapter.

use std::ops::Range;
use std::sync::Arc;

use diffusion_core::checkpoint::{Arrangement, PublishedNames, PublishedPart, PublishedTensor};

use crate::adapter::Adapter;
use crate::dialects::{Dialect, ModuleRows};
use crate::report::Mismatched;
use crate::tensors::Method;

/// One place of an adapter: a parameter, and the rows of the adapter that are its.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Path of the parameter in its network.
    pub(crate) parameter: String,
    pub(crate) kind: PlaceKind,
    pub(crate) rows: Range<usize>,
    /// How the file's rows lie, compared with the parameter's; never transposed.
    pub(crate) arrangement: Arrangement,
    /// All parameters that the published tensor fuses, with their rows.
    pub(crate) fused: Arc<[(String, Range<usize>)]>,
}

/// What a parameter is to its module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PlaceKind {
    /// Its weight.
    Weight,
    /// Its bias.
    Bias,
}

/// Why an adapter has no place in a network that has its module.
pub(crate) enum NoPlace {
    /// The module has no such parameter, or one that no adapter can patch.
    NoParameter,
    /// The parameter has another shape.
    Shape(Mismatched),
}

/// The parameters that an adapter patches in a network with these published names, whose module is called `module`.
pub(crate) fn places(adapter: &Adapter, names: &PublishedNames, module: &str) -> Result<Vec<Place>, NoPlace> {
    let tensors = &adapter.tensors;
    let mut places = Vec::new();
    if tensors.method != Method::BiasOnly {
        let published = weight(names, module).ok_or(NoPlace::NoParameter)?;
        check(adapter, published)?;
        places.extend(spread(published, adapter.module.rows, PlaceKind::Weight));
    }
    if let Some(len) = tensors.bias_len() {
        let published = names.get(&format!("{module}.bias")).ok_or(NoPlace::NoParameter)?;
        let expected = num_rows(published, adapter.module.rows);
        if len != expected {
            let name = adapter.key.clone();
            return Err(NoPlace::Shape(Mismatched { name, expected: [expected, 1], found: [len, 1] }));
        }
        places.extend(spread(published, adapter.module.rows, PlaceKind::Bias));
    }
    Ok(places)
}

/// Whether an adapter has more columns than the weight of the module, which then needs more inputs.
pub(crate) fn widens(adapter: &Adapter, names: &PublishedNames, module: &str) -> bool {
    let columns = weight(names, module).map_or(0, num_columns);
    adapter.tensors.method != Method::BiasOnly && adapter.tensors.shape[1] > columns
}

/// The tensor of a module that an adapter patches: its weight, unless the whole name is a tensor's.
fn weight<'a>(names: &'a PublishedNames, module: &str) -> Option<&'a PublishedTensor> {
    names.get(&format!("{module}.weight")).or_else(|| names.get(module))
}

/// Whether the shapes of adapter and weight fit together.
fn check(adapter: &Adapter, published: &PublishedTensor) -> Result<(), NoPlace> {
    let found = adapter.tensors.shape;
    let expected = [num_rows(published, adapter.module.rows), num_columns(published)];
    let may_widen = adapter.module.dialect == Dialect::BflControl && found[1] > expected[1];
    if found[0] != expected[0] || (found[1] != expected[1] && !may_widen) {
        return Err(NoPlace::Shape(Mismatched { name: adapter.key.clone(), expected, found }));
    }
    // Kernels of other sizes may have as many numbers.
    let significant = |shape: &[usize]| shape.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
    let trailing = published.parts[0].shape.get(1..).unwrap_or_default();
    if adapter.tensors.trailing_dimensions().is_some_and(|found| significant(found) != significant(trailing) && !may_widen) {
        return Err(NoPlace::Shape(Mismatched { name: adapter.key.clone(), expected, found }));
    }
    match published.arrangement {
        Arrangement::Transposed => Err(NoPlace::NoParameter),
        Arrangement::Same | Arrangement::HalvesSwapped => Ok(()),
    }
}

/// Parts of a fused tensor that its leading rows are: queries, keys and values.
const LEADING_PARTS: usize = 3;

fn parts(published: &PublishedTensor, rows: ModuleRows) -> &[PublishedPart] {
    let len = match rows {
        ModuleRows::All => published.parts.len(),
        ModuleRows::Leading => LEADING_PARTS.min(published.parts.len()),
    };
    &published.parts[..len]
}

fn num_rows(published: &PublishedTensor, rows: ModuleRows) -> usize {
    parts(published, rows).iter().map(PublishedPart::rows).sum()
}

/// Numbers in a row; a convolution's kernel counts among them.
fn num_columns(published: &PublishedTensor) -> usize {
    published.parts[0].shape.iter().skip(1).product()
}

/// One place for each parameter that the rows of a published tensor belong to.
fn spread(published: &PublishedTensor, rows: ModuleRows, kind: PlaceKind) -> Vec<Place> {
    let mut start = 0;
    let with_rows = |part: &PublishedPart| {
        let rows = start..start + part.rows();
        start = rows.end;
        (part.parameter.clone(), rows)
    };
    let fused: Arc<[(String, Range<usize>)]> = parts(published, rows).iter().map(with_rows).collect();
    let place = |(parameter, rows): &(String, Range<usize>)| Place {
        parameter: parameter.clone(),
        kind,
        rows: rows.clone(),
        arrangement: published.arrangement,
        fused: fused.clone(),
    };
    fused.iter().map(place).collect()
}
