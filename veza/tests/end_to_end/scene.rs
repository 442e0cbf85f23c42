//! A scene to try doors in: people, a published track and a draft, listings, an order, a channel.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::acts::{offer, publish, sign_up, tone};
use crate::platform::{Platform, eventually};

const PASSWORD: &str = "correct horse";

/// Somebody who is logged in.
pub struct Person {
    pub id: String,
    pub handle: String,
    pub token: String,
}

/// Everything in it is named by its id.
pub struct Scene {
    pub artist: Person,
    /// Another artist, who has nothing to do with the first.
    pub rival: Person,
    pub buyer: Person,
    pub stranger: Person,
    /// An artist whose address is not confirmed.
    pub unconfirmed: Person,
    pub administrator: Person,
    pub upload: String,
    pub track: String,
    pub draft: String,
    /// A listing of the track that is delivered on approval; the buyer has ordered from it.
    pub listing: String,
    /// Another that nobody has ordered from.
    pub unsold: String,
    pub order: String,
    /// A channel that only the artist is in.
    pub channel: String,
    /// The artist's token with another signature.
    pub stale_signature: String,
}

impl Scene {
    pub async fn set(platform: &Platform) -> Self {
        let artist = Person::join(platform, "nina", "artist").await;
        let rival = Person::join(platform, "miles", "artist").await;
        let buyer = Person::join(platform, "otis", "listener").await;
        let stranger = Person::join(platform, "etta", "listener").await;
        let unconfirmed = Person::join_unconfirmed(platform, "chet", "artist").await;
        let administrator = Person::administrator(platform).await;
        let (status, uploaded) = platform.upload(&artist.token, tone()).await;
        assert_eq!(status, 201, "{uploaded}");
        let upload = uploaded["id"].as_str().unwrap().to_owned();
        let new = json!({ "upload_id": upload, "title": "Undertone" });
        let draft = made(platform, &artist, "/api/v1/tracks", new).await;
        let track = publish(platform, &artist.token).await;
        let listing = listed(platform, &artist, &track, "on_approval").await;
        let unsold = listed(platform, &artist, &track, "instant").await;
        let order = json!({ "listing_id": listing, "payment_method": "sandbox:ok" });
        let order = made(platform, &buyer, "/api/v1/orders", order).await;
        let lobby = json!({ "name": "lobby" });
        let channel = made(platform, &artist, "/api/v1/channels", lobby).await;
        let (signed, signature) = artist.token.rsplit_once('.').unwrap();
        let flipped: String = signature.chars().rev().collect();
        let stale_signature = format!("{signed}.{flipped}");
        Self {
            artist,
            rival,
            buyer,
            stranger,
            unconfirmed,
            administrator,
            upload,
            track,
            draft,
            listing,
            unsold,
            order,
            channel,
            stale_signature,
        }
    }

    /// Waits until the state allows a command that other parts of the platform must come first for.
    pub async fn until_possible(&self, platform: &Platform, route: &str) {
        let seen = |query: String| async move {
            let answer = platform
                .post("/graphql", Some(&self.artist.token), json!({ "query": query }))
                .await;
            answer.1["data"].clone()
        };
        match route {
            "POST /api/v1/tracks/{track_id}/publication" => {
                let query = format!("{{ track(id: \"{}\") {{ status }} }}", self.draft);
                eventually("the draft can be published", async || {
                    seen(query.clone()).await["track"]["status"] == "READY"
                })
                .await;
            }
            "POST /api/v1/orders/{order_id}/acceptance" => {
                let query = format!("{{ order(id: \"{}\") {{ payment }} }}", self.order);
                eventually("the order is delivered and paid", async || {
                    seen(query.clone()).await["order"]["payment"] == "CAPTURED"
                })
                .await;
            }
            _ => {}
        }
    }
}

/// Sends a command that makes something, and returns its id.
async fn made(platform: &Platform, who: &Person, path: &str, body: Value) -> String {
    let (status, done) = platform.post(path, Some(&who.token), body).await;
    assert_eq!(status, 201, "{path}: {done}");
    done["id"].as_str().unwrap().to_owned()
}

async fn listed(platform: &Platform, artist: &Person, track: &str, delivery: &str) -> String {
    let listing = offer(platform, &artist.token, track, "non_exclusive", delivery).await;
    listing.as_str().unwrap().to_owned()
}

impl Person {
    async fn join(platform: &Platform, handle: &str, role: &str) -> Self {
        let token = sign_up(platform, handle, role).await;
        Self::with(handle, token)
    }

    /// Signs up, and leaves the mail unread.
    async fn join_unconfirmed(platform: &Platform, handle: &str, role: &str) -> Self {
        let email = format!("{handle}@example.org");
        let new = json!({
            "handle": handle, "display_name": handle, "email": email,
            "password": PASSWORD, "roles": [role],
        });
        assert_eq!(platform.post("/api/v1/users", None, new).await.0, 201);
        Self::with(handle, log_in(platform, &email).await)
    }

    /// Made on the server's own machine, as the first one must be.
    async fn administrator(platform: &Platform) -> Self {
        let (handle, email) = ("ada", "ada@example.org");
        let password = platform.data().join("password");
        fs::write(&password, format!("{PASSWORD}\n")).unwrap();
        let made = Command::new(env!("CARGO_BIN_EXE_veza"))
            .args(["user", "create", "--role", "administrator", "--email", email])
            .args(["--handle", handle, "--data"])
            .arg(platform.data())
            .arg("--password-file")
            .arg(&password)
            .output()
            .await
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::with(handle, log_in(platform, email).await)
    }

    fn with(handle: &str, token: String) -> Self {
        let claims = token.split('.').nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let id = claims["sub"].as_str().unwrap().to_owned();
        Self { id, handle: handle.to_owned(), token }
    }
}

async fn log_in(platform: &Platform, email: &str) -> String {
    let credentials = json!({ "email": email, "password": PASSWORD });
    let (status, session) = platform.post("/api/v1/sessions", None, credentials).await;
    assert_eq!(status, 201, "{session}");
    session["access_token"].as_str().unwrap().to_owned()
}
