//! The rows of the tokens that a batch picks. Source: `torch.index_select`.

use super::GROUP;
use crate::batch::Batch;
use crate::cpu::Memory;
use crate::fragment;
use crate::program::{Buf, Op, Operand, Program, Rows};
use crate::shader::{Const, Grid, Kernel};

/// See the module.
pub struct Gather {
    x: Buf,
    out: Buf,
}

impl Program {
    /// x: `[tokens, width]` to `[picks, width]`
    pub fn gather(&mut self, x: Buf) -> Buf {
        let out = self.buf(Rows::Picks, x.width);
        self.push(Gather { x, out });
        out
    }
}

impl Op for Gather {
    fn kernel(&self) -> Kernel {
        Kernel {
            name: "gather",
            fragments: vec![fragment!("gather.wgsl")],
            consts: vec![("GROUP", Const::Count(GROUP)), ("STRIDE4", Const::Count(self.x.stride / 4))],
            operands: vec![Operand::Read(self.x), Operand::Write(self.out)],
            grid: Grid { rows: Rows::Picks, per_group: 1, y: 1, z: 1 },
        }
    }

    fn run(&self, batch: &Batch, memory: &mut Memory) {
        let stride = self.x.stride;
        memory.write(self.out, |memory, out| {
            for (pick, row) in batch.picks.iter().zip(out.chunks_exact_mut(stride)) {
                row.copy_from_slice(&memory.read(self.x)[*pick as usize * stride..][..stride]);
            }
        });
    }
}
