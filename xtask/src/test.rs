//! `cargo xtask test`: every check of the repository, in the order in which they fail fastest. In: a clean checkout.
//! Out: success only if each step ran and passed; a step that cannot run is a failure, nothing is skipped.

use std::{fs, path::PathBuf, time::Instant};

use crate::{
    Result, bench, model,
    process::{cargo, command, io, npm, root, run, target},
    setup, wasm,
};

pub fn test(all: bool) -> Result<()> {
    let start = Instant::now();
    let mut browser = PathBuf::new();
    let mut gpu = None;
    let mut firefox = None;
    let mut model = PathBuf::new();
    step("setup", || {
        setup::wasm_target()?;
        setup::npm_ci("pkg")?;
        browser = setup::browser()?;
        if all {
            firefox = Some(setup::firefox()?);
            setup::webkit()?;
        }
        gpu = setup::software_gpu()?;
        model = model::obtain(None)?.folder;
        Ok(())
    })?;

    step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    let warnings = ["--", "--deny", "warnings"];
    step("clippy", || run(cargo().args(["clippy", "--workspace", "--all-targets"]).args(warnings)))?;
    step("clippy for wasm", || {
        let wasm = ["clippy", "--package", "embedlet", "--lib", "--target", "wasm32-unknown-unknown"];
        run(cargo().args(wasm).args(warnings))
    })?;
    step("documentation", || {
        let doc = ["doc", "--package", "embedlet", "--package", "embedlet-host", "--lib", "--no-deps"];
        run(cargo().args(doc).env("RUSTDOCFLAGS", "--deny warnings"))
    })?;
    step("xtask", || run(cargo().args(["test", "--package", "xtask"])))?;
    step("crate", || {
        // Optimised: whole models on the CPU and on a GPU that is a CPU.
        let mut test = cargo();
        test.args(["test", "--package", "embedlet", "--package", "embedlet-host", "--release"])
            .env("EMBEDLET_MODEL", &model);
        if all {
            test.env("EMBEDLET_TEST_ALL", "1");
        }
        if let Some(gpu) = &gpu {
            // The newer and the older name of the same setting.
            test.env("VK_DRIVER_FILES", gpu).env("VK_ICD_FILENAMES", gpu);
        }
        run(&mut test)
    })?;
    // Built with the tests of the crate, which run it too.
    let cli = target().join(format!("release/embedlet{}", std::env::consts::EXE_SUFFIX));
    let mut packed = PathBuf::new();
    step("pack", || {
        packed = model::packed(&model, command(&cli))?;
        Ok(())
    })?;
    step("build", wasm::build)?;
    step("size", || wasm::sizes(&["--check"]))?;
    step("package", || run(npm().arg("test").current_dir(root().join("pkg"))))?;

    let node_tests = |folder: &str, at_once: &str| {
        let files = test_files(folder)?;
        let mut node = command("node");
        if all {
            node.env("EMBEDLET_TEST_ALL", "1");
        }
        if let Some(gpu) = &gpu {
            // For the command line alone: a browser would take it too, in the place of its own.
            node.env("EMBEDLET_VULKAN", gpu);
        }
        if let Some(firefox) = &firefox {
            node.env("FIREFOX", firefox);
        }
        run(node
            .args(["--test", at_once])
            .args(files)
            .env("CHROME", &browser)
            .env("EMBEDLET_MODEL", &model)
            .env("EMBEDLET_PAGE_MODEL", &packed)
            .env("EMBEDLET_CLI", &cli))
    };
    const ONE: &str = "--test-concurrency=1";
    // Each file has a browser and a server of its own, and waits for them half of the time.
    step("browser", || node_tests("tests/browser", "--test-concurrency=2"))?;
    if all {
        step("mutants", || run(command("node").arg("test/mutants.mjs").current_dir(root().join("pkg"))))?;
        step("install", || {
            setup::npm_ci("tests/install")?;
            node_tests("tests/install", ONE)
        })?;
        step("object store", || {
            let python = setup::venv("object-store-venv", "tests/object_store/requirements.txt")?;
            let with = ["--release", "--package", "embedlet", "--features", "object-store"];
            run(cargo().arg("clippy").args(with).arg("--all-targets").args(warnings))?;
            run(cargo().arg("test").args(with).args(["--", "object_store"]).env("EMBEDLET_PYTHON", python))
        })?;
        step("soak", || node_tests("tests/soak", ONE))?;
        let short = ["--contenders=embedlet", "--only=load,one-short", "--rounds=1"].map(String::from);
        step("bench", || bench::pages(&browser, &model, None, &short))?;
    }
    println!("\nAll passed in {:.0} s.", start.elapsed().as_secs_f32());
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("\n== {name}");
    let start = Instant::now();
    work().map_err(|error| format!("{name}: {error}"))?;
    println!("== {name}: {:.1} s", start.elapsed().as_secs_f32());
    Ok(())
}

/// Named one by one: whether `node --test` takes a folder depends on its version, and an empty folder must fail.
fn test_files(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = root().join(folder);
    let mut files = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io("read", &folder))? {
        let path = entry.map_err(io("read", &folder))?.path();
        if path.to_string_lossy().ends_with(".test.mjs") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() { Err(format!("there is no *.test.mjs in {}", folder.display())) } else { Ok(files) }
}
