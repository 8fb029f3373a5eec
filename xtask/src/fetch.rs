//! Bytes over HTTP and their SHA-256. In: an address and where to put it. Out: the file, verified where a hash is known.
//! A file appears under its own name only when it is complete. No resume: the one large file takes seconds.

use std::{
    fs::{self, File},
    io::{self, IsTerminal, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};
use ureq::{
    Agent,
    http::StatusCode,
    tls::{RootCerts, TlsConfig},
};

use crate::{Result, process};

/// Together the 5 s that no source may take to connect: the name, then the connection with its TLS handshake.
const RESOLVE: Duration = Duration::from_secs(2);
const CONNECT: Duration = Duration::from_secs(3);
/// From a sent request to the first byte; covers a server that accepts and then says nothing.
const FIRST_BYTE: Duration = Duration::from_secs(30);

pub fn agent() -> Agent {
    Agent::config_builder()
        .timeout_resolve(Some(RESOLVE))
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(FIRST_BYTE))
        .http_status_as_error(false)
        .user_agent(concat!("embedlet-xtask/", env!("CARGO_PKG_VERSION")))
        .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
        .build()
        .into()
}

/// A body and its length where the server tells it; `None` when the server says there is no such file.
fn open(agent: &Agent, url: &str) -> Result<Option<(impl Read + use<>, Option<u64>)>> {
    let response = agent.get(url).call().map_err(|error| format!("{url}: {error}"))?;
    match response.status() {
        StatusCode::OK => {
            let body = response.into_body();
            let length = body.content_length();
            Ok(Some((body.into_reader(), length)))
        }
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(format!("{url}: answered {status}")),
    }
}

/// The first `limit` bytes of a text; `None` when there is no such file.
pub fn text(agent: &Agent, url: &str, limit: u64) -> Result<Option<String>> {
    let Some((body, _)) = open(agent, url)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    body.take(limit).read_to_end(&mut bytes).map_err(|error| format!("{url}: {error}"))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Downloads to `path`, through `path.part`; `Ok(false)` when there is no such file.
pub fn download(agent: &Agent, url: &str, path: &Path, sha256: Option<&str>) -> Result<bool> {
    let Some((mut body, length)) = open(agent, url)? else {
        return Ok(false);
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(process::io("create", parent))?;
    }
    let part = path.with_added_extension("part");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let copied = File::create(&part)
        .map_err(process::io("write", &part))
        .and_then(|file| copy(&mut body, file, &name, length).map_err(|error| format!("{url}: {error}")))
        .and_then(|found| match sha256 {
            Some(expected) if found != expected => {
                Err(format!("{url}: its SHA-256 is {found}, but {expected} was expected"))
            }
            _ => fs::rename(&part, path).map_err(process::io("write", path)),
        });
    if copied.is_err() {
        // The download error is the one to report; a .part that stays behind is overwritten next time.
        let _ = fs::remove_file(&part);
    }
    copied.map(|()| true)
}

/// Copies, shows progress, checks the length and returns the SHA-256.
fn copy(from: &mut impl Read, mut to: File, name: &str, length: Option<u64>) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut progress = Progress::new(name, length);
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        to.write_all(&buffer[..count])?;
        done += count as u64;
        progress.at(done);
    }
    progress.end(done);
    if length.is_some_and(|length| length != done) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, format!("ended after {done} bytes")));
    }
    to.sync_all()?;
    Ok(hex(hash))
}

pub fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(process::io("read", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(process::io("read", path))? {
            0 => return Ok(hex(hash)),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes so far, on standard error: one line that is rewritten on a terminal, a line per tenth elsewhere.
struct Progress<'a> {
    name: &'a str,
    length: Option<u64>,
    terminal: bool,
    shown: Instant,
    tenth: u64,
}

impl<'a> Progress<'a> {
    fn new(name: &'a str, length: Option<u64>) -> Self {
        Self { name, length, terminal: io::stderr().is_terminal(), shown: Instant::now(), tenth: 0 }
    }

    fn at(&mut self, done: u64) {
        if self.terminal {
            if self.shown.elapsed() >= Duration::from_millis(100) {
                self.shown = Instant::now();
                eprint!("\r{}", self.line(done));
            }
        } else if let Some(length) = self.length.filter(|&length| length >= 10 << 20) {
            let tenth = done * 10 / length;
            if tenth > self.tenth && tenth < 10 {
                self.tenth = tenth;
                eprintln!("{}", self.line(done));
            }
        }
    }

    fn end(&self, done: u64) {
        eprintln!("{}{}", if self.terminal { "\r" } else { "" }, self.line(done));
    }

    fn line(&self, done: u64) -> String {
        match self.length {
            Some(length) => format!("  {:<36} {done:>11} of {length:>11} bytes", self.name),
            None => format!("  {:<36} {done:>11} bytes", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("embedlet-xtask-{}-{name}", std::process::id()))
    }

    /// A server for one request on a free port.
    fn answering(answer: &'static str) -> io::Result<String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/file", listener.local_addr()?);
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut request = [0; 4096];
            let _ = stream.read(&mut request)?;
            stream.write_all(answer.as_bytes())
        });
        Ok(url)
    }

    // FIPS 180-2, appendix B.1.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn check(name: &str, answer: &'static str, sha: Option<&str>, expected: std::result::Result<bool, &str>) {
        let path = scratch(name);
        let got =
            answering(answer).map_err(|error| error.to_string()).and_then(|url| download(&agent(), &url, &path, sha));
        let as_expected = match (&got, expected) {
            (Ok(got), Ok(expected)) => *got == expected,
            (Err(message), Err(part)) => message.contains(part),
            _ => false,
        };
        assert!(as_expected, "{name}: {got:?}, expected {expected:?}");
        assert_eq!(path.exists(), expected == Ok(true), "{name}");
        assert!(!path.with_added_extension("part").exists(), "{name}");
        let _ = fs::remove_file(&path);
    }

    #[test]
    fn only_a_whole_and_verified_file_appears() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        check("whole", whole, Some(ABC), Ok(true));
        check("unknown-hash", whole, None, Ok(true));
        check("wrong-hash", whole, Some(&"0".repeat(64)), Err("SHA-256"));
        check("short", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", None, Err("/file"));
        check("absent", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", None, Ok(false));
        check("refused", "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", None, Err("503"));
    }
}
