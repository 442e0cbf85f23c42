//! What a buyer has bought: the master, as a file to keep.

use access::Consistency;
use access::{Authenticated, Permission, Problem, ProblemType, ValidPath};
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use event_schemas::OrderId;
use media::{AudioFormat, ObjectKey};
use projections::postgres::{orders, tracks};
use uuid::Uuid;

use crate::api::QueryApi;
use crate::failure::Failure;
use crate::freshness::Freshness;
use crate::schema::commerce::bought_object_key;
use crate::streaming::{Asked, Said, as_of, serve, unread};

/// How long the name of a saved file is, in characters, its ending aside.
const NAME_CHARS_MAX: usize = 80;

/// The master that was delivered and paid, for the order's buyer. To everybody else there is no
/// such thing, whether there is or not.
pub async fn master(
    State(api): State<QueryApi>,
    Authenticated(caller): Authenticated,
    consistency: Consistency,
    method: Method,
    headers: HeaderMap,
    ValidPath(order_id): ValidPath<Uuid>,
) -> Result<Response, Problem> {
    caller.require(Permission::ReadOwnOrder)?;
    let parts = api.parts();
    let freshness = Freshness::asked(parts.watermarks.clone(), &consistency)?;
    freshness.reach(orders::MODEL).await?;
    let order = parts.models.orders.by_id(OrderId(order_id)).await.map_err(Failure::from)?;
    let bought = order.filter(|order| order.buyer_id.0 == caller.user_id);
    let delivered = bought.as_ref().and_then(|order| Some((order, bought_object_key(order)?)));
    let (order, key) = delivered.ok_or_else(|| Problem::new(ProblemType::NotFound))?;
    let track_id = order.track_id;
    let key = ObjectKey::new(key).map_err(|error| Problem::internal(&error))?;
    let format = AudioFormat::of_object(&*parts.objects, &key).await;
    let (ending, content_type) = match format.map_err(|error| unread(&error))? {
        Some(format) => (ending(format), format.content_type()),
        None => ("bin", "application/octet-stream"),
    };
    freshness.reach(tracks::MODEL).await?;
    let track = parts.models.tracks.by_id(track_id).await.map_err(Failure::from)?;
    let title = track.map_or_else(|| track_id.to_string(), |track| track.title);
    let disposition = Some(attachment(&title, ending));
    let said = Said { content_type, cache_control: "private, no-store", disposition };
    let served = serve(parts, &key, Asked { method: &method, headers: &headers }, said).await?;
    Ok(as_of(served, &freshness))
}

fn ending(format: AudioFormat) -> &'static str {
    match format {
        AudioFormat::Wav => "wav",
        AudioFormat::Flac => "flac",
        AudioFormat::Mp3 => "mp3",
        AudioFormat::Ogg => "ogg",
        AudioFormat::Aiff => "aiff",
        AudioFormat::M4a => "m4a",
    }
}

/// A `Content-Disposition` that saves under the title: what any file system takes in plain ASCII,
/// and beside it the title as it is (RFC 6266).
fn attachment(title: &str, ending: &str) -> String {
    let is_unsafe = |c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c);
    let safe = |c: char| if is_unsafe(c) { '_' } else { c };
    let name: String = title.chars().map(safe).take(NAME_CHARS_MAX).collect();
    let name = name.trim_matches(|c: char| c == '.' || c.is_whitespace());
    let name = if name.is_empty() { "track" } else { name };
    let plain = |c: char| if c.is_ascii_alphanumeric() || " ._-".contains(c) { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    let mut encoded = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"._-".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("attachment; filename=\"{ascii}.{ending}\"; filename*=UTF-8''{encoded}.{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_saved_under_a_safe_name() {
        let cases = [
            ("Tone", "Tone.wav", "Tone.wav"),
            ("Nuit d'été", "Nuit d__t_.wav", "Nuit%20d%27%C3%A9t%C3%A9.wav"),
            ("../../etc/passwd", "_.._etc_passwd.wav", "_.._etc_passwd.wav"),
            (
                "a\"; filename=\"b\r\nX: y",
                "a__ filename__b__X_ y.wav",
                "a_%3B%20filename%3D_b__X_%20y.wav",
            ),
            ("...", "track.wav", "track.wav"),
        ];
        for (title, ascii, encoded) in cases {
            let expected = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}");
            assert_eq!(attachment(title, "wav"), expected);
        }
    }
}
