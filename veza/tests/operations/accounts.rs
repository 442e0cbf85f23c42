//! `veza user`: the first administrator, beside a running platform and on a folder at rest.

use std::fs;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::process::{Process, ended, folder, replay, veza};

#[tokio::test]
async fn the_first_administrator_is_made_on_the_servers_machine() {
    let folder = folder();
    let data = folder.path();
    let platform = Process::platform(data, &[]).await;

    let args = ["user", "create", "--role", "administrator", "--email", "root@example.org"];
    let mut command = veza(data, &args);
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"correct horse\n").await.unwrap();
    let made = child.wait_with_output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let (status, session) = platform.log_in("root@example.org", "correct horse").await;
    assert_eq!(status, 201, "{session}");
    let token = session["access_token"].as_str().unwrap();
    let (status, otis) = platform.sign_up("otis", "listener").await;
    assert_eq!(status, 201);
    let roles = format!("/api/v1/users/{}/roles", otis["id"].as_str().unwrap());
    let grant = json!({ "role": "moderator", "reason": "trusted" });
    let granted = async || platform.post(&roles, Some(token), grant.clone()).await.0;
    assert_eq!(granted().await, 409, "whose address it is nobody has proved");
    platform.confirmed("otis@example.org").await;
    assert_eq!(granted().await, 200, "it is an administrator");

    let password = data.join("password");
    fs::write(&password, "another horse\n").unwrap();
    let password = password.to_str().unwrap();
    let refused = [
        (["--email", "root", "--handle", "ada"], "--email: this is not an e-mail address"),
        (["--email", "a@example.org", "--handle", "x"], "--handle: a handle has 3 to 30"),
        (["--email", "a@example.org", "--handle", "admin"], "--handle: this handle is reserved"),
        (["--email", "a@example.org", "--handle", "otis"], "the handle is taken"),
        (["--email", "ROOT@example.org", "--handle", "ada"], "the address is taken"),
    ];
    for (said, why) in refused {
        let args = [&["user", "create", "--password-file", password][..], &said].concat();
        let output = ended(veza(data, &args)).await;
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said:?}");
        assert!(told.starts_with(&format!("veza: {why}")) && told.lines().count() == 1, "{told}");
    }
    platform.stop().await;

    let args =
        ["user", "create", "--password-file", password, "--email", "ada@example.org", "--role"];
    let offline = ended(veza(data, &[&args[..], &["artist", "--handle", "ada"]].concat())).await;
    let said = String::from_utf8(offline.stdout).unwrap();
    assert!(offline.status.success() && said.contains("ada@example.org  artist"), "{said}");
    let granted =
        ended(veza(data, &["user", "grant", "--email", "ada@example.org", "--role", "support"]));
    assert!(granted.await.status.success());
    let id = said.split_whitespace().next().unwrap();
    let state = replay(data, &["state", &format!("user-{id}")]).await;
    assert_eq!(state[0]["state"]["roles"], json!(["artist", "support"]));
    assert_eq!(state[0]["state"]["email_confirmed"], true);
}

/// Given a stranger who signed up with an address that is not theirs, then nobody is given rights
/// by it until it is proved, and the operator, who knows whose it is, makes the account anew.
#[tokio::test]
async fn whoever_signs_up_with_an_address_of_another_gets_nothing_by_it() {
    let folder = folder();
    let data = folder.path();
    let platform = Process::platform(data, &[]).await;
    let stranger = json!({
        "handle": "mallory", "display_name": "Mallory", "email": "root@example.org",
        "password": "correct horse", "roles": ["artist"],
    });
    assert_eq!(platform.post("/api/v1/users", None, stranger).await.0, 201);
    let args = ["user", "grant", "--email", "root@example.org", "--role", "administrator"];
    let output = ended(veza(data, &args)).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains("the address is not confirmed"), "{told}");

    let password = data.join("password");
    fs::write(&password, "another horse\n").unwrap();
    let args = ["user", "create", "--role", "administrator", "--email", "root@example.org"];
    let args = [&args[..], &["--password-file", password.to_str().unwrap()]].concat();
    let output = ended(veza(data, &args)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(platform.log_in("root@example.org", "correct horse").await.0, 401);
    assert_eq!(platform.log_in("root@example.org", "another horse").await.0, 201);
    platform.stop().await;
}

#[tokio::test]
async fn a_folder_without_a_platform_is_told() {
    let folder = folder();
    let data = folder.path().join("nothing");
    fs::write(folder.path().join("password"), "correct horse").unwrap();
    let password = folder.path().join("password");
    let args = ["user", "create", "--email", "a@example.org", "--password-file"];
    let output = ended(veza(&data, &[&args[..], &[password.to_str().unwrap()]].concat())).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.starts_with("veza: there is no platform in ") && !data.exists(), "{told}");
}
