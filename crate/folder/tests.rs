use super::*;

fn folder(files: &[(&str, &str)]) -> Folder {
    let mut folder = Folder::new();
    for (path, text) in files {
        folder.put(path, Some(text.as_bytes().to_vec())).unwrap();
    }
    loop {
        let wanted = folder.wanted().unwrap();
        if wanted.is_empty() {
            return folder;
        }
        wanted.iter().for_each(|path| folder.put(path, None).unwrap());
    }
}

const OLD: &str = r#"[
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

#[test]
fn asks_for_what_modules_name() {
    let mut folder = Folder::new();
    assert_eq!(folder.wanted().unwrap(), [MODULES, SENTENCE, packed::FILE]);
    folder.put(MODULES, Some(OLD.replace("\"path\": \"\"", "\"path\": \"0_Transformer\"").into())).unwrap();
    folder.put(SENTENCE, None).unwrap();
    folder.put(packed::FILE, None).unwrap();
    let expected = ["0_Transformer/config.json", "0_Transformer/tokenizer.json", "0_Transformer/tokenizer_config.json"];
    let wanted = folder.wanted().unwrap();
    assert_eq!(wanted[..3], expected);
    let rest = [
        "0_Transformer/model.safetensors.index.json",
        "0_Transformer/sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Normalize/config.json",
    ];
    assert_eq!(wanted[3..], rest);
    let told = |path: &str, text: &str| {
        let mut folder = folder.clone();
        wanted.iter().for_each(|path| folder.put(path, None).unwrap());
        folder.put(path, Some(text.into())).unwrap();
        folder
    };
    let former = told("0_Transformer/tokenizer_config.json", r#"{"added_tokens_decoder": {}}"#).wanted().unwrap();
    assert_eq!((former.len(), former[0].as_str()), (6, "0_Transformer/sentence_roberta_config.json"));
    let named = ["0_Transformer/special_tokens_map.json", "0_Transformer/added_tokens.json"];
    let mut folder = told("0_Transformer/sentence_bert_config.json", r#"{"max_seq_length": 7}"#);
    assert_eq!(folder.wanted().unwrap(), named);
    named.iter().for_each(|path| folder.put(path, None).unwrap());
    assert!(folder.wanted().unwrap().is_empty());
}

#[test]
fn reads_a_sentence_transformers_folder() {
    let sentence = folder(&[
        (MODULES, OLD),
        (SENTENCE, r#"{"prompts": {"query": "q: "}, "default_prompt_name": "query", "similarity_fn_name": "dot"}"#),
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode_cls_token": true, "pooling_mode_max_tokens": true, "include_prompt": false}"#,
        ),
        ("sentence_bert_config.json", r#"{"max_seq_length": 256, "do_lower_case": true}"#),
    ])
    .sentence(8, Task::Embed)
    .unwrap();
    assert_eq!(sentence.head.pooling, [Pooling::Cls, Pooling::Max]);
    assert!(sentence.head.normalize && !sentence.head.include_prompt && sentence.lowercase);
    assert_eq!((sentence.max_seq_length, sentence.similarity.as_str()), (Some(256), "dot"));
    assert_eq!(sentence.default_prompt_name.as_deref(), Some("query"));
}

#[test]
fn a_plain_folder_is_pooled_by_its_class() {
    let sentence = folder(&[]).sentence(8, Task::Embed).unwrap();
    assert_eq!(sentence.head.pooling, [Pooling::Mean]);
    assert!(!sentence.head.normalize);
    for (config, pooling) in [
        (r#"{"architectures": ["Qwen3ForCausalLM"]}"#, Pooling::LastToken),
        (r#"{"architectures": ["Qwen3ForCausalLM"], "is_causal": false}"#, Pooling::Mean),
        (r#"{"architectures": ["Qwen3Model", "Qwen3ForCausalLM"]}"#, Pooling::Mean),
    ] {
        assert_eq!(
            folder(&[("config.json", config)]).sentence(8, Task::Embed).unwrap().head.pooling,
            [pooling],
            "{config}"
        );
    }
}

#[test]
fn what_modules_say_counts_only_where_they_are() {
    let files = [
        ("sentence_bert_config.json", r#"{"max_seq_length": 7, "do_lower_case": true}"#),
        (SENTENCE, r#"{"prompts": {"query": "q: "}, "truncate_dim": 4}"#),
    ];
    let alone = folder(&files).sentence(8, Task::Embed).unwrap();
    assert_eq!((alone.max_seq_length, alone.lowercase, alone.truncate_dim), (None, false, None));
    assert!(alone.prompts.is_empty());
    let pooling = ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true}"#);
    let listed = folder(&[files[0], files[1], (MODULES, OLD), pooling]).sentence(8, Task::Embed).unwrap();
    assert_eq!((listed.max_seq_length, listed.lowercase, listed.truncate_dim), (Some(7), true, Some(4)));
}

#[test]
fn arguments_of_the_encoder_are_no_secret() {
    let read = |config: &str| {
        let pooling = ("1_Pooling/config.json", r#"{"pooling_mode_mean_tokens": true}"#);
        let folder = folder(&[(MODULES, OLD), pooling, ("sentence_bert_config.json", config)]);
        folder.sentence(8, Task::Embed).and_then(|sentence| folder.require_states().map(|()| sentence.max_seq_length))
    };
    for (config, length) in [
        (r#"{"max_seq_length": 9, "model_args": {"torch_dtype": "float16"}, "config_args": {}}"#, Some(9)),
        (r#"{"max_seq_length": 9, "tokenizer_args": {"model_max_length": 5, "revision": "a"}}"#, Some(5)),
        (r#"{"processor_kwargs": {"model_max_length": 1e30, "padding_side": "left"}}"#, None),
        (r#"{"modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}}"#, None),
    ] {
        assert_eq!(read(config).unwrap(), length, "{config}");
    }
    for config in [
        r#"{"tokenizer_args": {"truncation_side": "left"}}"#,
        r#"{"config_args": {"num_hidden_layers": 1}}"#,
        r#"{"config_kwargs": {"hidden_act": "relu"}}"#,
        r#"{"model_kwargs": {"quantization_config": {}}}"#,
        r#"{"transformer_task": "text-generation"}"#,
        r#"{"module_output_name": "sentence_embedding"}"#,
        r#"{"modality_config": {"image": {}}}"#,
        r#"{"modality_config": {"text": {"method": "forward", "method_output_name": "pooler_output"}}}"#,
        r#"{"modality_config": {"text": {"method": "forward", "method_output_name": ["hidden_states", 1]}}}"#,
    ] {
        assert_eq!(read(config).unwrap_err().code(), "unsupported-option", "{config}");
    }
}

#[test]
fn names_what_it_does_not_understand() {
    let with = |modules: String| {
        folder(&[(MODULES, &modules), ("1_Pooling/config.json", "{}")]).sentence(8, Task::Embed).unwrap_err()
    };
    for (old, new) in [("Normalize\"", "LayerNorm\""), ("models.Pooling", "models.WeightedLayerPooling")] {
        assert_eq!(with(OLD.replace(old, new)).code(), "unsupported-option", "{new}");
    }
    let folder = |path: &str| {
        let mut folder = Folder::new();
        folder.put(MODULES, Some(OLD.replace("1_Pooling", path).into())).unwrap();
        folder.put(SENTENCE, None).unwrap();
        folder.put(packed::FILE, None).unwrap();
        folder.wanted().unwrap_err().code()
    };
    for path in ["../secret", "/etc", "https://elsewhere"] {
        assert_eq!(folder(path), "unsupported-option", "{path}");
    }
}
