//! What stands for `object.rs` in a build without the feature `object-store`: every URL is an error that says so.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::Range;

use bytes::Bytes;

#[derive(Debug)]
pub(super) struct Object(Infallible);

impl Object {
    pub(super) fn open(_url: &str) -> io::Result<Self> {
        missing()
    }

    pub(super) fn size(&self) -> u64 {
        match self.0 {}
    }

    pub(super) fn get(&self, _range: Range<u64>) -> io::Result<Bytes> {
        match self.0 {}
    }
}

pub(super) fn put(_url: &str, _file: File) -> io::Result<()> {
    missing()
}

pub(super) fn probe(_url: &str) -> io::Result<()> {
    missing()
}

pub(super) fn list(_folder: &str, _deep: bool) -> io::Result<Vec<String>> {
    missing()
}

fn missing<T>() -> io::Result<T> {
    Err(io::Error::other("URLs need the feature object-store: cargo install embedlet --features object-store"))
}
