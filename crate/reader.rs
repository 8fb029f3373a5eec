//! The reader of a checkpoint: takes safetensors bytes in chunks of any size and writes finished values to a [`Sink`].
//!
//! A model is never whole in memory here: matrices are gathered one at a time, tables go through in rows.

use std::collections::HashMap;
use std::ops::Range;

use half::{bf16, f16};
use safetensors::tensor::Dtype;
use sha2::{Digest, Sha256};

use crate::checkpoint::{Form, Role, Target, header_length, take_header, targets};
use crate::error::{Error, Result};
use crate::integers::Runs;
use crate::layout::{Layout, distance_bucket};
use crate::packed::hex;
use crate::program::WeightId;
use crate::weights::{Sink, Weight};

/// Reads the weight files of a model, several at once or one after another, in chunks of any size.
pub struct Reader {
    weights: Vec<Weight>,
    prefixes: &'static [&'static str],
    unread: Vec<String>,
    gathering: HashMap<usize, Gathering>,
    /// Those that were begun and not ended.
    open: Vec<File>,
    computed: bool,
}

/// A vector or matrix whose values are not all there yet.
struct Gathering {
    values: Whole,
    missing: usize,
}

impl Gathering {
    /// Of all parts; what is computed comes from any of its parts, of `all` rows.
    fn new(weight: &Weight, all: usize, values: Whole) -> Self {
        let parts = weight.parts.iter().map(|part| part.rows).sum();
        Self { values, missing: if weight.computed.is_some() { all } else { parts } }
    }
}

/// A parameter as its device takes it.
enum Whole {
    Values(Vec<f32>),
    Integers(Box<Runs>),
}

struct File {
    path: String,
    /// With what it must come to, where that is known.
    hash: Option<(Sha256, String)>,
    received: u64,
    state: State,
}

enum State {
    /// The bytes so far of the length field and the JSON behind it.
    Header(Vec<u8>),
    Data {
        length: u64,
        targets: Vec<Target>,
        current: usize,
        pending: Vec<u8>,
    },
}

impl Reader {
    /// A reader for these parameters. Each of `prefixes` is tried on a file's list of names, once.
    pub fn new(weights: &[Weight], prefixes: &'static [&'static str]) -> Self {
        let mut unread: Vec<String> = Vec::new();
        for part in weights.iter().flat_map(|weight| &weight.parts) {
            if !unread.contains(&part.file) {
                unread.push(part.file.clone());
            }
        }
        Self {
            weights: weights.to_vec(),
            prefixes,
            unread,
            gathering: HashMap::new(),
            open: Vec::new(),
            computed: false,
        }
    }

    /// The files still to be read, in order.
    pub fn files(&self) -> &[String] {
        &self.unread
    }

    /// Starts a file. `sha256` is 64 hex digits where the caller knows them.
    pub fn begin(&mut self, path: &str, sha256: Option<&str>) -> Result<()> {
        if self.open.iter().any(|file| file.path == path) || !self.unread.iter().any(|file| file == path) {
            return Err(Error::argument(format!("{path} is no weight file that is still to be read")));
        }
        let hash = match sha256 {
            None => None,
            Some(hex) if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Some((Sha256::new(), hex.to_ascii_lowercase()))
            }
            Some(_) => return Err(Error::argument(format!("the sha256 of {path} must have 64 hex digits"))),
        };
        self.open.push(File { path: path.into(), hash, received: 0, state: State::Header(Vec::new()) });
        Ok(())
    }

    /// Takes the next bytes of a file.
    pub fn push(&mut self, path: &str, chunk: &[u8], sink: &mut dyn Sink) -> Result<()> {
        let file = self.open.iter_mut().find(|file| file.path == path);
        let file = file.ok_or_else(|| Error::argument("push before begin"))?;
        if let Some((hash, _)) = &mut file.hash {
            hash.update(chunk);
        }
        let mut rest = chunk;
        if let State::Header(bytes) = &mut file.state {
            rest = take_header(&file.path, bytes, rest)?;
            file.received += (chunk.len() - rest.len()) as u64;
            let complete = header_length(bytes).is_some_and(|length| bytes.len() as u64 == 8 + length);
            if !complete {
                return Ok(());
            }
            let (length, targets, stored) = targets(&file.path, bytes, &self.weights, self.prefixes)?;
            sink.start(stored)?;
            if !self.computed {
                self.computed = true;
                self.weights.iter().enumerate().try_for_each(|(id, weight)| weight.compute(WeightId(id), sink))?;
            }
            file.state = State::Data { length, targets, current: 0, pending: Vec::new() };
        }
        let State::Data { length, targets, current, pending } = &mut file.state else { return Ok(()) };
        if file.received + rest.len() as u64 > *length {
            let (path, found) = (file.path.clone(), file.received + rest.len() as u64);
            return Err(Error::TruncatedFile { path, expected: *length, found });
        }
        while let Some(target) = targets.get_mut(*current) {
            // Skip what no parameter wants, then take bytes of this tensor.
            let Range { start, end } = target.bytes;
            let skip = start.saturating_sub(file.received).min(rest.len() as u64) as usize;
            let take = end.saturating_sub(file.received.max(start)).min((rest.len() - skip) as u64) as usize;
            pending.extend_from_slice(&rest[skip..skip + take]);
            file.received += (skip + take) as u64;
            rest = &rest[skip + take..];
            while place_rows(&mut target.role, pending, &self.weights, &mut self.gathering, sink)? {}
            if file.received < end {
                return Ok(());
            }
            keep_beside(targets, *current, pending);
            targets[*current].role.done();
            *current += 1;
        }
        file.received += rest.len() as u64;
        Ok(())
    }

    /// Ends a file: length and hash must be right.
    pub fn end(&mut self, path: &str) -> Result<()> {
        let at = self.open.iter().position(|file| file.path == path);
        let file = self.open.swap_remove(at.ok_or_else(|| Error::argument("end before begin"))?);
        let expected = match &file.state {
            State::Data { length, .. } => *length,
            State::Header(bytes) => header_length(bytes).map_or(8, |length| 8 + length),
        };
        if file.received != expected || matches!(file.state, State::Header(_)) {
            return Err(Error::TruncatedFile { path: file.path, expected, found: file.received });
        }
        if let Some((hash, expected)) = file.hash {
            let found = hex(hash.finalize());
            if found != expected {
                return Err(Error::WrongHash { path: file.path, expected, found });
            }
        }
        self.unread.retain(|path| *path != file.path);
        Ok(())
    }
}

/// Gives what was read beside a tensor to that.
fn keep_beside(targets: &mut [Target], current: usize, pending: &mut Vec<u8>) {
    let Some(values) = targets[current].role.of() else { return };
    let is_zeros = matches!(targets[current].role, Role::Zeros { .. });
    for target in targets.iter_mut().filter(|target| target.bytes.start == values) {
        if let Role::Values { form: Form::Integers { scales, zeros, .. }, .. } = &mut target.role {
            *(if is_zeros { zeros } else { scales }) = std::mem::take(pending);
        }
    }
}

/// Converts whole neighbouring rows in `pending`, where they are values, and puts them where they belong. Returns whether there may be
/// more.
fn place_rows(
    role: &mut Role,
    pending: &mut Vec<u8>,
    weights: &[Weight],
    gathering: &mut HashMap<usize, Gathering>,
    sink: &mut dyn Sink,
) -> Result<bool> {
    let Role::Values { form, rows: all, columns, done, fills } = role else { return Ok(false) };
    let (all, columns) = (*all, *columns);
    let row_bytes = form.row_bytes(columns);
    let next = form.next_rows(*done..all);
    let rows = (pending.len() / row_bytes).min(next.len());
    if *done == all || (rows == 0 && !next.is_empty()) {
        return Ok(false);
    }
    // With those in front, or at the end, that are not stored: they are zeros, which are there already.
    let placed = next.start + rows - *done;
    let bytes = &pending[..rows * row_bytes];
    let mut values: Option<Vec<f32>> = None;
    for &(id, at) in fills.iter() {
        let weight = &weights[id.0];
        let (layout, first) = (weight.layout, at + next.start);
        if let (Some(held), Form::Integers { packing, scales, zeros }) = (sink.integers(id), &*form) {
            let (integers, groups) = (packing.integers(bytes), next.start * packing.groups());
            let (scales, zeros) = (&scales[2 * groups..], zeros.get(groups..).unwrap_or_default());
            if let Layout::Table { .. } = layout {
                let mut runs = Runs::new(held, rows);
                runs.place(0, &integers, scales, zeros);
                sink.write_integers(id, first * held.run(), &runs.words())?;
                continue;
            }
            let whole = gathering
                .entry(id.0)
                .or_insert_with(|| Gathering::new(weight, all, Whole::Integers(Box::new(Runs::all(held)))));
            if let Whole::Integers(runs) = &mut whole.values {
                runs.place(first, &integers, scales, zeros);
            }
        } else {
            let values = values.get_or_insert_with(|| form.values(bytes, next.start));
            if let Layout::Table { width, .. } = layout {
                let stride = width.next_multiple_of(4);
                let mut padded = vec![0.0; rows * stride];
                for (row, values) in padded.chunks_exact_mut(stride).zip(values.chunks_exact(width)) {
                    row[..width].copy_from_slice(values);
                }
                sink.write(id, first * stride, &padded)?;
                continue;
            }
            let computed = weight.computed.is_some();
            let elements = if computed { all } else { layout.elements() };
            let whole = gathering
                .entry(id.0)
                .or_insert_with(|| Gathering::new(weight, all, Whole::Values(vec![0.0; elements])));
            match &mut whole.values {
                Whole::Values(whole) if computed => whole[first..first + rows].copy_from_slice(values),
                Whole::Values(whole) => place(layout, first, columns, values, whole),
                Whole::Integers(_) => {}
            }
        }
        let Some(whole) = gathering.get_mut(&id.0) else { continue };
        whole.missing -= placed;
        if whole.missing == 0 {
            match (&weight.computed, &whole.values) {
                (Some(computed), Whole::Values(values)) => computed.of_tensor(values).write(layout, id, sink)?,
                (_, Whole::Values(values)) => sink.write(id, 0, values)?,
                (_, Whole::Integers(runs)) => sink.write_integers(id, 0, &runs.words())?,
            }
            gathering.remove(&id.0);
        }
    }
    pending.drain(..rows * row_bytes);
    *done += placed;
    Ok(true)
}

/// Puts rows of a tensor, from its row `first`, where its layout has them.
pub(crate) fn place(layout: Layout, first: usize, columns: usize, values: &[f32], whole: &mut [f32]) {
    // Where the values of a row lie, from its first one on.
    let mut offsets: Vec<usize> = Vec::new();
    for (row, values) in (first..).zip(values.chunks_exact(columns)) {
        if let Layout::Distances { most, buckets, .. } = layout {
            let of_bucket = |distance: &usize| distance_bucket(*distance as i32 - most as i32, buckets, most) == row;
            for distance in (0..=2 * most).filter(of_bucket) {
                let start = layout.place(distance, 0);
                whole[start..start + columns].copy_from_slice(values);
            }
            continue;
        }
        let start = layout.place(row, 0);
        if offsets.is_empty() || !layout.has_rows_alike() {
            offsets = (0..columns).map(|column| layout.place(row, column).wrapping_sub(start)).collect();
        }
        for (value, offset) in values.iter().zip(&offsets) {
            whole[start.wrapping_add(*offset)] = *value;
        }
    }
}

impl Form {
    /// The next neighbouring rows that are stored, of these.
    fn next_rows(&self, rows: Range<usize>) -> Range<usize> {
        if let Self::Integers { packing, .. } = self { packing.sparsity.next_rows(rows) } else { rows }
    }

    /// Bytes of a row of so many columns.
    fn row_bytes(&self, columns: usize) -> usize {
        match self {
            Self::Floats(Dtype::F32) => 4 * columns,
            Self::Floats(_) => 2 * columns,
            Self::Integers { packing, .. } => packing.row_bytes(),
        }
    }

    /// The values of whole rows, of which the first is row `first` of the tensor.
    fn values(&self, bytes: &[u8], first: usize) -> Vec<f32> {
        fn all<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
        }
        match self {
            Self::Floats(Dtype::F32) => all(bytes, f32::from_le_bytes),
            Self::Floats(Dtype::F16) => all(bytes, |half| f16::from_le_bytes(half).to_f32()),
            Self::Floats(_) => all(bytes, |half| bf16::from_le_bytes(half).to_f32()),
            Self::Integers { packing, scales, zeros } => {
                let first = first * packing.groups();
                let zeros = zeros.get(first..).unwrap_or_default();
                packing.values(&packing.integers(bytes), &scales[2 * first..], zeros)
            }
        }
    }
}
