//! `cargo xtask demo`: build, get a model, serve the page. In: a model's name, a port. Out: an address that stays up, or
//! with `--check` a report of the page run in headless Chromium and an exit status that says whether it is right.

use crate::{
    Result, model,
    process::{command, embedlet, root, run},
    serve::{self, Site},
    setup, wasm,
};

pub fn demo(named: Option<&str>, port: Option<u16>, check: bool) -> Result<()> {
    // First, so that a mistyped model is not found out after minutes of building.
    let mut model = model::obtain(named)?;
    if model.is_default {
        model.folder = model::packed(&model.folder, embedlet())?;
    }
    let browser = if check { Some(setup::browser()?) } else { None };
    wasm::build()?;

    let path = model.url_path()?;
    let (listener, mut address) = serve::bind(port)?;
    if !model.is_default {
        address += &format!("?model=.{path}");
    }
    let site = Site(vec![("/".into(), root().join("web/dist")), (path, model.folder)]);
    let Some(browser) = browser else {
        println!("\n{address}\n\nCtrl-C stops it.");
        return serve::serve(listener, site);
    };
    std::thread::spawn(move || serve::serve(listener, site));
    let mut check = command("node");
    check.arg("tests/browser/check.mjs").arg(address).env("CHROME", browser);
    if model.is_default {
        check.arg("--default-model");
    }
    run(&mut check)
}
