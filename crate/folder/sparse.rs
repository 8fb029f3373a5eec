//! The modules of a `SparseEncoder` of sentence-transformers: an encoder and its `SpladePooling`, or a `Router` whose routes are
//! modules in folders below, where queries or documents need no encoder.

use super::{Folder, Kind, MODULES_MOST, Module, inside, join};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::Kind as Side;
use crate::ops::Lexical;

/// The routes of queries and documents.
pub(super) struct Routes {
    /// The modules of the one with an encoder.
    pub encoder: Vec<Module>,
    /// The other.
    pub table: TableRoute,
}

/// Texts that a `SparseStaticEmbedding` weighs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableRoute {
    /// Its folder.
    pub path: String,
    /// The texts that take it.
    pub kind: Side,
    /// What texts of no kind count as; none: they have no route.
    pub default: Option<Side>,
}

/// Whether a module is a router; `Asym` is what it was called.
pub(super) fn is_router(module: &Module) -> bool {
    ["Router", "Asym"].contains(&module.kind.as_str())
}

/// Where the first of these modules may say what its routes are, if it is a router.
pub(super) fn router_files(modules: &[Module]) -> Vec<String> {
    modules.first().filter(|first| is_router(first)).map_or(Vec::new(), |router| routes_files(router).into())
}

/// The older name is for where the other is not there.
fn routes_files(router: &Module) -> [String; 2] {
    ["router_config.json", "config.json"].map(|name| join(&router.path, name))
}

impl Folder {
    /// The `SpladePooling` of a sparse encoder.
    pub(super) fn lexical(&self, modules: &[Module]) -> Result<Lexical> {
        let [_, module] = modules else {
            return Err(Error::option("modules.json", "modules that are not one Transformer and one SpladePooling"));
        };
        if module.kind != "SpladePooling" {
            return Err(Error::option("modules.json module", &module.kind));
        }
        let path = join(&module.path, "config.json");
        let config = Config::parse(&path, self.bytes(&path)?)?;
        let sum = match config.text_or("pooling_strategy", "max")? {
            "max" => false,
            "sum" => true,
            _ => return Err(config.unsupported("pooling_strategy")),
        };
        let logs = match config.text_or("activation_function", "relu")? {
            "relu" => 1,
            "log1p_relu" => 2,
            _ => return Err(config.unsupported("activation_function")),
        };
        Ok(Lexical { sum, logs })
    }

    /// The routes of the first of these modules, where it is a router.
    pub(super) fn routes(&self, modules: &[Module]) -> Result<Option<Routes>> {
        let Some(router) = modules.first().filter(|module| is_router(module)) else { return Ok(None) };
        if self.kind()? != Kind::SparseEncoder {
            return Err(Error::option("modules.json first module", &router.kind));
        }
        if let Some(module) = modules.get(1) {
            return Err(Error::option("modules.json module", &module.kind));
        }
        let [path, older] = routes_files(router);
        let config = match self.optional(&path)? {
            Some(config) => config,
            None => self.optional(&older)?.ok_or(Error::MissingFile { path })?,
        };
        let part = |key: &str| config.object(key)?.ok_or_else(|| config.unsupported(key));
        let (types, structure, parameters) = (part("types")?, part("structure")?, part("parameters")?);
        let route = |name: &str| -> Result<Vec<Module>> {
            let modules = structure.texts(name)?.filter(|modules| modules.len() <= MODULES_MOST);
            let modules = modules.ok_or_else(|| structure.unsupported(name))?;
            let module = |id: &str| {
                if !inside(id) {
                    return Err(Error::option("router_config.json path", id));
                }
                Ok(Module::new(types.text_or(id, "")?, &join(&router.path, id)))
            };
            modules.into_iter().map(module).collect()
        };
        parameters.require_empty("route_mappings")?;
        let default = match parameters.text_or("default_route", "")? {
            "query" => Some(Side::Query),
            "document" => Some(Side::Document),
            "" if !parameters.flag_or("allow_empty_key", true)? => None,
            _ => return Err(parameters.unsupported("default_route")),
        };
        let is_table = |modules: &[Module]| matches!(modules, [module] if module.kind == "SparseStaticEmbedding");
        let (query, document) = (route("query")?, route("document")?);
        let (kind, table, encoder) = match (is_table(&query), is_table(&document)) {
            (true, false) => (Side::Query, query, document),
            (false, true) => (Side::Document, document, query),
            _ => return Err(config.unsupported("structure")),
        };
        if !encoder.first().is_some_and(|first| ["Transformer", "MLMTransformer"].contains(&first.kind.as_str())) {
            return Err(config.unsupported("structure"));
        }
        let path = table[0].path.clone();
        Ok(Some(Routes { encoder, table: TableRoute { path, kind, default } }))
    }

    /// The texts that no encoder reads, where there are such, and the folder of what weighs their terms.
    pub(crate) fn table_route(&self) -> Result<Option<(TableRoute, Self)>> {
        let Some(Routes { table, .. }) = self.routes(&self.listed()?)? else { return Ok(None) };
        let below = Self { files: self.files.clone(), encoder: Some(table.path.clone()) };
        if let Some(config) = below.optional(&below.of_encoder("config.json")?)? {
            // Weights by the names of tokens, somewhere else.
            config.require_empty("path")?;
        }
        Ok(Some((table, below)))
    }
}
