//! `model_type` to [`Spec`]: the only list of architectures.

mod albert;
mod bert;
mod big_bird;
mod clip_text_model;
mod convbert;
mod deberta;
mod deberta_v2;
mod distilbert;
mod electra;
mod ernie;
mod esm;
mod eurobert;
mod fnet;
mod gemma3;
mod gte;
mod jina_bert;
mod jina_embeddings_v3;
mod llama;
mod longformer;
mod mamba;
mod megatron_bert;
mod mobilebert;
mod modernbert;
mod modernvbert;
mod mpnet;
mod neobert;
mod nomic_bert;
mod phi3;
mod roberta;
mod roberta_prelayernorm;
mod roformer;
mod rope;
mod static_embedding;
mod t5;
mod ultrabert;
mod xmod;

use crate::config::Config;
use crate::encoder::Spec;
use crate::error::{Error, Result, printable};
use crate::task::{HeadStep, Outputs};
use crate::tokens::Class;

/// The encoder that `config.json` describes.
pub fn spec(config: &Config) -> Result<Spec> {
    let mut spec = described(config)?;
    // Long texts are numbered otherwise where their rotations are others, so all layers must draw one line.
    let mut lines = spec.layers.iter().filter_map(|layer| layer.rotation.as_ref()).map(|rotation| rotation.short());
    spec.tables.short = lines.next().flatten();
    match lines.all(|line| line == spec.tables.short) {
        true => Ok(spec),
        false => Err(config.unsupported("rope_parameters")),
    }
}

/// A table of embeddings alone.
pub fn table(rows: usize, width: usize) -> Spec {
    static_embedding::spec(rows, width)
}

fn described(config: &Config) -> Result<Spec> {
    match config.text_or("model_type", "")? {
        "albert" => albert::spec(config),
        "bert" if config.is("position_embedding_type", "alibi") => jina_bert::spec(config),
        "bert" => bert::spec(config),
        "big_bird" => big_bird::spec(config),
        "xlm-roberta" if config.is("position_embedding_type", "rotary") => jina_embeddings_v3::spec(config),
        "camembert" | "roberta" | "xlm-roberta" => roberta::spec(config),
        "clip" => clip_text_model::beside_images(config, &clip_text_model::CLIP),
        "clip_text_model" => clip_text_model::spec(config, &clip_text_model::CLIP),
        "convbert" => convbert::spec(config),
        "deberta" => deberta::spec(config),
        "deberta-v2" => deberta_v2::spec(config),
        "distilbert" => distilbert::spec(config),
        "electra" => electra::spec(config),
        "ernie" => ernie::spec(config),
        "esm" => esm::spec(config),
        "eurobert" => eurobert::spec(config),
        "fnet" => fnet::spec(config),
        "gemma3_text" => gemma3::spec(config),
        "gte" | "new" => gte::spec(config),
        "jina_embeddings_v3" => jina_embeddings_v3::spec(config),
        "llama" | "mistral" | "qwen2" | "qwen3" => llama::spec(config),
        "longformer" => longformer::spec(config),
        "mamba" => mamba::spec(config),
        "megatron-bert" => megatron_bert::spec(config),
        "mobilebert" => mobilebert::spec(config),
        "modernbert" => modernbert::spec(config),
        "modernvbert" => modernvbert::spec(config),
        "mpnet" => mpnet::spec(config),
        "neobert" => neobert::spec(config),
        "nomic_bert" => nomic_bert::spec(config),
        "phi3" => phi3::spec(config),
        "roformer" => roformer::spec(config),
        "roberta-prelayernorm" => roberta_prelayernorm::spec(config),
        "siglip" => clip_text_model::beside_images(config, &clip_text_model::SIGLIP),
        "siglip_text_model" => clip_text_model::spec(config, &clip_text_model::SIGLIP),
        "t5" | "umt5" => t5::spec(config),
        "ultrabert" => ultrabert::spec(config),
        "xmod" => xmod::spec(config),
        other => Err(Error::UnsupportedArchitecture { model_type: printable(other) }),
    }
}

/// The class of tokenizers of models of this type, and whether it is that whatever a folder names: many name one that is not
/// theirs. Source: `models/auto/tokenization_auto.py` of transformers 5.
pub fn tokenizer(model_type: &str) -> (Class, bool) {
    let class = match model_type {
        "albert" => Class::Albert,
        "bert" | "convbert" | "distilbert" | "electra" | "ernie" | "megatron-bert" | "mobilebert" | "nomic_bert" => {
            Class::Bert
        }
        "big_bird" => Class::BigBird,
        "camembert" => Class::Camembert,
        "clip" => Class::Clip,
        "deberta" => Class::Deberta,
        "deberta-v2" => Class::DebertaV2,
        "fnet" => Class::FNet,
        "gemma3_text" => Class::Gemma,
        "longformer" | "roberta" | "roberta-prelayernorm" => Class::Roberta,
        "mamba" => Class::GptNeoX,
        "mpnet" => Class::MpNet,
        "qwen2" | "qwen3" => Class::Qwen2,
        "roformer" => Class::RoFormer,
        "t5" => Class::T5,
        "gte" | "jina_embeddings_v3" | "xlm-roberta" | "xmod" => Class::XlmRoberta,
        _ => Class::File,
    };
    (class, ["mistral", "modernbert", "phi3", "qwen2", "umt5"].contains(&model_type))
}

/// The weight and bias of the product that scores the vocabulary: the token table, where they are tied, and a bias of its
/// own name beside that of the decoder.
fn decoder(
    config: &Config,
    table: &'static str,
    decoder: [&'static str; 2],
    tied_bias: &'static str,
) -> Result<HeadStep> {
    let [weight, bias] = decoder;
    Ok(match config.flag_or("tie_word_embeddings", true)? {
        true => HeadStep::dense(table, tied_bias, Outputs::Vocab),
        false => HeadStep::dense(weight, bias, Outputs::Vocab),
    })
}

/// Which of `count` layers have a window: as `layer_types` says, or as the class does where the key is absent.
fn sliding(config: &Config, count: usize, otherwise: impl Fn(usize) -> bool) -> Result<Vec<bool>> {
    let Some(types) = config.texts("layer_types")? else { return Ok((0..count).map(otherwise).collect()) };
    let slides = types.iter().map(|kind| match *kind {
        "full_attention" => Some(false),
        "sliding_attention" => Some(true),
        _ => None,
    });
    let slides: Option<Vec<bool>> = slides.collect();
    slides.filter(|slides| slides.len() == count).ok_or_else(|| config.unsupported("layer_types"))
}

/// As [`head_dim`], for heads whose halves are turned against each other.
fn even_head_dim(config: &Config, heads_key: &str, hidden: usize, heads: usize) -> Result<usize> {
    match head_dim(config, heads_key, hidden, heads)? {
        dim if dim.is_multiple_of(2) => Ok(dim),
        dim => Err(Error::option("head dimension", dim)),
    }
}

/// Columns of a head: the hidden state divided among them.
fn head_dim(config: &Config, heads_key: &str, hidden: usize, heads: usize) -> Result<usize> {
    let dim = hidden / heads;
    match hidden.is_multiple_of(heads) {
        true if dim > 256 => Err(Error::option("head dimension", dim)),
        true => Ok(dim),
        false => Err(config.unsupported(heads_key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_change_the_result_is_named() {
        for (text, named) in [
            (r#""bert", "pruned_heads": {"12": [0]}"#, "pruned_heads"),
            (r#""bert", "pruned_heads": {"0": [12]}"#, "pruned_heads"),
            (r#""bert", "num_attention_heads": 2, "hidden_size": 8, "pruned_heads": {"0": [0, 1]}"#, "pruned_heads"),
            (r#""mpnet", "pruned_heads": {"0": [1]}"#, "pruned_heads"),
            (r#""convbert", "conv_kernel_size": 8"#, "conv_kernel_size"),
            (r#""convbert", "num_groups": 5"#, "num_groups"),
            (r#""esm", "vocab_size": 33, "position_embedding_type": "relative_key""#, "position_embedding_type"),
            (r#""esm", "vocab_size": 33, "token_dropout": true"#, "mask_token_id"),
            (r#""esm", "vocab_size": 33, "is_folding_model": true"#, "is_folding_model"),
            (r#""fnet", "use_tpu_fourier_optimizations": true"#, "use_tpu_fourier_optimizations"),
            (r#""xlm-roberta", "position_embedding_type": "alibi""#, "position_embedding_type"),
            (r#""xlm-roberta", "position_embedding_type": "rotary", "rotary_emb_interleaved": true"#, "interleaved"),
            (r#""jina_embeddings_v3", "rotary_emb_scale_base": 512"#, "rotary_emb_scale_base"),
            (r#""jina_embeddings_v3", "position_embedding_type": "absolute""#, "position_embedding_type"),
            (r#""mobilebert", "key_query_shared_bottleneck": false"#, "key_query_shared_bottleneck"),
            (r#""mobilebert", "normalization_type": "group_norm""#, "normalization_type"),
            (r#""roformer", "hidden_size": 36, "num_attention_heads": 12"#, "head dimension = 3"),
            (r#""xmod", "languages": ["en_XX"]"#, "default_language"),
            (r#""xmod", "languages": ["en_XX"], "default_language": "de_DE""#, "default_language"),
        ] {
            let config = Config::parse("config.json", format!(r#"{{"model_type": {text}}}"#).as_bytes()).unwrap();
            let error = spec(&config).err().map(|error| (error.code(), error.to_string()));
            let (code, message) = error.unwrap_or_default();
            assert!(code == "unsupported-option" && message.contains(named), "{text}: {code} {message}");
        }
    }
}
