//! The OpenAPI document: its frame, and what many endpoints have in common. The endpoints add
//! themselves with what is their own.

use access::headers::{IDEMPOTENCY_KEY_CHARS_MAX, VEZA_POSITION};
use access::problem::{FieldError, PROBLEM_MEDIA_TYPE};
use access::{Problem, ProblemType};
use aggregates::audio::track::{TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX};
use aggregates::commerce::AMOUNT_MINOR_MAX;
use aggregates::commerce::amount::CURRENCIES;
use aggregates::commerce::listing::PAYMENT_METHOD_CHARS_MAX;
use aggregates::social::{channel, message};
use aggregates::text::REASON_CHARS_MAX;
use aggregates::user::account::{BIO_CHARS_MAX, DISPLAY_NAME_CHARS_MAX};
use utoipa::OpenApi as _;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::schema::{ArrayItems, Schema, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, Object, OpenApi, Ref, RefOr};
use utoipa::{Number, PartialSchema as _};

use crate::identity::{
    EMAIL_BYTES_MAX, HANDLE_CHARS_MAX, HANDLE_CHARS_MIN, PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Veza commands",
        description = "What people can ask Veza to do. A command that takes an `Idempotency-Key` \
                       is carried out once under it, however often it is sent. What changes the \
                       log is answered with `Veza-Position`, which a query takes as \
                       `Veza-Min-Position` to see it. Errors are RFC 9457 problems. Queries are \
                       GraphQL by `POST /graphql`, subscriptions a WebSocket to `/graphql` of the \
                       subprotocol `graphql-transport-ws`, whose `connection_init` has the \
                       payload `{\"Authorization\": \"Bearer <access_token>\"}`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(Problem, FieldError))
)]
struct Frame;

/// What anything may be refused with.
const ALWAYS: &[ProblemType] = &[
    ProblemType::Malformed,
    ProblemType::RequestTimeout,
    ProblemType::PayloadTooLarge,
    // These two also where no body is wanted, if there is one.
    ProblemType::UnsupportedMediaType,
    ProblemType::Validation,
    ProblemType::RateLimited,
    ProblemType::Internal,
    ProblemType::Unreadable,
    ProblemType::Overloaded,
    ProblemType::Unavailable,
    ProblemType::StorageFull,
];
/// What also is when it takes a key.
const OF_KEYS: &[ProblemType] =
    &[ProblemType::IdempotencyInProgress, ProblemType::IdempotencyKeyReused];
/// What also is when it needs a token.
const OF_TOKENS: &[ProblemType] = &[ProblemType::Unauthenticated, ProblemType::Forbidden];
/// What also is where the token must be of a confirmed address.
const OF_CONFIRMED: &[ProblemType] = &[ProblemType::EmailNotConfirmed];
/// The commands that are so: their permissions are those that need it, of some roles or of all.
const FOR_CONFIRMED: &[&str] = &[
    "grantRole",
    "publishTrack",
    "takeDownMaster",
    "createListing",
    "withdrawListing",
    "placeOrder",
    "approveOrder",
    "acceptOrder",
];

/// The header with the key of a command.
const KEY: &str = "Idempotency-Key";
/// Visible ASCII, as `access::headers` takes it.
const KEY_PATTERN: &str = "^[!-~]+$";
const KEY_DESCRIPTION: &str = "What the same sender sends to the same path under the same key is \
                               carried out once, and answered alike however often it is sent; with \
                               another body it is refused. A new one, such as a UUID, for each \
                               command.";

/// The document without endpoints.
pub(crate) fn document() -> OpenApi {
    let mut document = Frame::openapi();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_with(Default::default);
    components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    document
}

/// Adds to the endpoints what they have in common.
pub(crate) fn complete(document: &mut OpenApi) {
    for path in document.paths.paths.values_mut() {
        let operations = [&mut path.post, &mut path.put, &mut path.delete];
        for operation in operations.into_iter().flatten() {
            describe_key(operation);
            add_refusals(operation);
            describe_responses(operation);
        }
    }
    add_limits(document.components.get_or_insert_with(Default::default));
}

fn takes_key(operation: &Operation) -> bool {
    let mut parameters = operation.parameters.iter().flatten();
    parameters.any(|parameter| matches!(parameter, RefOr::T(one) if one.name == KEY))
}

fn is_for_confirmed(operation: &Operation) -> bool {
    operation.operation_id.as_deref().is_some_and(|id| FOR_CONFIRMED.contains(&id))
}

/// Says what a key may be, and what it does.
fn describe_key(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else {
            continue;
        };
        if parameter.name == KEY {
            let mut key = Object::with_type(Type::String);
            (key.min_length, key.max_length) = (Some(1), Some(IDEMPOTENCY_KEY_CHARS_MAX));
            key.pattern = Some(KEY_PATTERN.to_owned());
            parameter.schema = Some(RefOr::T(Schema::Object(key)));
            parameter.description = Some(KEY_DESCRIPTION.to_owned());
        }
    }
}

/// Adds the statuses that the endpoint need not name, and to all which types come with them.
fn add_refusals(operation: &mut Operation) {
    let when = |holds: bool, kinds: &'static [ProblemType]| if holds { kinds } else { &[] };
    let kinds: Vec<ProblemType> = [
        ALWAYS,
        when(takes_key(operation), OF_KEYS),
        when(operation.security.is_some(), OF_TOKENS),
        when(is_for_confirmed(operation), OF_CONFIRMED),
    ]
    .concat();
    for kind in kinds {
        let said = format!("{} (`{}`)", kind.title(), kind.name());
        let status = kind.status().as_str().to_owned();
        let responses = &mut operation.responses.responses;
        match responses.get_mut(&status) {
            Some(RefOr::T(response)) => response.description += &format!("; {said}"),
            _ => {
                let response = ResponseBuilder::new().description(said).build();
                responses.insert(status, RefOr::T(response));
            }
        }
    }
}

/// Adds what a response of that status has: the position, or a problem with its headers.
fn describe_responses(operation: &mut Operation) {
    let (takes_key, takes_token) = (takes_key(operation), operation.security.is_some());
    let is_command = takes_key && operation.operation_id.as_deref() != Some("uploadAudio");
    for (status, response) in &mut operation.responses.responses {
        let RefOr::T(response) = response else {
            continue;
        };
        let mut header = |name: &str, description: &str| {
            let header = HeaderBuilder::new().schema(Some(String::schema()));
            let header = header.description(Some(description)).build();
            response.headers.insert(name.to_owned(), RefOr::T(header));
        };
        match status.as_str() {
            // Where none is taken, it is the password that is wrong.
            "401" if takes_token => header("WWW-Authenticate", "How to be believed: `Bearer`"),
            "409" if takes_key => {
                header(
                    "Retry-After",
                    "When to come back, in seconds: of `idempotency-in-progress`",
                );
            }
            "429" | "503" => header("Retry-After", "When to come back, in seconds"),
            status if status < "300" && is_command => {
                header(VEZA_POSITION.as_str(), "The position of the outcome in the log");
            }
            _ => {}
        }
        if status.as_str() >= "400" {
            let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem")));
            response.content.insert(PROBLEM_MEDIA_TYPE.to_owned(), problem.build().into());
        }
    }
}

/// Says how long texts and how large amounts may be; the macro takes no constants.
fn add_limits(components: &mut Components) {
    let mut text = |of: &str, field: &str, min, max| {
        let text = property(components, of, field);
        (text.min_length, text.max_length) = (Some(min), Some(max));
    };
    text("NewUser", "handle", HANDLE_CHARS_MIN, HANDLE_CHARS_MAX);
    text("NewUser", "display_name", 1, DISPLAY_NAME_CHARS_MAX);
    text("NewUser", "email", 1, EMAIL_BYTES_MAX);
    text("NewUser", "password", PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX);
    text("MailRequest", "email", 1, EMAIL_BYTES_MAX);
    text("Profile", "display_name", 1, DISPLAY_NAME_CHARS_MAX);
    text("Profile", "bio", 0, BIO_CHARS_MAX);
    text("NewRole", "reason", 1, REASON_CHARS_MAX);
    text("NewTrack", "title", 1, TITLE_CHARS_MAX);
    text("TakeDown", "reason", 1, REASON_CHARS_MAX);
    text("NewChannel", "name", 1, channel::NAME_CHARS_MAX);
    text("NewMessage", "text", 1, message::TEXT_CHARS_MAX);
    text("NewOrder", "payment_method", 1, PAYMENT_METHOD_CHARS_MAX);
    let amount = property(components, "Price", "amount_minor");
    amount.minimum = Some(Number::UInt(1));
    amount.maximum = Some(Number::UInt(usize::try_from(AMOUNT_MINOR_MAX).unwrap_or(usize::MAX)));
    let currency = property(components, "Price", "currency");
    currency.enum_values = Some(CURRENCIES.iter().map(|code| (*code).into()).collect());
    if let Some(Schema::Array(tags)) = field(components, "NewTrack", "tags") {
        tags.max_items = Some(TAGS_MAX);
        if let ArrayItems::RefOrSchema(tag) = &mut tags.items
            && let RefOr::T(Schema::Object(tag)) = &mut **tag
        {
            (tag.min_length, tag.max_length) = (Some(1), Some(TAG_CHARS_MAX));
        }
    }
}

fn property<'a>(components: &'a mut Components, of: &str, name: &str) -> &'a mut Object {
    match field(components, of, name) {
        Some(Schema::Object(object)) => object,
        _ => panic!("{of}.{name} is not in the document"),
    }
}

fn field<'a>(components: &'a mut Components, of: &str, name: &str) -> Option<&'a mut Schema> {
    let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(of) else {
        return None;
    };
    match object.properties.get_mut(name) {
        Some(RefOr::T(schema)) => Some(schema),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::routes::groups;

    fn whole() -> Value {
        let empty = utoipa_axum::router::OpenApiRouter::with_openapi(document());
        let all = groups().into_iter().fold(empty, |all, group| all.merge(group.routes));
        let (_, mut document) = all.split_for_parts();
        complete(&mut document);
        serde_json::to_value(document).expect("plain data")
    }

    #[test]
    fn every_refusal_is_a_problem_of_a_known_type() {
        let document = whole();
        let known: Vec<_> = ProblemType::ALL.iter().map(|kind| kind.uri()).collect();
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["ProblemType"]["enum"], json!(known));
        let problem = &schemas["Problem"]["properties"];
        assert_eq!(problem["type"]["$ref"], "#/components/schemas/ProblemType");
        assert_eq!(problem["errors"]["items"]["$ref"], "#/components/schemas/FieldError");
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for (method, operation) in operations.as_object().expect("operations") {
                let responses = operation["responses"].as_object().expect("responses");
                let statuses: BTreeSet<_> = responses.keys().map(String::as_str).collect();
                assert!(statuses.is_superset(&BTreeSet::from(["400", "429", "500", "503", "507"])));
                assert_eq!(
                    statuses.contains("403"),
                    operation.get("security").is_some() || path == "/api/v1/users",
                    "{method} {path}"
                );
                for (status, response) in
                    responses.iter().filter(|(status, _)| *status >= &"400".to_owned())
                {
                    let schema = &response["content"][PROBLEM_MEDIA_TYPE]["schema"]["$ref"];
                    assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
                }
            }
        }
    }

    #[test]
    fn every_command_tells_its_position_and_takes_a_key() {
        let document = whole();
        let done = "#/components/schemas/Done";
        let mut commands = 0;
        for (path, operations) in document["paths"].as_object().expect("paths") {
            for operation in operations.as_object().expect("operations").values() {
                let responses = operation["responses"].as_object().expect("responses");
                let Some(answer) = responses.values().find(|response| {
                    response["content"]["application/json"]["schema"]["$ref"] == done
                }) else {
                    continue;
                };
                commands += 1;
                assert!(answer["headers"].get(VEZA_POSITION.as_str()).is_some(), "{path}");
                let parameters = operation["parameters"].as_array().expect("parameters");
                let key = parameters.iter().find(|one| one["name"] == "Idempotency-Key");
                let key = key.unwrap_or_else(|| panic!("{path} takes a key"));
                assert_eq!(key["required"], false, "{path}");
                let expected = json!({
                    "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$",
                });
                assert_eq!(key["schema"], expected, "{path}");
                assert!(key["description"].as_str().expect("words").contains("carried out once"));
            }
        }
        assert_eq!(commands, 17);
    }

    #[test]
    fn who_has_not_confirmed_an_address_is_told_of_where_they_may_not() {
        let document = whole();
        let mut told = BTreeSet::new();
        for operations in document["paths"].as_object().expect("paths").values() {
            for operation in operations.as_object().expect("operations").values() {
                let forbidden = operation["responses"]["403"]["description"].as_str();
                if forbidden.is_some_and(|text| text.contains("email-not-confirmed")) {
                    told.insert(operation["operationId"].as_str().expect("an id"));
                }
            }
        }
        assert_eq!(told, FOR_CONFIRMED.iter().copied().collect(), "each is there");
        let responses =
            |path: &str| document["paths"][path]["post"]["responses"].as_object().cloned();
        let headers = |path: &str, status: &str| {
            responses(path).and_then(|all| all[status]["headers"].as_object().cloned())
        };
        assert_eq!(headers("/api/v1/sessions", "401"), None, "no token is wanted there");
        let refused = headers("/api/v1/channels", "401").expect("headers");
        assert!(refused.contains_key("WWW-Authenticate"));
        let running = headers("/api/v1/channels", "409").expect("headers");
        assert!(running.contains_key("Retry-After"));
    }

    #[test]
    fn audio_is_sent_as_it_is() {
        let document = whole();
        let content = &document["paths"]["/api/v1/uploads"]["post"]["requestBody"]["content"];
        let binary = json!({ "type": "string", "format": "binary" });
        assert_eq!(content, &json!({ "application/octet-stream": { "schema": binary } }));
    }

    #[test]
    fn the_limits_are_those_that_hold() {
        let schemas = &whole()["components"]["schemas"];
        let of = |name: &str, field: &str| schemas[name]["properties"][field].clone();
        assert_eq!(of("NewTrack", "title")["maxLength"], TITLE_CHARS_MAX);
        assert_eq!(of("NewUser", "password")["maxLength"], PASSWORD_CHARS_MAX);
        assert_eq!(of("NewTrack", "tags")["maxItems"], TAGS_MAX);
        assert_eq!(of("NewTrack", "tags")["items"]["maxLength"], TAG_CHARS_MAX);
        assert_eq!(of("Price", "amount_minor")["maximum"], AMOUNT_MINOR_MAX);
        assert_eq!(of("Price", "currency")["enum"], json!(CURRENCIES));
        assert!(of("NewMessage", "text")["description"].is_string(), "what it is stays there");
    }
}
