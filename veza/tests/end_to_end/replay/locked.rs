//! Backups of a running platform whose log is encrypted.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::{Said, busy_platform_with, models, put_keys_back};

const KEYS: &str = "VEZA_EVENT_STORE_KEY";
const FIRST: &str = "first:0707070707070707070707070707070707070707070707070707070707070707";
const SECOND: &str = "second:0808080808080808080808080808080808080808080808080808080808080808";
const OTHER: &str = "first:0909090909090909090909090909090909090909090909090909090909090909";
/// A word that the log has.
const WORD: &str = "display_name";

/// What `veza-replay` says with these keys.
async fn with(keys: Option<&str>, args: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_veza-replay"));
    command.arg("--json").args(args).env_remove(KEYS).envs(keys.map(|keys| (KEYS, keys)));
    Said::by(command).await
}

/// That it ends with this code, and one line that has these words.
async fn ends_with(keys: Option<&str>, args: &[&str], code: i32, words: &str) {
    let said = with(keys, args).await;
    assert_eq!((said.code, said.err.lines().count()), (Some(code), 1), "{args:?}: {said:?}");
    assert!(said.err.contains(words), "{args:?}: {said:?}");
}

/// Whether any file of the folder has these words.
fn shows(folder: &Path, words: &str) -> bool {
    let files = fs::read_dir(folder).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    files.into_iter().any(|file| file.windows(words.len()).any(|part| part == words.as_bytes()))
}

/// Given a running platform with keys, then with them its log is backed up while commands flow and
/// put back; without, with others, or with some that are not what their names say, each is told in
/// one line; and after the keys were changed a backup still needs the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_encrypted_platform_is_backed_up_and_put_back_with_its_keys() {
    let (platform, crowd) = busy_platform_with(&[(KEYS, FIRST)]).await;
    let data = platform.data().to_str().unwrap().to_owned();
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (backup, again, restored) = (path("backup"), path("again"), path("restored"));
    let to = format!("{restored}/events");

    let backing_up = ["backup", "--data", &data, "--to", &backup];
    ends_with(None, &backing_up, 3, "is encrypted, and no key was given").await;
    ends_with(Some(SECOND), &backing_up, 3, "not among those given: second").await;
    ends_with(Some(OTHER), &backing_up, 1, "is not opened by the key first").await;
    ends_with(Some("first:07"), &backing_up, 2, KEYS).await;
    assert!(!Path::new(&backup).exists(), "nothing was begun");
    let made = with(Some(FIRST), &backing_up).await.documents().remove(0);
    crowd.pause().await;
    models::at_rest(&platform).await;
    let args = ["backup", "--data", &data, "--to", &again, "--since", &backup];
    let head = with(Some(FIRST), &args).await.documents().remove(0)["chain"].clone();
    let head = head.as_str().unwrap();
    let looking = ["events", "--data", &data];
    ends_with(None, &looking, 3, "no key was given to open it with").await;
    ends_with(Some(SECOND), &looking, 3, "wrapped by the key first").await;
    let all = with(Some(FIRST), &looking).await.documents();
    assert!(all.iter().any(|event| event.to_string().contains(WORD)), "{:?}", all[0]);
    for folder in [&backup, &again] {
        assert!(!shows(Path::new(folder), WORD), "{folder}");
    }
    // Beside the running platform.
    let looked = with(None, &["inspect", "--data", &data]).await;
    assert!(looked.code == Some(3) && looked.out.contains("no key was given"), "{looked:?}");
    let looked = with(Some(FIRST), &["inspect", "--data", &data]).await.documents();
    assert_eq!(looked.last().unwrap()["segments_locked"], 0);

    let restoring = ["restore", "--from", &again, "--to", &to];
    ends_with(None, &restoring, 3, "is encrypted, and no key was given").await;
    ends_with(Some(OTHER), &restoring, 1, "is not opened by the key first").await;
    assert!(!Path::new(&restored).exists(), "nothing was begun");
    let put = with(Some(FIRST), &restoring).await.documents().remove(0);
    assert_eq!(put["chain"], head);
    put_keys_back(&platform, &restored);
    assert!(!shows(Path::new(&to), WORD));
    let verifying = ["verify", "--data", &restored, "--head", made["chain"].as_str().unwrap()];
    ends_with(None, &verifying, 3, "is encrypted, and no key was given").await;
    ends_with(Some(SECOND), &verifying, 3, "not among those given: second").await;
    assert_eq!(with(Some(FIRST), &verifying).await.code, Some(0));
    let events: Vec<Value> = with(Some(FIRST), &["events", "--data", &restored]).await.documents();
    // A saga may have noted its place between the backup and the look at the log.
    assert!(!events.is_empty() && all.starts_with(&events), "{} {}", events.len(), all.len());

    // The restored log gets another key; the backups keep theirs.
    let both = format!("{SECOND}\n{FIRST}");
    let mut rotate = Command::new(env!("CARGO_BIN_EXE_veza"));
    rotate.args(["event-store-keys", "rotate", "--data", &restored]).env(KEYS, &both);
    let rotated = Said::by(rotate).await;
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    assert!(rotated.out.contains("each backup made before needs those"), "{rotated:?}");
    assert_eq!(with(Some(SECOND), &["verify", "--data", &restored]).await.code, Some(0));
    let newer = path("newer");
    let args = ["backup", "--data", &restored, "--to", &newer, "--since", &again];
    let made = with(Some(SECOND), &args).await.documents().remove(0);
    assert_eq!(made["chain"], head);
    let elsewhere = path("elsewhere");
    let restoring = |from| ["restore", "--from", from, "--to", &elsewhere];
    ends_with(Some(SECOND), &restoring(&again), 3, "wrapped by the key first").await;
    assert_eq!(with(Some(SECOND), &restoring(&newer)).await.documents()[0]["chain"], head);
    platform.stop().await;
}
