//! What is known of the classes of tokenizers by their names in `tokenizer_config.json`. Source: transformers 5.

/// Those that list token types among a model's inputs.
const TYPES: [&str; 12] = [
    "Bert",
    "ConvBert",
    "DPRContextEncoder",
    "DPRQuestionEncoder",
    "Deberta",
    "DebertaV2",
    "Electra",
    "FNet",
    "LayoutLM",
    "Lxmert",
    "MobileBert",
    "SqueezeBert",
];

/// Those that make BERT's normalizer themselves, of their own options.
const BERT: [&str; 8] =
    ["Bert", "ConvBert", "DistilBert", "Electra", "LayoutLM", "Lxmert", "MobileBert", "SqueezeBert"];

/// Whether a class gives token types.
pub fn give_types(class: &str) -> bool {
    known(class, &TYPES)
}

/// Whether a class takes BERT's options for its normalizer.
pub fn normalizes_as_bert(class: &str) -> bool {
    known(class, &BERT)
}

fn known(class: &str, known: &[&str]) -> bool {
    let class = class.strip_suffix("Fast").unwrap_or(class).strip_suffix("Tokenizer");
    class.is_some_and(|class| known.contains(&class))
}
