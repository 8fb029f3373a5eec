//! Child processes and the paths they run in. In: a command. Out: success, or an error that shows the command.
//! Children write to the terminal themselves; nothing is captured except by `output`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Result;

/// The repository root, fixed when xtask is compiled: it is always run through cargo from this checkout.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where cargo and xtask put what they make.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir), // join keeps an absolute path as it is
        None => root().join("target"),
    }
}

/// embedlet's command line, built first where it is not.
pub fn embedlet() -> Command {
    let mut run = cargo();
    run.args(["run", "--release", "--package", "embedlet", "--"]);
    run
}

/// The cargo that started xtask, so that one toolchain builds everything.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

pub fn npm() -> Command {
    command(if cfg!(windows) { "npm.cmd" } else { "npm" })
}

/// A command that runs in the repository root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|error| format!("could not start `{}`: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", shown(command))) }
}

/// Standard output of a command that is only asked a question; `None` when it is missing or says no.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as a person would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}

/// Wraps an I/O error with what was being done to which path.
pub fn io<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(std::io::Error) -> String + 'a {
    move |error| format!("could not {doing} {}: {error}", path.display())
}
