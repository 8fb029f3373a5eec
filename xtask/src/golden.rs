//! `cargo xtask golden`: reference vectors from the Python libraries themselves. In: tests/golden/requirements.txt and
//! make.py. Out: rewritten fixtures under tests/golden, to be read in a diff and committed. No test runs this.

use crate::{
    Result, model,
    process::{command, run},
    setup,
};

pub fn golden() -> Result<()> {
    let model = model::obtain(None)?.folder;
    let python = setup::venv("golden-venv", "tests/golden/requirements.txt")?;
    run(command(&python).args(["tests/golden/make.py", "--model"]).arg(model))
}
