//! Plays: nobody listens to more than there is time for.

use std::time::Instant;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::acts::{publish, sign_up};
use crate::platform::Platform;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_has_no_more_time_than_passes() {
    let platform = Platform::start_with(&[("VEZA_RATE_LIMITS", "off")]).await;
    let nina = sign_up(&platform, "nina", "artist").await;
    let otis = sign_up(&platform, "otis", "listener").await;
    let etta = sign_up(&platform, "etta", "listener").await;
    let tracks = [publish(&platform, &nina).await, publish(&platform, &nina).await];
    let paths = tracks.map(|track| format!("/api/v1/tracks/{track}/plays"));
    let plays = async |listener: &str, path: &str, key: String, listened_ms: u32| {
        let request = platform.request(Method::POST, path, Some(listener));
        let request = request.header("idempotency-key", key);
        platform.send(request.json(&json!({ "listened_ms": listened_ms }))).await
    };
    let began = Instant::now();
    let rush = (0..100).map(|n| plays(&otis, &paths[n % 2], format!("play-{n}"), 2_000));
    let answers = join_all(rush).await;
    let passed_ms = began.elapsed().as_millis();
    let counted: Vec<_> = (0..100).filter(|n| answers[*n].0 == 201).collect();
    // What he heard before the first was told, and how early the last may be.
    let most = 1 + (passed_ms + 5_000) / 2_000;
    assert!((1..=most).contains(&(counted.len() as u128)), "{passed_ms} ms: {counted:?}");
    for (status, problem) in answers.iter().filter(|(status, _)| *status != 201) {
        assert_eq!((*status, &problem["type"]), (409, &json!("urn:veza:problem:conflict")));
    }
    let one = counted[0];
    let again = plays(&otis, &paths[one % 2], format!("play-{one}"), 2_000).await;
    assert_eq!(again, answers[one], "a repetition is answered alike");
    let (status, problem) = plays(&otis, &paths[one % 2], format!("play-{one}"), 1_500).await;
    assert_eq!(
        (status, &problem["type"]),
        (422, &json!("urn:veza:problem:idempotency-key-reused"))
    );
    assert_eq!(
        plays(&etta, &paths[0], "play".to_owned(), 2_000).await.0,
        201,
        "she has her own time"
    );
    platform.stop().await;
}
