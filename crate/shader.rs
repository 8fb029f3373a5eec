//! Kernels as text: plain `.wgsl` files and a few constants, joined by newlines.
//!
//! WGSL lets module-scope declarations stand in any order, so a fragment can call a function that a later
//! one supplies, and linking is joining. Only numbers and names from this crate are ever written into a
//! kernel; nothing from a model folder is.

use std::fmt::Write;

use crate::program::{Buf, Operand, Precision, Rows};

/// A file of `shaders/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Path inside `shaders/`, for messages.
    pub name: &'static str,
    /// Its WGSL.
    pub text: &'static str,
}

/// The [`Fragment`] of a file in `shaders/`.
#[macro_export]
macro_rules! fragment {
    ($path:literal) => {
        $crate::shader::Fragment {
            name: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path)),
        }
    };
}

/// A `const` line of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub enum Const {
    /// `u32`
    Count(usize),
    /// `i32`
    Signed(i32),
    /// `f32`
    Number(f32),
    /// `bool`
    Flag(bool),
    /// `array<f32, …>`
    Numbers(Vec<f32>),
}

/// Workgroups along x and y: one along x for every `per_group` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// What x counts.
    pub rows: Rows,
    /// Rows that a workgroup takes.
    pub per_group: u32,
    /// Workgroups along y.
    pub y: u32,
}

/// An operation on the GPU.
#[derive(Debug, Clone, PartialEq)]
pub struct Kernel {
    /// The operation's name, which is the stem of its `.wgsl` file.
    pub name: &'static str,
    /// The operation's own file and the fragments that it calls.
    pub fragments: Vec<Fragment>,
    /// Constants that the fragments use.
    pub consts: Vec<(&'static str, Const)>,
    /// What binding 1, 2, … hold; binding 0 is the frame.
    pub operands: Vec<Operand>,
    /// How many workgroups run.
    pub grid: Grid,
}

impl Kernel {
    /// The activations that it reads and writes.
    pub fn activations(&self) -> Vec<Buf> {
        let buf = |operand: &Operand| match operand {
            Operand::Read(buf) | Operand::Write(buf) => Some(*buf),
            Operand::Weight(_) | Operand::Output => None,
        };
        self.operands.iter().filter_map(buf).collect()
    }

    /// The whole kernel. `stored` is how its matrices or tables are stored.
    pub fn wgsl(&self, stored: Precision) -> String {
        let mut text = String::new();
        for (name, value) in &self.consts {
            // Writing to a string cannot fail.
            let _ = match value {
                Const::Count(count) => writeln!(text, "const {name} = {count}u;"),
                Const::Signed(number) => writeln!(text, "const {name} = {number}i;"),
                Const::Number(number) => writeln!(text, "const {name} = {number:e}f;"),
                Const::Flag(flag) => writeln!(text, "const {name} = {flag};"),
                Const::Numbers(numbers) => {
                    let list: Vec<String> = numbers.iter().map(|number| format!("{number:e}f")).collect();
                    writeln!(text, "const {name} = array<f32, {}>({});", list.len(), list.join(", "))
                }
            };
        }
        let matrix = match stored {
            Precision::F32 | Precision::Int8 => fragment!("lib/matrix_f32.wgsl"),
            Precision::F16 => fragment!("lib/matrix_f16.wgsl"),
        };
        for fragment in [fragment!("lib/frame.wgsl"), matrix].iter().chain(&self.fragments) {
            text.push_str(fragment.text);
            text.push('\n');
        }
        text
    }
}

/// A kernel with line numbers, for the message when a driver refuses it.
pub fn numbered(text: &str) -> String {
    text.lines().enumerate().fold(String::new(), |mut listing, (line, text)| {
        let _ = writeln!(listing, "{:4} {text}", line + 1);
        listing
    })
}
