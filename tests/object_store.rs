//! Files of rows in an object store: the command line against S3's protocol, which moto speaks (object_store/server.py).
//!
//! What is written is compared with what a run over the same files on a disk writes.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use ::object_store::aws::{AmazonS3, AmazonS3Builder};
use ::object_store::path::Path as Key;
use ::object_store::{ObjectStore, ObjectStoreExt};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::writer::FileWriter;
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::bulk::{parquet, rows, scratch};
use crate::support::{Scratch, files, fixtures};

const SECRET: &str = "5ec2e7-5ec2e7-5ec2e7";

/// A moto that ends with who started it.
struct Moto {
    child: Child,
    port: u16,
}

impl Moto {
    fn start() -> Self {
        let python = std::env::var("EMBEDLET_PYTHON");
        let python = python.expect("EMBEDLET_PYTHON must name a Python with moto: run `cargo xtask test --all`");
        let server = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/object_store/server.py");
        let mut command = Command::new(python);
        let mut child = command.arg(server).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, port: line.trim().parse().expect("moto does not start") }
    }

    /// The one that tests share, each with buckets of its own.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// What it answers to a request without a signature. Objects that are put so are there for all.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
        write!(stream, "{head}x-amz-acl: public-read\r\nContent-Length: {length}\r\n\r\n").unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {path}: {answer}");
        answer
    }

    fn bucket(&self, name: &str) -> Bucket {
        self.ask("PUT", &format!("/{name}"), b"");
        let store = AmazonS3Builder::new().with_endpoint(format!("http://127.0.0.1:{}", self.port));
        let store = store.with_allow_http(true).with_access_key_id("id").with_secret_access_key(SECRET);
        Bucket(store.with_bucket_name(name).build().unwrap())
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// What is in a bucket.
struct Bucket(AmazonS3);

impl Bucket {
    fn wait<T>(work: impl Future<Output = ::object_store::Result<T>>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work).unwrap()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        Self::wait(self.0.put(&Key::parse(name).unwrap(), bytes.to_vec().into()));
    }

    /// Every object below a prefix, by its name from there on.
    fn files(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![Key::parse(prefix).unwrap()]);
        while let Some(folder) = folders.pop() {
            let listed = Self::wait(self.0.list_with_delimiter(Some(&folder)));
            folders.extend(listed.common_prefixes);
            for object in listed.objects {
                let bytes = Self::wait(async { self.0.get(&object.location).await?.bytes().await });
                let name = object.location.as_ref().strip_prefix(prefix).unwrap().trim_start_matches('/');
                found.insert(name.to_owned(), bytes.to_vec());
            }
        }
        found
    }
}

/// The command line with a store at a port: what it says, and whether it is content.
fn call(port: u16, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_embedlet"));
    let endpoint = format!("http://127.0.0.1:{port}");
    command.args(arguments).stdin(Stdio::null()).env_remove("AWS_SESSION_TOKEN").env("NO_PROXY", "127.0.0.1");
    command.env("AWS_ENDPOINT", endpoint).env("AWS_ALLOW_HTTP", "true").env("AWS_REGION", "us-east-1");
    let output = command.env("AWS_ACCESS_KEY_ID", "id").env("AWS_SECRET_ACCESS_KEY", SECRET).output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// `embedlet embed` of files to a folder, or to a URL.
fn embed(port: u16, inputs: &[&str], out: &str, more: &[&str]) -> (bool, String) {
    let model = fixtures().join("models/bert-mean");
    let options = ["embed", "--device", "cpu", "--part-rows", "50", "--model", model.to_str().unwrap(), "--out", out];
    call(port, &[&options, inputs, more].concat())
}

/// The same, which must be content.
fn embedded(port: u16, inputs: &[&str], out: &str, more: &[&str]) -> String {
    let (done, said) = embed(port, inputs, out, more);
    assert!(done, "{inputs:?}: {said}");
    said
}

fn arrow(batches: &[RecordBatch]) -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batches[0].schema()).unwrap();
    batches.iter().for_each(|batch| writer.write(batch).unwrap());
    writer.into_inner().unwrap()
}

/// Files of every format, in folders, with names that URLs write otherwise.
fn inputs() -> Vec<(&'static str, Vec<u8>)> {
    let lines: String = (0..130).map(|row| format!("{{\"id\": {row}, \"text\": \"boat {row}\"}}\n")).collect();
    let rows = rows(0, 220);
    vec![
        ("year=2025/rows.parquet", parquet(&rows, 40)),
        ("year=2026/100% of rows #1.parquet", parquet(&rows.slice(120, 100), 40)),
        ("lines.jsonl", lines.into()),
        ("batches.arrow", arrow(&[rows.slice(0, 70), rows.slice(70, 30), rows.slice(100, 10)])),
    ]
}

/// The inputs in a bucket of this name below `in`, in a folder, and what becomes of them there.
fn setting(name: &str) -> (Bucket, Scratch, BTreeMap<String, Vec<u8>>) {
    let (moto, folder, out) = (Moto::shared(), scratch(name), scratch(&format!("{name}-whole")));
    let bucket = moto.bucket(name);
    let paths = inputs().into_iter().map(|(name, bytes)| {
        bucket.put(&format!("in/{name}"), &bytes);
        folder.put(name, &bytes)
    });
    let paths: Vec<PathBuf> = paths.collect();
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    embedded(moto.port, &paths, out.0.to_str().unwrap(), &[]);
    let whole = files(&out.0);
    assert_eq!(whole.len(), 10, "{:?}", whole.keys());
    (bucket, folder, whole)
}

#[test]
fn objects_are_the_same_as_files() {
    let (bucket, folder, whole) = setting("same");
    let (port, out) = (Moto::shared().port, scratch("same-out"));
    let urls: Vec<String> = inputs().into_iter().map(|(name, _)| format!("s3://same/in/{name}")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    embedded(port, &urls, "s3://same/out/", &[]);
    assert!(bucket.files("out") == whole);
    embedded(port, &urls, out.0.to_str().unwrap(), &[]);
    assert!(files(&out.0) == whole);
    let paths: Vec<PathBuf> = inputs().into_iter().map(|(name, _)| folder.0.join(name)).collect();
    let paths: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    embedded(port, &paths, "s3://same/from/disk", &[]);
    assert!(bucket.files("from/disk") == whole);
}

#[test]
fn a_star_or_a_slash_stands_for_several() {
    let (bucket, _folder, whole) = setting("several");
    let port = Moto::shared().port;
    bucket.put("in/year=2025/_SUCCESS", b"");
    bucket.put("in/notes.txt", b"no rows");
    embedded(port, &["s3://several/in/"], "s3://several/all", &[]);
    assert!(bucket.files("all") == whole);
    embedded(port, &["s3://several/in/*s.*"], "s3://several/some", &[]);
    let some = bucket.files("some");
    let names = ["batches-00000", "batches-00001", "lines-00000", "lines-00001", "lines-00002"];
    assert!(some.keys().map(|name| name.trim_end_matches(".parquet")).eq(names), "{:?}", some.keys());
    assert!(some.iter().all(|(name, bytes)| whole[name] == *bytes));
    for url in ["s3://several/in/*.txt", "s3://several/in/x*", "s3://several/nowhere/"] {
        let (done, said) = embed(port, &[url], "s3://several/none", &[]);
        assert!(!done && said.contains(url) && said.contains("nothing of that name"), "{said}");
    }
    assert!(bucket.files("none").is_empty());
}

#[test]
fn web_servers_are_read() {
    let (bucket, _folder, whole) = setting("web");
    let (port, out) = (Moto::shared().port, scratch("web-out"));
    // Without signatures moto is one.
    for (name, bytes) in inputs().iter().filter(|(name, _)| !name.contains(' ')) {
        Moto::shared().ask("PUT", &format!("/web/in/{name}"), bytes);
    }
    let url = |name: &str| format!("http://127.0.0.1:{port}/web/in/{name}");
    let urls = [url("lines.jsonl"), url("year=2025/rows.parquet")];
    embedded(port, &urls.each_ref().map(String::as_str), out.0.to_str().unwrap(), &[]);
    let found = files(&out.0);
    assert!(found.len() == 6 && found.iter().all(|(name, bytes)| whole[name] == *bytes), "{:?}", found.keys());
    let (done, said) = embed(port, &[&url("lines.jsonl")], &url("out"), &[]);
    assert!(!done && said.contains("read, not written"), "{said}");
    let (done, said) = embed(port, &[&url("")], "s3://web/out", &[]);
    assert!(!done && said.contains("name the files"), "{said}");
    assert!(bucket.files("out").is_empty());
}

#[test]
fn shards_and_runs_that_go_on_make_a_whole() {
    let (bucket, _folder, whole) = setting("shards");
    let port = Moto::shared().port;
    let run = |more: &[&str]| embed(port, &["s3://shards/in/"], "s3://shards/out", more);
    let (done, said) = run(&["--shard", "1/2"]);
    assert!(done && said.contains(", 5 files written, 0 there already"), "{said}");
    let half = bucket.files("out");
    assert!(half.len() == 5 && half.iter().all(|(name, bytes)| whole[name] == *bytes), "{:?}", half.keys());
    let (done, said) = run(&["--shard", "0/2"]);
    assert!(done && said.contains(", 5 files written"), "{said}");
    assert!(bucket.files("out") == whole);
    // One is a copy that was cut off, one is missing.
    bucket.put("out/lines-00001.parquet", &whole["lines-00001.parquet"][..500]);
    Bucket::wait(bucket.0.delete(&Key::from("out/batches-00000.parquet")));
    let (done, said) = run(&[]);
    assert!(done && said.contains(", 2 files written, 8 there already"), "{said}");
    assert!(bucket.files("out") == whole);
    let (done, said) = run(&["--prompt", "query: "]);
    assert!(!done && said.contains("s3://shards/out/") && said.contains("another options, prompt"), "{said}");
    bucket.put("in/lines.jsonl", b"{\"text\": \"other\"}");
    let (done, said) = run(&[]);
    assert!(!done && said.contains("s3://shards/out/lines-00000.parquet") && said.contains("another input"), "{said}");
    assert!(bucket.files("out") == whole);
}

#[test]
fn an_index_is_built_of_objects() {
    let moto = Moto::shared();
    let (bucket, folder) = (moto.bucket("index"), scratch("index"));
    let lines = b"{\"id\": \"a\", \"text\": \"boats\"}\n{\"id\": \"b\", \"text\": \"lights\"}\n";
    let table = RecordBatch::try_from_iter(["id", "text"].map(|name| {
        let column: ArrayRef = Arc::new(StringArray::from(vec!["c", "d"]));
        (name, column)
    }));
    let table = parquet(&table.unwrap(), 1);
    let paths = [folder.put("in/a.jsonl", lines), folder.put("in/b.parquet", &table)];
    bucket.put("in/a.jsonl", lines);
    bucket.put("in/b.parquet", &table);
    let model = fixtures().join("models/static-bag");
    let build = |inputs: &[&str], out: &str| {
        let out = folder.0.join(out);
        let arguments =
            ["index", "build", "--quiet", "--model", model.to_str().unwrap(), "--out", out.to_str().unwrap()];
        let (done, said) = call(moto.port, &[&arguments, inputs].concat());
        assert!(done, "{said}");
        files(&out)
    };
    let local = build(&paths.each_ref().map(|path| path.to_str().unwrap()), "local");
    assert!(local.len() > 1 && build(&["s3://index/in/"], "remote") == local);
}

#[test]
fn says_what_is_wrong_with_a_url() {
    let (moto, out) = (Moto::shared(), scratch("wrong-out"));
    let bucket = moto.bucket("wrong");
    bucket.put("in/a.jsonl", b"{\"text\": \"a\"}");
    bucket.put("in/b.parquet", b"<html>not found</html>");
    let (here, there) = (out.0.to_str().unwrap(), "s3://wrong/out");
    for (input, out, reasons) in [
        ("s3://wrong/in/absent.parquet", here, ["s3://wrong/in/absent.parquet cannot be read", "no such object"]),
        ("s3://no-bucket/in/a.jsonl", here, ["s3://no-bucket/in/a.jsonl cannot be read", "no such object"]),
        ("s3://no-bucket/in/", here, ["s3://no-bucket/in/ cannot be read", "NoSuchBucket"]),
        ("s3://wrong/in/a.jsonl", "s3://no-bucket/out", ["s3://no-bucket/out/a-00000.parquet", "NoSuchBucket"]),
        ("s3://wrong/in/b.parquet", there, ["s3://wrong/in/b.parquet cannot be read", "Parquet"]),
        ("s3://wrong/in/a.csv", there, ["s3://wrong/in/a.csv", ".jsonl"]),
        ("s3://wrong/in//a.jsonl", there, ["s3://wrong/in//a.jsonl", "empty"]),
        ("ftp://wrong/in/a.jsonl", there, ["ftp://wrong/in/a.jsonl", "s3://"]),
    ] {
        let (done, said) = embed(moto.port, &[input], out, &[]);
        assert!(!done && reasons.iter().all(|reason| said.contains(reason)), "{reasons:?}: {said}");
    }
    assert!(files(&out.0).is_empty() && bucket.files("out").is_empty());
}

#[test]
fn refused_credentials_are_not_repeated() {
    let moto = Moto::start();
    let (bucket, out) = (moto.bucket("private"), scratch("private-out"));
    bucket.put("in/a.jsonl", b"{\"text\": \"a\"}");
    // From here on moto asks who asks.
    moto.ask("POST", "/moto-api/reset-auth", b"0");
    for (input, reason) in [("s3://private/in/a.jsonl", "credentials"), ("s3://private/in/", "InvalidAccessKeyId")] {
        let (done, said) = embed(moto.port, &[input], out.0.to_str().unwrap(), &[]);
        assert!(!done && said.contains(input) && said.contains(reason), "{said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    assert!(files(&out.0).is_empty());
}

/// Between the command line and moto: counts what comes back, and can fail where an upload is half done.
struct Proxy {
    port: u16,
    received: Arc<AtomicU64>,
}

/// What becomes of the second piece of an upload.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    Passes,
    /// The server says no.
    Refused,
    /// The server is gone from then on.
    Kills,
}

impl Proxy {
    fn start(second: Second) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let received = Arc::new(AtomicU64::new(0));
        let (count, dead) = (received.clone(), Arc::new(AtomicBool::new(false)));
        thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                let (count, dead) = (count.clone(), dead.clone());
                if !dead.load(Ordering::SeqCst) {
                    thread::spawn(move || Self::pass(client, second, &count, &dead));
                }
            }
        });
        Self { port, received }
    }

    fn pass(mut client: TcpStream, second: Second, count: &Arc<AtomicU64>, dead: &AtomicBool) {
        let server = TcpStream::connect(("127.0.0.1", Moto::shared().port)).unwrap();
        let (mut from, mut to, count) = (server.try_clone().unwrap(), client.try_clone().unwrap(), count.clone());
        thread::spawn(move || {
            let mut bytes = [0; 1 << 16];
            while let Ok(read @ 1..) = from.read(&mut bytes) {
                count.fetch_add(read as u64, Ordering::SeqCst);
                if to.write_all(&bytes[..read]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
        let (mut bytes, mut server) = ([0; 1 << 16], server);
        while let Ok(read @ 1..) = client.read(&mut bytes) {
            let is_second = bytes[..read].windows(13).any(|part| part == b"partNumber=2&");
            if second != Second::Passes && is_second {
                if second == Second::Refused {
                    let _ =
                        client.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                } else {
                    dead.store(true, Ordering::SeqCst);
                }
                break;
            }
            if server.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

/// Rows with a column of noise, which no codec makes smaller: 32 kB a row.
fn noisy(count: usize) -> RecordBatch {
    let mut state = 1_u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    };
    let noise: Vec<String> = (0..count).map(|_| (0..4096).map(|_| word()).collect()).collect();
    let texts = (0..count).map(|row| Some(format!("boat {row}"))).collect::<StringArray>();
    let columns: [(&str, ArrayRef); 2] = [("text", Arc::new(texts)), ("noise", Arc::new(StringArray::from(noise)))];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn only_what_a_shard_needs_is_fetched() {
    let (bucket, folder) = (Moto::shared().bucket("ranges"), scratch("ranges"));
    // Six parts, of row groups that are fetched at once; and one that is not.
    for (name, group) in [("small", 50), ("large", 300)] {
        let input = folder.put(&format!("{name}.parquet"), &parquet(&noisy(300), group));
        bucket.put(&format!("{name}.parquet"), &fs::read(&input).unwrap());
        let reader = SerializedFileReader::new(fs::File::open(&input).unwrap()).unwrap();
        let groups = reader.metadata().row_groups();
        // Of every so many-th row group from one on, so many columns.
        let bytes = |first: usize, step: usize, columns: usize| -> u64 {
            let chunks = groups.iter().skip(first).step_by(step).flat_map(|group| &group.columns()[..columns]);
            chunks.map(|chunk| chunk.byte_range().1).sum()
        };
        for (more, needed) in [
            (["--keep", "text"], bytes(0, 1, 1)),
            (["--shard", "0/2"], bytes(0, 2, 2)),
            (["--shard", "1/2"], bytes(1, 2, 2)),
        ] {
            let (proxy, local, remote) = (Proxy::start(Second::Passes), scratch("ranges-a"), scratch("ranges-b"));
            embedded(proxy.port, &[&format!("s3://ranges/{name}.parquet")], remote.0.to_str().unwrap(), &more);
            let received = proxy.received.load(Ordering::SeqCst);
            // The end of the file once for the plan and once for each part, and what HTTP says around it.
            let around = (1 + groups.len() as u64) * (64 << 10) + (100 << 10);
            assert!((needed..needed + around).contains(&received), "{name} {more:?}: {received} for {needed}");
            embedded(proxy.port, &[input.to_str().unwrap()], local.0.to_str().unwrap(), &more);
            assert!(files(&local.0) == files(&remote.0), "{name} {more:?}");
        }
    }
}

#[test]
fn an_upload_that_fails_leaves_nothing() {
    let (moto, folder, whole) = (Moto::shared(), scratch("upload"), scratch("upload-whole"));
    let bucket = moto.bucket("upload");
    let input = folder.put("rows.parquet", &parquet(&noisy(600), 300));
    let (input, out) = (input.to_str().unwrap(), "s3://upload/out");
    embedded(moto.port, &[input], whole.0.to_str().unwrap(), &[]);
    let whole = files(&whole.0);
    assert!(whole.len() == 2 && whole.values().all(|bytes| bytes.len() > 9 << 20));
    for second in [Second::Refused, Second::Kills] {
        let proxy = Proxy::start(second);
        let (done, said) = embed(proxy.port, &[input], out, &[]);
        assert!(!done && said.contains("s3://upload/out/rows-00000.parquet cannot be written"), "{said}");
        assert!(bucket.files("out").is_empty());
        // Who can still be told has been told that no more will come.
        let open = moto.ask("GET", "/upload?uploads", b"");
        assert_eq!(open.contains("<UploadId>"), second == Second::Kills, "{open}");
    }
    embedded(moto.port, &[input], out, &[]);
    assert!(bucket.files("out") == whole);
}
