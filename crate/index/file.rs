//! The frame of every file of an index, docs/index-format.md: what it is, a header of JSON, and bytes behind it. What the bytes mean
//! is the business of others.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use twox_hash::XxHash32;

use crate::error::{Error, Result};

const MAGIC: [u8; 4] = *b"eidx";
const VERSION: u32 = 1;
/// Bytes in front of the header.
const FRAME: usize = 20;

/// The checksum of everything: it finds what a disk or a network has damaged.
pub fn xxh32(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

/// Frame and header of a file, which what it describes is to follow, and the checksum of the header.
pub fn frame(header: &impl Serialize) -> Result<(Vec<u8>, u32)> {
    let json =
        serde_json::to_vec(header).map_err(|error| Error::argument(format!("an index cannot hold this: {error}")))?;
    let checksum = xxh32(&json);
    let mut file = MAGIC.to_vec();
    let bytes = u32::try_from(json.len()).map_err(|_| Error::LimitExceeded {
        what: "the size of a header".into(),
        found: json.len() as u64,
        limit: u64::from(u32::MAX),
    })?;
    [VERSION, bytes, checksum].iter().for_each(|word| file.extend_from_slice(&word.to_le_bytes()));
    let own = xxh32(&file);
    file.extend_from_slice(&own.to_le_bytes());
    file.extend_from_slice(&json);
    Ok((file, checksum))
}

/// A file taken apart.
pub struct Framed<'a> {
    /// The JSON object.
    pub header: Value,
    /// Of the header.
    pub checksum: u32,
    /// What is behind it.
    pub body: &'a [u8],
}

/// Takes a file apart that comes from anywhere.
pub fn unframe<'a>(name: &str, file: &'a [u8]) -> Result<Framed<'a>> {
    let (start, rest) = file.split_at_checked(FRAME).ok_or_else(|| damaged(name))?;
    let words = start.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect::<Vec<_>>();
    if start[..4] != MAGIC || words[4] != xxh32(&start[..16]) {
        return Err(damaged(name));
    }
    if words[1] != VERSION {
        return Err(Error::option(format!("{name}, format version"), words[1]));
    }
    let (json, body) = rest.split_at_checked(words[2] as usize).ok_or_else(|| damaged(name))?;
    let header: Value = serde_json::from_slice(json).map_err(|_| damaged(name))?;
    match xxh32(json) == words[3] && header.is_object() {
        true => Ok(Framed { header, checksum: words[3], body }),
        false => Err(damaged(name)),
    }
}

/// The parts of a body by `[bytes, checksum]` in the header's `parts`, in this order; those that have a checksum are as it says.
pub fn parts<'a, const N: usize>(name: &str, framed: &Framed<'a>, names: [&str; N]) -> Result<[&'a [u8]; N]> {
    let mut rest = framed.body;
    let mut found = [&[][..]; N];
    for (found, part) in found.iter_mut().zip(names) {
        let list = framed.header["parts"][part].as_array().ok_or_else(|| damaged(name))?;
        let bytes = list.first().and_then(Value::as_u64).and_then(|bytes| usize::try_from(bytes).ok());
        let (own, next) = bytes.and_then(|bytes| rest.split_at_checked(bytes)).ok_or_else(|| damaged(name))?;
        if list.get(1).is_some_and(|checksum| checksum.as_u64() != Some(u64::from(xxh32(own)))) {
            return Err(damaged(name));
        }
        (*found, rest) = (own, next);
    }
    if rest.is_empty() { Ok(found) } else { Err(damaged(name)) }
}

/// The error of a file that is not whole, or not ours.
pub fn damaged(name: &str) -> Error {
    Error::file(name, "it is not what was written: copy or build the index again")
}

/// An error of the disk.
pub fn failed(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::file(path.display().to_string(), error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_that_are_published() {
        assert_eq!(xxh32(b""), 0x02cc_5d05);
        assert_eq!(xxh32(b"a"), 0x550d_7456);
        assert_eq!(xxh32(b"abc"), 0x32d1_53ff);
        assert_eq!(xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
    }
}
