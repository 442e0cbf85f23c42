//! One socket, from its opening to its end.

use std::error::Error as _;
use std::time::Duration;

use access::principal::bearer_principal;
use access::rate::Caller;
use access::token::CLOCK_LEEWAY;
use access::{Principal, RouteClass};
use async_graphql::{Response, Value};
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures::stream::{self, BoxStream, SplitSink, StreamExt as _};
use futures::{SinkExt as _, future};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_stream::StreamMap;
use tokio_tungstenite::tungstenite;

use crate::api::QueryApi;
use crate::engine::Query;
use crate::failure::{Failure, refused};
use crate::limits::{
    BODY_BYTES_MAX, CLOSE_TIME_MAX, INIT_TIME_MAX, PING_INTERVAL, SEND_TIME_MAX,
    SUBSCRIPTION_ID_BYTES_MAX, SUBSCRIPTIONS_MAX,
};
use crate::socket::places::Place;
use crate::socket::protocol::{Close, FromClient, Init, ToClient};

/// What becomes of something that was asked.
enum Output {
    /// An answer, and whether it is the first.
    Answer(Box<Response>, bool),
    /// There will be no more.
    End,
}

/// Why a socket ends.
enum End {
    /// It is closed, and told why.
    Close(Close),
    /// Nobody is there to be told.
    Gone,
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::Close(close)
    }
}

/// A socket.
struct Session {
    api: QueryApi,
    sink: SplitSink<WebSocket, Message>,
    /// What the opening said of who it is.
    authorization: Option<String>,
    viewer: Option<Principal>,
    /// The socket's among those of the viewer's account.
    place: Option<Place>,
    /// Until when it must be said who it is; then, until when that holds.
    deadline: Instant,
    running: StreamMap<String, BoxStream<'static, Output>>,
}

/// Serves a socket to its end. `authorization` is what its opening said of who it is: programs can
/// send the header there, and browsers can't.
pub async fn run(socket: WebSocket, api: QueryApi, authorization: Option<String>) {
    let open = metrics::gauge!("veza_graphql_sockets");
    open.increment(1.0);
    let (sink, mut frames) = socket.split();
    let deadline = Instant::now() + INIT_TIME_MAX;
    let running = StreamMap::new();
    let mut session =
        Session { api, sink, authorization, viewer: None, place: None, deadline, running };
    let Err(end) = session.serve(&mut frames).await;
    if let End::Close(Close { code, reason }) = end {
        let frame = CloseFrame { code, reason: reason.as_ref().into() };
        // What is left unread when a connection is closed resets it, and the reason is lost.
        let leave = async {
            let _ = session.sink.send(Message::Close(Some(frame))).await;
            while let Some(Ok(_)) = frames.next().await {}
            if code == Close::TOO_BIG.code {
                // The rest of what was too big is never read, so only time lets the reason arrive.
                future::pending::<()>().await;
            }
        };
        let _ = timeout(CLOSE_TIME_MAX, leave).await;
    }
    open.decrement(1.0);
}

/// Whether what can't be read is a frame or a message beyond the limits.
fn is_too_big(error: &axum::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    matches!(cause, Some(tungstenite::Error::Capacity(_)))
}

type Frame = Option<Result<Message, axum::Error>>;

impl Session {
    async fn serve(
        &mut self,
        frames: &mut stream::SplitStream<WebSocket>,
    ) -> Result<std::convert::Infallible, End> {
        let stop = self.api.parts().stop.clone();
        let mut ping = interval(PING_INTERVAL);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Err(Close::GOING_AWAY.into()),
                () = sleep_until(self.deadline) => return Err(self.overdue().into()),
                _ = ping.tick() => {
                    if heard.elapsed() > 2 * PING_INTERVAL {
                        return Err(End::Gone);
                    }
                    self.send(Message::Ping(Default::default())).await?;
                }
                frame = frames.next() => {
                    heard = Instant::now();
                    self.take(frame).await?;
                }
                Some((id, output)) = self.running.next() => self.give(&id, output).await?,
            }
        }
    }

    fn overdue(&self) -> Close {
        if self.viewer.is_some() { Close::TOKEN_EXPIRED } else { Close::INIT_TIMEOUT }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), End> {
        let text = match frame {
            Some(Ok(Message::Text(text))) if text.len() <= BODY_BYTES_MAX => text,
            Some(Ok(Message::Text(_))) => return Err(Close::TOO_BIG.into()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Binary(_))) => return Err(Close::BAD_MESSAGE.into()),
            Some(Ok(Message::Close(_))) | None => return Err(End::Gone),
            // A frame beyond what is read at all.
            Some(Err(error)) if is_too_big(&error) => return Err(Close::TOO_BIG.into()),
            Some(Err(_)) => return Err(End::Gone),
        };
        match serde_json::from_str(&text).map_err(|_| Close::BAD_MESSAGE)? {
            FromClient::ConnectionInit { payload } => self.init(payload).await,
            FromClient::Ping { payload } => self.say(&ToClient::Pong { payload }).await,
            FromClient::Pong {} => Ok(()),
            FromClient::Subscribe { id, payload } => self.subscribe(id, payload).await,
            FromClient::Complete { id } => {
                self.running.remove(&id);
                Ok(())
            }
        }
    }

    async fn init(&mut self, payload: Option<Init>) -> Result<(), End> {
        if self.viewer.is_some() {
            return Err(Close::TOO_MANY_INITS.into());
        }
        let parts = self.api.parts();
        let said = payload.unwrap_or_default().authorization;
        let authorization = said.or(self.authorization.take()).ok_or(Close::NO_TOKEN)?;
        let viewer = bearer_principal(&authorization, &parts.verifier).map_err(Close::from)?;
        let place = self.api.sockets().of_accounts.take(viewer.user_id);
        self.place = Some(place.ok_or(Close::TOO_MANY_SOCKETS)?);
        // As long as the token is believed at every other door.
        let left = (viewer.expires_at + CLOCK_LEEWAY - (parts.clock)()).to_std();
        self.deadline = Instant::now() + left.unwrap_or(Duration::ZERO);
        self.viewer = Some(viewer);
        self.say(&ToClient::ConnectionAck).await
    }

    async fn subscribe(&mut self, id: String, query: Query) -> Result<(), End> {
        let viewer = self.viewer.clone().ok_or(Close::NO_INIT)?;
        if id.is_empty() || id.len() > SUBSCRIPTION_ID_BYTES_MAX {
            return Err(Close::BAD_MESSAGE.into());
        }
        if self.running.contains_key(&id) {
            return Err(Close::exists(&id).into());
        }
        if self.running.len() >= SUBSCRIPTIONS_MAX {
            let why = format!("a socket has at most {SUBSCRIPTIONS_MAX} subscriptions");
            return self.refuse(&id, Failure::Validation(why)).await;
        }
        let parts = self.api.parts();
        let caller = Caller::Principal(viewer.user_id);
        if parts.rates.count(caller, RouteClass::Read).is_err() {
            return self.refuse(&id, Failure::RateLimited).await;
        }
        let answers = self.api.engine().follow(query, viewer).enumerate();
        let answers = answers.map(|(number, answer)| Output::Answer(Box::new(answer), number == 0));
        let end = stream::once(future::ready(Output::End));
        self.running.insert(id, answers.chain(end).boxed());
        Ok(())
    }

    async fn refuse(&mut self, id: &str, failure: Failure) -> Result<(), End> {
        self.say(&ToClient::Error { id, payload: &refused(failure).errors }).await
    }

    async fn give(&mut self, id: &str, output: Output) -> Result<(), End> {
        match output {
            // What fails before it gives anything was refused: it has no end of its own.
            Output::Answer(answer, true) if answer.data == Value::Null && answer.is_err() => {
                self.running.remove(id);
                self.say(&ToClient::Error { id, payload: &answer.errors }).await
            }
            Output::Answer(answer, _) => self.say(&ToClient::Next { id, payload: &answer }).await,
            Output::End => {
                self.running.remove(id);
                self.say(&ToClient::Complete { id }).await
            }
        }
    }

    async fn say(&mut self, message: &ToClient<'_>) -> Result<(), End> {
        let text = serde_json::to_string(message).expect("a message is plain data");
        self.send(Message::Text(text.into())).await
    }

    /// Sends to a client that takes it within a time: one that does not read is gone.
    async fn send(&mut self, message: Message) -> Result<(), End> {
        let sending = timeout(SEND_TIME_MAX, self.sink.send(message));
        match self.api.parts().stop.run_until_cancelled(sending).await {
            Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(_)) | Err(_)) => Err(End::Gone),
            None => Err(Close::GOING_AWAY.into()),
        }
    }
}
