//! Every door of the query side, in one list: none is added elsewhere.

use axum::Router;
use axum::routing::{get, post};

use crate::QueryApi;
use crate::{graphql, socket, streaming};

/// The doors, without what they have in common.
pub fn routes() -> Router<QueryApi> {
    Router::new()
        .route("/graphql", post(graphql::post).get(socket::open).fallback(socket::not_allowed))
        .route("/media/tracks/{track_id}/{*file}", get(streaming::track::file))
        .route("/media/orders/{order_id}/master", get(streaming::order::master))
}
