//! The build for engines without relaxed SIMD. In: the module as compiled, which uses it. Out: the same module with each of
//! its few relaxed instructions spelled out in those of fixed-width SIMD, so that there is one compilation and one glue.

use walrus::{
    LocalId, Module, ValType,
    ir::{
        BinaryOp, Binop, Const, Instr, InstrLocId, InstrSeq, LocalGet, LocalSet, TernOp, TernaryOp, Value, VisitorMut,
        dfs_pre_order_mut,
    },
};

use crate::Result;

/// Spells out every relaxed instruction; one that is not known here is an error, not a module that some engines refuse.
pub fn lower(wasm: &[u8]) -> Result<Vec<u8>> {
    let mut module = Module::from_buffer(wasm).map_err(|error| format!("the wasm cannot be read: {error:#}"))?;
    let locals = [(); 3].map(|()| module.locals.add(ValType::V128));
    let mut lower = Lower { locals, unknown: None };
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
    /// Operands that are wanted again.
    locals: [LocalId; 3],
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
                    (set(self.locals[0]), at),
                    (binary(BinaryOp::F32x4Mul), place),
                    (get(self.locals[0]), place),
                    (binary(BinaryOp::F32x4Add), place),
                ],
                Instr::TernOp(TernOp { op: TernaryOp::I32x4RelaxedDotI8x16I7x16AddS }) => {
                    self.dot_add().into_iter().map(|instruction| (instruction, at)).collect()
                }
                // LLVM writes these only where the order of the operands and NaN do not matter.
                Instr::Binop(Binop { op: BinaryOp::F32x4RelaxedMin }) => {
                    vec![(binary(BinaryOp::F32x4Min), at)]
                }
                Instr::Binop(Binop { op: BinaryOp::F32x4RelaxedMax }) => {
                    vec![(binary(BinaryOp::F32x4Max), at)]
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

impl Lower {
    /// a, b and c are on the stack: c, and in each lane its four signed bytes of a times those of b, which are not negative.
    /// The bytes of even places are multiplied and added as 16 bits, then those of odd ones.
    fn dot_add(&self) -> Vec<Instr> {
        let [a, b, c] = self.locals;
        // 255 in every even byte.
        let low_bytes = Instr::Const(Const { value: Value::V128(u128::MAX / 0x101) });
        let eight = || Instr::Const(Const { value: Value::I32(8) });
        vec![
            set(c),
            set(b),
            set(a),
            get(c),
            get(a),
            eight(),
            binary(BinaryOp::I16x8Shl),
            eight(),
            binary(BinaryOp::I16x8ShrS),
            get(b),
            low_bytes,
            binary(BinaryOp::V128And),
            binary(BinaryOp::I32x4DotI16x8S),
            binary(BinaryOp::I32x4Add),
            get(a),
            eight(),
            binary(BinaryOp::I16x8ShrS),
            get(b),
            eight(),
            binary(BinaryOp::I16x8ShrU),
            binary(BinaryOp::I32x4DotI16x8S),
            binary(BinaryOp::I32x4Add),
        ]
    }
}

fn get(local: LocalId) -> Instr {
    Instr::LocalGet(LocalGet { local })
}

fn set(local: LocalId) -> Instr {
    Instr::LocalSet(LocalSet { local })
}

fn binary(op: BinaryOp) -> Instr {
    Instr::Binop(Binop { op })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{command, run};

    /// A module whose `f` loads three vectors from 0, 16 and 32 of its memory `m`, and stores at 48 what an instruction makes of
    /// them.
    fn module(instruction: [u8; 3]) -> Vec<u8> {
        let load = |at: u8| vec![0x41, at, 0xfd, 0, 4, 0];
        let body =
            [vec![0, 0x41, 48], load(0), load(16), load(32), instruction.to_vec(), vec![0xfd, 11, 4, 0, 11]].concat();
        let sections: [&[u8]; 5] = [
            &[1, 4, 1, 0x60, 0, 0],
            &[3, 2, 1, 0],
            &[5, 3, 1, 0, 1],
            &[7, 9, 2, 1, b'm', 2, 0, 1, b'f', 0, 0],
            &[&[10, body.len() as u8 + 2, 1, body.len() as u8], body.as_slice()].concat(),
        ];
        [b"\0asm\x01\0\0\0".as_slice(), &sections.concat()].concat()
    }

    /// Runs a script many times in Node with what `lower` makes of a module.
    fn check(instruction: [u8; 3], script: &str) {
        let lowered = lower(&module(instruction)).unwrap();
        let hex: String = lowered.iter().map(|byte| format!("{byte:02x}")).collect();
        let script = format!(
            r#"WebAssembly.instantiate(Buffer.from("{hex}", "hex")).then(({{ instance: {{ exports: {{ m, f }} }} }}) => {{
                let state = 1;
                const random = (below) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0, Math.floor(state / 2 ** 32 * below));
                for (let run = 0; run < 1000; run++) {{ {script} }}
            }});"#
        );
        run(command("node").args(["--unhandled-rejections=strict", "-e", &script])).unwrap();
    }

    #[test]
    fn integers_are_multiplied_exactly() {
        check(
            [0xfd, 0x93, 2],
            "const [a, b, c, d] = [new Int8Array(m.buffer, 0, 16), new Uint8Array(m.buffer, 16, 16), new Int32Array(m.buffer, 32, 4), new Int32Array(m.buffer, 48, 4)];
            for (let i = 0; i < 16; i++) { a[i] = run ? random(256) : -128; b[i] = run ? random(128) : 127; c[i >> 2] = random(2 ** 31); }
            f();
            for (let i = 0; i < 4; i++) {
                let exact = c[i];
                for (let j = 4 * i; j < 4 * i + 4; j++) exact = (exact + a[j] * b[j]) | 0;
                if (d[i] !== exact) throw new Error(`${d[i]} is not ${exact}`);
            }",
        );
    }

    #[test]
    fn floats_are_rounded_twice() {
        check(
            [0xfd, 0x85, 2],
            "const x = new Float32Array(m.buffer, 0, 16);
            for (let i = 0; i < 12; i++) x[i] = random(2 ** 24) / 2 ** 20 - 8;
            f();
            for (let i = 0; i < 4; i++) {
                const exact = Math.fround(Math.fround(x[i] * x[4 + i]) + x[8 + i]);
                if (x[12 + i] !== exact) throw new Error(`${x[12 + i]} is not ${exact}`);
            }",
        );
    }

    #[test]
    fn what_is_not_known_is_refused() {
        // f32x4.relaxed_nmadd
        let error = lower(&module([0xfd, 0x86, 2])).unwrap_err();
        assert!(error.contains("F32x4RelaxedNmadd"), "{error}");
    }
}
