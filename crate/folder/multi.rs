//! How a folder makes a vector of every token, as the `MultiVectorEncoder` of sentence-transformers finds out: by modules, by the
//! keys of PyLate, or by what Stanford's own code of ColBERT saves. A plain encoder would get a random projection: it is refused.

use super::{Folder, Kind, Module, SENTENCE, Sentence, join};
use crate::config::{Config, limit};
use crate::error::{Error, Result};
use crate::head::Dense;
use crate::task::{Expansion, MultiVector};

/// Settings of a ColBERT of Stanford's, whose projection lies beside the encoder.
pub(super) const METADATA: &str = "artifact.metadata";

impl Folder {
    /// Whether it is a ColBERT as Stanford's own code saves it.
    pub(super) fn is_stanford(&self) -> Result<bool> {
        let Some(config) = self.optional("config.json")? else { return Ok(false) };
        Ok(config.texts("architectures")?.is_some_and(|classes| classes.contains(&"HF_ColBERT")))
    }

    /// Everything around the encoder where a vector is made of every token.
    pub(super) fn multi(&self, modules: &[Module], hidden: usize, mut sentence: Sentence) -> Result<Sentence> {
        if self.has_modules() {
            sentence.multi = Some(self.of_modules(modules, hidden)?);
            sentence = self.finish_sentence(sentence)?;
        } else {
            // Without modules.json other files beside the configuration are not looked at.
            self.stanford(hidden, &mut sentence)?;
        }
        if let Some(MultiVector { query_length: Some(most), expansion: Some(expansion), .. }) = &sentence.multi
            && *most < expansion.length
        {
            return Err(Error::option("query_length", format!("{most}, less than the length of query_expansion")));
        }
        // That of a `SentenceTransformer`, or of PyLate, does not compare several vectors.
        sentence.similarity = "maxsim".into();
        Ok(sentence)
    }

    /// By modules, of a `SentenceTransformer` those that are left where texts are not pooled.
    fn of_modules(&self, modules: &[Module], hidden: usize) -> Result<MultiVector> {
        let (kind, about) = (self.kind()?, self.optional(SENTENCE)?);
        let named = about.as_ref().and_then(|about| about.get("model_type"));
        let pylate = named.is_some_and(|named| named == "ColBERT");
        let converted = match kind {
            Kind::MultiVectorEncoder => false,
            Kind::SentenceTransformer => named.is_some() || !self.is_stanford()?,
            Kind::CrossEncoder | Kind::SparseEncoder => return Err(no_projection()),
        };
        let mut multi = MultiVector::default();
        let skiplist = match &about {
            Some(about) => multi.read_pylate(about)?,
            None => None,
        };
        let mut width = hidden;
        for module in &modules[1..] {
            let path = join(&module.path, "config.json");
            let config = || Config::parse(&path, self.bytes(&path)?);
            match module.kind.as_str() {
                "Dense" if !multi.normalize => {
                    let config = config()?;
                    let of = config.text_or("module_input_name", "token_embeddings")?;
                    let of = if converted && of == "sentence_embedding" { of } else { "token_embeddings" };
                    let dense = Dense::read(&config, &module.path, of)?;
                    if dense.inputs != width {
                        let reason = format!("in_features is {} where {width} columns come in", dense.inputs);
                        return Err(Error::file(path, reason));
                    }
                    width = dense.outputs;
                    multi.dense.push(dense);
                }
                "MultiVectorMask" => multi.read_mask(&config()?)?,
                "Pooling" if converted => {}
                "Normalize" => {
                    let config = self.optional(&path)?;
                    let of = config.as_ref().map_or(Ok("sentence_embedding"), |config| {
                        config.text_or("module_input_name", "sentence_embedding")
                    })?;
                    multi.normalize |= !converted || of == "token_embeddings";
                }
                _ => return Err(Error::option("modules.json module", &module.kind)),
            }
        }
        if converted && (multi.dense.is_empty() || modules[0].kind == "StaticEmbedding") {
            return Err(no_projection());
        }
        if pylate || converted {
            let usual = if pylate || !multi.prefixes.is_empty() { punctuation() } else { Vec::new() };
            multi.skiplist = skiplist.unwrap_or(usual);
            (multi.skip_in_documents, multi.masks, multi.normalize) = (true, true, true);
        }
        Ok(multi)
    }

    /// As `_maybe_load_stanford_metadata` of sentence-transformers reads it.
    fn stanford(&self, hidden: usize, sentence: &mut Sentence) -> Result<()> {
        if !self.is_stanford()? {
            return Err(no_projection());
        }
        let metadata = self.optional(METADATA)?.map_or_else(|| Config::parse(METADATA, b"{}"), Ok)?;
        for (name, key, usual) in [("query", "query_token_id", "[unused0]"), ("document", "doc_token_id", "[unused1]")]
        {
            let marker = Some(metadata.text_or(key, "")?).filter(|marker| !marker.is_empty()).unwrap_or(usual);
            sentence.prompts.insert(name.into(), format!("{marker} "));
        }
        let length = match metadata.index_or("query_maxlen", 0, limit::POSITIONS)? {
            0 => 32,
            length => length as usize,
        };
        let attend = metadata.flag_or("attend_to_mask_tokens", false)?;
        // It is null for false: the default is for where it is not there.
        let skips = !metadata.has("mask_punctuation") || metadata.flag_or("mask_punctuation", false)?;
        sentence.multi = Some(MultiVector {
            dense: vec![Dense {
                file: self.weights()?,
                name: "/linear".into(),
                inputs: hidden,
                outputs: metadata.size_or("dim", 128, limit::INNER)?,
                bias: false,
                activation: None,
            }],
            normalize: true,
            prefixes: sentence.prompts.values().cloned().collect(),
            skiplist: if skips { punctuation() } else { Vec::new() },
            skip_in_documents: true,
            masks: true,
            document_length: metadata
                .get("doc_maxlen")
                .map(|_| metadata.size("doc_maxlen", limit::POSITIONS))
                .transpose()?,
            expansion: Some(Expansion { length, fixed: true, attend, token: None }),
            ..MultiVector::default()
        });
        Ok(())
    }
}

fn no_projection() -> Error {
    Error::option("task", "multi for a folder without a projection of tokens")
}

/// `string.punctuation` of Python.
fn punctuation() -> Vec<String> {
    r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##.chars().map(String::from).collect()
}
