//! What is read: files of this machine, and objects by their URLs, opened in one way.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::object;
use super::parts::Format;
use super::ranges::Ranges;
use crate::error::{Error, Result};

/// A file or an object that is open.
#[derive(Debug)]
pub(super) enum Source {
    File(File),
    Object(Ranges),
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Self::at(path).map_err(|error| Error::file(path.display().to_string(), error))
    }

    /// The same; none: there is nothing at that path.
    pub(super) fn find(path: &Path) -> Result<Option<Self>> {
        match Self::at(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some).map_err(|error| Error::file(path.display().to_string(), error)),
        }
    }

    fn at(path: &Path) -> io::Result<Self> {
        match url(path) {
            None => File::open(path).map(Self::File),
            Some(url) => Ranges::open(url).map(Self::Object),
        }
    }

    /// The same, of which `runs` are read and nothing else: each from its first byte to its last, at most `most` of them by turns.
    pub(super) fn within(self, runs: Vec<Range<u64>>, most: usize) -> Self {
        match self {
            Self::File(file) => Self::File(file),
            Self::Object(ranges) => Self::Object(ranges.within(runs, most)),
        }
    }
}

impl Read for Source {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read(bytes),
            Self::Object(ranges) => ranges.read(bytes),
        }
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::File(file) => file.seek(to),
            Self::Object(ranges) => ranges.seek(to),
        }
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => Length::len(file),
            Self::Object(ranges) => ranges.size(),
        }
    }
}

impl ChunkReader for Source {
    type T = BufReader<Self>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let mut source = match self {
            Self::File(file) => Self::File(file.try_clone()?),
            Self::Object(ranges) => Self::Object(ranges.clone()),
        };
        source.seek(SeekFrom::Start(start))?;
        Ok(BufReader::new(source))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Object(ranges) => Ok(ranges.bytes(start, length)?),
        }
    }
}

/// The URL that a path is, if it is one.
pub(super) fn url(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let (scheme, _) = text.split_once("://")?;
    let letters = scheme.chars().all(|letter| letter.is_ascii_alphanumeric());
    (letters && !scheme.is_empty()).then_some(text)
}

/// A name below a folder, or below a URL.
pub(super) fn join(folder: &Path, name: &Path) -> PathBuf {
    let Some(url) = url(folder) else { return folder.join(name) };
    let parts = name.components().map(|part| part.as_os_str().to_string_lossy());
    parts.fold(url.trim_end_matches('/').to_owned(), |url, part| format!("{url}/{part}")).into()
}

/// Files as [`run`](super::run) and `embedlet index build` take them: a URL that ends in `/` becomes those of all files below it, and
/// one with a `*` behind its last `/` those of the files that match, as far as they end in `.parquet`, `.jsonl`, `.ndjson`, `.arrow`
/// or `.feather`; by name. Everything else stays as it is.
///
/// Errors: a URL that lists none (`invalid-file`), as it is without the feature `object-store`; one that has a secret, a query or a
/// password, which are never said again (`invalid-argument`).
pub fn expand(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for input in inputs {
        let Some(url) = url(input) else {
            found.push(input.clone());
            continue;
        };
        if url.starts_with("http")
            && (url.contains('?') || url.split('/').nth(2).is_some_and(|host| host.contains('@')))
        {
            let reason = "a URL with a query or a password is not read: name a file that needs neither";
            return Err(Error::argument(reason));
        }
        let (folder, pattern) = url.rsplit_once('/').unwrap_or_default();
        if !pattern.is_empty() && !pattern.contains('*') {
            found.push(input.clone());
            continue;
        }
        let refuse = |reason: &dyn ToString| Error::file(url, reason.to_string());
        let listed = object::list(folder, pattern.is_empty()).map_err(|error| refuse(&error))?;
        let fits = |name: &str| pattern.is_empty() || matches(pattern, name.rsplit('/').next().unwrap_or(name));
        let mut listed: Vec<PathBuf> = listed.into_iter().filter(|name| fits(name)).map(PathBuf::from).collect();
        listed.retain(|path| Format::of(path).is_ok());
        if listed.is_empty() {
            let reason = "there is nothing of that name that ends in .parquet, .jsonl, .ndjson, .arrow or .feather";
            return Err(refuse(&reason));
        }
        listed.sort_unstable();
        found.extend(listed);
    }
    Ok(found)
}

/// Opens a file, or an object by its URL, to be read from its first byte.
pub fn open(path: &Path) -> Result<impl Read + use<>> {
    Source::open(path)
}

/// Whether a name is the pattern, where `*` stands for any letters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*') {
        // The first place that fits leaves the most for the others.
        let Some((_, rest)) = name.split_once(piece) else { return false };
        name = rest;
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{expand, join, matches, url};

    #[test]
    fn a_star_is_any_letters() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*.parquet", "a.parquet", true),
            ("*.parquet", "a.parquet.old", false),
            ("part-*-of-*.jsonl", "part-1-of-2.jsonl", true),
            ("part-*-of-*.jsonl", "part-1.jsonl", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ab*", "abxab", true),
            ("*ab*ab*", "xaby", false),
            ("a**b", "ab", true),
            ("a", "a", true),
            ("a", "ab", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn urls_are_not_paths() {
        assert_eq!(url(Path::new("s3://in/a.parquet")), Some("s3://in/a.parquet"));
        assert!(["in/a", "/in/a", "://a", "C:/a", "in/s3://a"].iter().all(|path| url(Path::new(path)).is_none()));
        let name = Path::new("b/a-00000.parquet");
        assert_eq!(join(Path::new("s3://out/x/"), name), Path::new("s3://out/x/b/a-00000.parquet"));
        assert_eq!(join(Path::new("out"), name), Path::new("out").join(name));
    }

    #[test]
    fn secrets_in_urls_are_refused_and_not_repeated() {
        for input in ["https://host/a.parquet?signature=5ec2e7", "https://me:5ec2e7@host/a.parquet"] {
            let error = expand(&[PathBuf::from(input)]).unwrap_err();
            assert!(error.code() == "invalid-argument" && !error.to_string().contains("5ec2e7"), "{error}");
        }
        let files = [PathBuf::from("in/*"), PathBuf::from("https://host/a@1/a.parquet")];
        assert_eq!(expand(&files).unwrap(), files);
    }

    #[cfg(not(feature = "object-store"))]
    #[test]
    fn without_the_feature_a_url_is_an_error_that_names_it() {
        let error = super::Source::open(Path::new("s3://in/a.parquet")).unwrap_err();
        assert!(error.code() == "invalid-file" && error.to_string().contains("object-store"), "{error}");
        let error = expand(&[PathBuf::from("s3://in/")]).unwrap_err();
        assert!(error.to_string().contains("s3://in/") && error.to_string().contains("object-store"), "{error}");
    }
}
