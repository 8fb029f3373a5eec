//! Any model on a web server: the hub or a plain address. In: the address of a model folder. Out: its files in a local folder.
//! A server cannot be asked what a folder holds, so the model's own files say what it consists of.

use std::path::Path;

use serde_json::Value;
use ureq::Agent;

use crate::{Result, fetch, serve::safe_relative};

/// More than any configuration file needs, so that a web page in its place cannot fill the memory.
const CONFIG_LIMIT: u64 = 4 << 20;

/// Downloads the model at `base` into `folder`. `pointers` is where the hub tells the hash of a large file; other servers
/// tell none.
pub fn download(base: &str, pointers: Option<&str>, folder: &Path) -> Result<()> {
    let agent = fetch::agent();
    let modules = match fetch::text(&agent, &format!("{base}modules.json"), CONFIG_LIMIT)? {
        Some(text) => module_paths(&text)?,
        None => vec![String::new()],
    };
    for (path, required) in wanted(&modules) {
        let url = format!("{base}{path}");
        let sha256 = match pointers {
            Some(pointers) if path.ends_with(".safetensors") => lfs_hash(&agent, &format!("{pointers}{path}"))?,
            _ => None,
        };
        let there = fetch::download(&agent, &url, &folder.join(&path), sha256.as_deref())?;
        if required && !there {
            return Err(format!("{url}: not found, and a model folder needs it"));
        }
    }
    Ok(())
}

/// The folders of `modules.json`, in order; the first holds the transformer.
fn module_paths(modules: &str) -> Result<Vec<String>> {
    let value: Value = serde_json::from_str(modules).map_err(|error| format!("modules.json is not JSON: {error}"))?;
    let paths: Option<Vec<_>> = value.as_array().and_then(|modules| {
        modules.iter().map(|module| Some(module.get("path")?.as_str()?.trim_matches('/').to_owned())).collect()
    });
    let paths = paths.filter(|paths| !paths.is_empty()).ok_or("modules.json is not a list of modules with a path")?;
    match paths.iter().find(|path| safe_relative(path).is_none()) {
        Some(path) => Err(format!("modules.json names the path {path:?}, which leaves the model folder")),
        None => Ok(paths),
    }
}

/// The files to ask for, and whether the model cannot be without them.
fn wanted(modules: &[String]) -> Vec<(String, bool)> {
    let mut files =
        vec![("modules.json".to_owned(), modules.len() > 1), ("config_sentence_transformers.json".to_owned(), false)];
    for (at, module) in modules.iter().enumerate() {
        let names: &[(&str, bool)] = match at {
            0 => &[
                ("config.json", true),
                ("sentence_bert_config.json", false),
                ("sentence_roberta_config.json", false),
                ("sentence_distilbert_config.json", false),
                ("sentence_camembert_config.json", false),
                ("sentence_albert_config.json", false),
                ("sentence_xlm-roberta_config.json", false),
                ("sentence_xlnet_config.json", false),
                ("tokenizer_config.json", false),
                ("tokenizer.json", true),
                ("artifact.metadata", false),
                ("model.safetensors", true),
            ],
            _ => &[("config.json", false), ("model.safetensors", false)],
        };
        let join = |name: &str| {
            if module.is_empty() { name.to_owned() } else { format!("{module}/{name}") }
        };
        files.extend(names.iter().map(|&(name, required)| (join(name), required)));
    }
    files
}

/// The hash that the hub keeps for a large file, in the few lines that stand for it in git.
fn lfs_hash(agent: &Agent, url: &str) -> Result<Option<String>> {
    Ok(fetch::text(agent, url, 1024)?.as_deref().and_then(lfs_oid).map(String::from))
}

fn lfs_oid(pointer: &str) -> Option<&str> {
    if !pointer.starts_with("version https://git-lfs.github.com/spec/") {
        return None;
    }
    let oid = pointer.lines().find_map(|line| line.strip_prefix("oid sha256:"))?.trim();
    (oid.len() == 64 && oid.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(oid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_say_which_files_there_are() {
        let two = r#"[{"path": "", "type": "Transformer"}, {"path": "1_Pooling/", "type": "Pooling"}]"#;
        assert_eq!(module_paths(two), Ok(vec![String::new(), "1_Pooling".into()]));
        for wrong in ["<html>", "{}", "[]", r#"[{"type": "x"}]"#, r#"[{"path": "a/../../b"}]"#] {
            assert!(module_paths(wrong).is_err(), "{wrong}");
        }
        let files = wanted(&["0_Transformer".into(), "2_Dense".into()]);
        assert!(files.contains(&("0_Transformer/tokenizer.json".into(), true)));
        assert!(files.contains(&("2_Dense/model.safetensors".into(), false)));
    }

    #[test]
    fn only_a_pointer_has_a_hash() {
        let sha = "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf";
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize 349\n");
        assert_eq!(lfs_oid(&pointer), Some(sha));
        assert_eq!(lfs_oid(&pointer.replace("version", "Version")), None);
        assert_eq!(lfs_oid(&pointer.replace(sha, "12")), None);
        assert_eq!(lfs_oid("<html>"), None);
    }
}
