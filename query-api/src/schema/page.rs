//! Pages as connections, and numbers that GraphQL's `Int` is too small for.

use async_graphql::connection::{
    Connection, ConnectionNameType, DefaultConnectionName, DefaultEdgeName, Edge, EdgeNameType,
    EmptyFields,
};
use async_graphql::{InputValueError, InputValueResult, OutputType, Scalar, ScalarType, Value};
use projections::{Cursor, Page, PageSize};

use crate::failure::Failure;
use crate::limits::PAGE_ROWS_MAX;
use crate::rows::Place;

/// A page as the schema shows it.
pub type Rows<T, N = DefaultConnectionName, E = DefaultEdgeName> =
    Connection<String, T, EmptyFields, EmptyFields, N, E>;

/// Names a connection and its edge otherwise than by the type of their nodes.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident = $connection:literal, $edge:literal) => {
        $(#[$doc])*
        pub struct $name;

        impl async_graphql::connection::ConnectionNameType for $name {
            fn type_name<T: async_graphql::OutputType>() -> String {
                $connection.to_owned()
            }
        }

        impl async_graphql::connection::EdgeNameType for $name {
            fn type_name<T: async_graphql::OutputType>() -> String {
                $edge.to_owned()
            }
        }
    };
}
pub(crate) use names;

/// A whole number from 0 to 2^63 - 1, written as a JSON number. JavaScript's numbers are exact up
/// to 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Long(pub u64);

#[Scalar]
impl ScalarType for Long {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::Number(number) => {
                number.as_u64().map(Self).ok_or_else(|| InputValueError::expected_type(value))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::Number(self.0.into())
    }
}

/// Which page is asked for.
///
/// # Errors
/// When `first` is not 1 to [`PAGE_ROWS_MAX`], or `after` is no cursor.
pub fn place(first: i32, after: Option<&str>) -> Result<Place, Failure> {
    let size = size(first)?;
    let unreadable = |_| Failure::Validation("`after` is not a cursor that a page gave".to_owned());
    Ok((after.map(|after| after.parse::<Cursor>().map_err(unreadable)).transpose()?, size))
}

/// How many rows are asked for.
///
/// # Errors
/// When that is not 1 to [`PAGE_ROWS_MAX`].
pub fn size(first: i32) -> Result<PageSize, Failure> {
    match u32::try_from(first) {
        Ok(rows) if (1..=PAGE_ROWS_MAX).contains(&first) => Ok(PageSize::clamped(rows)),
        _ => Err(Failure::Validation(format!("`first` must be 1 to {PAGE_ROWS_MAX}"))),
    }
}

/// What a page costs: what is asked of a row, as often as there may be rows.
pub fn cost(first: i32, of_a_row: usize) -> usize {
    let rows = usize::try_from(first.clamp(1, PAGE_ROWS_MAX)).unwrap_or(1);
    rows.saturating_mul(of_a_row).saturating_add(1)
}

/// A page as a connection, each row shown as `show` makes it.
pub fn connection<R, T: OutputType, N: ConnectionNameType, E: EdgeNameType>(
    page: Page<R>,
    (after, _): Place,
    show: impl Fn(R) -> T,
) -> Rows<T, N, E> {
    let mut connection = Connection::new(after.is_some(), page.more);
    let edge = |(cursor, row): (Cursor, R)| Edge::new(cursor.to_string(), show(row));
    connection.edges.extend(page.rows.into_iter().map(edge));
    connection
}
