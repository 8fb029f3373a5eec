//! What the tests share: fixtures, the GPU, and comparing matrices.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};

use embedlet::gpu::{Gpu, Limits};
use embedlet::model::{Device, Model};
use embedlet::native;
use embedlet::program::Precision;
use embedlet::task::Task;
use safetensors::SafeTensors;
use serde_json::Value;

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

pub fn json(path: &str) -> Value {
    let bytes = std::fs::read(fixtures().join(path)).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The folder of the real all-MiniLM-L6-v2.
pub fn minilm() -> PathBuf {
    let path = std::env::var("EMBEDLET_MODEL");
    PathBuf::from(path.expect("EMBEDLET_MODEL must name the all-MiniLM-L6-v2 folder: run `cargo xtask test`"))
}

/// The GPU, opened once.
pub fn gpu() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    let open = || pollster::block_on(Gpu::open()).expect("no GPU adapter: install lavapipe (mesa-vulkan-drivers)");
    GPU.get_or_init(open).clone()
}

/// The same with the kernels that hardware takes.
pub fn hardware() -> Arc<Gpu> {
    static GPU: OnceLock<Arc<Gpu>> = OnceLock::new();
    let limits = Limits { forms: Some(true), ..Limits::default() };
    GPU.get_or_init(|| pollster::block_on(Gpu::open_within(limits)).unwrap()).clone()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Gpu,
    Hardware,
    Cpu,
}

impl On {
    pub const BOTH: [Self; 2] = [Self::Cpu, Self::Gpu];

    pub fn device(self) -> Device {
        match self {
            Self::Gpu => Device::Gpu(gpu()),
            Self::Hardware => Device::Gpu(hardware()),
            Self::Cpu => Device::Cpu(None),
        }
    }
}

/// A folder that is gone when the test is over.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("embedlet-test-{}-{name}", std::process::id()));
        // Left by a run that was killed.
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Scratch {
    /// A file in it.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Every file below a folder, by its name from there on.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => collect(root, &path, found),
                false => {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
                    found.insert(name, std::fs::read(&path).unwrap());
                }
            }
        }
    }
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

/// Runs the command line over an input.
pub fn run(arguments: &[&str], input: impl AsRef<[u8]>) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_embedlet"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A run that refuses its arguments closes its input early.
    let _ = stdin.write_all(input.as_ref());
    drop(stdin);
    child.wait_with_output().unwrap()
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn load(dir: &Path, on: On, precision: Option<Precision>) -> Model {
    load_for(dir, on, precision, Some(Task::Embed))
}

pub fn load_for(dir: &Path, on: On, precision: Option<Precision>, task: Option<Task>) -> Model {
    native::load(dir, on.device(), precision, task, &mut |_, _| {}).unwrap()
}

/// Every f32 tensor of a fixture.
pub fn tensors(path: &str) -> HashMap<String, Vec<f32>> {
    let bytes = std::fs::read(fixtures().join(path)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    file.iter().map(|(name, tensor)| (name.to_owned(), floats(tensor.data()))).collect()
}

pub fn max_abs(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0, |worst, (a, b)| {
        let error = (a - b).abs();
        if error > worst || error.is_nan() { error } else { worst }
    })
}

/// The smallest cosine between rows.
pub fn min_cosine(found: &[f32], expected: &[f32], width: usize) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let rows = found.chunks_exact(width).zip(expected.chunks_exact(width));
    let cosines = rows.map(|(a, b)| dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
    cosines.fold(1.0, |worst, cosine| if cosine < worst || cosine.is_nan() { cosine } else { worst })
}
