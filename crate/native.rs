//! Loading from a directory, for the command line and the tests.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::model::{Device, Loader, Model};
use crate::packed::hex;
use crate::program::Precision;
use crate::task::Task;

/// Reads the small files of a model folder.
pub fn folder(dir: &Path) -> Result<Folder> {
    let mut folder = Folder::new();
    loop {
        let wanted = folder.wanted()?;
        if wanted.is_empty() {
            return Ok(folder);
        }
        for path in wanted {
            match std::fs::read(dir.join(&path)) {
                Ok(bytes) => folder.put(&path, Some(bytes))?,
                Err(error) if error.kind() == ErrorKind::NotFound => folder.put(&path, None)?,
                Err(error) => return Err(Error::file(path, error)),
            }
        }
    }
}

/// Loads a model, streaming its weights to the device. `progress` gets bytes read and bytes in all.
pub fn load(
    dir: &Path,
    device: Device,
    precision: Option<Precision>,
    task: Option<Task>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Model> {
    let mut loader = Loader::new(&folder(dir)?, device, precision, task)?;
    let size = |path: &String| std::fs::metadata(dir.join(path)).map_or(0, |metadata| metadata.len());
    let total = loader.files().iter().map(size).sum();
    let mut done = 0;
    let mut chunk = vec![0; 1 << 20];
    for path in loader.files().to_vec() {
        let mut file = File::open(dir.join(&path)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::MissingFile { path: path.clone() },
            _ => Error::file(&path, error),
        })?;
        loader.begin(&path, None, false)?;
        loop {
            let read = file.read(&mut chunk).map_err(|error| Error::file(&path, error))?;
            if read == 0 {
                break;
            }
            loader.push(&path, &chunk[..read])?;
            done += read as u64;
            progress(done, total);
        }
        loader.end(&path)?;
    }
    pollster::block_on(loader.finish())
}

/// What tells a model's folder from others, as 64 hex digits: the files that it is loaded from to do this, with their names.
pub fn fingerprint(dir: &Path, task: Option<Task>) -> Result<String> {
    let folder = folder(dir)?;
    let loader = Loader::new(&folder, Device::Cpu(None), None, task)?;
    let mut files: Vec<&str> = folder.present().chain(loader.files().iter().map(String::as_str)).collect();
    files.sort_unstable();
    let mut all = Sha256::new();
    for path in files {
        let mut file = File::open(dir.join(path)).map_err(|error| Error::file(path, error))?;
        let (mut own, mut chunk) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut chunk).map_err(|error| Error::file(path, error))? {
                0 => break,
                read => own.update(&chunk[..read]),
            }
        }
        all.update((path.len() as u64).to_le_bytes());
        all.update(path);
        all.update(own.finalize());
    }
    Ok(hex(all.finalize()))
}
