//! Texts on their way through a model, a packed batch at a time, so that a caller can report progress, stop, or let others
//! have their turn in between.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use crate::batch::{Batch, PoolingParams, Room, Sequence, fitting};
use crate::cpu::threads;
use crate::error::{Error, Result};
use crate::gpu::{Resident, Running};
use crate::model::Model;
use crate::platform::now_ms;
use crate::program::{Outcome, Rows, TailId};
use crate::runner::{Runner, Scan};
use crate::sort::sort_by;

/// Batches are sized so that one takes about this long: short enough for progress, abort, and a driver's
/// watchdog, long enough to be worth a submit.
const BATCH_MS: f64 = 100.0;
/// Fewest tokens of a batch, however slow the device: below two tiles of a product most of the work is wasted.
const LEAST_TOKENS: usize = 64;
/// How far the norm of a normalised vector may be from one.
const NORM_TOLERANCE: f32 = 1e-3;

/// Rows of some texts, not as many for each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ragged {
    /// Row after row.
    pub data: Vec<f32>,
    /// Columns.
    pub width: usize,
    /// First row of each text, and one past the last.
    pub starts: Vec<usize>,
    /// Whether tokens of each text were cut off.
    pub truncated: Vec<bool>,
}

impl Ragged {
    /// So many rows of each text, of at least a column.
    pub fn new(data: Vec<f32>, width: usize, counts: &[u32]) -> Result<Self> {
        let (mut starts, mut end) = (vec![0], 0usize);
        for count in counts {
            end = end.saturating_add(*count as usize);
            starts.push(end);
        }
        match width > 0 && end.checked_mul(width) == Some(data.len()) {
            true => Ok(Self { data, width, starts, ..Self::default() }),
            false => Err(Error::argument("the numbers are not the rows of these texts")),
        }
    }

    /// How many texts there are.
    pub fn count(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// The values of neighbouring texts.
    pub fn of(&self, texts: Range<usize>) -> &[f32] {
        &self.data[self.starts[texts.start] * self.width..self.starts[texts.end] * self.width]
    }

    /// Makes room for all rows.
    fn reserve(&mut self) -> Result<()> {
        let doing = || Error::OutOfMemory { doing: "collecting results".into() };
        let elements = self.starts[self.starts.len() - 1].checked_mul(self.width).ok_or_else(doing)?;
        self.data.try_reserve_exact(elements - self.data.len()).map_err(|_| doing())?;
        self.data.resize(elements, 0.0);
        Ok(())
    }

    /// The values of a text.
    pub fn text(&self, index: usize) -> &[f32] {
        self.of(index..index + 1)
    }

    /// Each text's values.
    pub fn texts(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.count()).map(|index| self.text(index))
    }

    /// The rows of a text.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = &[f32]> {
        self.text(index).chunks_exact(self.width.max(1))
    }
}

/// Sequences, and what is asked of the model for them.
pub struct Job {
    /// Empty where there are rows instead.
    sequences: Vec<Sequence>,
    scan: Option<Scan>,
    /// Indices of `sequences`, longest first.
    order: Vec<usize>,
    done: usize,
    /// What a GPU has to do already when it has done the batch that is waited for.
    next: Option<Handed>,
    tail: TailId,
    pooling: PoolingParams,
    result: Ragged,
    /// Takes the values of each text as they come; then they are not collected.
    each: Option<Each>,
    work: Option<Work>,
    worked: usize,
}

/// A batch that was handed over to a GPU.
struct Handed {
    /// Of so many texts, and their tokens.
    count: usize,
    tokens: usize,
    running: Result<Running>,
}

/// Gets a text's index and its values, row after row.
type Each = Box<dyn FnMut(&Model, usize, &[f32]) -> Result<()>>;

/// Work on the rows once they are all there.
struct Work {
    /// How many units it has.
    units: usize,
    /// Does a little of it, and says how many units are done.
    step: Box<dyn FnMut(&Ragged) -> usize>,
}

impl Job {
    /// The rows that a tail makes of these sequences. `pooling` counts for vectors alone.
    pub fn new(model: &Model, sequences: Vec<Sequence>, tail: TailId, pooling: PoolingParams) -> Result<Self> {
        let outcome = model.parts.program.tails[tail.0].result;
        let rows = |sequence: &Sequence| match outcome {
            Outcome::Rows(buf) if buf.rows == Rows::Tokens => sequence.ids.len(),
            Outcome::Rows(buf) if buf.rows == Rows::Picks => sequence.picks.len(),
            _ => sequence.texts(),
        };
        let width = match outcome {
            Outcome::Rows(buf) => buf.width,
            Outcome::Vectors(_) => pooling.dimensions as usize,
        };
        let (program, mut starts) = (&model.parts.program, vec![0]);
        for sequence in &sequences {
            model.parts.spec.tables.check(sequence)?;
            for (what, found, limit) in [
                ("number of masks in a text", sequence.picks.len(), program.most(Rows::Picks)),
                ("number of candidates of a context", sequence.branches.len(), program.most(Rows::Texts) - 1),
                ("number of tokens of a text and its candidates", sequence.ids.len(), model.parts.budget),
            ] {
                if found > limit {
                    return Err(Error::LimitExceeded { what: what.into(), found: found as u64, limit: limit as u64 });
                }
            }
            starts.push(starts[starts.len() - 1] + rows(sequence));
        }
        // Longest first: the first batch shows the worst time, and neighbours have similar lengths.
        let mut order: Vec<usize> = (0..sequences.len()).collect();
        sort_by(&mut order, |a, b| sequences[*b].ids.len().cmp(&sequences[*a].ids.len()));
        let truncated = sequences.iter().map(|sequence| sequence.truncated).collect();
        let result = Ragged { data: Vec::new(), width, starts, truncated };
        Ok(Self {
            sequences,
            scan: None,
            order,
            done: 0,
            next: None,
            tail,
            pooling,
            result,
            each: None,
            work: None,
            worked: 0,
        })
    }

    /// A row of each text of a scan that is no query.
    pub(crate) fn scan(scan: Scan) -> Self {
        let order: Vec<usize> = (0..scan.texts.count() - scan.queries).collect();
        let starts = (0..=order.len()).collect();
        let result = Ragged { width: scan.queries, starts, ..Ragged::default() };
        let (sequences, pooling) = (Vec::new(), PoolingParams::default());
        let tail = TailId(0);
        Self {
            sequences,
            scan: Some(scan),
            order,
            done: 0,
            next: None,
            tail,
            pooling,
            result,
            each: None,
            work: None,
            worked: 0,
        }
    }

    /// Adds work of `units` on all rows. `step` does a little of it, and says how many units are done.
    pub fn and_then(&mut self, units: usize, step: impl FnMut(&Ragged) -> usize + 'static) {
        self.work = Some(Work { units, step: Box::new(step) });
    }

    /// Texts finished, and units of the work on their rows.
    pub fn done(&self) -> usize {
        self.done + self.worked
    }

    /// Texts in all, and units of the work on their rows.
    pub fn total(&self) -> usize {
        self.order.len() + self.work.as_ref().map_or(0, |work| work.units)
    }

    /// Columns of the result.
    pub fn width(&self) -> usize {
        self.result.width
    }

    /// Runs one batch, or works on the rows for about as long.
    pub async fn step(&mut self, model: &Model) -> Result<()> {
        if self.done == self.order.len() {
            let start = now_ms();
            while let Some(work) = self.work.as_mut().filter(|work| self.worked < work.units) {
                self.worked = (work.step)(&self.result);
                if now_ms() - start > BATCH_MS {
                    break;
                }
            }
            return Ok(());
        }
        if self.each.is_none() {
            self.result.reserve()?;
        }
        let (count, values) = match &mut self.scan {
            Some(scan) => scan.step(&model.runner, self.done).await?,
            None => self.batch(model).await?,
        };
        let outcome = model.parts.program.tails[self.tail.0].result;
        let vectors = self.scan.is_none() && matches!(outcome, Outcome::Vectors(_));
        let Ragged { data, width, starts, .. } = &mut self.result;
        let mut rest = values.as_slice();
        for &text in &self.order[self.done..][..count] {
            let place = starts[text] * *width..starts[text + 1] * *width;
            let (own, next) = rest.split_at(place.len());
            rest = next;
            finite(own, text)?;
            if vectors {
                unit_length(own, text, &self.sequences[text], &self.pooling)?;
            }
            match &mut self.each {
                Some(each) => each(model, text, own)?,
                None => data[place].copy_from_slice(own),
            }
        }
        self.done += count;
        Ok(())
    }

    /// As many of the texts from the `first` on as `tokens` have room for, but not fewer than `least` if a batch may have them.
    fn fitting(&self, model: &Model, first: usize, tokens: usize, least: usize) -> &[usize] {
        let (rest, program) = (&self.order[first..], &model.parts.program);
        let within = |tokens| {
            let room = Room { tokens, texts: program.most(Rows::Texts), picks: program.most(Rows::Picks) };
            fitting(rest.iter().map(|index| &self.sequences[*index]), room)
        };
        &rest[..within(tokens).max(least.min(within(model.parts.budget)))]
    }

    fn pack(&self, model: &Model, texts: &[usize]) -> Batch {
        let sequences = texts.iter().map(|index| &self.sequences[*index]);
        Batch::pack(sequences, &model.parts.spec.tables, &self.pooling)
    }

    /// In as many batches as there are threads, of about as many tokens each: those who share a batch wait for each other after every step.
    fn share_out(&self, model: &Model, texts: &[usize]) -> Vec<Batch> {
        let tokens = |text: &usize| self.sequences[*text].ids.len();
        let all: usize = texts.iter().map(tokens).sum();
        let parts = threads().min(all / LEAST_TOKENS).max(1);
        // A text is in the part where its middle lies.
        let mut before = 0;
        let placed = texts.iter().map(|text| {
            let middle = 2 * before + tokens(text);
            before += tokens(text);
            (middle * parts / (2 * all).max(1), *text)
        });
        let placed: Vec<(usize, usize)> = placed.collect();
        let of_part = |placed: &[(usize, usize)]| {
            let texts: Vec<usize> = placed.iter().map(|(_, text)| *text).collect();
            self.pack(model, &texts)
        };
        placed.chunk_by(|a, b| a.0 == b.0).map(of_part).collect()
    }

    /// All texts in batches of so many tokens.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn batches(&self, model: &Model, tokens: usize) -> Vec<Batch> {
        let (mut batches, mut first) = (Vec::new(), 0);
        while first < self.order.len() {
            let texts = self.fitting(model, first, tokens, 1);
            batches.push(self.pack(model, texts));
            first += texts.len();
        }
        batches
    }

    /// Runs as many of the next texts as there is room for. Returns how many, and their rows.
    async fn batch(&mut self, model: &Model) -> Result<(usize, Vec<f32>)> {
        let mut tokens = *model.budget.borrow();
        // A text for every thread takes as long as one.
        let mut least = threads();
        let (count, found, values, elapsed) = loop {
            let start = now_ms();
            let (count, found, outcome) = match &model.runner {
                Runner::Gpu(resident) => {
                    let next = self.next.take();
                    let handed = next.unwrap_or_else(|| self.hand_over(model, resident, self.done, tokens));
                    (handed.count, handed.tokens, self.finish_on(model, resident, handed).await)
                }
                Runner::Cpu(memory, _) => {
                    let texts = self.fitting(model, self.done, tokens, least);
                    let batches = self.share_out(model, texts);
                    let values = memory.borrow_mut().run_all(&model.parts.program, self.tail, &batches);
                    let found = batches.iter().map(Batch::tokens).sum();
                    (texts.len(), found, values.map(|values| values.concat()))
                }
            };
            match outcome {
                Ok(values) => break (count, found, values, (now_ms() - start).max(1.0)),
                // There may be room for half of it.
                Err(Error::OutOfMemory { .. }) if count > 1 => (tokens, least) = (found / 2, 1),
                Err(error) => return Err(error),
            }
        };
        // A full batch tells how large the next should be; halving and doubling keep one odd time harmless.
        if 2 * found > tokens {
            let ideal = found as f64 * BATCH_MS / elapsed;
            let next = (ideal as usize).clamp(tokens / 2, tokens * 2);
            let next = next.clamp(LEAST_TOKENS.min(model.parts.budget), model.parts.budget);
            *model.budget.borrow_mut() = next;
        }
        Ok((count, values))
    }

    /// Hands as many of the texts from the `first` on as `tokens` have room for over to a GPU.
    fn hand_over(&self, model: &Model, resident: &Resident, first: usize, tokens: usize) -> Handed {
        let texts = self.fitting(model, first, tokens, 1);
        let batch = self.pack(model, texts);
        Handed { count: texts.len(), tokens: batch.tokens(), running: resident.start(self.tail, &batch) }
    }

    /// Waits for a batch. Meanwhile the GPU has the next one, once it is known how long they take.
    async fn finish_on(&mut self, model: &Model, resident: &Resident, handed: Handed) -> Result<Vec<f32>> {
        let running = handed.running?;
        let first = self.done + handed.count;
        if self.done > 0 && first < self.order.len() {
            let Handed { count, tokens, running } = self.hand_over(model, resident, first, *model.budget.borrow());
            // What refuses it may be what went wrong with the batch before it.
            self.next = Some(Handed { count, tokens, running: Ok(running?) });
        }
        let values = resident.finish(running).await;
        if values.is_err() {
            self.next = None;
        }
        values
    }

    /// The rows, once every text is done.
    pub fn finish(self) -> Result<Ragged> {
        match self.done() == self.total() {
            true => Ok(self.result),
            false => Err(Error::argument("the job is not complete")),
        }
    }
}

/// What is made of a job's rows.
type Finish<T> = Box<dyn FnOnce(&Model, Ragged) -> Result<T>>;

/// One call: a job, and what is made of its rows.
pub struct Call<T> {
    job: Job,
    finish: Finish<T>,
}

impl<T: 'static> Call<Vec<T>> {
    /// `item` makes a result of each text's values as soon as they are there, which are not kept: they may be as wide as a
    /// vocabulary.
    pub fn each(mut job: Job, mut item: impl FnMut(&Model, usize, &[f32]) -> Result<T> + 'static) -> Self {
        let found: Rc<RefCell<Vec<Option<T>>>> = Rc::new(RefCell::new((0..job.total()).map(|_| None).collect()));
        let items = found.clone();
        job.each = Some(Box::new(move |model, text, values| {
            let made = item(model, text, values)?;
            items.borrow_mut()[text] = Some(made);
            Ok(())
        }));
        Self::new(job, move |_, _| Ok(found.take().into_iter().flatten().collect()))
    }
}

impl<T> Call<T> {
    /// `finish` makes the result of the job's rows.
    pub fn new(job: Job, finish: impl FnOnce(&Model, Ragged) -> Result<T> + 'static) -> Self {
        Self { job, finish: Box::new(finish) }
    }

    /// A call with nothing to run.
    pub fn ready(model: &Model, made: T) -> Result<Self>
    where
        T: 'static,
    {
        let job = Job::new(model, Vec::new(), model.parts.vectors(), PoolingParams::default())?;
        Ok(Self::new(job, |_, _| Ok(made)))
    }

    /// The job.
    pub fn job(&mut self) -> &mut Job {
        &mut self.job
    }

    /// The result, once every text is done.
    pub fn finish(self, model: &Model) -> Result<T> {
        (self.finish)(model, self.job.finish()?)
    }

    /// Runs the call to its end.
    pub async fn run(mut self, model: &Model) -> Result<T> {
        while self.job.done() < self.job.total() {
            self.job.step(model).await?;
        }
        self.finish(model)
    }

    /// The same call with something made of its result.
    pub fn map<U>(self, then: impl FnOnce(T) -> Result<U> + 'static) -> Call<U>
    where
        T: 'static,
    {
        let finish = self.finish;
        Call { job: self.job, finish: Box::new(move |model, rows| then(finish(model, rows)?)) }
    }
}

/// Refuses what no right computation gives. A device that fails like this passed its self-check, so the
/// texts or the weights are to blame, or the device changed its mind.
fn finite(values: &[f32], text: usize) -> Result<()> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(Error::NonFinite { text, reason: "NaN or infinity".into() }),
    }
}

/// As [`finite`], for vectors that were normalised.
fn unit_length(vector: &[f32], text: usize, sequence: &Sequence, pooling: &PoolingParams) -> Result<()> {
    if pooling.norm_dimensions == pooling.dimensions && !sequence.pools_nothing() {
        let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        // Zeros have no direction, and stay what they are.
        if norm != 0.0 && (norm - 1.0).abs() > NORM_TOLERANCE {
            return Err(Error::NonFinite { text, reason: format!("its length is {norm}, not 1") });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_that_no_memory_holds_are_refused() {
        let mut rows = Ragged { width: 1 << (usize::BITS - 1), starts: vec![0, 2], ..Ragged::default() };
        assert!(matches!(rows.reserve(), Err(Error::OutOfMemory { .. })));
    }
}
