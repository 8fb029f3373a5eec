//! `cargo xtask fuzz`: runs the targets of tests/fuzz/ one after another. In: seconds for each. Out: an error where one was broken, with
//! what broke it under tests/fuzz/artifacts/.

use crate::{
    Result,
    process::{command, root, run, target},
};

const TARGETS: [&str; 4] = ["config", "tokenizer", "weights", "packed"];

pub fn fuzz(seconds: &str) -> Result<()> {
    for name in TARGETS {
        eprintln!("{name}: {seconds} s");
        // What is found new stays out of the seeds, which are in the repository.
        let found = target().join("fuzz").join(name);
        std::fs::create_dir_all(&found).map_err(crate::process::io("create", &found))?;
        let seeds = root().join("tests/fuzz/corpus").join(name);
        let mut fuzzer = command("cargo");
        fuzzer.args(["+nightly", "fuzz", "run", "--fuzz-dir", "tests/fuzz", name]).arg(found).arg(seeds);
        // A second and 64 MiB are what a hostile file may cost; the sanitizer takes its share of both.
        fuzzer.args(["--", "-timeout=5", "-malloc_limit_mb=64", "-rss_limit_mb=2048"]);
        run(fuzzer.arg(format!("-max_total_time={seconds}")).env("RAYON_NUM_THREADS", "1"))?;
    }
    Ok(())
}
