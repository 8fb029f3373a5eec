//! `cargo xtask golden`: reference vectors from the Python libraries themselves. In: tests/golden/requirements.txt and
//! make.py. Out: rewritten fixtures under tests/golden, to be read in a diff and committed. No test runs this.

use std::fs;

use crate::{
    Result, model,
    process::{command, io, root, run, target},
    setup,
};

pub fn golden() -> Result<()> {
    let model = model::obtain(None)?.folder;
    let requirements = root().join("tests/golden/requirements.txt");
    let wanted = fs::read(&requirements).map_err(io("read", &requirements))?;
    let venv = target().join("golden-venv");
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let installed = venv.join("installed.txt");
    if !fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        run(command(setup::python()?).args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(command(&python).args(["-m", "pip", "install", "--requirement"]).arg(&requirements))?;
        fs::write(&installed, wanted).map_err(io("write", &installed))?;
    }
    run(command(&python).args(["tests/golden/make.py", "--model"]).arg(model))
}
