//! `embedlet embed` with files, or with a stream: the command line's side of it, which is what it says of its progress.

use std::fmt::{Display, Formatter};
use std::io::{Write, stderr, stdin, stdout};
use std::time::{Duration, Instant};

use embedlet::bulk::{self, Options, Progress};
use embedlet::native::fingerprint;

use crate::arguments::Arguments;
use crate::load;

/// How often it is said how far it is.
const PAUSE: Duration = Duration::from_secs(2);

/// Embeds files, or stdin to stdout.
pub fn embed(arguments: &Arguments) -> Result<(), String> {
    let mut options = Options { embed: arguments.embed.clone(), ..arguments.bulk.clone() };
    if options.name.is_empty() {
        let folder = arguments.model.canonicalize().unwrap_or_else(|_| arguments.model.clone());
        options.name = folder.file_name().unwrap_or_default().to_string_lossy().into();
    }
    options.fingerprint = fingerprint(&arguments.model, arguments.task).map_err(|error| error.to_string())?;
    let model = load(&arguments.model, &arguments.device, arguments.precision, arguments.task)?;
    let start = Instant::now();
    let mut said = start;
    let mut say = |progress: Progress| {
        if !arguments.quiet && said.elapsed() >= PAUSE {
            said = Instant::now();
            // Progress is a courtesy: a closed stderr is no reason to stop.
            let _ = writeln!(stderr(), "{}", Line(progress, start.elapsed(), arguments.ipc));
        }
        Ok(())
    };
    let report = match arguments.ipc {
        true => bulk::stream(&model, stdin().lock(), stdout().lock(), &options, &mut say),
        false => bulk::run(&model, &arguments.files, &arguments.out, &options, &mut say),
    };
    let report = report.map_err(|error| error.to_string())?;
    if !arguments.quiet {
        let bulk::Report { parts, skipped, rows, nulls } = report;
        let seconds = start.elapsed().as_secs_f64();
        let files =
            if arguments.ipc { String::new() } else { format!(", {parts} files written, {skipped} there already") };
        let _ = writeln!(stderr(), "{rows} rows in {seconds:.1} s, {nulls} without text{files}");
    }
    Ok(())
}

/// How far, how fast, and how much longer.
struct Line<'a>(Progress<'a>, Duration, bool);

impl Display for Line<'_> {
    fn fmt(&self, formatter: &mut Formatter) -> std::fmt::Result {
        let Self(Progress { input, rows, of }, elapsed, endless) = self;
        let rate = *rows as f64 / elapsed.as_secs_f64().max(1e-3);
        if *endless {
            return write!(formatter, "{rows} rows, {rate:.0} rows/s");
        }
        let left = (of.saturating_sub(*rows) as f64 / rate.max(1e-3)) as u64;
        let (hours, minutes, seconds) = (left / 3600, left / 60 % 60, left % 60);
        let left = format!("{hours}:{minutes:02}:{seconds:02} left");
        write!(formatter, "{rows} of {of} rows, {rate:.0} rows/s, {left} ({})", input.display())
    }
}
