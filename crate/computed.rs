//! Parameters that are computed at load: the same for every checkpoint, or for every one of a configuration.

use std::f64::consts::TAU;

use crate::error::Result;
use crate::program::WeightId;
use crate::rotation::Rotation;
use crate::weights::{Layout, Sink};

/// What a parameter is computed from.
#[derive(Debug, Clone, PartialEq)]
pub enum Computed {
    /// The angles of positions: [`Layout::Rotations`].
    Rotations(Rotation),
    /// These values: [`Layout::Vector`].
    Values(Vec<f32>),
    /// Nothing but its size. [`Layout::Linear`]: the matrix of a row's Fourier transform, cosines and then sines, where
    /// row k of either has the angles 2π k j / inputs. [`Layout::Turns`]: the table that it says.
    Fourier,
}

impl Computed {
    /// The same of what a checkpoint has instead: the frequencies of a rotation.
    pub fn of_tensor(&self, values: &[f32]) -> Self {
        match self {
            Self::Rotations(rotation) => Self::Rotations(Rotation { frequencies: values.to_vec(), ..rotation.clone() }),
            other => other.clone(),
        }
    }

    /// Computes the parameter.
    pub fn write(&self, layout: Layout, id: WeightId, sink: &mut dyn Sink) -> Result<()> {
        match (self, layout) {
            (Self::Rotations(rotation), Layout::Rotations { rows, .. }) => rotation.write(id, rows, sink),
            (Self::Fourier, Layout::Linear { inputs, .. }) => {
                let size = inputs.size();
                let mut values = vec![0.0; layout.elements()];
                for (row, column) in (0..size).flat_map(|row| (0..size).map(move |column| (row, column))) {
                    let [cos, sin] = turn(row * column % size, size);
                    values[layout.place(row, column)] = cos;
                    values[layout.place(size + row, column)] = sin;
                }
                sink.write(id, 0, &values)
            }
            (Self::Fourier, Layout::Turns { most }) => {
                let turns = (1..=most).flat_map(|count| (0..count).flat_map(move |part| turn(part, count)));
                let mut values: Vec<f32> = turns.collect();
                values.resize(layout.elements(), 0.0);
                sink.write(id, 0, &values)
            }
            (Self::Values(values), layout) => {
                let mut padded = values.clone();
                padded.resize(layout.elements(), 0.0);
                sink.write(id, 0, &padded)
            }
            _ => Ok(()),
        }
    }
}

/// Cosine and sine of `part` of `count` equal parts of a turn, rounded once.
fn turn(part: usize, count: usize) -> [f32; 2] {
    let angle = TAU * part as f64 / count as f64;
    [angle.cos() as f32, angle.sin() as f32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Axis;

    struct Values(Vec<f32>);

    impl Sink for Values {
        fn start(&mut self, _: safetensors::Dtype) -> Result<()> {
            Ok(())
        }

        fn write(&mut self, _: WeightId, at: usize, values: &[f32]) -> Result<()> {
            self.0.resize(at.max(self.0.len()), 0.0);
            self.0.splice(at.., values.iter().copied());
            Ok(())
        }
    }

    fn computed(layout: Layout) -> Vec<f32> {
        let mut values = Values(Vec::new());
        Computed::Fourier.write(layout, WeightId(0), &mut values).unwrap();
        assert_eq!(values.0.len(), layout.elements());
        values.0
    }

    #[test]
    fn angles_are_those_of_their_layout() {
        let layout = Layout::Linear { inputs: Axis::plain(5), outputs: Axis::blocks(2, 5) };
        let matrix = computed(layout);
        // cos and sin of 2π 12 / 5
        assert!((matrix[layout.place(3, 4)] + 0.809_017).abs() < 1e-6);
        assert!((matrix[layout.place(5 + 3, 4)] - 0.587_785_25).abs() < 1e-6);
        let layout = Layout::Turns { most: 9 };
        let turns = computed(layout);
        // 2π 3 / 8
        assert!((turns[layout.place(8 * 7 / 2 + 3, 0)] + 0.707_106_77).abs() < 1e-7);
        assert!((turns[layout.place(8 * 7 / 2 + 3, 1)] - 0.707_106_77).abs() < 1e-7);
    }
}
