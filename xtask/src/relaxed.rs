//! The build for engines without relaxed SIMD. In: the module as compiled, which uses it. Out: the same module with each of
//! its few relaxed instructions spelled out in those of fixed-width SIMD, so that there is one compilation and one glue.

use walrus::{
    LocalId, Module, ValType,
    ir::{
        BinaryOp, Binop, Instr, InstrLocId, InstrSeq, LocalGet, LocalSet, TernOp, TernaryOp, VisitorMut,
        dfs_pre_order_mut,
    },
};

use crate::Result;

/// Spells out every relaxed instruction; one that is not known here is an error, not a module that some engines refuse.
pub fn lower(wasm: &[u8]) -> Result<Vec<u8>> {
    let mut module = Module::from_buffer(wasm).map_err(|error| format!("the wasm cannot be read: {error:#}"))?;
    let addend = module.locals.add(ValType::V128);
    let mut lower = Lower { addend, unknown: None };
    for (_, function) in module.funcs.iter_local_mut() {
        let entry = function.entry_block();
        dfs_pre_order_mut(&mut lower, function, entry);
    }
    match lower.unknown {
        Some(unknown) => Err(format!("the wasm has an instruction that is not spelled out yet: {unknown}")),
        None => Ok(module.emit_wasm()),
    }
}

struct Lower {
    addend: LocalId,
    unknown: Option<String>,
}

impl VisitorMut for Lower {
    fn start_instr_seq_mut(&mut self, sequence: &mut InstrSeq) {
        let place = InstrLocId::default();
        sequence.instrs = std::mem::take(&mut sequence.instrs)
            .into_iter()
            .flat_map(|(instruction, at)| match instruction {
                // a, b and c are on the stack: a * b + c, rounded twice.
                Instr::TernOp(TernOp { op: TernaryOp::F32x4RelaxedMadd }) => vec![
                    (Instr::LocalSet(LocalSet { local: self.addend }), at),
                    (Instr::Binop(Binop { op: BinaryOp::F32x4Mul }), place),
                    (Instr::LocalGet(LocalGet { local: self.addend }), place),
                    (Instr::Binop(Binop { op: BinaryOp::F32x4Add }), place),
                ],
                // LLVM writes these only where the order of the operands and NaN do not matter.
                Instr::Binop(Binop { op: BinaryOp::F32x4RelaxedMin }) => {
                    vec![(Instr::Binop(Binop { op: BinaryOp::F32x4Min }), at)]
                }
                Instr::Binop(Binop { op: BinaryOp::F32x4RelaxedMax }) => {
                    vec![(Instr::Binop(Binop { op: BinaryOp::F32x4Max }), at)]
                }
                other => {
                    if matches!(other, Instr::TernOp(_) | Instr::Binop(_) | Instr::Unop(_)) {
                        let name = format!("{other:?}");
                        self.unknown = self.unknown.take().or(name.contains("Relaxed").then_some(name));
                    }
                    vec![(other, at)]
                }
            })
            .collect();
    }
}
