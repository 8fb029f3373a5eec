//! A vector for every token: ColBERT (arXiv 2004.12832), as the `MultiVectorEncoder` of sentence-transformers computes it;
//! hierarchical token pooling after arXiv 2409.14683.

use serde::Deserialize;
use serde_json::Value;

use super::{Task, unit};
use crate::batch::Sequence;
use crate::config::{Config, limit};
use crate::error::{Error, Result};
use crate::head::Dense;
use crate::job::{Call, Ragged};
use crate::model::{Kind, Model};
use crate::tokens::Encoding;

/// How a folder makes a vector of every token.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MultiVector {
    /// Projections, in order.
    pub dense: Vec<Dense>,
    /// Whether vectors are scaled to unit length.
    pub normalize: bool,
    /// Beginnings of texts that are a token each, where the vocabulary has one for them.
    pub prefixes: Vec<String>,
    /// Whether vectors are kept of what fills up a query and is not attended to.
    pub masks: bool,
    /// Tokens that no vector is kept of, in texts of these kinds.
    pub skiplist: Vec<String>,
    /// Whether the list holds for queries.
    pub skip_in_queries: bool,
    /// Whether it holds for documents.
    pub skip_in_documents: bool,
    /// Only tokens of these ids are kept of documents.
    pub keep_only: Option<Vec<u32>>,
    /// Most tokens of a query.
    pub query_length: Option<usize>,
    /// Most tokens of a document.
    pub document_length: Option<usize>,
    /// How queries are filled up.
    pub expansion: Option<Expansion>,
}

/// Queries shorter than this are filled up with a token, whose vectors take part in the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    /// Tokens of a query.
    pub length: usize,
    /// Whether longer queries are cut to the length.
    pub fixed: bool,
    /// Whether the query attends to what fills it.
    pub attend: bool,
    /// The token; none: the mask token.
    pub token: Option<String>,
}

impl MultiVector {
    /// Most tokens of a query or a document, where it has limits of its own.
    pub fn longest(&self) -> Option<usize> {
        let expansion = self.expansion.as_ref().map(|expansion| expansion.length);
        [self.query_length, self.document_length, expansion].into_iter().flatten().max()
    }

    /// Reads a `MultiVectorMask` module.
    pub fn read_mask(&mut self, config: &Config) -> Result<()> {
        self.masks = true;
        self.skiplist = config.texts("skiplist_words")?.unwrap_or_default().into_iter().map(str::to_owned).collect();
        let kinds = config.texts("skiplist_tasks")?.unwrap_or_else(|| vec!["document"]);
        self.skip_in_queries = kinds.contains(&"query");
        self.skip_in_documents = kinds.contains(&"document");
        if let Some(ids) = config.get("keep_only_token_ids") {
            let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
            let ids: Option<Vec<u32>> = ids.as_array().and_then(|ids| ids.iter().map(id).collect());
            let ids = ids.ok_or_else(|| config.unsupported("keep_only_token_ids"))?;
            self.keep_only = (!ids.is_empty()).then_some(ids);
        }
        Ok(())
    }

    /// Reads lengths and expansion, of `sentence_bert_config.json` or of PyLate's top-level keys.
    pub fn read_lengths(&mut self, config: &Config) -> Result<()> {
        let length = |key| config.get(key).map(|_| config.size(key, limit::POSITIONS)).transpose();
        self.query_length = length("query_length")?.or(self.query_length);
        self.document_length = length("document_length")?.or(self.document_length);
        if let Some(expansion) = config.object("query_expansion")? {
            let fixed = match expansion.text_or("strategy", "")? {
                "fixed" => true,
                "min" => false,
                _ => return Err(expansion.unsupported("strategy")),
            };
            let token =
                expansion.get("token").map(|_| expansion.text_or("token", "").map(str::to_owned)).transpose()?;
            let attend = expansion.flag_or("attend", false)?;
            self.expansion =
                Some(Expansion { length: expansion.size("length", limit::POSITIONS)?, fixed, attend, token });
        }
        Ok(())
    }

    /// Reads what PyLate writes to `config_sentence_transformers.json`, where it fills up queries unless it says otherwise.
    /// Returns the tokens that no vector is kept of, where it names them.
    pub fn read_pylate(&mut self, config: &Config) -> Result<Option<Vec<String>>> {
        self.read_lengths(config)?;
        let prefixes = ["query_prefix", "document_prefix"].into_iter().filter(|key| config.has(key));
        self.prefixes = prefixes.map(|key| Ok(config.text_or(key, "")?.to_owned())).collect::<Result<_>>()?;
        let attends = ["attend_to_expansion_tokens", "attend_to_mask_tokens"].into_iter().find(|key| config.has(key));
        let others = ["query_length", "document_length", "do_query_expansion", "skiplist_words"];
        let is_pylate = attends.is_some() || !self.prefixes.is_empty() || others.iter().any(|key| config.has(key));
        if is_pylate && !config.has("query_expansion") && config.flag_or("do_query_expansion", true)? {
            let attend = attends.map_or(Ok(false), |key| config.flag_or(key, false))?;
            let length = self.query_length.take().unwrap_or(32);
            self.expansion = Some(Expansion { length, fixed: true, attend, token: None });
        }
        let words = config.texts("skiplist_words")?;
        Ok(words.map(|words| words.into_iter().map(str::to_owned).collect()))
    }
}

/// Options of one multi-vector embedding.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct MultiOptions {
    /// Whether the texts are queries or documents; neither: as documents, without a prompt.
    pub kind: Option<Kind>,
    /// Keep about one vector in so many, the mean of those that are closest. Default: all.
    pub pool_factor: Option<usize>,
}

/// Vectors of the tokens of a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MultiVectors {
    /// `[vectors, dimensions]`
    pub data: Vec<f32>,
    /// Columns.
    pub dimensions: usize,
    /// Tokens that the model read.
    pub tokens: u32,
    /// Whether tokens were cut off.
    pub truncated: bool,
}

impl MultiVectors {
    /// The vectors.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks_exact(self.dimensions.max(1))
    }
}

/// Texts that are to become vectors.
#[derive(Default)]
pub(super) struct Prepared {
    /// As the model reads them.
    pub sequences: Vec<Sequence>,
    /// Of which tokens of each a vector is kept, how many tokens it has, and whether some were cut off.
    kept: Vec<(Vec<bool>, u32, bool)>,
}

impl Model {
    /// A vector for every token of each text that takes part in comparisons.
    pub fn embed_multi(&self, texts: &[String], options: &MultiOptions) -> Result<Call<Vec<MultiVectors>>> {
        if options.pool_factor == Some(0) {
            return Err(Error::argument("poolFactor must be at least 1"));
        }
        let (mut prepared, factor) = (Prepared::default(), options.pool_factor.unwrap_or(1));
        self.prepare_multi(texts, options.kind, &mut prepared)?;
        let job = self.head_job(Task::Multi, std::mem::take(&mut prepared.sequences))?;
        Ok(Call::new(job, move |model, rows| model.multi_vectors(&rows, &prepared, factor)))
    }

    /// Adds texts of a kind.
    pub(super) fn prepare_multi(&self, texts: &[String], kind: Option<Kind>, prepared: &mut Prepared) -> Result<()> {
        let multi = &self.head(Task::Multi)?.multi;
        let (query, tokens) = (kind == Some(Kind::Query), &self.parts.tokens);
        let prompt = self.prompt(None, None, kind)?;
        let expansion = multi.expansion.as_ref().filter(|_| query);
        let limit = match (kind, expansion) {
            (_, Some(expansion)) if expansion.fixed => Some(expansion.length),
            (Some(Kind::Query), _) => multi.query_length,
            (Some(Kind::Document), _) => multi.document_length,
            (None, _) => None,
        };
        let limit = limit.unwrap_or(self.parts.max_tokens);
        let filler = match expansion {
            None => None,
            Some(expansion) => {
                let token = expansion.token.as_deref().or(self.parts.mask_token.as_deref());
                let id = token.and_then(|token| tokens.id(token));
                Some(id.ok_or_else(|| Error::option("query_expansion token", token.unwrap_or("none")))?)
            }
        };
        let skipped: Vec<u32> = match if query { multi.skip_in_queries } else { multi.skip_in_documents } {
            true => multi.skiplist.iter().filter_map(|word| tokens.id(word)).collect(),
            false => Vec::new(),
        };
        let keep_only = multi.keep_only.clone().filter(|_| !query);
        for text in texts {
            let encoding: Encoding = tokens.encode_cut(&format!("{prompt}{text}"), limit, false)?;
            let mut sequence = Sequence::from(&encoding);
            let real = sequence.ids.len();
            let counts = |id: &u32| !skipped.contains(id) && keep_only.as_ref().is_none_or(|ids| ids.contains(id));
            let mut keep: Vec<bool> = sequence.ids.iter().map(counts).collect();
            if let (Some(expansion), Some(filler)) = (expansion, filler) {
                let length = expansion.length.max(real);
                sequence.ids.resize(length, filler);
                sequence.type_ids.resize(length, 0);
                keep.resize(length, (multi.masks || expansion.attend) && !skipped.contains(&filler));
                sequence.attended = (!expansion.attend).then_some(real as u32);
            }
            prepared.kept.push((keep, real as u32, encoding.truncated));
            prepared.sequences.push(sequence);
        }
        Ok(())
    }

    /// The vectors of such texts from the rows of their tokens, about one vector of `factor`.
    pub(super) fn multi_vectors(&self, rows: &Ragged, prepared: &Prepared, factor: usize) -> Result<Vec<MultiVectors>> {
        let normalize = self.head(Task::Multi)?.multi.normalize;
        let mut found = Vec::with_capacity(prepared.kept.len());
        for (index, (keep, tokens, truncated)) in prepared.kept.iter().enumerate() {
            let mut data = Vec::new();
            for (row, _) in rows.rows(index).zip(keep).filter(|(_, keep)| **keep) {
                data.extend_from_slice(row);
            }
            if normalize {
                data.chunks_exact_mut(rows.width).for_each(unit);
            }
            let vectors = MultiVectors { data, dimensions: rows.width, tokens: *tokens, truncated: *truncated };
            found.push(pool_tokens(vectors, factor));
        }
        Ok(found)
    }
}

/// Keeps about one vector in `factor`: Ward's clustering by cosine distance, each cluster its mean, of unit length. The first
/// vector, of the token that stands for the text, is not clustered. Clusters are in the order of their first tokens.
fn pool_tokens(vectors: MultiVectors, factor: usize) -> MultiVectors {
    let rows: Vec<&[f32]> = vectors.rows().skip(1).collect();
    let wanted = (rows.len() / factor).max(1);
    if factor <= 1 || wanted >= rows.len() {
        return vectors;
    }
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let distance = |a: &[f32], b: &[f32]| (1.0 - dot(a, b)).clamp(0.0, 2.0);
    let mut distances: Vec<Vec<f64>> = rows.iter().map(|a| rows.iter().map(|b| distance(a, b)).collect()).collect();
    let mut clusters: Vec<Vec<usize>> = (0..rows.len()).map(|index| vec![index]).collect();
    let mut left: Vec<usize> = (0..rows.len()).collect();
    while left.len() > wanted {
        let pairs = left.iter().enumerate().flat_map(|(place, a)| left[place + 1..].iter().map(move |b| (*a, *b)));
        let closest = pairs.min_by(|x, y| distances[x.0][x.1].total_cmp(&distances[y.0][y.1]));
        let Some((a, b)) = closest else { break };
        // The formula of Lance and Williams for Ward's criterion.
        let size = |index: usize| clusters[index].len() as f64;
        let (of_a, of_b, between) = (size(a), size(b), distances[a][b]);
        for &other in left.iter().filter(|other| **other != a && **other != b) {
            let of_other = size(other);
            let sum = (of_a + of_other) * distances[a][other].powi(2) + (of_b + of_other) * distances[b][other].powi(2);
            let new = ((sum - of_other * between.powi(2)) / (of_a + of_b + of_other)).max(0.0).sqrt();
            (distances[a][other], distances[other][a]) = (new, new);
        }
        let merged = std::mem::take(&mut clusters[b]);
        clusters[a].extend(merged);
        left.retain(|index| *index != b);
    }
    let mut data = vectors.data[..vectors.dimensions].to_vec();
    for cluster in left.iter().map(|index| &clusters[*index]) {
        let mean = |column: usize| cluster.iter().map(|row| rows[*row][column]).sum::<f32>() / cluster.len() as f32;
        data.extend((0..vectors.dimensions).map(mean));
    }
    data.chunks_exact_mut(vectors.dimensions).for_each(unit);
    MultiVectors { data, ..vectors }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors(rows: &[[f32; 2]]) -> MultiVectors {
        MultiVectors { data: rows.concat(), dimensions: 2, ..MultiVectors::default() }
    }

    #[test]
    fn pooling_merges_what_is_close() {
        let near = |angle: f32| [angle.cos(), angle.sin()];
        let found = pool_tokens(vectors(&[near(3.0), near(0.0), near(1.5), near(0.1), near(1.6)]), 2);
        // The first stays; {0, 0.1} and {1.5, 1.6} become their means.
        for (row, angle) in found.rows().zip([3.0, 0.05, 1.55]) {
            let expected = near(angle);
            assert!((row[0] - expected[0]).abs() < 1e-6 && (row[1] - expected[1]).abs() < 1e-6, "{:?}", found.data);
        }
        assert_eq!(found.data.len(), 6);
    }
}
