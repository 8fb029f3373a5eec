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
    let mut modules = match fetch::text(&agent, &format!("{base}modules.json"), CONFIG_LIMIT)? {
        Some(text) => listed(&text)?,
        None => vec![Module { path: String::new(), reads: true, routes: false }],
    };
    let mut files = vec![("modules.json".to_owned(), modules.len() > 1)];
    if modules[0].routes {
        let (path, routes) = routes(&agent, base, &modules[0])?;
        modules = routed(&modules[0], &routes)?;
        files.push((path, true));
    }
    files.extend(wanted(&modules));
    for (path, required) in files {
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

/// Where a router says what its routes are, and what it says; the older name is for where the other is not there.
fn routes(agent: &Agent, base: &str, router: &Module) -> Result<(String, String)> {
    for path in ["router_config.json", "config.json"].map(|name| router.file(name)) {
        if let Some(text) = fetch::text(agent, &format!("{base}{path}"), CONFIG_LIMIT)? {
            return Ok((path, text));
        }
    }
    Err(format!("{base}{}: not found, and a router needs it", router.file("router_config.json")))
}

/// A module's folder.
#[derive(Debug, PartialEq)]
struct Module {
    path: String,
    /// Whether it has a tokenizer.
    reads: bool,
    /// Whether it says which modules are below it.
    routes: bool,
}

impl Module {
    fn file(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }
}

/// The modules of `modules.json`, in order; the first holds the transformer.
fn listed(modules: &str) -> Result<Vec<Module>> {
    let value: Value = serde_json::from_str(modules).map_err(|error| format!("modules.json is not JSON: {error}"))?;
    let module = |(at, module): (usize, &Value)| {
        let kind = module.get("type")?.as_str()?;
        let routes = ["Router", "Asym"].iter().any(|router| kind.ends_with(router));
        Some(Module { path: module.get("path")?.as_str()?.trim_matches('/').to_owned(), reads: at == 0, routes })
    };
    let modules: Option<Vec<_>> = value.as_array().and_then(|all| all.iter().enumerate().map(module).collect());
    let modules = modules.filter(|modules| !modules.is_empty());
    inside(modules.ok_or("modules.json is not a list of modules with a path and a type")?)
}

/// The modules of all routes of a router.
fn routed(router: &Module, routes: &str) -> Result<Vec<Module>> {
    let value: Value = serde_json::from_str(routes).map_err(|error| format!("the router is not JSON: {error}"))?;
    let module = |(id, kind): (&String, &Value)| {
        let kind = kind.as_str()?;
        let reads = ["Transformer", "SparseStaticEmbedding"].iter().any(|reads| kind.ends_with(reads));
        Some(Module { path: router.file(id).trim_matches('/').to_owned(), reads, routes: false })
    };
    let modules: Option<Vec<_>> = value["types"].as_object().and_then(|types| types.iter().map(module).collect());
    inside(modules.ok_or("the router has no types of modules")?)
}

fn inside(modules: Vec<Module>) -> Result<Vec<Module>> {
    match modules.iter().find(|module| safe_relative(&module.path).is_none()) {
        Some(module) => Err(format!("the model names the path {:?}, which leaves its folder", module.path)),
        None => Ok(modules),
    }
}

/// The files to ask for, and whether the model cannot be without them.
fn wanted(modules: &[Module]) -> Vec<(String, bool)> {
    let mut files = vec![("config_sentence_transformers.json".to_owned(), false)];
    for module in modules {
        let names: &[(&str, bool)] = match module.reads {
            true => &[
                ("config.json", true),
                ("sentence_bert_config.json", false),
                ("sentence_roberta_config.json", false),
                ("sentence_distilbert_config.json", false),
                ("sentence_camembert_config.json", false),
                ("sentence_albert_config.json", false),
                ("sentence_xlm-roberta_config.json", false),
                ("sentence_xlnet_config.json", false),
                ("tokenizer_config.json", false),
                ("special_tokens_map.json", false),
                ("added_tokens.json", false),
                ("tokenizer.json", true),
                ("artifact.metadata", false),
                ("model.safetensors", true),
            ],
            false => &[("config.json", false), ("model.safetensors", false)],
        };
        files.extend(names.iter().map(|&(name, required)| (module.file(name), required)));
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
        let module = |path: &str, reads| Module { path: path.into(), reads, routes: false };
        let two = r#"[{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling/", "type": "x.Pooling"}]"#;
        assert_eq!(listed(two), Ok(vec![module("", true), module("1_Pooling", false)]));
        for wrong in ["<html>", "{}", "[]", r#"[{"type": "x"}]"#, r#"[{"path": "a/../../b", "type": "x"}]"#] {
            assert!(listed(wrong).is_err(), "{wrong}");
        }
        let files = wanted(&[module("0_Transformer", true), module("2_Dense", false)]);
        assert!(files.contains(&("0_Transformer/tokenizer.json".into(), true)));
        assert!(files.contains(&("2_Dense/model.safetensors".into(), false)));
        let router = &listed(r#"[{"path": "", "type": "x.Router"}]"#).unwrap()[0];
        assert!(router.routes);
        let routes = r#"{"types": {"": "x.MLMTransformer", "d_1": "x.SpladePooling", "q": "x.SparseStaticEmbedding"}}"#;
        assert_eq!(routed(router, routes), Ok(vec![module("", true), module("d_1", false), module("q", true)]));
        for wrong in ["[]", r#"{"types": {"../x": "Transformer"}}"#, r#"{"types": {"x": 1}}"#] {
            assert!(routed(router, wrong).is_err(), "{wrong}");
        }
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
