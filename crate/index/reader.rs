//! Reads an index that lies in a folder, and searches the cells that are nearest to a query, for the command line and for tests. A browser
//! compares everything in the segments that it has fetched, which is more.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::cells::Layout;
use super::file::{damaged, failed, parts, unframe};
use super::kmeans::Centroids;
use super::made::Made;
use super::recall::nearest_cells;
use super::segment::{Named, Segment};
use crate::error::Result;
use crate::model::Device;
use crate::packed::Sum;
use crate::search::Collection;

/// The manifest's `cells`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamedCells {
    /// Of the file.
    pub name: String,
    /// Of the file.
    pub bytes: u64,
    /// Of the file, 64 hex digits.
    pub sha256: String,
    /// How many cells there are.
    pub count: usize,
    /// Cells that a search reads unless it says otherwise.
    pub probes: usize,
    /// Cells, and what share of the nearest ten is in so many.
    pub recall: Vec<(usize, f64)>,
}

/// A document that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// Its name.
    pub id: String,
    /// The similarity.
    pub score: f32,
    /// The whole text.
    pub text: String,
    /// What it is filtered by.
    pub metadata: Option<Map<String, Value>>,
}

/// What is known of a folder.
#[derive(Debug, Deserialize)]
struct Manifest {
    made: Made,
    segments: Vec<Named>,
    cells: Option<NamedCells>,
}

/// An index in a folder.
pub struct Index {
    folder: PathBuf,
    manifest: Manifest,
    layout: Option<Layout>,
}

impl Index {
    /// Reads manifest and cells (`invalid-file` or `wrong-hash` where they are not what was written).
    pub fn open(folder: &Path) -> Result<Self> {
        let name = "manifest-1";
        let path = folder.join(name);
        let file = std::fs::read(&path).map_err(failed(&path))?;
        let framed = unframe(name, &file)?;
        if framed.header["kind"] != "manifest" || framed.header["generation"] != 1 || !framed.body.is_empty() {
            return Err(damaged(name));
        }
        let manifest: Manifest = serde_json::from_value(framed.header).map_err(|_| damaged(name))?;
        let mut index = Self { folder: folder.into(), manifest, layout: None };
        index.manifest.made.shape()?;
        if let Some(cells) = &index.manifest.cells {
            index.layout = Some(index.cells(cells)?);
        }
        Ok(index)
    }

    fn cells(&self, NamedCells { name, bytes, sha256, count, .. }: &NamedCells) -> Result<Layout> {
        let wrong = || damaged(name);
        let file = self.file(name, *bytes, sha256)?;
        let framed = unframe(name, &file)?;
        let Made { dimensions, .. } = self.manifest.made;
        let header = &framed.header;
        let is_count = header["count"].as_u64() == Some(*count as u64) && *count > 0;
        if header["kind"] != "cells" || !is_count || header["dimensions"].as_u64() != Some(dimensions as u64) {
            return Err(wrong());
        }
        let [centroids, segments, rows] = parts(name, &framed, ["centroids", "segments", "rows"])?;
        let words = |part: &[u8]| part.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect::<Vec<_>>();
        let values: Vec<f32> = centroids.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        let (segments, rows) = (words(segments), words(rows));
        let mut sums = vec![0_u64; self.manifest.segments.len()];
        for (segment, rows) in segments.iter().zip(&rows) {
            *sums.get_mut(*segment as usize).ok_or_else(wrong)? += u64::from(*rows);
        }
        let is_sized = values.len() / dimensions == *count && segments.len() == *count && rows.len() == *count;
        let is_whole = sums.iter().zip(&self.manifest.segments).all(|(sum, named)| *sum == named.documents);
        if !is_sized || !is_whole || !segments.is_sorted() || rows.contains(&0) || values.iter().any(|v| !v.is_finite())
        {
            return Err(wrong());
        }
        Ok(Layout { centroids: Centroids::new(values, dimensions, true), segments, rows })
    }

    /// A file that the manifest names, if it is what was written.
    fn file(&self, name: &str, bytes: u64, sha256: &str) -> Result<Vec<u8>> {
        // A manifest from anywhere may name no file elsewhere.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(damaged("manifest-1"));
        }
        let path = self.folder.join(name);
        if std::fs::metadata(&path).map_err(failed(&path))?.len() != bytes {
            return Err(damaged(name));
        }
        let file = std::fs::read(&path).map_err(failed(&path))?;
        Sum { bytes, sha256: sha256.into() }.check(name, &file)?;
        Ok(file)
    }

    /// What made its vectors.
    pub fn made(&self) -> &Made {
        &self.manifest.made
    }

    /// How its cells are named; none: it has none.
    pub fn named_cells(&self) -> Option<&NamedCells> {
        self.manifest.cells.as_ref()
    }

    /// How many documents there are.
    pub fn documents(&self) -> u64 {
        self.manifest.segments.iter().map(|named| named.documents).sum()
    }

    /// The `top_k` documents nearest to a vector of the model, best first, in the segments of the `probes` nearest cells, of whose other
    /// cells nothing is found. Without `probes` as many are read as the manifest says.
    pub fn search(&self, query: &[f32], top_k: usize, probes: Option<usize>) -> Result<Vec<Hit>> {
        let Manifest { made, segments, cells } = &self.manifest;
        let mut probed: Vec<Option<Vec<usize>>> = vec![None; segments.len()];
        match (&self.layout, cells) {
            (Some(layout), Some(cells)) => {
                for cell in nearest_cells(layout, query).into_iter().take(probes.unwrap_or(cells.probes)) {
                    probed[layout.segments[cell] as usize].get_or_insert_default().push(cell);
                }
            }
            _ => probed.fill(Some(Vec::new())),
        }
        let mut hits = Vec::new();
        for ((index, named), probed) in segments.iter().enumerate().zip(probed) {
            let Some(probed) = probed else { continue };
            let file = self.file(&named.name, named.bytes, &named.sha256)?;
            let segment = Segment::read(named, &file, made)?;
            let mut collection = Collection::new(made.shape()?, Device::Cpu(None));
            pollster::block_on(collection.append(segment.rows))?;
            let allowed = self.layout.as_ref().map(|layout| allowed(layout, index as u32, &probed));
            let found = pollster::block_on(collection.search(query, top_k, allowed.as_deref()))?;
            for (row, score) in found.rows.into_iter().zip(found.scores) {
                let (id, metadata) = segment.entries[row as usize].clone();
                hits.push(Hit { id, score, text: segment.text(row as usize), metadata });
            }
            // Stable: of two that are equally near the one that lies in front comes first.
            hits.sort_by(|a, b| b.score.total_cmp(&a.score));
            hits.truncate(top_k);
        }
        Ok(hits)
    }
}

/// The rows of some cells of a segment, a bit each.
fn allowed(layout: &Layout, segment: u32, probed: &[usize]) -> Vec<u32> {
    let (mut bits, mut row) = (Vec::new(), 0);
    let first = layout.segments.partition_point(|own| *own < segment);
    for (cell, _) in (first..).zip(&layout.segments[first..]).take_while(|(_, own)| **own == segment) {
        let rows = layout.rows[cell] as usize;
        bits.resize((row + rows).div_ceil(32), 0);
        if probed.contains(&cell) {
            (row..row + rows).for_each(|row| bits[row / 32] |= 1 << (row % 32));
        }
        row += rows;
    }
    bits
}
