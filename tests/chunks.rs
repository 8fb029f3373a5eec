//! Long texts in chunks: what must hold of every chunk, and vectors against a plain computation from single texts.

use embedlet::chunk::{Chunk, ChunkBy, ChunkOptions, ChunkPooling, Overflow};
use embedlet::model::{EmbedOptions, Embeddings, Model};
use embedlet::tokens::{Beside, Tokens};
use serde_json::Value;

use crate::support::{On, fixtures, json, load, max_abs};

/// A model of each kind of tokenizer: with marked continuations, of bytes, with pieces, without special tokens.
const FOLDERS: [&str; 7] = [
    "architectures/bert-1",
    "architectures/roberta-1",
    "architectures/xlm-roberta-1",
    "architectures/qwen3-1",
    "architectures/deberta-v2-1",
    "architectures/t5-1",
    "models/model2vec",
];

fn texts() -> Vec<String> {
    let sentences: Vec<Vec<String>> = serde_json::from_value(json("sentences.json")).unwrap();
    let sentences: Vec<String> = sentences.into_iter().map(|sentences| sentences.concat()).collect();
    let mut texts = vec![
        String::new(),
        "x".into(),
        " \t blanks  around \n\n".into(),
        "👩‍👩‍👧🙂".repeat(40),
        "e\u{301}\u{0}\u{ad} naïve   ".repeat(30),
        "السفينة هادئة في البحر الكبير ".repeat(9),
        "the small boat went out to sea and the large boat came back to the harbour ".repeat(9),
        "incomprehensibilities antidisestablishmentarianism ".repeat(12),
        sentences.join(" ").repeat(3),
    ];
    texts.extend(sentences);
    texts
}

fn tokens_of(folder: &str) -> Tokens {
    let path = fixtures().join(folder).join("tokenizer.json");
    Tokens::new(&std::fs::read(path).unwrap(), 1 << 24, &Beside::default()).unwrap()
}

fn run(model: &Model, texts: &[impl AsRef<str>], options: &EmbedOptions) -> Embeddings {
    pollster::block_on(model.embed(texts, options).unwrap().run(model)).unwrap()
}

fn cut(size: usize, overlap: usize, by: ChunkBy) -> EmbedOptions {
    EmbedOptions { chunk: Some(ChunkOptions { size: Some(size), overlap, by }), ..EmbedOptions::default() }
}

fn slice(text: &str, start: usize, end: usize) -> String {
    text.chars().skip(start).take(end - start).collect()
}

/// What holds of all chunks of a text, however it is cut.
fn check(model: &Model, text: &str, chunks: &[Chunk], size: usize, what: &str) {
    assert!(!chunks.is_empty(), "{what}");
    let mut behind = 0;
    for (index, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk.text, slice(text, chunk.start, chunk.end), "{what}");
        assert!(index == 0 || (chunk.start > chunks[index - 1].start && chunk.end > behind), "{what}: no headway");
        assert_eq!(slice(text, behind, chunk.start.max(behind)).trim(), "", "{what}: something is left out");
        assert!(chunks.len() == 1 || chunk.text.trim() == chunk.text, "{what}: blanks at an end");
        assert!(chunk.tokens as usize <= size, "{what}: {} of {size} tokens", chunk.tokens);
        behind = chunk.end;
    }
    assert_eq!(slice(text, behind, text.chars().count()).trim(), "", "{what}: the end is left out");
    // The model reads them whole, and as many tokens as is said.
    let texts: Vec<&str> = chunks.iter().map(|chunk| chunk.text.as_str()).collect();
    let call = model.embed(&texts, &EmbedOptions::default()).unwrap();
    let read = pollster::block_on(call.run(model)).unwrap();
    assert!(!read.truncated.contains(&true), "{what}");
    assert_eq!(read.tokens, chunks.iter().map(|chunk| chunk.tokens).collect::<Vec<_>>(), "{what}");
}

#[test]
fn chunks_cover_their_text_and_fit() {
    for folder in FOLDERS {
        let model = load(&fixtures().join(folder), On::Cpu, None);
        let tokens = tokens_of(folder);
        let most = model.info().max_tokens.min(40);
        let special = tokens.encode("").unwrap().ids.len();
        for (number, text) in texts().iter().enumerate() {
            let whole = tokens.encode(text).unwrap();
            for (size, overlap) in [(most, 0), (most, 5), (20, 9), (special + 14, 0)] {
                for by in [ChunkBy::Tokens, ChunkBy::Sentences] {
                    let what = format!("{folder}, text {number}, {size} tokens, {overlap} shared, {by:?}");
                    let chunks = model.chunk(text, &cut(size, overlap, by)).unwrap_or_else(|e| panic!("{what}: {e}"));
                    check(&model, text, &chunks, size, &what);
                    if whole.ids.len() <= size {
                        assert_eq!((chunks.len(), &chunks[0].text), (1, text), "{what}");
                    }
                    let inside = |start: usize, end: usize| {
                        whole.offsets.iter().filter(|(from, to)| from < to && *from >= start && *to <= end).count()
                    };
                    for pair in chunks.windows(2) {
                        let shared = if pair[0].end > pair[1].start { inside(pair[1].start, pair[0].end) } else { 0 };
                        assert!(shared <= overlap, "{what}: {shared} shared");
                    }
                }
            }
        }
    }
}

/// Where every word is a token, windows are as long as they may be and share as much as they are to.
#[test]
fn windows_are_exact() {
    let model = load(&fixtures().join("architectures/bert-1"), On::Cpu, None);
    let text = "the x a ".repeat(50);
    for (size, overlap) in [(40, 0), (40, 7), (12, 9), (3, 0)] {
        let chunks = model.chunk(&text, &cut(size, overlap, ChunkBy::Tokens)).unwrap();
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut joined = words(&chunks[0].text);
        for pair in chunks.windows(2) {
            let (before, own) = (words(&pair[0].text), words(&pair[1].text));
            assert_eq!((before.len(), pair[0].tokens as usize), (size - 2, size));
            assert_eq!(before[before.len() - overlap..], own[..overlap]);
            joined.extend_from_slice(&own[overlap..]);
        }
        assert_eq!(joined, words(&text), "{size} tokens, {overlap} shared");
    }
}

#[test]
fn sentences_are_packed_whole() {
    let folder = "architectures/bert-1";
    let (model, tokens) = (load(&fixtures().join(folder), On::Cpu, None), tokens_of(folder));
    let count = |text: &str| tokens.encode(text.trim()).unwrap().ids.len();
    for sentences in serde_json::from_value::<Vec<Vec<String>>>(json("sentences.json")).unwrap() {
        let longest = sentences.iter().map(|sentence| count(sentence)).max().unwrap();
        for size in longest..=model.info().max_tokens {
            let mut expected: Vec<String> = Vec::new();
            for sentence in &sentences {
                let joined = expected.last().map(|last| format!("{last}{sentence}"));
                match joined.filter(|joined| count(joined) <= size) {
                    Some(joined) => *expected.last_mut().unwrap() = joined,
                    None => expected.push(sentence.clone()),
                }
            }
            let found = model.chunk(&sentences.concat(), &cut(size, 0, ChunkBy::Sentences)).unwrap();
            let found: Vec<&str> = found.iter().map(|chunk| chunk.text.trim()).collect();
            let expected: Vec<&str> = expected.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
            assert_eq!(found, expected, "{size} tokens");
        }
    }
    // What does not fit alone is cut between words, and its rest shares a chunk with what follows.
    let text = format!("Yes! {}end. No.", "boats ".repeat(20));
    let found = model.chunk(&text, &cut(16, 3, ChunkBy::Sentences)).unwrap();
    let found: Vec<&str> = found.iter().map(|chunk| chunk.text.as_str()).collect();
    assert_eq!(found[0], "Yes!");
    assert!(found[1..].iter().all(|text| text.starts_with("boats ")) && found[found.len() - 1].ends_with(" end. No."));
    let words: Vec<usize> = found.iter().map(|text| text.matches("boats").count()).collect();
    assert_eq!(words, [0, 14, 20 - 14 + 3]);
}

#[test]
fn one_token_too_many() {
    let model = load(&fixtures().join("models/bert-mean"), On::Cpu, None);
    let (limit, chunks) = (24, |text: &str| model.chunk(text, &EmbedOptions::default()).unwrap());
    let text = ["a"; 22].join(" ");
    assert_eq!(chunks(&text), [Chunk { text: text.clone(), start: 0, end: 43, tokens: limit }]);
    let found = chunks(&format!("{text} a"));
    assert_eq!(found[0], Chunk { text: text.clone(), start: 0, end: 43, tokens: limit });
    assert_eq!(found[1..], [Chunk { text: "a".into(), start: 44, end: 45, tokens: 3 }]);
    // With a prompt of three tokens there is room for fewer.
    let options = EmbedOptions { prompt: Some("query: ".into()), ..EmbedOptions::default() };
    let prompt = run(&model, &[""], &options).tokens[0];
    assert!(prompt > 2);
    let found = model.chunk(&text, &options).unwrap();
    assert_eq!((found.len(), found[0].tokens, found[1].tokens), (2, limit, 2 * prompt - 2));

    let error = |options: &EmbedOptions| model.embed(&["a", &format!("{text} a b")], options).err().unwrap();
    let too_long = error(&EmbedOptions { overflow: Overflow::Error, ..EmbedOptions::default() });
    assert_eq!(too_long.code(), "text-too-long");
    assert!(too_long.to_string().contains("text 1 has 26 tokens, the model reads 24"), "{too_long}");
    let fits = EmbedOptions { overflow: Overflow::Error, ..EmbedOptions::default() };
    assert_eq!(run(&model, &[&text], &fits), run(&model, &[&text], &EmbedOptions::default()));

    for wrong in [cut(25, 0, ChunkBy::Tokens), cut(2, 0, ChunkBy::Tokens), cut(10, 8, ChunkBy::Sentences)] {
        assert_eq!(model.chunk("a", &wrong).unwrap_err().code(), "invalid-argument");
        // Nor is any of it an option without effect.
        assert_eq!(error(&wrong).code(), "invalid-argument");
    }
    let tokens = EmbedOptions { tokens: true, overflow: Overflow::Chunk, ..EmbedOptions::default() };
    assert_eq!(error(&tokens).code(), "invalid-argument");
    let pooling = EmbedOptions { chunk_pooling: Some(ChunkPooling::Max), ..EmbedOptions::default() };
    assert_eq!(error(&pooling).code(), "invalid-argument");
}

/// A character of several tokens is never cut; where chunks are too small for it that is said.
#[test]
fn characters_stay_whole() {
    let model = load(&fixtures().join("architectures/qwen3-1"), On::Cpu, None);
    let text = "🙂".repeat(9);
    let whole = model.tokenize("🙂").unwrap().ids.len();
    for size in whole..whole + 12 {
        let chunks = model.chunk(&text, &cut(size, 0, ChunkBy::Tokens)).unwrap();
        check(&model, &text, &chunks, size, &format!("{size} tokens"));
    }
    let error = model.chunk(&text, &cut(whole - 1, 0, ChunkBy::Tokens)).unwrap_err();
    assert!(error.code() == "invalid-argument" && error.to_string().contains("character 0"), "{error}");
}

#[test]
fn a_hundred_thousand_characters_without_a_blank() {
    // Letters in no order, from a generator of numbers that is as old as they are.
    let letters = (0..100_000u32).scan(7u32, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from_u32('a' as u32 + (*state >> 16) % 26)
    });
    let text: String = letters.collect();
    for folder in FOLDERS {
        let model = load(&fixtures().join(folder), On::Cpu, None);
        let options = cut(32, 0, ChunkBy::Sentences);
        let chunks = model.chunk(&text, &options).unwrap();
        assert_eq!(chunks.iter().map(|chunk| chunk.text.as_str()).collect::<String>(), text, "{folder}");
        assert!(chunks.iter().all(|chunk| chunk.tokens <= 32), "{folder}");
    }
    let model = load(&fixtures().join("architectures/roberta-1"), On::Cpu, None);
    // Nothing but blanks, each of them a token.
    assert_eq!(model.chunk(&" ".repeat(100_000), &EmbedOptions::default()).unwrap().len(), 1);
    let error = model.chunk(&"a b ".repeat(100_000), &cut(32, 29, ChunkBy::Tokens)).unwrap_err();
    assert_eq!(error.code(), "limit-exceeded");
}

/// The vectors of chunks as single texts have them, put together as the options say, in f64.
fn plain(model: &Model, text: &str, max: bool, single: &EmbedOptions, unit: bool, dimensions: usize) -> Vec<f32> {
    let chunks = model.chunk(text, &EmbedOptions { chunk: None, ..single.clone() }).unwrap();
    let vectors: Vec<Vec<f32>> = chunks.iter().map(|chunk| run(model, &[&chunk.text], single).data).collect();
    let total: f64 = chunks.iter().map(|chunk| f64::from(chunk.tokens)).sum();
    let column = |column: usize| {
        let values = chunks.iter().zip(&vectors).map(|(chunk, row)| (f64::from(chunk.tokens), f64::from(row[column])));
        match max {
            true => values.fold(f64::MIN, |most, (_, value)| most.max(value)),
            false => values.map(|(tokens, value)| tokens * value).sum::<f64>() / total,
        }
    };
    let pooled: Vec<f64> = (0..vectors[0].len()).map(column).collect();
    let norm = if unit { pooled.iter().map(|x| x * x).sum::<f64>().sqrt() } else { 1.0 };
    pooled[..dimensions].iter().map(|x| (x / norm) as f32).collect()
}

#[test]
fn vectors_of_chunks_become_one() {
    let texts = [texts()[6].clone(), texts()[8].clone()];
    for on in On::BOTH {
        let model = load(&fixtures().join("models/bert-mean"), on, None);
        let width = model.info().dimensions;
        assert!(model.info().normalized);
        for prompt in ["", "query: "] {
            let base = EmbedOptions { prompt: Some(prompt.into()), ..EmbedOptions::default() };
            for how in [ChunkPooling::Mean, ChunkPooling::Max] {
                // Normalised, then cut; cut, then normalised; only cut.
                for (normalize, dimensions) in [(None, width), (None, 8), (Some(true), 8), (Some(false), 8)] {
                    let single = EmbedOptions {
                        normalize,
                        dimensions: (normalize.is_some()).then_some(dimensions),
                        ..base.clone()
                    };
                    let options = EmbedOptions {
                        overflow: Overflow::Chunk,
                        chunk_pooling: Some(how),
                        normalize,
                        dimensions: Some(dimensions),
                        ..base.clone()
                    };
                    let found = run(&model, &texts, &options);
                    assert_eq!((found.dimensions, found.truncated), (dimensions, vec![false; 2]));
                    for (index, text) in texts.iter().enumerate() {
                        let unit = normalize != Some(false);
                        let expected = plain(&model, text, how == ChunkPooling::Max, &single, unit, dimensions);
                        let error = max_abs(&found.data[index * dimensions..][..dimensions], &expected);
                        assert!(error < 1e-6, "{on:?} {how:?} {normalize:?} {dimensions} {index}: {error:e}");
                        let tokens: u32 = found.chunks[index].iter().map(|chunk| chunk.tokens).sum();
                        assert_eq!(found.tokens[index], tokens);
                    }
                }
            }
        }
        // What fits has the same bits as ever, and vectors that stay apart are those of the chunks.
        let short = ["", "x", "the small boat"];
        let whole = EmbedOptions { overflow: Overflow::Chunk, ..EmbedOptions::default() };
        assert_eq!(run(&model, &short, &whole).data, run(&model, &short, &EmbedOptions::default()).data);
        let apart = EmbedOptions { chunk_pooling: Some(ChunkPooling::None), ..whole };
        let found = run(&model, &["x", &texts[0], ""], &apart);
        assert_eq!((found.chunks[0].len(), found.chunks[2].len()), (1, 1));
        assert!(found.chunks[1].len() > 3);
        let chunks: Vec<&str> = found.chunks.iter().flatten().map(|chunk| chunk.text.as_str()).collect();
        assert_eq!(found.data, run(&model, &chunks, &EmbedOptions::default()).data);
    }
}

/// Every chunk is a text of the call: progress counts them all, none larger than a batch.
#[test]
fn chunks_are_counted_one_by_one() {
    let model = load(&fixtures().join("models/bert-mean"), On::Cpu, None);
    let text = "the boats ".repeat(2_000);
    let options = EmbedOptions { overflow: Overflow::Chunk, ..EmbedOptions::default() };
    let mut call = model.embed(&[&text, "x"], &options).unwrap();
    assert_eq!(call.job().total(), model.chunk(&text, &options).unwrap().len() + 1);
    pollster::block_on(call.job().step(&model)).unwrap();
    assert!(call.job().done() > 1 && call.job().done() < call.job().total());
}

#[test]
fn what_was_cut_says_so() {
    use embedlet::task::{ClassifyOptions, FillOptions, Input, RerankOptions, SparseOptions, ZeroShotOptions};
    fn ran<T>(model: &Model, call: embedlet::Result<embedlet::job::Call<T>>) -> Value
    where
        T: serde::Serialize,
    {
        serde_json::to_value(pollster::block_on(call.unwrap().run(model)).unwrap()).unwrap()
    }
    let load = |name: &str| {
        let task = name.ends_with("-masks").then_some(embedlet::task::Task::Fill);
        crate::support::load_for(&fixtures().join("tasks").join(name), On::Cpu, None, task)
    };
    let long = "the boat ".repeat(60);
    let texts = ["x".to_owned(), long.clone()];
    let inputs = texts.clone().map(Input::text);
    let model = load("bert-labels");
    let cut = |found: &Value| found["truncated"] == true;
    let said = |found: Value| found.as_array().unwrap().iter().map(cut).collect::<Vec<_>>();
    assert_eq!(said(ran(&model, model.classify(&inputs, &ClassifyOptions::default()))), [false, true]);
    let model = load("bert-cross");
    let ranked = ran(&model, model.rerank("q", &texts, &RerankOptions::default()));
    assert!(ranked.as_array().unwrap().iter().all(|found| cut(found) == (found["index"] == 1)));
    let model = load("bert-nli");
    let options =
        ZeroShotOptions { labels: vec!["a".into(), "b".into()], hypothesis_template: "{}".into(), multi_label: false };
    let found = ran(&model, model.zero_shot(&texts, &options));
    assert_eq!((said(found[0].clone()), said(found[1].clone())), (vec![false; 2], vec![true; 2]));
    let model = load("splade-max");
    assert_eq!(said(ran(&model, model.embed_sparse(&texts, &SparseOptions::default()))), [false, true]);
    let model = load("bert-masks");
    let masked = ["[MASK] x".to_owned(), format!("[MASK] {long}")].map(Input::text);
    let found = ran(&model, model.fill(&masked, &FillOptions::default()));
    assert_eq!((said(found[0].clone()), said(found[1].clone())), (vec![false], vec![true]));
    let model = load("bert-entities");
    assert_eq!(said(ran(&model, model.tag_logits(&inputs))), [false, true]);
}
