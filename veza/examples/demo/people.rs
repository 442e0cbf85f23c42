//! The people of the story: how they sign up and log in.

use std::fs;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use uuid::Uuid;

use super::stage::Stage;

/// Somebody who is logged in.
pub struct Person {
    pub id: String,
    pub handle: String,
    pub token: String,
}

impl Person {
    /// Signs up, confirms the address with the token that was mailed, and logs in.
    pub async fn join(stage: &Stage, name: &str, role: &str) -> anyhow::Result<Self> {
        let unique = Uuid::new_v4().simple().to_string();
        let handle = format!("{name}_{}", &unique[..8]);
        let email = format!("{handle}@example.org");
        let password = format!("pass {unique}");
        let new = json!({
            "handle": handle, "display_name": format!("The {name}"), "email": email,
            "password": password, "roles": [role],
        });
        let signed_up = stage.command(None, "/api/v1/users", &new).await?;
        let confirmation = json!({ "token": mailed_token(stage, &email).await? });
        let confirmed = stage.command(None, "/api/v1/email-confirmations", &confirmation).await?;
        let credentials = json!({ "email": email, "password": password });
        let session = stage.post(None, "/api/v1/sessions", &credentials).await?;
        let token = session["access_token"].as_str().context("a session without a token")?;
        stage.step(
            &format!("the {name} signs up, confirms, logs in"),
            format!("{handle}, at position {}", confirmed.position),
        );
        let person = Self { id: signed_up.id, handle, token: token.to_owned() };

        let query = "{ me { emailConfirmed user { handle displayName roles } } }";
        let account =
            stage.query(Some(&person), Some(&confirmed.position), query, Value::Null).await?;
        let me = &account["me"];
        ensure!(me["emailConfirmed"] == true, "the address is not confirmed: {account}");
        ensure!(me["user"]["handle"] == person.handle.as_str(), "somebody else: {account}");
        stage.step(&format!("the {name} asks who they are"), &me["user"]);
        Ok(person)
    }
}

/// The token in the mail to this address, as the outbox keeps it.
async fn mailed_token(stage: &Stage, email: &str) -> anyhow::Result<String> {
    let folder = stage.data.join("outbox").join("email");
    stage
        .eventually("the mail that asks to confirm the address", async || {
            let mails = fs::read_dir(&folder)
                .with_context(|| format!("no outbox in {} (VEZA_DATA)", folder.display()))?;
            for mail in mails {
                let text = fs::read_to_string(mail?.path())?;
                let token = text.lines().find_map(|line| line.strip_prefix("Token: "));
                if let Some(token) = token.filter(|_| text.contains(email)) {
                    return Ok(Some(token.trim().to_owned()));
                }
            }
            Ok(None)
        })
        .await
}
