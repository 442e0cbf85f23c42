//! Who is given which files: the sound of tracks, and the masters that were bought.

use reqwest::Method;
use serde_json::Value;

use crate::platform::Platform;
use crate::scene::{Person, Scene};

const OF_TRACKS: &str = "GET /media/tracks/{track_id}/{*file}";
const OF_ORDERS: &str = "GET /media/orders/{order_id}/master";

/// The routes that the table here has rows of.
pub const ROUTES: &[&str] = &[OF_TRACKS, OF_ORDERS];

/// A file, and with which status everybody is answered who asks for it.
struct File<'a> {
    route: &'static str,
    path: String,
    answers: Vec<(Option<&'a Person>, u16)>,
}

/// The scene's order is paid, and its draft is prepared.
fn files(scene: &Scene) -> Vec<File<'_>> {
    let Scene { artist, rival, buyer, stranger, administrator, track, draft, order, .. } = scene;
    let of_track = |track: &str| format!("/media/tracks/{track}/master.m3u8");
    vec![
        File {
            route: OF_TRACKS,
            path: of_track(track),
            answers: vec![(None, 200), (Some(stranger), 200), (Some(artist), 200)],
        },
        File {
            route: OF_TRACKS,
            path: of_track(draft),
            answers: vec![
                (None, 404),
                (Some(stranger), 404),
                (Some(rival), 404),
                (Some(buyer), 404),
                (Some(artist), 200),
                (Some(administrator), 200),
            ],
        },
        File {
            route: OF_ORDERS,
            path: format!("/media/orders/{order}/master"),
            answers: vec![
                (None, 401),
                (Some(stranger), 404),
                (Some(rival), 404),
                (Some(artist), 404),
                (Some(administrator), 404),
                (Some(buyer), 200),
            ],
        },
    ]
}

#[tokio::test]
async fn every_file_is_given_to_whoever_may_have_it_only() {
    let platform = Platform::start().await;
    let scene = Scene::set(&platform).await;
    let approval = format!("/api/v1/orders/{}/approval", scene.order);
    let (status, answer) = platform.post(&approval, Some(&scene.artist.token), Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    scene.until_possible(&platform, "POST /api/v1/orders/{order_id}/acceptance").await;
    scene.until_possible(&platform, "POST /api/v1/tracks/{track_id}/publication").await;

    let files = files(&scene);
    for route in ROUTES {
        assert!(files.iter().any(|file| file.route == *route), "{route} has its row");
    }
    let asked = async |path: &str, token: Option<&str>| {
        let answer = platform.request(Method::GET, path, token).send().await.unwrap();
        answer.status().as_u16()
    };
    for File { path, answers, .. } in &files {
        for forged in ["no.token.atall", scene.stale_signature.as_str()] {
            assert_eq!(asked(path, Some(forged)).await, 401, "{path} with a forged token");
        }
        for (who, expected) in answers {
            let name = who.map_or("nobody", |person| person.handle.as_str());
            let token = who.map(|person| person.token.as_str());
            assert_eq!(asked(path, token).await, *expected, "{path} by {name}");
        }
    }
    platform.stop().await;
}
