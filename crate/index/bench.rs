//! How long an index of many vectors takes to build, and how much of it a search reads: `embedlet index bench`. The vectors are drawn as
//! they are wanted, from clusters on the sphere.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use super::random::Random;
use super::{Document, Index, Made, Options, Progress, Report, Stage, write};
use crate::error::{Error, Result};
use crate::model::Device;
use crate::search::{Shape, Similarity};

/// Vectors of a batch.
const BATCH: usize = 16_384;

/// Which vectors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mixture {
    /// How many.
    pub rows: usize,
    /// Values of each.
    pub dimensions: usize,
    /// Clusters, all as likely.
    pub centres: usize,
    /// Length of what is added to a centre of length 1, about: 1 puts a row at 45 degrees from its centre.
    pub spread: f64,
    /// Others give other vectors.
    pub seed: u64,
}

/// Where its clusters are.
struct Clusters<'a> {
    of: &'a Mixture,
    centres: Vec<Vec<f32>>,
}

impl Mixture {
    fn clusters(&self) -> Clusters<'_> {
        let centre =
            |centre: u64| self.normal(&mut Random(!self.seed ^ centre.wrapping_mul(0xa076_1d64_78bd_642f)), 1.0);
        Clusters { of: self, centres: (0..self.centres as u64).into_par_iter().map(centre).collect() }
    }

    /// Numbers of about this length together: nearly normal, each a sum of four that are evenly distributed.
    fn normal(&self, random: &mut Random, length: f64) -> Vec<f32> {
        // The variance of such a sum of sixteen bits each.
        let scale = length / (4.0 * (2_f64.powi(32) - 1.0) / 12.0 * self.dimensions as f64).sqrt();
        let value = |bits: u64| {
            let sum = [0, 16, 32, 48].iter().map(|by| (bits >> by & 0xffff) as f64 - 32_767.5).sum::<f64>();
            (sum * scale) as f32
        };
        (0..self.dimensions).map(|_| value(random.bits())).collect()
    }
}

impl Clusters<'_> {
    /// The vector of this number, which depends on nothing else.
    fn vector(&self, row: usize) -> Vec<f32> {
        let mut random = Random(self.of.seed ^ (row as u64).wrapping_mul(0xd6e8_feb8_6659_fd93));
        let centre = &self.centres[random.below(self.of.centres as u64) as usize];
        let noise = self.of.normal(&mut random, self.of.spread);
        centre.iter().zip(noise).map(|(value, noise)| value + noise).collect()
    }

    fn documents(&self) -> impl Iterator<Item = Result<Vec<Document>>> + '_ {
        let document =
            |row: usize| Document { id: row.to_string(), vector: Some(self.vector(row)), ..Document::default() };
        let batch = move |first: usize| {
            let rows = first..(first + BATCH).min(self.of.rows);
            Ok(rows.into_par_iter().map(document).collect())
        };
        (0..self.of.rows).step_by(BATCH).map(batch)
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measurement {
    /// What was built of.
    pub mixture: Mixture,
    /// The adapter that divided rows into cells; absent, the host did.
    pub adapter: Option<String>,
    /// Threads of the host.
    pub threads: usize,
    /// Seconds of each stage, in their order.
    pub stages: Vec<(Stage, f64)>,
    /// Of all.
    pub seconds: f64,
    /// Milliseconds of a search by the native reader, files from the disk: the fastest of some.
    pub search_ms: f64,
    /// What was built.
    pub report: Report,
}

/// Builds an index of such vectors in `out`, which stays; rows are divided into cells on `device`.
pub fn run(
    mixture: Mixture,
    device: &Device,
    out: &Path,
    options: &Options,
    progress: &mut Progress,
) -> Result<Measurement> {
    if mixture.rows == 0 || mixture.centres == 0 || !(0.0..100.0).contains(&mixture.spread) {
        return Err(Error::argument("there must be rows, centres, and a spread from 0 to 100"));
    }
    options.check()?;
    let clusters = mixture.clusters();
    let similarity = Similarity::Cosine;
    let made = Made {
        model: options.name.clone(),
        architecture: "none".into(),
        dimensions: mixture.dimensions,
        row_bytes: Shape::new(mixture.dimensions, options.precision, similarity)?.row_bytes(),
        vectors: options.vectors.unwrap_or(false),
        similarity: "cosine".into(),
        precision: options.precision.name().into(),
        prompts: [].into(),
        probe: clusters.vector(mixture.rows),
    };
    let (start, mut since, mut stages) = (Instant::now(), Instant::now(), Vec::<(Stage, f64)>::new());
    let mut timed = |stage, done, total| {
        match stages.last_mut() {
            Some((last, seconds)) => {
                *seconds += since.elapsed().as_secs_f64();
                if *last != stage {
                    stages.push((stage, 0.0));
                }
            }
            None => stages.push((stage, 0.0)),
        }
        since = Instant::now();
        progress(stage, done, total)
    };
    let embed = |_: &[String]| Err(Error::argument("there is no model"));
    let report = write(made, clusters.documents(), &embed, device, out, options, &mut timed)?;
    let last = since.elapsed().as_secs_f64();
    if let Some((_, seconds)) = stages.last_mut() {
        *seconds += last;
    }
    let seconds = start.elapsed().as_secs_f64();
    let index = Index::open(out)?;
    let mut search_ms = f64::INFINITY;
    for row in 0..5 {
        let start = Instant::now();
        index.search(&clusters.vector(mixture.rows + row), 10, None)?;
        search_ms = search_ms.min(1e3 * start.elapsed().as_secs_f64());
    }
    let adapter = match device {
        Device::Gpu(gpu) => Some(gpu.adapter().description.clone()),
        Device::Cpu(_) => None,
    };
    Ok(Measurement { mixture, adapter, threads: rayon::current_num_threads(), stages, seconds, search_ms, report })
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { mixture, report, .. } = self;
        let mb = |bytes: f64| bytes / 1e6;
        writeln!(
            f,
            "{} rows × {}, {} centres, spread {}",
            mixture.rows, mixture.dimensions, mixture.centres, mixture.spread
        )?;
        let beside = self.adapter.as_ref().map(|adapter| format!(" and {adapter}")).unwrap_or_default();
        writeln!(f, "{:.1} s on {} threads{beside}", self.seconds, self.threads)?;
        for (stage, seconds) in &self.stages {
            writeln!(f, "    {:<8} {seconds:.1} s", format!("{stage:?}").to_lowercase())?;
        }
        writeln!(f, "{:.1} MB in {} segments", mb(report.bytes as f64), report.segments)?;
        writeln!(f, "a search reads {:.2} MB, {:.1} ms here", mb(report.query_bytes), self.search_ms)?;
        let Some(cells) = &report.cells else { return Ok(()) };
        writeln!(f, "{} cells in {:.2} MB, {} of them read", cells.count, mb(cells.bytes as f64), cells.probes)?;
        let recall: Vec<String> = cells.recall.iter().map(|(probes, share)| format!("{probes}: {share:.4}")).collect();
        write!(f, "recall {}", recall.join(", "))
    }
}
