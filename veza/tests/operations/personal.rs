//! Personal fields from end to end: sealed in the log, open behind every door, gone for good when
//! their person is forgotten; and what is told when keys are missing.

use std::fs;
use std::path::Path;

use event_store::{
    ClientStore, EventStore as _, ReadAll, Subject, SubjectKeys, SubjectKeysOptions,
};
use futures::TryStreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::process::{Process, ended, eventually, folder, replay, veza};

/// What is only in personal fields.
const WORDS: [&str; 4] = ["canaryhandle", "Canary Name", "canary bio", "canary message"];

/// The files below the folder that show one of the words.
fn shown(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(shown(&entry.path()));
            continue;
        }
        let bytes = fs::read(entry.path()).unwrap();
        let has = |word: &&str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
        let words = WORDS.iter().filter(|word| has(word));
        found.extend(words.map(|word| format!("{} shows {word}", entry.path().display())));
    }
    found
}

async fn ask(platform: &Process, token: &str, query: String) -> Value {
    let request = platform.request(Method::POST, "/graphql", Some(token));
    request.json(&json!({ "query": query })).send().await.unwrap().json().await.unwrap()
}

/// Who somebody is, by GraphQL.
async fn person(platform: &Process, token: &str, id: &str) -> Value {
    let query = format!("{{ user(id: \"{id}\") {{ handle displayName bio }} }}");
    ask(platform, token, query).await["data"]["user"].clone()
}

/// What was said in a channel, by GraphQL.
async fn said_in(platform: &Process, token: &str, channel: &str) -> Value {
    let inner = "messages { nodes { text author { displayName } } }";
    let query = format!("{{ channel(id: \"{channel}\") {{ {inner} }} }}");
    ask(platform, token, query).await["data"]["channel"]["messages"]["nodes"][0].clone()
}

/// The id of somebody with personal data, and of the channel where they said something.
async fn somebody(platform: &Process, reader: &str) -> (String, String) {
    let new = json!({
        "handle": WORDS[0], "display_name": WORDS[1], "email": "nina@example.org",
        "password": "correct horse", "roles": ["artist"],
    });
    let (status, user) = platform.post("/api/v1/users", None, new).await;
    assert_eq!(status, 201, "{user}");
    let (status, session) = platform.log_in("nina@example.org", "correct horse").await;
    assert_eq!(status, 201, "{session}");
    let token = session["access_token"].as_str().unwrap();
    let profile = platform.request(Method::PUT, "/api/v1/users/me/profile", Some(token));
    let change = json!({ "display_name": WORDS[1], "bio": WORDS[2] });
    assert_eq!(profile.json(&change).send().await.unwrap().status().as_u16(), 200);

    let (status, channel) =
        platform.post("/api/v1/channels", Some(reader), json!({ "name": "lobby" })).await;
    assert_eq!(status, 201, "{channel}");
    let channel = channel["id"].as_str().unwrap().to_owned();
    let join = format!("/api/v1/channels/{channel}/members/me");
    let joined = platform.request(Method::PUT, &join, Some(token)).send().await.unwrap();
    assert!(joined.status().is_success());
    let messages = format!("/api/v1/channels/{channel}/messages");
    let (status, posted) = platform.post(&messages, Some(token), json!({ "text": WORDS[3] })).await;
    assert_eq!(status, 201, "{posted}");
    (user["id"].as_str().unwrap().to_owned(), channel)
}

/// Everything that the store's own door gives, as text.
async fn through_the_door(data: &Path) -> String {
    let run: Value = serde_json::from_slice(&fs::read(data.join("run.json")).unwrap()).unwrap();
    let address = run["event_store"].as_str().unwrap();
    let store = ClientStore::new(&format!("esdb://{address}?tls=false")).unwrap();
    let events = store.read_all(ReadAll::forward()).await.unwrap();
    let events: Vec<_> = events.try_collect().await.unwrap();
    let texts = events.iter().map(|event| String::from_utf8_lossy(&event.data).into_owned());
    texts.collect()
}

fn has_words(events: &[Value]) -> bool {
    let text = json!(events).to_string();
    WORDS.iter().all(|word| text.contains(word))
}

/// That the command fails with one line with these words.
async fn fails(command: Command, because: &str) {
    let output = ended(command).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains(because), "{because}: {told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

fn replaying(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--data").arg(data).args(args);
    command
}

#[tokio::test]
async fn personal_data_is_open_behind_the_doors_and_in_no_file_and_can_be_forgotten() {
    let folder = folder();
    let data = folder.path();
    let platform = Process::platform(data, &[]).await;
    let otis = platform.member("otis", "listener").await;
    let (nina, channel) = somebody(&platform, &otis).await;
    let known = json!({ "handle": WORDS[0], "displayName": WORDS[1], "bio": WORDS[2] });
    eventually("who they are and what they said is read", async || {
        person(&platform, &otis, &nina).await == known
            && said_in(&platform, &otis, &channel).await["text"] == WORDS[3]
    })
    .await;
    let kept = through_the_door(data).await;
    assert!(kept.contains("$sealed") && WORDS.iter().all(|word| !kept.contains(word)), "{kept}");
    for part in ["events", "keys"] {
        assert_eq!(shown(&data.join(part)), [""; 0]);
    }
    assert!(has_words(&replay(data, &["events"]).await), "beside the running platform");
    platform.stop().await;
    assert!(has_words(&replay(data, &["events"]).await), "at rest");
    assert_eq!(shown(&data.join("events")), [""; 0]);

    missing_keys_are_told(data, &nina).await;

    let keys = SubjectKeysOptions::folder(data.join("keys/subjects"));
    SubjectKeys::open(keys).unwrap().forget(Subject::new(&nina)).await.unwrap();
    let state = replay(data, &["state", &format!("user-{nina}")]).await;
    let handle = state[0]["state"]["handle"].as_str().unwrap().to_owned();
    assert!(handle.starts_with("forgotten-"), "{state:?}");
    let rebuilt = ended(replaying(data, &["rebuild", "--all"])).await;
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    let platform = Process::platform(data, &[]).await;
    let forgotten = json!({ "handle": handle, "displayName": "Forgotten", "bio": "" });
    assert_eq!(person(&platform, &otis, &nina).await, forgotten);
    let said = json!({ "text": "(forgotten)", "author": { "displayName": "Forgotten" } });
    assert_eq!(said_in(&platform, &otis, &channel).await, said);
    // The others are as they were, and more come.
    let (status, session) = platform.log_in("otis@example.org", "correct horse").await;
    assert_eq!(status, 201, "{session}");
    assert_eq!(platform.sign_up("etta", "listener").await.0, 201);
    platform.stop().await;
}

/// A folder of keys that is away is no folder of people who were forgotten.
async fn missing_keys_are_told(data: &Path, nina: &str) {
    let (folder, away) = (data.join("keys/subjects"), data.join("keys/away"));
    fs::rename(&folder, &away).unwrap();
    fails(veza(data, &["serve"]), "the keys of people's personal data are missing in ").await;
    assert!(!folder.exists(), "no other keys are made");
    let state = replay(data, &["state", &format!("user-{nina}")]).await;
    assert_eq!(state[0]["state"]["handle"], "sealed");
    let unopened = "is sealed, and no key that is here opens it";
    fails(replaying(data, &["rebuild", "profiles"]), unopened).await;
    let verified = ended(replaying(data, &["verify"])).await;
    assert!(verified.status.success(), "the log is sound without keys");
    fs::rename(&away, &folder).unwrap();
}

#[tokio::test]
async fn keys_of_people_are_wrapped_by_the_operators_key_and_change_with_it() {
    let folder = folder();
    let data = folder.path();
    let key_file = data.join("operator-keys");
    let setting = ("VEZA_EVENT_STORE_KEY_FILE", key_file.to_str().unwrap().to_owned());
    let with = |args: &[&str]| {
        let mut command = veza(data, args);
        command.env(setting.0, &setting.1);
        command
    };
    let done = async |args: &[&str]| {
        let output = ended(with(args)).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    done(&["event-store-keys", "new", "--name", "first"]).await;
    let start = async || Process::start(data, "run.json", with(&["serve"])).await;
    let platform = start().await;
    platform.member("nina", "artist").await;
    platform.stop().await;
    let wrapped_by = || {
        let bytes = fs::read(data.join("keys/subjects/store.key")).unwrap();
        let name = bytes[40..104].split(|&byte| byte == 0).next().unwrap().to_vec();
        String::from_utf8(name).unwrap()
    };
    assert_eq!(wrapped_by(), "first");
    done(&["event-store-keys", "new", "--name", "second"]).await;
    done(&["event-store-keys", "rotate"]).await;
    assert_eq!(wrapped_by(), "second");
    let second = fs::read_to_string(&key_file).unwrap().lines().next().unwrap().to_owned();
    fs::write(&key_file, format!("{second}\n")).unwrap();

    let platform = start().await;
    assert_eq!(platform.log_in("nina@example.org", "correct horse").await.0, 201);
    done(&["event-store-keys", "new", "--name", "third"]).await;
    platform.signal("-USR1");
    eventually("the running platform does it too", async || wrapped_by() == "third").await;
    platform.stop().await;
}
