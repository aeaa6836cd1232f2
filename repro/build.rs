//! Puts the compiler's own version line into the binary, for the machine facts of a rebuild statement.

use std::process::Command;

#[expect(clippy::disallowed_methods, reason = "cargo hands a build script the compiler's path in the environment")]
fn main() {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version =
        Command::new(compiler).arg("-V").output().ok().and_then(|output| String::from_utf8(output.stdout).ok());
    println!("cargo::rustc-env=KOLM_RUSTC_VERSION={}", version.as_deref().map_or("unknown", str::trim));
    println!("cargo::rerun-if-changed=build.rs");
}
