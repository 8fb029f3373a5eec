//! What a browser and a native program do differently: telling the time, and where sentences end.

use crate::error::Result;

/// Milliseconds since some fixed moment.
#[cfg(not(target_arch = "wasm32"))]
pub fn now_ms() -> f64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_secs_f64() * 1e3
}

/// Milliseconds since some fixed moment.
#[cfg(target_arch = "wasm32")]
pub fn now_ms() -> f64 {
    js_sys::Date::now()
}

/// How many characters (Unicode code points) each sentence of a text has, with the blanks behind it, by the rules of Unicode
/// (UAX #29).
#[cfg(not(target_arch = "wasm32"))]
pub fn sentences(text: &str) -> Result<Vec<usize>> {
    use unicode_segmentation::UnicodeSegmentation;
    Ok(text.split_sentence_bounds().map(|sentence| sentence.chars().count()).collect())
}

/// How many characters (Unicode code points) each sentence of a text has, with the blanks behind it, by the rules of Unicode
/// (UAX #29), which every browser brings along: their tables are no part of what a page downloads.
#[cfg(target_arch = "wasm32")]
pub fn sentences(text: &str) -> Result<Vec<usize>> {
    use js_sys::{Array, Intl::Segmenter, Object, Reflect};
    let find = || {
        let intl = Reflect::get(&js_sys::global(), &"Intl".into()).ok()?;
        Reflect::get(&intl, &"Segmenter".into()).ok().filter(|segmenter| segmenter.is_function())?;
        let options = Object::new();
        Reflect::set(&options, &"granularity".into(), &"sentence".into()).ok()?;
        // No language whose sentences end by rules of its own.
        let segmenter = Segmenter::new(&Array::of1(&"en".into()), &options);
        let mut lengths = Vec::new();
        for segment in js_sys::try_iter(&segmenter.segment(text)).ok()?? {
            let sentence = Reflect::get(&segment.ok()?, &"segment".into()).ok()?.as_string()?;
            lengths.push(sentence.chars().count());
        }
        Some(lengths)
    };
    find().ok_or_else(|| crate::Error::option("chunks by sentences", "where there is no Intl.Segmenter"))
}
