//! Pages of rows by keyset.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use event_store::Position;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row, query};
use thiserror::Error;
use uuid::Uuid;

use crate::envelope::{position_column, position_from_column};
use crate::query_error::QueryError;

/// Most rows of one page.
pub const PAGE_ROWS_MAX: u32 = 100;

/// Where a page ended; the next begins behind it. Opaque to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(Position);

/// The text is no cursor that a page gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the cursor is not one that a page gave")]
pub struct InvalidCursor;

impl Cursor {
    /// Behind the row that the event at this position made.
    pub fn behind(position: Position) -> Self {
        Self(position)
    }

    /// Before the row that the event at this position made: a page from here begins with it.
    pub(crate) fn with(position: Position) -> Self {
        Self(Position::new(position.get().saturating_add(1)))
    }

    /// Where the row's event is in the log.
    pub fn position(self) -> Position {
        self.0
    }

    /// The cursor's position as a column; the far end of the table without a cursor.
    pub(crate) fn column(cursor: Option<Self>) -> i64 {
        cursor.map_or(i64::MAX, |cursor| position_column(cursor.0))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "p{:x}", self.0.get())
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('p').ok_or(InvalidCursor)?;
        // Numbers are read with a sign as well.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InvalidCursor);
        }
        let raw = u64::from_str_radix(digits, 16).map_err(|_| InvalidCursor)?;
        Ok(Self(Position::new(raw)))
    }
}

/// How many rows a page has at most: 1 to [`PAGE_ROWS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageSize(u32);

impl PageSize {
    /// The nearest size that is allowed.
    pub fn clamped(rows: u32) -> Self {
        Self(rows.clamp(1, PAGE_ROWS_MAX))
    }

    /// How many rows to ask for: one more, to know whether there is a next page.
    pub(crate) fn and_one(self) -> i64 {
        i64::from(self.0) + 1
    }

    /// How many rows.
    pub fn rows(self) -> u32 {
        self.0
    }
}

/// Some of the rows, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The rows, each with the cursor behind it.
    pub rows: Vec<(Cursor, T)>,
    /// Whether more rows follow the last one.
    pub more: bool,
}

impl<T> Page<T> {
    /// Where the next page begins; `None` on the last page.
    pub fn next(&self) -> Option<Cursor> {
        let last = self.rows.last().map(|(cursor, _)| *cursor);
        last.filter(|_| self.more)
    }

    /// The rows without cursors.
    pub fn into_rows(self) -> Vec<T> {
        self.rows.into_iter().map(|(_, row)| row).collect()
    }

    /// No rows.
    pub fn empty() -> Self {
        Self { rows: Vec::new(), more: false }
    }

    /// A page of rows that were asked for with one to spare.
    pub(crate) fn of(
        rows: Vec<PgRow>,
        size: PageSize,
        read: impl Fn(&PgRow) -> Result<T, QueryError>,
    ) -> Result<Self, QueryError> {
        let size = size.rows() as usize;
        let more = rows.len() > size;
        let rows = rows
            .iter()
            .take(size)
            .map(|row| Ok((Cursor(position_from_column(row.try_get("position")?)), read(row)?)))
            .collect::<Result<_, QueryError>>()?;
        Ok(Self { rows, more })
    }
}

/// A page of somebody's or something's list: `$1` is whose, `$2` is the cursor, `$3` the number of
/// rows.
pub(crate) async fn page<T>(
    pool: &PgPool,
    sql: &'static str,
    whose: Uuid,
    (after, size): (Option<Cursor>, PageSize),
    read: impl Fn(&PgRow) -> Result<T, QueryError>,
) -> Result<Page<T>, QueryError> {
    let rows = query(sql)
        .bind(whose)
        .bind(Cursor::column(after))
        .bind(size.and_one())
        .fetch_all(pool)
        .await?;
    Page::of(rows, size, read)
}

/// Pages of many lists at once, in one statement: `$1` are the lists' ids, `$2` is the cursor, `$3`
/// the number of rows, and each row tells its list in the column `key`. Lists without rows are
/// left out.
pub(crate) async fn pages<T>(
    pool: &PgPool,
    sql: &'static str,
    key: &'static str,
    lists: Vec<Uuid>,
    (after, size): (Option<Cursor>, PageSize),
    read: impl Fn(&PgRow) -> Result<T, QueryError>,
) -> Result<HashMap<Uuid, Page<T>>, QueryError> {
    let rows = query(sql)
        .bind(lists)
        .bind(Cursor::column(after))
        .bind(size.and_one())
        .fetch_all(pool)
        .await?;
    let mut lists: HashMap<Uuid, Vec<PgRow>> = HashMap::new();
    for row in rows {
        lists.entry(row.try_get(key)?).or_default().push(row);
    }
    let page = |(list, rows)| Ok((list, Page::of(rows, size, &read)?));
    lists.into_iter().map(page).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        let cursor = Cursor::behind(Position::new(4711));
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "p", "12", "pxyz", "p-1", "p+1"] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_page_is_never_empty_nor_endless() {
        assert_eq!(PageSize::clamped(0).rows(), 1);
        assert_eq!(PageSize::clamped(u32::MAX).rows(), PAGE_ROWS_MAX);
    }
}
