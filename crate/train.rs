//! Linear classifiers of vectors: multinomial logistic regression with cross-validated regularisation, and nearest centroids.
//!
//! What is minimised, the folds and the grid are those of scikit-learn 1.9 (`LogisticRegression`, `LogisticRegressionCV`,
//! `StratifiedKFold`). Nothing is random, so the same examples give the same bits. Work is done a step at a time.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::sort::sort_by;

/// Values of C to choose from, as many a decade as `LogisticRegressionCV` has: 1e-4 to 1e4.
const GRID: usize = 10;
/// Folds where every class has as many examples.
const FOLDS: usize = 5;
/// A fit ends where weights are known to be as close to the best ones, in parts of their own length: those of the
/// cross-validation, which are only counted by, and the last.
const TOLERANCES: [f64; 2] = [1e-4, 1e-6];
/// A fit ends after so many iterations, whatever its gradient.
const ITERATIONS: usize = 2000;
/// Iterations that the estimate of the curvature is from.
const HISTORY: usize = 10;
/// Divides cosines before a softmax: the usual scale of contrastive training.
const TEMPERATURE: f64 = 0.05;
/// Most of examples × dimensions × classes: a second or so for one gradient.
const PRODUCTS: usize = 1 << 29;

/// How a classifier is made of examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Minimises `C Σ −log softmax(W x + b)[y] + ‖W‖² / 2`.
    #[default]
    Logistic,
    /// `W x` is the cosine of x and of the mean of a class's vectors, over a temperature of 0.05. The vectors must be of unit length.
    Centroids,
}

/// Vectors, row after row, and the class of each.
#[derive(Debug, Clone, Copy)]
pub struct Examples<'a> {
    /// `[examples, width]`; rows behind those of `classes` do not take part.
    pub vectors: &'a [f32],
    /// Columns.
    pub width: usize,
    /// The class of each row, from 0.
    pub classes: &'a [usize],
}

impl Examples<'_> {
    fn row(&self, index: usize) -> &[f32] {
        &self.vectors[index * self.width..(index + 1) * self.width]
    }
}

/// Weights `[width, classes]` and behind them the bias `[classes]`.
#[derive(Debug, Clone, PartialEq)]
struct Weights {
    values: Vec<f64>,
    classes: usize,
}

impl Weights {
    fn scores(&self, vector: &[f32]) -> Vec<f64> {
        let (columns, bias) = self.values.split_at(vector.len() * self.classes);
        let mut scores = bias.to_vec();
        for (x, weights) in vector.iter().zip(columns.chunks_exact(self.classes)) {
            add(&mut scores, f64::from(*x), weights);
        }
        scores
    }

    /// The share of these rows whose class has the highest score.
    fn accuracy(&self, examples: &Examples, rows: &[usize]) -> f64 {
        let right = |row: &&usize| {
            let scores = self.scores(examples.row(**row));
            // Of equals the first.
            let best = (0..self.classes).rev().max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
            best == Some(examples.classes[**row])
        };
        rows.iter().filter(right).count() as f64 / rows.len() as f64
    }

    /// Means of the rows of each class, of unit length, over a temperature of 0.05.
    fn centroids(examples: &Examples, rows: &[usize], classes: usize) -> Self {
        let mut means = vec![vec![0.0; examples.width]; classes];
        for &row in rows {
            let mean = means[examples.classes[row]].iter_mut();
            mean.zip(examples.row(row)).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        let mut values = vec![0.0; (examples.width + 1) * classes];
        for (class, mean) in means.iter().enumerate() {
            let scale = 1.0 / (dot(mean, mean).sqrt().max(f64::MIN_POSITIVE) * TEMPERATURE);
            let column = values[class..].iter_mut().step_by(classes);
            column.zip(mean).for_each(|(value, sum)| *value = sum * scale);
        }
        Self { values, classes }
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// `sum += scale * terms`
fn add(sum: &mut [f64], scale: f64, terms: &[f64]) {
    sum.iter_mut().zip(terms).for_each(|(sum, term)| *sum += scale * term);
}

/// A logistic regression on its way, by L-BFGS (Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 3.1).
struct Fit {
    rows: Vec<usize>,
    /// 1 / (C n), doubled where there are two classes: scikit-learn then has one vector, the difference of our two.
    penalty: f64,
    weights: Weights,
    loss: f64,
    gradient: Vec<f64>,
    /// Steps taken and what each changed of the gradient, oldest first.
    history: VecDeque<[Vec<f64>; 2]>,
    iterations: usize,
}

impl Fit {
    fn new(examples: &Examples, rows: Vec<usize>, c: f64, weights: Weights) -> Self {
        let penalty = if weights.classes == 2 { 2.0 } else { 1.0 } / (c * rows.len() as f64);
        let mut fit =
            Self { rows, penalty, weights, loss: 0.0, gradient: Vec::new(), history: VecDeque::new(), iterations: 0 };
        (fit.loss, fit.gradient) = fit.loss(examples, &fit.weights);
        fit
    }

    /// The mean of the cross-entropy plus `penalty ‖W‖² / 2`, and its gradient.
    fn loss(&self, examples: &Examples, weights: &Weights) -> (f64, Vec<f64>) {
        let (classes, bias) = (weights.classes, weights.values.len() - weights.classes);
        let columns = &weights.values[..bias];
        let mut loss = self.penalty / 2.0 * dot(columns, columns);
        let mut gradient: Vec<f64> = columns.iter().map(|weight| self.penalty * weight).collect();
        gradient.resize(weights.values.len(), 0.0);
        let share = 1.0 / self.rows.len() as f64;
        for &row in &self.rows {
            let (vector, class) = (examples.row(row), examples.classes[row]);
            let mut scores = weights.scores(vector);
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let right = scores[class] - highest;
            scores.iter_mut().for_each(|score| *score = (*score - highest).exp());
            let total: f64 = scores.iter().sum();
            loss += share * (total.ln() - right);
            scores.iter_mut().for_each(|score| *score *= share / total);
            scores[class] -= share;
            let (columns, bias) = gradient.split_at_mut(bias);
            for (x, gradient) in vector.iter().zip(columns.chunks_exact_mut(classes)) {
                add(gradient, f64::from(*x), &scores);
            }
            add(bias, 1.0, &scores);
        }
        (loss, gradient)
    }

    /// One iteration; whether it was the last.
    fn step(&mut self, examples: &Examples, tolerance: f64) -> bool {
        self.iterations += 1;
        let direction = self.direction();
        let slope = dot(&self.gradient, &direction);
        // What is left to gain is below the rounding of the loss.
        if -slope <= 4.0 * f64::EPSILON * self.loss {
            return true;
        }
        let mut length =
            if self.history.is_empty() { dot(&direction, &direction).sqrt().max(1e-9).recip() } else { 1.0 };
        // Shorter and shorter until the loss falls in proportion. It does, unless that is below rounding too.
        for _ in 0..40 {
            let mut next = self.weights.clone();
            add(&mut next.values, length, &direction);
            let (loss, gradient) = self.loss(examples, &next);
            if loss <= self.loss + 1e-4 * length * slope {
                let change: Vec<f64> = gradient.iter().zip(&self.gradient).map(|(new, old)| new - old).collect();
                let step: Vec<f64> = direction.iter().map(|x| length * x).collect();
                if dot(&step, &change) > 0.0 {
                    if self.history.len() == HISTORY {
                        self.history.pop_front();
                    }
                    self.history.push_back([step, change]);
                }
                (self.weights, self.loss, self.gradient) = (next, loss, gradient);
                return self.ended(tolerance) || self.iterations == ITERATIONS;
            }
            // Where the parabola through what is known is lowest.
            let lowest = -slope * length * length / (2.0 * (loss - self.loss - slope * length));
            length = lowest.clamp(0.1 * length, 0.5 * length);
        }
        true
    }

    /// Whether the gradient is near nothing. In a weight the loss curves upwards by at least the penalty, which bounds how far
    /// it can be from the best one; in the bias by about 1 / classes.
    fn ended(&self, tolerance: f64) -> bool {
        let (values, gradient) = (&self.weights.values, &self.gradient);
        let weights = &values[..values.len() - self.weights.classes];
        let curvature = self.penalty.min(1.0 / self.weights.classes as f64);
        dot(gradient, gradient) <= tolerance * tolerance * curvature * curvature * dot(weights, weights)
    }

    /// Downhill, by the curvature that the history shows.
    fn direction(&self) -> Vec<f64> {
        let mut direction: Vec<f64> = self.gradient.iter().map(|x| -x).collect();
        let mut shares = Vec::new();
        for [step, change] in self.history.iter().rev() {
            let share = dot(step, &direction) / dot(step, change);
            add(&mut direction, -share, change);
            shares.push(share);
        }
        if let Some([step, change]) = self.history.back() {
            let scale = dot(step, change) / dot(change, change);
            direction.iter_mut().for_each(|x| *x *= scale);
        }
        for ([step, change], share) in self.history.iter().zip(shares.into_iter().rev()) {
            let other = dot(change, &direction) / dot(step, change);
            add(&mut direction, share - other, step);
        }
        direction
    }
}

/// What came of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// `[classes, width]`
    pub weight: Vec<f32>,
    /// `[classes]`
    pub bias: Vec<f32>,
    /// C; none for centroids.
    pub regularization: Option<f64>,
    /// The share of examples that classifiers trained without them got right, a mean over the folds.
    pub accuracy: f64,
}

/// Options of a training.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct TrainOptions {
    /// Default: logistic regression.
    pub method: Method,
    /// C. Default: the one of a grid that gives the highest accuracy, of equals the smallest.
    pub regularization: Option<f64>,
    /// Most folds of the cross-validation. Default: 5; fewer where a class has fewer examples.
    pub folds: Option<usize>,
}

/// A training on its way: for each fold a fit for each C, without the fold and tested on it, and then one of all examples.
pub struct Training {
    method: Method,
    classes: Vec<usize>,
    count: usize,
    /// Ascending; one for centroids, for which it means nothing.
    grid: Vec<f64>,
    /// Of each example.
    folds: Vec<usize>,
    fold_count: usize,
    /// For each C, a mean over the folds.
    accuracy: Vec<f64>,
    fit: Option<Fit>,
    /// From the last fit that ended.
    weights: Option<Weights>,
    done: usize,
}

impl Training {
    /// Of examples with these classes (0 to `count` - 1, each at least twice) and vectors of `width`.
    pub fn new(classes: Vec<usize>, count: usize, width: usize, options: &TrainOptions) -> Result<Self> {
        let least = (0..count).map(|class| classes.iter().filter(|own| **own == class).count()).min().unwrap_or(0);
        if count < 2 || least < 2 {
            return Err(Error::argument("training takes at least two labels, and two examples of each"));
        }
        let products = classes.len().saturating_mul(width).saturating_mul(count);
        if products > PRODUCTS {
            let what = "number of examples × dimensions × labels".into();
            return Err(Error::LimitExceeded { what, found: products as u64, limit: PRODUCTS as u64 });
        }
        let fold_count = options.folds.unwrap_or(FOLDS).min(least);
        if fold_count < 2 {
            return Err(Error::argument("folds must be at least 2"));
        }
        let grid = match (options.method, options.regularization) {
            (Method::Logistic, None) => {
                (0..GRID).map(|i| 10f64.powf(8.0 * i as f64 / (GRID - 1) as f64 - 4.0)).collect()
            }
            (Method::Logistic, Some(c)) if (1e-6..=1e6).contains(&c) => vec![c],
            (Method::Centroids, None) => vec![f64::NAN],
            _ => return Err(Error::argument("regularization is 1e-6 to 1e6, and for logistic regression alone")),
        };
        let folds = stratified(&classes, fold_count);
        let (method, accuracy) = (options.method, vec![0.0; grid.len()]);
        Ok(Self { method, classes, count, grid, folds, fold_count, accuracy, fit: None, weights: None, done: 0 })
    }

    /// How many fits there are.
    pub fn units(&self) -> usize {
        self.fold_count * self.grid.len() + 1
    }

    /// The place in the grid of the highest accuracy so far; of equals the first, which is the strongest regularisation.
    fn best(&self) -> usize {
        let places = (0..self.grid.len()).rev();
        places.max_by(|a, b| self.accuracy[*a].total_cmp(&self.accuracy[*b])).unwrap_or(0)
    }

    /// One iteration of a fit on `vectors`, `[examples, width]`; how many fits are done.
    pub fn step(&mut self, vectors: &[f32], width: usize) -> usize {
        let examples = Examples { vectors, width, classes: &self.classes };
        let (fold, place) = (self.done / self.grid.len(), self.done % self.grid.len());
        let (mut tested, mut rows) = (Vec::new(), Vec::new());
        for (row, own) in self.folds.iter().enumerate() {
            if *own == fold { tested.push(row) } else { rows.push(row) }
        }
        let weights = match self.method {
            Method::Centroids => Weights::centroids(&examples, &rows, self.count),
            Method::Logistic => {
                let mut fit = match self.fit.take() {
                    Some(fit) => fit,
                    None => {
                        // The next C of a fold begins where the last one ended.
                        let zeros = || Weights { values: vec![0.0; (width + 1) * self.count], classes: self.count };
                        let weights = self.weights.take().filter(|_| place > 0).unwrap_or_else(zeros);
                        let place = if fold < self.fold_count { place } else { self.best() };
                        Fit::new(&examples, rows, self.grid[place], weights)
                    }
                };
                if !fit.step(&examples, TOLERANCES[usize::from(fold == self.fold_count)]) {
                    self.fit = Some(fit);
                    return self.done;
                }
                fit.weights
            }
        };
        if fold < self.fold_count {
            self.accuracy[place] += weights.accuracy(&examples, &tested) / self.fold_count as f64;
        }
        self.weights = Some(weights);
        self.done += 1;
        self.done
    }

    /// The classifier, once every fit is done.
    pub fn finish(&self) -> Result<Trained> {
        let weights = self.weights.as_ref().filter(|_| self.done == self.units());
        let Weights { values, classes } = weights.ok_or_else(|| Error::argument("the training is not complete"))?;
        let column = |class| values[class..].iter().step_by(*classes).map(|weight| *weight as f32);
        let width = values.len() / classes - 1;
        let best = self.best();
        Ok(Trained {
            weight: (0..*classes).flat_map(|class| column(class).take(width)).collect(),
            bias: values[width * classes..].iter().map(|bias| *bias as f32).collect(),
            regularization: Some(self.grid[best]).filter(|_| self.method == Method::Logistic),
            accuracy: self.accuracy[best],
        })
    }
}

/// The fold of each example, so that every fold has its share of each class. Source: `StratifiedKFold`, which goes through
/// the classes in the order of their first examples.
fn stratified(classes: &[usize], folds: usize) -> Vec<usize> {
    let mut fold_of = vec![folds; classes.len()];
    let mut before = 0;
    for first in 0..classes.len() {
        if fold_of[first] < folds {
            continue;
        }
        let members: Vec<usize> = (first..classes.len()).filter(|row| classes[*row] == classes[first]).collect();
        // Examples sorted by class are dealt out one by one; then each class's lie in the order of the folds.
        let mut dealt: Vec<usize> = (before..before + members.len()).map(|place| place % folds).collect();
        sort_by(&mut dealt, Ord::cmp);
        members.iter().zip(dealt).for_each(|(row, fold)| fold_of[*row] = fold);
        before += members.len();
    }
    fold_of
}
