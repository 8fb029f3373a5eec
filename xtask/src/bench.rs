//! `cargo xtask bench`: builds, gets the models, and lets a driver of tests/bench/ measure, in a browser or natively. In: whose
//! models they are, and options for the driver, which knows them. Out: tables, and what the driver writes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{
    Result, model,
    process::{cargo, command, embedlet, io, run, target},
    setup, wasm,
};

/// `named` and `peer` are models as a user names them; `options` go to the driver as they are.
pub fn bench(native: bool, named: Option<&str>, peer: Option<&str>, options: &[String]) -> Result<()> {
    // First, so that a mistyped model is not found out after minutes of building.
    let model = model::obtain(named)?.folder;
    let peer = peer.map(model::obtain_onnx).transpose()?;
    if native {
        return processes(&model, peer.as_deref(), options);
    }
    let browser = setup::browser()?;
    if peer.is_some() {
        setup::npm_ci("tests/bench")?;
    }
    wasm::build()?;
    let packed = in_bytes(&model)?;
    let packed = packed.to_str().ok_or("the path of target/ is no UTF-8")?;
    pages(&browser, &model, peer.as_deref(), &[&["--packed-model".into(), packed.into()], options].concat())
}

/// The model as somebody serves it who wants integers, like the one that a peer calls q8.
fn in_bytes(model: &Path) -> Result<PathBuf> {
    let packed = target().join("bench-model-q8");
    if packed.exists() {
        fs::remove_dir_all(&packed).map_err(io("remove", &packed))?;
    }
    let mut pack = embedlet();
    pack.args(["pack", "--dtype", "q8", "--model"]).arg(model);
    run(pack.arg("--out").arg(&packed).stdout(Stdio::null()))?;
    Ok(packed)
}

/// Measures the search of a collection, in a browser.
pub fn search(named: Option<&str>, options: &[String]) -> Result<()> {
    let model = model::obtain(named)?.folder;
    let browser = setup::browser()?;
    setup::npm_ci("tests/bench")?;
    wasm::build()?;
    run(command("node").arg("tests/bench/search.mjs").arg("--model").arg(model).args(options).env("CHROME", browser))
}

/// Measures the package that is built, in a browser.
pub fn pages(browser: &Path, model: &Path, peer: Option<&Path>, options: &[String]) -> Result<()> {
    let mut driver = command("node");
    driver.arg("tests/bench/run.mjs").arg("--model").arg(model).args(options).env("CHROME", browser);
    if let Some(peer) = peer {
        driver.arg("--peer-model").arg(peer);
    }
    run(&mut driver)
}

/// Measures the command line.
fn processes(model: &Path, peer: Option<&Path>, options: &[String]) -> Result<()> {
    setup::node()?;
    setup::npm_ci("tests")?;
    run(cargo().args(["build", "--release", "--package", "embedlet"]))?;
    let mut driver = command("node");
    driver.arg("tests/bench/native.mjs").arg("--embedlet").arg(target().join("release/embedlet"));
    driver.arg("--model").arg(model).args(options);
    if let Some(peer) = peer {
        driver.arg("--peer-model").arg(peer);
        for provider in ["cpu", "webgpu"] {
            // Not every system has both packages.
            match setup::venv(&format!("bench-venv-{provider}"), &format!("tests/bench/requirements-{provider}.txt")) {
                Ok(python) => drop(driver.arg(format!("--python-{provider}")).arg(python)),
                Err(error) => eprintln!("ONNX Runtime for {provider} is left out: {error}"),
            }
        }
    }
    run(&mut driver)
}
