//! The real binary of the build tasks. Cargo builds it with the tests because of this file, and the scripts in
//! `.ci` use that binary.

use std::process::Command;

#[test]
fn generated_files_are_up_to_date() {
    for task in ["dashboards", "docs"] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args([task, "--check"]).output().unwrap();
        assert!(output.status.success(), "{task}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn unknown_task_is_a_usage_error() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).arg("unknown").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}
