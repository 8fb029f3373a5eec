//! `cargo xtask build`: cargo, once more for shared memory -> wasm-bindgen -> wasm-opt -> the npm package -> the page.
//! In: the sources. Out: pkg/dist and web/dist, and the sizes of what a page downloads.
//! The TypeScript side has its own build scripts (pkg/package.json, web/build.mjs); this file only orders them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Result, fetch,
    process::{cargo, command, io, npm, root, run, target},
    relaxed, setup,
};

const WASM: &str = "wasm32-unknown-unknown";

/// What shared memory takes: atomic instructions, also in the standard library, which comes without them and is therefore compiled too;
/// a memory that is given to the module, of 4 GiB at most; and what wasm-bindgen starts further threads by.
const SHARED: [&str; 8] = [
    "target-feature=+atomics",
    "link-arg=--shared-memory",
    "link-arg=--import-memory",
    "link-arg=--max-memory=4294967296",
    "link-arg=--export=__wasm_init_tls",
    "link-arg=--export=__tls_size",
    "link-arg=--export=__tls_align",
    "link-arg=--export=__tls_base",
];

/// Smallest output, given exactly the instructions rustc was allowed to use (.cargo/config.toml adds the SIMD ones), less
/// relaxed SIMD: without them wasm-opt refuses the file, with more it may write what an older browser lacks. Names and the like are
/// stripped here and not by cargo, because wasm-bindgen reads from one of those sections what it may use.
const WASM_OPT: [&str; 12] = [
    "-Oz",
    "--converge",
    "--strip-debug",
    "--strip-producers",
    "--strip-target-features",
    "--enable-simd",
    "--enable-bulk-memory",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
];

pub fn build() -> Result<()> {
    setup::node()?;
    setup::wasm_target()?;
    setup::npm_ci("pkg")?;
    bind(&compile()?, &compile_shared()?)?;
    run(npm().args(["run", "build"]).current_dir(root().join("pkg")))?;
    run(command("node").arg("web/build.mjs"))?;
    sizes(&[])
}

fn build_of_wasm() -> Command {
    let mut build = cargo();
    build.args(["build", "--package", "embedlet", "--lib", "--profile", "release-wasm", "--target", WASM]);
    build
}

fn compile() -> Result<PathBuf> {
    run(&mut build_of_wasm())?;
    Ok(target().join(WASM).join("release-wasm/embedlet.wasm"))
}

fn compile_shared() -> Result<PathBuf> {
    setup::standard_library()?;
    // A folder of its own: cargo would throw away what it made for the other build.
    let folder = target().join("shared-memory");
    let flags: Vec<String> = SHARED.iter().map(|flag| format!("\"-C{flag}\"")).collect();
    run(build_of_wasm()
        // Not stable yet: that rustc compiles its library, and the name of the feature.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["-Zbuild-std=std,panic_abort", "--config"])
        .arg(format!("target.{WASM}.rustflags=[{}]", flags.join(",")))
        .arg("--target-dir")
        .arg(&folder))?;
    Ok(folder.join(WASM).join("release-wasm/embedlet.wasm"))
}

/// Prints what a page downloads before the model; with `--check` it fails above the budget.
pub fn sizes(options: &[&str]) -> Result<()> {
    run(command("node").arg("xtask/sizes.mjs").args(options))
}

/// Writes the JavaScript glue and the optimised wasm, with relaxed SIMD and without, and both for shared memory, into pkg/src/wasm,
/// unless they were made from these same inputs.
fn bind(input: &Path, shared: &Path) -> Result<()> {
    let out = root().join("pkg/src/wasm");
    let stamp = out.join("made-from");
    let made_from = format!(
        "wasm {} {}\nnpm {}\nwasm-opt {}\n",
        fetch::sha256(input)?,
        fetch::sha256(shared)?,
        fetch::sha256(&root().join("pkg/package-lock.json"))?,
        WASM_OPT.join(" ")
    );
    if fs::read_to_string(&stamp).is_ok_and(|made| made == made_from) {
        return Ok(());
    }
    if out.exists() {
        fs::remove_dir_all(&out).map_err(io("remove", &out))?;
    }

    let [wasm, threads] = [(input, "embedlet"), (shared, "embedlet_threads")].map(|(input, name)| {
        wasm_bindgen_cli_support::Bindgen::new()
            .input_path(input)
            .out_name(name)
            .web(true)
            .and_then(|bindgen| bindgen.typescript(true).generate(&out))
            .map_err(|error| format!("wasm-bindgen failed on {}: {error:#}", input.display()))?;
        Ok::<_, String>(out.join(format!("{name}_bg.wasm")))
    });
    let (wasm, threads) = (wasm?, threads?);
    let relaxed = out.join("embedlet_relaxed_bg.wasm");
    fs::rename(&wasm, &relaxed).map_err(io("move", &wasm))?;
    let compiled = fs::read(&relaxed).map_err(io("read", &relaxed))?;
    fs::write(&wasm, relaxed::lower(&compiled)?).map_err(io("write", &wasm))?;
    // Each takes a minute of one core.
    std::thread::scope(|scope| {
        let relaxed = scope.spawn(|| optimise(&relaxed, &["--enable-relaxed-simd"]));
        let threads = scope.spawn(|| optimise(&threads, &["--enable-relaxed-simd", "--enable-threads"]));
        let plain = optimise(&wasm, &[]);
        [relaxed, threads]
            .into_iter()
            .try_fold((), |(), other| other.join().map_err(|_| "wasm-opt could not be waited for".to_owned())?)?;
        plain
    })?;
    fs::write(&stamp, made_from).map_err(io("write", &stamp))
}

/// Runs wasm-opt on a file in place. Without a feature it refuses a file that uses it.
fn optimise(wasm: &Path, features: &[&str]) -> Result<()> {
    let wasm_opt = root().join("pkg/node_modules/binaryen/bin/wasm-opt");
    run(command("node").arg(wasm_opt).args(WASM_OPT).args(features).arg(wasm).arg("-o").arg(wasm))
}
