//! `cargo xtask fuzz`: runs the targets of tests/fuzz/ one after another. In: seconds for each. Out: an error where one was broken,
//! with what broke it under tests/fuzz/artifacts/. `cargo xtask miri`: runs the unit tests of the parsers under Miri, which sees
//! what is undefined.

use std::path::{Path, PathBuf};

use crate::{
    Result,
    process::{command, io, root, run, target},
    setup,
};

/// Of the crate, by cargo-fuzz: what is in a model's folder.
const CRATE: [&str; 5] = ["config", "tokenizer", "weights", "packed", "beside"];
/// Of the package, by Jazzer.js: what a browser has kept.
const PACKAGE: [&str; 2] = ["manifest", "index"];

/// Unit tests that are about bytes from elsewhere and that end under Miri, which takes a thousand times as long.
const PARSERS: [&str; 5] = ["config::", "packed::", "folder::", "index::file::", "charsmap::tests::damage"];

pub fn miri() -> Result<()> {
    let mut miri = command("cargo");
    miri.args(["+nightly", "miri", "test", "--package", "embedlet", "--no-default-features", "--lib", "--target-dir"]);
    miri.arg(target().join("miri")).arg("--").args(PARSERS);
    run(miri.env("MIRIFLAGS", "-Zmiri-disable-isolation"))
}

pub fn fuzz(seconds: &str, only: Option<&str>) -> Result<()> {
    let mut targets: Vec<&str> = CRATE.into_iter().chain(PACKAGE).collect();
    if let Some(only) = only {
        let all = targets.join(", ");
        targets.retain(|name| *name == only);
        if targets.is_empty() {
            return Err(format!("--only takes one of {all}"));
        }
    }
    for name in targets {
        eprintln!("{name}: {seconds} s");
        // What is found new stays out of the seeds, which are in the repository.
        let corpora = [made(target().join("fuzz").join(name))?, root().join("tests/fuzz/corpus").join(name)];
        let limits = ["-rss_limit_mb=2048".to_owned(), format!("-max_total_time={seconds}")];
        if CRATE.contains(&name) {
            let fuzz = ["+nightly", "fuzz", "run", "--fuzz-dir", "tests/fuzz", name];
            // A second and 64 MiB are what a hostile file may cost; the sanitizer takes its share of both.
            let hostile = ["--", "-timeout=5", "-malloc_limit_mb=64"];
            let mut fuzzer = command("cargo");
            run(fuzzer.args(fuzz).args(corpora).args(hostile).args(limits).env("RAYON_NUM_THREADS", "1"))?;
        } else {
            setup::node()?;
            setup::npm_ci("pkg")?;
            setup::npm_ci("tests/fuzz")?;
            let artifacts = made(root().join("tests/fuzz/artifacts").join(name))?;
            let jazzer = [
                "node_modules/@jazzer.js/core/dist/cli.js",
                "stored.mjs",
                "--fuzz_entry_point",
                name,
                "--timeout",
                "5000",
            ];
            let mut fuzzer = command("node");
            fuzzer.current_dir(root().join("tests/fuzz")).args(jazzer).args(corpora).arg("--").args(limits);
            run(fuzzer.arg(format!("-artifact_prefix={}/", artifacts.display())))?;
        }
    }
    Ok(())
}

/// The folder, which is there now.
fn made(folder: impl AsRef<Path>) -> Result<PathBuf> {
    let folder = folder.as_ref();
    std::fs::create_dir_all(folder).map_err(io("create", folder))?;
    Ok(folder.to_owned())
}
