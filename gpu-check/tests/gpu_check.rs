//! The program on a device that every machine has.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_processor_passes_all_checks() {
    let folder = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_gpu-check"));
    program.args(["--quick", "--device", "cpu", "--json", "numbers.json"]).current_dir(&folder);
    let output = program.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR")).output().unwrap();
    let (printed, said) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{printed}{said}");
    let json: Value = serde_json::from_slice(&fs::read(folder.path().join("numbers.json")).unwrap()).unwrap();
    assert_eq!((&json["device"], &json["right"]), (&"cpu".into(), &true.into()));
    let rows = json["rows"].as_array().unwrap();
    for group in ["stage", "attention", "product", "load", "lora", "time", "memory"] {
        assert!(rows.iter().any(|row| row["group"] == group), "{group}");
    }
    // In bf16 there is something to compare; that it differs at all shows that it was computed in bf16.
    let errors = |precision: &str| -> Vec<f64> {
        let rows = rows.iter().filter(|row| row["precision"] == precision);
        rows.filter_map(|row| row["error"].as_f64()).collect()
    };
    let (f32, bf16) = (errors("f32"), errors("bf16"));
    assert!(f32.len() > 20 && f32.len() == bf16.len(), "{} and {}", f32.len(), bf16.len());
    assert!(bf16.iter().sum::<f64>() > 10.0 * f32.iter().sum::<f64>(), "{f32:?} {bf16:?}");
    assert!(printed.contains("all ") && printed.contains(" comparisons are right"), "{printed}");
}

#[test]
fn a_device_that_is_not_built_in_is_refused() {
    let program = Command::new(env!("CARGO_BIN_EXE_gpu-check")).args(["--device", "tpu"]).output().unwrap();
    assert_eq!(program.status.code(), Some(2));
}
