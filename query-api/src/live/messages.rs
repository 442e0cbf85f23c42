//! The messages of a channel, for one member: first what came since, then what comes.

use std::collections::VecDeque;
use std::sync::Arc;

use event_schemas::social::{ChannelEvent, MessageEvent};
use event_schemas::{ChannelId, UserId};
use event_store::Position;
use futures::stream::{self, Stream};
use projections::postgres::{Message, Models, channels};
use projections::{Envelope, Event, PageSize, Watermarks};

use crate::failure::Failure;
use crate::limits::{CATCH_UP_ROWS, FRESHNESS_TIME_MAX, LOOK_TIME_MAX};
use crate::live::{Following, Hub, Next, Topic};

/// One member's view of a channel that goes on.
struct Feed {
    hub: Arc<Hub>,
    models: Models,
    watermarks: Watermarks,
    channel: ChannelId,
    member: UserId,
    following: Following,
    /// The last message that was given, or the place after which they begin.
    last: Position,
    /// What the model has up to here comes before what is followed.
    past_until: Position,
    past: VecDeque<Message>,
}

/// Messages after a position, or from now on: each once, in order. It ends with a failure when the
/// member is one no more, or when the model can't be read.
///
/// # Errors
/// When they are no member now, or the log does not come to the position in time.
pub async fn messages(
    hub: Arc<Hub>,
    models: Models,
    watermarks: Watermarks,
    (channel, member): (ChannelId, UserId),
    after: Option<Position>,
) -> Result<impl Stream<Item = Result<Message, Failure>> + use<>, Failure> {
    let (following, now) = hub.follow(Topic::Channel(channel)).await?;
    let last = after.unwrap_or(now);
    let (past_until, past) = (now.max(last), VecDeque::new());
    let mut feed =
        Feed { hub, models, watermarks, channel, member, following, last, past_until, past };
    feed.check_membership().await?;
    Ok(stream::unfold(Some(feed), async |feed| {
        let mut feed = feed?;
        match feed.next().await {
            Ok(message) => message.map(|message| (Ok(message), Some(feed))),
            Err(failure) => Some((Err(failure), None)),
        }
    }))
}

impl Feed {
    /// The next message; `None` when the process stops.
    async fn next(&mut self) -> Result<Option<Message>, Failure> {
        loop {
            if self.past.is_empty() && self.last < self.past_until {
                self.read_past().await?;
            }
            if let Some(message) = self.past.pop_front() {
                self.last = message.position;
                return Ok(Some(message));
            }
            match self.following.next().await {
                Next::Event(envelope) => {
                    if let Some(message) = self.take(&envelope)? {
                        self.last = message.position;
                        return Ok(Some(message));
                    }
                }
                Next::Missed => self.follow_anew().await?,
                Next::End => return Ok(None),
            }
        }
    }

    async fn read_past(&mut self) -> Result<(), Failure> {
        let size = PageSize::clamped(CATCH_UP_ROWS);
        let channels = &self.models.channels;
        let page =
            channels.messages_between(self.channel, self.last, self.past_until, size).await?;
        if page.is_empty() {
            self.last = self.past_until;
        }
        self.past.extend(page);
        Ok(())
    }

    fn take(&self, envelope: &Envelope) -> Result<Option<Message>, Failure> {
        match &envelope.event {
            Event::Message(MessageEvent::MessagePosted(event))
                if envelope.position() > self.last =>
            {
                Ok(Some(Message {
                    message_id: event.message_id,
                    channel_id: event.channel_id,
                    author_id: event.author_id,
                    text: event.text.clone(),
                    posted_at: envelope.recorded_at(),
                    position: envelope.position(),
                }))
            }
            Event::Channel(ChannelEvent::ChannelMemberLeft(event))
                if event.user_id == self.member && envelope.position() > self.past_until =>
            {
                Err(Failure::Forbidden)
            }
            _ => Ok(None),
        }
    }

    /// What was missed is read from the model, up to where it is followed from now on.
    async fn follow_anew(&mut self) -> Result<(), Failure> {
        let now;
        (self.following, now) = self.hub.follow(Topic::Channel(self.channel)).await?;
        self.past_until = now.max(self.last);
        self.check_membership().await
    }

    /// Whether they are a member at the place from which is followed. Where that is one that the
    /// log has not come to, it is waited for in vain.
    async fn check_membership(&mut self) -> Result<(), Failure> {
        let (models, upto) = ([channels::MODEL], self.past_until);
        self.watermarks.check_log(channels::MODEL, LOOK_TIME_MAX).await?;
        self.watermarks.wait_for(&models, upto, FRESHNESS_TIME_MAX).await?;
        match self.models.channels.is_member(self.channel, self.member).await? {
            true => Ok(()),
            false => Err(Failure::Forbidden),
        }
    }
}
