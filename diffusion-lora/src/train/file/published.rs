//! From weights of our networks to matrices of published files.

use std::collections::BTreeMap;

use diffusion_core::checkpoint::{Layout, PublishedTensor};
use diffusion_core::weights::PatchTarget;

use super::error::TrainedLoraError;
use super::trained_module::{KroneckerFactor, TrainedFactors, TrainedModule};

/// A matrix of a published file, and the trained adapters of its parts.
#[derive(Debug)]
pub(super) struct PublishedModule<'m> {
    pub(super) target: &'m PatchTarget,
    /// Its name, with dots: `transformer_blocks.0.attn.to_q`.
    pub(super) name: String,
    pub(super) tensor: &'m PublishedTensor,
    /// Adapters by the part that they are of, of which there is one unless the matrix is fused.
    pub(super) parts: BTreeMap<usize, &'m TrainedModule>,
}

/// The matrices of a layout that trained adapters are of, in the order of their names; of a network that is not published in the
/// layout, those of the other.
pub(super) fn published<'m>(
    modules: &[&'m TrainedModule],
    targets: &'m [PatchTarget],
    layout: Layout,
) -> Result<Vec<PublishedModule<'m>>, TrainedLoraError> {
    let mut found: BTreeMap<_, PublishedModule<'m>> = BTreeMap::new();
    for module in modules {
        let TrainedModule { component, ref parameter, .. } = **module;
        let target = targets.iter().find(|target| target.component == component);
        let target = target.ok_or_else(|| TrainedLoraError::Component { component, parameter: parameter.clone() })?;
        let names = &target.names;
        let tensor = names.name_of(parameter, layout).or_else(|| names.name_of(parameter, Layout::Diffusers));
        let tensor = tensor.and_then(|name| Some((name.strip_suffix(".weight")?.to_owned(), names.get(&name)?)));
        let place = tensor.and_then(|(name, tensor)| {
            let part = tensor.parts.iter().position(|part| part.parameter == *parameter)?;
            let &[rows, columns] = &tensor.parts[part].shape[..] else { return None };
            Some((name, tensor, part, [rows, columns]))
        });
        let unknown = || TrainedLoraError::Parameter { component, parameter: parameter.clone() };
        let (name, tensor, part, shape) = place.ok_or_else(unknown)?;
        check_shapes(module, shape)?;
        let entry = found.entry((component, name.clone()));
        let published = entry.or_insert_with(|| PublishedModule { target, name, tensor, parts: BTreeMap::new() });
        if published.parts.insert(part, module).is_some() {
            return Err(TrainedLoraError::Twice { component, parameter: parameter.clone() });
        }
    }
    Ok(found.into_values().collect())
}

/// Whether the factors of an adapter fit together, and to a weight of this shape.
fn check_shapes(module: &TrainedModule, [rows, columns]: [usize; 2]) -> Result<(), TrainedLoraError> {
    let rank = module.rank;
    let check = |factor, found: [usize; 2], expected: [usize; 2]| {
        if found == expected && rank > 0 {
            return Ok(());
        }
        let (parameter, expected) = (module.parameter.clone(), format!("{expected:?} of rank {rank}"));
        Err(TrainedLoraError::Shape { parameter, factor, expected, found })
    };
    match &module.factors {
        TrainedFactors::LowRank { down, up, magnitude } => {
            check("factor `down`", down.dims(), [rank, columns])?;
            check("factor `up`", up.dims(), [rows, rank])?;
            magnitude.iter().try_for_each(|magnitude| check("magnitude", magnitude.dims(), [rows, 1]))
        }
        TrainedFactors::Kronecker([first, second]) => {
            for factor in [first, second] {
                if let KroneckerFactor::Product { up, down } = factor {
                    check("factor of a factor", up.dims(), [up.dims()[0], rank])?;
                    check("factor of a factor", down.dims(), [rank, down.dims()[1]])?;
                }
            }
            let ([first_rows, first_columns], [second_rows, second_columns]) = (first.dims(), second.dims());
            let product = [first_rows * second_rows, first_columns * second_columns];
            check("Kronecker product", product, [rows, columns])
        }
    }
}
