//! Sound over HTTP: who hears what, in which parts, under which name.

use access::Role;
use event_schemas::audio::{TrackEvent, TrackMasterTakenDown, TrackPublished};
use event_schemas::commerce::{OrderDelivered, OrderEvent, PaymentCaptured, PaymentEvent};
use event_schemas::{OrderId, UserId};
use futures::StreamExt as _;
use media::{HlsFile, MediaId, ObjectKey};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use uuid::Uuid;

use crate::stage::Stage;

const SEGMENT: &str = "aac-128/segment-00000.m4s";

async fn store(stage: &Stage, key: &ObjectKey, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    let body = futures::stream::iter([Ok(bytes.into())]).boxed();
    stage.objects.put(key, body).await.unwrap();
}

async fn fetch(
    stage: &Stage,
    path: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
) -> Response {
    let mut request = stage.get(path, token);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_draft_streams_to_its_artist_a_published_track_to_all_and_one_taken_down_to_nobody() {
    let stage = Stage::new().await;
    let (nina, otis) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let track_id = stage.draft(nina, "Song").await;
    for path in ["master.m3u8", SEGMENT] {
        let key = HlsFile::parse(path).unwrap().key(MediaId::from(track_id.0));
        store(&stage, &key, b"0123456789").await;
    }
    stage.caught_up().await;
    let callers = [
        None,
        Some(stage.token(nina, Role::Artist)),
        Some(stage.token(otis, Role::Listener)),
        Some(stage.token(otis, Role::Moderator)),
    ];
    let statuses = async |path: &str| {
        let mut statuses = Vec::new();
        for token in &callers {
            let path = format!("/media/tracks/{track_id}/{path}");
            let response = fetch(&stage, &path, token.as_deref(), &[]).await;
            let status = response.status().as_u16();
            let cache = response.headers()["cache-control"].to_str().unwrap().to_owned();
            if status == 404 {
                let problem: Value = response.json().await.unwrap();
                assert_eq!(problem["type"], "urn:veza:problem:not-found");
            }
            statuses.push((status, cache));
        }
        statuses
    };
    let of = |statuses: Vec<(u16, String)>| -> Vec<u16> {
        statuses.into_iter().map(|(status, _)| status).collect()
    };
    let draft = statuses("master.m3u8").await;
    assert_eq!(draft[1].1, "private, no-store");
    assert_eq!(of(draft), [404, 200, 404, 200]);
    stage.put::<TrackEvent>(track_id, TrackPublished { track_id }.into()).await;
    stage.caught_up().await;
    assert_eq!(of(statuses("master.m3u8").await), [200; 4]);
    assert_eq!(statuses(SEGMENT).await[0].1, "public, max-age=3600");
    let path = format!("/media/tracks/{track_id}/master.m3u8");
    for (headers, is_told) in [(&[][..], false), (&[("veza-stale", "allow")], true)] {
        let response = fetch(&stage, &path, None, headers).await;
        let at = response.headers().get("veza-model-position").map(|at| at.to_str().unwrap());
        assert_eq!(at.is_some_and(|at| at.parse::<u64>().unwrap() > 0), is_told, "{at:?}");
    }
    for nothing in ["aac-128/init.mp4", "aac-128/playlist.mpd", "..%2F..%2Fmasters%2Fa", "a%00b"] {
        assert_eq!(of(statuses(nothing).await), [404; 4], "{nothing}");
    }
    let reason = "not theirs".to_owned();
    let down = TrackMasterTakenDown { track_id, by: nina, reason };
    stage.put::<TrackEvent>(track_id, down.into()).await;
    stage.caught_up().await;
    assert_eq!(of(statuses("master.m3u8").await), [404; 4]);
    assert_eq!(of(statuses(SEGMENT).await), [404; 4]);
    stage.end().await;
}

#[tokio::test]
async fn a_segment_is_served_in_the_parts_that_are_asked_for() {
    let stage = Stage::new().await;
    let track_id = stage.track(UserId(Uuid::new_v4()), "Song").await;
    let segment = HlsFile::parse(SEGMENT).unwrap();
    let bytes: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
    store(&stage, &segment.key(MediaId::from(track_id.0)), &bytes).await;
    stage.caught_up().await;
    let path = format!("/media/tracks/{track_id}/{SEGMENT}");
    let whole = fetch(&stage, &path, None, &[]).await;
    let header = |response: &Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(header(&whole, "content-type").unwrap(), "audio/mp4");
    assert_eq!(header(&whole, "content-length").unwrap(), "1000000");
    assert_eq!(header(&whole, "accept-ranges").unwrap(), "bytes");
    assert_eq!(header(&whole, "x-content-type-options").unwrap(), "nosniff");
    let (etag, modified) =
        (header(&whole, "etag").unwrap(), header(&whole, "last-modified").unwrap());
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let parts = [
        ("bytes=0-0", 206, "bytes 0-0/1000000", &bytes[..1]),
        ("bytes=10-19", 206, "bytes 10-19/1000000", &bytes[10..20]),
        ("bytes=999990-", 206, "bytes 999990-999999/1000000", &bytes[999_990..]),
        ("bytes=-5", 206, "bytes 999995-999999/1000000", &bytes[999_995..]),
        ("bytes=500000-9999999", 206, "bytes 500000-999999/1000000", &bytes[500_000..]),
        ("bytes=1000000-", 416, "bytes */1000000", &[]),
        ("bytes=-0", 416, "bytes */1000000", &[]),
    ];
    for (range, status, content_range, expected) in parts {
        let response = fetch(&stage, &path, None, &[("range", range)]).await;
        assert_eq!(response.status().as_u16(), status, "{range}");
        assert_eq!(header(&response, "content-range").unwrap(), content_range, "{range}");
        if status == 206 {
            assert_eq!(response.bytes().await.unwrap(), expected, "{range}");
        } else {
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["type"], "urn:veza:problem:range-not-satisfiable");
        }
    }
    let range = ("range", "bytes=1-2");
    let same = fetch(&stage, &path, None, &[range, ("if-range", &etag)]).await;
    assert_eq!(same.status(), StatusCode::PARTIAL_CONTENT);
    let other = fetch(&stage, &path, None, &[range, ("if-range", "\"another\"")]).await;
    assert_eq!((other.status(), other.bytes().await.unwrap().len()), (StatusCode::OK, 1_000_000));
    for ignored in ["bytes=0-1,5-6", "bytes=9-2", "items=0-1"] {
        let response = fetch(&stage, &path, None, &[("range", ignored)]).await;
        assert_eq!(response.status(), StatusCode::OK, "{ignored}");
    }
    let known = fetch(&stage, &path, None, &[("if-none-match", &etag)]).await;
    assert_eq!((known.status(), header(&known, "etag")), (StatusCode::NOT_MODIFIED, Some(etag)));
    let known = fetch(&stage, &path, None, &[("if-modified-since", &modified)]).await;
    assert_eq!(
        (known.status(), header(&known, "last-modified")),
        (StatusCode::NOT_MODIFIED, Some(modified))
    );
    let head = stage.client.head(format!("http://{}{path}", stage.address));
    let head = head.header("range", "bytes=1-2").send().await.unwrap();
    assert_eq!(
        (head.status(), header(&head, "content-length").unwrap()),
        (StatusCode::OK, "1000000".to_owned())
    );
    let post = stage.client.post(format!("http://{}{path}", stage.address)).send().await.unwrap();
    assert_eq!(post.status(), StatusCode::METHOD_NOT_ALLOWED);
    stage.end().await;
}

#[tokio::test]
async fn a_master_is_for_its_buyer_alone() {
    let stage = Stage::new().await;
    let (nina, otis) = (UserId(Uuid::new_v4()), UserId(Uuid::new_v4()));
    let order_id = stage.order(otis, nina).await;
    let waiting = stage.order(otis, nina).await;
    let object_key = "masters/bought".to_owned();
    let wav = b"RIFF\x24\0\0\0WAVEfmt and so on";
    store(&stage, &ObjectKey::new(object_key.clone()).unwrap(), wav).await;
    let delivered = OrderDelivered { order_id, object_key };
    stage.put::<OrderEvent>(order_id, delivered.into()).await;
    stage.caught_up().await;
    let path = |order: OrderId| format!("/media/orders/{order}/master");
    let buyer = stage.token(otis, Role::Listener);
    let unpaid = fetch(&stage, &path(order_id), Some(&buyer), &[]).await;
    assert_eq!(unpaid.status(), StatusCode::NOT_FOUND);
    stage.put::<PaymentEvent>(order_id, PaymentCaptured { order_id }.into()).await;
    stage.caught_up().await;
    let bought = fetch(&stage, &path(order_id), Some(&buyer), &[("range", "bytes=4-")]).await;
    assert_eq!(bought.status(), StatusCode::PARTIAL_CONTENT);
    let headers = bought.headers();
    let disposition = headers["content-disposition"].to_str().unwrap();
    assert!(disposition.starts_with("attachment; filename=\"") && disposition.ends_with(".wav"));
    assert_eq!(
        (&headers["content-type"], &headers["cache-control"]),
        (&"audio/wav".parse().unwrap(), &"private, no-store".parse().unwrap())
    );
    assert_eq!(bought.bytes().await.unwrap(), wav[4..]);
    // What is behind a tag is what is bought.
    let flac = [b"ID3\x04\0\0\0\0\x08\0".as_slice(), &[0xFF; 1_024], b"fLaC and so on"].concat();
    store(&stage, &ObjectKey::new("masters/bought").unwrap(), &flac).await;
    let tagged = fetch(&stage, &path(order_id), Some(&buyer), &[]).await;
    assert_eq!(tagged.headers()["content-type"], "audio/flac");
    let disposition = tagged.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(disposition.ends_with(".flac"), "{disposition}");
    // To everybody else it is as if there were no such order.
    let none = path(OrderId(Uuid::new_v4()));
    let mut refusals = Vec::new();
    for (path, token) in [
        (none, buyer.clone()),
        (path(waiting), buyer),
        (path(order_id), stage.token(nina, Role::Artist)),
        (path(order_id), stage.token(UserId(Uuid::new_v4()), Role::Administrator)),
    ] {
        let response = fetch(&stage, &path, Some(&token), &[]).await;
        refusals.push((response.status().as_u16(), response.text().await.unwrap()));
    }
    assert!(
        refusals.iter().all(|refusal| *refusal == refusals[0] && refusal.0 == 404),
        "{refusals:?}"
    );
    stage.end().await;
}
