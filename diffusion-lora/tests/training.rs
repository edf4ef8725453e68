//! Gradients and first steps of training a LoRA, against what peft, diffusers and torch compute.

mod common;

use std::collections::BTreeMap;

use burn::tensor::Device;
use common::training::{Same, TOLERANCE, Tensors, Training, batch_of, largest_error, parameters, settings};
use common::{FLUX, Layout, SD3, fixture};
use diffusion_core::Residency;
use diffusion_core::network::GradientOptions;
use diffusion_lora::train::{Trainer, TrainerSettings, read_state, write_state};

/// A fixture's network with the adapters that its training starts from.
fn training(name: &str, layout: Layout, residency: Residency) -> Training {
    Training::of(name, layout, residency, &fixture(name).join("training/start.safetensors")).unwrap()
}

#[test]
fn first_gradients_are_those_of_peft() {
    for name in [SD3, FLUX] {
        let reference = Tensors::of(name, "reference.safetensors");
        let batch = batch_of(name);
        let expected_loss = reference.numbers("loss")[0];
        for (layout, residency) in [
            (Layout::Folder, Residency::Resident),
            (Layout::Folder, Residency::Streamed),
            (Layout::SingleFile, Residency::Resident),
        ] {
            let training = training(name, layout, residency);
            let (loss, gradients) = training.gradients(&batch, GradientOptions::default());
            assert!((loss / expected_loss - 1.0).abs() < 1e-6, "{name} {layout:?}: {loss}, {expected_loss}");
            assert_eq!(gradients.len(), reference.count(".grad"));
            for (module, found) in gradients {
                let error = largest_error(found, reference.get(&format!("{module}.grad")));
                assert!(error < TOLERANCE, "{name} {layout:?} {residency:?} {module}: {error}");
            }
        }
    }
}

#[test]
fn gradients_block_by_block_are_those_of_the_whole_graph() {
    for name in [SD3, FLUX] {
        let batch = batch_of(name);
        let training = training(name, Layout::Folder, Residency::Resident);
        let (_, whole) = training.gradients(&batch, GradientOptions { kept_graphs: usize::MAX, ..GradientOptions::default() });
        for kept_graphs in [0, 2] {
            let (_, by_blocks) = training.gradients(&batch, GradientOptions { kept_graphs, ..GradientOptions::default() });
            for (module, found) in by_blocks {
                let error = largest_error(found, whole[&module].clone());
                assert!(error == 0.0, "{name} {module}, {kept_graphs} graphs kept: {error}");
            }
        }
    }
}

#[test]
fn gradients_of_two_calls_add_up() {
    let batch = batch_of(SD3);
    let training = training(SD3, Layout::Folder, Residency::Resident);
    let (_, once) = training.gradients(&batch, GradientOptions::default());
    training.add_gradients(&batch, GradientOptions::default());
    let (_, twice) = training.gradients(&batch, GradientOptions::default());
    for (module, found) in twice {
        let expected = once[&module].clone().mul_scalar(2.0);
        assert!(largest_error(found, expected) < 1e-6, "{module}");
    }
}

#[test]
fn three_steps_are_those_of_peft() {
    for name in [SD3, FLUX] {
        let reference = Tensors::of(name, "reference.safetensors");
        let Training { denoiser, adapters, .. } = training(name, Layout::Folder, Residency::Resident);
        let mut trainer = Trainer::new(adapters, settings(name));
        let mut batches = Same(batch_of(name));
        let (losses, norms) = (reference.numbers("loss"), reference.numbers("grad_norm"));
        for step in 0..3 {
            let report = trainer.step(&*denoiser, &mut batches).unwrap();
            assert!((report.loss / losses[step] - 1.0).abs() < 1e-5, "{name} step {step}: {report:?}, {}", losses[step]);
            assert!((report.gradient_norm / norms[step] - 1.0).abs() < 1e-4, "{name} step {step}: {report:?}, {}", norms[step]);
            if step != 1 {
                for (module, found) in parameters(&trainer) {
                    let error = largest_error(found, reference.get(&format!("{module}.after_{}", step + 1)));
                    assert!(error < 1e-4, "{name} {module} after step {}: {error}", step + 1);
                }
            }
        }
    }
}

#[test]
fn a_trainer_that_is_restored_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let batch = batch_of(SD3);
    let trained = |steps: usize, resumed: bool| {
        let Training { denoiser, adapters, .. } = training(SD3, Layout::Folder, Residency::Resident);
        let mut trainer = Trainer::new(adapters, TrainerSettings { average_decay: Some(0.9), ..settings(SD3) });
        if resumed {
            let (state, notes) = read_state(&path, &Device::flex()).unwrap();
            assert_eq!(notes, BTreeMap::from([("seed".to_owned(), "7".to_owned())]));
            trainer.restore(state).unwrap();
        }
        for _ in 0..steps {
            trainer.step(&*denoiser, &mut Same(batch.clone())).unwrap();
        }
        trainer
    };
    let notes = BTreeMap::from([("seed".to_owned(), "7".to_owned())]);
    write_state(&path, &trained(2, false).state(), &notes).unwrap();
    let (whole, resumed) = (trained(4, false), trained(2, true));
    assert_eq!(resumed.steps(), 4);
    let (whole, resumed) = (parameters(&whole), parameters(&resumed));
    for (module, value) in whole {
        assert_eq!(value.into_data(), resumed[&module].clone().into_data(), "{module}");
    }
}
