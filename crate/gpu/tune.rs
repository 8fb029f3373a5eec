//! Choosing among the forms of an operation by measuring them, while nothing else is asked. Forms give the same bits, so whatever
//! is chosen, by this device or by a text that somebody damaged, is right; at worst it is slow.
//!
//! Browsers have no clock that is fine enough for one dispatch, so a form runs in one pass until that takes milliseconds, less what the
//! way to the device and back takes. A form is compared with the one that would be taken in its place, at row counts that go away from the
//! rule's edge between them, as long as the rule is clearly wrong: where it is right that is two comparisons.

use std::cell::Cell;
use std::cmp::Ordering;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::holding::Variants;
use super::resident::{Resident, STAGING, Step};
use super::{Gpu, clock_ms, runtime};
use crate::batch::Batch;
use crate::error::Result;
use crate::packed::hex;
use crate::program::Rows;

/// A run lasts at least so long, unless it has the most dispatches. It begins with few, as it is not known how long one takes.
const LEAST_MS: f64 = 2.0;
const FIRST_DISPATCHES: f64 = 16.0;
const MOST_DISPATCHES: u32 = 1024;
/// Of so many runs the shortest counts, in turn with those of the other form.
const ROUNDS: usize = 2;
/// How often the way to the device and back is measured.
const TRIPS: usize = 5;
/// Row counts at which forms are compared.
const ROWS: [usize; 4] = [16, 64, 256, 1024];
/// What a form takes at most of the time of the one that the rule has there.
const CLEARLY: f64 = 0.95;
/// Most entries that are kept, and most bytes that are read.
const MOST_KEPT: usize = 512;
const MOST_BYTES: usize = 64 << 10;

/// Milliseconds of the device that measuring may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// In all, more or less: what is begun is ended.
    pub all: f64,
    /// Of a slice: what would take longer is not measured, and as the rule has it.
    pub slice: f64,
}

impl Budget {
    /// All that it takes to compare everything.
    pub const NONE: Self = Self { all: f64::INFINITY, slice: f64::INFINITY };
}

impl Default for Budget {
    fn default() -> Self {
        Self { all: 100.0, slice: 20.0 }
    }
}

/// What was chosen: for how many rows at most each form but the last is taken. By a hash of the kernels and of what they were measured on,
/// so that what was measured elsewhere, or of other kernels, is not found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning(Vec<(String, Vec<u32>)>);

impl Tuning {
    /// What the lines of a text say, each a hash and its rows, with a blank between. Others are left out, and so are all where there are too many
    /// bytes of them.
    pub fn read(text: &str) -> Self {
        let entry = |line: &str| {
            let (key, rows) = line.split_once(' ')?;
            let rows = rows.split(' ').map(|rows| rows.parse().ok()).collect::<Option<_>>()?;
            Some((key.to_owned(), rows))
        };
        let lines = if text.len() <= MOST_BYTES { text.lines() } else { "".lines() };
        Self(lines.filter_map(entry).take(MOST_KEPT).collect())
    }

    /// Its text, and behind it what was kept of other models, kernels and devices, as far as there is room for it.
    pub fn keep(mut self, kept: Self) -> String {
        for entry in kept.0 {
            if self.get(&entry.0).is_none() {
                self.0.push(entry);
            }
        }
        let mut text = String::new();
        for (key, rows) in self.0.iter().take(MOST_KEPT) {
            text += key;
            for rows in rows {
                text += " ";
                text += &rows.to_string();
            }
            text += "\n";
        }
        text
    }

    fn get(&self, key: &str) -> Option<&[u32]> {
        self.0.iter().find(|entry| entry.0 == key).map(|(_, rows)| &rows[..])
    }
}

/// Steps of the same kernels.
pub(super) struct Site {
    key: String,
    /// By their places in [`Program::all_ops`](crate::program::Program::all_ops).
    steps: Vec<usize>,
    tuned: Cell<bool>,
}

impl Site {
    fn take(&self, steps: &[Step], most_rows: &[u32]) {
        for step in &self.steps {
            steps[*step].0.iter().zip(most_rows).for_each(|(form, rows)| form.most_rows.set(*rows as usize));
        }
        self.tuned.set(true);
    }
}

/// What is timed: a form of a step, perhaps with the step in front of it, and how often.
struct Work<'a> {
    before: Option<usize>,
    step: usize,
    form: usize,
    batch: &'a Batch,
    count: u32,
}

/// The steps on tokens that have several forms, none where software plays the GPU. `kernels` are those of each step.
pub(super) fn sites(gpu: &Gpu, kernels: &[Vec<Variants>]) -> Vec<Site> {
    if !gpu.is_hardware() {
        return Vec::new();
    }
    let texts = |step: usize| kernels[step].iter().flat_map(|form| &form.pieces).map(|(_, text)| text);
    let of_tokens = |forms: &Vec<Variants>| {
        let first = forms.first().and_then(|form| form.pieces.first());
        forms.len() > 1 && first.is_some_and(|(kernel, _)| kernel.grid.rows == Rows::Tokens)
    };
    let (adapter, runtime) = (&gpu.adapter, runtime());
    let measured_on = [&adapter.vendor, &adapter.architecture, &adapter.description, &runtime];
    let mut sites: Vec<Site> = Vec::new();
    for (step, _) in kernels.iter().enumerate().filter(|(_, forms)| of_tokens(forms)) {
        if let Some(known) = sites.iter_mut().find(|site| texts(site.steps[0]).eq(texts(step))) {
            known.steps.push(step);
            continue;
        }
        let mut hash = Sha256::new();
        for text in measured_on.into_iter().chain(texts(step)) {
            hash.update(text);
            hash.update([0]);
        }
        let mut key = hex(hash.finalize());
        key.truncate(16);
        sites.push(Site { key, steps: vec![step], tuned: Cell::new(false) });
    }
    sites
}

fn stored(rows: usize) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

impl Resident {
    /// Takes what was chosen before. Which form a step takes is all that it changes.
    pub fn tune(&self, tuning: &Tuning) {
        for site in &self.sites {
            let edges = self.steps[site.steps[0]].0.len() - 1;
            if let Some(rows) = tuning.get(&site.key).filter(|rows| rows.len() == edges) {
                site.take(&self.steps, rows);
            }
        }
    }

    /// The step in front of a step, where one of its two forms leaves to that what the other makes.
    fn before(&self, step: usize, [form, other]: [usize; 2]) -> Option<usize> {
        let forms = &self.steps[step].0;
        self.program.maker(forms[form].makes.filter(|_| forms[other].makes.is_none())?)
    }

    /// What is chosen by measurements, now or before.
    pub fn tuning(&self) -> Tuning {
        let rows = |site: &Site| {
            let forms = self.steps[site.steps[0]].0.split_last().map_or(&[][..], |(_, forms)| forms);
            forms.iter().map(|form| stored(form.most_rows.get())).collect()
        };
        let tuned = self.sites.iter().filter(|site| site.tuned.get());
        Tuning(tuned.map(|site| (site.key.clone(), rows(site))).collect())
    }
}

/// Two forms of a step compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// By its place in [`Program::all_ops`](crate::program::Program::all_ops).
    pub step: usize,
    /// The two forms, the one for fewer rows first. Where that makes what the step before makes, the other's time is that of both steps.
    pub forms: [usize; 2],
    /// Of the batch.
    pub rows: usize,
    /// Milliseconds of each.
    pub ms: [f64; 2],
}

impl Compared {
    /// Which of the two is clearly faster: `Less` for the form for fewer rows.
    fn winner(&self) -> Ordering {
        let [fewer, more] = self.ms;
        match () {
            () if fewer < CLEARLY * more => Ordering::Less,
            () if more < CLEARLY * fewer => Ordering::Greater,
            () => Ordering::Equal,
        }
    }
}

/// Where a form gives way to the next.
#[derive(Debug, PartialEq)]
enum Edge {
    /// Above so many rows.
    Above(usize),
    /// It depends on who wins at so many.
    Open(usize),
}

/// Goes away from the `rule`'s edge, up and else down, as long as the form is clearly faster that it has not there. An edge lies in the
/// middle of two row counts. `most` are those that batches have.
fn edge(rule: usize, most: usize, winner: impl Fn(usize) -> Option<Ordering>) -> Edge {
    let mut found = rule;
    for rows in ROWS.into_iter().filter(|rows| *rows > rule && *rows <= most) {
        match winner(rows) {
            None => return Edge::Open(rows),
            Some(Ordering::Less) => found = 2 * rows,
            Some(_) => break,
        }
    }
    if found != rule {
        return Edge::Above(found);
    }
    for rows in ROWS.into_iter().rev().filter(|rows| *rows <= rule.min(most)) {
        match winner(rows) {
            None => return Edge::Open(rows),
            Some(Ordering::Greater) => found = rows / 2,
            Some(_) => break,
        }
    }
    Edge::Above(found)
}

/// Measures the forms of a model that was not tuned, slice by slice.
pub struct Tuner {
    /// What is left of it.
    budget: Budget,
    /// Milliseconds to the device and back, once they were measured.
    trip: Option<f64>,
    /// Milliseconds of an addition or multiplication, by the last run.
    pace: f64,
    compared: Vec<Compared>,
    staging: wgpu::Buffer,
    gpu: Arc<Gpu>,
}

impl Drop for Tuner {
    fn drop(&mut self) {
        self.staging.destroy();
    }
}

impl Tuner {
    /// None where nothing is to be chosen, as on software adapters, or everything was.
    pub fn new(resident: &Resident, budget: Budget) -> Option<Self> {
        resident.sites.iter().find(|site| !site.tuned.get())?;
        let gpu = resident.gpu.clone();
        let staging = gpu.buffer("tuning", 4, STAGING);
        Some(Self { budget, trip: None, pace: 0.0, compared: Vec::new(), staging, gpu })
    }

    /// What was measured so far.
    pub fn compared(&self) -> &[Compared] {
        &self.compared
    }

    /// Measures for as long as a slice may take, and lets the resident take what is chosen then. Tells whether there is more to do. It writes
    /// nothing but activations of a batch, and the frame, which every batch brings along.
    pub async fn slice(&mut self, resident: &Resident) -> Result<bool> {
        if self.trip.is_none() {
            return self.set_out(resident).await;
        }
        let Some((step, forms, rows)) = self.next(resident) else { return Ok(false) };
        let maker = resident.before(step, forms);
        let batch = Batch::of_rows(&[0, rows], 0);
        let flops = resident.costs[step].flops(&batch);
        let first = (LEAST_MS / (self.pace * flops)).min(FIRST_DISPATCHES) as u32;
        let count = first.max(1);
        let mut works = [(forms[0], None), (forms[1], maker)].map(|(form, before)| Work {
            before,
            step,
            form,
            batch: &batch,
            count,
        });
        let mut ms = [f64::INFINITY; 2];
        for _ in 0..ROUNDS {
            for (work, ms) in works.iter_mut().zip(&mut ms) {
                *ms = ms.min(self.time(resident, work).await?);
                self.pace = *ms / flops;
            }
        }
        self.compared.push(Compared { step, forms, rows, ms });
        // What follows from it is chosen at once.
        Ok(self.next(resident).is_some())
    }

    /// How far the device is, and how fast about. Where the clock is too coarse, or the way too long, nothing can be told.
    async fn set_out(&mut self, resident: &Resident) -> Result<bool> {
        let mut trips = [0.0; TRIPS];
        for trip in &mut trips {
            *trip = self.run(resident, None).await?;
        }
        let trip = trips.into_iter().fold(f64::INFINITY, f64::min);
        self.trip = Some(trip);
        // Some say 29.000000000000004.
        let is_whole = |ms: &f64| (ms - ms.round()).abs() < 1e-3;
        if trips.iter().all(is_whole) || trip > self.budget.slice / 2.0 {
            self.budget.all = 0.0;
            return Ok(false);
        }
        let Some(site) = resident.sites.iter().find(|site| !site.tuned.get()) else { return Ok(false) };
        let batch = Batch::of_rows(&[0, ROWS[0].min(resident.tokens())], 0);
        let mut work = Work { before: None, step: site.steps[0], form: 0, batch: &batch, count: 1 };
        let ms = self.time(resident, &mut work).await?;
        self.pace = ms / resident.costs[site.steps[0]].flops(&batch);
        Ok(self.next(resident).is_some())
    }

    /// The step, its two forms and the rows to be measured next. Sites that have nothing left to be measured are done.
    fn next(&self, resident: &Resident) -> Option<(usize, [usize; 2], usize)> {
        for site in resident.sites.iter().filter(|site| !site.tuned.get()) {
            let step = site.steps[0];
            let forms = &resident.steps[step].0;
            let mut most_rows = vec![u32::MAX; forms.len()];
            // From the last on, as it depends on those behind a form what it stands in the place of.
            for (form, rule) in forms.iter().map(|form| form.most_rows.get()).enumerate().rev().skip(1) {
                let pair = |rows: usize| {
                    let behind = most_rows[form + 1..].iter().position(|most| rows <= *most as usize);
                    [form, form + 1 + behind.unwrap_or(0)]
                };
                let winner = |rows: usize| {
                    let known = |known: &&Compared| (known.step, known.forms, known.rows) == (step, pair(rows), rows);
                    let flops = || resident.costs[step].flops(&Batch::of_rows(&[0, rows], 0));
                    let too_long = || 2.0 * ROUNDS as f64 * self.pace * flops() > self.budget.slice;
                    let known = self.compared.iter().find(known).map(Compared::winner);
                    known.or_else(|| (self.budget.all > 0.0 && too_long()).then_some(Ordering::Equal))
                };
                match edge(rule, resident.tokens(), winner) {
                    Edge::Open(rows) => return (self.budget.all > 0.0).then_some((step, pair(rows), rows)),
                    Edge::Above(rows) => most_rows[form] = stored(rows),
                }
            }
            most_rows.pop();
            site.take(&resident.steps, &most_rows);
        }
        None
    }

    /// Milliseconds of a form, out of a run of as many as it counts or, where that is over too soon, more.
    async fn time(&mut self, resident: &Resident, work: &mut Work<'_>) -> Result<f64> {
        loop {
            let ms = self.run(resident, Some(work)).await?;
            if ms >= LEAST_MS || work.count >= MOST_DISPATCHES {
                return Ok(ms.max(0.0) / f64::from(work.count));
            }
            work.count = (work.count * (LEAST_MS / ms).ceil().clamp(2.0, 4.0) as u32).min(MOST_DISPATCHES);
        }
    }

    /// Milliseconds of as many runs of a form as it counts, less the trip where it is known.
    async fn run(&mut self, resident: &Resident, work: Option<&Work<'_>>) -> Result<f64> {
        let start = clock_ms();
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        if let Some(Work { before, step, form, batch, count }) = work {
            self.gpu.queue.write_buffer(&resident.activations.frame, 0, bytemuck::cast_slice(&batch.frame()));
            let mut pass = encoder.begin_compute_pass(&Default::default());
            for _ in 0..*count {
                if let Some(before) = before {
                    resident.steps[*before].run(&mut pass, batch);
                }
                resident.steps[*step].0[*form].run(&mut pass, batch);
            }
        }
        encoder.copy_buffer_to_buffer(&resident.activations.output, 0, &self.staging, 0, 4);
        self.gpu.queue.submit([encoder.finish()]);
        self.gpu.read(&self.staging, 4).await?;
        let ms = clock_ms() - start - self.trip.unwrap_or(0.0);
        if work.is_some() {
            self.budget.all -= ms.max(0.0);
        }
        Ok(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the edge comes to lie with a form that is as fast as the next at `fast` rows, and the row counts that were measured.
    fn found(rule: usize, most: usize, fast: f64) -> (usize, Vec<usize>) {
        let mut measured = Vec::new();
        loop {
            let winner = |rows: usize| {
                let ms = [rows as f64, fast];
                measured.contains(&rows).then(|| Compared { step: 0, forms: [0, 1], rows, ms }.winner())
            };
            match edge(rule, most, winner) {
                Edge::Above(rows) => return (rows, measured),
                Edge::Open(rows) => measured.push(rows),
            }
        }
    }

    #[test]
    fn an_edge_moves_only_where_the_rule_is_clearly_wrong() {
        assert_eq!(found(192, 4096, 200.0), (192, vec![256, 64]));
        // Faster, but not clearly.
        assert_eq!(found(192, 4096, 260.0), (192, vec![256, 64]));
        assert_eq!(found(192, 4096, 300.0), (512, vec![256, 1024]));
        assert_eq!(found(192, 4096, 5000.0), (2048, vec![256, 1024]));
        assert_eq!(found(192, 4096, 40.0), (32, vec![256, 64, 16]));
        assert_eq!(found(640, 4096, 1.0), (8, vec![1024, 256, 64, 16]));
        // Batches that are never so large need no comparison.
        assert_eq!(found(192, 100, 1000.0), (192, vec![64]));
        assert_eq!(found(192, 8, 1.0), (192, vec![]));
    }

    #[test]
    fn what_is_no_tuning_is_nothing() {
        let entries = |keys: std::ops::Range<usize>| keys.map(|key| format!("{key} {key}\n")).collect::<String>();
        for text in ["", "\n\n", "a", "a ", "a b", "a -1", "a 1.5", "a 4294967296", "a 1  2", "\0", "{\"a\":[1]}"] {
            assert_eq!(Tuning::read(text), Tuning::default(), "{text:?}");
        }
        let long = format!("a 1\n{}", " ".repeat(MOST_BYTES));
        assert_eq!(Tuning::read(&long), Tuning::default());
        let full = Tuning::read(&entries(0..MOST_KEPT + 9));
        assert_eq!(full.0.len(), MOST_KEPT);
        // What is kept makes room for what is new, and is read again.
        let new = Tuning::read("b\na 7 8\r\n1 3");
        assert_eq!(new.clone().keep(Tuning::read("1 2\n0 4294967295")), "a 7 8\n1 3\n0 4294967295\n");
        let kept = Tuning::read(&new.keep(full));
        assert_eq!((kept.0.len(), kept.get("1"), kept.get("0")), (MOST_KEPT, Some(&[3][..]), Some(&[0][..])));
    }
}
