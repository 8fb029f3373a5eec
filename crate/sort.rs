//! Sorting, compiled once. The sort of the standard library is compiled anew for every type and every order: eighteen of them made a
//! twentieth of the code of the wasm, and took 6 kB of what a page downloads.

use std::cmp::Ordering;

/// Sorts stably.
pub fn sort_by<T>(values: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    sort_places(&mut order, &|a, b| compare(&values[a], &values[b]));
    let mut old: Vec<Option<T>> = values.drain(..).map(Some).collect();
    values.extend(order.into_iter().filter_map(|place| old[place].take()));
}

/// Sorts stably, the highest score first.
pub fn best_first<T>(values: &mut Vec<T>, score: impl Fn(&T) -> f32) {
    sort_by(values, |a, b| score(b).total_cmp(&score(a)));
}

fn sort_places(order: &mut [usize], compare: &dyn Fn(usize, usize) -> Ordering) {
    order.sort_by(|a, b| compare(*a, *b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_keep_their_order() {
        let mut values = vec![(1.0, "a"), (3.0, "b"), (1.0, "c"), (3.0, "d"), (-0.0, "e"), (0.0, "f")];
        best_first(&mut values, |(score, _)| *score);
        assert_eq!(values.iter().map(|(_, name)| *name).collect::<String>(), "bdacfe");
        sort_by(&mut values, |(_, a), (_, b)| a.cmp(b));
        assert_eq!(values.iter().map(|(_, name)| *name).collect::<String>(), "abcdef");
    }
}
