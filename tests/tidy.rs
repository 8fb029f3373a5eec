//! Rules of the repository that a compiler does not check; `docs/ARCHITECTURE.md` gives the reasons.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    fn collect(dir: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !["node_modules", "dist", "wasm"].contains(&name) {
                collect(&path, ending, found);
            } else if name.ends_with(ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join(folder), ending, &mut found);
    assert!(!found.is_empty(), "no {ending} in {folder}");
    found
}

fn stems(folder: &str, ending: &str) -> Vec<String> {
    let mut stems: Vec<String> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(ending).map(str::to_owned))
        .filter(|stem| stem != "mod")
        .collect();
    stems.sort();
    stems
}

/// The code of a Rust file without its tests and comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Only these files may contain the word.
fn only(word: &str, folder: &str, ending: &str, allowed: &[&str]) {
    for path in files(folder, ending) {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        let may = allowed.iter().any(|allowed| name.starts_with(allowed));
        assert!(may || !code(&path).contains(word), "{name} names {word}");
    }
}

#[test]
fn outside_worlds_have_one_door_each() {
    only("wgpu::", "crate", ".rs", &["crate/gpu/"]);
    only("wasm_bindgen", "crate", ".rs", &["crate/wasm", "crate/gpu/web.rs", "crate/gpu/mod.rs"]);
    only("js_sys", "crate", ".rs", &["crate/wasm", "crate/gpu/web.rs", "crate/platform.rs"]);
    only("tokenizers::", "crate", ".rs", &["crate/tokens"]);
    only("fetch(", "pkg/src", ".ts", &["pkg/src/source.ts", "pkg/src/instance.ts"]);
}

#[test]
fn shared_code_names_no_architecture() {
    let names = stems("crate/arch", ".rs");
    assert!(names.contains(&"bert".to_owned()));
    for path in files("crate", ".rs") {
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().replace('\\', "/");
        // The steps of tokenizer.json, and the classes of tokenizers, are named after the models that first had them.
        if name.starts_with("crate/arch/") || name.starts_with("crate/tokens/") {
            continue;
        }
        // File names of other projects contain one; a word of its own is an architecture.
        let code = code(&path).to_lowercase();
        let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').collect();
        for architecture in &names {
            assert!(!words.contains(&architecture.as_str()), "{name} names {architecture}");
        }
    }
}

#[test]
fn every_operation_has_a_kernel_and_a_table_of_cases() {
    let operations = stems("crate/ops", ".rs");
    let kernels = stems("shaders", ".wgsl");
    for operation in &operations {
        assert!(kernels.contains(operation), "shaders/ has no {operation}.wgsl");
    }
    // Another kernel of an operation, see `Op::forms`, carries its name in front and stands in its file.
    for kernel in kernels.iter().filter(|kernel| !operations.contains(kernel)) {
        let named = format!("{kernel}.wgsl");
        let form = operations.iter().any(|operation| {
            kernel.starts_with(&format!("{operation}_"))
                && code(&root().join(format!("crate/ops/{operation}.rs"))).contains(&named)
        });
        assert!(form, "{named} belongs to no operation");
    }
    let cases = std::fs::read_to_string(root().join("tests/ops.rs")).unwrap();
    for operation in operations {
        assert!(cases.contains(&format!("fn {operation}()")), "tests/ops.rs has no cases for {operation}");
    }
}

#[test]
fn files_stay_readable() {
    for (folder, ending, most) in
        [("crate", ".rs", 620), ("shaders", ".wgsl", 200), ("pkg/src", ".ts", 400), ("xtask", ".rs", 420)]
    {
        for path in files(folder, ending) {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= most, "{} has {lines} lines: look whether a stage wants its own file", path.display());
        }
    }
}

#[test]
fn the_repository_speaks_of_itself_alone() {
    for (folder, ending) in
        [("crate", ".rs"), ("xtask", ".rs"), ("pkg/src", ".ts"), ("web", ".ts"), ("shaders", ".wgsl")]
    {
        for path in files(folder, ending) {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in ["/root/", "/tmp/", "TODO", "FIXME", "XXX"] {
                assert!(!text.contains(word), "{} contains {word}", path.display());
            }
        }
    }
}
