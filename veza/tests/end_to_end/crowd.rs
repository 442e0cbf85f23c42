//! A crowd of people who play, talk, rename themselves and buy, each as fast as they are answered.
//!
//! Whatever happens to the platform, they send a command again under its key until they are
//! answered, and they remember what they were told.

mod trouble;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::acts::{offer, publish_tone, sign_up, tone};
use crate::platform::{POLL, Platform};
use trouble::Trouble;

/// How long an answer may take before it is asked for again.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How people pay, some of them badly.
const METHODS: [&str; 6] = [
    "sandbox:ok",
    "sandbox:ok",
    "sandbox:slow:30",
    "sandbox:duplicate",
    "sandbox:charged-then-timeout",
    "sandbox:decline",
];

/// What somebody was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// The category of the stream that the command was about.
    pub category: &'static str,
    /// What it was about, or made.
    pub id: String,
    /// Where its outcome is.
    pub position: u64,
    /// The command's key, which is also what was said in it.
    pub key: String,
}

/// What they act on.
struct Stage {
    artist: String,
    tokens: Vec<String>,
    track: String,
    channel: String,
    listings: [Value; 2],
    trouble: Trouble,
}

struct Shared {
    stage: Stage,
    client: Client,
    url: watch::Sender<String>,
    open: watch::Sender<bool>,
    /// How often they were let act.
    round: AtomicUsize,
    busy: AtomicU64,
    answered: AtomicU64,
    told: Mutex<Vec<Told>>,
    /// Orders that somebody may have to approve or accept, each with its buyer.
    orders: Mutex<Vec<(String, usize)>>,
    wrong: Mutex<Vec<String>>,
}

/// The crowd; it goes with this.
pub struct Crowd {
    shared: Arc<Shared>,
    _people: JoinSet<()>,
}

impl Crowd {
    /// So many people, who wait until they may begin.
    pub async fn gather(platform: &Platform, people: usize, seed: u64) -> Self {
        let artist = sign_up(platform, "artist", "artist").await;
        Self::around(platform, artist, Trouble::default(), people, seed).await
    }

    /// The same, who run into trouble with their purchases in each of so many rounds.
    pub async fn gather_for_trouble(
        platform: &Platform,
        people: usize,
        rounds: usize,
        seed: u64,
    ) -> Self {
        let artist = sign_up(platform, "artist", "artist").await;
        let trouble = Trouble::prepare(platform, &artist, rounds.div_ceil(2), rounds).await;
        Self::around(platform, artist, trouble, people, seed).await
    }

    async fn around(
        platform: &Platform,
        artist: String,
        trouble: Trouble,
        people: usize,
        seed: u64,
    ) -> Self {
        // So short that nobody plays it as often as there is time for.
        let track = publish_tone(platform, &artist, 100).await;
        let (status, channel) =
            platform.post("/api/v1/channels", Some(&artist), json!({ "name": "lobby" })).await;
        assert_eq!(status, 201);
        let channel = channel["id"].as_str().unwrap().to_owned();
        let mut tokens = Vec::new();
        for person in 0..people {
            let token = sign_up(platform, &format!("person{person}"), "listener").await;
            let join = format!("/api/v1/channels/{channel}/members/me");
            let join = platform.request(Method::PUT, &join, Some(&token));
            assert_eq!(platform.send(join).await.0, 200);
            tokens.push(token);
        }
        let listings = [
            offer(platform, &artist, &track, "non_exclusive", "instant").await,
            offer(platform, &artist, &track, "non_exclusive", "on_approval").await,
        ];
        let shared = Arc::new(Shared {
            stage: Stage { artist, tokens, track, channel, listings, trouble },
            client: Client::new(),
            url: watch::Sender::new(platform.url().to_owned()),
            open: watch::Sender::new(false),
            round: AtomicUsize::new(0),
            busy: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            told: Mutex::default(),
            orders: Mutex::default(),
            wrong: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for person in 0..people {
            let rng = StdRng::seed_from_u64(seed ^ (person as u64 + 1));
            let shared = Arc::clone(&shared);
            tasks.spawn(Person { shared, person, rng, count: 0, round: 0 }.act());
        }
        Self { shared, _people: tasks }
    }

    /// The platform is there now.
    pub fn moved(&self, url: &str) {
        self.shared.url.send_replace(url.to_owned());
    }

    /// Lets them act.
    pub fn begin(&self) {
        self.shared.round.fetch_add(1, Ordering::SeqCst);
        self.shared.open.send_replace(true);
    }

    /// Lets them begin nothing more, and returns when everybody was answered.
    pub async fn pause(&self) {
        self.shared.open.send_replace(false);
        let quiet = async {
            while self.in_flight() > 0 {
                tokio::time::sleep(POLL).await; // poll
            }
        };
        tokio::time::timeout(Duration::from_secs(60), quiet).await.expect("everybody is answered");
        assert_eq!(*self.shared.wrong.lock().unwrap(), Vec::<String>::new(), "answers went wrong");
    }

    /// How many commands were answered.
    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::SeqCst)
    }

    /// How many commands wait for their answer.
    pub fn in_flight(&self) -> u64 {
        self.shared.busy.load(Ordering::SeqCst)
    }

    /// What their purchases ran into.
    pub fn trouble(&self) -> &Trouble {
        &self.shared.stage.trouble
    }

    /// Everything that anybody was told.
    pub fn told(&self) -> Vec<Told> {
        self.shared.told.lock().unwrap().clone()
    }

    /// Approves and accepts every order, as far as that can be done by now.
    pub async fn settle(&self, platform: &Platform) {
        let orders = self.shared.orders.lock().unwrap().clone();
        for (order, buyer) in orders {
            let asks = [("approval", self.artist()), ("acceptance", self.token(buyer))];
            for (what, token) in asks {
                let path = format!("/api/v1/orders/{order}/{what}");
                let (status, said) = platform.post(&path, Some(token), Value::Null).await;
                assert!([200, 409].contains(&status), "{path}: {status} {said}");
            }
        }
    }

    fn artist(&self) -> &str {
        &self.shared.stage.artist
    }

    fn token(&self, person: usize) -> &str {
        &self.shared.stage.tokens[person]
    }
}

struct Person {
    shared: Arc<Shared>,
    person: usize,
    rng: StdRng,
    count: u64,
    /// The last round that they took part in.
    round: usize,
}

impl Person {
    async fn act(mut self) {
        let mut open = self.shared.open.subscribe();
        while open.wait_for(|open| *open).await.is_ok() {
            self.shared.busy.fetch_add(1, Ordering::SeqCst);
            // Whoever paused meanwhile sees either this person busy, or nothing begun.
            if *open.borrow() {
                self.one().await;
                self.shared.answered.fetch_add(1, Ordering::SeqCst);
            }
            self.shared.busy.fetch_sub(1, Ordering::SeqCst);
        }
    }

    async fn one(&mut self) {
        self.count += 1;
        let key = format!("{}-{}", self.person, self.count);
        let shared = Arc::clone(&self.shared);
        let stage = &shared.stage;
        let round = shared.round.load(Ordering::SeqCst);
        if stage.trouble.is_any() && self.round != round {
            // Everybody at the same moment.
            self.round = round;
            return self.rush(key).await;
        }
        match self.rng.random_range(0..100) {
            0..40 => {
                let path = format!("/api/v1/tracks/{}/plays", stage.track);
                self.command("play", Method::POST, path, json!({ "listened_ms": 50 }), key).await;
            }
            40..75 => {
                let path = format!("/api/v1/channels/{}/messages", stage.channel);
                self.command("message", Method::POST, path, json!({ "text": key }), key).await;
            }
            75..85 => {
                let path = "/api/v1/users/me/profile".to_owned();
                let body = json!({ "display_name": key, "bio": "" });
                self.command("user", Method::PUT, path, body, key).await;
            }
            85..88 if stage.trouble.is_any() => self.rush(key).await,
            88..90 if stage.trouble.is_any() => self.order_what_is_taken_down(key).await,
            85..93 => {
                let method = METHODS[self.rng.random_range(0..METHODS.len())];
                let listing = &stage.listings[usize::from(self.rng.random_range(0..4) == 0)];
                let body = json!({ "listing_id": listing, "payment_method": method });
                let path = "/api/v1/orders".to_owned();
                let made = self.command("order", Method::POST, path, body, key).await;
                if let Some(order) = made {
                    self.shared.orders.lock().unwrap().push((order, self.person));
                }
            }
            93..99 => self.see_to_an_order(key).await,
            _ if self.person == 0 => self.publish(key).await,
            _ => {
                let handle = format!("guest{}", key.replace('-', "_"));
                let body = json!({
                    "handle": handle, "display_name": key, "password": "correct horse",
                    "email": format!("{handle}@example.org"), "roles": ["listener"],
                });
                let path = "/api/v1/users".to_owned();
                self.command("user", Method::POST, path, body, key).await;
            }
        }
    }

    /// Tries to get the licence that everybody wants.
    async fn rush(&mut self, key: String) {
        let shared = Arc::clone(&self.shared);
        let listing = shared.stage.trouble.exclusive(self.round);
        let method = Trouble::method(self.rng.random_range(0..1000));
        self.buy(listing, method, key).await;
    }

    /// Orders what is delivered on approval; by then its master may be taken down, maybe at once.
    async fn order_what_is_taken_down(&mut self, key: String) {
        let shared = Arc::clone(&self.shared);
        let (track, listing) = shared.stage.trouble.doomed(self.round);
        let is_bought = self.buy(listing, "sandbox:ok", key.clone()).await;
        if is_bought && self.rng.random_range(0..8) == 0 {
            let path = format!("/api/v1/tracks/{track}/take-down");
            let body = json!({ "reason": "a sample was not cleared" });
            let key = format!("{key}-down");
            let (status, said) =
                self.ask(Method::POST, &path, &shared.stage.artist, &body, &key).await;
            match status {
                200 => shared.stage.trouble.note_taken_down(track),
                _ => self.wrong(&path, status, &said),
            }
        }
    }

    /// Buys what may be another's or taken down by now; whether it could be had.
    async fn buy(&mut self, listing: &Value, method: &str, key: String) -> bool {
        let path = "/api/v1/orders";
        let body = json!({ "listing_id": listing, "payment_method": method });
        let token = self.shared.stage.tokens[self.person].clone();
        let (status, said) = self.ask(Method::POST, path, &token, &body, &key).await;
        let is_gone = said["type"] == "urn:veza:problem:licence-taken"
            || said["detail"] == "the track's master was taken down";
        match status {
            201 => {
                let order = said["id"].as_str().unwrap_or_default().to_owned();
                self.shared.orders.lock().unwrap().push((order, self.person));
                self.note("order", &said, key);
            }
            409 if is_gone => self.shared.stage.trouble.note_lost(),
            _ => self.wrong(path, status, &said),
        }
        status == 201
    }

    /// The artist makes another track, which is transcoded by and by.
    async fn publish(&mut self, key: String) {
        let artist = self.shared.stage.artist.clone();
        let (status, upload) = self.upload(&artist, &key).await;
        if status != 201 {
            return self.wrong("/api/v1/uploads", status, &upload);
        }
        let new = json!({ "upload_id": upload["id"], "title": key, "tags": [] });
        let (status, said) = self.ask(Method::POST, "/api/v1/tracks", &artist, &new, &key).await;
        match status {
            201 => self.note("track", &said, key),
            _ => self.wrong("/api/v1/tracks", status, &said),
        }
    }

    async fn upload(&self, artist: &str, key: &str) -> (u16, Value) {
        let request = |client: &Client, url: &str| {
            let request = client.post(format!("{url}/api/v1/uploads")).body(tone());
            request.bearer_auth(artist).header("idempotency-key", key)
        };
        self.until_answered(request).await
    }

    /// Approves or accepts an order, which may not be wanted yet or any more.
    async fn see_to_an_order(&mut self, key: String) {
        let order = {
            let orders = self.shared.orders.lock().unwrap();
            if orders.is_empty() {
                return;
            }
            // One of the last.
            let from = orders.len().saturating_sub(20);
            orders[self.rng.random_range(from..orders.len())].clone()
        };
        let (what, token) = match self.rng.random_range(0..4) {
            0 => ("approval", self.shared.stage.artist.clone()),
            _ => ("acceptance", self.shared.stage.tokens[order.1].clone()),
        };
        let path = format!("/api/v1/orders/{}/{what}", order.0);
        let (status, said) = self.ask(Method::POST, &path, &token, &Value::Null, &key).await;
        match status {
            200 => self.note("order", &said, key),
            409 => {}
            _ => self.wrong(&path, status, &said),
        }
    }

    /// Sends a command that can only succeed; now and then once more, which changes nothing.
    async fn command(
        &mut self,
        category: &'static str,
        method: Method,
        path: String,
        body: Value,
        key: String,
    ) -> Option<String> {
        let token = self.shared.stage.tokens[self.person].clone();
        let (status, said) = self.ask(method.clone(), &path, &token, &body, &key).await;
        if !(200..300).contains(&status) {
            self.wrong(&path, status, &said);
            return None;
        }
        if self.rng.random_range(0..10) == 0 {
            let again = self.ask(method, &path, &token, &body, &key).await;
            if again != (status, said.clone()) {
                self.wrong(&path, again.0, &json!({ "first": said, "again": again.1 }));
            }
        }
        self.note(category, &said, key);
        said["id"].as_str().map(str::to_owned)
    }

    /// Sends a command, again and again until it is answered by yes or no.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: &str,
        body: &Value,
        key: &str,
    ) -> (u16, Value) {
        let request = |client: &Client, url: &str| {
            let request = client.request(method.clone(), format!("{url}{path}"));
            let request = request.bearer_auth(token).header("idempotency-key", key);
            if body.is_null() { request } else { request.json(body) }
        };
        self.until_answered(request).await
    }

    async fn until_answered(
        &self,
        request: impl Fn(&Client, &str) -> RequestBuilder,
    ) -> (u16, Value) {
        loop {
            let url = self.shared.url.borrow().clone();
            let request = request(&self.shared.client, &url).timeout(ANSWER_MAX);
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                if let Ok(said) = response.json::<Value>().await {
                    let running = said["type"] == "urn:veza:problem:idempotency-in-progress";
                    if status != 503 && !running {
                        return (status, said);
                    }
                }
            }
            tokio::time::sleep(POLL).await; // poll
        }
    }

    fn note(&self, category: &'static str, said: &Value, key: String) {
        let id = said["id"].as_str().unwrap_or_default().to_owned();
        let position = said["position"].as_str().and_then(|position| position.parse().ok());
        let position = position.unwrap_or_default();
        let told = Told { category, id, position, key };
        self.shared.told.lock().unwrap().push(told);
    }

    fn wrong(&self, path: &str, status: u16, said: &Value) {
        self.shared.wrong.lock().unwrap().push(format!("{path}: {status} {said}"));
    }
}
