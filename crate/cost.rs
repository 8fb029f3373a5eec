//! What a step computes, told from its kernel alone; and where a batch is cut so that no submit takes a device too long.

use std::ops::Range;

use crate::batch::Batch;
use crate::layout::Layout;
use crate::program::{Large, Operand, Program, Rows};
use crate::shader::{Const, Kernel};

/// Most additions and multiplications of a submit, unless one step alone has more: under a second of a device that does 10¹¹ of them a
/// second. Drivers reset a device that does not answer for two (Windows) to ten.
pub const SUBMIT_FLOPS: f64 = (1u64 << 36) as f64;

/// Counted are products with whole matrices and attention; what other steps compute is little, or depends on the texts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    rows: Option<Rows>,
    /// Values of the matrices that each row is multiplied by.
    values: usize,
    attention: Option<Attention>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Attention {
    /// Keys that a token sees at most before and behind it.
    before: usize,
    behind: usize,
    /// Columns of all heads.
    width: usize,
}

impl Cost {
    /// Of a step of a program.
    pub fn of(kernel: &Kernel, program: &Program) -> Self {
        let values = |operand: &Operand| match operand {
            Operand::Weight(id) | Operand::Large(Large { weight: id, .. }) => match program.weights[id.0].layout {
                Layout::Linear { inputs, outputs } => inputs.size() * outputs.size(),
                Layout::Conv { inputs, taps, outputs } => taps * inputs.size() * outputs.size(),
                _ => 0,
            },
            _ => 0,
        };
        let count = |wanted: &str| {
            let found = kernel.consts.iter().find(|(name, _)| *name == wanted);
            found.map_or(usize::MAX, |(_, value)| if let Const::Count(count) = value { *count } else { usize::MAX })
        };
        let width = kernel.operands.iter().find_map(|operand| match operand {
            Operand::Write(out) => Some(out.stride),
            _ => None,
        });
        let attention = kernel.name.ends_with("attention").then(|| Attention {
            before: count("BEFORE"),
            behind: count("BEHIND"),
            width: width.unwrap_or(0),
        });
        Self {
            rows: kernel.activations().first().map(|x| x.rows),
            values: kernel.operands.iter().map(values).sum(),
            attention,
        }
    }

    /// Additions and multiplications of the step for a batch.
    pub fn flops(&self, batch: &Batch) -> f64 {
        let rows = self.rows.map_or(0, |rows| rows.of(batch)) as f64;
        let products = 2.0 * rows * self.values as f64;
        let Some(Attention { before, behind, width }) = self.attention else { return products };
        let seen = |token: usize| {
            let first = token.saturating_sub(before).max(batch.from[token] as usize);
            token.saturating_add(behind).saturating_add(1).min(batch.until[token] as usize).saturating_sub(first)
        };
        // Two products with each key that a token sees.
        products + 4.0 * (0..batch.tokens()).map(seen).sum::<usize>() as f64 * width as f64
    }
}

/// The steps of each submit: as many as have no more than `most` together, at least one.
pub fn submits(flops: &[f64], most: f64) -> Vec<Range<usize>> {
    let (mut submits, mut first, mut sum) = (Vec::new(), 0, 0.0);
    for (index, flops) in flops.iter().enumerate() {
        if index > first && sum + flops > most {
            submits.push(first..index);
            (first, sum) = (index, 0.0);
        }
        sum += flops;
    }
    submits.push(first..flops.len());
    submits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_in_one_submit_and_none_has_too_much() {
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        for _ in 0..1000 {
            let flops: Vec<f64> = (0..random() % 60).map(|_| f64::from(random() % 50)).collect();
            let submits = submits(&flops, 100.0);
            let mut next = 0;
            for steps in &submits {
                assert_eq!(steps.start, next);
                next = steps.end;
                assert!(flops[steps.clone()].iter().sum::<f64>() <= 100.0);
                assert!(!steps.is_empty() || flops.is_empty());
            }
            assert_eq!(next, flops.len());
            // Neighbours would not have fitted together.
            for pair in submits.windows(2) {
                assert!(flops[pair[0].start..=pair[1].start].iter().sum::<f64>() > 100.0);
            }
        }
        assert_eq!(submits(&[500.0, 1.0, 500.0], 100.0), [0..1, 1..2, 2..3], "what is more by itself is alone");
        assert_eq!(submits(&[], 100.0).len(), 1, "what is read back is copied even so");
    }
}
