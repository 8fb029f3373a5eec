//! Columns that hold texts, in every way that Arrow has to hold them.

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;

/// Whether a column of this type holds texts.
pub(super) fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

/// The texts of a column, one a row. None: it does not hold texts.
pub(super) fn texts(column: &dyn Array) -> Option<Vec<Option<&str>>> {
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().iter().collect()),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().iter().collect()),
        DataType::Utf8View => Some(column.as_string_view().iter().collect()),
        DataType::Null => Some(vec![None; column.len()]),
        DataType::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            let values = texts(dictionary.values().as_ref())?;
            if values.is_empty() {
                // There are no keys to look up, only nulls.
                return Some(vec![None; column.len()]);
            }
            let keys = dictionary.normalized_keys().into_iter().enumerate();
            Some(keys.map(|(row, key)| values[key].filter(|_| column.is_valid(row))).collect())
        }
        _ => None,
    }
}
