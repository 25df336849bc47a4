//! Keeps the benchmarks able to run: every server is started and asked once, nothing is measured.

use std::process::Command;

#[test]
fn every_server_of_the_benchmarks_answers() {
    let mut check = Command::new(env!("CARGO_BIN_EXE_airhost-bench"));
    let output = check
        .args(["--check", "echo", "token", "large", "calls", "deploy"])
        .output()
        .expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("every server answers"), "{told}\n{errors}");
}
