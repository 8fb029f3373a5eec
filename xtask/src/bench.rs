//! `cargo xtask bench`: builds, gets the models, and lets tests/bench/run.mjs measure in a browser. In: whose model the peer
//! has, and options for the driver, which knows them. Out: tables, and what the driver writes.

use std::path::Path;

use crate::{
    Result, model,
    process::{command, run},
    setup, wasm,
};

/// `named` and `peer` are models as a user names them; `options` go to the driver as they are.
pub fn bench(named: Option<&str>, peer: Option<&str>, options: &[String]) -> Result<()> {
    // First, so that a mistyped model is not found out after minutes of building.
    let model = model::obtain(named)?.folder;
    let peer = peer.map(model::obtain_onnx).transpose()?;
    let browser = setup::browser()?;
    if peer.is_some() {
        setup::npm_ci("tests/bench")?;
    }
    wasm::build()?;
    measure(&browser, &model, peer.as_deref(), options)
}

/// Measures what is built.
pub fn measure(browser: &Path, model: &Path, peer: Option<&Path>, options: &[String]) -> Result<()> {
    let mut driver = command("node");
    driver.arg("tests/bench/run.mjs").arg("--model").arg(model).args(options).env("CHROME", browser);
    if let Some(peer) = peer {
        driver.arg("--peer-model").arg(peer);
    }
    run(&mut driver)
}
