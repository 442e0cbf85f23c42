//! A page as the schema shows it: a connection, as Relay's specification has it.
//!
//! A row may have nothing to show: its own model does not know it yet, or the caller may not see
//! it. Such a row is left out, and its cursor counts all the same, so that one gets on behind a
//! page of which nothing is shown.

use std::borrow::Cow;
use std::marker::PhantomData;

use async_graphql::connection::{
    ConnectionNameType, DefaultConnectionName, DefaultEdgeName, Edge, EdgeNameType, EmptyFields,
    PageInfo,
};
use async_graphql::{Object, OutputType, TypeName};
use projections::Page;

use crate::rows::Place;

/// Names a connection and its edge otherwise than by the type of their nodes.
macro_rules! connection_names {
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
pub(crate) use connection_names;

/// A page.
pub struct Connection<T: OutputType, N = DefaultConnectionName, E: EdgeNameType = DefaultEdgeName> {
    page_info: PageInfo,
    edges: Vec<Edge<String, T, EmptyFields, E>>,
    named: PhantomData<N>,
}

impl<T: OutputType, N, E: EdgeNameType> Connection<T, N, E> {
    /// Of these rows, each with the cursor behind it, and with nothing where nothing is shown.
    pub fn new(rows: Vec<(String, Option<T>)>, has_previous: bool, has_next: bool) -> Self {
        let cursor = |row: Option<&(String, Option<T>)>| row.map(|(cursor, _)| cursor.clone());
        let page_info = PageInfo {
            has_previous_page: has_previous,
            has_next_page: has_next,
            start_cursor: cursor(rows.first()),
            end_cursor: cursor(rows.last()),
        };
        let shown = |(cursor, row): (String, Option<T>)| Some(Edge::new(cursor, row?));
        let edges = rows.into_iter().filter_map(shown).collect();
        Self { page_info, edges, named: PhantomData }
    }
}

/// A page as a connection, each row as `show` makes it: as something, or perhaps as nothing.
pub fn connection<R, S, T, N, E>(
    page: Page<R>,
    (after, _): Place,
    show: impl Fn(R) -> S,
) -> Connection<T, N, E>
where
    S: Into<Option<T>>,
    T: OutputType,
    E: EdgeNameType,
{
    let rows = page.rows.into_iter().map(|(cursor, row)| (cursor.to_string(), show(row).into()));
    Connection::new(rows.collect(), after.is_some(), page.more)
}

#[Object(name_type)]
impl<T, N, E> Connection<T, N, E>
where
    T: OutputType,
    N: ConnectionNameType,
    E: EdgeNameType,
{
    /// Information to aid in pagination.
    async fn page_info(&self) -> &PageInfo {
        &self.page_info
    }

    /// A list of edges.
    async fn edges(&self) -> &[Edge<String, T, EmptyFields, E>] {
        &self.edges
    }

    /// A list of nodes.
    async fn nodes(&self) -> Vec<&T> {
        self.edges.iter().map(|edge| &edge.node).collect()
    }
}

impl<T: OutputType, N: ConnectionNameType, E: EdgeNameType> TypeName for Connection<T, N, E> {
    fn type_name() -> Cow<'static, str> {
        N::type_name::<T>().into()
    }
}
