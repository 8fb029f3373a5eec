//! Kernels as text: plain `.wgsl` files and a few constants, joined by newlines.
//!
//! WGSL lets module-scope declarations stand in any order, so a fragment can call a function that a later
//! one supplies, and linking is joining. Only numbers and names from this crate are ever written into a
//! kernel; nothing from a model folder is.

use std::fmt::Write;

use crate::integers::split;
use crate::packed::Packing;
use crate::program::{Buf, Large, Operand, Rows};

/// A file of `shaders/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment {
    /// Path inside `shaders/`, for messages.
    pub name: &'static str,
    /// Its WGSL, without comments.
    pub text: &'static str,
}

/// The [`Fragment`] of a file in `shaders/`.
#[macro_export]
macro_rules! fragment {
    ($path:literal) => {{
        const FILE: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/shaders/", $path));
        const BARE: [u8; $crate::shader::bare(FILE, &mut [])] = {
            let mut bare = [0; $crate::shader::bare(FILE, &mut [])];
            $crate::shader::bare(FILE, &mut bare);
            bare
        };
        $crate::shader::Fragment { name: $path, text: $crate::shader::text(&BARE) }
    }};
}

/// Copies WGSL, as far as there is room, without its comments and the blanks that begin lines: a page need not download what only
/// readers of the source want. Returns the length of it all. Comments are those that `//` begins.
pub const fn bare(file: &[u8], into: &mut [u8]) -> usize {
    let (mut at, mut length, mut begins) = (0, 0, true);
    while at < file.len() {
        let comment = file[at] == b'/' && at + 1 < file.len() && file[at + 1] == b'/';
        while comment && at < file.len() && file[at] != b'\n' {
            at += 1;
        }
        if at < file.len() && !(begins && (file[at] == b' ' || file[at] == b'\n')) {
            if length < into.len() {
                into[length] = file[at];
            }
            length += 1;
            begins = file[at] == b'\n';
        }
        at += 1;
    }
    length
}

/// The text of a file, which is UTF-8 or does not compile.
#[expect(clippy::panic, reason = "only while it is compiled")]
pub const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => panic!("a shader is no UTF-8"),
    }
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

/// Workgroups: one along x for every `per_group` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// What x counts.
    pub rows: Rows,
    /// Rows that a workgroup takes.
    pub per_group: u32,
    /// Workgroups along y: where a matrix may be in pieces, one for each tile of its columns.
    pub y: u32,
    /// Workgroups along z.
    pub z: u32,
}

/// How a device holds what a kernel multiplies by or looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Whether matrices and tables that are values are halves.
    pub halves: bool,
    /// The integers of the large parameter, where it is no values.
    pub integers: Option<Packing>,
    /// The piece of it that is bound.
    pub piece: Piece,
}

impl Held {
    /// Whole, and in f32.
    pub const VALUES: Self = Self { halves: false, integers: None, piece: Piece::WHOLE };
}

/// Rows of a table, or tiles of a matrix's columns, that lie in one buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The first of them.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl Piece {
    /// All there are: the kernel's text does not depend on how many.
    pub const WHOLE: Self = Self { first: 0, count: u32::MAX as usize };
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
            Operand::Weight(_) | Operand::Large(_) | Operand::Output => None,
        };
        self.operands.iter().filter_map(buf).collect()
    }

    /// The large parameter that it takes, and its binding.
    pub fn large(&self) -> Option<(Large, usize)> {
        let large = |operand: &Operand| if let Operand::Large(large) = operand { Some(*large) } else { None };
        self.operands.iter().zip(1..).find_map(|(operand, binding)| Some((large(operand)?, binding)))
    }

    /// The whole kernel for what is held so.
    pub fn wgsl(&self, held: &Held) -> String {
        let mut text = String::new();
        let (mut consts, mut large) = (Vec::new(), None);
        if let Some((found, binding)) = self.large() {
            let Piece { first, count } = held.piece;
            consts.extend([("LARGE_BINDING", binding), ("FIRST", first), ("COUNT", count)]);
            large = Some(match held.integers {
                None => vec![found.values],
                Some(packing) => {
                    let (low, extra) = split(packing.bits);
                    consts.extend([("LOW", low as usize), ("EXTRA", extra as usize), ("GROUP4", packing.group / 4)]);
                    vec![fragment!("lib/integers.wgsl"), found.integers]
                }
            });
        }
        let consts = consts.into_iter().map(|(name, count)| (name, Const::Count(count)));
        for (name, value) in consts.chain(self.consts.iter().cloned()) {
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
        let matrix = if held.halves { fragment!("lib/matrix_f16.wgsl") } else { fragment!("lib/matrix_f32.wgsl") };
        let fragments = [fragment!("lib/frame.wgsl"), matrix].into_iter().chain(self.fragments.iter().copied());
        for fragment in fragments.chain(large.into_iter().flatten()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_blanks_are_left_out() {
        let file = b"// what\n\nfn f() {\n  return; // why\n}\n// end";
        let mut found = [0; 99];
        let length = bare(file, &mut found);
        assert_eq!(text(&found[..length]), "fn f() {\nreturn; \n}\n");
    }
}
