//! Which page is asked for, and what it costs.

use projections::{Cursor, PAGE_ROWS_MAX, PageSize};

use crate::failure::Failure;
use crate::rows::Place;

/// How many rows are asked for where nothing is said, or null: a variable that is left out is null.
const FIRST_DEFAULT: i32 = 20;

/// Which page is asked for.
///
/// # Errors
/// When `first` is not 1 to [`PAGE_ROWS_MAX`], or `after` is no cursor.
pub fn place(first: Option<i32>, after: Option<&str>) -> Result<Place, Failure> {
    let size = size(first)?;
    let unreadable = |_| Failure::Validation("`after` is not a cursor that a page gave".to_owned());
    Ok((after.map(|after| after.parse::<Cursor>().map_err(unreadable)).transpose()?, size))
}

/// How many rows are asked for.
///
/// # Errors
/// When that is not 1 to [`PAGE_ROWS_MAX`].
pub fn size(first: Option<i32>) -> Result<PageSize, Failure> {
    match u32::try_from(first.unwrap_or(FIRST_DEFAULT)) {
        Ok(rows @ 1..=PAGE_ROWS_MAX) => Ok(PageSize::clamped(rows)),
        _ => Err(Failure::Validation(format!("`first` must be 1 to {PAGE_ROWS_MAX}"))),
    }
}

/// What a page costs: what is asked of a row, as often as there may be rows.
pub fn cost(first: Option<i32>, of_a_row: usize) -> usize {
    let rows = u32::try_from(first.unwrap_or(FIRST_DEFAULT)).unwrap_or(1).clamp(1, PAGE_ROWS_MAX);
    of_a_row.saturating_mul(rows as usize).saturating_add(1)
}
