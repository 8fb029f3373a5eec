//! An object read in ranges: a few MB in a request, since each takes as long as it is far to the store, and nothing that is not
//! wanted.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::object::Object;
use super::parts::TAIL;

/// Most bytes that are fetched before they are asked for.
const AHEAD: u64 = 4 << 20;

/// A place in an object. Clones share what was fetched.
#[derive(Debug, Clone)]
pub(super) struct Ranges {
    object: Arc<Object>,
    runs: Arc<Vec<Range<u64>>>,
    /// How many pieces are kept.
    most: usize,
    /// What was fetched and where it is, the latest first.
    pieces: Arc<Mutex<Vec<(u64, Bytes)>>>,
    at: u64,
}

impl Ranges {
    /// An object that is read from front to back, but for its end, where formats say what is where.
    pub(super) fn open(url: &str) -> io::Result<Self> {
        let object = Object::open(url)?;
        let size = object.size();
        let end = size.saturating_sub(TAIL);
        let runs = Arc::new(vec![0..end, end..size]);
        Ok(Self { object: Arc::new(object), runs, most: 2, pieces: Arc::default(), at: 0 })
    }

    /// The same, with other runs, of which so many are read by turns.
    pub(super) fn within(self, runs: Vec<Range<u64>>, most: usize) -> Self {
        Self { runs: Arc::new(runs), most, ..self }
    }

    pub(super) fn size(&self) -> u64 {
        self.object.size()
    }

    /// So many bytes from there on; fewer are an error.
    pub(super) fn bytes(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let end = at.saturating_add(length as u64);
        if end > self.size() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let found = self.held(at);
        if found.len() >= length {
            return Ok(found.slice(..length));
        }
        let next = at + found.len() as u64;
        self.fetch(next, end)?;
        let rest = self.held(next).slice(..length - found.len());
        Ok(if found.is_empty() { rest } else { [found, rest].concat().into() })
    }

    /// What is here from there on; empty: nothing.
    fn held(&self, at: u64) -> Bytes {
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let holds = |(start, bytes): &(u64, Bytes)| (*start..start + bytes.len() as u64).contains(&at);
        let Some(index) = pieces.iter().position(holds) else { return Bytes::new() };
        pieces[..=index].rotate_right(1);
        let (start, bytes) = &pieces[0];
        bytes.slice((at - start) as usize..)
    }

    /// Has everything from `at` to `end` here, and as much behind it as will be read soon.
    fn fetch(&self, at: u64, end: u64) -> io::Result<()> {
        let window = match self.runs.iter().find(|run| run.contains(&at)) {
            Some(run) if run.end - run.start <= TAIL => run.start..run.end.max(end),
            Some(run) => at..run.end.min(at + AHEAD).max(end),
            None => at..end,
        };
        let window = window.start..window.end.min(self.size());
        let bytes = self.object.get(window.clone())?;
        let mut pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.insert(0, (window.start, bytes));
        pieces.truncate(self.most);
        Ok(())
    }
}

impl Read for Ranges {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if bytes.is_empty() || self.at >= self.size() {
            return Ok(0);
        }
        let mut held = self.held(self.at);
        if held.is_empty() {
            self.fetch(self.at, self.at + 1)?;
            held = self.held(self.at);
        }
        let count = held.len().min(bytes.len());
        bytes[..count].copy_from_slice(&held[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Ranges {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
