//! The endpoints, one file a resource.

mod channels;
mod email_confirmations;
mod listings;
mod orders;
mod sessions;
mod tracks;
mod uploads;
mod users;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::CommandApi;

/// The commands of people who are logged in.
pub(crate) fn commands() -> OpenApiRouter<CommandApi> {
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
pub(crate) fn credentials() -> OpenApiRouter<CommandApi> {
    OpenApiRouter::new()
        .routes(routes!(users::sign_up))
        .routes(routes!(email_confirmations::confirm))
        .routes(routes!(email_confirmations::request_mail))
        .routes(routes!(sessions::log_in))
}

/// What carries audio.
pub(crate) fn uploads() -> OpenApiRouter<CommandApi> {
    OpenApiRouter::new().routes(routes!(uploads::receive))
}
