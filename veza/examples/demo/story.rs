//! The story: a musician and a listener, a track among a thousand others, a purchase that works
//! and one that must be undone.

mod doors;
mod gateway;
mod music;
mod names;
mod people;
mod replay;
mod sound;
mod stage;
mod talk;
mod trade;

use anyhow::Context as _;

use people::Person;
pub use stage::Stage;

/// Tells the whole story; an error names the step that was not as told.
pub async fn tell(stage: &Stage) -> anyhow::Result<()> {
    stage.chapter("A musician and a listener");
    let musician = Person::join(stage, "musician", "artist").await?;
    let listener = Person::join(stage, "listener", "listener").await?;

    stage.chapter("A track, from a WAV to a stream");
    let track = music::publish(stage, &musician).await.context("publishing the track")?;
    music::listen(stage, &track).await.context("listening to the stream")?;

    stage.chapter("Found among a thousand others");
    music::make_decoys(stage).await.context("making decoys")?;
    music::find(stage, &listener, &track).await.context("searching")?;
    music::count_plays(stage, &musician, &listener, &track).await.context("counting plays")?;

    stage.chapter("The two talk");
    talk::talk(stage, &musician, &listener).await.context("talking")?;

    stage.chapter("A licence is bought");
    let listing = trade::list(stage, &musician, &track).await.context("listing a licence")?;
    let deal = trade::Deal { seller: &musician, buyer: &listener, listing: &listing };
    let bought = trade::buy(stage, &deal, &track).await.context("buying a licence")?;

    stage.chapter("A delivery fails, and everything is undone");
    trade::buy_in_vain(stage, &deal, &track).await.context("buying in vain")?;

    stage.chapter("The log remembers");
    replay::look_back(stage, &bought).await.context("looking back")?;
    replay::rebuild_search(stage).await.context("rebuilding the search model")?;

    stage.end();
    Ok(())
}
