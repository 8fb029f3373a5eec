//! Parameters: which checkpoint tensors make each one, and the reader that takes safetensors bytes in chunks of any size
//! and writes finished values to a [`Sink`].
//!
//! A model is never whole in memory here: matrices are gathered one at a time, tables go through in rows.

use std::collections::HashMap;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use sha2::{Digest, Sha256};

use crate::computed::Computed;
use crate::config::{limit, looks_like_html};
use crate::error::{Error, Result, printable};
use crate::layout::distance_bucket;
pub use crate::layout::{Axis, Layout, Order, PANEL, TILE};
use crate::program::{Precision, WeightId};
use crate::rotation::Rotation;

const HEADER_BYTES: u64 = 4 << 20;
const TENSORS: usize = 4096;

/// Whether a smaller storage type may be used where the caller asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// Large matrices and tables of the encoder.
    Allowed,
    /// Biases, norms, and the small projections behind the pooling.
    Never,
}

/// A parameter on the device and the tensors it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Weight {
    /// How it lies there.
    pub layout: Layout,
    /// The tensors, each with the first row it fills. None: the parameter is zero (an absent bias), or computed.
    pub parts: Vec<Part>,
    /// Computed instead of read. Then `parts` are the names under which a checkpoint may have the frequencies of a rotation.
    pub computed: Option<Computed>,
    /// Whether it may be stored in less than f32.
    pub rounding: Rounding,
}

impl Weight {
    /// Made of these tensors.
    pub fn new(layout: Layout, parts: Vec<Part>, rounding: Rounding) -> Self {
        Self { layout, parts, computed: None, rounding }
    }

    /// The angles of texts of up to `positions` tokens.
    pub fn rotations(positions: usize, rotation: Rotation) -> Self {
        let layout = Layout::Rotations { rows: rotation.rows(positions), pairs: rotation.head_dim / 2 };
        Self::computed(layout, Computed::Rotations(rotation))
    }

    /// A vector of these values.
    pub fn values(values: Vec<f32>) -> Self {
        Self::computed(Layout::Vector { axis: Axis::plain(values.len()) }, Computed::Values(values))
    }

    /// Made of no tensor.
    pub fn computed(layout: Layout, computed: Computed) -> Self {
        Self { layout, parts: Vec::new(), computed: Some(computed), rounding: Rounding::Never }
    }

    /// Shape of the tensor of a part.
    fn shape(&self, part: &Part) -> Vec<usize> {
        if self.computed.is_some() { vec![part.rows] } else { self.layout.shape(part.at, part.rows) }
    }

    /// Writes what is computed and not read.
    pub(crate) fn compute(&self, id: WeightId, sink: &mut dyn Sink) -> Result<()> {
        self.computed.as_ref().map_or(Ok(()), |computed| computed.write(self.layout, id, sink))
    }

    /// The type that a device of this precision stores it in.
    pub fn stored(&self, precision: Precision) -> Precision {
        let vector = matches!(self.layout, Layout::Vector { .. } | Layout::Distances { .. } | Layout::Filters { .. });
        match precision {
            _ if vector || self.rounding == Rounding::Never => Precision::F32,
            Precision::Int8 if !self.layout.is_matrix() => Precision::F32,
            _ => precision,
        }
    }

    /// Bytes on a device of this precision.
    pub fn bytes(&self, precision: Precision) -> u64 {
        let size = match self.stored(precision) {
            Precision::F32 => 4,
            Precision::F16 => 2,
            Precision::Int8 => 1,
        };
        self.layout.elements() as u64 * size
    }
}

/// A checkpoint tensor that fills some rows of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// File inside the model folder.
    pub file: String,
    /// Tensor name without the checkpoint's prefix; one that begins with `/` is not below a prefix.
    pub name: String,
    /// First row it fills.
    pub at: usize,
    /// Rows it fills.
    pub rows: usize,
}

impl Part {
    /// The name in a checkpoint that puts `prefix` in front of the encoder's names.
    pub(crate) fn full_name(&self, prefix: &str) -> String {
        match self.name.strip_prefix('/') {
            Some(name) => name.to_owned(),
            None => format!("{prefix}{}", self.name),
        }
    }
}

/// Takes finished values on behalf of a device.
pub trait Sink {
    /// A file's header is read and checked; `stored` is the type of most of its wanted bytes. Values follow.
    fn start(&mut self, stored: Dtype) -> Result<()>;
    /// Stores `values` from element `at` of a parameter. Both count elements and are multiples of four.
    fn write(&mut self, weight: WeightId, at: usize, values: &[f32]) -> Result<()>;
}

/// Reads the weight files of a model, one after another, in chunks of any size.
pub struct Reader {
    weights: Vec<Weight>,
    prefixes: &'static [&'static str],
    unread: Vec<String>,
    gathering: HashMap<usize, Gathering>,
    file: Option<File>,
    computed: bool,
}

/// A vector or matrix whose values are not all there yet.
struct Gathering {
    values: Vec<f32>,
    missing: usize,
}

struct File {
    path: String,
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

/// A tensor of the file and the parameters that it fills.
struct Target {
    start: u64,
    end: u64,
    dtype: Dtype,
    rows: usize,
    columns: usize,
    /// Rows already placed.
    rows_done: usize,
    fills: Vec<(WeightId, usize)>,
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
        Self { weights: weights.to_vec(), prefixes, unread, gathering: HashMap::new(), file: None, computed: false }
    }

    /// The files still to be read, in order.
    pub fn files(&self) -> &[String] {
        &self.unread
    }

    /// Starts a file. `sha256` is 64 hex digits where the caller knows them.
    pub fn begin(&mut self, path: &str, sha256: Option<&str>) -> Result<()> {
        if self.file.is_some() || !self.unread.iter().any(|file| file == path) {
            return Err(Error::argument(format!("{path} is not the weight file to read now")));
        }
        let hash = match sha256 {
            None => None,
            Some(hex) if hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                Some((Sha256::new(), hex.to_ascii_lowercase()))
            }
            Some(_) => return Err(Error::argument(format!("the sha256 of {path} must have 64 hex digits"))),
        };
        self.file = Some(File { path: path.into(), hash, received: 0, state: State::Header(Vec::new()) });
        Ok(())
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, chunk: &[u8], sink: &mut dyn Sink) -> Result<()> {
        let file = self.file.as_mut().ok_or_else(|| Error::argument("push before begin"))?;
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
            let skip = target.start.saturating_sub(file.received).min(rest.len() as u64) as usize;
            let take = (target.end - file.received.max(target.start)).min((rest.len() - skip) as u64) as usize;
            pending.extend_from_slice(&rest[skip..skip + take]);
            file.received += (skip + take) as u64;
            rest = &rest[skip + take..];
            place_rows(target, pending, &self.weights, &mut self.gathering, sink)?;
            if file.received < target.end {
                return Ok(());
            }
            *current += 1;
        }
        file.received += rest.len() as u64;
        Ok(())
    }

    /// Ends the file: length and hash must be right.
    pub fn end(&mut self) -> Result<()> {
        let file = self.file.take().ok_or_else(|| Error::argument("end before begin"))?;
        let expected = match &file.state {
            State::Data { length, .. } => *length,
            State::Header(bytes) => header_length(bytes).map_or(8, |length| 8 + length),
        };
        if file.received != expected || matches!(file.state, State::Header(_)) {
            return Err(Error::TruncatedFile { path: file.path, expected, found: file.received });
        }
        if let Some((hash, expected)) = file.hash {
            let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            if found != expected {
                return Err(Error::WrongHash { path: file.path, expected, found });
            }
        }
        self.unread.retain(|path| *path != file.path);
        Ok(())
    }
}

/// Rows and columns of a file's one table, once its header is complete.
pub(crate) fn table_shape(path: &str, bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut header = Vec::new();
    take_header(path, &mut header, bytes)?;
    if header_length(&header).is_none_or(|length| (header.len() as u64) < 8 + length) {
        return Ok(None);
    }
    let metadata: Metadata = serde_json::from_slice(&header[8..]).map_err(|error| Error::file(path, error))?;
    let tensors = metadata.tensors();
    // Vocabularies that share rows, or weigh them.
    for name in ["mapping", "weights"] {
        if tensors.contains_key(name) {
            return Err(Error::option(format!("{path} tensor"), name));
        }
    }
    let name = if tensors.contains_key("embeddings") { "embeddings" } else { "embedding.weight" };
    let table = tensors.get(name).ok_or_else(|| Error::MissingTensor { name: name.into() })?;
    let within = |size: usize, limit: usize| (1..=limit).contains(&size);
    match table.shape[..] {
        [rows, width] if within(rows, limit::VOCAB) && within(width, limit::HIDDEN) => Ok(Some((rows, width))),
        _ => {
            let found = table.shape.iter().copied().take(8).collect();
            Err(Error::WrongShape { name: name.into(), expected: vec![limit::VOCAB, limit::HIDDEN], found })
        }
    }
}

/// Moves bytes of the header from `chunk`, returns what is behind it.
pub(crate) fn take_header<'a>(path: &str, header: &mut Vec<u8>, mut chunk: &'a [u8]) -> Result<&'a [u8]> {
    let mut take_until = |header: &mut Vec<u8>, length: usize| {
        let taken = length.saturating_sub(header.len()).min(chunk.len());
        header.extend_from_slice(&chunk[..taken]);
        chunk = &chunk[taken..];
    };
    take_until(header, 8);
    let Some(length) = header_length(header) else { return Ok(chunk) };
    if looks_like_html(&header[..8]) {
        return Err(Error::HtmlInsteadOfFile { path: path.into() });
    }
    if length > HEADER_BYTES {
        return Err(Error::file(path, format!("not a safetensors file: a header of {length} bytes")));
    }
    take_until(header, 8 + length as usize);
    Ok(chunk)
}

/// The length field, once its eight bytes are there.
fn header_length(header: &[u8]) -> Option<u64> {
    header.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Checks a header against the parameters. Returns the file's length, its wanted tensors in order, and
/// the type that most of their bytes are stored in.
fn targets(path: &str, header: &[u8], weights: &[Weight], prefixes: &[&str]) -> Result<(u64, Vec<Target>, Dtype)> {
    let metadata: Metadata = serde_json::from_slice(&header[8..]).map_err(|error| Error::file(path, error))?;
    let tensors: HashMap<String, _> =
        metadata.tensors().into_iter().map(|(name, info)| (todays_name(&name), info)).collect();
    if tensors.len() > TENSORS {
        let (found, limit) = (tensors.len() as u64, TENSORS as u64);
        return Err(Error::LimitExceeded { what: format!("number of tensors in {path}"), found, limit });
    }
    let wanted = || {
        let parts =
            weights.iter().enumerate().flat_map(|(id, weight)| weight.parts.iter().map(move |part| (id, weight, part)));
        parts.filter(|(_, _, part)| part.file == path)
    };
    // Decided once from the whole list, so that every later miss is an error with its full name.
    let found_with =
        |prefix: &&str| wanted().filter(|(_, _, part)| tensors.contains_key(&part.full_name(prefix))).count();
    let prefix = prefixes.iter().copied().rev().max_by_key(found_with).unwrap_or("");
    let data = header.len() as u64;
    let mut targets: Vec<Target> = Vec::new();
    for (id, weight, part) in wanted() {
        let name = part.full_name(prefix);
        let info = match tensors.get(&name) {
            Some(info) => info,
            None if weight.computed.is_some() => continue,
            None => return Err(Error::MissingTensor { name: printable(&name) }),
        };
        let expected = weight.shape(part);
        if !fits(&info.shape, &expected) {
            let found = info.shape.iter().copied().take(8).collect();
            return Err(Error::WrongShape { name, expected, found });
        }
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(Error::UnsupportedDtype { name, dtype: format!("{:?}", info.dtype) });
        }
        let (start, end) = (data + info.data_offsets.0 as u64, data + info.data_offsets.1 as u64);
        let fill = (WeightId(id), part.at);
        match targets.iter_mut().find(|target| target.start == start) {
            Some(target) => target.fills.push(fill),
            None => {
                let columns = expected.iter().product::<usize>() / part.rows;
                let (rows, dtype) = (part.rows, info.dtype);
                targets.push(Target { start, end, dtype, rows, columns, rows_done: 0, fills: vec![fill] });
            }
        }
    }
    targets.sort_by_key(|target| target.start);
    let bytes_in = |dtype| targets.iter().filter(|t| t.dtype == dtype).map(|t| t.end - t.start).sum::<u64>();
    let stored = [Dtype::F32, Dtype::BF16, Dtype::F16].into_iter().max_by_key(|dtype| bytes_in(*dtype));
    Ok((data + metadata.data_len() as u64, targets, stored.unwrap_or(Dtype::F32)))
}

/// Whether a tensor has the expected shape. Dimensions of one do not count: a convolution of one row is a matrix. The rows of
/// several matrices, those of adapters, may be a dimension each matrix.
fn fits(found: &[usize], expected: &[usize]) -> bool {
    let counted = |shape: &[usize]| shape.iter().copied().filter(|size| *size > 1).collect::<Vec<_>>();
    let stacked = match (found, expected) {
        ([count, rows, columns], [all, width]) => count.saturating_mul(*rows) == *all && columns == width,
        _ => false,
    };
    stacked || counted(found) == counted(expected)
}

/// What transformers calls a tensor whose name is from before PyTorch, or that PyTorch parametrizes.
pub(crate) fn todays_name(name: &str) -> String {
    name.replace("LayerNorm.gamma", "LayerNorm.weight")
        .replace("LayerNorm.beta", "LayerNorm.bias")
        .replace(".parametrizations.weight.original", ".weight")
}

/// Converts the whole rows in `pending` and puts them where they belong.
fn place_rows(
    target: &mut Target,
    pending: &mut Vec<u8>,
    weights: &[Weight],
    gathering: &mut HashMap<usize, Gathering>,
    sink: &mut dyn Sink,
) -> Result<()> {
    let size = if target.dtype == Dtype::F32 { 4 } else { 2 };
    let rows = pending.len() / (size * target.columns);
    if rows == 0 {
        return Ok(());
    }
    let used = rows * target.columns * size;
    let values = decode(target.dtype, &pending[..used]);
    pending.drain(..used);
    for &(id, at) in &target.fills {
        let weight = &weights[id.0];
        let (layout, first) = (weight.layout, at + target.rows_done);
        if let Layout::Table { width, .. } = layout {
            let stride = width.next_multiple_of(4);
            let mut padded = vec![0.0; rows * stride];
            for (row, values) in padded.chunks_exact_mut(stride).zip(values.chunks_exact(width)) {
                row[..width].copy_from_slice(values);
            }
            sink.write(id, first * stride, &padded)?;
            continue;
        }
        let whole = gathering.entry(id.0).or_insert_with(|| match &weight.computed {
            Some(_) => Gathering { values: vec![0.0; target.rows], missing: target.rows },
            None => Gathering {
                values: vec![0.0; layout.elements()],
                missing: weight.parts.iter().map(|part| part.rows).sum(),
            },
        });
        if weight.computed.is_some() {
            whole.values[first..first + rows].copy_from_slice(&values);
        } else {
            place(layout, first, target.columns, &values, &mut whole.values);
        }
        whole.missing -= rows;
        if whole.missing == 0 {
            match &weight.computed {
                Some(computed) => computed.of_tensor(&whole.values).write(layout, id, sink)?,
                None => sink.write(id, 0, &whole.values)?,
            }
            gathering.remove(&id.0);
        }
    }
    target.rows_done += rows;
    Ok(())
}

/// Puts rows of a tensor, from its row `first`, where its layout has them.
fn place(layout: Layout, first: usize, columns: usize, values: &[f32], whole: &mut [f32]) {
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

fn decode(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    fn all<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks().0.iter().map(|bytes| value(*bytes)).collect()
    }
    match dtype {
        Dtype::F32 => all(bytes, f32::from_le_bytes),
        Dtype::F16 => all(bytes, |half| f16::from_le_bytes(half).to_f32()),
        _ => all(bytes, |half| bf16::from_le_bytes(half).to_f32()),
    }
}
