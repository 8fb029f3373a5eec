//! Objects in S3, GCS and Azure, and files of web servers: the one place where there is anything asynchronous.
//!
//! Every function blocks. The work is done by one thread, so that it does not matter whether who calls is in a runtime himself.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::future::pending;
use std::io::{self, Read, Seek};
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::thread;

use bytes::Bytes;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, parse_url_opts,
};
use tokio::runtime::{Builder, Handle};

/// Bytes that are sent at once, of which S3 wants 5 MiB or more.
const PIECE: u64 = 8 << 20;
/// Most pieces of an object.
const MOST_PIECES: u64 = 10_000;
/// What the names of settings begin with.
const SETTINGS: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// An object as it was when it was looked at.
#[derive(Debug)]
pub(super) struct Object {
    store: Arc<dyn ObjectStore>,
    meta: ObjectMeta,
}

impl Object {
    pub(super) fn open(url: &str) -> io::Result<Self> {
        let (store, path) = locate(url)?;
        let asked = store.clone();
        let meta = wait(async move { asked.head(&path).await })?;
        Ok(Self { store, meta })
    }

    pub(super) fn size(&self) -> u64 {
        self.meta.size
    }

    /// These bytes of it; of another object that has its name by now none.
    pub(super) fn get(&self, range: Range<u64>) -> io::Result<Bytes> {
        let (store, path) = (self.store.clone(), self.meta.location.clone());
        // Weak tags are the same where bytes are not.
        let if_match = self.meta.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        let options = GetOptions { range: Some(range.clone().into()), if_match, ..GetOptions::default() };
        let bytes = wait(async move { store.get_opts(&path, options).await?.bytes().await })?;
        match bytes.len() as u64 == range.end - range.start {
            true => Ok(bytes),
            false => Err(io::Error::other("the server sent less than was asked for")),
        }
    }
}

/// Writes an object that is there whole, or not at all.
pub(super) fn put(url: &str, mut file: File) -> io::Result<()> {
    let (store, path) = writable(url)?;
    file.rewind()?;
    let bytes = file.metadata()?.len();
    let size = PIECE.max(bytes.div_ceil(MOST_PIECES));
    let mut next = move || -> object_store::Result<PutPayload> {
        let mut piece = Vec::new();
        let read = file.by_ref().take(size).read_to_end(&mut piece);
        read.map_err(|error| Error::Generic { store: "file", source: error.into() })?;
        Ok(piece.into())
    };
    wait(async move {
        if bytes <= size {
            return store.put(&path, next()?).await.map(drop);
        }
        let mut upload = store.put_multipart(&path).await?;
        let sent = async {
            for _ in 0..bytes.div_ceil(size) {
                upload.put_part(next()?).await?;
            }
            upload.complete().await.map(drop)
        };
        let sent = sent.await;
        if sent.is_err() {
            // What went wrong first is what is told.
            let _ = upload.abort().await;
        }
        sent
    })
}

/// Whether an object can be written, as far as that is known before it is sent: an upload begins, and is given up.
pub(super) fn probe(url: &str) -> io::Result<()> {
    let (store, path) = writable(url)?;
    wait(async move {
        let mut upload = store.put_multipart(&path).await?;
        // The store forgets it one day if it is not told to.
        let _ = upload.abort().await;
        Ok(())
    })
}

/// The URLs of the objects in a folder, and if it is deep, in those below.
pub(super) fn list(folder: &str, deep: bool) -> io::Result<Vec<String>> {
    if folder.starts_with("http") {
        return Err(io::Error::other("web servers have no lists: name the files"));
    }
    let (store, path) = locate(folder)?;
    let root = folder.strip_suffix(path.as_ref()).unwrap_or(folder).trim_end_matches('/').to_owned();
    let found = wait(async move {
        let (mut found, mut folders) = (Vec::new(), vec![path]);
        while let Some(folder) = folders.pop() {
            let listed = store.list_with_delimiter(Some(&folder)).await?;
            found.extend(listed.objects);
            if deep {
                folders.extend(listed.common_prefixes);
            }
        }
        Ok(found)
    })?;
    Ok(found.into_iter().map(|meta| format!("{root}/{}", meta.location)).collect())
}

fn writable(url: &str) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
    match url.starts_with("http") {
        true => Err(io::Error::other("web servers are read, not written: name a place in s3://, gs:// or az://")),
        false => locate(url),
    }
}

/// The store that a URL is in, with the settings of the environment, and where. Behind the bucket a URL is the object's name as it
/// is; one of a web server is as browsers have it, `%20` for a space.
fn locate(url: &str) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
    static STORES: LazyLock<Mutex<HashMap<String, Arc<dyn ObjectStore>>>> = LazyLock::new(Mutex::default);
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (bucket, name) = rest.split_once('/').unwrap_or((rest, ""));
    let web = matches!(scheme, "http" | "https");
    if !web && !matches!(scheme, "s3" | "gs" | "az" | "abfs" | "abfss") {
        let reason = "it begins with none of s3://, gs://, az://, abfs://, abfss://, https:// and http://";
        return Err(io::Error::other(reason));
    }
    let path = if web { Path::from_url_path(name) } else { Path::parse(name) };
    let path = path.map_err(|error| failure(error.into()))?;
    let root = format!("{scheme}://{bucket}");
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = stores.get(&root) {
        return Ok((store.clone(), path));
    }
    let store: Arc<dyn ObjectStore> = if web {
        let options = ClientOptions::new().with_allow_http(scheme == "http");
        let made = HttpBuilder::new().with_url(&root).with_client_options(options).build();
        Arc::new(made.map_err(failure)?)
    } else {
        let root = root.parse().map_err(|_| io::Error::other("it is not a URL"))?;
        parse_url_opts(&root, settings()).map_err(failure)?.0.into()
    };
    stores.insert(root, store.clone());
    Ok((store, path))
}

/// The variables of the environment that say where stores are, and who asks.
fn settings() -> impl Iterator<Item = (String, String)> {
    let text = env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    text.filter(|(name, _)| SETTINGS.iter().any(|start| name.starts_with(start)))
}

/// What is wrong, without what is secret.
fn failure(error: Error) -> io::Error {
    let mut text = error.to_string();
    // What a store says is of any length, and may repeat what it was sent. Its word for it is enough.
    let code = text.split_once("<Code>").and_then(|(_, rest)| Some(rest.split_once("</Code>")?.0));
    let (kind, reason) = match error {
        Error::NotFound { .. } => (io::ErrorKind::NotFound, "there is no such object"),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            (io::ErrorKind::PermissionDenied, "the store refuses it to the credentials of the environment")
        }
        Error::Precondition { .. } => (io::ErrorKind::Other, "it changed while it was read"),
        _ if code.is_some() => (io::ErrorKind::Other, "the store refuses it"),
        _ => {
            for (_, value) in settings().filter(|(name, value)| is_secret(name) && value.len() > 3) {
                text = text.replace(&value, "…");
            }
            return io::Error::other(text);
        }
    };
    io::Error::new(kind, code.map_or_else(|| reason.into(), |code| format!("{reason} ({code})")))
}

fn is_secret(name: &str) -> bool {
    ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| name.contains(word))
}

/// Waits for the end of some work.
fn wait<T: Send + 'static>(work: impl Future<Output = object_store::Result<T>> + Send + 'static) -> io::Result<T> {
    static RUNTIME: LazyLock<io::Result<Handle>> = LazyLock::new(|| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new().name("object-store".into()).spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(handle)
    });
    let runtime = RUNTIME.as_ref().map_err(|error| io::Error::other(error.to_string()))?;
    let (sender, receiver) = mpsc::channel();
    runtime.spawn(async move { sender.send(work.await) });
    receiver.recv().map_err(io::Error::other)?.map_err(failure)
}
