//! A static file server for this machine only. In: folders under URL prefixes. Out: GET and HEAD, one request a
//! connection, with exact lengths and single byte ranges. No listing, no caching, no writing, nothing beyond 127.0.0.1.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::Result;

/// The request line and all headers; browsers send a few hundred bytes.
const REQUEST_LIMIT: u64 = 64 << 10;

/// Folders by URL prefix, the longest matching prefix wins. A prefix starts and ends with `/`.
pub struct Site(pub Vec<(String, PathBuf)>);

/// Takes the port asked for, or else the first free one from 8000 that a person can remember.
pub fn bind(port: Option<u16>) -> Result<(TcpListener, String)> {
    let open = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = match port {
        Some(port) => open(port).map_err(|error| format!("could not serve on port {port}: {error}"))?,
        None => (8000..=8020)
            .find_map(|port| open(port).ok())
            .ok_or("no port from 8000 to 8020 is free: choose one with --port")?,
    };
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    Ok((listener, format!("http://{address}/")))
}

/// Serves until the process ends.
pub fn serve(listener: TcpListener, site: Site) -> Result<()> {
    let site = Arc::new(site);
    for stream in listener.incoming() {
        let stream = stream.map_err(|error| format!("the server stopped: {error}"))?;
        let site = site.clone();
        // A browser that goes away in the middle of an answer concerns no one else.
        std::thread::spawn(move || answer(stream, &site));
    }
    Ok(())
}

fn answer(mut stream: TcpStream, site: &Site) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    let Some(request) = read_request(&mut BufReader::new(stream.try_clone()?.take(REQUEST_LIMIT)))? else {
        return plain(&mut stream, "400 Bad Request", "");
    };
    if request.method != "GET" && request.method != "HEAD" {
        return plain(&mut stream, "405 Method Not Allowed", "Allow: GET, HEAD\r\n");
    }
    let Some(path) = site.find(&request.target) else {
        return plain(&mut stream, "404 Not Found", "");
    };
    let mut file = File::open(&path)?;
    let length = file.metadata()?.len();
    let (status, first, count) = match request.range.as_deref().map(|range| byte_range(range, length)) {
        None | Some(Range::Whole) => ("200 OK", 0, length),
        Some(Range::Part(first, count)) => ("206 Partial Content", first, count),
        Some(Range::Outside) => {
            return plain(&mut stream, "416 Range Not Satisfiable", &format!("Content-Range: bytes */{length}\r\n"));
        }
    };
    let range = match status {
        "206 Partial Content" => format!("Content-Range: bytes {first}-{}/{length}\r\n", first + count - 1),
        _ => String::new(),
    };
    // no-cache: after a rebuild the browser must ask again.
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {count}\r\n{range}Accept-Ranges: bytes\r\n\
         Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n",
        mime(&path)
    )?;
    if request.method == "GET" {
        file.seek(SeekFrom::Start(first))?;
        io::copy(&mut file.take(count), &mut stream)?;
    }
    stream.flush()
}

fn plain(stream: &mut TcpStream, status: &str, headers: &str) -> io::Result<()> {
    let head = format!("Content-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n", status.len());
    write!(stream, "HTTP/1.1 {status}\r\n{headers}{head}\r\n{status}")
}

struct Request {
    method: String,
    target: String,
    range: Option<String>,
}

/// `None` for anything that is not HTTP.
fn read_request(from: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Ok(None);
    }
    let mut request = Request { method: method.into(), target: target.into(), range: None };
    loop {
        let mut header = String::new();
        if from.read_line(&mut header)? == 0 {
            return Ok(None);
        }
        match header.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => request.range = Some(value.trim().into()),
            Some(_) => (),
            None if header.trim_end().is_empty() => return Ok(Some(request)),
            None => return Ok(None),
        }
    }
}

impl Site {
    /// The file that a request target names, if there is one.
    fn find(&self, target: &str) -> Option<PathBuf> {
        let path = decode(target.split(['?', '#']).next()?)?;
        let (prefix, folder) = self
            .0
            .iter()
            .filter(|(prefix, _)| path.starts_with(prefix.as_str()))
            .max_by_key(|(prefix, _)| prefix.len())?;
        let mut rest = path[prefix.len()..].to_owned();
        if rest.is_empty() || rest.ends_with('/') {
            rest += "index.html";
        }
        let file = folder.join(safe_relative(&rest)?);
        file.is_file().then_some(file)
    }
}

/// A `/`-separated path that stays in its folder, whatever the operating system makes of it; `None` for any other.
pub fn safe_relative(path: &str) -> Option<&Path> {
    let safe = |part: &str| part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
    (!path.starts_with('/') && path.split('/').all(safe)).then(|| Path::new(path))
}

/// Undoes percent-encoding; `None` when it is broken or not UTF-8.
fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[derive(Debug, PartialEq)]
enum Range {
    Whole,
    /// First byte and count.
    Part(u64, u64),
    Outside,
}

/// One range as browsers send it; what is not understood is answered with the whole file, as the standard allows.
fn byte_range(header: &str, length: u64) -> Range {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Whole;
    };
    let (first, last) = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last),
        (Ok(first), Err(_)) if last.is_empty() => (first, u64::MAX),
        (Err(_), Ok(count)) if first.is_empty() && count > 0 => (length.saturating_sub(count), u64::MAX),
        _ => return Range::Whole,
    };
    if first >= length { Range::Outside } else { Range::Part(first, last.min(length - 1) - first + 1) }
}

/// Browsers refuse modules, workers, wasm streaming and style sheets that come with another type.
fn mime(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json; charset=utf-8",
        "webmanifest" => "application/manifest+json; charset=utf-8",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "txt" | "md" | "csv" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_in_their_folder() {
        for safe in ["index.html", "a/b.js", "1_Pooling/config.json", "..a", "a..", "", "a//b"] {
            assert!(safe_relative(safe).is_some(), "{safe:?}");
        }
        for unsafe_path in ["..", "../a", "a/../b", "a/..", "./a", "/etc/passwd", "//a", "a\\..\\b", "C:/a", "a\0"] {
            assert!(safe_relative(unsafe_path).is_none(), "{unsafe_path:?}");
        }
    }

    #[test]
    fn types_that_browsers_insist_on() {
        for (path, expected) in [
            ("a/embedlet_bg.wasm", "application/wasm"),
            ("worker.js", "text/javascript; charset=utf-8"),
            ("index.html", "text/html; charset=utf-8"),
            ("config.json", "application/json; charset=utf-8"),
            ("model.safetensors", "application/octet-stream"),
            ("LICENSE", "application/octet-stream"),
        ] {
            assert_eq!(mime(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn ranges_of_ten_bytes() {
        for (header, expected) in [
            ("bytes=0-3", Range::Part(0, 4)),
            ("bytes=4-", Range::Part(4, 6)),
            ("bytes=8-99", Range::Part(8, 2)),
            ("bytes=-3", Range::Part(7, 3)),
            ("bytes=-99", Range::Part(0, 10)),
            ("bytes=10-", Range::Outside),
            ("bytes=5-4", Range::Whole),
            ("bytes=0-1,3-4", Range::Whole),
            ("items=0-1", Range::Whole),
            ("bytes=-0", Range::Whole),
        ] {
            assert_eq!(byte_range(header, 10), expected, "{header}");
        }
        assert_eq!(byte_range("bytes=0-", 0), Range::Outside);
    }

    #[test]
    fn percent_encoding() {
        assert_eq!(decode("/a%20b/%C3%A9"), Some("/a b/é".into()));
        for broken in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }

    #[test]
    fn answers_over_a_socket() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let folder = std::env::temp_dir().join(format!("embedlet-serve-{}", std::process::id()));
        let (page, model) = (folder.join("page"), folder.join("model"));
        std::fs::create_dir_all(&page)?;
        std::fs::create_dir_all(&model)?;
        std::fs::write(page.join("index.html"), "<p>page")?;
        std::fs::write(model.join("a b.json"), "{}")?;
        std::fs::write(folder.join("secret"), "no")?;

        let (listener, _) = bind(Some(0))?;
        let address = listener.local_addr()?;
        let site = Site(vec![("/".into(), page), ("/model/".into(), model)]);
        std::thread::spawn(move || serve(listener, site));
        let ask = |request: &str| -> io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };

        for (request, status, body) in [
            ("GET / HTTP/1.1\r\n\r\n", "200 OK", "<p>page"),
            ("GET /?device=wasm HTTP/1.1\r\n\r\n", "200 OK", "<p>page"),
            ("HEAD / HTTP/1.1\r\n\r\n", "200 OK", ""),
            ("GET /model/a%20b.json HTTP/1.1\r\n\r\n", "200 OK", "{}"),
            ("GET / HTTP/1.1\r\nrange: bytes=1-1\r\n\r\n", "206 Partial Content", "p"),
            ("GET / HTTP/1.1\r\nRange: bytes=7-\r\n\r\n", "416 Range Not Satisfiable", "416 Range Not Satisfiable"),
            ("GET /absent HTTP/1.1\r\n\r\n", "404 Not Found", "404 Not Found"),
            ("GET /model HTTP/1.1\r\n\r\n", "404 Not Found", "404 Not Found"),
            ("GET /../secret HTTP/1.1\r\n\r\n", "404 Not Found", "404 Not Found"),
            ("GET /model/%2e%2e/secret HTTP/1.1\r\n\r\n", "404 Not Found", "404 Not Found"),
            ("GET /..%5Csecret HTTP/1.1\r\n\r\n", "404 Not Found", "404 Not Found"),
            ("POST / HTTP/1.1\r\n\r\n", "405 Method Not Allowed", "405 Method Not Allowed"),
            ("nonsense\r\n\r\n", "400 Bad Request", "400 Bad Request"),
        ] {
            let answer = ask(request)?;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{request:?}: {answer}");
            assert_eq!(answer.split_once("\r\n\r\n").map(|parts| parts.1), Some(body), "{request:?}");
        }
        assert!(ask("HEAD / HTTP/1.1\r\n\r\n")?.contains("Content-Length: 7\r\n"));
        std::fs::remove_dir_all(folder)?;
        Ok(())
    }
}
