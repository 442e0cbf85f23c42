//! The endpoints, one file a resource, and the list of them all: none is added elsewhere.

mod channels;
mod email_confirmations;
mod listings;
mod orders;
mod sessions;
mod tracks;
mod uploads;
mod users;

use access::RouteClass;
use access::extract::JSON_BODY_BYTES_MAX;
use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::CommandApi;

/// Endpoints that have their limits in common.
pub struct Group {
    /// How often they may be asked.
    pub class: RouteClass,
    /// How large a body may be.
    pub limit: DefaultBodyLimit,
    /// The endpoints.
    pub routes: OpenApiRouter<CommandApi>,
}

/// Every endpoint.
pub fn groups() -> [Group; 3] {
    let json = DefaultBodyLimit::max(JSON_BODY_BYTES_MAX);
    // An upload has a bound of its own, which it knows before it is read.
    let audio = DefaultBodyLimit::disable();
    [
        Group { class: RouteClass::Write, limit: json, routes: commands() },
        Group { class: RouteClass::Credential, limit: json, routes: credentials() },
        Group { class: RouteClass::Upload, limit: audio, routes: uploads() },
    ]
}

/// The commands of people who are logged in.
fn commands() -> OpenApiRouter<CommandApi> {
    OpenApiRouter::new()
        .routes(routes!(users::change_profile))
        .routes(routes!(users::grant_role))
        .routes(routes!(tracks::create))
        .routes(routes!(tracks::publish))
        .routes(routes!(tracks::take_down_master))
        .routes(routes!(tracks::play))
        .routes(routes!(channels::create))
        .routes(routes!(channels::join))
        .routes(routes!(channels::leave))
        .routes(routes!(channels::post_message))
        .routes(routes!(listings::create))
        .routes(routes!(listings::withdraw))
        .routes(routes!(orders::place))
        .routes(routes!(orders::approve))
        .routes(routes!(orders::accept))
}

/// What people do to become known; counted by address.
fn credentials() -> OpenApiRouter<CommandApi> {
    OpenApiRouter::new()
        .routes(routes!(users::sign_up))
        .routes(routes!(email_confirmations::confirm))
        .routes(routes!(email_confirmations::request_mail))
        .routes(routes!(sessions::log_in))
}

/// What carries audio.
fn uploads() -> OpenApiRouter<CommandApi> {
    OpenApiRouter::new().routes(routes!(uploads::receive))
}
