//! SentencePiece's precompiled normalization, checked before it is used: `spm_precompiled` takes any bytes and then
//! fails, in the middle of a text, with an index out of bounds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokenizers::normalizers::Precompiled;

use super::refused;
use crate::error::Result;

/// Longest replacement, in bytes. Unicode's own longest has 33.
const REPLACEMENT_BYTES: usize = 64;

/// Reads `precompiled_charsmap`: the length of a trie, the trie, and the replacements that it points to.
pub fn charsmap(base64: &str) -> Result<Precompiled> {
    let wrong = || refused("precompiled_charsmap is damaged");
    let bytes = STANDARD.decode(base64).map_err(|_| wrong())?;
    check(&bytes).ok_or_else(wrong)?;
    Precompiled::from(&bytes).map_err(|_| wrong())
}

/// Walks the whole trie, a double array in the layout of Darts: none of the states that a text can reach may lead out
/// of it, and every value must be the place of a short string.
fn check(bytes: &[u8]) -> Option<()> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (trie, texts) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let texts = std::str::from_utf8(texts).ok()?;
    let (units, []) = trie.as_chunks() else { return None };
    let units: Vec<u32> = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    let offset = |unit: u32| ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize;

    let mut seen = vec![false; units.len()];
    let mut states = vec![offset(*units.first()?)];
    while let Some(state) = states.pop() {
        if std::mem::replace(seen.get_mut(state)?, true) {
            continue;
        }
        for byte in 1..=255 {
            let at = state ^ byte;
            let unit = *units.get(at)?;
            if unit & (1 << 31 | 0xff) != byte as u32 {
                continue;
            }
            let next = at ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let value = units.get(next)? & !(1 << 31);
                let text = texts.get(value as usize..)?;
                text.bytes()
                    .take(REPLACEMENT_BYTES + 1)
                    .position(|byte| byte == 0)
                    .or((text.len() <= REPLACEMENT_BYTES).then_some(0))?;
            }
            states.push(next);
        }
    }
    Some(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A trie that replaces "a" with the text.
    fn blob(text: &str) -> Vec<u8> {
        let mut units = [0u32; 512];
        units[0] = 256 << 10;
        units[256 ^ 97] = 97 | 1 << 8 | 1 << 10;
        units[256 ^ 97 ^ 1] = 1 << 31;
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&(trie.len() as u32).to_le_bytes(), trie.as_slice(), text.as_bytes()].concat()
    }

    #[test]
    fn tries() {
        assert_eq!(check(&blob("b\0")), Some(()));
        assert_eq!(Precompiled::from(&blob("b\0")).unwrap().normalize_string("banana"), "bbnbnb");
        assert_eq!(check(&blob(&"b".repeat(65))), None, "too long");
        for cut in 0..blob("").len() {
            assert_eq!(check(&blob("")[..cut]), None, "{cut} bytes");
        }
        let mut bad = blob("b\0");
        for at in 0..bad.len() {
            for bit in 0..8 {
                bad[at] ^= 1 << bit;
                if check(&bad).is_some() {
                    let made = Precompiled::from(&bad).unwrap();
                    (0..=255).for_each(|c| drop(made.normalize_string(&format!("{0}{0}a", char::from(c)))));
                }
                bad[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn damage_is_refused() {
        for bad in ["", "Z", "Zm9*", "/////w=="] {
            assert_eq!(charsmap(bad).unwrap_err().code(), "invalid-tokenizer", "{bad}");
        }
    }
}
