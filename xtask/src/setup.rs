//! What the build and the tests need from the machine. In: nothing. Out: the tool, found or installed, or an error with
//! the one command that installs it. Only packages of Debian and Ubuntu are installed, and only as root; anywhere else
//! the system belongs to the user.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    Result,
    process::{command, io, npm, output, root, run, target},
};

const OLDEST_NODE: u32 = 20;

pub fn node() -> Result<()> {
    let version = output(command("node").arg("--version"));
    let major = version.as_deref().and_then(|text| text.trim_start_matches('v').split('.').next()?.parse::<u32>().ok());
    match major {
        None => Err(format!("node is missing: install Node {OLDEST_NODE} or newer")),
        Some(major) if major < OLDEST_NODE => Err(format!("this is Node {major}: install Node {OLDEST_NODE} or newer")),
        Some(_) if output(npm().arg("--version")).is_none() => Err("npm is missing: it comes with Node".into()),
        Some(_) => Ok(()),
    }
}

/// Installs the locked packages of a folder, unless they are there.
pub fn npm_ci(folder: &str) -> Result<()> {
    let folder = root().join(folder);
    let lock = folder.join("package-lock.json");
    let wanted = fs::read(&lock).map_err(io("read", &lock))?;
    // npm ci starts by deleting node_modules, so this copy of the lock is there only after one that succeeded.
    let installed = folder.join("node_modules/.installed-lock.json");
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    run(npm().args(["ci", "--no-fund", "--no-audit", "--ignore-scripts"]).current_dir(&folder))?;
    fs::write(&installed, wanted).map_err(io("write", &installed))
}

pub fn wasm_target() -> Result<()> {
    const TARGET: &str = "wasm32-unknown-unknown";
    let library = output(command("rustc").args(["--print", "target-libdir", "--target", TARGET]));
    if library.is_some_and(|folder| Path::new(&folder).is_dir()) {
        return Ok(());
    }
    let missing = format!("install the {TARGET} standard library for the compiler that rust-toolchain.toml names");
    if output(command("rustup").arg("--version")).is_none() {
        return Err(format!("rustup is missing: {missing}, or get rustup and run `rustup target add {TARGET}`"));
    }
    run(command("rustup").args(["target", "add", TARGET])).map_err(|error| format!("{error}; {missing}"))
}

/// The sources of the compiler's standard library.
pub fn standard_library() -> Result<()> {
    const MISSING: &str = "get the sources of the standard library with `rustup component add rust-src`";
    let sysroot = output(command("rustc").args(["--print", "sysroot"]));
    if sysroot.is_some_and(|folder| Path::new(&folder).join("lib/rustlib/src/rust/library/std").is_dir()) {
        return Ok(());
    }
    run(command("rustup").args(["component", "add", "rust-src"])).map_err(|error| format!("{error}; {MISSING}"))
}

pub fn python() -> Result<&'static str> {
    let works = |name: &&str| {
        let asked = output(command(name).args(["-c", "import sys; print(sys.version_info[0])"]));
        asked.is_some_and(|major| major == "3")
    };
    ["python3", "python"].into_iter().find(works).ok_or_else(|| "python3 is missing: install Python 3".into())
}

/// A Python that has pip; Debian packs pip apart.
pub fn python_with_pip() -> Result<&'static str> {
    let python = python()?;
    let has_pip = || output(command(python).args(["-m", "pip", "--version"])).is_some();
    if !has_pip() && can_apt() {
        apt_install(&["python3-pip"])?;
    }
    if has_pip() {
        Ok(python)
    } else {
        Err(format!("pip is missing: run `{python} -m ensurepip`, or install python3-pip"))
    }
}

/// The Python of an environment of its own under target/, with the packages that a file pins.
pub fn venv(name: &str, requirements: &str) -> Result<PathBuf> {
    let requirements = root().join(requirements);
    let wanted = fs::read(&requirements).map_err(io("read", &requirements))?;
    let venv = target().join(name);
    let python = venv.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let installed = venv.join("installed.txt");
    if !fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        run(command(self::python()?).args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(command(&python).args(["-m", "pip", "install", "--requirement"]).arg(&requirements))?;
        fs::write(&installed, wanted).map_err(io("write", &installed))?;
    }
    Ok(python)
}

/// A Chromium or Chrome that starts, and the packages of tests/ that drive it.
pub fn browser() -> Result<PathBuf> {
    node()?;
    npm_ci("tests")?;
    if let Some(named) = named("CHROME") {
        return named;
    }
    if let Some(found) = find_browser() {
        return Ok(found);
    }
    if can_apt() {
        if is_distribution("ubuntu") {
            // Ubuntu's own package is a snap, which needs a running snapd.
            run(command("node").args([PLAYWRIGHT, "install", "--with-deps", "chromium"]))?;
        } else {
            apt_install(&["chromium"])?;
        }
        return find_browser().ok_or_else(|| "Chromium was installed but does not start".into());
    }
    Err(format!("Chromium is missing: run `node {PLAYWRIGHT} install chromium`, or set CHROME to an installed Chrome"))
}

/// A Firefox that starts.
pub fn firefox() -> Result<PathBuf> {
    const PATHS: [&str; 2] =
        ["/Applications/Firefox.app/Contents/MacOS/firefox", r"C:\Program Files\Mozilla Firefox\firefox.exe"];
    let find = || on_path(&["firefox-esr", "firefox"]).chain(PATHS.map(PathBuf::from)).find(|path| starts(path));
    if let Some(named) = named("FIREFOX") {
        return named;
    }
    // Ubuntu's own package is a snap.
    if find().is_none() && can_apt() && !is_distribution("ubuntu") {
        apt_install(&["firefox-esr"])?;
    }
    find().ok_or_else(|| "Firefox is missing: install it, or set FIREFOX to an installed one".into())
}

/// The driver of WebKitGTK and a display, where they can be had. Its tests are left out where they are not.
pub fn webkit() -> Result<()> {
    const PROGRAMS: [&str; 2] = ["WebKitWebDriver", "Xvfb"];
    let is_there = |name: &&str| on_path(&[name]).any(|path| path.is_file());
    if PROGRAMS.iter().all(is_there) || !can_apt() {
        return Ok(());
    }
    apt_install(&["webkit2gtk-driver", "xvfb"])
}

/// The browser that a variable names.
fn named(variable: &str) -> Option<Result<PathBuf>> {
    let named = PathBuf::from(std::env::var_os(variable)?);
    Some(if starts(&named) { Ok(named) } else { Err(format!("{variable}: {} does not start", named.display())) })
}

const PLAYWRIGHT: &str = "tests/node_modules/playwright-core/cli.js";

fn find_browser() -> Option<PathBuf> {
    const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    const PATHS: [&str; 5] = [
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
        r"C:\Program Files\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
        r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
    ];
    let playwright = || {
        let ask = "require('playwright-core').chromium.executablePath()";
        output(command("node").args(["--print", ask]).current_dir(root().join("tests"))).map(PathBuf::from)
    };
    let installed = on_path(&NAMES).chain(PATHS.map(PathBuf::from));
    installed.chain(std::iter::from_fn(playwright).take(1)).find(|path| starts(path))
}

/// Files of these names in the folders of PATH, wherever they are there.
fn on_path(names: &[&str]) -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let found: Vec<_> = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).collect();
    found.into_iter()
}

/// A file by that name can be a stub that only says how to install the browser.
fn starts(browser: &Path) -> bool {
    // On Windows --version opens a window instead of answering.
    browser.is_file() && (cfg!(windows) || output(command(browser).arg("--version")).is_some())
}

/// The description file of lavapipe, Mesa's Vulkan driver on the CPU: the GPU that every Linux machine can have.
/// `None` where the tests use the GPU that is there: not on Linux, or when the user has chosen a driver.
pub fn software_gpu() -> Result<Option<PathBuf>> {
    let chosen = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"].iter().any(|name| std::env::var_os(name).is_some());
    if chosen || !cfg!(target_os = "linux") {
        return Ok(None);
    }
    const PACKAGES: [&str; 2] = ["mesa-vulkan-drivers", "libvulkan1"];
    let mut found = find_lavapipe();
    if found.is_none() && can_apt() {
        apt_install(&PACKAGES)?;
        found = find_lavapipe();
    }
    let debian = PACKAGES.join(" ");
    found.map(Some).ok_or_else(|| {
        format!(
            "lavapipe, Mesa's Vulkan driver on the CPU, is missing: run `apt-get install {debian}` as root, \
             or install the package of your system that has lvp_icd (mesa-vulkan-drivers, vulkan-swrast)"
        )
    })
}

fn find_lavapipe() -> Option<PathBuf> {
    let folders = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
    let entries = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("lvp_icd")))
        .collect();
    // One file per machine type where there are several; ours first.
    found.sort_by_key(|path| !path.to_string_lossy().contains(std::env::consts::ARCH));
    found.into_iter().next()
}

fn can_apt() -> bool {
    is_distribution("debian") && output(command("id").arg("-u")).is_some_and(|user| user == "0")
}

/// Whether the system is this one or says that it is like it; Ubuntu is like Debian.
fn is_distribution(name: &str) -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|release| release_names(&release, name))
}

fn release_names(release: &str, name: &str) -> bool {
    let values = release.lines().filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")));
    values.flat_map(|value| value.trim_matches(['"', '\'']).split(' ')).any(|word| word == name)
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut apt = command("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt
    };
    run(apt().arg("update"))?;
    run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\n";
        let ubuntu = "ID=ubuntu\nID_LIKE=debian\nUBUNTU_CODENAME=noble\n";
        let mint = "ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n";
        let fedora = "ID=fedora\nVERSION_ID=43\n";
        for (release, on_debian, on_ubuntu) in
            [(debian, true, false), (ubuntu, true, true), (mint, true, true), (fedora, false, false)]
        {
            assert_eq!(release_names(release, "debian"), on_debian, "{release}");
            assert_eq!(release_names(release, "ubuntu"), on_ubuntu, "{release}");
        }
    }
}
