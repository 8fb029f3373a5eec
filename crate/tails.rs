//! What can be asked of a model, recorded behind its layers: vectors and states after any of them, and the head of a task
//! behind the last.

use crate::declare::Declare;
use crate::encoder::Spec;
use crate::head::{Head, Pooling};
use crate::ops::{Epilogue, Lexical, Norm};
use crate::program::{Buf, Program, TailId, WeightId};
use crate::task::{Function, HeadStep, Labels, MultiVector, Outputs, Task};
use crate::weights::{Axis, Layout, Part, Rounding, Weight};

/// The head that a model is loaded with.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskHead {
    /// What it is for.
    pub task: Task,
    /// What its columns mean, where they are labels.
    pub labels: Labels,
    /// What makes scores of its columns.
    pub function: Function,
    /// The same where it ranks documents.
    pub ranking: Function,
    /// How token scores become term weights.
    pub lexical: Lexical,
    /// How a vector is made of every token.
    pub multi: MultiVector,
}

/// The tails of a program.
#[derive(Debug, Default)]
pub struct Tails {
    /// A vector a text, by how many layers run, less one.
    pub vectors: Vec<TailId>,
    /// The hidden state of every token, by how many layers run, less one.
    pub states: Vec<TailId>,
    /// Heads by their tasks.
    pub heads: Vec<(Task, TailId)>,
}

impl Tails {
    /// Records an encoder whose weights are in `file`, and all tails of it.
    pub fn record(spec: &Spec, program: &mut Program, file: &str, pooled: &Head, head: Option<&TaskHead>) -> Self {
        let mut tails = Self::default();
        spec.record(program, file, &mut |declare, layers, x| {
            tails.states.push(tail(declare, |declare| Some(spec.steps.finish(spec, declare, x))));
            tails.vectors.push(tail(declare, |declare| {
                let x = spec.steps.finish(spec, declare, x);
                pooled.record(declare.program, x);
                None
            }));
            if let Some(head) = head.filter(|_| layers == spec.layers.len()) {
                tails.record_head(spec, declare, head, x);
            }
        });
        tails
    }

    fn record_head(&mut self, spec: &Spec, declare: &mut Declare, head: &TaskHead, x: Buf) {
        let steps = spec.tasks.steps(head.task);
        let labels = head.labels.count();
        let mut add = |task, declare: &mut Declare, record: &dyn Fn(&mut Declare, Buf) -> Buf| {
            let id = tail(declare, |declare| {
                let x = spec.steps.finish(spec, declare, x);
                Some(record(declare, x))
            });
            self.heads.push((task, id));
        };
        let run = |declare: &mut Declare, steps: &[HeadStep], given| {
            steps.iter().fold(given, |x, step| record_step(declare, spec, step, x, given, labels))
        };
        match head.task {
            Task::Embed => {}
            Task::Classify | Task::Tag | Task::Answer | Task::UniEncoder => {
                add(head.task, declare, &|declare, x| run(declare, steps, x));
            }
            Task::Fill | Task::Sparse => {
                add(Task::Fill, declare, &|declare, x| {
                    let picked = declare.program.gather(x);
                    run(declare, steps, picked)
                });
                let [before @ .., HeadStep::Dense { weight, bias, outputs, .. }] = steps else { return };
                add(Task::Sparse, declare, &|declare, x| {
                    let x = run(declare, before, x);
                    let (weight, bias, vocab) = product(declare, spec, weight, *bias, x.width, *outputs, labels);
                    declare.program.lexical_pool(x, weight, bias, vocab, head.lexical)
                });
            }
            Task::Multi => add(Task::Multi, declare, &|declare, x| {
                head.multi.dense.iter().fold(x, |x, dense| dense.record(declare.program, x))
            }),
        }
    }

    /// The tail of a task's head.
    pub fn head(&self, task: Task) -> Option<TailId> {
        self.heads.iter().find(|(known, _)| *known == task).map(|(_, tail)| *tail)
    }
}

/// The pooling that a head begins with, where it has one.
pub fn pooling(steps: &[HeadStep]) -> Option<Pooling> {
    steps.iter().find_map(|step| match step {
        HeadStep::Pool(pooling) => Some(*pooling),
        _ => None,
    })
}

fn tail(declare: &mut Declare, record: impl FnOnce(&mut Declare) -> Option<Buf>) -> TailId {
    let trunk = declare.program.begin_tail();
    let rows = record(declare);
    declare.program.end_tail(trunk, rows)
}

/// The parameters of a product, by the names of its weight and its bias, and its columns.
fn product(
    declare: &mut Declare,
    spec: &Spec,
    weight: &str,
    bias: Option<&str>,
    inputs: usize,
    outputs: Outputs,
    labels: usize,
) -> (WeightId, WeightId, usize) {
    let (count, rounding) = match outputs {
        Outputs::Hidden => (spec.hidden, Rounding::Never),
        Outputs::Embedding => (spec.embedding, Rounding::Never),
        Outputs::Columns(columns) => (columns, Rounding::Never),
        Outputs::Labels => (labels, Rounding::Never),
        Outputs::Vocab | Outputs::VocabBeside(_) => (spec.tables.vocab, Rounding::Allowed),
    };
    let part = |name: &str, at, rows| Part::rows(declare.file, name, at, rows);
    let own = |name: &str| part(name, 0, count);
    let mut parts = vec![own(weight)];
    let axis = Axis::plain(count);
    let layout = match outputs {
        Outputs::VocabBeside(rest) => {
            parts.push(part(rest, count, inputs - spec.embedding));
            Layout::Joined { first: spec.embedding, inputs, outputs: count }
        }
        _ => Layout::Linear { inputs: Axis::plain(inputs), outputs: axis },
    };
    let bias = Weight::new(Layout::Vector { axis }, bias.map(own).into_iter().collect(), Rounding::Never);
    let weight = declare.program.weight(Weight::new(layout, parts, rounding));
    (weight, declare.program.weight(bias), count)
}

fn record_step(declare: &mut Declare, spec: &Spec, step: &HeadStep, x: Buf, given: Buf, labels: usize) -> Buf {
    match step {
        HeadStep::Pool(_) => declare.program.pool(x, 1),
        HeadStep::LastBut(_) => declare.program.gather(x),
        HeadStep::Dense { weight, bias, outputs, activation } => {
            let (weight, bias, width) = product(declare, spec, weight, *bias, x.width, *outputs, labels);
            let epilogue = activation.map_or(Epilogue::None, Epilogue::Activation);
            declare.program.linear(x, weight, bias, width, epilogue)
        }
        HeadStep::Onto { weight, bias } => {
            let (weight, bias, width) = product(declare, spec, weight, Some(bias), x.width, Outputs::Hidden, labels);
            declare.program.linear(x, weight, bias, width, Epilogue::Residual(given))
        }
        HeadStep::Norm { weight, bias, eps, kind } => {
            let axis = Axis::plain(x.width);
            let part = |name: &str| vec![Part::whole(declare.file, name, x.width)];
            let vector = |parts| Weight::new(Layout::Vector { axis }, parts, Rounding::Never);
            let (gain, bias) = (vector(part(weight)), vector(bias.map_or(Vec::new(), part)));
            let (gain, bias) = (declare.program.weight(gain), declare.program.weight(bias));
            declare.program.layer_norm(x, Norm { gain, bias, eps: *eps, kind: *kind })
        }
    }
}
