//! The frame of the OpenAPI document; the endpoints add themselves.

use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Veza commands",
    description = "What people can ask Veza to do. Every command takes an optional \
                   `Idempotency-Key`; every answer to one carries `Veza-Position`, which a query \
                   takes as `Veza-Min-Position` to see it. Errors are RFC 9457 problems.",
    license(name = "Apache-2.0", identifier = "Apache-2.0"),
))]
struct Frame;

/// The document without endpoints.
pub(crate) fn document() -> OpenApi {
    let mut document = Frame::openapi();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    document
}
