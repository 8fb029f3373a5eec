//! The header of a safetensors file, and which of its bytes are wanted. Source: the format's description in the safetensors
//! repository. Nothing is allocated from what a header says before it is checked against the parameters.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::config::{json, limit, looks_like_html};
use crate::error::{Error, Result, printable};
use crate::packed::{Packed, Packing, SCALES, ZEROS};
use crate::program::WeightId;
use crate::sort::sort_by;
use crate::sparsity::Sparsity;
use crate::weights::{Part, Weight};

const HEADER_BYTES: u64 = 4 << 20;
const TENSORS: usize = 4096;
const DIMENSIONS: usize = 8;

/// A tensor of a file.
pub(crate) struct Target {
    /// Where it lies in the file.
    pub bytes: Range<u64>,
    /// What it is for.
    pub role: Role,
}

/// What a tensor is for.
pub(crate) enum Role {
    /// It fills rows of parameters.
    Values {
        form: Form,
        rows: usize,
        columns: usize,
        /// Rows already placed.
        done: usize,
        /// Each with the row that the tensor's first one fills.
        fills: Vec<(WeightId, usize)>,
    },
    /// The scales of the tensor that begins there.
    Scales { of: u64 },
    /// The zero points of the tensor that begins there.
    Zeros { of: u64 },
}

/// How values are stored.
pub(crate) enum Form {
    /// One by one.
    Floats(Dtype),
    /// In integers, with what stands beside them, as it is in the file, as soon as it was read.
    Integers { packing: Packing, scales: Vec<u8>, zeros: Vec<u8> },
}

impl Target {
    fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// The type of its values, where they are floats.
    fn dtype(&self) -> Option<Dtype> {
        match self.role {
            Role::Values { form: Form::Floats(dtype), .. } => Some(dtype),
            _ => None,
        }
    }
}

impl Role {
    /// Frees what is of no use any more once all of its bytes were read.
    pub fn done(&mut self) {
        if let Self::Values { form: Form::Integers { scales, zeros, .. }, .. } = self {
            (*scales, *zeros) = (Vec::new(), Vec::new());
        }
    }

    /// Where the tensor begins that it stands beside.
    pub fn of(&self) -> Option<u64> {
        match self {
            Self::Scales { of } | Self::Zeros { of } => Some(*of),
            Self::Values { .. } => None,
        }
    }
}

/// Rows and columns of a file's one table, once its header is complete.
pub(crate) fn table_shape(path: &str, bytes: &[u8], packed: Option<&Packed>) -> Result<Option<(usize, usize)>> {
    let mut header = Vec::new();
    take_header(path, &mut header, bytes)?;
    if header_length(&header).is_none_or(|length| (header.len() as u64) < 8 + length) {
        return Ok(None);
    }
    let metadata = metadata(path, &header[8..])?;
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
    let packing = packed.and_then(|packed| packed.tensors.get(name));
    let shape = packing.map_or(table.shape.clone(), |packing| vec![packing.rows, packing.columns]);
    match shape[..] {
        [rows, width] if within(rows, limit::VOCAB) && within(width, limit::HIDDEN) => Ok(Some((rows, width))),
        _ => {
            let found = shape.iter().copied().take(8).collect();
            Err(Error::WrongShape { name: name.into(), expected: vec![limit::VOCAB, limit::HIDDEN], found })
        }
    }
}

/// The tensors that a header names. Their places were checked: they follow one another and there is nothing else. A tensor that is
/// there twice, or of absurd dimensions, is refused.
pub(crate) fn metadata(path: &str, header: &[u8]) -> Result<Metadata> {
    // Other readers take the header for what begins with its brace.
    if header.first() != Some(&b'{') {
        return Err(Error::file(path, "its header is no JSON object"));
    }
    let metadata: Metadata = serde_json::from_value(json(path, header)?).map_err(|error| Error::file(path, error))?;
    match metadata.tensors().into_iter().find(|(_, info)| info.shape.len() > DIMENSIONS) {
        Some((name, info)) => Err(Error::LimitExceeded {
            what: format!("number of dimensions of tensor {}", printable(&name)),
            found: info.shape.len() as u64,
            limit: DIMENSIONS as u64,
        }),
        None => Ok(metadata),
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
pub(crate) fn header_length(header: &[u8]) -> Option<u64> {
    header.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Checks a header against the parameters. Returns the file's length, its wanted tensors in order, and
/// the type that most of their bytes are stored in.
pub(crate) fn targets(
    path: &str,
    header: &[u8],
    weights: &[Weight],
    prefixes: &[&'static str],
) -> Result<(u64, Vec<Target>, Dtype)> {
    let metadata = metadata(path, &header[8..])?;
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
    let prefix = prefix(prefixes, wanted().map(|(_, _, part)| part), |name| tensors.contains_key(name));
    let data = header.len() as u64;
    let place = |info: &TensorInfo| data + info.data_offsets.0 as u64..data + info.data_offsets.1 as u64;
    // The tensor that stands beside another.
    let beside = |name: &str, suffix: &str, dtype: Dtype, packing: &Packing| {
        let name = format!("{name}{suffix}");
        let info = tensors.get(&name).ok_or_else(|| Error::MissingTensor { name: printable(&name) })?;
        check(&name, info, &[packing.rows, packing.groups()], &[dtype])?;
        Ok(place(info))
    };
    let mut targets: Vec<Target> = Vec::new();
    for (id, weight, part) in wanted() {
        let name = part.full_name(prefix);
        let info = match tensors.get(&name) {
            Some(info) => info,
            None if weight.computed.is_some() => continue,
            None => return Err(Error::MissingTensor { name: printable(&name) }),
        };
        let expected = weight.shape(part);
        match part.packing {
            None => check(&name, info, &expected, &[Dtype::F32, Dtype::F16, Dtype::BF16])?,
            // Rows are read by the one and placed by the other.
            Some(Packing { rows, columns, .. }) if expected[..] != [rows, columns] => {
                return Err(Error::WrongShape { name, expected, found: vec![rows, columns] });
            }
            Some(packing) => {
                if packing.sparsity != Sparsity::None && !weight.layout.is_matrix() {
                    return Err(Error::option("embedlet.json stored, of what is no matrix", name));
                }
                check(&name, info, &[packing.stored_rows(), packing.row_bytes()], &[Dtype::U8])?;
            }
        }
        if part.rows == 0 {
            return Err(Error::file(path, format!("{name} would have no rows")));
        }
        let (bytes, fill) = (place(info), (WeightId(id), part.at));
        if let Some(target) = targets.iter_mut().find(|target| target.bytes == bytes) {
            // Shared by several parameters.
            if let Role::Values { fills, .. } = &mut target.role {
                fills.push(fill);
            }
            continue;
        }
        if let Some(packing) = &part.packing {
            let mut besides = vec![(beside(&name, SCALES, Dtype::F16, packing)?, Role::Scales { of: bytes.start })];
            if packing.zeros {
                besides.push((beside(&name, ZEROS, Dtype::U8, packing)?, Role::Zeros { of: bytes.start }));
            }
            for (bytes, role) in besides {
                if role.of().is_some_and(|values| bytes.end > values) {
                    return Err(Error::file(path, format!("what scales {name} comes behind it")));
                }
                targets.push(Target { bytes, role });
            }
        }
        let columns = expected.iter().product::<usize>() / part.rows;
        let form = match part.packing {
            Some(packing) => Form::Integers { packing, scales: Vec::new(), zeros: Vec::new() },
            None => Form::Floats(info.dtype),
        };
        let role = Role::Values { form, rows: part.rows, columns, done: 0, fills: vec![fill] };
        targets.push(Target { bytes, role });
    }
    sort_by(&mut targets, |a, b| a.bytes.start.cmp(&b.bytes.start));
    let bytes_in = |dtype| targets.iter().filter(|target| target.dtype() == dtype).map(Target::len).sum::<u64>();
    let stored = [Dtype::F32, Dtype::BF16, Dtype::F16].into_iter().max_by_key(|dtype| bytes_in(Some(*dtype)));
    Ok((data + metadata.data_len() as u64, targets, stored.unwrap_or(Dtype::F32)))
}

/// Which of the `prefixes` a checkpoint puts in front of the names of its tensors. Decided once from the whole list, so that every
/// later miss is an error with its full name.
pub(crate) fn prefix<'a>(
    prefixes: &[&'static str],
    parts: impl Iterator<Item = &'a Part> + Clone,
    has: impl Fn(&str) -> bool,
) -> &'static str {
    let found = |prefix: &&str| parts.clone().filter(|part| has(&part.full_name(prefix))).count();
    prefixes.iter().copied().rev().max_by_key(found).unwrap_or("")
}

/// Refuses a tensor of another shape or type.
fn check(name: &str, info: &TensorInfo, expected: &[usize], dtypes: &[Dtype]) -> Result<()> {
    if !dtypes.contains(&info.dtype) {
        return Err(Error::UnsupportedDtype { name: name.into(), dtype: format!("{:?}", info.dtype) });
    }
    match fits(&info.shape, expected) {
        true => Ok(()),
        false => {
            let found = info.shape.iter().copied().take(8).collect();
            Err(Error::WrongShape { name: name.into(), expected: expected.into(), found })
        }
    }
}

/// Whether a tensor has the expected shape. Dimensions of one do not count: a convolution of one row is a matrix. The rows of
/// several matrices, those of adapters, may be a dimension each matrix.
fn fits(found: &[usize], expected: &[usize]) -> bool {
    let counted = |shape: &[usize]| shape.iter().copied().filter(|size| *size != 1).collect::<Vec<_>>();
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
