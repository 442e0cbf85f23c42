//! Talk: a channel, and a message that arrives as it is said.

use anyhow::ensure;
use serde_json::json;

use super::people::Person;
use super::stage::Stage;

/// The two meet in a channel; what one posts over HTTP arrives at the other's subscription.
pub async fn talk(stage: &Stage, musician: &Person, listener: &Person) -> anyhow::Result<()> {
    let new = json!({ "name": "the green room" });
    let channel = stage.command(Some(musician), "/api/v1/channels", &new).await?;
    let path = format!("/api/v1/channels/{}", channel.id);
    let joined = stage.put(listener, &format!("{path}/members/me")).await?;
    stage.step("the listener joins the musician's channel", format!("at {}", joined.position));

    // Who joined may be seen a moment later than it was answered; the query waits for it.
    let query = "query($id: UUID!) { channel(id: $id) { name members { nodes { handle } } } }";
    let asked = json!({ "id": channel.id });
    let seen = stage.query(Some(listener), Some(&joined.position), query, asked).await?;
    let members = seen["channel"]["members"]["nodes"].as_array().map_or(0, Vec::len);
    ensure!(members == 2, "there should be two members: {seen}");

    // From where the listener joined on: nothing says when a subscription has begun, and what is
    // said until then must not be missed.
    let subscription = "subscription($id: UUID!, $after: String) {
        messagePosted(channelId: $id, after: $after) { id text author { handle } } }";
    let asked = json!({ "id": channel.id, "after": joined.position });
    let mut arrivals = stage.subscribe(listener, subscription, asked).await?;
    let lines = ["Did you hear it?", "The chords are mine.", "All four of them."];
    for text in lines {
        let message = json!({ "text": text });
        let path = format!("{path}/messages");
        stage.command(Some(musician), &path, &message).await?;
    }
    for text in lines {
        let arrived = arrivals.next().await?;
        let message = &arrived["messagePosted"];
        ensure!(message["text"] == text, "“{text}” should have arrived: {arrived}");
        ensure!(message["author"]["handle"] == musician.handle.as_str(), "by whom? {arrived}");
        stage.step("a message arrives on the subscription", &message["text"]);
    }
    Ok(())
}
